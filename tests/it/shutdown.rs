//! Shutdown and upgrade: every accepted request gets its response.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::{Connection, request},
    world::{SCOPE, Setup, World, create_request, number_at, wait_for},
};

const PATH: &str = "/camara-0.10.1/qod/v0/sessions";

pub(crate) fn signal(name: &str, id: u32) {
    let done = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().unwrap();
    assert!(done.success());
}

/// Sends creates over persistent connections, as a load balancer does, until the gateway closes them.
pub(crate) fn load(world: &World, worker: u32, terminating: &AtomicBool, answered: &AtomicUsize) {
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let mut connection = Connection::open(world.gateway_address());
    for i in 0.. {
        let body =
            create_request("camara-0.10.1", &number_at("camara-0.10.1", worker * 10_000 + i));
        let bytes = request("POST", PATH, &[("Authorization", &bearer)], &body.to_string());
        connection.write(&bytes).expect("an open connection accepts a request");
        let answer = connection.read().expect("an accepted request gets a response");
        assert_eq!(answer.status, 201, "{answer:?}");
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            if terminating.load(Ordering::SeqCst) {
                return;
            }
            connection = Connection::open(world.gateway_address());
        }
    }
}

#[test]
fn termination_under_load_completes_all_requests() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 2s, grace: 20s }",
        simulator_arguments: &["--latency-ms", "100"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let (terminating, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..8 {
            let (world, terminating, answered) = (&world, &terminating, &answered);
            scope.spawn(move || load(world, worker, terminating, answered));
        }
        wait_for("some load", || answered.load(Ordering::Relaxed) > 40);
        signal("TERM", id);
        wait_for("readiness to fail", || world.admin("/readyz").is_none_or(|a| a.status == 503));
        terminating.store(true, Ordering::SeqCst);
    });
    let started = Instant::now();
    assert!(world.gateway().wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(15), "the drain ends early without requests");
    assert_eq!(world.operator_sessions("camara-0.10.1").len(), answered.load(Ordering::Relaxed));
}

#[test]
fn request_in_flight_completes_after_the_listeners_close() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 0s, grace: 20s }",
        simulator_arguments: &["--latency-ms", "1500"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = create_request("camara-0.10.1", &number_at("camara-0.10.1", 1)).to_string();
    let mut connection = Connection::open(world.gateway_address());
    connection.write(&request("POST", PATH, &[("Authorization", &bearer)], &body)).unwrap();
    wait_for("the request to be in flight", || world.metric("qod_requests_in_flight", &[]) >= 1);
    signal("TERM", id);
    connection.read().expect("an answer").expect(201);
    assert!(world.gateway().wait().unwrap().success());
}

#[test]
fn upgrade_passes_the_listeners_and_completes_all_requests() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 1s, grace: 20s }",
        simulator_arguments: &["--latency-ms", "50"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let (terminating, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let successor = thread::scope(|scope| {
        for worker in 0..4 {
            let (world, terminating, answered) = (&world, &terminating, &answered);
            scope.spawn(move || load(world, worker, terminating, answered));
        }
        wait_for("some load", || answered.load(Ordering::Relaxed) > 20);
        let successor = world.serve(&["--upgrade"]);
        // The new process waits for the listeners of the old one.
        signal("QUIT", id);
        let before = answered.load(Ordering::Relaxed);
        wait_for("the old process to exit", || !running(id));
        wait_for("the new one to serve", || answered.load(Ordering::Relaxed) > before + 200);
        terminating.store(true, Ordering::SeqCst);
        signal("TERM", successor.id());
        successor
    });
    world.add_process(successor);
    assert!(world.gateway().wait().unwrap().success());
    assert_eq!(world.operator_sessions("camara-0.10.1").len(), answered.load(Ordering::Relaxed));
}

pub(crate) fn running(id: u32) -> bool {
    // An exited process that was not waited for remains as a zombie.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn interrupt_ends_the_process_without_error_lines() {
    let mut world = World::plain();
    let id = world.gateway().id();
    let connections: Vec<Connection> =
        (0..50).map(|_| Connection::open(world.gateway_address())).collect();
    signal("INT", id);
    assert!(world.gateway().wait().unwrap().success());
    drop(connections);
    let log = world.log();
    assert!(!log.contains("Accept()") && !log.contains("\"level\":\"ERROR\""), "{log}");
    assert!(log.contains("\"reason\":\"interrupted\""), "{log}");
}
