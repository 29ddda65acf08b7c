//! No settings print what is secret.

use super::*;

#[test]
fn no_settings_print_a_secret() {
    let folder = Folder::new();
    let keys = [("sealing.key", "sealed-".repeat(6)), ("older.key", "before-".repeat(6))];
    for (name, text) in &keys {
        fs::write(folder.at(name), text).unwrap();
    }
    fs::write(folder.at("client.secret"), "secret-of-the-client").unwrap();
    fs::write(folder.at("api.key"), "key-of-the-api").unwrap();
    fs::write(folder.at("simulated.token"), "token-of-the-operator").unwrap();
    let from = "sync: durable";
    folder.change(
        "gateway.yaml",
        from,
        "sync: durable\n  key_file: sealing.key\n  old_key_files: [older.key]",
    );
    folder.change(
        "operators.yaml",
        "    bearer_token_file: simulated.token  # what we show",
        "    oauth2: { token_url: \"https://a.example\", client_id: me, client_secret_file: client.secret }\n    \
         secret_headers: { x-api-key: { value_file: api.key } } #",
    );
    folder.change("clients.yaml", "token: mock_sandbox", "token: not_to_be_seen");
    let policy = folder.load().unwrap();
    let shown = format!("{policy:?} {:#?}", policy.identity);
    for secret in ["sealed-", "before-", "secret-of", "key-of", "token-of", "not_to_be_seen"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    // Nor does a fault of the entry that it stands in.
    folder.change(
        "clients.yaml",
        "token: not_to_be_seen_access_token",
        "token: \"not to be seen\"",
    );
    let faults = folder.load().unwrap_err().join("\n");
    assert!(faults.contains("a bearer token") && !faults.contains("not to be"), "{faults}");
}
