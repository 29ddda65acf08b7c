//! Safeguards of changes and leases. Each test also switches its safeguard off, and then finds the fault.

use std::thread;

use super::*;
use crate::{
    ledger::{
        Ledger, ReserveOutcome,
        tests::sample::{START, create_request, granted, party, phone, reservation_request},
    },
    qod::{QosStatus, Sink},
};

pub(super) fn replica_on(schema: &TestSchema, clock: &Clock) -> Ledger {
    Ledger::with_store(schema.store(clock), KeyHasher::new([7; 32]), clock.clone())
}

/// Creates an available session with a sink.
async fn create_session(ledger: &Ledger) -> SessionRecord {
    let mut create = create_request(phone(1), "192.0.2.1");
    let url = "https://sink.example/1".to_owned();
    create.sink = Some(Sink { url, token: None, token_expires_at: None });
    let reserved = ledger.reserve_for(party("c1"), reservation_request(create)).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!() };
    let available = granted(QosStatus::Available, START, 60);
    ledger.confirm(reservation, "operator-1".to_owned(), available).await.unwrap()
}

pub(super) fn sql(schema: &TestSchema, text: &str) -> String {
    let text = text.replace("{schema}", &schema.schema);
    schema.server.sql(&schema.database.name, &text).trim().to_owned()
}

/// Changes a record that another replica has changed meanwhile, as a replica does that read it from its cache.
async fn change_outdated_record(schema: &TestSchema) -> Result<(), Error> {
    let clock = Clock::fixed(START);
    let (one, other) = (replica_on(schema, &clock), replica_on(schema, &clock));
    let outdated = create_session(&one).await;
    let longer = granted(QosStatus::Available, START, 120);
    other.observe(&outdated, longer, START).await.unwrap();
    one.store.replace(outdated.deleting(START).unwrap(), START).await.map(drop)
}

#[tokio::test]
async fn outdated_record_is_not_written() {
    let Some(schema) = TestSchema::new() else { return };
    assert_eq!(change_outdated_record(&schema).await, Err(Error::Superseded));
}

#[tokio::test]
async fn outdated_record_is_written_without_the_comparison_of_generations() {
    let Some(schema) = TestSchema::new() else { return };
    schema.change_ledger(&[(
        "WHERE s.id = p_id AND s.generation = p_generation - 1\n",
        "WHERE s.id = p_id\n",
    )]);
    assert_eq!(change_outdated_record(&schema).await, Ok(()));
}

/// Replaces a session while its hold expires in another transaction. Returns the outcome, and the number of
/// live sessions of its client.
async fn replace_while_hold_expires(schema: &TestSchema) -> (String, String) {
    let ledger = replica_on(schema, &Clock::fixed(START));
    let id = create_session(&ledger).await.session.id.0;
    // Ends the hold, waits until the other transaction waits for it, and commits.
    let end_hold = "DO $$ BEGIN \
           PERFORM {schema}.unlink(s.id, s.client, s.part, s.keys) FROM {schema}.session s; \
           UPDATE {schema}.session SET holds_until = NULL; \
           PERFORM pg_advisory_xact_lock(77); \
           FOR i IN 1 .. 2000 LOOP \
             EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid); \
             PERFORM pg_sleep(0.005); \
           END LOOP; END $$";
    let replace = format!(
        "SELECT outcome FROM {{schema}}.replace('{id}', 2, 1, 4::smallint, NULL, 0, NULL, '', \
         NULL, NULL, false, '{{}}', NULL, NULL, NULL, 1)"
    );
    let outcome = thread::scope(|scope| {
        let expiry = scope.spawn(|| sql(schema, end_hold));
        let is_held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while sql(schema, is_held) != "1" && !expiry.is_finished() {}
        let outcome = sql(schema, &replace);
        expiry.join().unwrap();
        outcome
    });
    (outcome, sql(schema, "SELECT sum(live) FROM {schema}.client_holds"))
}

#[tokio::test]
async fn hold_that_expires_during_a_change_is_uncounted_once() {
    let Some(schema) = TestSchema::new() else { return };
    assert_eq!(replace_while_hold_expires(&schema).await, ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn hold_that_expires_during_a_change_is_uncounted_twice_without_the_comparison() {
    let Some(schema) = TestSchema::new() else { return };
    schema.change_ledger(&[(" AND b.holds_until IS NOT DISTINCT FROM s.holds_until", "")]);
    assert_eq!(replace_while_hold_expires(&schema).await, ("0".to_owned(), "-1".to_owned()));
}

/// The number of notifications of a live replica that another one takes.
async fn notifications_taken_from_a_live_replica(schema: &TestSchema) -> usize {
    let clock = Clock::fixed(START);
    let (one, other) = (replica_on(schema, &clock), replica_on(schema, &clock));
    for replica in [&one, &other] {
        assert!(replica.take_notifications(None, 10).await.unwrap().entries.is_empty());
    }
    create_session(&one).await;
    other.take_notifications(None, 10).await.unwrap().entries.len()
}

#[tokio::test]
async fn notifications_of_a_live_replica_are_taken_only_without_its_lease() {
    let Some(schema) = TestSchema::new() else { return };
    assert_eq!(notifications_taken_from_a_live_replica(&schema).await, 0);
    let Some(schema) = TestSchema::new() else { return };
    schema.change_ledger(&[(
        "WHERE r.lease_until < v_now AND r.id <> p_owner",
        "WHERE r.id <> p_owner",
    )]);
    assert_eq!(notifications_taken_from_a_live_replica(&schema).await, 1);
}

/// How many of two sweeps take a session that is due.
async fn sweeps_that_take_a_session(schema: &TestSchema) -> String {
    create_session(&replica_on(schema, &Clock::fixed(START))).await;
    sql(schema, "UPDATE {schema}.session SET due = 0");
    let lease = "SELECT count(*) FROM {schema}.lease_due(10, 30000)";
    format!("{}{}", sql(schema, lease), sql(schema, lease))
}

#[tokio::test]
async fn session_that_is_due_is_taken_twice_only_without_a_lease() {
    let Some(schema) = TestSchema::new() else { return };
    assert_eq!(sweeps_that_take_a_session(&schema).await, "10");
    let Some(schema) = TestSchema::new() else { return };
    schema.change_ledger(&[("SET due = v_now + p_lease_ms", "SET due = s.due")]);
    assert_eq!(sweeps_that_take_a_session(&schema).await, "11");
}
