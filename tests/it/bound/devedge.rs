//! Proof of possession as in DevEdge: clients sign requests with keys configured at the gateway.

use std::fs;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    UNKNOWN_SESSION, assert_one_accepted, base64url, hashed, new_id, now, send_concurrently,
};
use crate::{
    http::{self, HttpResponse},
    world::{SCOPE, Setup, World, claims, create_request, number_at, session_id, wait_for},
};

/// A DevEdge client with its key and the header fields of its requests.
struct DevEdgeClient {
    world: World,
    pair: RsaKeyPair,
    token: String,
}

impl DevEdgeClient {
    fn new(more: &str) -> Self {
        let mut world = World::unstarted(&Setup { simulated: &["devedge"], ..Setup::default() });
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        write_key(&world, &pair);
        let file = world.folder.join("clients.yaml");
        let terms = "rate: 100000/s, burst: 100000, proof_key_file: prover.pem";
        let text = fs::read_to_string(&file).unwrap() + &format!("  prover: {{ {terms}{more} }}\n");
        fs::write(file, text).unwrap();
        world.start();
        let token = world.keys.token("prover", SCOPE);
        Self { world, pair, token }
    }

    /// As T-Mobile specifies it: the hash of the concatenated values of the fields and pseudo fields
    /// listed in `ehts`.
    fn proof(&self, method: &str, target: &str, body: &str) -> String {
        let mut names = "Authorization;uri;http-method".to_owned();
        let mut values = format!("Bearer {}{target}{method}", self.token);
        if !body.is_empty() {
            names += ";body";
            values += body;
        }
        let claims = json!({
            "iat": now(), "exp": now() + 120, "jti": new_id(), "v": "1", "ehts": names,
            "edts": hashed(values),
        });
        let header = base64url(r#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", base64url(claims.to_string()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", base64url(signature))
    }

    fn send(&self, proofs: &[&str], method: &str, target: &str, body: &str) -> HttpResponse {
        self.send_as(&self.token, proofs, method, target, body)
    }

    fn send_as(
        &self,
        token: &str,
        proofs: &[&str],
        method: &str,
        target: &str,
        body: &str,
    ) -> HttpResponse {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Authorization", &*bearer), ("x-transaction-id", "t-1")];
        headers.extend(proofs.iter().map(|proof| ("X-Authorization", *proof)));
        http::send(self.world.gateway_address(), method, target, &headers, body)
    }

    /// Sends a request with a new proof.
    fn request(&self, method: &str, target: &str, body: &str) -> HttpResponse {
        self.send(&[&self.proof(method, target, body)], method, target, body)
    }

    fn rejections(&self, reason: &str) -> u64 {
        self.world.metric("qod_proofs_rejected_total", &["pop", &format!("\"{reason}\"")])
    }
}

fn write_key(world: &World, pair: &RsaKeyPair) {
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let text = STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    fs::write(world.folder.join("prover.pem"), pem).unwrap();
}

const SESSIONS: &str = "/devedge/qod/v0/sessions";

fn devedge_request(tail: u32) -> String {
    create_request("devedge", &number_at("devedge", tail)).to_string()
}

#[test]
fn devedge_client_needs_a_proof_for_each_request() {
    let prover = DevEdgeClient::new("");
    let made = prover.request("POST", SESSIONS, &devedge_request(1)).expect(200);
    let path = format!("{SESSIONS}/{}", session_id(&made));
    prover.request("GET", &path, "").expect(200);
    let rejected = prover.send(&[], "DELETE", &path, "").expect(401);
    let reply = rejected.json();
    assert_eq!(
        (&reply["reasonCode"], &reply["systemMessage"]),
        (&json!("ERR-1091"), &json!("UNAUTHORIZED"))
    );
    assert_eq!(rejected.header("x-transaction-id"), Some("t-1"));
    assert_eq!(rejected.header("www-authenticate"), Some("Bearer"));
    prover.request("DELETE", &path, "").expect(204);
    // Clients without a configured key need no proof.
    let made =
        prover.world.create("devedge", "app", &create_request("devedge", &number_at("devedge", 2)));
    assert_eq!(made.status, 200);
    assert_eq!(prover.rejections("missing"), 1);
    assert!(!prover.world.log().contains("eyJ"), "neither tokens nor proofs are logged");
}

#[test]
fn changed_request_is_rejected() {
    let prover = DevEdgeClient::new("");
    let body = devedge_request(3);
    let proof = prover.proof("POST", SESSIONS, &body);
    let extended = format!("{SESSIONS}/00000000-0000-4000-8000-000000000001");
    let other = devedge_request(4);
    let spaced = format!("{body} ");
    let query = format!("{SESSIONS}?a=b");
    let another = prover.proof("POST", SESSIONS, &body);
    for (proofs, method, target, body, reason) in [
        (vec![&*proof], "POST", SESSIONS, &*other, "mismatch"),
        (vec![&proof], "POST", SESSIONS, &spaced, "mismatch"),
        (vec![&proof], "POST", &query, &body, "mismatch"),
        (vec![&proof], "GET", &extended, "", "mismatch"),
        (vec![&proof], "DELETE", &extended, "", "mismatch"),
        (vec![&proof, &another], "POST", SESSIONS, &body, "missing"),
        (vec![&proof, &proof], "POST", SESSIONS, &body, "missing"),
        (vec!["proof"], "POST", SESSIONS, &body, "malformed"),
        (vec![], "POST", SESSIONS, &body, "missing"),
    ] {
        let before = prover.rejections(reason);
        let rejected = prover.send(&proofs, method, target, body).expect(401);
        assert_eq!(rejected.json()["reasonCode"], "ERR-1091", "{method} {target}");
        assert_eq!(prover.rejections(reason), before + 1, "{method} {target} {reason}");
    }
    // Another token of the same client.
    let token = prover.world.keys.token_of(&{
        let mut claims = claims("prover", SCOPE);
        claims["jti"] = json!("another");
        claims
    });
    prover.send_as(&token, &[&proof], "POST", SESSIONS, &body).expect(401);
    // Two `Authorization` fields are rejected.
    let bearer = format!("Bearer {}", prover.token);
    let twice =
        [("Authorization", &*bearer), ("Authorization", &*bearer), ("X-Authorization", &*proof)];
    http::send(prover.world.gateway_address(), "POST", SESSIONS, &twice, &body).expect(401);
    assert!(prover.world.operator_sessions("devedge").is_empty());

    // The proof is still valid, once.
    prover.send(&[&proof], "POST", SESSIONS, &body).expect(200);
    prover.send(&[&proof], "POST", SESSIONS, &body).expect(401);
    assert_eq!(prover.rejections("replayed"), 1);
}

#[test]
fn devedge_proof_on_concurrent_connections_is_accepted_once() {
    let prover = DevEdgeClient::new("");
    let bearer = format!("Bearer {}", prover.token);
    for tail in 10..15 {
        let body = devedge_request(tail);
        let proof = prover.proof("POST", SESSIONS, &body);
        let headers = [("Authorization", &*bearer), ("X-Authorization", &*proof)];
        let request = http::request("POST", SESSIONS, &headers, &body);
        assert_one_accepted(&send_concurrently(&prover.world, &request), 200);
    }
    assert_eq!(prover.world.operator_sessions("devedge").len(), 5);
}

#[test]
fn client_with_a_key_needs_a_proof_in_every_detected_dialect() {
    let elsewhere = |path: &str| format!("{path}{UNKNOWN_SESSION}");
    // On a path shared by several dialects, for any detected dialect.
    let (shared, other) = (elsewhere("/qod/v0"), elsewhere("/camara-0.10.1/qod/v0"));
    let asked = DevEdgeClient::new("");
    asked.send(&[], "GET", &shared, "").expect(401);
    asked.request("GET", &shared, "").expect(404);
    asked.send(&[], "GET", &other, "").expect(404);
    let always = DevEdgeClient::new(", proof_on_all_paths: true");
    always.send(&[], "GET", &other, "").expect(401);
    always.request("GET", &other, "").expect(404);
    always.request("GET", &shared, "").expect(404);
}

#[test]
fn client_key_is_reloaded_from_its_file() {
    let mut prover = DevEdgeClient::new("");
    let path = format!("{SESSIONS}/00000000-0000-4000-8000-000000000001");
    prover.request("GET", &path, "").expect(404);
    prover.pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    prover.request("GET", &path, "").expect(401);
    write_key(&prover.world, &prover.pair);
    wait_for("the new key", || prover.request("GET", &path, "").status == 404);
}
