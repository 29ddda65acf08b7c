//! Debug output and errors never contain secrets.

use super::*;

#[test]
fn debug_output_contains_no_secrets() {
    let folder = PolicyFolder::new();
    let keys = [("sealing.key", "sealed-".repeat(6)), ("older.key", "before-".repeat(6))];
    for (name, text) in &keys {
        fs::write(folder.path(name), text).unwrap();
    }
    fs::write(folder.path("client.secret"), "secret-of-the-client").unwrap();
    fs::write(folder.path("api.key"), "key-of-the-api").unwrap();
    fs::write(folder.path("simulated.token"), "token-of-the-operator").unwrap();
    let from = "sync: durable";
    folder.change(
        "gateway.yaml",
        from,
        "sync: durable\n  key_file: sealing.key\n  previous_key_files: [older.key]",
    );
    folder.change(
        "operators.yaml",
        "    bearer_token_file: simulated.token",
        "    oauth2: { token_url: \"https://a.example\", client_id: me, client_secret_file: client.secret }\n    \
         secret_headers: { x-api-key: { value_file: api.key } } #",
    );
    folder.change("clients.yaml", "token: mock_sandbox", "token: not_to_be_seen");
    let policy = folder.load().unwrap();
    let printed = format!("{policy:?} {:#?}", policy.identity);
    for secret in ["sealed-", "before-", "secret-of", "key-of", "token-of", "not_to_be_seen"] {
        assert!(!printed.contains(secret), "{secret}");
    }
    // An error of the entry with the secret does not contain it either.
    folder.change(
        "clients.yaml",
        "token: not_to_be_seen_access_token",
        "token: \"not to be seen\"",
    );
    let errors = folder.load().unwrap_err().join("\n");
    assert!(errors.contains("a bearer token") && !errors.contains("not to be"), "{errors}");
}
