//! How the gateway proves itself to operators that grant tokens themselves and verify proofs.

use std::{fs, net::SocketAddr, thread};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    http,
    operators::{Fixture, Says},
    world::{Setup, World, id_of, number_at, wait_for, wish},
};

const SECRET: &str = "the-clients-secret";
const PORT: u16 = 9300;
const NUMBER: &str = "+49200000001";

/// A world with one operator more, which asks for more than a fixed token. In its entry `ADDRESS` is
/// where it is, and in its arguments `FOLDER` where the keys are.
struct Asking {
    world: World,
    dialect: &'static str,
}

impl Asking {
    fn new(dialect: &'static str, entry: &str, arguments: &[&str]) -> Self {
        let entry = format!(
            "    endpoint: \"http://ADDRESS/qod/v0\"\n    speaks: {dialect}\n    \
             simulated: true\n{entry}"
        );
        let mut world =
            World::unstarted(&Setup { operators: &[("asking", entry)], ..Setup::default() });
        let (address, folder) = (world.at(PORT).to_string(), world.folder.display().to_string());
        let place = world.folder.join("operators.yaml");
        let text = fs::read_to_string(&place).unwrap().replace("ADDRESS", &address);
        fs::write(place, text).unwrap();
        let (own, other) = (key(), key());
        for (name, text) in [
            ("secret", SECRET),
            ("wrong", "another-secret"),
            ("proof.pem", &own.0),
            ("proof.pub", &own.1),
            ("other.pem", &other.0),
        ] {
            fs::write(world.folder.join(name), text).unwrap();
        }
        let mut simulate = vec!["simulate-operator", "--dialect", dialect, "--path", "/qod/v0"];
        simulate.extend(["--listen", &address]);
        let arguments: Vec<String> =
            arguments.iter().map(|argument| argument.replace("FOLDER", &folder)).collect();
        simulate.extend(arguments.iter().map(String::as_str));
        let child = world.command(&simulate).spawn().unwrap();
        world.keep(child);
        let asking = Self { world, dialect };
        wait_for("the operator", || std::net::TcpStream::connect(asking.operator()).is_ok());
        asking.started()
    }

    fn started(mut self) -> Self {
        self.world.start();
        self
    }

    /// One that grants tokens.
    fn granting(more: &[&str]) -> Self {
        let arguments = [GRANTS, more].concat();
        Self::new("camara-0.10.1", &by_secret("secret"), &arguments)
    }

    fn operator(&self) -> SocketAddr {
        self.world.at(PORT)
    }

    #[track_caller]
    fn create(&self, number: &str) -> http::Answer {
        self.world.create(self.dialect, "app", &wish(self.dialect, number))
    }

    fn granted(&self) -> u64 {
        let told = http::send(self.operator(), "GET", "/tokens", &[], "").expect(200);
        told.json()["granted"].as_u64().unwrap()
    }

    fn fetches(&self, outcome: &str) -> u64 {
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = ["operator=\"asking\"", &outcome];
        self.world.metric("qod_operator_token_fetches_total", &labels)
    }

    /// Creates that came out so.
    fn creates(&self, outcome: &str) -> u64 {
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = ["operator=\"asking\"", "operation=\"createSession\"", &outcome];
        self.world.metric("qod_operator_request_duration_seconds_count", &labels)
    }

    /// Others are served as ever.
    #[track_caller]
    fn assert_others_are_served(&self) {
        let number = number_at("camara-0.10.1", 77);
        let body = wish("camara-0.10.1", &number);
        let made = self.world.create("camara-0.10.1", "app", &body).expect(201);
        let path = format!("/sessions/{}", id_of(&made));
        self.world.ask("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
    }

    #[track_caller]
    fn assert_nothing_is_told(&self) {
        let log = self.world.log();
        for secret in [SECRET, "another-secret", "Bearer ", "Basic ", "eyJ", "PRIVATE KEY"] {
            assert!(!log.contains(secret), "`{secret}` is in the log: {log}");
        }
    }
}

const GRANTS: &[&str] = &["--oauth2-client", "gateway", "--oauth2-secret-file", "FOLDER/secret"];

fn by_secret(file: &str) -> String {
    format!(
        "    oauth2: {{ token_url: \"http://ADDRESS/token\", client_id: gateway, \
         client_secret_file: {file} }}\n"
    )
}

/// A private key and its public half, in PEM.
fn key() -> (String, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let pem = |name: &str, der: &[u8]| {
        format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", STANDARD.encode(der))
    };
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
}

#[test]
fn one_token_serves_many_calls() {
    let asking = Asking::granting(&[]);
    thread::scope(|scope| {
        for client in 0..8 {
            let asking = &asking;
            scope.spawn(move || {
                for number in 0..5 {
                    asking.create(&format!("+492000{client}000{number}")).expect(201);
                }
            });
        }
    });
    assert_eq!((asking.granted(), asking.fetches("ok")), (1, 1));
    assert_eq!(asking.creates("accepted"), 40);
    asking.assert_nothing_is_told();
}

#[test]
fn a_short_lived_token_is_replaced_in_time() {
    let asking = Asking::granting(&["--token-lifetime-s", "1"]);
    let mut number = 0;
    wait_for("tokens to come and go", || {
        number += 1;
        asking.create(&format!("+4920{number:07}")).expect(201);
        asking.granted() >= 4
    });
}

#[test]
fn a_token_that_was_taken_back_is_replaced_and_no_client_hears_of_it() {
    let asking = Asking::granting(&[]);
    let made = asking.create(NUMBER).expect(201);
    http::send(asking.operator(), "POST", "/tokens/revoke", &[], "").expect(200);
    // Even a create: what was answered 401 surely was not done.
    asking.create("+49200000002").expect(201);
    assert_eq!((asking.granted(), asking.creates("our_credentials")), (2, 0));
    let books = http::send(asking.operator(), "GET", "/books", &[], "").expect(200).body;
    assert_eq!(books.lines().count(), 2, "{books}");
    let path = format!("/sessions/{}", id_of(&made));
    asking.world.ask(asking.dialect, "app", "DELETE", &path, "").expect(204);
    assert_eq!(asking.granted(), 2);
}

#[test]
fn a_token_endpoint_that_is_down_costs_its_own_operator_only() {
    let entry = "    oauth2: { token_url: \"http://127.0.0.1:9/token\", client_id: gateway, \
                 client_secret_file: secret }\n";
    let asking = Asking::new("camara-0.10.1", entry, GRANTS);
    for _ in 0..5 {
        // Nothing is held: nothing was sent.
        let told = asking.create(NUMBER).expect(503);
        assert_eq!(told.json()["code"], "UNAVAILABLE");
        asking.assert_others_are_served();
    }
    assert_eq!(asking.creates("no_token"), 5);
    let failed = asking.fetches("failed");
    assert!((1..5).contains(&failed), "{failed}");
    assert_eq!(asking.world.log().matches("token endpoint grants no token").count(), 1);
    asking.assert_nothing_is_told();
}

#[test]
fn a_secret_that_is_wrong_is_told_to_us_and_not_to_clients() {
    let asking = Asking::new("camara-0.10.1", &by_secret("wrong"), GRANTS);
    for _ in 0..3 {
        let told = asking.create(NUMBER).expect(503);
        assert!(!told.body.contains("credential") && !told.body.contains("token"), "{told:?}");
    }
    asking.assert_others_are_served();
    assert_eq!((asking.granted(), asking.creates("no_token")), (0, 3));
    assert!(asking.fetches("refused") >= 1);
    let log = asking.world.log();
    assert_eq!(log.matches("token endpoint does not take the gateway's credentials").count(), 1);
    assert!(log.contains("invalid_client"), "{log}");
    asking.assert_nothing_is_told();
    // It is put right while everything runs.
    fs::write(asking.world.folder.join("wrong"), SECRET).unwrap();
    wait_for("the new secret", || asking.create(NUMBER).status == 201);
}

const VERIFIES: &[&str] = &["--proof-key-file", "FOLDER/proof.pub"];

#[test]
fn each_call_to_devedge_is_proved_anew() {
    let entry = format!("{}    proof_key_file: proof.pem\n", by_secret("secret"));
    let asking = Asking::new("devedge", &entry, &[GRANTS, VERIFIES].concat());
    let made = asking.create(NUMBER);
    assert!(matches!(made.status, 200 | 201), "{made:?}");
    asking.create("+49200000002");
    let path = format!("/sessions/{}", id_of(&made));
    asking.world.ask("devedge", "app", "DELETE", &path, "").expect(204);
    assert_eq!((asking.granted(), asking.creates("accepted")), (1, 2));
    asking.assert_nothing_is_told();
}

#[test]
fn a_proof_by_another_key_is_refused_and_that_is_told_to_us() {
    let entry = "    bearer_token_file: bearer\n    proof_key_file: other.pem\n";
    let asking = Asking::new("devedge", entry, VERIFIES);
    asking.create(NUMBER).expect(503);
    asking.assert_others_are_served();
    assert_eq!(asking.creates("our_credentials"), 1);
    let log = asking.world.log();
    assert!(log.contains("the operator does not take the gateway's credentials"), "{log}");

    let entry = format!("{}    proof_key_file: other.pem\n", by_secret("secret"));
    let asking = Asking::new("devedge", &entry, &[GRANTS, VERIFIES].concat());
    asking.create(NUMBER).expect(503);
    assert_eq!((asking.fetches("refused"), asking.creates("no_token")), (1, 1));
}

#[test]
fn further_fields_reach_the_operator() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    \
         headers: {{ X-Tenant: acme and sons }}\n    \
         secret_headers: {{ x-api-key: {{ value_file: secret }} }}\n"
    );
    let mut world = World::unstarted(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    fs::write(world.folder.join("secret"), SECRET).unwrap();
    let operator = Fixture::start(address, |_| Says::Nothing);
    world.start();
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", NUMBER)).expect(503);
    let requests = operator.requests();
    assert!(requests[0].contains("\r\nx-tenant: acme and sons\r\n"), "{requests:?}");
    assert!(requests[0].contains(&format!("\r\nx-api-key: {SECRET}\r\n")), "{requests:?}");
    assert!(!world.log().contains(SECRET));
}
