//! Clients that prove that their tokens are theirs, with keys that the tokens are bound to (RFC 9449).

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
    http::{self, Answer, Connection},
    world::{SCOPE, Setup, World, claims, id_of, number_at, wait_for, wish},
};

mod devedge;

const DIALECT: &str = "camara-0.10.1";
const PUBLIC: &str = "https://qod.example/telco";
const NOBODY: &str = "/sessions/00000000-0000-4000-8000-000000000000";
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

/// A gateway whose clients call it by another name, with another path in front, and a second issuer
/// whose tokens are all bound.
fn world() -> World {
    let strict = "  - { issuer: https://strict.test, audiences: [gateway], jwks_file: jwks.json, \
                  sender_constrained: required }\n";
    World::with(&Setup {
        clients: &format!("dpop: {{ public_urls: [\"{PUBLIC}\"], age_max: 5m }}"),
        issuers: strict,
        ..Setup::default()
    })
}

/// A client with a key on P-256, and a token that is bound to it.
struct Holder {
    pair: EcdsaKeyPair,
    token: String,
}

impl Holder {
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

    /// Sends a request with a proof of its own.
    fn ask(&self, world: &World, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(world, &self.proof(method, path, body), method, path, body)
    }

    fn ask_with(&self, world: &World, proof: &str, method: &str, path: &str, body: &str) -> Answer {
        let bound = format!("DPoP {}", self.token);
        let headers = [("Authorization", &*bound), ("DPoP", proof)];
        http::send(world.edge(), method, &format!("/{DIALECT}/qod/v0{path}"), &headers, body)
    }
}

fn jwk_of(pair: &EcdsaKeyPair) -> Value {
    let point = pair.public_key().as_ref();
    let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
}

fn create(tail: u32) -> String {
    wish(DIALECT, &number_at(DIALECT, tail)).to_string()
}

/// One request on each of many connections, all at the same time; their statuses.
fn all_at_once(world: &World, request: &[u8]) -> Vec<u16> {
    let barrier = Barrier::new(CONNECTIONS);
    thread::scope(|scope| {
        let one = || {
            let mut connection = Connection::open(world.edge());
            barrier.wait();
            connection.write(request).unwrap();
            connection.read().unwrap().status
        };
        let all: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn assert_one_of(statuses: &[u16], taken: u16) {
    let count = |status: u16| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!((count(taken), count(401)), (1, CONNECTIONS - 1), "{statuses:?}");
}

#[test]
fn a_bound_token_is_good_for_its_holder_from_create_to_delete() {
    let world = world();
    let holder = Holder::new(&world);
    let made = holder.ask(&world, "POST", "/sessions", &create(1)).expect(201);
    let path = format!("/sessions/{}", id_of(&made));
    holder.ask(&world, "GET", &path, "").expect(200);
    // Another who has the token, and a key of his own.
    let thief = Holder { token: holder.token.clone(), ..Holder::new(&world) };
    let refused = thief.ask(&world, "GET", &path, "").expect(401);
    assert_eq!(refused.json()["code"], "UNAUTHENTICATED");
    let challenge = refused.header("www-authenticate");
    assert_eq!(challenge, Some(&*format!("DPoP error=\"invalid_dpop_proof\", {ALGS}")));
    holder.ask(&world, "DELETE", &path, "").expect(204);
    let counted = world.metric("qod_proofs_refused_total", &["dpop", "other_key"]);
    assert_eq!(counted, 1);
    let log = world.log();
    assert!(!log.contains("eyJ"), "no token and no proof is logged");
}

#[test]
fn what_is_shown_is_neither_more_nor_less_than_the_token_asks_for() {
    let world = world();
    let holder = Holder::new(&world);
    let path = format!("/{DIALECT}/qod/v0{NOBODY}");
    let ask = |headers: &[(&str, &str)]| http::send(world.edge(), "GET", &path, headers, "");
    let proof = || holder.proof("GET", NOBODY, "");
    let (bound, bearer) = (format!("DPoP {}", holder.token), format!("Bearer {}", holder.token));
    ask(&[("Authorization", &bound), ("DPoP", &proof())]).expect(404);
    let bad_token = format!("DPoP error=\"invalid_token\", {ALGS}");
    let bad_proof = format!("DPoP error=\"invalid_dpop_proof\", {ALGS}");
    let plain = world.keys.token("app", SCOPE);
    let (plain_bound, plain) = (format!("DPoP {plain}"), format!("Bearer {plain}"));
    ask(&[("Authorization", &plain)]).expect(404);
    let (one, other) = (proof(), proof());
    let two_in_one = format!("{one}, {other}");
    for (headers, challenge) in [
        (vec![], &*format!("Bearer, {}", ["DPoP", ALGS].join(" "))),
        (vec![("Authorization", &*bearer)], &*bad_token),
        (vec![("Authorization", &bearer), ("DPoP", &one)], &bad_token),
        (vec![("Authorization", &plain), ("DPoP", &one)], &bad_token),
        (vec![("Authorization", &plain_bound), ("DPoP", &one)], &bad_token),
        (vec![("Authorization", &bound)], &bad_proof),
        (vec![("Authorization", &bound), ("DPoP", &one), ("DPoP", &other)], &bad_proof),
        (vec![("Authorization", &bound), ("DPoP", &two_in_one)], &bad_proof),
        (vec![("Authorization", &bound), ("DPoP", "")], &bad_proof),
    ] {
        let refused = ask(&headers).expect(401);
        assert_eq!(refused.header("www-authenticate"), Some(challenge), "{headers:?}");
    }
    // A proof for what the request's own `Host` says is for nobody here.
    let claims = json!({
        "jti": new_id(), "htm": "GET", "htu": format!("http://gateway{path}"), "iat": now(),
        "ath": hashed(&holder.token),
    });
    ask(&[("Authorization", &bound), ("DPoP", &holder.proof_of(&claims))]).expect(401);
    // An issuer whose tokens have to be bound.
    let mut strict = claims_of_strict();
    let loose = format!("Bearer {}", world.keys.token_of(&strict));
    ask(&[("Authorization", &loose)]).expect(401);
    strict["jti"] = json!("another");
    Holder::with(&world, strict).ask(&world, "GET", NOBODY, "").expect(404);
}

fn claims_of_strict() -> Value {
    let mut claims = claims("app", SCOPE);
    claims["iss"] = json!("https://strict.test");
    claims
}

#[test]
fn a_proof_is_for_one_request_and_for_once() {
    let world = world();
    let holder = Holder::new(&world);
    let body = create(2);
    let proof = holder.proof("POST", "/sessions", &body);
    let send = |method: &str, path: &str, body: &str| {
        holder.ask_with(&world, &proof, method, path, body).status
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
    assert_eq!(send("POST", "/sessions", &body), 201, "none of these has spent it");
    for _ in 0..3 {
        assert_eq!(send("POST", "/sessions", &body), 401);
    }
    assert_eq!(world.metric("qod_proofs_refused_total", &["dpop", "replayed"]), 3);
    assert_eq!(world.metric("qod_proofs_refused_total", &["dpop", "changed"]), 4);

    // Nor does it hold again when other policies are in force.
    let file = world.folder.join("clients.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("tokens_cached_max: 7\n{text}")).unwrap();
    wait_for("the policies to be followed", || {
        world.metric("qod_policy_reads_total", &["changed"]) > 0
    });
    assert_eq!(send("POST", "/sessions", &body), 401);
    assert_eq!(world.metric("qod_proofs_refused_total", &["dpop", "replayed"]), 4);
}

#[test]
fn one_proof_on_many_connections_is_taken_once() {
    let world = world();
    let holder = Holder::new(&world);
    for tail in 10..15 {
        let body = create(tail);
        let (bound, proof) =
            (format!("DPoP {}", holder.token), holder.proof("POST", "/sessions", &body));
        let headers = [("Authorization", &*bound), ("DPoP", &*proof)];
        let path = format!("/{DIALECT}/qod/v0/sessions");
        let request = http::request("POST", &path, &headers, &body);
        assert_one_of(&all_at_once(&world, &request), 201);
    }
    assert_eq!(world.books(DIALECT).len(), 5);
}

#[test]
fn over_http_2_it_is_the_same() {
    let world = world();
    let holder = Holder::new(&world);
    let bound = format!("DPoP {}", holder.token);
    let proof = holder.proof("GET", NOBODY, "");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let tcp = tokio::net::TcpStream::connect(world.edge()).await.unwrap();
        let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
        tokio::spawn(connection);
        for expected in [404, 401] {
            let url = format!("https://another.example/{DIALECT}/qod/v0{NOBODY}");
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
