//! The contract of all stores; the tests of each store run it.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Claim, IdempotencyRequest, Ledger, ReservationRequest, ReserveOutcome,
        claim::KeyHasher,
        tests::{
            model::check_against_model,
            sample::{START, create_request, granted, party, phone, reservation_request},
        },
    },
    *,
};
use crate::{
    clock::Clock,
    qod::{QosStatus, Secret, Sink},
};

/// Opens the store as a new process, after the previous process has ended.
pub(in super::super) type Restart<'a> = dyn Fn(Arc<dyn Store>, &Clock) -> Arc<dyn Store> + 'a;

/// A kind of store under test.
#[derive(Clone, Copy)]
pub(in super::super) struct StoreKind<'a> {
    pub(in super::super) make: &'a dyn Fn(&Clock) -> Arc<dyn Store>,
    /// Reopens the store in a new process; `None` for a volatile store.
    pub(in super::super) restart: Option<&'a Restart<'a>>,
    /// Whether other processes use the store meanwhile: their calls to operators stay in progress.
    pub(in super::super) shared: bool,
    /// The number of random histories to run.
    pub(in super::super) histories: u32,
}

/// Runs the whole contract.
pub(in super::super) fn assert_store_contract(kind: &StoreKind<'_>) {
    let make = || (kind.make)(&Clock::fixed(START));
    let single_threaded =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    single_threaded.block_on(async {
        insert_returns_the_record_as_written(&*make()).await;
        writes_are_compare_and_set(&*make()).await;
        expired_hold_stays_expired(&*make()).await;
        rejected_insert_leaves_no_record(&*make()).await;
        sweep_is_bounded(&*make()).await;
        operator_session_id_is_unique(&*make()).await;
        all_records_are_listed_in_pages(&*make()).await;
        idempotent_replay_gets_first_response(make()).await;
        notifications_are_queued_until_acknowledged(make(), kind.restart).await;
        usage_records_are_read_in_order_and_pruned(make(), kind.restart).await;
    });
    check_against_model(kind);
    let multi_threaded =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    multi_threaded.block_on(async {
        for _ in 0..50 {
            one_of_forty_concurrent_reservations_succeeds(make()).await;
        }
        no_flow_is_reserved_twice(make()).await;
    });
}

fn request(digits: u32) -> InsertRequest {
    // One secret for all requests, so that their keys are comparable.
    static HASHER: std::sync::LazyLock<KeyHasher> = std::sync::LazyLock::new(KeyHasher::random);
    let reservation = reservation_request(create_request(phone(digits), "192.0.2.1"));
    let claim = Claim::new(&HASHER, &party("c1"), &reservation);
    InsertRequest {
        record: Box::new(SessionRecord::new_pending(
            &party("c1"),
            &reservation,
            claim,
            None,
            START,
        )),
        started: Clock::fixed(START).tick(),
        rules: reservation.rules,
        sessions_max: reservation.sessions_max,
        creates_per_day: None,
        fingerprint: None,
    }
}

/// Inserts a request that must succeed, and returns the record as written.
async fn insert(store: &dyn Store, request: InsertRequest, now: Moment) -> SessionRecord {
    match store.insert(request, now).await {
        Ok(InsertOutcome::New(inserted)) => {
            assert!(!inserted.device_ambiguous);
            *inserted.record
        }
        other => panic!("{other:?}"),
    }
}

async fn insert_returns_the_record_as_written(store: &dyn Store) {
    let request = request(1);
    let (asked, started) = (request.record.clone(), request.started);
    let outcome = store.insert(request, START).await.unwrap();
    let InsertOutcome::New(inserted) = outcome else { panic!("{outcome:?}") };
    assert_eq!(store.find(&asked.session.id).await, Ok(Some(*inserted.record.clone())));
    // The call must not be sent later than the record allows.
    let later_by = inserted.record.requested_at().since(asked.requested_at());
    assert!(inserted.started <= started + later_by);
}

async fn writes_are_compare_and_set(store: &dyn Store) {
    let request = request(1);
    let id = request.record.session.id;
    let available = granted(QosStatus::Available, START, 60);
    let asked = SessionRecord::clone(&request.record);
    let second = asked.confirmed("operator-1".to_owned(), available, START).unwrap();
    assert_eq!(store.replace(second.clone(), START).await, Err(Error::NotFound));
    assert_eq!(store.remove(removal(id, 0), START).await, Err(Error::NotFound));
    let first = insert(store, request, START).await;
    assert_eq!(store.find(&id).await, Ok(Some(first.clone())));
    let available = granted(QosStatus::Available, START, 60);
    let second = first.clone().confirmed("operator-1".to_owned(), available, START).unwrap();
    assert_eq!(store.replace(first.clone(), START).await, Err(Error::Superseded));
    assert_eq!(store.replace(second.clone(), START).await.map(drop), Ok(()));
    assert_eq!(store.replace(second.clone(), START).await, Err(Error::Superseded));
    assert_eq!(store.replace(first.in_doubt().unwrap(), START).await, Err(Error::Superseded));
    assert_eq!(store.remove(removal(id, 0), START).await, Err(Error::Superseded));
    assert_eq!(store.find(&id).await, Ok(Some(second)));
    assert_eq!(store.remove(removal(id, 1), START).await.map(drop), Ok(()));
    assert_eq!(store.find(&id).await, Ok(None));
}

fn removal(id: SessionId, generation: u64) -> Removal {
    Removal { id, generation, transition: Transition::FinishDelete }
}

async fn expired_hold_stays_expired(store: &dyn Store) {
    let (first, second) = (request(1), request(1));
    let reserved = insert(store, first, START).await;
    let much_later = START + Duration::from_secs(1_000_000);
    insert(store, second, much_later).await;
    // A change with an earlier time cannot restore the hold.
    let available = granted(QosStatus::Available, START, 60);
    let late = reserved.confirmed("operator-1".to_owned(), available, START).unwrap();
    assert_eq!(store.replace(late, START).await, Err(Error::Superseded));
}

async fn rejected_insert_leaves_no_record(store: &dyn Store) {
    let (first, second) = (request(1), request(1));
    let (held, rejected) = (first.record.session.id, second.record.session.id);
    store.insert(first, START).await.unwrap();
    let conflict = Error::Conflict { own_session: Some(held), device_ambiguous: false };
    assert_eq!(store.insert(second, START).await, Err(conflict));
    assert_eq!(store.find(&rejected).await, Ok(None));
    let full = InsertRequest { sessions_max: 1, ..request(2) };
    assert_eq!(store.insert(full, START).await, Err(Error::QuotaExceeded { max: 1 }));
    let live: u64 = store.counts().await.unwrap().into_iter().map(|(_, _, count)| count).sum();
    assert_eq!(live, 1);
}

async fn sweep_is_bounded(store: &dyn Store) {
    for digits in 0..10 {
        store.insert(request(digits), START).await.unwrap();
    }
    assert_eq!(store.sweep(START, 4).await.unwrap().examined, 0);
    let later = START + Duration::from_secs(41);
    let mut swept = Vec::new();
    for _ in 0..4 {
        swept.push(store.sweep(later, 4).await.unwrap().examined);
    }
    assert_eq!(swept, [4, 4, 2, 0]);
}

async fn operator_session_id_is_unique(store: &dyn Store) {
    let (first, second) = (request(1), request(2));
    let confirmed = |record: SessionRecord| {
        let available = granted(QosStatus::Available, START, 60);
        record.confirmed("operator-1".to_owned(), available, START).unwrap()
    };
    let one = confirmed(insert(store, first, START).await);
    let other = confirmed(insert(store, second, START).await);
    assert_eq!(store.find_by_operator_session(&one.operator, "operator-1").await, Ok(None));
    assert_eq!(store.replace(one.clone(), START).await.map(drop), Ok(()));
    assert_eq!(
        store.find_by_operator_session(&one.operator, "operator-1").await,
        Ok(Some(one.session.id))
    );
    assert_eq!(store.replace(other.clone(), START).await, Err(Error::OperatorSessionInUse));
    assert_eq!(store.find(&other.session.id).await.unwrap().unwrap().generation(), 0);
    assert_eq!(store.find_by_operator_session(&"south".into(), "operator-1").await, Ok(None));
    assert_eq!(store.remove(removal(one.session.id, 1), START).await.map(drop), Ok(()));
    assert_eq!(store.replace(other, START).await.map(drop), Ok(()));
}

async fn all_records_are_listed_in_pages(store: &dyn Store) {
    let mut expected = Vec::new();
    for digits in 0..7 {
        let request = request(digits);
        expected.push(request.record.session.id);
        store.insert(request, START).await.unwrap();
    }
    expected.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.session.id);
        found.extend(page.into_iter().map(|record| record.session.id));
    }
    assert_eq!(found, expected);
}

async fn notifications_are_queued_until_acknowledged(
    store: Arc<dyn Store>,
    restart: Option<&Restart<'_>>,
) {
    let mut first = request(1);
    let sink = Sink {
        url: "https://app.example/".to_owned(),
        token: Some(Secret::new("s3cret")),
        token_expires_at: Some(START),
    };
    Arc::make_mut(&mut first.record.session.wanted).sink = Some(sink.clone());
    let reserved = insert(&*store, first, START).await;
    let available = granted(QosStatus::Available, START, 60);
    let confirmed = reserved.confirmed("operator-1".to_owned(), available, START).unwrap();
    let change = store.replace(confirmed.clone(), START).await.unwrap().outbox;
    assert_eq!(change, OutboxChange { queued: 1, dropped: 0 });
    let later = START + Duration::from_secs(66);
    assert_eq!(store.sweep(later, 10).await.unwrap().outbox.queued, 1);
    let queued = store.outbox_entries(None, 10).await.unwrap();
    assert_eq!(queued.len(), 2);
    let (one, two) = (queued[0].number, queued[1].number);
    assert_eq!(store.outbox_entries(Some(one), 10).await.unwrap(), queued[1..]);
    assert_eq!(store.outbox_entries(None, 1).await.unwrap(), queued[..1]);
    let notification = store.notification(two).await.unwrap().unwrap();
    assert_eq!((notification.sink, notification.event.status), (sink, QosStatus::Unavailable));
    store.acknowledge(vec![one]).await.unwrap();
    assert_eq!(store.notification(one).await.unwrap(), None);
    assert_eq!(store.outbox_entries(None, 10).await.unwrap(), queued[1..]);

    let Some(restart) = restart else { return };
    store.close().await;
    let store = restart(store, &Clock::fixed(later));
    while store.health().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.outbox_entries(None, 10).await.unwrap(), queued[1..]);
    assert_eq!(store.notification(one).await.unwrap(), None);
    store.acknowledge(vec![two]).await.unwrap();
    assert_eq!(store.outbox_entries(None, 10).await.unwrap(), []);
}

async fn usage_records_are_read_in_order_and_pruned(
    mut store: Arc<dyn Store>,
    restart: Option<&Restart<'_>>,
) {
    let read = async |store: &dyn Store, after, period, count| {
        // Transactions of other tests delay the records of a shared store.
        for _ in 0..2000 {
            let page = store.usage(after, period, 10).await.unwrap();
            if page.records.len() >= count {
                return page.records;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{count} records are expected");
    };
    let at = |n: u64| START + Duration::from_hours(n);
    let (mut last, mut ended) = (None, Vec::new());
    for n in 0..4 {
        let request = request(u32::try_from(n).unwrap());
        let id = request.record.session.id;
        let record = insert(&*store, request, START).await;
        let available = granted(QosStatus::Available, START, 60);
        let record = record.confirmed(format!("operator-{n}"), available, START).unwrap();
        store.replace(record, START).await.unwrap();
        let removed = store.remove(removal(id, 1), at(n)).await.unwrap();
        ended.push(id);
        let found = read(&*store, last, UsagePeriod::default(), 1).await;
        let [(position, usage)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((usage.session, usage.recorded_at), (id, at(n)));
        assert_eq!(removed.usage.as_deref(), Some(usage));
        assert!(last < Some(*position));
        last = Some(*position);
        if let Some(restart) = restart {
            store.close().await;
            store = restart(store, &Clock::fixed(at(n)));
            while store.health().is_err() {
                tokio::task::yield_now().await;
            }
        }
    }
    assert_eq!(store.usage(last, UsagePeriod::default(), 10).await, Ok(UsagePage::default()));
    let page = store.usage(None, UsagePeriod::default(), 2).await.unwrap();
    assert_eq!(page.next, page.records.last().map(|(at, _)| *at));
    let period = UsagePeriod { from: Some(at(1)), to: Some(at(3)) };
    let found = read(&*store, None, period, 2).await;
    let sessions: Vec<_> = found.iter().map(|(_, usage)| usage.session).collect();
    assert_eq!(sessions, ended[1..3]);
    assert_eq!(store.prune_usage(at(2), 1).await, Ok(1));
    assert_eq!(store.prune_usage(at(2), 9).await, Ok(1));
    assert_eq!(store.prune_usage(at(2), 9).await, Ok(0));
    let found = read(&*store, None, UsagePeriod::default(), 2).await;
    let sessions: Vec<_> = found.iter().map(|(_, usage)| usage.session).collect();
    assert_eq!(sessions, ended[2..]);
}

async fn idempotent_replay_gets_first_response(store: Arc<dyn Store>) {
    let ledger = Ledger::with_store(store, KeyHasher::random(), Clock::fixed(START));
    let create = |digits, key: &str, body: &'static [u8]| ReservationRequest {
        idempotency: Some(IdempotencyRequest {
            key: key.to_owned(),
            body: bytes::Bytes::from_static(body),
        }),
        ..reservation_request(create_request(phone(digits), "192.0.2.1"))
    };
    let send = |client: &str, request| {
        let (ledger, client) = (ledger.clone(), party(client));
        async move { ledger.reserve_for(client, request).await }
    };
    let new = |reserved| match reserved {
        Ok(ReserveOutcome::New(reservation)) => reservation,
        other => panic!("{other:?}"),
    };
    let first = new(send("c1", create(1, "k", b"one")).await);
    assert_eq!(send("c1", create(1, "k", b"one")).await.unwrap_err(), Error::RequestInProgress);
    assert_eq!(send("c1", create(1, "k", b"two")).await.unwrap_err(), Error::IdempotencyKeyReused);
    // The same key of another client is a different key.
    let _other_client = new(send("c2", create(2, "k", b"one")).await);
    let _other_key = new(send("c1", create(3, "l", b"one")).await);
    let available = granted(QosStatus::Available, START, 60);
    let record = ledger.confirm(first, "operator-1".to_owned(), available).await.unwrap();
    for deleted in [false, true] {
        let replay = send("c1", create(1, "k", b"one")).await.unwrap();
        let ReserveOutcome::Replayed { session, requested_at } = replay else {
            panic!("{replay:?}")
        };
        assert_eq!((&*session, requested_at), (&record.session, START), "deleted: {deleted}");
        if !deleted {
            let record = ledger.begin_delete(&record).await.unwrap();
            ledger.finish_delete(&record).await.unwrap();
        }
    }
    // A rejected create may be sent again.
    let rejected = new(send("c1", create(4, "m", b"one")).await);
    ledger.release(rejected).await.unwrap();
    let _retry = new(send("c1", create(4, "m", b"one")).await);
}

async fn one_of_forty_concurrent_reservations_succeeds(store: Arc<dyn Store>) {
    let ledger = Ledger::with_store(store, KeyHasher::random(), Clock::fixed(START));
    let ready = Arc::new(tokio::sync::Barrier::new(40));
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (ledger, ready) = (ledger.clone(), Arc::clone(&ready));
            tokio::spawn(async move {
                ready.wait().await;
                let party = party(if n % 2 == 0 { "c1" } else { "c2" });
                ledger
                    .reserve_for(party, reservation_request(create_request(phone(1), "192.0.2.1")))
                    .await
            })
        })
        .collect();
    let (mut reserved, mut conflicts) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => reserved += 1,
            Err(Error::Conflict { device_ambiguous: false, .. }) => conflicts += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((reserved, conflicts), (1, 39));
}

// A thousand tasks with few devices and flows. Each task marks its flow while it is reserved; no flow
// may be marked twice.
async fn no_flow_is_reserved_twice(store: Arc<dyn Store>) {
    let ledger = Ledger::with_store(store, KeyHasher::random(), Clock::fixed(START));
    let marks = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let tasks: Vec<_> = (0..1000_u32)
        .map(|n| {
            let (ledger, marks) = (ledger.clone(), Arc::clone(&marks));
            tokio::spawn(async move {
                let flow = (n % 5, n / 5 % 2);
                let server = if flow.1 == 0 { "192.0.2.1" } else { "192.0.2.2" };
                let request = reservation_request(create_request(phone(flow.0), server));
                let Ok(ReserveOutcome::New(reservation)) =
                    ledger.reserve_for(party("c1"), request).await
                else {
                    return false;
                };
                assert!(marks.lock().unwrap().insert(flow), "{flow:?} is reserved twice");
                tokio::task::yield_now().await;
                let unmark = || assert!(marks.lock().unwrap().remove(&flow));
                if n % 3 == 0 {
                    unmark();
                    ledger.release(reservation).await.unwrap();
                    return true;
                }
                let available = granted(QosStatus::Available, START, 60);
                let operator_session = format!("operator-{n}");
                let record =
                    ledger.confirm(reservation, operator_session, available).await.unwrap();
                tokio::task::yield_now().await;
                let record = ledger.begin_delete(&record).await.unwrap();
                ledger.sweep().await.unwrap();
                unmark();
                ledger.finish_delete(&record).await.unwrap();
                true
            })
        })
        .collect();
    let mut reserved = 0;
    for task in tasks {
        reserved += u32::from(task.await.unwrap());
    }
    assert!(reserved >= 10, "{reserved}");
    assert!(ledger.counts().await.unwrap().iter().all(|(_, _, count)| *count == 0));
}
