//! Clients race for the same devices through all replicas, while replicas are killed and started again.

use super::*;

const CLIENTS: u64 = 32;
const KILLS: u32 = 6;

fn race(count: usize, kills: u32) {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let mut cluster = Cluster::start(&granting(), &vec![database.url.clone(); count]);
    let load = Load::new(&cluster);
    let Cluster { replicas, balancer, .. } = &mut cluster;
    load.run(CLIENTS, &[balancer.address], || {
        let mut random = PseudoRandom(0);
        for _ in 0..kills {
            load.wait_for_sessions(20);
            thread::sleep(Duration::from_millis(random.below(60)));
            let killed = &mut replicas[usize::try_from(random.below(count as u64)).unwrap()];
            kill9(killed);
            load.replace_flows();
            // The others serve.
            load.wait_for_sessions(5);
            killed.start();
        }
        load.wait_for_sessions(20);
    });
    assert_eq!(cluster.inconsistencies(&load), Vec::<String>::new());
    let statuses = load.statuses.lock().unwrap().clone();
    assert!(statuses[&409] > 0, "clients competed: {statuses:?}");
    consistency::expect_no_deadlock_and_no_lock(server, &database.name);
}

#[test]
fn killed_replica_of_two_loses_no_session_and_books_none_twice() {
    race(2, rounds(KILLS));
}

#[test]
#[ignore = "takes minutes; tests/replicas/soak runs it"]
fn killed_replicas_of_four_lose_no_session_and_book_none_twice() {
    race(4, rounds(KILLS * 2));
}

#[test]
#[ignore = "takes minutes; tests/replicas/soak runs it"]
fn paused_replicas_lose_no_session_and_book_none_twice() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let mut cluster = Cluster::start(&granting(), &vec![database.url.clone(); 3]);
    let load = Load::new(&cluster);
    let ids: Vec<u32> = cluster.replicas.iter_mut().map(|replica| replica.gateway().id()).collect();
    load.run(CLIENTS, &[cluster.balancer.address], || {
        // Within and beyond the lease, and beyond the time after which a create in flight is resolved.
        for (round, seconds) in (0..).zip([1, 5, 20, 40].repeat(rounds(1) as usize)) {
            load.wait_for_sessions(20);
            let paused = ids[round % ids.len()];
            signal("STOP", paused);
            thread::sleep(Duration::from_secs(seconds));
            load.replace_flows();
            signal("CONT", paused);
        }
        load.wait_for_sessions(20);
    });
    cluster.wait_balanced();
    assert_eq!(cluster.inconsistencies(&load), Vec::<String>::new());
    consistency::expect_no_deadlock_and_no_lock(server, &database.name);
}

// Verifies that the checks detect sessions that are booked twice: the gateways share nothing.
#[test]
fn double_booking_of_gateways_with_a_database_each_is_detected() {
    let Some(server) = postgres_server::shared() else { return };
    let (one, other) = (server.create_database(), server.create_database());
    migrate(&other.url);
    let cluster = Cluster::start(&granting(), &[one.url.clone(), other.url.clone()]);
    let load = Load::new(&cluster);
    load.run(4, &cluster.addresses(), || load.wait_for_sessions(50));
    let violations = load.violations.lock().unwrap();
    assert!(violations.iter().any(|text| text.starts_with("double-booked")), "{violations:?}");
}
