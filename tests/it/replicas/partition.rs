//! The connection of one replica to the database fails: it rejects creates in time and gives the reason, the
//! other replica serves, and it serves again by itself.

use super::*;

const CLIENTS: u64 = 8;
const FAULT_DURATION: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Frozen,
}

/// Two replicas; the first one reaches the database through the proxy.
fn cluster(server: &Server, url: &str) -> (Proxy, Cluster) {
    cluster_of(&granting(), server, url)
}

fn cluster_of(setup: &Setup<'_>, server: &Server, url: &str) -> (Proxy, Cluster) {
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], server.port())));
    let through =
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.address.port()));
    assert_ne!(through, url);
    let cluster = Cluster::start(setup, &[through, url.to_owned()]);
    (proxy, cluster)
}

fn inject(proxy: &Proxy, fault: Fault) {
    match fault {
        Fault::Cut => proxy.cut(),
        Fault::Frozen => proxy.freeze(),
    }
}

#[test]
fn replica_without_its_database_rejects_in_time_and_serves_again_by_itself() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let (proxy, cluster) = cluster(server, &database.url);
    let (cut_off, other) = (&cluster.replicas[0], &cluster.replicas[1]);
    for (number, fault) in (0..).zip([Fault::Cut, Fault::Frozen]) {
        let number = number * 10;
        let existing = session_id(&create(cut_off, number).expect(201));
        inject(&proxy, fault);
        let started = Instant::now();
        let rejected = create(cut_off, number + 1).expect(503);
        assert!(started.elapsed() < EXCHANGE_DEADLINE, "{fault:?}: {:?}", started.elapsed());
        assert!(rejected.header("retry-after").is_some(), "{rejected:?}");
        assert_eq!(rejected.json()["code"], "UNAVAILABLE", "{rejected:?}");
        let ready = cut_off.admin("/readyz").unwrap().expect(503);
        assert!(ready.body.contains("the ledger is not writable: "), "{ready:?}");
        // It created this session, and the operator has the status.
        get(cut_off, &existing).expect(200);
        wait_for("one ready replica", || cluster.balancer.ready() == 1);

        // The other replica serves, also the device of the rejected request.
        get(other, &existing).expect(200);
        let id = session_id(&create(other, number + 1).expect(201));
        delete(other, &id).expect(204);

        proxy.restore();
        cluster.wait_balanced();
        // No statement of the rejected request is executed late.
        let id = session_id(&create(other, number + 1).expect(201));
        get(cut_off, &id).expect(200);
        delete(cut_off, &existing).expect(204);
        create(cut_off, number).expect(201);
        create(cut_off, number + 2).expect(201);
    }
    assert_eq!(cluster.operator_sessions().len(), 6);
}

/// The session is confirmed in the ledger, but its replica does not learn it: it must not delete the session
/// at the operator, because every replica shows it.
#[test]
fn session_whose_confirmation_has_no_answer_is_kept() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let (proxy, cluster) = cluster_of(
        &Setup { simulator_arguments: &["--grant-all", "--latency-ms", "800"], ..granting() },
        server,
        &database.url,
    );
    let (cut_off, other) = (&cluster.replicas[0], &cluster.replicas[1]);
    thread::scope(|scope| {
        let created = scope.spawn(|| create(cut_off, 1));
        wait_for("the reservation", || other.ledger().len() == 1);
        proxy.lose_answers(usize::MAX);
        created.join().unwrap().expect(503);
    });
    proxy.lose_answers(0);
    cluster.wait_balanced();
    let [session] = &other.ledger()[..] else { panic!("{:?}", other.ledger()) };
    assert_eq!(session["state"], "available");
    let id = session["sessionId"].as_str().unwrap();
    // Longer than the interval in which the outcome is looked up.
    for _ in 0..4 {
        assert_eq!(get(other, id).expect(200).json()["qosStatus"], "AVAILABLE");
        assert_eq!(cluster.operator_sessions().len(), 1);
        thread::sleep(Duration::from_millis(500));
    }
    get(cut_off, id).expect(200);
    delete(cut_off, id).expect(204);
    assert!(cluster.operator_sessions().is_empty());
}

#[test]
fn partitions_under_load_lose_no_session_and_book_none_twice() {
    let Some(server) = postgres_server::shared() else { return };
    let database = server.create_database();
    let (proxy, cluster) = cluster(server, &database.url);
    let load = Load::new(&cluster);
    load.run(CLIENTS, &cluster.addresses(), || {
        for _ in 0..rounds(1) {
            for fault in [Fault::Cut, Fault::Frozen] {
                load.wait_for_sessions(20);
                inject(&proxy, fault);
                thread::sleep(FAULT_DURATION);
                load.replace_flows();
                proxy.restore();
                load.wait_for_sessions(20);
            }
        }
    });
    load.expect_responses_in_time();
    cluster.wait_balanced();
    assert_eq!(cluster.inconsistencies(&load), Vec::<String>::new());
    consistency::expect_no_deadlock_and_no_lock(server, &database.name);
}
