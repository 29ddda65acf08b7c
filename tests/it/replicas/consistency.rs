//! Compares what clients know with the ledger, as each replica shows it, with the operator's sessions and with
//! the notifications that arrived.

use std::collections::{BTreeMap, BTreeSet};

use super::{load::KnownSession, *};
use crate::{
    notifications::received_events,
    operator_sessions::{double_booked, is_open},
};

// The sum of a call's timeout, the grace period, an equal backoff, and a repeated delete.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(150);
// The sum of a replica's lease and of some attempts.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(1);
// The number of devices whose flows are requested again.
const FLOWS_EXAMINED: usize = 40;

impl Cluster {
    /// Waits until recovery has resolved all open sessions. Returns all inconsistencies.
    pub(super) fn inconsistencies(&self, load: &Load) -> Vec<String> {
        self.wait_recovered();
        let known = load.sessions.lock().unwrap().clone();
        let mut found = load.violations.lock().unwrap().clone();
        found.extend(overlaps(&known));
        found.extend(self.lost(&known));
        let ledger = self.replicas[0].ledger();
        for replica in &self.replicas[1..] {
            if replica.ledger() != ledger {
                found.push("the replicas show different ledgers".to_owned());
            }
        }
        let booked = self.operator_sessions();
        found.extend(double_booked(&booked));
        let available = |session: &&Value| session["state"] == "available";
        let ledger_ids: BTreeSet<String> =
            ledger.iter().filter(available).map(|one| one["operatorSession"].to_string()).collect();
        let operator_ids: BTreeSet<String> =
            booked.iter().map(|session| session["id"].to_string()).collect();
        found.extend(operator_ids.difference(&ledger_ids).map(|id| format!("orphan: {id}")));
        found.extend(ledger_ids.difference(&operator_ids).map(|id| format!("phantom: {id}")));
        for session in known.iter().filter(|session| session.is_deleted) {
            if ledger.iter().any(|other| other["sessionId"] == *session.id) {
                found.push(format!("not deleted: {}", session.id));
            }
        }
        found.extend(self.wrongly_rejected(load, &ledger));
        found.extend(missing_events(load, &known));
        found
    }

    /// Waits until no session's outcome is open.
    pub(super) fn wait_recovered(&self) {
        let started = Instant::now();
        while self.replicas[0].ledger().iter().any(is_open) {
            assert!(
                started.elapsed() < RECOVERY_TIMEOUT,
                "sessions still open: {:#?}",
                self.replicas[0].ledger()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The sessions that were granted and not deleted, but are missing at a replica or the operator.
    pub(super) fn lost(&self, known: &[KnownSession]) -> Vec<String> {
        let token = self.world.keys.token("app", SCOPE);
        let mut lost = Vec::new();
        for session in known.iter().filter(|session| session.delete_sent_at.is_none()) {
            for address in self.addresses() {
                let path = format!("/sessions/{}", session.id);
                let status = load::send(address, &token, "GET", &path, "").map(|answer| {
                    let status = answer.json()["qosStatus"].as_str().unwrap_or("").to_owned();
                    (answer.status, status)
                });
                if status != Some((200, "AVAILABLE".to_owned())) {
                    lost.push(format!("lost: {session:?}: {status:?} at {address}"));
                }
            }
        }
        lost
    }

    // Flows that no session holds, but that cannot be reserved.
    fn wrongly_rejected(&self, load: &Load, ledger: &[Value]) -> Vec<String> {
        let reserved: BTreeSet<&str> =
            ledger.iter().filter_map(|session| session["device"]["phoneNumber"].as_str()).collect();
        let mut rejected = Vec::new();
        for number in load.numbers().rev().take(FLOWS_EXAMINED) {
            if reserved.contains(&*number_at(DIALECT, number)) {
                continue;
            }
            let replica = &self.replicas[number as usize % self.replicas.len()];
            let answer = create(replica, number);
            if answer.status == 201 {
                delete(replica, &session_id(&answer)).expect(204);
            } else {
                rejected.push(format!("wrongly rejected: {number}: {answer:?}"));
            }
        }
        rejected
    }
}

/// Asserts that no transaction was aborted by a deadlock, and that no lock is left behind.
pub(super) fn expect_no_deadlock_and_no_lock(server: &Server, database: &str) {
    let deadlocks = format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'");
    assert_eq!(server.sql("postgres", &deadlocks), "0");
    let locks = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
         (SELECT oid FROM pg_database WHERE datname = '{database}')"
    );
    assert_eq!(server.sql("postgres", &locks), "0");
}

// Waits for the notifications of all sessions. Returns those that are missing or out of order.
fn missing_events(load: &Load, known: &[KnownSession]) -> Vec<String> {
    let started = Instant::now();
    loop {
        let received: BTreeMap<String, Vec<String>> = received_events(&load.sink)
            .into_iter()
            .map(|(id, events)| (id, events.into_iter().map(|(_, status)| status).collect()))
            .collect();
        let mut found = Vec::new();
        for (id, statuses) in &received {
            let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
            if !matches!(statuses[..], ["AVAILABLE"] | ["AVAILABLE", "UNAVAILABLE"]) {
                found.push(format!("events out of order: {id}: {statuses:?}"));
            }
        }
        let count = |id: &String| received.get(id).map_or(0, Vec::len);
        for session in known {
            if count(&session.id) < 1 + usize::from(session.is_deleted) {
                found.push(format!("missing events: {session:?}: {:?}", received.get(&session.id)));
            }
        }
        if found.is_empty() || started.elapsed() > DELIVERY_TIMEOUT {
            return found;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

// Two sessions of one device that clients had at the same time.
fn overlaps(known: &[KnownSession]) -> Vec<String> {
    let mut by_number: BTreeMap<u32, Vec<&KnownSession>> = BTreeMap::new();
    for session in known {
        by_number.entry(session.number).or_default().push(session);
    }
    let mut found = Vec::new();
    for mut sessions in by_number.into_values() {
        sessions.sort_by_key(|session| session.granted_at);
        for pair in sessions.windows(2) {
            if pair[0].delete_sent_at.is_none_or(|sent_at| sent_at > pair[1].granted_at) {
                found.push(format!("double-booked: {pair:?}"));
            }
        }
    }
    found
}
