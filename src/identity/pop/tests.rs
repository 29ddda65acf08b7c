//! Tests verification with an independent proof builder that follows T-Mobile's description: its
//! proofs are valid for exactly one request. (The proofs that the gateway signs are tested in
//! `credentials`.)

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::identity::tests::{
    NOW,
    signer::{P256, RSA, RSA_2, Signer},
};

/// A request with its header fields in wire order.
#[derive(Clone, Debug, PartialEq)]
struct PopTestRequest {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

fn create() -> PopTestRequest {
    let fields = [
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer abc"),
        ("x-transaction-id", "t-1"),
    ];
    PopTestRequest {
        method: "POST".to_owned(),
        target: "/devedge/qod/v0/sessions?a=b c".replace(' ', "%20"),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: b"{\"duration\":600}".to_vec(),
    }
}

/// Builds a proof by the description: `ehts` lists the fields, then `uri`, `http-method` and
/// `body`, joined by `;`. `edts` is the base64url SHA-256 of their concatenated values in that
/// order.
fn built_by(signer: &Signer, sent: &PopTestRequest, id: &str) -> String {
    let (mut names, mut values) = (String::new(), Vec::new());
    for (name, value) in &sent.fields {
        write!(names, "{name};").unwrap();
        values.extend_from_slice(value.as_bytes());
    }
    names += "uri;http-method";
    values.extend_from_slice(sent.target.as_bytes());
    values.extend_from_slice(sent.method.as_bytes());
    if !sent.body.is_empty() {
        names += ";body";
        values.extend_from_slice(&sent.body);
    }
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(&values);
    let claims = json!({
        "iat": NOW, "exp": NOW + 120, "jti": id, "v": "1", "ehts": names,
        "edts": URL_SAFE_NO_PAD.encode(hash.finish().as_ref()),
    });
    signer.token_of(r#"{"alg":"RS256","typ":"JWT"}"#, &claims.to_string())
}

fn built(sent: &PopTestRequest) -> String {
    built_by(&RSA, sent, "1d4b6a2e")
}

fn key_of(signer: &Signer) -> Result<ProofKey, &'static str> {
    let text = base64::engine::general_purpose::STANDARD.encode(signer.public_der());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    ProofKey::from_pem(pem.as_bytes())
}

fn verified_at(proof: &str, sent: &PopTestRequest, at: u64) -> Result<VerifiedProof, ProofError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &sent.fields {
        let name: header::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let method: Method = sent.method.parse().unwrap();
    let request =
        PopRequest { method: &method, target: &sent.target, headers: &headers, body: &sent.body };
    verify(proof, &key_of(&RSA).unwrap(), &request, Moment::from_unix_s(at))
}

fn verified(proof: &str, sent: &PopTestRequest) -> Result<VerifiedProof, ProofError> {
    verified_at(proof, sent, NOW)
}

#[test]
fn key_must_be_an_rsa_key_in_pem() {
    for text in ["", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(ProofKey::from_pem(text.as_bytes()).is_err(), "{text}");
    }
    assert!(key_of(&RSA).is_ok());
    assert!(key_of(&P256).is_err());
}

#[test]
fn proof_built_by_the_description_is_valid() {
    let sent = create();
    let proof = verified(&built(&sent), &sent).unwrap();
    assert_eq!(&*proof.id, "1d4b6a2e");
    assert_eq!(proof.until, Moment::from_unix_s(NOW + 130));
    let get = PopTestRequest { method: "GET".to_owned(), body: Vec::new(), ..create() };
    assert!(verified(&built(&get), &get).is_ok());
    for (at, expected) in
        [(NOW - 10, true), (NOW + 129, true), (NOW - 11, false), (NOW + 130, false)]
    {
        assert_eq!(verified_at(&built(&sent), &sent, at).is_ok(), expected, "{at}");
    }
    assert_eq!(verified(&built_by(&RSA_2, &sent, "a"), &sent), Err(ProofError::Signature));
}

#[test]
fn any_change_of_the_request_is_rejected() {
    type RequestChange = fn(&mut PopTestRequest);
    let changes: [(&str, RequestChange); 13] = [
        ("method", |sent| sent.method = "PUT".to_owned()),
        ("path", |sent| sent.target = sent.target.replace("sessions", "session")),
        ("slash", |sent| sent.target = sent.target.replace('?', "/?")),
        ("query", |sent| sent.target.push('1')),
        ("no query", |sent| sent.target.truncate(24)),
        ("escape", |sent| sent.target = sent.target.replace("%20", "+")),
        ("body", |sent| sent.body.push(b' ')),
        ("no body", |sent| sent.body.clear()),
        ("authorization", |sent| sent.fields[1].1 = "Bearer abd".to_owned()),
        ("scheme", |sent| sent.fields[1].1 = "bearer abc".to_owned()),
        ("another field", |sent| sent.fields[2].1 = "t-2".to_owned()),
        ("a field less", |sent| sent.fields.truncate(2)),
        ("no authorization", |sent| drop(sent.fields.remove(1))),
    ];
    let proof = built(&create());
    for (name, change) in changes {
        let mut sent = create();
        change(&mut sent);
        assert_ne!(sent, create(), "{name}");
        assert!(verified(&proof, &sent).is_err(), "{name}");
    }
    // A covered field that occurs twice is ambiguous.
    for index in 0..3 {
        let mut sent = create();
        sent.fields.push(sent.fields[index].clone());
        assert_eq!(verified(&proof, &sent), Err(ProofError::Incomplete), "{index}");
        assert_eq!(verified(&built(&sent), &sent), Err(ProofError::Incomplete), "{index}");
    }
    // Uncovered fields may be added or removed.
    let mut more = create();
    more.fields.push(("Accept".to_owned(), "*/*".to_owned()));
    assert!(verified(&proof, &more).is_ok());
    let mut bare = create();
    bare.fields.remove(1);
    assert_eq!(verified(&built(&bare), &create()), Err(ProofError::Incomplete));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn proof_is_valid_for_its_request_only(
        target in "/[a-z0-9/]{0,20}(\\?[a-z0-9=%&]{0,20})?",
        token in "[A-Za-z0-9._-]{1,40}",
        more in proptest::collection::btree_map("x-[a-z]{1,8}", "[!-~]{1,12}", 0..4),
        body in proptest::collection::vec(any::<u8>(), 0..60),
        index in any::<usize>(),
        letter in b'a'..=b'z',
    ) {
        let authorization = ("Authorization".to_owned(), format!("Bearer {token}"));
        let fields = more.into_iter().chain([authorization]).collect();
        let sent = PopTestRequest { target, fields, body, ..create() };
        let proof = built(&sent);
        prop_assert!(verified(&proof, &sent).is_ok());

        let mut changed = sent.clone();
        let field = index % sent.fields.len();
        let (target, value) = (&mut changed.target, &mut changed.fields[field].1);
        match index % 4 {
            0 => target.push(char::from(letter)),
            1 => value.push(char::from(letter)),
            2 => changed.body.push(letter),
            _ => changed.method.push('X'),
        }
        prop_assert!(verified(&proof, &changed).is_err());
        let mut twice = sent.clone();
        twice.fields.push(twice.fields[field].clone());
        prop_assert_eq!(verified(&proof, &twice), Err(ProofError::Incomplete));
    }

    #[test]
    fn arbitrary_text_is_rejected(token in "[A-Za-z0-9._-]{0,200}") {
        let (headers, method) = (HeaderMap::new(), Method::GET);
        let request = PopRequest { method: &method, target: "/", headers: &headers, body: b"" };
        let proof = verify(&token, &key_of(&RSA).unwrap(), &request, Moment::from_unix_s(0));
        prop_assert!(proof.is_err());
    }
}
