//! Sender-constrained tokens: clients present DPoP proofs (RFC 9449).

use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    http::{self, Connection, HttpResponse},
    world::{SCOPE, Setup, World, claims, create_request, number_at, session_id, wait_for},
};

mod devedge;

const DIALECT: &str = "camara-0.10.1";
const PUBLIC: &str = "https://qod.example/telco";
const UNKNOWN_SESSION: &str = "/sessions/00000000-0000-4000-8000-000000000000";
const ALGS: &str = r#"algs="RS256 PS256 ES256 EdDSA""#;
const CONNECTIONS: usize = 20;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn hashed(bytes: impl AsRef<[u8]>) -> String {
    base64url(Sha256::digest(bytes))
}

fn now() -> u64 {
    claims("app", SCOPE)["iat"].as_u64().unwrap()
}

fn new_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("proof-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A gateway with a public URL of another host and path, and a second issuer with sender-constrained
/// tokens only.
fn world() -> World {
    let strict = "  - { issuer: https://strict.test, audiences: [gateway], jwks_file: jwks.json, \
                  sender_constrained: required }\n";
    World::with(&Setup {
        clients: &format!("dpop: {{ public_urls: [\"{PUBLIC}\"], age_max: 5m }}"),
        issuers: strict,
        ..Setup::default()
    })
}

/// A client with a P-256 key and a token bound to it.
struct DpopClient {
    pair: EcdsaKeyPair,
    token: String,
}

impl DpopClient {
    fn new(world: &World) -> Self {
        Self::with(world, claims("app", SCOPE))
    }

    fn with(world: &World, mut claims: Value) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let jwk = jwk_of(&pair);
        let (x, y) = (&jwk["x"], &jwk["y"]);
        let named = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":{x},\"y\":{y}}}");
        claims["cnf"] = json!({ "jkt": hashed(named) });
        Self { pair, token: world.keys.token_of(&claims) }
    }

    fn proof(&self, method: &str, path: &str, body: &str) -> String {
        self.proof_of(&json!({
            "jti": new_id(), "htm": method, "htu": format!("{PUBLIC}/{DIALECT}/qod/v0{path}"),
            "iat": now(), "ath": hashed(&self.token), "x-camara:bh": hashed(body),
        }))
    }

    fn proof_of(&self, claims: &Value) -> String {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk_of(&self.pair) });
        let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", base64url(signature))
    }

    /// Sends a request with a new proof.
    fn request(&self, world: &World, method: &str, path: &str, body: &str) -> HttpResponse {
        self.request_with_proof(world, &self.proof(method, path, body), method, path, body)
    }

    fn request_with_proof(
        &self,
        world: &World,
        proof: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> HttpResponse {
        let bound = format!("DPoP {}", self.token);
        let headers = [("Authorization", &*bound), ("DPoP", proof)];
        http::send(
            world.gateway_address(),
            method,
            &format!("/{DIALECT}/qod/v0{path}"),
            &headers,
            body,
        )
    }
}

fn jwk_of(pair: &EcdsaKeyPair) -> Value {
    let point = pair.public_key().as_ref();
    let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
}

fn create(tail: u32) -> String {
    create_request(DIALECT, &number_at(DIALECT, tail)).to_string()
}

/// Sends one request on each of many connections at the same time and returns the statuses.
fn send_concurrently(world: &World, request: &[u8]) -> Vec<u16> {
    let barrier = Barrier::new(CONNECTIONS);
    thread::scope(|scope| {
        let one = || {
            let mut connection = Connection::open(world.gateway_address());
            barrier.wait();
            connection.write(request).unwrap();
            connection.read().unwrap().status
        };
        let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn assert_one_accepted(statuses: &[u16], taken: u16) {
    let count = |status: u16| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!((count(taken), count(401)), (1, CONNECTIONS - 1), "{statuses:?}");
}

#[test]
fn bound_token_is_valid_with_the_key_of_its_client() {
    let world = world();
    let holder = DpopClient::new(&world);
    let made = holder.request(&world, "POST", "/sessions", &create(1)).expect(201);
    let path = format!("/sessions/{}", session_id(&made));
    holder.request(&world, "GET", &path, "").expect(200);
    // Another client that uses the token with another key.
    let other_client = DpopClient { token: holder.token.clone(), ..DpopClient::new(&world) };
    let rejected = other_client.request(&world, "GET", &path, "").expect(401);
    assert_eq!(rejected.json()["code"], "UNAUTHENTICATED");
    let challenge = rejected.header("www-authenticate");
    assert_eq!(challenge, Some(&*format!("DPoP error=\"invalid_dpop_proof\", {ALGS}")));
    holder.request(&world, "DELETE", &path, "").expect(204);
    let counted = world.metric("qod_proofs_rejected_total", &["dpop", "key_mismatch"]);
    assert_eq!(counted, 1);
    let log = world.log();
    assert!(!log.contains("eyJ"), "neither tokens nor proofs are logged");
}

#[test]
fn proof_is_required_for_bound_tokens_only() {
    let world = world();
    let holder = DpopClient::new(&world);
    let path = format!("/{DIALECT}/qod/v0{UNKNOWN_SESSION}");
    let call =
        |headers: &[(&str, &str)]| http::send(world.gateway_address(), "GET", &path, headers, "");
    let proof = || holder.proof("GET", UNKNOWN_SESSION, "");
    let (bound, bearer) = (format!("DPoP {}", holder.token), format!("Bearer {}", holder.token));
    call(&[("Authorization", &bound), ("DPoP", &proof())]).expect(404);
    let token_challenge = format!("DPoP error=\"invalid_token\", {ALGS}");
    let proof_challenge = format!("DPoP error=\"invalid_dpop_proof\", {ALGS}");
    let plain = world.keys.token("app", SCOPE);
    let (plain_bound, plain) = (format!("DPoP {plain}"), format!("Bearer {plain}"));
    call(&[("Authorization", &plain)]).expect(404);
    let (one, other) = (proof(), proof());
    let two_in_one = format!("{one}, {other}");
    for (headers, challenge) in [
        (vec![], &*format!("Bearer, {}", ["DPoP", ALGS].join(" "))),
        (vec![("Authorization", &*bearer)], &*token_challenge),
        (vec![("Authorization", &bearer), ("DPoP", &one)], &token_challenge),
        (vec![("Authorization", &plain), ("DPoP", &one)], &token_challenge),
        (vec![("Authorization", &plain_bound), ("DPoP", &one)], &token_challenge),
        (vec![("Authorization", &bound)], &proof_challenge),
        (vec![("Authorization", &bound), ("DPoP", &one), ("DPoP", &other)], &proof_challenge),
        (vec![("Authorization", &bound), ("DPoP", &two_in_one)], &proof_challenge),
        (vec![("Authorization", &bound), ("DPoP", "")], &proof_challenge),
    ] {
        let rejected = call(&headers).expect(401);
        assert_eq!(rejected.header("www-authenticate"), Some(challenge), "{headers:?}");
    }
    // A proof for the URL of the `Host` field is rejected; the public URL is required.
    let claims = json!({
        "jti": new_id(), "htm": "GET", "htu": format!("http://gateway{path}"), "iat": now(),
        "ath": hashed(&holder.token),
    });
    call(&[("Authorization", &bound), ("DPoP", &holder.proof_of(&claims))]).expect(401);
    // An issuer whose tokens must be bound.
    let mut strict = claims_of_strict();
    let unbound = format!("Bearer {}", world.keys.token_of(&strict));
    call(&[("Authorization", &unbound)]).expect(401);
    strict["jti"] = json!("another");
    DpopClient::with(&world, strict).request(&world, "GET", UNKNOWN_SESSION, "").expect(404);
}

fn claims_of_strict() -> Value {
    let mut claims = claims("app", SCOPE);
    claims["iss"] = json!("https://strict.test");
    claims
}

#[test]
fn proof_is_valid_for_one_request_and_only_once() {
    let world = world();
    let holder = DpopClient::new(&world);
    let body = create(2);
    let proof = holder.proof("POST", "/sessions", &body);
    let send = |method: &str, path: &str, body: &str| {
        holder.request_with_proof(&world, &proof, method, path, body).status
    };
    let id = "/sessions/00000000-0000-4000-8000-000000000001";
    for (method, path, body) in [
        ("POST", "/sessions", &*create(3)),
        ("POST", "/sessions", &*format!("{body} ")),
        ("DELETE", id, ""),
        ("GET", "/qos-profiles", ""),
    ] {
        assert_eq!(send(method, path, body), 401, "{method} {path}");
    }
    assert_eq!(send("POST", "/sessions", &body), 201, "rejected requests do not use up the proof");
    for _ in 0..3 {
        assert_eq!(send("POST", "/sessions", &body), 401);
    }
    assert_eq!(world.metric("qod_proofs_rejected_total", &["dpop", "replayed"]), 3);
    assert_eq!(world.metric("qod_proofs_rejected_total", &["dpop", "mismatch"]), 4);

    // It remains used after a policy reload.
    let file = world.folder.join("clients.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("token_cache_max: 7\n{text}")).unwrap();
    wait_for("the policies to be reloaded", || {
        world.metric("qod_policy_reloads_total", &["applied"]) > 0
    });
    assert_eq!(send("POST", "/sessions", &body), 401);
    assert_eq!(world.metric("qod_proofs_rejected_total", &["dpop", "replayed"]), 4);
}

#[test]
fn proof_on_concurrent_connections_is_accepted_once() {
    let world = world();
    let holder = DpopClient::new(&world);
    for tail in 10..15 {
        let body = create(tail);
        let (bound, proof) =
            (format!("DPoP {}", holder.token), holder.proof("POST", "/sessions", &body));
        let headers = [("Authorization", &*bound), ("DPoP", &*proof)];
        let path = format!("/{DIALECT}/qod/v0/sessions");
        let request = http::request("POST", &path, &headers, &body);
        assert_one_accepted(&send_concurrently(&world, &request), 201);
    }
    assert_eq!(world.operator_sessions(DIALECT).len(), 5);
}

#[test]
fn proof_over_http_2_is_accepted_once() {
    let world = world();
    let holder = DpopClient::new(&world);
    let bound = format!("DPoP {}", holder.token);
    let proof = holder.proof("GET", UNKNOWN_SESSION, "");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let tcp = tokio::net::TcpStream::connect(world.gateway_address()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        for expected in [404, 401] {
            let url = format!("https://another.example/{DIALECT}/qod/v0{UNKNOWN_SESSION}");
            let request = http_request(&url, &[("authorization", &bound), ("dpop", &proof)]);
            let (answer, _) = client.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), expected);
        }
    });
}

fn http_request(url: &str, fields: &[(&str, &str)]) -> ::http::Request<()> {
    let request = fields
        .iter()
        .fold(::http::Request::get(url), |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}
