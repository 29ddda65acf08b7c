//! The shipped demo, policies, documents and metrics are consistent.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    postgres_server,
    world::{Setup, World, create_request, number_at},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn gateway(arguments: &[&str]) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_qod-gateway"))
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn demo_passes() {
    let id = std::process::id();
    let address = format!("127.77.{}.{}", id / 256 % 256, id % 256);
    let (succeeded, text) = gateway(&["demo", "--once", "--address", &address]);
    assert!(succeeded && text.contains("All checks passed."), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn demo_of_two_replicas_passes_and_drops_its_tables() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let id = std::process::id();
    let address = format!("127.78.{}.{}", id / 256 % 256, id % 256);
    let replicas = ["--replicas", "2", "--postgres", &database.url];
    let (succeeded, text) =
        gateway(&[&["demo", "--once", "--address", &address][..], &replicas].concat());
    assert!(succeeded && text.contains("All checks passed."), "{text}");
    assert!(text.contains("The second replica is killed."), "{text}");
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'qod%'";
    assert_eq!(server.sql(&database.name, schemas), "0");
}

#[test]
fn shipped_policies_are_valid() {
    let (succeeded, text) = gateway(&["check", "policies"]);
    assert!(succeeded && text.ends_with("6 of 6 tests passed\n"), "{text}");
}

#[test]
fn all_errors_of_an_invalid_folder_are_reported_and_it_is_not_served() {
    let world = World::unstarted(&Setup::default());
    let path = |name: &str| world.folder.join(name);
    let change = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(path(name)).unwrap();
        assert!(text.contains(from), "{name}: {text}");
        fs::write(path(name), text.replacen(from, to, 1)).unwrap();
    };
    change("operators.yaml", "simulated: true", "simulatd: true");
    change("routes.yaml", "operator: op-camara-0-10-1", "operator: op-camara-0-10");
    change("clients.yaml", "sessions_max: 2", "sessions_max: two");
    change("profiles.yaml", "duration_max: 24h", "duration_max: 24x");
    let folder = world.folder.display().to_string();
    for command in [&["check", &folder][..], &["serve", "--policies", &folder]] {
        let (succeeded, text) = gateway(command);
        assert!(!succeeded);
        for expected in ["operators.yaml:", "routes.yaml:", "clients.yaml:", "profiles.yaml:"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(text.contains("simulated"), "the suggestion: {text}");
    }
}

#[test]
fn nothing_private_is_logged() {
    let world = World::simulating(&["camara-0.8.0"]);
    let number = number_at("camara-0.8.0", 7_654_321);
    let mut body = create_request("camara-0.10.1", &number);
    body["device"]["ipv6Address"] = "2001:db8:aaaa:bbbb::1".into();
    world.create("camara-0.10.1", "app", &body).expect(201);
    world.create("camara-0.10.1", "other", &body).expect(409);
    world.create("camara-0.8.0", "app", &create_request("camara-0.8.0", "08123456789")).expect(400);
    let log = world.log();
    assert!(log.contains("createSession") && log.contains("\"client\":\"app\""), "{log}");
    for private in ["7654321", "aaaa:bbbb", "08123456789", "operator-token"] {
        assert!(!log.contains(private), "{private} in {log}");
    }
}
