//! Several replicas race for the same devices, quotas and keys.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::{
    ledger::{
        Claim, ConflictRules, IdempotencyRequest, Ledger, OnUnknown, Requester, Reservation,
        ReservationRequest, ReserveOutcome,
        tests::sample::{
            START, create_request, granted, party, phone, reservation_request, vector_pairs,
        },
    },
    qod::{CreateRequest, QosStatus, Sink},
};

const REPLICAS: usize = 3;

/// Several replicas on one schema. Their clock does not advance.
struct Replicas {
    schema: TestSchema,
    ledgers: Vec<Ledger>,
}

impl Replicas {
    fn new() -> Option<Self> {
        Some(Self::on(TestSchema::new()?))
    }

    fn on(schema: TestSchema) -> Self {
        let clock = Clock::fixed(START);
        let ledger = || {
            let hasher = KeyHasher::new([7; 32]);
            Ledger::with_store(schema.store(&clock), hasher, clock.clone())
        };
        let ledgers = (0..REPLICAS).map(|_| ledger()).collect();
        Self { schema, ledgers }
    }

    fn replica(&self, n: usize) -> &Ledger {
        &self.ledgers[n % REPLICAS]
    }

    fn deadlocks(&self) -> String {
        let TestSchema { server, database, .. } = &self.schema;
        let deadlocks = format!(
            "SELECT pg_stat_force_next_flush(); SELECT deadlocks FROM pg_stat_database WHERE datname = '{}'",
            database.name
        );
        server.sql(&database.name, &deadlocks).trim().to_owned()
    }

    /// All transactions ended without a deadlock, and no lock is left.
    fn assert_no_deadlocks(&self) {
        let TestSchema { server, database, .. } = &self.schema;
        assert_eq!(self.deadlocks(), "0");
        let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                     WHERE l.locktype = 'advisory' AND d.datname = current_database()";
        assert_eq!(server.sql(&database.name, locks).trim(), "0");
    }
}

async fn reserve(
    ledger: &Ledger,
    requester: Requester,
    request: ReservationRequest,
) -> Result<Reservation, Error> {
    match ledger.reserve_for(requester, request).await? {
        ReserveOutcome::New(reservation) => Ok(reservation),
        ReserveOutcome::Replayed { .. } => panic!("unexpected idempotent replay"),
    }
}

fn phone_request(digits: u32, server: &str) -> ReservationRequest {
    reservation_request(create_request(phone(digits), server))
}

fn sink(url: &str) -> Sink {
    Sink { url: url.to_owned(), token: None, token_expires_at: None }
}

/// Clients at all replicas race for a few devices. Returns the number of flows that two of them held at
/// the same time, and that of all holds.
async fn race(replicas: &Replicas, clients: usize, rounds: usize) -> (usize, usize) {
    let holders = Arc::new(StdMutex::new(std::collections::HashMap::<(u32, bool), u32>::new()));
    let doubles = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let holds = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks = (0..clients).map(|client| {
        let (ledger, releaser) =
            (replicas.replica(client).clone(), replicas.replica(client + 1).clone());
        let (holders, doubles, holds) =
            (Arc::clone(&holders), Arc::clone(&doubles), Arc::clone(&holds));
        tokio::spawn(async move {
            for round in 0..rounds {
                let device = u32::try_from((client * 7 + round) % 4).unwrap();
                let second = (client + round) % 2 == 0;
                let server = if second { "192.0.2.2" } else { "192.0.2.1" };
                let request = phone_request(device, server);
                let Ok(reservation) = reserve(&ledger, party("c1"), request).await else {
                    continue;
                };
                holds.fetch_add(1, Ordering::SeqCst);
                let holder = || holders.lock().unwrap_or_else(PoisonError::into_inner);
                let before = {
                    let mut holders = holder();
                    let count = holders.entry((device, second)).or_default();
                    *count += 1;
                    *count
                };
                if before > 1 {
                    doubles.fetch_add(1, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
                *holder().entry((device, second)).or_default() -= 1;
                releaser.release(reservation).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    (doubles.load(Ordering::SeqCst), holds.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_flow_is_held_twice_by_clients_of_different_replicas() {
    let Some(replicas) = Replicas::new() else { return };
    let (doubles, holds) = race(&replicas, 32, 30).await;
    assert_eq!(doubles, 0);
    assert!(holds > 20, "{holds}");
    replicas.assert_no_deadlocks();
    assert!(replicas.replica(0).list(None, 1).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn race_without_locks_holds_a_flow_twice() {
    let Some(schema) = TestSchema::new() else { return };
    // The test above must be able to fail.
    schema.change_ledger(&[("PERFORM pg_advisory_xact_lock(p_locks[i]);", "NULL;")]);
    let replicas = Replicas::on(schema);
    for _ in 0..20 {
        if race(&replicas, 32, 12).await.0 > 0 {
            return;
        }
    }
    panic!("the race finds no fault without locks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn quotas_and_idempotency_are_exact_across_replicas() {
    let Some(replicas) = Replicas::new() else { return };
    let create = |n: usize, request: ReservationRequest, client: &'static str| {
        let ledger = replicas.replica(n).clone();
        tokio::spawn(async move { ledger.reserve_for(party(client), request).await })
    };
    let device = |n: usize| phone_request(u32::try_from(n).unwrap(), "192.0.2.1");
    let mut tasks = Vec::new();
    for n in 0..24 {
        tasks.push(create(n, ReservationRequest { sessions_max: 5, ..device(n) }, "five"));
        let daily = ReservationRequest { creates_per_day: Some(7), ..device(100 + n) };
        tasks.push(create(n, daily, "daily"));
        let key = IdempotencyRequest { key: "k".to_owned(), body: "body".into() };
        tasks.push(create(n, ReservationRequest { idempotency: Some(key), ..device(200) }, "once"));
    }
    let (mut five, mut daily, mut once) = (0, 0, 0);
    for (n, task) in tasks.into_iter().enumerate() {
        match (n % 3, task.await.unwrap()) {
            (0, Ok(_)) => five += 1,
            (1, Ok(_)) => daily += 1,
            (2, Ok(_)) => once += 1,
            (0, Err(Error::QuotaExceeded { max: 5 }))
            | (1, Err(Error::DailyQuotaExceeded { max: 7, .. }))
            | (2, Err(Error::RequestInProgress)) => {}
            (n, other) => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!((five, daily, once), (5, 7, 1));
    replicas.assert_no_deadlocks();
}

/// Creates of one client race for the last sessions of its quota, while other sessions of it end and
/// expire. Returns the number of admitted creates, and that of failed ones.
async fn race_for_quota(replicas: &Replicas, sessions_max: u32) -> (usize, usize) {
    let creates = (0..32_usize).map(|n| {
        let ledger = replicas.replica(n).clone();
        tokio::spawn(async move {
            let (mut admitted, mut failed) = (0, 0);
            for round in 0..30 {
                let device = phone_request(u32::try_from(n * 100 + round).unwrap(), "192.0.2.1");
                let request = ReservationRequest { sessions_max, ..device };
                match reserve(&ledger, party("c1"), request).await {
                    Ok(reservation) => {
                        admitted += 1;
                        if (n + round) % 2 == 0 {
                            let _ = ledger.release(reservation).await;
                        }
                    }
                    Err(Error::QuotaExceeded { .. }) => {}
                    Err(_) => failed += 1,
                }
            }
            (admitted, failed)
        })
    });
    let creates: Vec<_> = creates.collect();
    let schema = &replicas.schema;
    while !creates.iter().all(tokio::task::JoinHandle::is_finished) {
        // The oldest holds expire.
        let expire = format!(
            "DO $$ BEGIN \
             UPDATE {0}.session SET holds_until = 1 WHERE id IN (SELECT id FROM {0}.session \
             WHERE holds_until > 1 ORDER BY id LIMIT 8 FOR UPDATE SKIP LOCKED); \
             PERFORM {0}.expire_holds(NULL, 100); \
             EXCEPTION WHEN deadlock_detected THEN END $$",
            schema.schema
        );
        tokio::task::block_in_place(|| schema.server.sql(&schema.database.name, &expire));
        let live = tokio::task::block_in_place(|| schema.live_holds("c1"));
        assert!(live <= u64::from(sessions_max), "{live}");
    }
    let mut sums = (0, 0);
    for create in creates {
        let (admitted, failed) = create.await.unwrap();
        sums = (sums.0 + admitted, sums.1 + failed);
    }
    sums
}

// Another create takes the last session of a part after one has seen it and before it locks it, and holds of
// several parts expire at the same time.
const SLOW: [(&str, &str); 2] = [
    ("f.live < ", "pg_sleep(0.002)::text = '' AND f.live < "),
    (
        "SET holds_until = NULL WHERE s.id = v_row.id;",
        "SET holds_until = NULL WHERE s.id = v_row.id; PERFORM pg_sleep(0.002);",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creates_at_the_limit_of_a_quota_do_not_deadlock() {
    let Some(schema) = TestSchema::new() else { return };
    schema.change_ledger(&SLOW);
    let replicas = Replicas::on(schema);
    let (admitted, failed) = race_for_quota(&replicas, 24).await;
    assert!(admitted > 48 && failed == 0, "{admitted} {failed}");
    let held = "SELECT count(*) FROM qod.session WHERE holds_until IS NOT NULL";
    let held = replicas.schema.server.sql(&replicas.schema.database.name, held);
    assert_eq!(held.trim(), replicas.schema.live_holds("c1").to_string());
    replicas.assert_no_deadlocks();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creates_that_wait_with_locked_parts_deadlock() {
    let Some(schema) = TestSchema::new() else { return };
    let skip = "v_part := {schema}.count_hold(p_client, p_sessions_max, false);";
    let wait = "v_part := coalesce({schema}.count_hold(p_client, p_sessions_max, false), \
                {schema}.count_hold(p_client, p_sessions_max, true));";
    schema.change_ledger(&[SLOW[0], SLOW[1], (skip, wait)]);
    let replicas = Replicas::on(schema);
    for _ in 0..20 {
        race_for_quota(&replicas, 24).await;
        if replicas.deadlocks() != "0" {
            return;
        }
    }
    panic!("the race finds no deadlock");
}

#[tokio::test]
async fn conflict_vectors_have_the_same_verdict_at_two_replicas() {
    let Some(replicas) = Replicas::new() else { return };
    for pair in vector_pairs() {
        for (first, second) in [(&pair.one, &pair.other), (&pair.other, &pair.one)] {
            for unknown in [OnUnknown::Forward, OnUnknown::Refuse] {
                let request = |create: &CreateRequest| ReservationRequest {
                    rules: ConflictRules { unknown, ..ConflictRules::default() },
                    ..reservation_request(create.clone())
                };
                let (one, other) = (replicas.replica(0), replicas.replica(1));
                let held = reserve(one, first.0.clone(), request(&first.1)).await.unwrap();
                let result = reserve(other, second.0.clone(), request(&second.1)).await;
                let parties = (&first.0, &second.0);
                if let Some(second) = pair.expect_verdict(parties, unknown, &held, result) {
                    one.release(second).await.unwrap();
                }
                other.release(held).await.unwrap();
            }
        }
    }
}

/// A statement may be repeated while its first attempt still runs, for example while it waits for the
/// synchronous standby.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_attempts_of_one_reservation_are_one_session() {
    let Some(replicas) = Replicas::new() else { return };
    let store = &replicas.replica(0).store;
    let hasher = KeyHasher::new([7; 32]);
    for digits in 0..20 {
        let mut request = phone_request(digits, "192.0.2.1");
        request.sessions_max = digits + 1;
        let claim = Claim::new(&hasher, &party("c1"), &request);
        let record = SessionRecord::new_pending(&party("c1"), &request, claim, None, START);
        let insert = InsertRequest {
            record: Box::new(record.clone()),
            started: Clock::fixed(START).tick(),
            rules: request.rules,
            sessions_max: request.sessions_max,
            creates_per_day: None,
            fingerprint: None,
        };
        let attempts = [insert.clone(), insert.clone(), insert];
        let attempts = attempts.map(|attempt| store.insert(attempt, START));
        for outcome in futures_util::future::join_all(attempts).await {
            let InsertOutcome::New(inserted) = outcome.unwrap() else { panic!() };
            assert_eq!(*inserted.record, record);
        }
    }
    assert_eq!((replicas.schema.count("session"), replicas.schema.live_holds("c1")), (20, 20));
    replicas.assert_no_deadlocks();
}

#[tokio::test]
async fn event_at_another_replica_reaches_the_create() {
    let Some(replicas) = Replicas::new() else { return };
    let (creator, other) = (replicas.replica(0), replicas.replica(1));
    let reservation = reserve(creator, party("c1"), phone_request(1, "192.0.2.1")).await.unwrap();
    let id = reservation.id();
    assert_eq!(other.record_early_event(id, "operator-1".to_owned()).await, Ok(true));
    let report = granted(QosStatus::Requested, START, 60);
    let confirmed = creator.confirm(reservation, "operator-1".to_owned(), report).await.unwrap();
    assert_eq!(confirmed.early_event.as_deref(), Some("operator-1"));
    assert_eq!(other.record_early_event(id, "operator-1".to_owned()).await, Ok(false));
}

#[tokio::test]
async fn notifications_of_an_ended_replica_are_taken_over_in_order() {
    let Some(replicas) = Replicas::new() else { return };
    let (one, other) = (replicas.replica(0), replicas.replica(1));
    assert!(other.take_notifications(None, 10).await.unwrap().entries.is_empty());
    assert!(one.take_notifications(None, 10).await.unwrap().entries.is_empty());
    let mut create = create_request(phone(1), "192.0.2.1");
    create.sink = Some(sink("https://sink.example/1"));
    let reservation = reserve(one, party("c1"), reservation_request(create)).await.unwrap();
    let available = granted(QosStatus::Available, START, 60);
    let record = one.confirm(reservation, "operator-1".to_owned(), available).await.unwrap();
    let ended = granted(QosStatus::Unavailable, START, 60);
    other.observe(&record, ended, START).await.unwrap();
    // The replica that queued the first notification delivers the second one, too.
    assert!(other.take_notifications(None, 10).await.unwrap().entries.is_empty());
    let taken = one.take_notifications(None, 10).await.unwrap().entries;
    let statuses: Vec<_> = taken.iter().map(|entry| entry.status).collect();
    assert_eq!(statuses, [QosStatus::Available, QosStatus::Unavailable]);
    assert!(one.take_notifications(None, 10).await.unwrap().entries.is_empty());
    let number = taken[0].number;
    let timeout = Duration::from_secs(1);
    assert!(one.notification_to_deliver(number, timeout).await.unwrap().is_some());
    assert_eq!(other.notification_to_deliver(number, timeout).await, Ok(None));
    one.close().await;
    assert_eq!(other.take_notifications(None, 10).await.unwrap().entries, taken);
    assert_eq!(one.notification_to_deliver(number, timeout).await, Ok(None));
    other.acknowledge(taken.iter().map(|entry| entry.number).collect()).await.unwrap();
    let left = replicas.schema.count("notification") + replicas.schema.count("notification_queue");
    assert_eq!(left, 0);
}

#[tokio::test]
async fn rows_contain_nothing_readable() {
    let Some(replicas) = Replicas::new() else { return };
    let ledger = replicas.replica(0);
    let mut create = create_request(phone(4242), "192.0.2.77");
    create.sink = Some(sink("https://sink.example/4242"));
    let reservation =
        reserve(ledger, party("client-name"), reservation_request(create)).await.unwrap();
    let available = granted(QosStatus::Available, START, 60);
    ledger.confirm(reservation, "operator-session-1".to_owned(), available).await.unwrap();
    let dump = replicas.schema.dump();
    let private = [
        "49151000004242",
        "4242",
        "192.0.2.77",
        "sink.example",
        "client-name",
        "operator-session-1",
        "north",
    ];
    for text in private {
        // As `bytea` is printed.
        let hex = text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        if text.len() > 4 {
            assert!(!dump.contains(text), "{text}");
        }
        assert!(!dump.contains(&hex), "{text} in hexadecimal");
    }
    assert!(dump.len() > 500, "{dump}");
}
