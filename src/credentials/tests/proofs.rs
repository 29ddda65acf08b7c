//! Tests that signed proofs conform to the DevEdge description and are valid for one request only.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Method};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{super::*, caller, keys};
use crate::{
    identity::pop::{self, ProofError, ProofKey},
    qod::Moment,
};

/// The parts of a request that a proof covers.
#[derive(Clone, Debug, PartialEq)]
struct ProofTestRequest {
    method: Method,
    target: String,
    authorization: Option<String>,
    body: Vec<u8>,
}

fn create() -> ProofTestRequest {
    ProofTestRequest {
        method: Method::POST,
        target: "/qod/v0/sessions".to_owned(),
        authorization: Some("Bearer abc".to_owned()),
        body: b"{\"duration\":600}".to_vec(),
    }
}

fn now() -> Moment {
    caller().clock.now()
}

fn signed(sent: &ProofTestRequest, key: &keys::Pem) -> String {
    let key = SigningKey::from_pem(&Secret::new(&*key.private)).unwrap();
    let signed = SignedParts { method: &sent.method, target: &sent.target, body: &sent.body };
    let authorization = sent.authorization.as_ref().map(|text| text.parse().unwrap());
    let proof = sign_proof(&signed, authorization.as_ref(), &key, &caller().clock).unwrap();
    assert!(proof.is_sensitive());
    proof.to_str().unwrap().to_owned()
}

/// Verifies a proof by the DevEdge description and returns its claims: the signature is valid, and
/// `edts` is the hash of the values in the order of `ehts`.
fn described_claims(proof: &str, sent: &ProofTestRequest) -> Option<Value> {
    let der: String = keys::RSA.public.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.validate_exp = false;
    // The key follows a 24-byte algorithm header.
    let key = DecodingKey::from_rsa_der(&der[24..]);
    let claims = jsonwebtoken::decode::<Value>(proof, &key, &rules).ok()?.claims;
    let mut values = Vec::new();
    for name in claims["ehts"].as_str()?.split(';') {
        match name {
            "uri" => values.extend(sent.target.as_bytes()),
            "http-method" => values.extend(sent.method.as_str().as_bytes()),
            "body" => values.extend(&sent.body),
            "Authorization" => values.extend(sent.authorization.as_ref()?.as_bytes()),
            _ => return None,
        }
    }
    (claims["edts"] == URL_SAFE_NO_PAD.encode(Sha256::digest(values))).then_some(claims)
}

fn verified(
    proof: &str,
    sent: &ProofTestRequest,
    at: Moment,
) -> Result<pop::VerifiedProof, ProofError> {
    let key = ProofKey::from_pem(keys::RSA.public.as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    if let Some(text) = &sent.authorization {
        headers.insert(header::AUTHORIZATION, text.parse().unwrap());
    }
    let (method, target) = (&sent.method, &*sent.target);
    let request = pop::PopRequest { method, target, headers: &headers, body: &sent.body };
    pop::verify(proof, &key, &request, at)
}

#[test]
fn proof_conforms_to_the_description() {
    let sent = create();
    let proof = signed(&sent, &keys::RSA);
    let claims = described_claims(&proof, &sent).unwrap();
    assert_eq!(claims["ehts"], "Authorization;uri;http-method;body");
    assert_eq!(claims["iat"], now().unix_s());
    assert_eq!(claims["exp"], now().unix_s() + 120);
    assert_eq!(claims["v"], "1");
    let id: uuid::Uuid = claims["jti"].as_str().unwrap().parse().unwrap();
    assert_eq!(*verified(&proof, &sent, now()).unwrap().id, *id.to_string());
    let header = URL_SAFE_NO_PAD.decode(proof.split_once('.').unwrap().0).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header, serde_json::json!({ "alg": "RS256", "typ": "JWT" }));

    let get = ProofTestRequest { method: Method::GET, body: Vec::new(), ..create() };
    let proof = signed(&get, &keys::RSA);
    assert_eq!(described_claims(&proof, &get).unwrap()["ehts"], "Authorization;uri;http-method");
    verified(&proof, &get, now()).unwrap();
    let bare = ProofTestRequest { authorization: None, ..create() };
    let proof = signed(&bare, &keys::RSA);
    assert_eq!(described_claims(&proof, &bare).unwrap()["ehts"], "uri;http-method;body");
    verified(&proof, &bare, now()).unwrap();
}

#[test]
fn proofs_have_unique_ids() {
    let proofs = [0, 1].map(|_| signed(&create(), &keys::RSA));
    let [one, other] = proofs.map(|proof| verified(&proof, &create(), now()).unwrap().id);
    assert_ne!(one, other);
}

#[test]
fn proof_is_valid_only_within_its_lifetime_and_for_its_key() {
    let sent = create();
    let proof = signed(&sent, &keys::RSA);
    let at =
        |seconds: i64| Moment::from_unix_s(now().unix_s().checked_add_signed(seconds).unwrap());
    for seconds in [-10, 0, 119, 129] {
        verified(&proof, &sent, at(seconds)).unwrap();
    }
    for seconds in [-11, 130, 100_000] {
        assert_eq!(verified(&proof, &sent, at(seconds)), Err(ProofError::Expired), "{seconds}");
    }
    let foreign = signed(&sent, &keys::OTHER_RSA);
    assert_eq!(verified(&foreign, &sent, now()), Err(ProofError::Signature));
    let elliptic = signed(&sent, &keys::P256);
    assert_eq!(verified(&elliptic, &sent, now()), Err(ProofError::Malformed));
    assert!(ProofKey::from_pem(keys::P256.public.as_bytes()).is_err());
}

#[test]
fn proof_must_cover_all_required_parts() {
    let key = SigningKey::from_pem(&Secret::new(&*keys::RSA.private)).unwrap();
    let sent = create();
    let with = |ehts: &str, values: &str, change: fn(&mut Value)| {
        let mut claims = serde_json::json!({
            "iat": now().unix_s(), "exp": now().unix_s() + 60, "jti": "a", "v": "1",
            "ehts": ehts, "edts": pop::digest([values.as_bytes()]),
        });
        change(&mut claims);
        verified(&key.sign_jwt(None, &claims).unwrap(), &sent, now()).map(|_| ())
    };
    let same = |_: &mut Value| {};
    let body = "{\"duration\":600}";
    let whole = format!("/qod/v0/sessionsPOST{body}Bearer abc");
    let names = "uri;http-method;body;authorization";
    assert_eq!(with(names, &whole, same), Ok(()), "any order and case");
    for (names, values) in [
        ("uri;http-method;authorization", "/qod/v0/sessionsPOSTBearer abc".to_owned()),
        ("http-method;body;authorization", format!("POST{body}Bearer abc")),
        ("uri;body;authorization", format!("/qod/v0/sessions{body}Bearer abc")),
        ("uri;http-method;body", format!("/qod/v0/sessionsPOST{body}")),
        ("uri;http-method;body;authorization;x-none", whole.clone()),
        ("uri;uri;http-method;body;authorization", format!("/qod/v0/sessions{whole}")),
        ("", String::new()),
    ] {
        assert_eq!(with(names, &values, same), Err(ProofError::Incomplete), "{names}");
    }
    assert_eq!(with(names, "x", same), Err(ProofError::Mismatch));
    for (change, expected) in [
        ((|claims| claims["v"] = "2".into()) as fn(&mut Value), ProofError::Claims),
        (|claims| claims["jti"] = "".into(), ProofError::Claims),
        (|claims| claims["jti"] = 7.into(), ProofError::Claims),
        (|claims| claims["exp"] = "soon".into(), ProofError::Claims),
        (
            |claims| claims["exp"] = (claims["iat"].as_u64().unwrap() + 121).into(),
            ProofError::Expired,
        ),
        (|claims| claims["exp"] = claims["iat"].clone(), ProofError::Expired),
    ] {
        assert_eq!(with(names, &whole, change), Err(expected));
    }
}

/// Changes one byte of one part.
fn with_one_byte_changed(
    sent: &ProofTestRequest,
    part: usize,
    index: usize,
    byte: u8,
) -> ProofTestRequest {
    let mut changed = sent.clone();
    let swap = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let index = index % bytes.len();
        bytes[index] = byte;
        bytes
    };
    let text = |text: &str| String::from_utf8(swap(text.as_bytes())).unwrap();
    match part {
        0 => changed.target = text(&sent.target),
        1 => changed.authorization = sent.authorization.as_deref().map(text),
        2 => changed.body = swap(&sent.body),
        _ => changed.method = Method::from_bytes(&swap(sent.method.as_str().as_bytes())).unwrap(),
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signed_proof_is_valid_and_any_changed_byte_is_rejected(
        target in "/[a-z0-9/?=%-]{1,40}",
        token in "[A-Za-z0-9._-]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 1..60),
        part in 0..4_usize,
        index in any::<usize>(),
        byte in b'A'..=b'Z',
        flipped in any::<usize>(),
    ) {
        let authorization = Some(format!("Bearer {token}"));
        let sent = ProofTestRequest { target, authorization, body, ..create() };
        let proof = signed(&sent, &keys::RSA);
        prop_assert!(described_claims(&proof, &sent).is_some());
        prop_assert!(verified(&proof, &sent, now()).is_ok());

        let changed = with_one_byte_changed(&sent, part, index, byte);
        if changed != sent {
            prop_assert!(described_claims(&proof, &changed).is_none());
            prop_assert_eq!(verified(&proof, &changed, now()), Err(ProofError::Mismatch));
        }
        let mut bytes = proof.into_bytes();
        let flipped = flipped % bytes.len();
        bytes[flipped] = if bytes[flipped] == b'A' { b'B' } else { b'A' };
        let corrupted = String::from_utf8(bytes).unwrap();
        prop_assert!(verified(&corrupted, &sent, now()).is_err());
    }
}
