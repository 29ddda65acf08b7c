//! What `clients.yaml` says of how tokens are proved to be their sender's.

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

/// The shipped folder with a client's public key in it, and these lines at the top of `clients.yaml`.
fn folder(lines: &str) -> Folder {
    let folder = Folder::new();
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let text = STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    fs::write(folder.at("client.pem"), pem).unwrap();
    folder.change("clients.yaml", "mock_tokens:", &format!("{lines}\nmock_tokens:"));
    folder
}

#[test]
fn nothing_is_proved_unless_it_is_said_so() {
    let policy = folder(ISSUER).load().unwrap().identity;
    assert!(policy.proofs.public_urls.is_empty() && policy.proofs.clients.is_empty());
    assert!(!policy.issuers[0].require_binding);
}

#[test]
fn what_is_said_of_dpop_is_taken() {
    let identity = folder(&format!("{ISSUER}{DPOP}")).load().unwrap().identity;
    let proofs = identity.proofs;
    assert_eq!(proofs.public_urls, ["https://api.example"]);
    assert_eq!((proofs.age_max, proofs.cover_all), (Duration::from_mins(1), false));
    let more = format!(
        "{ISSUER}    sender_constrained: required\n{DPOP}  age_max: 5m\n  cover_all: true\n"
    );
    let identity = folder(&more).load().unwrap().identity;
    assert!(identity.issuers[0].require_binding);
    let proofs = identity.proofs;
    assert_eq!((proofs.age_max, proofs.cover_all), (Duration::from_mins(5), true));
}

#[test]
fn a_clients_key_is_its_own() {
    let folder = folder("");
    let own = "sandbox:\n    proof_key_file: client.pem\n    proof_everywhere: true\n";
    folder.change("clients.yaml", "sandbox:\n", own);
    let clients = folder.load().unwrap().identity.proofs.clients;
    assert_eq!(clients.len(), 1);
    assert!(clients[&"sandbox".into()].everywhere);
}

#[test]
fn faults_of_proofs_are_told_where_they_stand() {
    let file = "clients.yaml";
    let at_top = |lines: &str, expected: &str| {
        assert_fault(file, "mock_tokens:", &format!("{lines}\nmock_tokens:"), expected);
    };
    at_top("dpop:\n  §age_max: 1m", "`public_urls` is missing");
    at_top("dpop:\n  public_urls: §[]", "expected one at least");
    at_top("dpop:\n  public_urls: [§api.example]", "expected an http or https URL");
    at_top(&format!("{DPOP}  age_max: §6m"), "expected at most 300 s");
    let odd = format!("{DPOP}{ISSUER}    sender_constrained: §perhaps");
    at_top(&odd, "expected `if_bound` or `required`");

    let client = |lines: &str, expected: &str| {
        assert_fault(file, "sandbox:\n", &format!("sandbox:\n{lines}"), expected);
    };
    client("    proof_key_file: §nowhere.pem\n", "`");
    client("    proof_key_file: §simulated.token\n", "expected a public key in PEM");
    client("    §proof_everywhere: true\n", "expected a `proof_key_file`");
    let defaults = "defaults:\n  §proof_key_file: simulated.token\n";
    assert_fault(file, "defaults:\n", defaults, "this is one client's own, and no default");
}
