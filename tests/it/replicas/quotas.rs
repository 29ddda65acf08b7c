//! Quotas of clients: never more is admitted over all replicas.

use std::sync::{
    Barrier,
    atomic::{AtomicBool, AtomicUsize},
};

use super::*;

const CLIENTS: u32 = 32;
const SESSIONS_MAX: usize = 10;
const CREATES_PER_DAY: usize = 20;

/// Replicas with clients that have quotas.
fn cluster(urls: &[String]) -> Cluster {
    let mut cluster = Cluster::unstarted(&granting(), urls);
    for replica in &cluster.replicas {
        let path = replica.folder.join("clients.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let clients = format!(
            "  holder: {{ rate: 100000/s, burst: 100000, sessions_max: {SESSIONS_MAX} }}\n  \
             daily: {{ rate: 100000/s, burst: 100000, creates_per_day: {CREATES_PER_DAY} }}\n"
        );
        fs::write(&path, text + &clients).unwrap();
    }
    cluster.start_all();
    cluster
}

/// Concurrent creates of a client for as many devices, through all replicas. Returns their statuses.
fn create_at_once(cluster: &Cluster, client: &str, first: u32) -> Vec<u16> {
    let token = cluster.world.keys.token(client, SCOPE);
    let (addresses, ready) = (cluster.addresses(), Barrier::new(CLIENTS as usize));
    thread::scope(|scope| {
        let creates: Vec<_> = (0..CLIENTS)
            .map(|index| {
                let (token, addresses, ready) = (&token, &addresses, &ready);
                scope.spawn(move || {
                    let body = body_of(first + index).to_string();
                    let address = addresses[index as usize % addresses.len()];
                    ready.wait();
                    load::send(address, token, "POST", "/sessions", &body).unwrap().status
                })
            })
            .collect();
        creates.into_iter().map(|create| create.join().unwrap()).collect()
    })
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|other| **other == status).count()
}

#[test]
fn quotas_of_a_client_are_exact_over_all_replicas() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let cluster = cluster(&vec![database.url.clone(); 2]);
    let all = CLIENTS as usize;
    let statuses = create_at_once(&cluster, "holder", 0);
    assert_eq!(count(&statuses, 201), SESSIONS_MAX, "{statuses:?}");
    assert_eq!(count(&statuses, 429), all - SESSIONS_MAX, "{statuses:?}");
    let statuses = create_at_once(&cluster, "daily", 100);
    assert_eq!(count(&statuses, 201), CREATES_PER_DAY, "{statuses:?}");
    assert_eq!(count(&statuses, 429), all - CREATES_PER_DAY, "{statuses:?}");
    assert_eq!(cluster.operator_sessions().len(), SESSIONS_MAX + CREATES_PER_DAY);
}

// Verifies that the test detects more sessions than allowed: the gateways share nothing.
#[test]
fn over_admission_of_gateways_with_a_database_each_is_detected() {
    let Some(server) = postgres_server::shared() else { return };
    let (one, other) = (server.create_database(), server.create_database());
    migrate(&other.url);
    let cluster = cluster(&[one.url.clone(), other.url.clone()]);
    assert!(count(&create_at_once(&cluster, "holder", 0), 201) > SESSIONS_MAX);
    assert!(count(&create_at_once(&cluster, "daily", 100), 201) > CREATES_PER_DAY);
}

#[test]
fn sessions_max_holds_while_sessions_are_replaced_through_all_replicas() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let cluster = cluster(&vec![database.url.clone(); 2]);
    let token = cluster.world.keys.token("holder", SCOPE);
    let (addresses, stop, granted) =
        (cluster.addresses(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..CLIENTS {
            let (token, addresses, stop, granted) = (&token, &addresses, &stop, &granted);
            scope.spawn(move || {
                let address = |offset| addresses[(worker + offset) as usize % addresses.len()];
                while !stop.load(Ordering::SeqCst) {
                    let body = body_of(worker).to_string();
                    let made = load::send(address(0), token, "POST", "/sessions", &body).unwrap();
                    if made.status == 201 {
                        granted.fetch_add(1, Ordering::SeqCst);
                        let path = format!("/sessions/{}", session_id(&made));
                        let deleted = load::send(address(1), token, "DELETE", &path, "").unwrap();
                        assert_eq!(deleted.status, 204, "{deleted:?}");
                    } else {
                        assert_eq!(made.status, 429, "{made:?}");
                    }
                }
            });
        }
        let mut most = 0;
        wait_for("sessions", || {
            most = most.max(cluster.operator_sessions().len());
            granted.load(Ordering::SeqCst) > 200 || thread::panicking()
        });
        stop.store(true, Ordering::SeqCst);
        assert!(most <= SESSIONS_MAX, "{most} sessions at once");
    });
    // Nothing is still counted.
    let statuses = create_at_once(&cluster, "holder", 0);
    assert_eq!(count(&statuses, 201), SESSIONS_MAX, "{statuses:?}");
}
