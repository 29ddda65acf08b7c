//! `store` with a database that several replicas share.

use super::*;
use crate::{
    ledger::PostgresSettings,
    limit::{LimitFallback, LimitScope},
};

const URL: &str = "postgresql://qod:not-shown@db1.example,db2.example:6432/qod";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const EMBEDDED: &str = "  directory: ../ledger ";
const SYNC: &str = "  sync: durable";

/// A folder whose sessions are in a database. `keys` are further keys of `postgres`.
fn folder(keys: &str) -> PolicyFolder {
    let folder = PolicyFolder::new();
    fs::write(folder.path("postgres.url"), URL).unwrap();
    fs::write(folder.path("ledger.key"), KEY).unwrap();
    folder.change("gateway.yaml", EMBEDDED, "  #");
    let postgres =
        format!("  key_file: ledger.key\n  postgres:\n    url_file: postgres.url\n{keys}\n  #");
    folder.change("gateway.yaml", SYNC, &postgres);
    folder
}

fn settings(folder: &PolicyFolder) -> PostgresSettings {
    match folder.load().unwrap().store {
        StoreConfig::Postgres(settings) => settings,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_errors(folder: &PolicyFolder, expected: &[(&str, &str)]) {
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (line, message)) in errors.iter().zip(expected) {
        let file = error.split(':').next().unwrap();
        let text = fs::read_to_string(folder.path(file)).unwrap();
        let number: usize = error.split(':').nth(1).unwrap().parse().unwrap();
        let found = text.lines().nth(number - 1).unwrap();
        assert!(found.contains(line), "{error}: {found}");
        assert!(error.contains(message), "{error}");
        assert!(!error.contains("not-shown"), "{error}");
    }
}

#[test]
fn database_has_defaults() {
    let folder = folder("");
    let PostgresSettings { database, key, previous_keys } = settings(&folder);
    assert_eq!(database.schema, "qod");
    assert_eq!(database.connections_max, 16);
    assert_eq!(database.statement_timeout, Duration::from_secs(2));
    assert!(!database.single_server && !database.prepared_statements);
    assert!(database.url.load().uses_tls(), "by default");
    assert_eq!((key.reveal(), previous_keys.len()), (KEY, 0));
    let printed = format!("{:?}", folder.load().unwrap());
    assert!(!printed.contains("not-shown") && !printed.contains(KEY), "{printed}");
}

#[test]
fn all_keys_of_the_database_are_read() {
    let folder = folder(
        "    schema: sessions_2\n    connections_max: 3\n    statement_timeout: 500ms\n    single_server: true\n    \
         prepared_statements: true",
    );
    let database = settings(&folder).database;
    assert_eq!(database.schema, "sessions_2");
    assert_eq!(database.connections_max, 3);
    assert_eq!(database.statement_timeout, Duration::from_millis(500));
    assert!(database.single_server && database.prepared_statements);
}

#[test]
fn all_faults_are_reported_with_their_positions() {
    let folder = folder("    schema: Sessions\n    statement_timeout: 50ms\n    ca_file: none.crt");
    fs::write(folder.path("postgres.url"), "postgresql://qod:not-shown@/qod").unwrap();
    folder.change("gateway.yaml", "  key_file: ledger.key", "  sync: durable\n  directory: x");
    assert_errors(
        &folder,
        &[
            ("sync: durable", "no effect with `postgres`"),
            ("directory: x", "no effect with `postgres`"),
            ("postgres:", "requires `key_file` or `key_env`"),
            ("url_file:", "has no host"),
            ("schema: Sessions", "does not begin with a lower-case letter"),
            ("statement_timeout:", "at least `100ms`"),
            ("ca_file:", "none.crt"),
        ],
    );
}

#[test]
fn url_is_required_and_tls_keys_need_tls() {
    let without = folder("");
    without.change("gateway.yaml", "    url_file: postgres.url", "    schema: qod");
    assert_errors(&without, &[("schema: qod", "expected `url_file` or `url_env`")]);
    let plain = folder("    ca_file: ca.crt");
    fs::write(plain.path("postgres.url"), "postgresql://u@db.example/d?sslmode=disable").unwrap();
    assert_errors(&plain, &[("ca_file:", "remove `sslmode=disable`")]);
}

#[test]
fn statement_timeout_fits_the_deadline_of_a_request() {
    let folder = folder("    statement_timeout: 10s");
    assert_errors(&folder, &[("statement_timeout:", "less than a third")]);
}

#[test]
fn prefixes_that_the_database_cannot_compare_are_refused() {
    let folder = folder("");
    let conflicts = "    conflicts: { ipv4_prefix_min: 20, ipv6_prefix_min: 32 }\n    ";
    let text = fs::read_to_string(folder.path("operators.yaml")).unwrap();
    let first = text.lines().find(|line| line.trim_start().starts_with("dialect:")).unwrap();
    let changed = text.replacen(first, &format!("{conflicts}{}", first.trim_start()), 1);
    fs::write(folder.path("operators.yaml"), changed).unwrap();
    let expected = [("ipv4_prefix_min", "at least 24"), ("ipv6_prefix_min", "at least 48")];
    assert_errors(&folder, &expected);
    // A ledger of one process compares all prefixes.
    folder.change("gateway.yaml", "  postgres:\n    url_file: postgres.url", "  #");
    folder.load().unwrap();
}

#[test]
fn limits_can_be_shared() {
    for (section, fallback) in [
        ("{ scope: shared }", LimitFallback::LocalShare),
        ("{ scope: shared, unavailable: local_share }", LimitFallback::LocalShare),
        ("{ scope: shared, unavailable: refuse }", LimitFallback::Refuse),
        ("{ scope: shared, unavailable: allow }", LimitFallback::Allow),
    ] {
        let folder = folder("");
        folder.change("gateway.yaml", "admin:", &format!("limits: {section}\nadmin:"));
        assert_eq!(folder.load().unwrap().limits.scope, LimitScope::Shared(fallback));
    }
}
