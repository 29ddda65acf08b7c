//! Telco finders: lookups for devices without a route.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::{
    http::HttpResponse,
    operators::{Fixture, FixtureResponse, answer},
    world::{
        DIALECTS, Setup, World, create_request, number_at, operator_named, session_id, wait_for,
    },
};

const AT: &str = "camara-1.1.0";
const PORT: u16 = 9400;
const GRANTED: &str = "granted-to-the-gateway";
const NETWORK_ID: &str = "POST /network-id/v0/resolve-network-id";
const SEARCH: &str = "POST /telco-finder/v1/search";

/// A world whose operator of [`AT`] has the network 21407, with a Network Id API and a Telco Finder
/// that each have a few devices.
struct FinderFixture {
    world: World,
    server: Fixture,
    down: Arc<AtomicBool>,
}

// `ADDRESS` is replaced by their address.
const FINDERS: &str = "\
finders:
  - name: ported
    kind: network_id
    url: http://ADDRESS/network-id/v0
    oauth2: { token_url: \"http://ADDRESS/token\", client_id: gateway, private_key_file: own.pem }
    number_prefixes: [\"+34\"]
    timeout: 5s
    cache_ttl: 24h
  - name: telco
    kind: telco_finder
    url: http://ADDRESS/telco-finder/v1
    bearer_token_file: granted
    timeout: 5s
";

impl FinderFixture {
    fn new() -> Self {
        Self::with_operators(&["camara-0.10.1", AT])
    }

    fn with_operators(simulated: &[&'static str]) -> Self {
        let mut world = World::unstarted(&Setup { simulated, routes: FINDERS, ..Setup::default() });
        let address = world.at(PORT);
        let change = |file: &str, from: &str, to: &str| {
            let path = world.folder.join(file);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{file}: {from}");
            fs::write(path, text.replace(from, to)).unwrap();
        };
        change("routes.yaml", "ADDRESS", &address.to_string());
        let routes = format!(
            "routes:\n  - {{ number: \"+34600000900\", operator: {} }}\n  \
             - {{ number_prefix: \"+3461\", finder: telco }}\n  \
             - {{ network: 203.0.113.0/24, finder: telco }}\n",
            operator_named("camara-0.10.1")
        );
        change("routes.yaml", "routes:\n", &routes);
        let name = format!("  {}:\n", operator_named(AT));
        let gsma = format!("{name}    gsma: {{ operator_id: OURS, networks: [\"21407\"] }}\n");
        change("operators.yaml", &name, &gsma);
        let (private, public) = key();
        fs::write(world.folder.join("own.pem"), private).unwrap();
        fs::write(world.folder.join("granted"), GRANTED).unwrap();
        let down = Arc::new(AtomicBool::new(false));
        let server = start(address, public, Arc::clone(&down));
        world.start();
        Self { world, server, down }
    }

    fn create(&self, number: &str) -> HttpResponse {
        self.world.create(AT, "app", &create_request(AT, number))
    }

    /// The bodies of the requests to this path.
    fn request_bodies(&self, what: &str) -> Vec<Value> {
        let requests = self.server.requests();
        let of_it = requests.iter().filter(|request| request.starts_with(what));
        of_it.map(|request| serde_json::from_str(body_of(request)).unwrap()).collect()
    }

    fn tokens(&self) -> usize {
        self.server.requests().iter().filter(|request| request.starts_with("POST /token")).count()
    }

    fn lookups(&self, finder: &str, outcome: &str) -> u64 {
        let labels = [format!("finder=\"{finder}\""), format!("outcome=\"{outcome}\"")];
        self.world.metric("qod_finder_lookups_total", &[&labels[0], &labels[1]])
    }
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

/// A private key in PEM and the public key that verifies its signatures.
fn key() -> (String, DecodingKey) {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let [x, y] = [1..33, 33..65].map(|range| URL_SAFE_NO_PAD.encode(&point[range]));
    let text = STANDARD.encode(pkcs8.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    (pem, DecodingKey::from_ec_components(&x, &y).unwrap())
}

fn start(address: SocketAddr, public: DecodingKey, down: Arc<AtomicBool>) -> Fixture {
    let audience = format!("http://{address}/token");
    Fixture::start(address, move |request| {
        if request.starts_with("POST /token") {
            return issue_token(body_of(request), &public, &audience).into();
        }
        if down.load(Ordering::SeqCst) {
            return FixtureResponse::Close;
        }
        if !request
            .to_ascii_lowercase()
            .contains(&format!("\r\nauthorization: bearer {GRANTED}\r\n"))
        {
            return answer(401, "{}").into();
        }
        let asked: Value = serde_json::from_str(body_of(request)).unwrap();
        if request.starts_with(NETWORK_ID) { network_of(&asked) } else { operator_of(&asked) }
            .into()
    })
}

/// Issues a token to the client `gateway` (`private_key_jwt`).
fn issue_token(form: &str, public: &DecodingKey, audience: &str) -> Vec<u8> {
    let form: HashMap<String, String> =
        form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&["gateway"]);
    let claims = jsonwebtoken::decode::<Value>(&form["client_assertion"], public, &validation);
    if form["grant_type"] != "client_credentials" || claims.unwrap().claims["sub"] != "gateway" {
        return answer(401, "{\"error\":\"invalid_client\"}");
    }
    let token = json!({ "access_token": GRANTED, "token_type": "Bearer", "expires_in": 600 });
    answer(200, &token.to_string())
}

fn network_of(asked: &Value) -> Vec<u8> {
    match asked["phoneNumber"].as_str().unwrap() {
        number if number.starts_with("+34600") => answer(200, "{\"networkId\":\"21407\"}"),
        number if number.starts_with("+34602") => answer(200, "{\"networkId\":\"99999\"}"),
        _ => answer(404, "{\"status\":404,\"code\":\"NOT_FOUND\",\"message\":\"none\"}"),
    }
}

fn operator_of(asked: &Value) -> Vec<u8> {
    let target = &asked["target"];
    let known = target["ipv4Address"]["publicAddress"] == "203.0.113.7"
        || target["phoneNumber"].as_str().is_some_and(|number| number.starts_with("+346"));
    if known {
        // The gateway must not call URLs from a response.
        answer(200, "{\"operatorId\":\"OURS\",\"apiRoot\":\"http://127.0.0.1:9/\"}")
    } else {
        answer(422, "{\"status\":422,\"code\":\"NOT_SUPPORTED\",\"message\":\"no rule\"}")
    }
}

#[test]
fn check_connect_tries_the_finders() {
    let fixture = FinderFixture::new();
    let folder = fixture.world.folder.display().to_string();
    let check = || World::run(&["check", "--connect", &folder]).1;
    let text = check();
    for (finder, path) in [("ported", "/network-id/v0"), ("telco", "/telco-finder/v1")] {
        let line = format!("ok: finder {finder}: http://{}{path}: ", fixture.world.at(PORT));
        assert!(text.contains(&line), "{text}");
    }
    // No country has the code 999.
    let bodies = fixture.request_bodies(NETWORK_ID);
    assert_eq!(bodies, [json!({ "phoneNumber": "+999000000000" })]);
    fixture.down.store(true, Ordering::SeqCst);
    let text = check();
    assert!(text.contains("failed: finder telco: "), "{text}");
}

#[test]
fn number_without_route_is_served_by_the_operator_of_its_network() {
    let fixture = FinderFixture::new();
    let made = fixture.create("+34600000001").expect(201);
    assert_eq!(fixture.request_bodies(NETWORK_ID), [json!({ "phoneNumber": "+34600000001" })]);
    assert_eq!(fixture.world.operator_sessions(AT).len(), 1);
    // Further requests are routed by session, without a lookup.
    let path = format!("/sessions/{}", session_id(&made));
    fixture.world.request(AT, "app", "GET", &path, "").expect(200);
    fixture.world.request(AT, "app", "DELETE", &path, "").expect(204);
    fixture.create("+34600000001").expect(201);
    assert_eq!((fixture.request_bodies(NETWORK_ID).len(), fixture.tokens()), (1, 1));
    assert_eq!((fixture.lookups("ported", "found"), fixture.lookups("ported", "cached")), (1, 1));
    // A ported number with a route, and a prefix of another finder.
    fixture.create("+34600000900").expect(201);
    assert_eq!(fixture.world.operator_sessions("camara-0.10.1").len(), 1);
    fixture.create("+34610000001").expect(201);
    assert_eq!(
        (fixture.request_bodies(NETWORK_ID).len(), fixture.request_bodies(SEARCH).len()),
        (1, 1)
    );
    let log = fixture.world.log();
    assert!(
        !log.contains("34600000001") && !log.contains(GRANTED) && !log.contains("eyJ"),
        "{log}"
    );
}

#[test]
fn address_is_looked_up_and_no_url_of_the_response_is_called() {
    let fixture = FinderFixture::new();
    fixture.create("203.0.113.7").expect(201);
    let target = json!({ "ipv4Address": { "publicAddress": "203.0.113.7" } });
    let question = json!({
        "target": target, "includeApiRoot": false, "includeAuthProviderConfiguration": false,
        "portabilitySearchMode": "SHALLOW",
    });
    assert_eq!(fixture.request_bodies(SEARCH), [question]);
    assert_eq!(fixture.world.operator_sessions(AT).len(), 1);
    fixture.create("203.0.113.8").expect(404);
    assert_eq!(fixture.tokens(), 0);
}

#[test]
fn unknown_device_or_foreign_network_is_rejected_and_cached() {
    let fixture = FinderFixture::new();
    for _ in 0..2 {
        // Neither finder has the device.
        let reply = fixture.create("+34999000001").expect(404);
        assert_eq!(reply.json()["code"], "IDENTIFIER_NOT_FOUND");
        // The network has no operator here: the next finder is not called.
        fixture.create("+34602000001").expect(404);
    }
    assert_eq!(
        (fixture.request_bodies(NETWORK_ID).len(), fixture.request_bodies(SEARCH).len()),
        (2, 1)
    );
    assert_eq!(fixture.lookups("ported", "not_found"), 1);
    assert_eq!(fixture.lookups("telco", "not_found"), 1);
    let log = fixture.world.log();
    assert!(
        log.contains("the finder named an operator that is not configured")
            && log.contains("99999"),
        "{log}"
    );
    assert!(!log.contains("34602000001"), "{log}");
}

#[test]
fn failed_finder_affects_only_its_devices() {
    let fixture = FinderFixture::with_operators(&DIALECTS);
    fixture.create("+34600000001").expect(201);
    fixture.down.store(true, Ordering::SeqCst);
    for (index, dialect) in DIALECTS.iter().enumerate().filter(|(_, name)| **name != "camara-0.1.0")
    {
        // Also for a prefix of another failed finder: no other finder is called instead.
        for start in ["+346000001", "+346100001"] {
            let body = create_request(dialect, &format!("{start}{index:02}"));
            let reply = fixture.world.create(dialect, "app", &body).expect(503);
            assert!(!reply.body.contains("ported") && !reply.body.contains("finder"), "{reply:?}");
        }
        let number = number_at(dialect, 77);
        let made = fixture.world.create(dialect, "app", &create_request(dialect, &number));
        assert!(matches!(made.status, 200 | 201), "{made:?}");
    }
    fixture.create("+34600000900").expect(201);
    // Cached results are used: the flow is reserved.
    fixture.create("+34600000001").expect(409);
    assert!(fixture.lookups("ported", "error") >= 5);
    assert!(fixture.lookups("ported", "suppressed") >= 1);
    let of_its_own = |asked: &Value| {
        asked["target"]["phoneNumber"].as_str().is_some_and(|number| number.starts_with("+3461"))
    };
    assert!(fixture.request_bodies(SEARCH).iter().all(of_its_own));
    let log = fixture.world.log();
    assert_eq!(log.matches("finder failed repeatedly; backing off").count(), 2, "{log}");
    fixture.down.store(false, Ordering::SeqCst);
    wait_for("the finder to be called again", || fixture.create("+34600000002").status == 201);
    assert!(fixture.world.log().contains("finder recovered"));
}

#[test]
fn concurrent_requests_for_one_number_share_a_lookup() {
    let fixture = FinderFixture::new();
    let device = json!({ "device": { "phoneNumber": "+34600000001" } }).to_string();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let reply = fixture.world.request(AT, "app", "POST", "/retrieve-sessions", &device);
                reply.expect(200);
            });
        }
    });
    assert_eq!((fixture.request_bodies(NETWORK_ID).len(), fixture.tokens()), (1, 1));
    assert_eq!(fixture.lookups("ported", "found"), 1);
}

#[test]
fn finder_cache_survives_reloads_except_of_the_finder() {
    let fixture = FinderFixture::new();
    let change = |file: &str, from: &str, to: &str| {
        let path = fixture.world.folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
        fixture.world.admin_post("/policies/reload").expect(200);
    };
    fixture.create("+34600000001").expect(201);
    change("routes.yaml", "+34600000900", "+34600000901");
    fixture.create("+34600000001").expect(409);
    assert_eq!(fixture.request_bodies(NETWORK_ID).len(), 1);
    // The mapping of networks to operators is in operators.yaml.
    change("operators.yaml", "\"21407\"", "\"21408\"");
    fixture.create("+34600000001").expect(404);
    assert_eq!(fixture.request_bodies(NETWORK_ID).len(), 1);
    change("operators.yaml", "\"21408\"", "\"21407\"");
    change("routes.yaml", "cache_ttl: 24h", "cache_ttl: 23h");
    fixture.create("+34600000001").expect(409);
    assert_eq!(fixture.request_bodies(NETWORK_ID).len(), 2);
}

#[test]
fn explain_lists_the_finders_without_calling_them() {
    let fixture = FinderFixture::new();
    let explain = |number: &str| {
        let mut path = format!("/policies/explain?client=app&dialect={AT}&body=");
        create_request(AT, number)
            .to_string()
            .bytes()
            .for_each(|byte| path += &format!("%{byte:02x}"));
        fixture.world.admin(&path).unwrap().expect(200).json()
    };
    let reply = explain("+34600000001");
    assert_eq!(reply["outcome"]["finders"], json!(["ported", "telco"]), "{reply:#}");
    let steps = reply["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["stage"] == "finder").unwrap();
    assert_eq!(step["text"], "ported would be called with phoneNumber");
    let routes = fs::read_to_string(fixture.world.folder.join("routes.yaml")).unwrap();
    let line = routes.lines().position(|line| line.contains("name: ported")).unwrap() + 1;
    assert_eq!(step["at"], format!("routes.yaml:{line}"));
    // No finder is called for a mock token.
    let device = create_request(AT, "+34610000001").to_string();
    let token = "mock_sandbox_access_token";
    let reply =
        fixture.world.try_request_with_token(token, AT, ("POST", "/sessions"), &[], &device);
    reply.unwrap().expect(403);
    assert_eq!(explain("+34610000001")["outcome"]["finders"], json!(["telco"]));
    assert_eq!(explain("+34600000900")["outcome"]["operator"], operator_named("camara-0.10.1"));
    assert!(fixture.server.requests().is_empty());
}
