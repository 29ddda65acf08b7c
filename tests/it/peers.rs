//! TLS of outbound connections: trusted authorities and client certificates.

use std::{fs, net::TcpListener, path::Path};

use serde_json::json;

use crate::{
    authority::{self, Authority, Signed},
    callbacks::{THEIRS, session},
    failover::unused_address,
    http,
    operators::{Fixture, FixtureResponse, answer},
    world::{SCOPE, Setup, World, claims, create_request, number_at, wait_for},
};

/// Operators: name, further keys of the entry, and TLS configuration of the server.
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
        let fixture =
            authority::serve(listener, Authority::server(shows, asks), issue_token_or_session);
        let entry = format!(
            "    endpoint: \"https://{at}/qod/v0\"\n    dialect: camara-0.10.1\n    callbacks: false\n{}",
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

fn issue_token_or_session(request: &str) -> FixtureResponse {
    if request.starts_with("POST /token ") {
        let token = json!({ "access_token": "t-1", "token_type": "Bearer", "expires_in": 600 });
        return answer(200, &token.to_string()).into();
    }
    let theirs = uuid::Uuid::new_v4().to_string();
    answer(201, &session("AVAILABLE").replace(THEIRS, &theirs)).into()
}

/// The status of a create at the operator with this index.
fn create(world: &World, place: usize, tail: u32) -> u16 {
    let number = format!("+492{place}{tail:07}");
    world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number)).status
}

fn creates(world: &World, operator: &str, outcome: &str) -> u64 {
    let labels = [&*format!("operator=\"{operator}\""), &format!("outcome=\"{outcome}\"")];
    world.metric("qod_operator_request_duration_seconds_count", &labels)
}

#[test]
fn operator_must_have_a_trusted_certificate_of_its_name() {
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
        // No request was sent, so no flow is reserved.
        assert_eq!(create(&world, place, 1), 503, "{name}");
        assert_eq!(creates(&world, name, "unreachable"), 2, "{name}");
        assert!(operators.requests(place).is_empty(), "{name}");
    }
    // A changed authority file applies to new connections.
    fs::write(world.folder.join("private.pem"), other.pem()).unwrap();
    wait_for("the other authority", || create(&world, 2, 2) == 201);
    assert_eq!(create(&world, 0, 2), 503);
    assert_eq!(world.metric("qod_certificate_stale", &["name=\"known\""]), 0);
    fs::write(world.folder.join("private.pem"), "rubbish").unwrap();
    wait_for("the error to be detected", || {
        world.metric("qod_certificate_stale", &["name=\"known\""]) == 1
    });
    assert_eq!(create(&world, 2, 3), 201);
}

#[test]
fn operator_and_token_endpoint_get_the_reloaded_client_certificate() {
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
    let presented = requests.last().unwrap().to_ascii_lowercase();
    assert!(presented.contains("authorization: bearer t-1\r\n"), "{requests:?}");
    let expires = || {
        let labels = ["use=\"operator\"", "name=\"asking\""];
        world.metric("qod_certificate_expires_timestamp_seconds", &labels)
    };
    wait_for("the metric", || expires() == 2_240_611_200);
    assert!(!world.log().contains("PRIVATE KEY"));
}

#[test]
fn finders_and_imports_use_the_same_tls_settings() {
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
    let address = unused_address();
    let _operator = Fixture::start(address, issue_token_or_session);
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    callbacks: false\n    \
         gsma: {{ operator_id: OURS, networks: [\"21407\"] }}\n"
    );
    let files = "ca_file: private.pem, client_certificate_file: own.pem, client_key_file: own.key";
    let routes = format!(
        "finders:\n  - {{ name: ported, kind: network_id, url: \"https://{at}/network-id\", number_prefixes: [\"+34\"], \
         {files} }}\nimports:\n  - {{ url: \"https://{at}/routing\", poll_interval: 1s, {files} }}\n"
    );
    let mut world = World::unstarted(&Setup {
        operators: &[("ours", entry)],
        routes: &routes,
        ..Setup::default()
    });
    fs::write(world.folder.join("private.pem"), private.pem()).unwrap();
    foreign.sign("gateway").write(&world.folder, "own");
    world.start();
    let create = |number: &str| {
        world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", number)).status
    };
    let polled = |outcome: &str| {
        world.metric("qod_import_polls_total", &[&format!("outcome=\"{outcome}\"")])
    };
    assert_eq!(create("+34600000001"), 503);
    wait_for("a failed poll", || polled("failed") > 0);
    assert!(asked.requests().is_empty());
    clients.sign_until("gateway", 2041).write(&world.folder, "own");
    wait_for("rules", || polled("ok") == 1);
    assert_eq!(create("+34690000001"), 201);
    // The finder may still be in its backoff.
    wait_for("a response", || create("+34600000001") == 201);
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
    // A changed authority file applies to new connections.
    fs::write(world.folder.join("private.pem"), foreign.pem()).unwrap();
    let mut tail = 10;
    wait_for("the old authority to be removed", || {
        tail += 1;
        create(&format!("+346000000{tail:02}")) == 503
    });
}

#[test]
fn errors_in_tls_files_have_a_position() {
    let world = World::unstarted(&Setup {
        operator: "    ca_file: none.pem\n",
        operators: &[
            (
                "half",
                "    endpoint: \"https://127.0.0.1:1\"\n    dialect: camara-0.10.1\n    \
                 client_key_file: own.key\n"
                    .to_owned(),
            ),
            (
                "rubbish",
                "    endpoint: \"https://127.0.0.1:1\"\n    dialect: camara-0.10.1\n    \
                 ca_file: bearer\n"
                    .to_owned(),
            ),
        ],
        ..Setup::default()
    });
    fs::write(world.folder.join("own.key"), "").unwrap();
    let (succeeded, output) = World::run(&["check", &world.folder.display().to_string()]);
    assert!(!succeeded);
    for expected in [
        "operators.yaml:7:5: this key requires an https URL",
        "expected both `client_certificate_file` and `client_key_file`, or neither",
        "bearer` contains no certificate in PEM",
    ] {
        assert!(output.contains(expected), "{output}");
    }
}

#[test]
fn issuer_keys_are_fetched_with_a_private_authority() {
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
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let made = world
        .try_request_with_token(&token, "camara-0.10.1", ("POST", "/sessions"), &[], &body)
        .unwrap();
    assert_eq!(made.status, 201, "{made:?}");
}

#[test]
fn sink_certificate_must_be_of_a_trusted_authority() {
    let (private, foreign) = (Authority::new("private"), Authority::new("foreign"));
    let gateway = "notifications: { private_networks: [127.0.0.0/8], extra_ca_file: sinks.pem }";
    let mut world = World::unstarted(&Setup { gateway, ..Setup::default() });
    fs::write(world.folder.join("sinks.pem"), private.pem()).unwrap();
    world.start();
    let sink = |authority: &Authority| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/callbacks", listener.local_addr().unwrap());
        let config = Authority::server(&authority.sign("127.0.0.1"), None);
        (url, authority::serve(listener, config, |_| answer(204, "").into()))
    };
    let (trusted, untrusted) = (sink(&private), sink(&foreign));
    for (tail, (url, _)) in [&untrusted, &trusted].into_iter().enumerate() {
        let number = number_at("camara-0.10.1", u32::try_from(tail).unwrap());
        let mut body = create_request("camara-0.10.1", &number);
        body["webhook"] = json!({ "notificationUrl": url });
        world.create("camara-0.10.1", "app", &body).expect(201);
    }
    wait_for("the notification", || !trusted.1.requests().is_empty());
    let failed = || world.metric("qod_notification_attempts_failed_total", &["unreachable"]);
    wait_for("a failed attempt at the other sink", || failed() > 0);
    assert!(untrusted.1.requests().is_empty());
}

/// A world with an HTTPS callback listener with these `tls` settings.
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
fn operator_with_https_only_callbacks_sends_events() {
    for dialect in ["camara-1.1.0", "camara-1.2.0-rc.3"] {
        let private = Authority::new("private");
        let entry = format!(
            "    endpoint: \"http://ADDRESS/qod/v0\"\n    dialect: {dialect}\n    simulated: true\n    \
             bearer_token_file: bearer\n"
        );
        let mut world = called_back("", &[("telling", entry)], |folder| {
            fs::write(folder.join("private.pem"), private.pem()).unwrap();
            private.sign("127.0.0.1").write(folder, "own");
        });
        // The certificate is for the address of the listener.
        let at = world.callbacks().ip().to_string();
        private.sign(&at).write(&world.folder, "own");
        let operator = world.at(OPERATOR_PORT).to_string();
        let arguments = ["simulate-operator", "--dialect", dialect, "--path", "/qod/v0"];
        let mut command = world.command(&[&arguments[..], &["--listen", &operator]].concat());
        let child = command.env("SSL_CERT_FILE", world.folder.join("private.pem")).spawn();
        world.add_process(child.unwrap());
        wait_for("the operator", || std::net::TcpStream::connect(&*operator).is_ok());
        let config = private.client(None);
        wait_for("the certificate", || {
            authority::connect_as(&at, world.callbacks(), &config).is_some()
        });
        world.create(dialect, "app", &create_request(dialect, "+49200000001")).expect(201);
        let events = || {
            ["applied", "duplicate"]
                .map(|outcome| {
                    let labels = ["operator=\"telling\"", &format!("outcome=\"{outcome}\"")];
                    world.metric("qod_callback_events_total", &labels)
                })
                .iter()
                .sum::<u64>()
        };
        wait_for("a callback event", || events() > 0);
    }
}

#[test]
fn callback_listener_can_require_a_client_certificate() {
    let [private, clients] = ["private", "clients"].map(Authority::new);
    let world = called_back(", client_ca_file: clients.pem", &[], |folder| {
        fs::write(folder.join("clients.pem"), clients.pem()).unwrap();
        private.sign("127.0.0.1").write(folder, "own");
    });
    let asked = http::request("POST", "/callbacks/x", &[], "{}");
    let status = |presented: Option<&Signed>| {
        let mut connection = authority::open(world.callbacks(), &private.client(presented))?;
        connection.write(&asked).ok()?;
        connection.read().map(|answer| answer.status)
    };
    assert_eq!(status(Some(&clients.sign("operator"))), Some(404));
    assert_eq!(status(None), None);
    assert_eq!(status(Some(&private.sign("operator"))), None);
}
