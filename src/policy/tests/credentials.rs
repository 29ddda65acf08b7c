//! Tests of the credentials of operator entries.

use std::fmt::Write as _;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::credentials::{Authorization, ProofSource, TokenAuthMethod};

/// The shipped folder with a P-256 private key.
fn folder() -> PolicyFolder {
    let folder = PolicyFolder::new();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let text = STANDARD.encode(key.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    fs::write(folder.path("p256.pem"), pem).unwrap();
    folder
}

/// Loads the folder with these lines instead of the fixed token of magenta-de.
fn with(folder: &PolicyFolder, lines: &str) -> Result<Policy, Vec<String>> {
    let token =
        "dialect: camara-0.8.0\n    simulated: true\n    bearer_token_file: simulated.token\n";
    let mut text = "dialect: camara-0.8.0\n    simulated: true\n".to_owned();
    for line in lines.lines() {
        writeln!(text, "    {line}").unwrap();
    }
    folder.change("operators.yaml", token, &text);
    folder.load()
}

const OAUTH2: &str = "oauth2:\n  token_url: https://a.example/token\n  client_id: me\n";

#[track_caller]
fn credentials_of(lines: &str) -> crate::credentials::Settings {
    let policy = with(&folder(), lines).unwrap();
    let find = |operator: &operator::Settings| &*operator.id.0 == "magenta-de";
    policy.operators.into_iter().find(find).unwrap().credentials
}

#[test]
fn method_is_explicit_or_derived_from_the_key() {
    let method = |lines: &str| match credentials_of(&format!("{OAUTH2}{lines}")).authorization {
        Authorization::OAuth2(oauth2) => {
            assert_eq!((&*oauth2.token_url, &*oauth2.client_id), ("https://a.example/token", "me"));
            oauth2.method
        }
        other => panic!("{other:?}"),
    };
    let secret = "  client_secret_file: simulated.token\n";
    assert!(matches!(method(secret), TokenAuthMethod::SecretBasic(_)));
    let basic = format!("{secret}  method: client_secret_basic\n");
    assert!(matches!(method(&basic), TokenAuthMethod::SecretBasic(_)));
    let post = format!("{secret}  method: client_secret_post\n");
    assert!(matches!(method(&post), TokenAuthMethod::SecretPost(_)));
    let key = "  private_key_file: p256.pem\n";
    assert!(matches!(method(key), TokenAuthMethod::PrivateKeyJwt(_)));
    let TokenAuthMethod::JwtBearer(assertion) =
        method(&format!("{key}  method: jwt_bearer\n  key_id: k-1\n  subject: service\n"))
    else {
        panic!()
    };
    assert_eq!((&*assertion.subject, assertion.key_id.as_deref()), ("service", Some("k-1")));
}

#[test]
fn header_fields_are_read() {
    let settings = credentials_of(
        "headers: { X-Tenant: acme and sons }\n\
         secret_headers: { x-api-key: { value_file: simulated.token } }\n",
    );
    let names: Vec<&str> = settings.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-tenant", "x-api-key"]);
    assert!(matches!(settings.authorization, Authorization::Nothing));
    assert!(matches!(settings.proof, ProofSource::Nothing));
}

/// Asserts that the lines cause one error at the position of `§`.
#[track_caller]
fn assert_lines_error(lines: &str, expected: &str) {
    let folder = folder();
    let errors = with(&folder, &lines.replace('§', "")).unwrap_err();
    let text = fs::read_to_string(folder.path("operators.yaml")).unwrap();
    let first = lines.lines().next().unwrap().replace('§', "");
    let above = text.lines().collect::<Vec<_>>();
    let above = above.iter().rposition(|line| line.trim() == first.trim()).unwrap();
    let (before, _) = lines.split_once('§').expect("the position is marked");
    let line = above + 1 + before.matches('\n').count();
    let column = 5 + before.chars().rev().take_while(|c| *c != '\n').count();
    let expected = format!("operators.yaml:{line}:{column}: {expected}");
    assert!(errors[0].starts_with(&expected), "expected {expected}\n     got {errors:#?}");
    assert_eq!(errors.len(), 1, "{errors:#?}");
}

#[test]
fn invalid_credentials_are_reported() {
    let oauth2 = |rest: &str| format!("{OAUTH2}{rest}");
    let secret = "  client_secret_file: simulated.token\n";
    for (lines, expected) in [
        (
            format!("bearer_token_file: simulated.token\n§{OAUTH2}{secret}"),
            "expected either a bearer token or",
        ),
        (oauth2("  client_secret_file: §no.token\n"), "failed to read `"),
        (
            oauth2("  private_key_file: §simulated.token\n"),
            "expected one unencrypted private key in PEM",
        ),
        (
            oauth2("  §private_key_file: p256.pem\n  method: client_secret_post\n"),
            "this `method` uses a secret",
        ),
        (oauth2(&format!("{secret}  §key_id: k\n")), "this `method` uses a secret, not a key"),
        (
            oauth2(&format!("  private_key_file: p256.pem\n{}", "  §client_secret_env: NAME\n")),
            "this `method` uses a key, not a secret",
        ),
        (oauth2(&format!("{secret}  §subject: x\n")), "`subject` requires `method: jwt_bearer`"),
        (
            oauth2(&format!("{secret}  method: §secret\n")),
            "unknown value `secret`; expected `client_secret_basic`",
        ),
        (oauth2(&format!("{secret}  scope: §\"\"\n")), "expected 1 to 1024 printable"),
        (
            "§proof_key_file: p256.pem\n".to_owned(),
            "this dialect does not define a proof of possession",
        ),
        ("headers: { §Authorization: x }\n".to_owned(), "header `Authorization` is reserved"),
        ("headers: { §host: x }\n".to_owned(), "header `host` is"),
        ("headers: { §Content-Length: x }\n".to_owned(), "header `Content-Length` is"),
        ("headers: { §transfer-encoding: x }\n".to_owned(), "header `transfer-encoding` is"),
        ("headers: { §x-correlator: x }\n".to_owned(), "header `x-correlator` is"),
        ("headers: { §\"a b\": x }\n".to_owned(), "invalid header name `a b`"),
        ("headers: { X-A: x, §x-a: y }\n".to_owned(), "header `x-a` is"),
        ("headers: { x-a: §\"x\\ny\" }\n".to_owned(), "expected 1 to 1024 printable"),
        ("secret_headers: { §x-a: {} }\n".to_owned(), "expected `value_file` or `value_env`"),
        ("secret_headers: { x-a: { value_file: §no.key } }\n".to_owned(), "failed to read `"),
        (
            "headers: { x-a: x }\nsecret_headers: { §x-a: { value_file: simulated.token } }\n"
                .to_owned(),
            "header `x-a` is",
        ),
    ] {
        assert_lines_error(&lines, expected);
    }
}

#[test]
fn unencrypted_token_url_requires_permission() {
    let lines = "oauth2:\n  token_url: http://a.example/token\n  client_id: me\n  \
                 client_secret_file: simulated.token\n";
    with(&folder(), lines).expect("the operator is simulated");
    let is_rejected = |to: &str| {
        let folder = folder();
        with(&folder, lines).unwrap();
        // The entry is the last one of the file.
        let text = fs::read_to_string(folder.path("operators.yaml")).unwrap();
        let (before, after) = text.rsplit_once("simulated: true\n").unwrap();
        fs::write(folder.path("operators.yaml"), [before, to, after].concat()).unwrap();
        // The client of a mock token may no longer use the operator: that is another error.
        let errors = folder.load().unwrap_err();
        errors.iter().any(|error| error.contains("expected https, or `plaintext: allow`"))
    };
    assert!(is_rejected("simulated: false\n"));
    assert!(!is_rejected("simulated: false\n    plaintext: allow\n"));
}

#[test]
fn devedge_proof_is_signed_with_rsa_or_fixed() {
    for (to, expected) in [
        ("proof_key_file: p256.pem", "expected an RSA key"),
        (
            "x_authorization_file: simulated.token\n    proof_key_file: p256.pem",
            "expected either `x_authorization`",
        ),
        ("headers: { x-authorization: x }", "header `x-authorization` is reserved"),
        ("headers: { x-transaction-id: x }", "header `x-transaction-id` is reserved"),
    ] {
        let folder = folder();
        folder.change("operators.yaml", "x_authorization_file: simulated.token", to);
        let errors = folder.load().unwrap_err();
        assert!(errors.iter().any(|error| error.contains(expected)), "{errors:#?}");
    }
}
