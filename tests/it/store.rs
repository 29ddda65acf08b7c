//! `store`: the tables of the database that several replicas share, and `check --connect` with it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    postgres_server::{self, Options, PASSWORD, Server, USER, unique_schema},
    world::{Setup, World, create_request, number_at},
};

const KEY: &str = "a-key-of-all-replicas-with-32-characters";

/// A folder whose sessions are in a database, with further keys of `postgres`.
pub(crate) fn world(setup: &Setup<'_>, url: &str, keys: &str) -> World {
    let world = World::unstarted(setup);
    for (name, text) in [("postgres.url", url), ("ledger.key", KEY)] {
        let path = world.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    set_store(&world, "{ directory: ledger }", keys);
    world
}

fn set_store(world: &World, before: &str, keys: &str) -> String {
    let path = world.folder.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let store =
        format!("{{ key_file: ledger.key, postgres: {{ url_file: postgres.url, {keys} }} }}");
    let from = format!("store: {before}");
    assert!(text.contains(&from), "{text}");
    fs::write(&path, text.replace(&from, &format!("store: {store}"))).unwrap();
    store
}

pub(crate) fn run(world: &World, arguments: &[&str]) -> (bool, String) {
    let folder = world.folder.to_str().unwrap();
    World::run(&[arguments, &["--policies", folder]].concat())
}

fn check(world: &World, options: &[&str]) -> (bool, String) {
    let folder = world.folder.to_str().unwrap();
    World::run(&[&["check", "--connect"], options, &[folder]].concat())
}

#[test]
fn tables_are_created_once_and_the_gateway_uses_them() {
    let Some(server) = postgres_server::shared() else { return };
    let schema = unique_schema();
    let mut world = world(&Setup::default(), &server.url(USER), &format!("schema: {schema}"));
    let (passed, text) = run(&world, &["store", "status"]);
    assert!(!passed && text.contains("run `qod-gateway store migrate`"), "{text}");
    let (passed, text) = run(&world, &["store", "migrate"]);
    assert!(passed, "{text}");
    assert_eq!(
        text,
        format!(
            "applied: 1 (ledger)\napplied: 2 (limits)\napplied: 3 (usage)\nschema {schema}: version 3\n"
        )
    );
    let (passed, text) = run(&world, &["store", "migrate"]);
    assert!(passed && text == format!("schema {schema}: version 3\n"), "{text}");
    let (passed, text) = run(&world, &["store", "status"]);
    assert!(passed && text.starts_with("server: PostgreSQL "), "{text}");
    assert!(text.contains("\nwarning: no synchronous standby "), "{text}");
    assert!(text.ends_with("\nsessions: none\n"), "{text}");

    world.start();
    let number = number_at("camara-0.10.1", 1);
    world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number)).expect(201);
    let (passed, text) = run(&world, &["store", "status"]);
    let states = ["\nsessions: requested 1\n", "\nsessions: available 1\n"];
    assert!(passed && states.iter().any(|state| text.ends_with(state)), "{text}");
    assert!(!server.log().contains(&number), "the database's log has no phone number");
}

#[test]
fn database_is_named_on_the_command_line_or_in_the_policies() {
    let Some(server) = postgres_server::shared() else { return };
    let schema = unique_schema();
    let url = server.url(USER);
    let place = ["--url", &url, "--schema", &schema];
    let (passed, text) = World::run(&[&["store", "migrate"][..], &place].concat());
    assert!(passed && text.starts_with("applied: 1 "), "{text}");
    let (passed, text) = World::run(&[&["store", "status"][..], &place].concat());
    assert!(passed && text.contains(&format!("schema {schema}: version 3, ")), "{text}");
    let files = World::unstarted(&Setup::default());
    let (passed, text) = run(&files, &["store", "status"]);
    assert!(!passed && text.contains("has no `store.postgres`"), "{text}");
    let (passed, text) = World::run(&["store", "status", "--url", "postgresql://u:p4ss@h"]);
    assert!(!passed && text.contains("no database name") && !text.contains("p4ss"), "{text}");
}

#[test]
fn check_reports_the_state_of_the_database() {
    let Some(server) = postgres_server::shared() else { return };
    let schema = unique_schema();
    let keys = format!("schema: {schema}");
    let world = world(&Setup::default(), &server.url(USER), &keys);
    let (passed, text) = check(&world, &[]);
    assert!(!passed, "{text}");
    let expected = format!("failed: database: the schema `{schema}` does not exist or is empty");
    assert!(text.contains(&expected), "{text}");
    assert!(run(&world, &["store", "migrate"]).0);
    let (passed, text) = check(&world, &[]);
    assert!(passed && text.contains("\nok: database: PostgreSQL "), "{text}");
    assert!(text.contains("\nwarning: database: no synchronous standby "), "{text}");
    assert!(!check(&world, &["--strict"]).0, "the warning fails");
    let (_, text) = check(&world, &["--json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["database"]["passed"], true);
    assert!(document["database"]["warning"].is_string(), "{document}");
    // A version of a later release.
    let later = format!("INSERT INTO {schema}.schema_version VALUES (99, 'later', '', 98, 0)");
    server.sql(USER, &later);
    let (passed, text) = check(&world, &[]);
    assert!(!passed && text.contains("use a later release of the gateway"), "{text}");
    server.sql(USER, &later.replace("VALUES (99", "VALUES (98").replace("98, 0", "1, 0"));
    server.sql(USER, &format!("DELETE FROM {schema}.schema_version WHERE number = 99"));
    assert!(check(&world, &[]).0, "that release is compatible with this one");

    let before =
        format!("{{ key_file: ledger.key, postgres: {{ url_file: postgres.url, {keys} }} }}");
    set_store(&world, &before, &format!("{keys}, single_server: true"));
    let (passed, text) = check(&world, &["--strict"]);
    assert!(passed && !text.contains("warning"), "{text}");
}

#[test]
fn check_names_what_is_wrong_with_the_connection() {
    let hba = vec![format!("host all {USER} 127.0.0.1/32 scram-sha-256")];
    let Some(server) = Server::start_new(Options { hba, ..Options::default() }) else { return };
    let at = |password: &str, database: &str| {
        format!(
            "postgresql://{USER}:{password}@127.0.0.1:{}/{database}?sslmode=disable",
            server.port()
        )
    };
    let world = world(&Setup::default(), &at("p4ssword", USER), "statement_timeout: 500ms");
    let set_url = |url: String| fs::write(world.folder.join("postgres.url"), url).unwrap();
    let failure = |expected: &str| {
        let started = Instant::now();
        let (passed, text) = check(&world, &[]);
        let line = text.lines().find(|line| line.starts_with("failed: database: "));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        assert!(!passed && line.contains(expected), "{line}");
        assert!(!text.contains("p4ssword") && !text.contains(PASSWORD), "{text}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    };
    failure("password authentication failed");
    set_url(at(PASSWORD, "nowhere"));
    failure("\"nowhere\" does not exist");
    set_url(at(PASSWORD, USER).replace("?sslmode=disable", ""));
    failure("the server does not support TLS");
    let read_only = "ALTER SYSTEM SET default_transaction_read_only = on";
    set_url(at(PASSWORD, USER));
    server.sql("postgres", read_only);
    server.sql("postgres", "SELECT pg_reload_conf()");
    failure("the server is read-only");
    server.stop(false);
    failure("refused");
}
