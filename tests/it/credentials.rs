//! The gateway's credentials at operators with a token endpoint and with proof of possession.

use std::{fs, net::SocketAddr, thread};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::{KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    http,
    operators::{Fixture, FixtureResponse},
    world::{Setup, World, create_request, number_at, session_id, wait_for},
};

const SECRET: &str = "the-clients-secret";
const PORT: u16 = 9300;
const NUMBER: &str = "+49200000001";

/// A world with one more operator that requires more than a fixed token. `ADDRESS` in its entry is
/// replaced by its address, and `FOLDER` in its arguments by the folder of the keys.
struct CredentialsFixture {
    world: World,
    dialect: &'static str,
}

impl CredentialsFixture {
    fn new(dialect: &'static str, entry: &str, arguments: &[&str]) -> Self {
        let entry = format!(
            "    endpoint: \"http://ADDRESS/qod/v0\"\n    dialect: {dialect}\n    \
             simulated: true\n{entry}"
        );
        let mut world =
            World::unstarted(&Setup { operators: &[("asking", entry)], ..Setup::default() });
        let (address, folder) = (world.at(PORT).to_string(), world.folder.display().to_string());
        let path = world.folder.join("operators.yaml");
        let text = fs::read_to_string(&path).unwrap().replace("ADDRESS", &address);
        fs::write(path, text).unwrap();
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
        world.add_process(child);
        let fixture = Self { world, dialect };
        wait_for("the operator", || std::net::TcpStream::connect(fixture.operator()).is_ok());
        fixture.started()
    }

    fn started(mut self) -> Self {
        self.world.start();
        self
    }

    /// An operator with a token endpoint.
    fn with_token_endpoint(more: &[&str]) -> Self {
        let arguments = [GRANTS, more].concat();
        Self::new("camara-0.10.1", &by_secret("secret"), &arguments)
    }

    fn operator(&self) -> SocketAddr {
        self.world.at(PORT)
    }

    #[track_caller]
    fn create(&self, number: &str) -> http::HttpResponse {
        self.world.create(self.dialect, "app", &create_request(self.dialect, number))
    }

    fn issued_tokens(&self) -> u64 {
        let reply = http::send(self.operator(), "GET", "/tokens", &[], "").expect(200);
        reply.json()["issued"].as_u64().unwrap()
    }

    fn fetches(&self, outcome: &str) -> u64 {
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = ["operator=\"asking\"", &outcome];
        self.world.metric("qod_operator_token_fetches_total", &labels)
    }

    /// The number of creates with this outcome.
    fn creates(&self, outcome: &str) -> u64 {
        let outcome = format!("outcome=\"{outcome}\"");
        let labels = ["operator=\"asking\"", "operation=\"createSession\"", &outcome];
        self.world.metric("qod_operator_request_duration_seconds_count", &labels)
    }

    /// Asserts that other operators are not affected.
    #[track_caller]
    fn assert_others_are_served(&self) {
        let number = number_at("camara-0.10.1", 77);
        let body = create_request("camara-0.10.1", &number);
        let made = self.world.create("camara-0.10.1", "app", &body).expect(201);
        let path = format!("/sessions/{}", session_id(&made));
        self.world.request("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
    }

    #[track_caller]
    fn assert_no_secret_is_logged(&self) {
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

/// A private key and its public key, in PEM.
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
fn token_is_reused() {
    let fixture = CredentialsFixture::with_token_endpoint(&[]);
    thread::scope(|scope| {
        for client in 0..8 {
            let fixture = &fixture;
            scope.spawn(move || {
                for number in 0..5 {
                    fixture.create(&format!("+492000{client}000{number}")).expect(201);
                }
            });
        }
    });
    assert_eq!((fixture.issued_tokens(), fixture.fetches("ok")), (1, 1));
    assert_eq!(fixture.creates("accepted"), 40);
    fixture.assert_no_secret_is_logged();
}

#[test]
fn short_lived_token_is_renewed_in_time() {
    let fixture = CredentialsFixture::with_token_endpoint(&["--token-lifetime-s", "1"]);
    let mut number = 0;
    wait_for("tokens to be renewed", || {
        number += 1;
        fixture.create(&format!("+4920{number:07}")).expect(201);
        fixture.issued_tokens() >= 4
    });
}

#[test]
fn revoked_token_is_replaced_without_a_client_error() {
    let fixture = CredentialsFixture::with_token_endpoint(&[]);
    let made = fixture.create(NUMBER).expect(201);
    http::send(fixture.operator(), "POST", "/tokens/revoke", &[], "").expect(200);
    // Even a create is sent again: a request answered with 401 was not executed.
    fixture.create("+49200000002").expect(201);
    assert_eq!((fixture.issued_tokens(), fixture.creates("unauthorized")), (2, 0));
    let sessions =
        http::send(fixture.operator(), "GET", "/simulator/sessions", &[], "").expect(200).body;
    assert_eq!(sessions.lines().count(), 2, "{sessions}");
    let path = format!("/sessions/{}", session_id(&made));
    fixture.world.request(fixture.dialect, "app", "DELETE", &path, "").expect(204);
    assert_eq!(fixture.issued_tokens(), 2);
}

#[test]
fn failed_token_endpoint_affects_its_operator_only() {
    let entry = "    oauth2: { token_url: \"http://127.0.0.1:9/token\", client_id: gateway, \
                 client_secret_file: secret }\n";
    let fixture = CredentialsFixture::new("camara-0.10.1", entry, GRANTS);
    for _ in 0..5 {
        // No request was sent, so no flow is reserved.
        let reply = fixture.create(NUMBER).expect(503);
        assert_eq!(reply.json()["code"], "UNAVAILABLE");
        fixture.assert_others_are_served();
    }
    assert_eq!(fixture.creates("no_token"), 5);
    let failed = fixture.fetches("failed");
    assert!((1..5).contains(&failed), "{failed}");
    assert_eq!(fixture.world.log().matches("access_token_fetch_failed").count(), 1);
    fixture.assert_no_secret_is_logged();
}

#[test]
fn wrong_secret_is_logged_but_not_disclosed_to_clients() {
    let fixture = CredentialsFixture::new("camara-0.10.1", &by_secret("wrong"), GRANTS);
    for _ in 0..3 {
        let reply = fixture.create(NUMBER).expect(503);
        assert!(!reply.body.contains("credential") && !reply.body.contains("token"), "{reply:?}");
    }
    fixture.assert_others_are_served();
    assert_eq!((fixture.issued_tokens(), fixture.creates("no_token")), (0, 3));
    assert!(fixture.fetches("rejected") >= 1);
    let log = fixture.world.log();
    assert_eq!(log.matches("access_token_fetch_failed").count(), 1);
    assert!(log.contains("invalid_client"), "{log}");
    fixture.assert_no_secret_is_logged();
    // It is corrected while the gateway runs.
    fs::write(fixture.world.folder.join("wrong"), SECRET).unwrap();
    wait_for("the new secret", || fixture.create(NUMBER).status == 201);
}

const VERIFIES: &[&str] = &["--proof-key-file", "FOLDER/proof.pub"];

#[test]
fn each_devedge_call_has_a_new_proof() {
    let entry = format!("{}    proof_key_file: proof.pem\n", by_secret("secret"));
    let fixture = CredentialsFixture::new("devedge", &entry, &[GRANTS, VERIFIES].concat());
    let made = fixture.create(NUMBER);
    assert!(matches!(made.status, 200 | 201), "{made:?}");
    fixture.create("+49200000002");
    let path = format!("/sessions/{}", session_id(&made));
    fixture.world.request("devedge", "app", "DELETE", &path, "").expect(204);
    assert_eq!((fixture.issued_tokens(), fixture.creates("accepted")), (1, 2));
    fixture.assert_no_secret_is_logged();
}

#[test]
fn rejected_proof_is_logged() {
    let entry = "    bearer_token_file: bearer\n    proof_key_file: other.pem\n";
    let fixture = CredentialsFixture::new("devedge", entry, VERIFIES);
    fixture.create(NUMBER).expect(503);
    fixture.assert_others_are_served();
    assert_eq!(fixture.creates("unauthorized"), 1);
    let log = fixture.world.log();
    assert!(log.contains("operator rejected the gateway's credentials"), "{log}");

    let entry = format!("{}    proof_key_file: other.pem\n", by_secret("secret"));
    let fixture = CredentialsFixture::new("devedge", &entry, &[GRANTS, VERIFIES].concat());
    fixture.create(NUMBER).expect(503);
    assert_eq!((fixture.fetches("rejected"), fixture.creates("no_token")), (1, 1));
}

#[test]
fn additional_header_fields_are_sent() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
         headers: {{ X-Tenant: acme and sons }}\n    \
         secret_headers: {{ x-api-key: {{ value_file: secret }} }}\n"
    );
    let mut world = World::unstarted(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    fs::write(world.folder.join("secret"), SECRET).unwrap();
    let operator = Fixture::start(address, |_| FixtureResponse::Close);
    world.start();
    world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", NUMBER)).expect(503);
    let requests = operator.requests();
    assert!(requests[0].contains("\r\nx-tenant: acme and sons\r\n"), "{requests:?}");
    assert!(requests[0].contains(&format!("\r\nx-api-key: {SECRET}\r\n")), "{requests:?}");
    assert!(!world.log().contains(SECRET));
}
