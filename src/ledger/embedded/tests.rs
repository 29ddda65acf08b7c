use std::{
    fs,
    sync::{Arc, mpsc},
    time::Duration,
};

use proptest::prelude::*;
use redb::Database;

use self::disk::{Disk, LedgerTempDir};
use super::*;
use crate::{
    clock::Clock,
    ledger::{
        Error, IdempotencyRequest, Ledger, OfflineReader, Reservation, ReservationRequest,
        ReserveOutcome, SessionRecord, SessionState, StoreConfig,
        claim::KeyHasher,
        durable::DurableStore,
        keys::{HashSecret, LedgerKeys, SealKeys},
        seal::Seal,
        sealed_rows,
        store::{
            Store,
            tests::{StoreKind, assert_store_contract},
        },
        tests::sample::{
            CALL_DEADLINE, START, create_request, granted, party, phone, reservation_request,
        },
    },
    metrics::Metrics,
    qod::{QosStatus, SessionId, Sink},
};

mod benchmarks;
pub(super) mod disk;
mod faults;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn seal() -> Seal {
    Seal::new(&Secret::new(KEY)).unwrap()
}

fn keys() -> LedgerKeys {
    let seals = SealKeys { current: Arc::new(seal()), previous: Vec::new() };
    LedgerKeys { seals, hash_secret: HashSecret::new([7; 32]) }
}

fn hasher() -> KeyHasher {
    KeyHasher::new([7; 32])
}

// Opens the store as a new process after the previous one died.
fn store_on(disk: &Disk, sync: SyncMode, clock: &Clock) -> DurableStore {
    let storage = EmbeddedStorage::new(disk.next_process());
    let metrics = Metrics::new().unwrap();
    DurableStore::with_storage(storage, sync, keys(), clock.clone(), metrics).open().unwrap()
}

fn ledger_on(disk: &Disk, sync: SyncMode, clock: &Clock) -> Ledger {
    Ledger::with_store(Arc::new(store_on(disk, sync, clock)), hasher(), clock.clone())
}

async fn reserve(ledger: &Ledger, digits: u32) -> Result<Reservation, Error> {
    match ledger
        .reserve_for(party("c1"), reservation_request(create_request(phone(digits), "192.0.2.1")))
        .await?
    {
        ReserveOutcome::New(reservation) => Ok(reservation),
        ReserveOutcome::Replayed { .. } => panic!("the create is not an idempotent replay"),
    }
}

async fn session(ledger: &Ledger, digits: u32) -> Result<SessionRecord, Error> {
    let reservation = reserve(ledger, digits).await?;
    let granted = granted(QosStatus::Available, START, 3600);
    ledger.confirm(reservation, format!("operator-session-{digits}"), granted).await
}

fn settings(folder: &LedgerTempDir) -> EmbeddedSettings {
    EmbeddedSettings {
        directory: folder.0.clone(),
        sync: SyncMode::Durable,
        key: None,
        previous_keys: Vec::new(),
    }
}

fn config(folder: &LedgerTempDir) -> StoreConfig {
    StoreConfig::Embedded(settings(folder))
}

fn open(folder: &LedgerTempDir) -> Result<Ledger, OpenError> {
    let metrics = Metrics::new().unwrap();
    Ledger::open(&config(folder), OpenMode::FailIfLocked, Clock::fixed(START), metrics)
}

#[test]
fn named_pipe_in_the_place_of_a_file_is_an_error() {
    for name in ["ledger.key", "ledger.names"] {
        let folder = LedgerTempDir::new(&format!("pipe-{name}"));
        fs::create_dir_all(&folder.0).unwrap();
        let pipe = folder.0.join(name);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(
            matches!(open(&folder), Err(OpenError::Io(path, _)) if path == pipe.display().to_string()),
            "{name}"
        );
    }
}

#[test]
fn durable_store_satisfies_the_contract() {
    // The disk of each store, for its successor.
    let disks = std::sync::Mutex::new(Vec::<(Arc<dyn Store>, Disk)>::new());
    let open_store = |disk: Disk, clock: &Clock| {
        let store: Arc<dyn Store> = Arc::new(store_on(&disk, SyncMode::Durable, clock));
        let mut disks = disks.lock().unwrap();
        disks.clear();
        disks.push((Arc::clone(&store), disk));
        store
    };
    let kind = StoreKind {
        make: &|clock| open_store(Disk::default(), clock),
        restart: Some(&|_, clock| {
            let disk = disks.lock().unwrap().last().unwrap().1.clone();
            open_store(disk, clock)
        }),
        shared: false,
        histories: 128,
    };
    assert_store_contract(&kind);
}

#[test]
fn relaxed_store_satisfies_the_contract() {
    let kind = StoreKind {
        make: &|clock| Arc::new(store_on(&Disk::default(), SyncMode::Relaxed, clock)),
        restart: None,
        shared: false,
        histories: 32,
    };
    assert_store_contract(&kind);
}

#[tokio::test]
async fn written_state_survives_a_crash() {
    let (disk, clock) = (Disk::default(), Clock::fixed(START));
    let ledger = ledger_on(&disk, SyncMode::Durable, &clock);
    let mut wanted = reservation_request(create_request(phone(1), "192.0.2.1"));
    Arc::make_mut(&mut wanted.client_request).sink = Some(Sink {
        url: "https://sink.example/".to_owned(),
        token: Some(Secret::new("token of the sink")),
        token_expires_at: Some(START),
    });
    wanted.idempotency =
        Some(IdempotencyRequest { key: "k".to_owned(), body: bytes::Bytes::new() });
    let reserved = ledger.reserve_for(party("c1"), wanted.clone()).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    let granted = granted(QosStatus::Available, START, 3600);
    let record = ledger.confirm(reservation, "operator-session".to_owned(), granted).await.unwrap();
    let asked_at_last = reserve(&ledger, 2).await.unwrap();

    // Without a close: as after a kill.
    let after = ledger_on(&disk, SyncMode::Durable, &clock);
    let found = after.find_for(&party("c1"), &record.session.id).await.unwrap();
    assert_eq!(found, record);
    assert_eq!(found.session.wanted.sink, wanted.client_request.sink);
    let conflict = reserve(&after, 1).await.unwrap_err();
    assert_eq!(
        conflict,
        Error::Conflict { own_session: Some(record.session.id), device_ambiguous: false }
    );
    let named = after.find_by_operator_session(&record.operator, "operator-session").await;
    assert_eq!(named, Ok(Some(record.session.id)));
    let in_doubt = after.get(&asked_at_last.id()).await.unwrap();
    assert_eq!(
        in_doubt.state(),
        SessionState::InDoubt,
        "the operator call is no longer in progress"
    );
    let repeated = after.reserve_for(party("c1"), wanted).await.unwrap();
    assert!(
        matches!(repeated, ReserveOutcome::Replayed { session, .. } if session.id == found.session.id)
    );
}

#[tokio::test]
async fn clock_change_does_not_change_hold_durations() {
    let hours = Duration::from_hours(5);
    for set_to in [START + hours, START - hours] {
        let (disk, clock) = (Disk::default(), Clock::fixed(START));
        let ledger = ledger_on(&disk, SyncMode::Durable, &clock);
        session(&ledger, 1).await.unwrap();
        clock.set(set_to);
        assert!(reserve(&ledger, 1).await.is_err(), "in the same process");
        let after = ledger_on(&disk, SyncMode::Durable, &clock);
        assert!(reserve(&after, 1).await.is_err(), "in the next one");
        clock.advance(Duration::from_secs(3604));
        assert!(reserve(&after, 1).await.is_err(), "not before its time");
        clock.advance(Duration::from_secs(1));
        assert!(reserve(&after, 1).await.is_ok(), "at its time");
    }
}

#[tokio::test]
async fn directory_contains_no_plaintext() {
    let folder = LedgerTempDir::new("sealed");
    let ledger = open(&folder).unwrap();
    session(&ledger, 7).await.unwrap();
    ledger.close().await;
    for (path, bytes) in folder.contents() {
        for readable in ["49151000000007", "operator-session-7", "QOS_E"] {
            let found = bytes.windows(readable.len()).any(|part| part == readable.as_bytes());
            assert!(!found, "{readable} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn second_process_is_rejected_and_successor_waits() {
    let folder = LedgerTempDir::new("second");
    let ledger = open(&folder).unwrap();
    let record = session(&ledger, 1).await.unwrap();
    assert!(matches!(open(&folder), Err(OpenError::InUse(_))));
    assert!(matches!(OfflineReader::open(&config(&folder)), Err(OpenError::InUse(_))));
    let metrics = Metrics::new().unwrap();
    let clock = Clock::fixed(START);
    let next = Ledger::open(&config(&folder), OpenMode::WaitForLock, clock, metrics).unwrap();
    assert!(next.health().is_err());
    let reserve_task = tokio::spawn({
        let next = next.clone();
        async move { reserve(&next, 2).await }
    });
    let find_task = tokio::spawn({
        let (next, id) = (next.clone(), record.session.id);
        async move { next.get(&id).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!reserve_task.is_finished() && !find_task.is_finished());
    ledger.close().await;
    drop(ledger);
    assert!(reserve_task.await.unwrap().is_ok());
    assert_eq!(find_task.await.unwrap(), Ok(record));
    assert_eq!(next.health(), Ok(()));
}

#[tokio::test]
async fn wait_for_the_writer_does_not_reduce_the_call_time() {
    let (disk, clock) = (Disk::default(), Clock::fixed(START));
    let store = Arc::new(store_on(&disk, SyncMode::Durable, &clock));
    let ledger = Ledger::with_store(Arc::clone(&store) as Arc<dyn Store>, hasher(), clock.clone());
    let (resume, resumed) = mpsc::channel();
    let wait = Duration::from_secs(3);
    let busy = tokio::spawn({
        let clock = clock.clone();
        async move {
            let step = store.submit(move |_, _| {
                resumed.recv().unwrap();
                clock.advance(wait);
                Ok(())
            });
            step.await
        }
    });
    tokio::task::yield_now().await;
    let reserving = tokio::spawn({
        let ledger = ledger.clone();
        async move { reserve(&ledger, 1).await }
    });
    tokio::task::yield_now().await;
    resume.send(()).unwrap();
    let reservation = reserving.await.unwrap().unwrap();
    busy.await.unwrap().unwrap();
    assert_eq!(reservation.time_left(&clock), CALL_DEADLINE);
    let record = ledger.get(&reservation.id()).await.unwrap();
    assert_eq!(record.requested_at(), START + wait);
    assert_eq!(record.call_ends_at(), START + wait + CALL_DEADLINE);
}

#[tokio::test]
async fn closed_ledger_rejects_changes() {
    let folder = LedgerTempDir::new("closed");
    let ledger = open(&folder).unwrap();
    session(&ledger, 1).await.unwrap();
    ledger.close().await;
    assert!(matches!(reserve(&ledger, 2).await, Err(Error::Unavailable(_))));
    assert!(ledger.health().is_err());
    ledger.close().await;
}

#[tokio::test]
async fn offline_reader_reads_all_and_changes_nothing() {
    let folder = LedgerTempDir::new("peek");
    assert!(matches!(OfflineReader::open(&config(&folder)), Err(OpenError::NotFound(_))));
    let ledger = open(&folder).unwrap();
    let mut expected = Vec::new();
    for digits in 0..5 {
        expected.push(session(&ledger, digits).await.unwrap());
    }
    ledger.close().await;
    drop(ledger);
    let before = folder.contents();
    let reader = OfflineReader::open(&config(&folder)).unwrap();
    let first = reader.page(None, 3).unwrap();
    let rest = reader.page(Some(first[2].session.id), 3).unwrap();
    let mut found = [first, rest].concat();
    found.sort_by_key(|record| record.session.id);
    expected.sort_by_key(|record| record.session.id);
    assert_eq!(found, expected);
    assert_eq!(reader.find(&expected[0].session.id).unwrap().as_ref(), Some(&expected[0]));
    drop(reader);
    assert!(folder.contents() == before, "a byte was changed");
}

#[tokio::test]
async fn foreign_file_and_other_format_are_not_changed() {
    let rejected = |folder: &LedgerTempDir, message: &str| {
        let before = folder.contents();
        let error = open(folder).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(folder.contents() == before, "{message}: a byte was changed");
    };
    let folder = LedgerTempDir::new("foreign");
    open(&folder).unwrap().close().await;
    let file = folder.0.join("ledger.redb");
    let valid = fs::read(&file).unwrap();

    fs::write(&file, b"").unwrap();
    rejected(&folder, "not a ledger file, or damaged");
    fs::write(&file, vec![7; 100_000]).unwrap();
    rejected(&folder, "not a ledger file, or damaged");

    fs::write(&file, &valid).unwrap();
    let database = Database::open(&file).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(database::META).unwrap().insert("format", b"1".as_slice()).unwrap();
    write.commit().unwrap();
    drop(database);
    rejected(&folder, "unsupported ledger format 1");

    fs::write(&file, &valid).unwrap();
    fs::write(folder.0.join("ledger.key"), "f".repeat(64)).unwrap();
    rejected(&folder, "sealed with another key");
}

#[tokio::test]
async fn key_rotation_reseals_and_changes_nothing_else() {
    let folder = LedgerTempDir::new("rotated");
    let with_key = |key: &str, old: &[&str]| {
        StoreConfig::Embedded(EmbeddedSettings {
            key: Some(Secret::new(key.repeat(32))),
            previous_keys: old.iter().map(|key| Secret::new(key.repeat(32))).collect(),
            ..settings(&folder)
        })
    };
    let open = |config: &StoreConfig| {
        Ledger::open(config, OpenMode::FailIfLocked, Clock::fixed(START), Metrics::new().unwrap())
    };
    let ledger = open(&with_key("a", &[])).unwrap();
    let mut wanted = reservation_request(create_request(phone(1), "192.0.2.1"));
    Arc::make_mut(&mut wanted.client_request).sink = Some(Sink {
        url: "https://sink.example/".to_owned(),
        token: Some(Secret::new("token of the sink")),
        token_expires_at: None,
    });
    wanted.idempotency =
        Some(IdempotencyRequest { key: "k".to_owned(), body: bytes::Bytes::new() });
    let reserved = ledger.reserve_for(party("c1"), wanted.clone()).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    let callback = reservation.sink_token();
    let granted = granted(QosStatus::Available, START, 3600);
    let record = ledger.confirm(reservation, "operator-session".to_owned(), granted).await.unwrap();
    let queued = ledger.outbox_entries(None, 10).await.unwrap();
    assert_eq!(queued.len(), 1);
    let notice = ledger.notification(queued[0].number).await.unwrap();
    ledger.close().await;
    drop(ledger);

    assert!(matches!(open(&with_key("b", &[])).unwrap_err(), OpenError::WrongKey(_)));
    assert!(matches!(open(&with_key("b", &["c"])).unwrap_err(), OpenError::WrongKey(_)));
    assert!(
        OfflineReader::open(&with_key("b", &["c", "a"])).unwrap().find(&record.session.id).is_ok()
    );
    for settings in [with_key("b", &["c", "a"]), with_key("b", &[])] {
        let ledger = open(&settings).unwrap();
        let id = record.session.id;
        assert_eq!(ledger.get(&id).await, Ok(record.clone()));
        assert_eq!(ledger.notification(queued[0].number).await.unwrap(), notice);
        assert!(ledger.verify_sink_token(&id, callback.reveal()));
        let taken = ledger
            .reserve_for(party("c2"), reservation_request(create_request(phone(1), "192.0.2.1")))
            .await;
        assert!(matches!(taken, Err(Error::Conflict { .. })), "name hashes are unchanged");
        let replay = ledger.reserve_for(party("c1"), wanted.clone()).await;
        assert!(matches!(replay, Ok(ReserveOutcome::Replayed { .. })));
        ledger.close().await;
    }
    assert!(matches!(open(&with_key("a", &[])).unwrap_err(), OpenError::WrongKey(_)));
}

#[tokio::test]
async fn damaged_file_is_detected_or_read_completely() {
    let folder = LedgerTempDir::new("damaged");
    let ledger = open(&folder).unwrap();
    let mut written = Vec::new();
    for digits in 0..40 {
        written.push(session(&ledger, digits).await.unwrap());
    }
    written.sort_by_key(|record| record.session.id);
    ledger.close().await;
    drop(ledger);
    let file = folder.0.join("ledger.redb");
    let valid = fs::read(&file).unwrap();
    let mut detected = 0;
    // Single changed bytes, lost blocks and truncated ends.
    let mut damages: Vec<Vec<u8>> = Vec::new();
    for at in (0..valid.len()).step_by(valid.len() / 150) {
        let mut changed = valid.clone();
        changed[at] ^= 0x10;
        damages.push(changed);
    }
    for at in (0..valid.len()).step_by(valid.len() / 20) {
        let mut lost = valid.clone();
        lost[at..(at + 4096).min(valid.len())].fill(0);
        damages.push(lost);
        damages.push(valid[..at].to_vec());
    }
    for damaged in damages {
        fs::write(&file, &damaged).unwrap();
        match OfflineReader::open(&config(&folder)) {
            Ok(reader) => {
                assert!(reader.page(None, 100).unwrap() == written, "the content differs");
            }
            Err(OpenError::Damaged(..)) => detected += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(fs::read(&file).unwrap() == damaged, "a byte was changed");
    }
    assert!(detected > 20, "{detected}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn record_survives_a_round_trip(seed in crate::ledger::tests::sample::any_create_request()) {
        let seal = seal();
        let wanted = ReservationRequest { client_request: seed.clone().into(), ..reservation_request(seed) };
        let claim = crate::ledger::Claim::new(&hasher(), &party("c1"), &wanted);
        let record = SessionRecord::new_pending(&party("c1"), &wanted, claim, None, START);
        let sealed = seal.seal("records", 1, &sealed_rows::sealable(&record)).unwrap();
        prop_assert_eq!(sealed_rows::open_record(&seal, 1, sealed).unwrap(), record);
    }
}
