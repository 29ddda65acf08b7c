//! Rolling upgrades: replicas end one after the other, or hand over to a successor, and no request fails.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use super::*;
use crate::shutdown::{load as send_creates, running};

const WORKERS: usize = 8;

#[test]
fn replicas_that_end_one_after_the_other_fail_no_request() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let mut cluster = Cluster::start(&granting(), &vec![database.url.clone(); 2]);
    let token = cluster.world.keys.token("app", SCOPE);
    let (next, answered, stop) = (AtomicU32::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let address = cluster.balancer.address;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let body = body_of(next.fetch_add(1, Ordering::Relaxed)).to_string();
                        let answer = load::send(address, &token, "POST", "/sessions", &body);
                        answer.expect("a response").expect(201);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let wait_for_creates = || {
            let before = answered.load(Ordering::Relaxed);
            wait_for("creates", || {
                let failed = workers.iter().any(thread::ScopedJoinHandle::is_finished);
                failed || answered.load(Ordering::Relaxed) > before + 50
            });
        };
        for index in (0..cluster.replicas.len()).cycle().take(2 * rounds(1) as usize) {
            wait_for_creates();
            let replica = &mut cluster.replicas[index];
            signal("TERM", replica.gateway().id());
            assert!(replica.gateway().wait().unwrap().success());
            wait_for_creates();
            cluster.replicas[index].start();
            cluster.wait_balanced();
        }
        wait_for_creates();
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(cluster.operator_sessions().len(), answered.load(Ordering::Relaxed));
    for replica in &cluster.replicas {
        assert_eq!(replica.ledger().len(), answered.load(Ordering::Relaxed));
        assert!(!replica.log().contains("\"level\":\"ERROR\""), "{}", replica.log());
    }
}

#[test]
fn hand_over_to_a_successor_has_no_gap() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let setup = Setup {
        gateway: "drain: { lame_duck: 1s, grace: 20s }",
        simulator_arguments: &["--latency-ms", "50"],
        ..Setup::default()
    };
    let mut cluster = Cluster::start(&setup, &vec![database.url.clone(); 2]);
    let id = cluster.replicas[0].gateway().id();
    let (terminating, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let replica = &cluster.replicas[0];
    let successor = thread::scope(|scope| {
        for worker in 0..4 {
            let (terminating, answered) = (&terminating, &answered);
            scope.spawn(move || send_creates(replica, worker, terminating, answered));
        }
        scope.spawn(|| {
            loop {
                let answer = replica.admin("/readyz");
                // The request may have arrived after the signal.
                if terminating.load(Ordering::SeqCst) {
                    break;
                }
                let answer = answer.expect("a listener").expect(200);
                assert!(!answer.body.contains("waiting"), "{answer:?}");
                thread::sleep(Duration::from_millis(5));
            }
        });
        wait_for("some load", || answered.load(Ordering::Relaxed) > 20);
        let successor = replica.serve(&["--upgrade"]);
        signal("QUIT", id);
        wait_for("the old process to exit", || !running(id));
        let before = answered.load(Ordering::Relaxed);
        wait_for("the new one to serve", || answered.load(Ordering::Relaxed) > before + 100);
        terminating.store(true, Ordering::SeqCst);
        signal("TERM", successor.id());
        successor
    });
    let replica = &mut cluster.replicas[0];
    assert!(replica.gateway().wait().unwrap().success());
    replica.add_process(successor);
    assert!(replica.gateway().wait().unwrap().success());
    let count = answered.load(Ordering::Relaxed);
    assert_eq!(cluster.world.operator_sessions("camara-0.10.1").len(), count);
    assert_eq!(cluster.replicas[1].ledger().len(), count);
}
