//! Who serves a device that no route knows, as others are asked it.

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
    http::{self, Answer},
    operators::{Fixture, Says, answer},
    world::{DIALECTS, Setup, World, id_of, number_at, operator_named, wait_for, wish},
};

const AT: &str = "camara-1.1.0";
const PORT: u16 = 9400;
const GRANTED: &str = "granted-to-the-gateway";
const NETWORK_ID: &str = "POST /network-id/v0/resolve-network-id";
const SEARCH: &str = "POST /telco-finder/v1/search";

/// A world whose operator of [`AT`] has the network 21407, with a Network Id API and a Telco Finder
/// that know each a few devices.
struct Asking {
    world: World,
    server: Fixture,
    down: Arc<AtomicBool>,
}

// `ADDRESS` is where they are.
const FINDERS: &str = "\
finders:
  - name: ported
    kind: network_id
    url: http://ADDRESS/network-id/v0
    oauth2: { token_url: \"http://ADDRESS/token\", client_id: gateway, private_key_file: own.pem }
    numbers: [\"+34\"]
    timeout: 5s
    remember: 24h
  - name: telco
    kind: telco_finder
    url: http://ADDRESS/telco-finder/v1
    bearer_token_file: granted
    timeout: 5s
";

impl Asking {
    fn new() -> Self {
        let mut world = World::unstarted(&Setup { routes: FINDERS, ..Setup::default() });
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

    fn create(&self, number: &str) -> Answer {
        self.world.create(AT, "app", &wish(AT, number))
    }

    /// The bodies of what was asked there.
    fn asked(&self, what: &str) -> Vec<Value> {
        let requests = self.server.requests();
        let of_it = requests.iter().filter(|request| request.starts_with(what));
        of_it.map(|request| serde_json::from_str(body_of(request)).unwrap()).collect()
    }

    fn tokens(&self) -> usize {
        self.server.requests().iter().filter(|request| request.starts_with("POST /token")).count()
    }

    fn questions(&self, finder: &str, outcome: &str) -> u64 {
        let labels = [format!("finder=\"{finder}\""), format!("outcome=\"{outcome}\"")];
        self.world.metric("qod_finder_questions_total", &[&labels[0], &labels[1]])
    }
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

/// A key in PEM, and what verifies its signatures.
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
            return grant(body_of(request), &public, &audience).into();
        }
        if down.load(Ordering::SeqCst) {
            return Says::Nothing;
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

/// Grants a token to whoever signs as `gateway` (`private_key_jwt`).
fn grant(form: &str, public: &DecodingKey, audience: &str) -> Vec<u8> {
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
        // Nobody is to be called because an answer says so.
        answer(200, "{\"operatorId\":\"OURS\",\"apiRoot\":\"http://127.0.0.1:9/\"}")
    } else {
        answer(422, "{\"status\":422,\"code\":\"NOT_SUPPORTED\",\"message\":\"no rule\"}")
    }
}

#[test]
fn a_number_that_no_route_knows_is_served_by_the_operator_of_its_network() {
    let asking = Asking::new();
    let made = asking.create("+34600000001").expect(201);
    assert_eq!(asking.asked(NETWORK_ID), [json!({ "phoneNumber": "+34600000001" })]);
    assert_eq!(asking.world.books(AT).len(), 1);
    // What follows is of the session, and not of the device.
    let path = format!("/sessions/{}", id_of(&made));
    asking.world.ask(AT, "app", "GET", &path, "").expect(200);
    asking.world.ask(AT, "app", "DELETE", &path, "").expect(204);
    asking.create("+34600000001").expect(201);
    assert_eq!((asking.asked(NETWORK_ID).len(), asking.tokens()), (1, 1));
    assert_eq!(
        (asking.questions("ported", "found"), asking.questions("ported", "remembered")),
        (1, 1)
    );
    // Ported, by a route of ours; and a prefix that another finder knows.
    asking.create("+34600000900").expect(201);
    assert_eq!(asking.world.books("camara-0.10.1").len(), 1);
    asking.create("+34610000001").expect(201);
    assert_eq!((asking.asked(NETWORK_ID).len(), asking.asked(SEARCH).len()), (1, 1));
    let log = asking.world.log();
    assert!(
        !log.contains("34600000001") && !log.contains(GRANTED) && !log.contains("eyJ"),
        "{log}"
    );
}

#[test]
fn an_address_that_leads_to_a_finder_is_asked_about_and_no_url_in_its_answer_is_called() {
    let asking = Asking::new();
    asking.create("203.0.113.7").expect(201);
    let target = json!({ "ipv4Address": { "publicAddress": "203.0.113.7" } });
    let question = json!({
        "target": target, "includeApiRoot": false, "includeAuthProviderConfiguration": false,
        "portabilitySearchMode": "SHALLOW",
    });
    assert_eq!(asking.asked(SEARCH), [question]);
    assert_eq!(asking.world.books(AT).len(), 1);
    asking.create("203.0.113.8").expect(404);
    assert_eq!(asking.tokens(), 0);
}

#[test]
fn whom_nobody_knows_or_somebody_else_serves_is_refused_and_that_is_remembered() {
    let asking = Asking::new();
    for _ in 0..2 {
        // The first knows nobody, and neither does the second.
        let told = asking.create("+34999000001").expect(404);
        assert_eq!(told.json()["code"], "IDENTIFIER_NOT_FOUND");
        // Its network is none of ours: nobody else is asked.
        asking.create("+34602000001").expect(404);
    }
    assert_eq!((asking.asked(NETWORK_ID).len(), asking.asked(SEARCH).len()), (2, 1));
    assert_eq!(asking.questions("ported", "nobody"), 1);
    assert_eq!(asking.questions("telco", "nobody"), 1);
    let log = asking.world.log();
    assert!(log.contains("an operator that is none of ours") && log.contains("99999"), "{log}");
    assert!(!log.contains("34602000001"), "{log}");
}

#[test]
fn a_finder_that_is_down_costs_the_devices_that_it_knows_and_no_others() {
    let asking = Asking::new();
    asking.create("+34600000001").expect(201);
    asking.down.store(true, Ordering::SeqCst);
    for (place, dialect) in DIALECTS.iter().enumerate().filter(|(_, name)| **name != "camara-0.1.0")
    {
        // Also by a prefix that leads to another that is down: nobody is asked in its place.
        for start in ["+346000001", "+346100001"] {
            let body = wish(dialect, &format!("{start}{place:02}"));
            let told = asking.world.create(dialect, "app", &body).expect(503);
            assert!(!told.body.contains("ported") && !told.body.contains("finder"), "{told:?}");
        }
        let number = number_at(dialect, 77);
        let made = asking.world.create(dialect, "app", &wish(dialect, &number));
        assert!(matches!(made.status, 200 | 201), "{made:?}");
    }
    asking.create("+34600000900").expect(201);
    // What is remembered is good: the flow is held, as is known.
    asking.create("+34600000001").expect(409);
    assert!(asking.questions("ported", "failed") >= 5);
    assert!(asking.questions("ported", "held_back") >= 1);
    let of_its_own = |asked: &Value| {
        asked["target"]["phoneNumber"].as_str().is_some_and(|number| number.starts_with("+3461"))
    };
    assert!(asking.asked(SEARCH).iter().all(of_its_own));
    let log = asking.world.log();
    assert_eq!(log.matches("the finder fails, and is left alone").count(), 2, "{log}");
    asking.down.store(false, Ordering::SeqCst);
    wait_for("the finder to be asked again", || asking.create("+34600000002").status == 201);
    assert!(asking.world.log().contains("the finder answers again"));
}

#[test]
fn many_requests_for_one_number_ask_once() {
    let asking = Asking::new();
    let device = json!({ "device": { "phoneNumber": "+34600000001" } }).to_string();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let told = asking.world.ask(AT, "app", "POST", "/retrieve-sessions", &device);
                told.expect(200);
            });
        }
    });
    assert_eq!((asking.asked(NETWORK_ID).len(), asking.tokens()), (1, 1));
    assert_eq!(asking.questions("ported", "found"), 1);
}

#[test]
fn what_is_remembered_outlives_a_change_of_the_policies_unless_it_is_the_finders_own() {
    let asking = Asking::new();
    let change = |file: &str, from: &str, to: &str| {
        let path = asking.world.folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
        http::send(asking.world.inside(), "POST", "/policies/reload", &[], "").expect(200);
    };
    asking.create("+34600000001").expect(201);
    change("routes.yaml", "+34600000900", "+34600000901");
    asking.create("+34600000001").expect(409);
    assert_eq!(asking.asked(NETWORK_ID).len(), 1);
    // What its answer means is said elsewhere.
    change("operators.yaml", "\"21407\"", "\"21408\"");
    asking.create("+34600000001").expect(404);
    assert_eq!(asking.asked(NETWORK_ID).len(), 1);
    change("operators.yaml", "\"21408\"", "\"21407\"");
    change("routes.yaml", "remember: 24h", "remember: 23h");
    asking.create("+34600000001").expect(409);
    assert_eq!(asking.asked(NETWORK_ID).len(), 2);
}

#[test]
fn whoever_asks_what_would_be_is_told_who_would_be_asked() {
    let asking = Asking::new();
    let foresee = |number: &str| {
        let mut path = format!("/policies/explain?client=app&dialect={AT}&body=");
        wish(AT, number).to_string().bytes().for_each(|byte| path += &format!("%{byte:02x}"));
        asking.world.admin(&path).unwrap().expect(200).json()
    };
    let told = foresee("+34600000001");
    assert_eq!(told["outcome"]["finders"], json!(["ported", "telco"]), "{told:#}");
    let steps = told["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["stage"] == "finder").unwrap();
    assert_eq!(step["says"], "ported would be asked by its phoneNumber");
    let routes = fs::read_to_string(asking.world.folder.join("routes.yaml")).unwrap();
    let line = routes.lines().position(|line| line.contains("name: ported")).unwrap() + 1;
    assert_eq!(step["at"], format!("routes.yaml:{line}"));
    // For a trial nobody is asked.
    let device = wish(AT, "+34610000001").to_string();
    let token = "mock_sandbox_access_token";
    let told = asking.world.try_ask_with(token, AT, ("POST", "/sessions"), &[], &device);
    told.unwrap().expect(403);
    assert_eq!(foresee("+34610000001")["outcome"]["finders"], json!(["telco"]));
    assert_eq!(foresee("+34600000900")["outcome"]["operator"], operator_named("camara-0.10.1"));
    assert!(asking.server.requests().is_empty());
}
