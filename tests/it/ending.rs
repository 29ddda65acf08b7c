//! The end of a gateway: no request that it has taken is cut off.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::{Connection, request},
    world::{SCOPE, Setup, World, number_at, wait_for, wish},
};

const PATH: &str = "/camara-0.10.1/qod/v0/sessions";

fn signal(name: &str, id: u32) {
    let done = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().unwrap();
    assert!(done.success());
}

/// Creates over kept connections, as a balancer would send them, until the gateway says close.
fn load(world: &World, worker: u32, told_to_go: &AtomicBool, answered: &AtomicUsize) {
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let mut connection = Connection::open(world.edge());
    for i in 0.. {
        let body = wish("camara-0.10.1", &number_at("camara-0.8.1", worker * 10_000 + i));
        let bytes = request("POST", PATH, &[("Authorization", &bearer)], &body.to_string());
        connection.write(&bytes).expect("an open connection takes a request");
        let answer = connection.read().expect("a request that was taken is answered");
        assert_eq!(answer.status, 201, "{answer:?}");
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            if told_to_go.load(Ordering::SeqCst) {
                return;
            }
            connection = Connection::open(world.edge());
        }
    }
}

#[test]
fn a_termination_under_load_cuts_nobody_off() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 2s, grace: 20s }",
        simulated: &["--latency-ms", "100"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let (told_to_go, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..8 {
            let (world, told_to_go, answered) = (&world, &told_to_go, &answered);
            scope.spawn(move || load(world, worker, told_to_go, answered));
        }
        wait_for("some load", || answered.load(Ordering::Relaxed) > 40);
        signal("TERM", id);
        wait_for("readiness to be gone", || world.admin("/readyz").is_none_or(|a| a.status == 503));
        told_to_go.store(true, Ordering::SeqCst);
    });
    let began = Instant::now();
    assert!(world.gateway().wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(15), "it does not wait for nothing");
    assert_eq!(world.books("camara-0.8.1").len(), answered.load(Ordering::Relaxed));
}

#[test]
fn a_request_under_way_outlives_the_listeners() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 0s, grace: 20s }",
        simulated: &["--latency-ms", "1500"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let bearer = format!("Bearer {}", world.keys.token("app", SCOPE));
    let body = wish("camara-0.10.1", &number_at("camara-0.8.1", 1)).to_string();
    let mut connection = Connection::open(world.edge());
    connection.write(&request("POST", PATH, &[("Authorization", &bearer)], &body)).unwrap();
    wait_for("the request to be under way", || world.metric("qod_requests_in_flight", &[]) >= 1);
    signal("TERM", id);
    connection.read().expect("an answer").expect(201);
    assert!(world.gateway().wait().unwrap().success());
}

#[test]
fn an_upgrade_hands_the_listeners_over_and_cuts_nobody_off() {
    let setup = Setup {
        gateway: "drain: { lame_duck: 1s, grace: 20s }",
        simulated: &["--latency-ms", "50"],
        ..Setup::default()
    };
    let mut world = World::with(&setup);
    let id = world.gateway().id();
    let (told_to_go, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let successor = thread::scope(|scope| {
        for worker in 0..4 {
            let (world, told_to_go, answered) = (&world, &told_to_go, &answered);
            scope.spawn(move || load(world, worker, told_to_go, answered));
        }
        wait_for("some load", || answered.load(Ordering::Relaxed) > 20);
        let successor = world.serve(&["--upgrade"]);
        // The new process waits for the old one's listeners.
        signal("QUIT", id);
        let before = answered.load(Ordering::Relaxed);
        wait_for("the old process to be gone", || !running(id));
        wait_for("the new one to serve", || answered.load(Ordering::Relaxed) > before + 200);
        told_to_go.store(true, Ordering::SeqCst);
        signal("TERM", successor.id());
        successor
    });
    world.keep(successor);
    assert!(world.gateway().wait().unwrap().success());
    assert_eq!(world.books("camara-0.8.1").len(), answered.load(Ordering::Relaxed));
}

fn running(id: u32) -> bool {
    // A process that has ended and that nobody has waited for stays as a zombie.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
