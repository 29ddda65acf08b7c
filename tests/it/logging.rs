//! The log: its events at start and end, and a reader of standard error that ends or stalls.

use std::{
    io::{BufRead, BufReader},
    process::{ChildStderr, Stdio},
};

use crate::{
    http::{Connection, request},
    shutdown::signal,
    world::{Setup, World, create_request, number_at, wait_for},
};

/// Starts the gateway with a pipe as its standard error.
fn start_with_pipe(world: &mut World) -> ChildStderr {
    let mut child = world.serve_command(&[]).stderr(Stdio::piped()).spawn().unwrap();
    let reader = child.stderr.take().unwrap();
    world.add_process(child);
    reader
}

fn create(world: &World, tail: u32) {
    let body = create_request("camara-0.10.1", &number_at("camara-0.8.1", tail));
    world.create("camara-0.10.1", "app", &body).expect(201);
}

fn dropped(world: &World, reason: &str) -> u64 {
    world.metric("qod_log_lines_dropped_total", &[reason])
}

#[test]
fn request_is_answered_and_lines_are_counted_when_the_reader_of_the_log_has_ended() {
    let mut world = World::unstarted(&Setup { simulated: &["camara-0.8.1"], ..Setup::default() });
    drop(start_with_pipe(&mut world));
    world.wait_ready();
    for tail in 0..20 {
        create(&world, tail);
    }
    wait_for("the lost lines to be counted", || dropped(&world, "failed") >= 20);
    assert_eq!(dropped(&world, "full"), 0);
    world.admin("/readyz").unwrap().expect(200);
    let id = world.gateway().id();
    signal("TERM", id);
    assert!(world.gateway().wait().unwrap().success());
}

#[test]
fn lost_lines_make_the_gateway_not_ready_if_the_policy_says_so() {
    let setup = Setup {
        gateway: "log: { lost_lines: not_ready }",
        simulated: &["camara-0.8.1"],
        ..Setup::default()
    };
    let mut world = World::unstarted(&setup);
    let reader = start_with_pipe(&mut world);
    world.wait_ready();
    drop(reader);
    for tail in 0..3 {
        create(&world, tail);
    }
    wait_for("readiness to fail", || world.admin("/readyz").unwrap().status == 503);
    assert!(world.admin("/readyz").unwrap().body.contains("audit records"));
    create(&world, 3);
}

#[test]
fn stalled_reader_of_the_log_delays_no_request_and_lines_are_counted() {
    let mut world = World::unstarted(&Setup { simulated: &["camara-0.8.1"], ..Setup::default() });
    let reader = start_with_pipe(&mut world);
    world.wait_ready();
    let mut connection = Connection::open(world.gateway_address());
    let get =
        request("GET", &format!("/camara-0.10.1/qod/v0/sessions/{}", "x".repeat(36)), &[], "");
    let mut sent = 0;
    while dropped(&world, "full") == 0 {
        for _ in 0..500 {
            connection.write(&get).unwrap();
            connection.read().expect("a response").expect(401);
        }
        sent += 500;
        assert!(sent < 20_000, "the buffer is bounded");
    }
    create(&world, 1);
    // The reader continues: what is in the buffer arrives, and then the number of lost lines.
    let mut lines = BufReader::new(reader).lines();
    let report = lines.find(|line| line.as_ref().unwrap().contains("log_lines_dropped"));
    let report: serde_json::Value = serde_json::from_str(&report.unwrap().unwrap()).unwrap();
    assert!(report["count"].as_u64().unwrap() >= 1, "{report}");
    create(&world, 2);
    assert!(lines.any(|line| line.unwrap().contains("createSession")));
}

#[test]
fn start_and_end_are_logged() {
    let mut world = World::plain();
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1));
    world.create("camara-0.10.1", "app", &body).expect(201);
    let id = world.gateway().id();
    signal("TERM", id);
    assert!(world.gateway().wait().unwrap().success());
    let log = world.log();
    let event = |name: &str| {
        let lines = log.lines().filter(|line| line.contains(&format!("\"event\":\"{name}\"")));
        // The operator logs its own start, without an admin listener.
        let is_own =
            |line: &serde_json::Value| name != "server_started" || line["admin"].is_string();
        let lines = lines.map(|line| serde_json::from_str(line).unwrap()).filter(is_own);
        let [line] = <[_; 1]>::try_from(lines.collect::<Vec<_>>())
            .unwrap_or_else(|lines| panic!("{name}: {lines:?} in {log}"));
        line
    };
    let start = event("gateway_starting");
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(start["folder"], world.folder.display().to_string());
    assert_eq!(start["policy"].as_str().unwrap().len(), 16);
    assert!(start["ledger"].as_str().unwrap().ends_with("/ledger"));
    assert_eq!(start["upgrade"], false);
    let policy = start["policy"].clone();
    let start = event("server_started");
    assert_eq!((&start["version"], &start["policy"]), (&env!("CARGO_PKG_VERSION").into(), &policy));
    assert_eq!((&start["store"], start.get("replica")), (&"embedded".into(), None));
    assert_eq!(start["listeners"], world.gateway_address().to_string());
    assert_eq!(start["callbacks"], world.callbacks().to_string());
    assert_eq!(start["admin"], world.admin_address().to_string());
    assert!(start["upgrade_socket"].as_str().unwrap().ends_with("/upgrade.sock"));
    let stop = event("server_stopped");
    assert_eq!((&stop["reason"], &stop["signal"]), (&"terminated".into(), &"TERM".into()));
    assert_eq!((&stop["clean"], &stop["requests_in_flight"]), (&true.into(), &0.into()));
    assert_eq!(stop["requests"], 1);
    assert!(stop["uptime_s"].is_u64());
}

#[test]
fn process_metrics_are_exported() {
    let world = World::plain();
    let text = world.admin("/metrics").unwrap().expect(200).body;
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} in {text}");
    }
}
