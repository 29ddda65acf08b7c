//! Tests of proof-of-possession settings in `clients.yaml`.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::KeySize,
    signature::{KeyPair, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

const ISSUER: &str = "issuers:\n  - issuer: https://a.example\n    audiences: [a]\n    \
                      jwks_url: https://a.example/jwks\n";

const DPOP: &str = "dpop:\n  public_urls: [https://api.example]\n";

/// The shipped folder with a client's public key, and these lines before `mock_tokens`.
fn folder(lines: &str) -> PolicyFolder {
    let folder = PolicyFolder::new();
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let text = STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    fs::write(folder.path("client.pem"), pem).unwrap();
    folder.change("clients.yaml", "mock_tokens:", &format!("{lines}\nmock_tokens:"));
    folder
}

#[test]
fn proofs_are_disabled_by_default() {
    let policy = folder(ISSUER).load().unwrap().identity;
    assert!(policy.proofs.public_urls.is_empty() && policy.proofs.clients.is_empty());
    assert!(!policy.issuers[0].require_binding);
}

#[test]
fn dpop_settings_are_read() {
    let identity = folder(&format!("{ISSUER}{DPOP}")).load().unwrap().identity;
    let proofs = identity.proofs;
    assert_eq!(proofs.public_urls, ["https://api.example"]);
    assert_eq!((proofs.age_max, proofs.require_hashes), (Duration::from_mins(1), false));
    let more = format!(
        "{ISSUER}    sender_constrained: required\n{DPOP}  age_max: 5m\n  require_hashes: true\n"
    );
    let identity = folder(&more).load().unwrap().identity;
    assert!(identity.issuers[0].require_binding);
    let proofs = identity.proofs;
    assert_eq!((proofs.age_max, proofs.require_hashes), (Duration::from_mins(5), true));
}

#[test]
fn client_can_have_a_proof_key() {
    let folder = folder("");
    let own = "sandbox:\n    proof_key_file: client.pem\n    proof_on_all_paths: true\n";
    folder.change("clients.yaml", "sandbox:\n", own);
    let clients = folder.load().unwrap().identity.proofs.clients;
    assert_eq!(clients.len(), 1);
    assert!(clients[&"sandbox".into()].on_all_paths);
}

#[test]
fn invalid_proof_settings_are_reported_with_their_position() {
    let file = "clients.yaml";
    let at_top = |lines: &str, expected: &str| {
        assert_error(file, "mock_tokens:", &format!("{lines}\nmock_tokens:"), expected);
    };
    at_top("dpop:\n  §age_max: 1m", "missing key `public_urls`");
    at_top("dpop:\n  public_urls: §[]", "expected at least one entry");
    at_top("dpop:\n  public_urls: [§api.example]", "expected an http or https URL");
    at_top(&format!("{DPOP}  age_max: §6m"), "expected at most `300s`");
    let invalid = format!("{DPOP}{ISSUER}    sender_constrained: §perhaps");
    at_top(&invalid, "unknown value `perhaps`; expected `if_bound` or `required`");

    let client = |lines: &str, expected: &str| {
        assert_error(file, "sandbox:\n", &format!("sandbox:\n{lines}"), expected);
    };
    client("    proof_key_file: §nowhere.pem\n", "failed to read `");
    client("    proof_key_file: §simulated.token\n", "expected a public key in PEM");
    client("    §proof_on_all_paths: true\n", "`proof_on_all_paths` requires `proof_key_file`");
    let defaults = "defaults:\n  §proof_key_file: simulated.token\n";
    assert_error(file, "defaults:\n", defaults, "this key has no default; set it per client");
}
