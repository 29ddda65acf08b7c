//! What operators' entries say of how the gateway proves itself.

use std::fmt::Write as _;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::credentials::{Authorization, Method, Proof};

/// The shipped folder with a key on P-256 in it.
fn folder() -> Folder {
    let folder = Folder::new();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let text = STANDARD.encode(key.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    fs::write(folder.at("p256.pem"), pem).unwrap();
    folder
}

/// The entry of magenta-de shows what these lines say, in the place of a fixed token.
fn with(folder: &Folder, lines: &str) -> Result<Policy, Vec<String>> {
    let token =
        "speaks: camara-0.8.0\n    simulated: true\n    bearer_token_file: simulated.token\n";
    let mut text = "speaks: camara-0.8.0\n    simulated: true\n".to_owned();
    for line in lines.lines() {
        writeln!(text, "    {line}").unwrap();
    }
    folder.change("operators.yaml", token, &text);
    folder.load()
}

const OAUTH2: &str = "oauth2:\n  token_url: https://a.example/token\n  client_id: me\n";

#[track_caller]
fn shown(lines: &str) -> crate::credentials::Settings {
    let policy = with(&folder(), lines).unwrap();
    let find = |operator: &OperatorSettings| &*operator.id.0 == "magenta-de";
    policy.operators.into_iter().find(find).unwrap().credentials
}

#[test]
fn the_method_is_what_is_said_or_what_there_is() {
    let method = |lines: &str| match shown(&format!("{OAUTH2}{lines}")).authorization {
        Authorization::OAuth2(oauth2) => {
            assert_eq!((&*oauth2.token_url, &*oauth2.client_id), ("https://a.example/token", "me"));
            oauth2.method
        }
        other => panic!("{other:?}"),
    };
    let secret = "  client_secret_file: simulated.token\n";
    assert!(matches!(method(secret), Method::SecretBasic(_)));
    let basic = format!("{secret}  method: client_secret_basic\n");
    assert!(matches!(method(&basic), Method::SecretBasic(_)));
    let post = format!("{secret}  method: client_secret_post\n");
    assert!(matches!(method(&post), Method::SecretPost(_)));
    let key = "  private_key_file: p256.pem\n";
    assert!(matches!(method(key), Method::PrivateKeyJwt(_)));
    let Method::JwtBearer(assertion) =
        method(&format!("{key}  method: jwt_bearer\n  key_id: k-1\n  subject: somebody\n"))
    else {
        panic!()
    };
    assert_eq!((&*assertion.subject, assertion.key_id.as_deref()), ("somebody", Some("k-1")));
}

#[test]
fn fields_are_taken_as_they_are_written() {
    let settings = shown(
        "headers: { X-Tenant: acme and sons }\n\
         secret_headers: { x-api-key: { value_file: simulated.token } }\n",
    );
    let names: Vec<&str> = settings.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-tenant", "x-api-key"]);
    assert!(matches!(settings.authorization, Authorization::Nothing));
    assert!(matches!(settings.proof, Proof::Nothing));
}

/// The one fault that the lines make, where `§` stands.
#[track_caller]
fn assert_told(lines: &str, expected: &str) {
    let folder = folder();
    let faults = with(&folder, &lines.replace('§', "")).unwrap_err();
    let text = fs::read_to_string(folder.at("operators.yaml")).unwrap();
    let first = lines.lines().next().unwrap().replace('§', "");
    let above = text.lines().collect::<Vec<_>>();
    let above = above.iter().rposition(|line| line.trim() == first.trim()).unwrap();
    let (before, _) = lines.split_once('§').expect("the place is marked");
    let line = above + 1 + before.matches('\n').count();
    let column = 5 + before.chars().rev().take_while(|c| *c != '\n').count();
    let expected = format!("operators.yaml:{line}:{column}: {expected}");
    assert!(faults[0].starts_with(&expected), "expected {expected}\n     got {faults:#?}");
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn what_cannot_prove_anything_is_a_fault() {
    let oauth2 = |rest: &str| format!("{OAUTH2}{rest}");
    let secret = "  client_secret_file: simulated.token\n";
    for (lines, expected) in [
        (
            format!("bearer_token_file: simulated.token\n§{OAUTH2}{secret}"),
            "expected a bearer token or",
        ),
        (oauth2("  client_secret_file: §no.token\n"), "`"),
        (oauth2("  private_key_file: §simulated.token\n"), "expected one private key in PEM"),
        (
            oauth2("  §private_key_file: p256.pem\n  method: client_secret_post\n"),
            "this `method` takes a secret",
        ),
        (oauth2(&format!("{secret}  §key_id: k\n")), "this `method` takes a secret, and no key"),
        (
            oauth2(&format!("  private_key_file: p256.pem\n{}", "  §client_secret_env: NAME\n")),
            "this `method` takes a key, and no secret",
        ),
        (oauth2(&format!("{secret}  §subject: x\n")), "only `method: jwt_bearer` has"),
        (oauth2(&format!("{secret}  method: §secret\n")), "expected `client_secret_basic`"),
        (oauth2(&format!("{secret}  scope: §\"\"\n")), "expected 1 to 1024 visible"),
        ("§proof_key_file: p256.pem\n".to_owned(), "this dialect asks for no proof"),
        (
            "headers: { §Authorization: x }\n".to_owned(),
            "the field `Authorization` is the gateway's own",
        ),
        ("headers: { §host: x }\n".to_owned(), "the field `host` is"),
        ("headers: { §Content-Length: x }\n".to_owned(), "the field `Content-Length` is"),
        ("headers: { §transfer-encoding: x }\n".to_owned(), "the field `transfer-encoding` is"),
        ("headers: { §x-correlator: x }\n".to_owned(), "the field `x-correlator` is"),
        ("headers: { §\"a b\": x }\n".to_owned(), "`a b` is no name of a header field"),
        ("headers: { X-A: x, §x-a: y }\n".to_owned(), "the field `x-a` is"),
        ("headers: { x-a: §\"x\\ny\" }\n".to_owned(), "expected 1 to 1024 visible"),
        ("secret_headers: { §x-a: {} }\n".to_owned(), "expected `value_file` or `value_env`"),
        ("secret_headers: { x-a: { value_file: §no.key } }\n".to_owned(), "`"),
        (
            "headers: { x-a: x }\nsecret_headers: { §x-a: { value_file: simulated.token } }\n"
                .to_owned(),
            "the field `x-a` is",
        ),
    ] {
        assert_told(&lines, expected);
    }
}

#[test]
fn a_token_is_fetched_without_encryption_only_where_that_is_allowed() {
    let lines = "oauth2:\n  token_url: http://a.example/token\n  client_id: me\n  \
                 client_secret_file: simulated.token\n";
    with(&folder(), lines).expect("it is simulated");
    let is_told = |to: &str| {
        let folder = folder();
        with(&folder, lines).unwrap();
        // The entry is the file's last.
        let text = fs::read_to_string(folder.at("operators.yaml")).unwrap();
        let (before, after) = text.rsplit_once("simulated: true\n").unwrap();
        fs::write(folder.at("operators.yaml"), [before, to, after].concat()).unwrap();
        // A mock token's client may no longer reach it: that is another fault.
        let faults = folder.load().unwrap_err();
        faults.iter().any(|fault| fault.contains("expected https: `plaintext: allow`"))
    };
    assert!(is_told("simulated: false\n"));
    assert!(!is_told("simulated: false\n    plaintext: allow\n"));
}

#[test]
fn devedge_signs_with_an_rsa_key_or_shows_what_is_fixed() {
    for (to, expected) in [
        ("proof_key_file: p256.pem", "expected an RSA key"),
        (
            "x_authorization_file: simulated.token\n    proof_key_file: p256.pem",
            "expected `x_authorization`",
        ),
        ("headers: { x-authorization: x }", "the field `x-authorization` is the gateway's own"),
        ("headers: { x-transaction-id: x }", "the field `x-transaction-id` is the gateway's own"),
    ] {
        let folder = folder();
        folder.change("operators.yaml", "x_authorization_file: simulated.token", to);
        let faults = folder.load().unwrap_err();
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{faults:#?}");
    }
}
