//! The database is restarted, or fails over to a standby, while clients race.

use super::*;

const CLIENTS: u64 = 16;
const RESTARTS: u32 = 3;
/// Longer than the time limit of a statement, so that statements are repeated.
const FROZEN_FOR: Duration = Duration::from_secs(3);

#[test]
fn restarted_database_loses_no_session_and_books_none_twice() {
    let Some(server) = Server::start_new(Options::default()) else { return };
    let cluster = Cluster::start(&granting(), &vec![server.url(USER); 2]);
    let load = Load::new(&cluster);
    load.run(CLIENTS, &cluster.addresses(), || {
        for _ in 0..rounds(RESTARTS) {
            load.wait_for_sessions(20);
            server.stop(true);
            load.replace_flows();
            thread::sleep(Duration::from_secs(1));
            server.start();
        }
        load.wait_for_sessions(20);
    });
    load.expect_responses_in_time();
    cluster.wait_balanced();
    assert_eq!(cluster.inconsistencies(&load), Vec::<String>::new());
}

/// Freezes the link between a primary and its standby under load, and fails over. Returns what `find` returns
/// afterwards.
fn fail_over(
    is_synchronous: bool,
    find: impl FnOnce(&Cluster, &Load) -> Vec<String>,
) -> Option<Vec<String>> {
    let primary = Server::start_new(Options::default())?;
    let standby = primary.synchronous_standby();
    if !is_synchronous {
        primary.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        primary.sql("postgres", "SELECT pg_reload_conf()");
    }
    let (first, second) = (primary.port(), standby.port());
    let url = format!(
        "postgresql://{USER}@127.0.0.1:{first},127.0.0.1:{second}/{USER}\
         ?sslmode=disable&target_session_attrs=read-write"
    );
    let cluster = Cluster::start(&granting(), &vec![url; 2]);
    let load = Load::new(&cluster);
    load.run(CLIENTS, &cluster.addresses(), || {
        load.wait_for_sessions(30);
        standby.freeze_replication();
        if is_synchronous {
            thread::sleep(FROZEN_FOR);
        } else {
            load.wait_for_sessions(30);
        }
        primary.kill9();
        // What the primary had sent is lost, too: the standby had not received it.
        standby.kill9();
        standby.start();
        standby.promote();
        load.replace_flows();
        load.wait_for_sessions(20);
    });
    load.expect_responses_in_time();
    cluster.wait_balanced();
    Some(find(&cluster, &load))
}

#[test]
fn fail_over_to_a_synchronous_standby_loses_no_session_and_books_none_twice() {
    for _ in 0..rounds(1) {
        let Some(inconsistencies) = fail_over(true, Cluster::inconsistencies) else { return };
        assert_eq!(inconsistencies, Vec::<String>::new());
    }
}

// Verifies that the test detects lost sessions.
#[test]
fn sessions_lost_by_asynchronous_replication_are_detected() {
    for _ in 0..3 {
        // The events of a lost session never arrive: no wait for them.
        let find = |cluster: &Cluster, load: &Load| {
            cluster.wait_recovered();
            cluster.lost(&load.sessions.lock().unwrap())
        };
        let Some(lost) = fail_over(false, find) else { return };
        if !lost.is_empty() {
            return;
        }
    }
    panic!("no session was lost");
}
