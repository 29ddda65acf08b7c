//! Clients that prove their requests with keys that the gateway knows, as DevEdge has it.

use std::fs;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{NOBODY, all_at_once, assert_one_of, base64url, hashed, new_id, now};
use crate::{
    http::{self, Answer},
    world::{SCOPE, Setup, World, claims, id_of, number_at, wait_for, wish},
};

/// A client of DevEdge's with a key of its own, and the header of its requests.
struct Prover {
    world: World,
    pair: RsaKeyPair,
    token: String,
}

impl Prover {
    fn new(more: &str) -> Self {
        let mut world = World::unstarted(&Setup::default());
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

    /// As T-Mobile describes it: the values of the fields and pseudo fields that `ehts` names, one
    /// behind the other, hashed.
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

    fn send(&self, proofs: &[&str], method: &str, target: &str, body: &str) -> Answer {
        self.send_as(&self.token, proofs, method, target, body)
    }

    fn send_as(
        &self,
        token: &str,
        proofs: &[&str],
        method: &str,
        target: &str,
        body: &str,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Authorization", &*bearer), ("x-transaction-id", "t-1")];
        headers.extend(proofs.iter().map(|proof| ("X-Authorization", *proof)));
        http::send(self.world.edge(), method, target, &headers, body)
    }

    /// Sends a request with a proof of its own.
    fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        self.send(&[&self.proof(method, target, body)], method, target, body)
    }

    fn refused(&self, reason: &str) -> u64 {
        self.world.metric("qod_proofs_refused_total", &["pop", &format!("\"{reason}\"")])
    }
}

fn write_key(world: &World, pair: &RsaKeyPair) {
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let text = STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    fs::write(world.folder.join("prover.pem"), pem).unwrap();
}

const SESSIONS: &str = "/devedge/qod/v0/sessions";

fn devedge_wish(tail: u32) -> String {
    wish("devedge", &number_at("devedge", tail)).to_string()
}

#[test]
fn a_client_of_devedge_proves_each_of_its_requests() {
    let prover = Prover::new("");
    let made = prover.ask("POST", SESSIONS, &devedge_wish(1)).expect(200);
    let path = format!("{SESSIONS}/{}", id_of(&made));
    prover.ask("GET", &path, "").expect(200);
    let refused = prover.send(&[], "DELETE", &path, "").expect(401);
    let told = refused.json();
    assert_eq!(
        (&told["reasonCode"], &told["systemMessage"]),
        (&json!("ERR-1091"), &json!("UNAUTHORIZED"))
    );
    assert_eq!(refused.header("x-transaction-id"), Some("t-1"));
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    prover.ask("DELETE", &path, "").expect(204);
    // Others, who have no key, are served as ever.
    let made = prover.world.create("devedge", "app", &wish("devedge", &number_at("devedge", 2)));
    assert_eq!(made.status, 200);
    assert_eq!(prover.refused("missing"), 1);
    assert!(!prover.world.log().contains("eyJ"), "no token and no proof is logged");
}

#[test]
fn every_single_change_of_a_proved_request_is_refused() {
    let prover = Prover::new("");
    let body = devedge_wish(3);
    let proof = prover.proof("POST", SESSIONS, &body);
    let extended = format!("{SESSIONS}/00000000-0000-4000-8000-000000000001");
    let other = devedge_wish(4);
    let spaced = format!("{body} ");
    let query = format!("{SESSIONS}?a=b");
    let another = prover.proof("POST", SESSIONS, &body);
    for (proofs, method, target, body, reason) in [
        (vec![&*proof], "POST", SESSIONS, &*other, "changed"),
        (vec![&proof], "POST", SESSIONS, &spaced, "changed"),
        (vec![&proof], "POST", &query, &body, "changed"),
        (vec![&proof], "GET", &extended, "", "changed"),
        (vec![&proof], "DELETE", &extended, "", "changed"),
        (vec![&proof, &another], "POST", SESSIONS, &body, "missing"),
        (vec![&proof, &proof], "POST", SESSIONS, &body, "missing"),
        (vec!["proof"], "POST", SESSIONS, &body, "form"),
        (vec![], "POST", SESSIONS, &body, "missing"),
    ] {
        let before = prover.refused(reason);
        let refused = prover.send(&proofs, method, target, body).expect(401);
        assert_eq!(refused.json()["reasonCode"], "ERR-1091", "{method} {target}");
        assert_eq!(prover.refused(reason), before + 1, "{method} {target} {reason}");
    }
    // Another token of the same client's.
    let token = prover.world.keys.token_of(&{
        let mut claims = claims("prover", SCOPE);
        claims["jti"] = json!("another");
        claims
    });
    prover.send_as(&token, &[&proof], "POST", SESSIONS, &body).expect(401);
    // And `Authorization` twice is none.
    let bearer = format!("Bearer {}", prover.token);
    let twice =
        [("Authorization", &*bearer), ("Authorization", &*bearer), ("X-Authorization", &*proof)];
    http::send(prover.world.edge(), "POST", SESSIONS, &twice, &body).expect(401);
    assert!(prover.world.books("devedge").is_empty());

    // After all of this it is as good as before, once.
    prover.send(&[&proof], "POST", SESSIONS, &body).expect(200);
    prover.send(&[&proof], "POST", SESSIONS, &body).expect(401);
    assert_eq!(prover.refused("replayed"), 1);
}

#[test]
fn one_proof_of_devedges_on_many_connections_is_taken_once() {
    let prover = Prover::new("");
    let bearer = format!("Bearer {}", prover.token);
    for tail in 10..15 {
        let body = devedge_wish(tail);
        let proof = prover.proof("POST", SESSIONS, &body);
        let headers = [("Authorization", &*bearer), ("X-Authorization", &*proof)];
        let request = http::request("POST", SESSIONS, &headers, &body);
        assert_one_of(&all_at_once(&prover.world, &request), 200);
    }
    assert_eq!(prover.world.books("devedge").len(), 5);
}

#[test]
fn who_has_a_key_cannot_leave_the_proof_out_by_looking_like_another() {
    let elsewhere = |path: &str| format!("{path}{NOBODY}");
    // On a path that several dialects share, whatever the request looks like.
    let (shared, other) = (elsewhere("/qod/v0"), elsewhere("/camara-0.10.1/qod/v0"));
    let asked = Prover::new("");
    asked.send(&[], "GET", &shared, "").expect(401);
    asked.ask("GET", &shared, "").expect(404);
    asked.send(&[], "GET", &other, "").expect(404);
    let always = Prover::new(", proof_everywhere: true");
    always.send(&[], "GET", &other, "").expect(401);
    always.ask("GET", &other, "").expect(404);
    always.ask("GET", &shared, "").expect(404);
}

#[test]
fn a_clients_key_can_be_changed_in_its_file() {
    let mut prover = Prover::new("");
    let path = format!("{SESSIONS}/00000000-0000-4000-8000-000000000001");
    prover.ask("GET", &path, "").expect(404);
    prover.pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    prover.ask("GET", &path, "").expect(401);
    write_key(&prover.world, &prover.pair);
    wait_for("the new key", || prover.ask("GET", &path, "").status == 404);
}
