//! Operators whose token endpoint authenticates the gateway by a signed assertion.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use crate::{
    failover::unused_address,
    http::HttpResponse,
    operators::{Fixture, answer, session},
    world::{Setup, World, create_request, number_at, wait_for},
};

/// A private key in PEM and the public key that verifies its signatures.
struct AssertionKey {
    pem: String,
    name: &'static str,
    public: UnparsedPublicKey<Vec<u8>>,
}

impl AssertionKey {
    fn new(name: &'static str, pkcs8: &[u8], public: &[u8]) -> Self {
        let algorithm: &'static dyn VerificationAlgorithm = match name {
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            _ => &ECDSA_P256_SHA256_FIXED,
        };
        let text = STANDARD.encode(pkcs8);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        Self { pem, name, public: UnparsedPublicKey::new(algorithm, public.to_vec()) }
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Self::new("RS256", private.as_ref(), pair.public_key().as_ref())
    }

    fn p256() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref()).unwrap();
        Self::new("ES256", pkcs8.as_ref(), pair.public_key().as_ref())
    }
}

/// The request that a token endpoint expects.
struct ExpectedAssertion {
    key: AssertionKey,
    token_url: String,
    fields: &'static [(&'static str, &'static str)],
    assertion: &'static str,
    subject: &'static str,
    jtis: Mutex<HashSet<String>>,
}

impl ExpectedAssertion {
    /// Returns why a request is not valid.
    fn find_error(&self, request: &str) -> Option<String> {
        let (_, body) = request.split_once("\r\n\r\n")?;
        let fields: Vec<(String, String)> =
            form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let field = |name: &str| {
            let mut found = fields.iter().filter(|(own, _)| own == name);
            found.next().map(|(_, value)| value.as_str())
        };
        for (name, value) in self.fields {
            if field(name) != Some(value) {
                return Some(format!("{name}: {:?}", field(name)));
            }
        }
        let assertion = field(self.assertion).unwrap_or_default();
        let (signed, signature) = assertion.rsplit_once('.').unwrap_or_default();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        if self.key.public.verify(signed.as_bytes(), &signature).is_err() {
            return Some("the signature".to_owned());
        }
        let read = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (header, claims) = signed.split_once('.').unwrap();
        let (header, claims) = (read(header), read(claims));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let at = |name: &str| claims[name].as_u64().unwrap_or_default();
        let checks = [
            ("alg", header["alg"] == self.key.name),
            ("kid", header["kid"] == "k-1"),
            ("iss", claims["iss"] == "gateway"),
            ("sub", claims["sub"] == self.subject),
            ("aud", claims["aud"] == self.token_url.as_str()),
            ("iat", (now - 60..=now).contains(&at("iat"))),
            ("exp", at("exp") > now && at("exp") <= at("iat") + 60),
            ("jti", self.jtis.lock().unwrap().insert(claims["jti"].as_str()?.to_owned())),
        ];
        let mut wrong = checks.into_iter().filter(|(_, passed)| !passed);
        wrong.next().map(|(name, _)| format!("{name}: {header} {claims}"))
    }
}

/// A world with one more operator, whose access tokens expire after two seconds.
struct AssertionFixture {
    world: World,
    api: Fixture,
    tokens: SocketAddr,
    expects: Arc<ExpectedAssertion>,
    issued: Arc<AtomicU32>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl AssertionFixture {
    fn with(
        key: AssertionKey,
        entry: &str,
        fields: &'static [(&'static str, &'static str)],
        (assertion, subject): (&'static str, &'static str),
    ) -> Self {
        let (api, tokens) = (unused_address(), unused_address());
        let entry = format!(
            "    endpoint: \"http://{api}/qod/v0\"\n    dialect: camara-0.10.1\n    oauth2: {{ \
             token_url: \"http://{tokens}/token\", client_id: gateway, private_key_file: key.pem, \
             key_id: k-1, {entry} }}\n"
        );
        let world =
            World::unstarted(&Setup { operators: &[("asking", entry)], ..Setup::default() });
        fs::write(world.folder.join("key.pem"), &key.pem).unwrap();
        let granted = Arc::new(AtomicU32::new(0));
        let (known, number) = (Arc::clone(&granted), AtomicU32::new(0));
        let api = Fixture::start(api, move |request| {
            let mut token_number =
                request.lines().filter_map(|line| line.strip_prefix(AUTHORIZATION));
            let token_number =
                token_number.next().and_then(|token| token.parse().ok()).unwrap_or(0);
            if !(1..=known.load(Ordering::SeqCst)).contains(&token_number) {
                return answer(401, "").into();
            }
            // Each session has its own ID.
            let id = format!("{:08x}", number.fetch_add(1, Ordering::SeqCst));
            answer(201, &session("AVAILABLE").replace("3fa85f64", &id)).into()
        });
        let (token_url, jtis) = (format!("http://{tokens}/token"), Mutex::default());
        let expects =
            Arc::new(ExpectedAssertion { key, token_url, fields, assertion, subject, jtis });
        Self { world, api, tokens, expects, issued: granted, errors: Arc::default() }
    }

    /// Starts the token endpoint.
    fn start_token_endpoint(&self) -> Fixture {
        let (expects, granted) = (Arc::clone(&self.expects), Arc::clone(&self.issued));
        let faults = Arc::clone(&self.errors);
        Fixture::start(self.tokens, move |request| {
            if let Some(fault) = expects.find_error(request) {
                faults.lock().unwrap().push(fault);
                return answer(400, r#"{"error":"invalid_client"}"#).into();
            }
            let number = granted.fetch_add(1, Ordering::SeqCst) + 1;
            let token =
                format!(r#"{{"access_token":"t-{number}","token_type":"Bearer","expires_in":2}}"#);
            answer(200, &token).into()
        })
    }

    #[track_caller]
    fn create(&self, tail: usize) -> HttpResponse {
        let number = format!("+4920{tail:07}");
        self.world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number))
    }

    fn issued(&self) -> u32 {
        self.issued.load(Ordering::SeqCst)
    }

    /// Tokens expire, the token endpoint stops and starts again.
    fn run(mut self) {
        let token_endpoint = self.start_token_endpoint();
        self.world.start();
        let mut tail = 0;
        wait_for("tokens to be renewed", || {
            tail += 1;
            self.create(tail).expect(201);
            self.issued() >= 3
        });
        assert_eq!(*self.errors.lock().unwrap(), [""; 0]);
        assert!(self.expects.jtis.lock().unwrap().len() >= 3);

        token_endpoint.stop();
        wait_for("the last token to expire", || {
            tail += 1;
            self.create(tail).status == 503
        });
        let sent = self.api.requests().len();
        let reply = self.create(tail).expect(503);
        assert_eq!(reply.json()["code"], "UNAVAILABLE");
        assert_eq!(self.api.requests().len(), sent, "no request is sent without a token");
        let other = number_at("camara-0.10.1", 1);
        self.world
            .create("camara-1.1.0", "app", &create_request("camara-1.1.0", &other))
            .expect(201);

        let _token_endpoint = self.start_token_endpoint();
        // No request was sent, so no flow is reserved.
        wait_for("a token", || self.create(tail).status == 201);
        assert_eq!(*self.errors.lock().unwrap(), [""; 0]);
        let log = self.world.log();
        assert!(!log.contains("eyJ") && !log.contains("PRIVATE KEY"), "{log}");
    }
}

const AUTHORIZATION: &str = "authorization: Bearer t-";

#[test]
fn private_key_jwt_authenticates_the_gateway() {
    let fields = &[
        ("grant_type", "client_credentials"),
        ("client_id", "gateway"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("scope", "qod"),
    ];
    let entry = "method: private_key_jwt, scope: qod";
    AssertionFixture::with(AssertionKey::rsa(), entry, fields, ("client_assertion", "gateway"))
        .run();
}

#[test]
fn jwt_bearer_assertion_is_exchanged_for_a_token() {
    let fields = &[
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("audience", "https://api.example"),
    ];
    let entry = "method: jwt_bearer, subject: service-7, audience: \"https://api.example\"";
    AssertionFixture::with(AssertionKey::p256(), entry, fields, ("assertion", "service-7")).run();
}
