//! Those whom the gateway calls by HTTPS: by which authority they must be known, and what they are
//! shown.

use std::{fs, net::TcpListener, path::Path};

use serde_json::json;

use crate::{
    authority::{self, Authority, Signed},
    callbacks::{THEIRS, session},
    failover::nowhere,
    http,
    operators::{Fixture, Says, answer},
    world::{SCOPE, Setup, World, claims, number_at, wait_for, wish},
};

/// Operators by name, what their entries say beside their endpoints, and what they answer with.
struct Operators(Vec<(&'static str, String, Fixture)>);

impl Operators {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn with(
        mut self,
        name: &'static str,
        entry: &str,
        shows: &Signed,
        asks: Option<&Authority>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let fixture = authority::serve(listener, Authority::server(shows, asks), granted);
        let entry = format!(
            "    endpoint: \"https://{at}/qod/v0\"\n    speaks: camara-0.10.1\n    callbacks: false\n{}",
            entry.replace("ADDRESS", &at.to_string())
        );
        self.0.push((name, entry, fixture));
        self
    }

    fn world(&self, write: impl Fn(&Path)) -> World {
        let entries: Vec<_> =
            self.0.iter().map(|(name, entry, _)| (*name, entry.clone())).collect();
        let mut world = World::unstarted(&Setup { operators: &entries, ..Setup::default() });
        write(&world.folder);
        world.start();
        world
    }

    fn requests(&self, place: usize) -> Vec<String> {
        self.0[place].2.requests()
    }
}

fn granted(request: &str) -> Says {
    if request.starts_with("POST /token ") {
        let token = json!({ "access_token": "t-1", "token_type": "Bearer", "expires_in": 600 });
        return answer(200, &token.to_string()).into();
    }
    let theirs = uuid::Uuid::new_v4().to_string();
    answer(201, &session("AVAILABLE").replace(THEIRS, &theirs)).into()
}

/// The status of a create at the operator of this place.
fn create(world: &World, place: usize, tail: u32) -> u16 {
    let number = format!("+492{place}{tail:07}");
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &number)).status
}

fn creates(world: &World, operator: &str, outcome: &str) -> u64 {
    let labels = [&*format!("operator=\"{operator}\""), &format!("outcome=\"{outcome}\"")];
    world.metric("qod_operator_request_duration_seconds_count", &labels)
}

#[test]
fn an_operator_is_called_only_if_it_proves_to_be_the_one() {
    let (private, other) = (Authority::new("private"), Authority::new("other"));
    let own = "    ca_file: private.pem\n";
    let ours = private.sign("127.0.0.1");
    let operators = Operators::new()
        .with("known", own, &ours, None)
        .with("public", "", &ours, None)
        .with("foreign", own, &other.sign("127.0.0.1"), None)
        .with("misnamed", own, &private.sign("127.0.0.2"), None)
        .with("over", own, &private.sign_until("127.0.0.1", 2020), None);
    let world = operators.world(|folder| {
        fs::write(folder.join("private.pem"), private.pem()).unwrap();
    });
    assert_eq!(create(&world, 0, 1), 201);
    for (place, name) in [(1, "public"), (2, "foreign"), (3, "misnamed"), (4, "over")] {
        assert_eq!(create(&world, place, 1), 503, "{name}");
        // Nothing was sent, so nothing is held.
        assert_eq!(create(&world, place, 1), 503, "{name}");
        assert_eq!(creates(&world, name, "not_reached"), 2, "{name}");
        assert!(operators.requests(place).is_empty(), "{name}");
    }
    // Another authority is believed as soon as its file has it, and the first no longer.
    fs::write(world.folder.join("private.pem"), other.pem()).unwrap();
    wait_for("the other authority", || create(&world, 2, 2) == 201);
    assert_eq!(create(&world, 0, 2), 503);
    assert_eq!(world.metric("qod_certificate_stale", &["name=\"known\""]), 0);
    fs::write(world.folder.join("private.pem"), "rubbish").unwrap();
    wait_for("the fault to be seen", || {
        world.metric("qod_certificate_stale", &["name=\"known\""]) == 1
    });
    assert_eq!(create(&world, 2, 3), 201);
}

#[test]
fn an_operator_and_its_token_endpoint_are_shown_a_certificate_which_may_change() {
    let [private, clients, foreign] = ["private", "clients", "foreign"].map(Authority::new);
    let entry = "    ca_file: private.pem\n    client_certificate_file: own.pem\n    \
                 client_key_file: own.key\n    oauth2: { token_url: \"https://ADDRESS/token\", \
                 client_id: gateway, client_secret_file: bearer }\n";
    let operators =
        Operators::new().with("asking", entry, &private.sign("127.0.0.1"), Some(&clients));
    let world = operators.world(|folder| {
        fs::write(folder.join("private.pem"), private.pem()).unwrap();
        foreign.sign("gateway").write(folder, "own");
    });
    assert_eq!(create(&world, 0, 1), 503);
    assert!(operators.requests(0).is_empty());
    clients.sign_until("gateway", 2041).write(&world.folder, "own");
    let mut tail = 1;
    wait_for("the new certificate", || {
        tail += 1;
        create(&world, 0, tail) == 201
    });
    let requests = operators.requests(0);
    assert!(requests[0].starts_with("POST /token "), "{requests:?}");
    let shown = requests.last().unwrap().to_ascii_lowercase();
    assert!(shown.contains("authorization: bearer t-1\r\n"), "{requests:?}");
    let expires = || {
        let labels = ["use=\"operator\"", "name=\"asking\""];
        world.metric("qod_certificate_expires_timestamp_seconds", &labels)
    };
    wait_for("the metric", || expires() == 2_240_611_200);
    assert!(!world.log().contains("PRIVATE KEY"));
}

#[test]
fn whoever_is_asked_for_an_operator_or_for_rules_is_met_likewise() {
    let [private, clients, foreign] = ["private", "clients", "foreign"].map(Authority::new);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = Authority::server(&private.sign("127.0.0.1"), Some(&clients));
    let asked = authority::serve(listener, server, |request| {
        if request.starts_with("POST /network-id/resolve-network-id ") {
            return answer(200, "{\"networkId\":\"21407\"}").into();
        }
        assert!(request.starts_with("GET /routing "), "{request}");
        let tel = json!({ "apiRoot": "https://op.example", "operatorId": "OURS" });
        answer(200, &json!([{ "msisdnPrefix": ["+3469"], "static": tel }]).to_string()).into()
    });
    let address = nowhere();
    let _operator = Fixture::start(address, granted);
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    callbacks: false\n    \
         gsma: {{ operator_id: OURS, networks: [\"21407\"] }}\n"
    );
    let files = "ca_file: private.pem, client_certificate_file: own.pem, client_key_file: own.key";
    let routes = format!(
        "finders:\n  - {{ name: ported, kind: network_id, url: \"https://{at}/network-id\", numbers: [\"+34\"], \
         {files} }}\nimports:\n  - {{ url: \"https://{at}/routing\", every: 1s, {files} }}\n"
    );
    let mut world = World::unstarted(&Setup {
        operators: &[("ours", entry)],
        routes: &routes,
        ..Setup::default()
    });
    fs::write(world.folder.join("private.pem"), private.pem()).unwrap();
    foreign.sign("gateway").write(&world.folder, "own");
    world.start();
    let create =
        |number: &str| world.create("camara-0.10.1", "app", &wish("camara-0.10.1", number)).status;
    let polled = |outcome: &str| {
        world.metric("qod_import_polls_total", &[&format!("outcome=\"{outcome}\"")])
    };
    assert_eq!(create("+34600000001"), 503);
    wait_for("a poll in vain", || polled("failed") > 0);
    assert!(asked.requests().is_empty());
    clients.sign_until("gateway", 2041).write(&world.folder, "own");
    wait_for("rules", || polled("ok") == 1);
    assert_eq!(create("+34690000001"), 201);
    // The finder may be left alone for a while yet.
    wait_for("an answer", || create("+34600000001") == 201);
    for (what, name) in
        [("finder", "ported".to_owned()), ("import", format!("https://{at}/routing"))]
    {
        let labels = [format!("use=\"{what}\""), format!("name=\"{name}\"")];
        let expires = || {
            let labels = labels.each_ref().map(String::as_str);
            world.metric("qod_certificate_expires_timestamp_seconds", &labels)
        };
        wait_for("the metric", || expires() == 2_240_611_200);
    }
    // Another authority is believed as soon as its file has it, and the first no longer.
    fs::write(world.folder.join("private.pem"), foreign.pem()).unwrap();
    let mut tail = 10;
    wait_for("the authority to be believed no longer", || {
        tail += 1;
        create(&format!("+346000000{tail:02}")) == 503
    });
}

#[test]
fn what_is_wrong_with_files_for_peers_is_told_with_its_place() {
    let world = World::unstarted(&Setup {
        operator: "    ca_file: none.pem\n",
        operators: &[
            (
                "half",
                "    endpoint: \"https://127.0.0.1:1\"\n    speaks: camara-0.10.1\n    \
                 client_key_file: own.key\n"
                    .to_owned(),
            ),
            (
                "rubbish",
                "    endpoint: \"https://127.0.0.1:1\"\n    speaks: camara-0.10.1\n    \
                 ca_file: bearer\n"
                    .to_owned(),
            ),
        ],
        ..Setup::default()
    });
    fs::write(world.folder.join("own.key"), "").unwrap();
    let (well, told) = World::run(&["check", &world.folder.display().to_string()]);
    assert!(!well);
    for expected in [
        "operators.yaml:7:5: this is of use with https only",
        "expected `client_certificate_file` and `client_key_file`, or neither",
        "bearer` has no certificate in PEM",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn an_issuers_keys_are_fetched_from_where_only_a_private_authority_is_known() {
    let private = Authority::new("private");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuers = format!(
        "  - issuer: https://private.test\n    audiences: [gateway]\n    \
         jwks_url: \"https://{}/jwks\"\n    ca_file: private.pem\n",
        listener.local_addr().unwrap()
    );
    let mut world = World::unstarted(&Setup { issuers: &issuers, ..Setup::default() });
    fs::write(world.folder.join("private.pem"), private.pem()).unwrap();
    let jwks = world.keys.jwks.clone();
    let config = Authority::server(&private.sign("127.0.0.1"), None);
    let _issuer = authority::serve(listener, config, move |_| answer(200, &jwks).into());
    world.start();
    let mut claims = claims("app", SCOPE);
    claims["iss"] = "https://private.test".into();
    let token = world.keys.token_of(&claims);
    let body = wish("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let made =
        world.try_ask_with(&token, "camara-0.10.1", ("POST", "/sessions"), &[], &body).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
}

#[test]
fn a_sink_of_a_private_authority_is_told_and_one_of_a_foreign_is_not() {
    let (private, foreign) = (Authority::new("private"), Authority::new("foreign"));
    let gateway = "notifications: { private_networks: [127.0.0.0/8], extra_ca_file: sinks.pem }";
    let mut world = World::unstarted(&Setup { gateway, ..Setup::default() });
    fs::write(world.folder.join("sinks.pem"), private.pem()).unwrap();
    world.start();
    let sink = |authority: &Authority| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/told", listener.local_addr().unwrap());
        let config = Authority::server(&authority.sign("127.0.0.1"), None);
        (url, authority::serve(listener, config, |_| answer(204, "").into()))
    };
    let (good, bad) = (sink(&private), sink(&foreign));
    for (tail, (url, _)) in [&bad, &good].into_iter().enumerate() {
        let number = number_at("camara-0.10.1", u32::try_from(tail).unwrap());
        let mut body = wish("camara-0.10.1", &number);
        body["webhook"] = json!({ "notificationUrl": url });
        world.create("camara-0.10.1", "app", &body).expect(201);
    }
    wait_for("the sink to be told", || !good.1.requests().is_empty());
    let failed = || world.metric("qod_notification_attempts_failed_total", &["not_reached"]);
    wait_for("the other to be tried", || failed() > 0);
    assert!(bad.1.requests().is_empty());
}

/// A world whose callbacks come by HTTPS, with this in their `tls`.
fn called_back(tls: &str, operators: &[(&str, String)], write: impl Fn(&Path)) -> World {
    let mut world = World::unstarted(&Setup { operators, ..Setup::default() });
    write(&world.folder);
    let (place, at) = (world.folder.join("gateway.yaml"), world.callbacks());
    let text = fs::read_to_string(&place).unwrap();
    let plain = format!("{{ address: \"{at}\", url: \"http:");
    let secured = format!(
        "{{ address: \"{at}\", tls: {{ certificate_file: own.pem, key_file: own.key{tls} }}, url: \"https:"
    );
    assert!(text.contains(&plain), "{text}");
    fs::write(place, text.replace(&plain, &secured)).unwrap();
    let operators = world.folder.join("operators.yaml");
    let text = fs::read_to_string(&operators).unwrap();
    fs::write(operators, text.replace("ADDRESS", &world.at(OPERATOR_PORT).to_string())).unwrap();
    world.start();
    world
}

const OPERATOR_PORT: u16 = 9300;

#[test]
fn an_operator_that_calls_back_by_https_only_does() {
    for dialect in ["camara-1.1.0", "camara-1.2.0-rc.3"] {
        let private = Authority::new("private");
        let entry = format!(
            "    endpoint: \"http://ADDRESS/qod/v0\"\n    speaks: {dialect}\n    simulated: true\n    \
             bearer_token_file: bearer\n"
        );
        let mut world = called_back("", &[("telling", entry)], |folder| {
            fs::write(folder.join("private.pem"), private.pem()).unwrap();
            private.sign("127.0.0.1").write(folder, "own");
        });
        // Its certificate has the very address that it is called at.
        let at = world.callbacks().ip().to_string();
        private.sign(&at).write(&world.folder, "own");
        let operator = world.at(OPERATOR_PORT).to_string();
        let arguments = ["simulate-operator", "--dialect", dialect, "--path", "/qod/v0"];
        let mut command = world.command(&[&arguments[..], &["--listen", &operator]].concat());
        let child = command.env("SSL_CERT_FILE", world.folder.join("private.pem")).spawn();
        world.keep(child.unwrap());
        wait_for("the operator", || std::net::TcpStream::connect(&*operator).is_ok());
        let config = private.client(None);
        wait_for("the certificate", || {
            authority::connect_as(&at, world.callbacks(), &config).is_some()
        });
        world.create(dialect, "app", &wish(dialect, "+49200000001")).expect(201);
        let told = || {
            ["applied", "known"]
                .map(|outcome| {
                    let labels = ["operator=\"telling\"", &format!("outcome=\"{outcome}\"")];
                    world.metric("qod_notifications_received_total", &labels)
                })
                .iter()
                .sum::<u64>()
        };
        wait_for("the operator to tell", || told() > 0);
    }
}

#[test]
fn callbacks_may_have_to_show_a_certificate() {
    let [private, clients] = ["private", "clients"].map(Authority::new);
    let world = called_back(", client_ca_file: clients.pem", &[], |folder| {
        fs::write(folder.join("clients.pem"), clients.pem()).unwrap();
        private.sign("127.0.0.1").write(folder, "own");
    });
    let asked = http::request("POST", "/told/x", &[], "{}");
    let status = |shown: Option<&Signed>| {
        let mut connection = authority::open(world.callbacks(), &private.client(shown))?;
        connection.write(&asked).ok()?;
        connection.read().map(|answer| answer.status)
    };
    assert_eq!(status(Some(&clients.sign("operator"))), Some(404));
    assert_eq!(status(None), None);
    assert_eq!(status(Some(&private.sign("operator"))), None);
}
