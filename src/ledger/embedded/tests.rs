use std::{fs, time::Duration};

use proptest::prelude::*;

use super::{
    disk::tests::{Disk, Folder},
    *,
};
use crate::{
    ledger::{
        Again, Booking, Ledger, Reservation, Reserved,
        sample::{START, asked, booking, granted, party, phone},
        store::tests::{Kind, keeps_the_contract},
    },
    qod::{QosStatus, Sink},
};

mod costs;
mod faults;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn seal() -> Seal {
    Seal::new(&Secret::new(KEY)).unwrap()
}

fn hasher() -> KeyHasher {
    KeyHasher::new([7; 32])
}

// As a process that finds what the one before, now dead, has left.
fn on(disk: &Disk, sync: Sync, clock: &Clock) -> Embedded {
    let place = Box::new(disk.next_process());
    let metrics = Metrics::new().unwrap();
    Embedded::over(place, sync, Seals::of(seal()), clock.clone(), metrics).begun().unwrap()
}

fn ledger_on(disk: &Disk, sync: Sync, clock: &Clock) -> Ledger {
    Ledger::over(Arc::new(on(disk, sync, clock)), hasher(), clock.clone())
}

async fn reserve(ledger: &Ledger, digits: u32) -> Result<Reservation, Error> {
    match ledger.reserve_for(party("c1"), booking(asked(phone(digits), "192.0.2.1"))).await? {
        Reserved::New(reservation) => Ok(reservation),
        Reserved::Repeated { .. } => panic!("nothing was sent again"),
    }
}

async fn session(ledger: &Ledger, digits: u32) -> Result<Record, Error> {
    let reservation = reserve(ledger, digits).await?;
    let told = granted(QosStatus::Available, START, 3600);
    ledger.confirm(reservation, format!("their {digits}"), told).await
}

fn settings(folder: &Folder) -> Settings {
    Settings { directory: folder.0.clone(), sync: Sync::Durable, key: None, old_keys: Vec::new() }
}

fn open(folder: &Folder) -> Result<Ledger, CannotOpen> {
    let metrics = Metrics::new().unwrap();
    Ledger::open(&settings(folder), Opening::Now, Clock::fixed(START), metrics)
}

#[test]
fn it_keeps_the_contract() {
    // Whose disk a store is on, for the one that comes after it.
    let disks = std::sync::Mutex::new(Vec::<(Arc<dyn Store>, Disk)>::new());
    let begin = |disk: Disk, clock: &Clock| {
        let store: Arc<dyn Store> = Arc::new(on(&disk, Sync::Durable, clock));
        let mut disks = disks.lock().unwrap();
        disks.clear();
        disks.push((Arc::clone(&store), disk));
        store
    };
    let kind = Kind {
        make: &|clock| begin(Disk::default(), clock),
        restart: Some(&|_, clock| {
            let disk = disks.lock().unwrap().last().unwrap().1.clone();
            begin(disk, clock)
        }),
        histories: 128,
    };
    keeps_the_contract(&kind);
}

#[test]
fn it_keeps_the_contract_when_it_is_relaxed() {
    let kind = Kind {
        make: &|clock| Arc::new(on(&Disk::default(), Sync::Relaxed, clock)),
        restart: None,
        histories: 32,
    };
    keeps_the_contract(&kind);
}

#[tokio::test]
async fn another_process_finds_all_that_was_written() {
    let (disk, clock) = (Disk::default(), Clock::fixed(START));
    let ledger = ledger_on(&disk, Sync::Durable, &clock);
    let mut wanted = booking(asked(phone(1), "192.0.2.1"));
    wanted.wanted.sink = Some(Sink {
        url: "https://sink.example/".to_owned(),
        token: Some(Secret::new("token of the sink")),
        token_expires_at: Some(START),
    });
    wanted.again = Some(Again { key: "k".to_owned(), asked: bytes::Bytes::new() });
    let reserved = ledger.reserve_for(party("c1"), wanted.clone()).await.unwrap();
    let Reserved::New(reservation) = reserved else { panic!("{reserved:?}") };
    let told = granted(QosStatus::Available, START, 3600);
    let record = ledger.confirm(reservation, "theirs".to_owned(), told).await.unwrap();
    let asked_at_last = reserve(&ledger, 2).await.unwrap();

    // No word of farewell: as after a kill.
    let after = ledger_on(&disk, Sync::Durable, &clock);
    let found = after.find_for(&party("c1"), &record.session.id).await.unwrap();
    assert_eq!(found, record);
    assert_eq!(found.session.wanted.sink, wanted.wanted.sink);
    let held = reserve(&after, 1).await.unwrap_err();
    assert_eq!(held, Error::Taken { own: Some(record.session.id), device_unknown: false });
    let named = after.named_by(&record.operator, "theirs").await;
    assert_eq!(named, Ok(Some(record.session.id)));
    let doubted = after.look(&asked_at_last.id()).await.unwrap();
    assert_eq!(doubted.state(), State::InDoubt, "nobody is asking any more");
    let repeated = after.reserve_for(party("c1"), wanted).await.unwrap();
    assert!(
        matches!(repeated, Reserved::Repeated { session, .. } if session.id == found.session.id)
    );
}

#[tokio::test]
async fn a_clock_that_is_set_frees_nothing_and_holds_nothing_for_longer() {
    let hours = Duration::from_hours(5);
    for set_to in [START + hours, START - hours] {
        let (disk, clock) = (Disk::default(), Clock::fixed(START));
        let ledger = ledger_on(&disk, Sync::Durable, &clock);
        session(&ledger, 1).await.unwrap();
        clock.set(set_to);
        assert!(reserve(&ledger, 1).await.is_err(), "in the same process");
        let after = ledger_on(&disk, Sync::Durable, &clock);
        assert!(reserve(&after, 1).await.is_err(), "in the next one");
        clock.advance(Duration::from_secs(3604));
        assert!(reserve(&after, 1).await.is_err(), "not before its time");
        clock.advance(Duration::from_secs(1));
        assert!(reserve(&after, 1).await.is_ok(), "at its time");
    }
}

#[tokio::test]
async fn nothing_readable_stands_in_the_directory() {
    let folder = Folder::new("sealed");
    let ledger = open(&folder).unwrap();
    session(&ledger, 7).await.unwrap();
    ledger.close().await;
    for (path, bytes) in folder.contents() {
        for readable in ["49151000000007", "their 7", "QOS_E"] {
            let found = bytes.windows(readable.len()).any(|part| part == readable.as_bytes());
            assert!(!found, "{readable} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_successor_waits() {
    let folder = Folder::new("second");
    let ledger = open(&folder).unwrap();
    let record = session(&ledger, 1).await.unwrap();
    assert!(matches!(open(&folder), Err(CannotOpen::InUse(_))));
    assert!(matches!(Peek::open(&settings(&folder)), Err(CannotOpen::InUse(_))));
    let metrics = Metrics::new().unwrap();
    let clock = Clock::fixed(START);
    let next = Ledger::open(&settings(&folder), Opening::WhenFree, clock, metrics).unwrap();
    assert!(next.health().is_err());
    let waits = tokio::spawn({
        let next = next.clone();
        async move { reserve(&next, 2).await }
    });
    let reads = tokio::spawn({
        let (next, id) = (next.clone(), record.session.id);
        async move { next.look(&id).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waits.is_finished() && !reads.is_finished());
    ledger.close().await;
    drop(ledger);
    assert!(waits.await.unwrap().is_ok());
    assert_eq!(reads.await.unwrap(), Ok(record));
    assert_eq!(next.health(), Ok(()));
}

#[tokio::test]
async fn what_is_closed_says_no() {
    let folder = Folder::new("closed");
    let ledger = open(&folder).unwrap();
    session(&ledger, 1).await.unwrap();
    ledger.close().await;
    assert!(matches!(reserve(&ledger, 2).await, Err(Error::Unavailable(_))));
    assert!(ledger.health().is_err());
    ledger.close().await;
}

#[tokio::test]
async fn a_peek_sees_all_and_changes_nothing() {
    let folder = Folder::new("peek");
    assert!(matches!(Peek::open(&settings(&folder)), Err(CannotOpen::Nothing(_))));
    let ledger = open(&folder).unwrap();
    let mut expected = Vec::new();
    for digits in 0..5 {
        expected.push(session(&ledger, digits).await.unwrap());
    }
    ledger.close().await;
    drop(ledger);
    let before = folder.contents();
    let peek = Peek::open(&settings(&folder)).unwrap();
    let first = peek.page(None, 3).unwrap();
    let rest = peek.page(Some(first[2].session.id), 3).unwrap();
    let mut found = [first, rest].concat();
    found.sort_by_key(|record| record.session.id);
    expected.sort_by_key(|record| record.session.id);
    assert_eq!(found, expected);
    assert_eq!(peek.find(&expected[0].session.id).unwrap().as_ref(), Some(&expected[0]));
    drop(peek);
    assert!(folder.contents() == before, "a byte was changed");
}

#[tokio::test]
async fn what_is_foreign_or_of_another_format_is_left_as_it_is() {
    let refused = |folder: &Folder, says: &str| {
        let before = folder.contents();
        let error = open(folder).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(folder.contents() == before, "{says}: a byte was changed");
    };
    let folder = Folder::new("foreign");
    open(&folder).unwrap().close().await;
    let file = folder.0.join("ledger.redb");
    let sound = fs::read(&file).unwrap();

    fs::write(&file, b"").unwrap();
    refused(&folder, "is no ledger, or it is damaged");
    fs::write(&file, vec![7; 100_000]).unwrap();
    refused(&folder, "is no ledger, or it is damaged");

    fs::write(&file, &sound).unwrap();
    let database = Database::open(&file).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(rows::META).unwrap().insert("format", b"1".as_slice()).unwrap();
    write.commit().unwrap();
    drop(database);
    refused(&folder, "its format is 1");

    fs::write(&file, &sound).unwrap();
    fs::write(folder.0.join("ledger.key"), "f".repeat(64)).unwrap();
    refused(&folder, "the key is not the one");
}

#[tokio::test]
async fn a_new_key_takes_the_place_of_the_old_one_and_nothing_else_changes() {
    let folder = Folder::new("rotated");
    let keyed = |key: &str, old: &[&str]| Settings {
        key: Some(Secret::new(key.repeat(32))),
        old_keys: old.iter().map(|key| Secret::new(key.repeat(32))).collect(),
        ..settings(&folder)
    };
    let open = |settings: &Settings| {
        Ledger::open(settings, Opening::Now, Clock::fixed(START), Metrics::new().unwrap())
    };
    let ledger = open(&keyed("a", &[])).unwrap();
    let mut wanted = booking(asked(phone(1), "192.0.2.1"));
    wanted.wanted.sink = Some(Sink {
        url: "https://sink.example/".to_owned(),
        token: Some(Secret::new("token of the sink")),
        token_expires_at: None,
    });
    wanted.again = Some(Again { key: "k".to_owned(), asked: bytes::Bytes::new() });
    let reserved = ledger.reserve_for(party("c1"), wanted.clone()).await.unwrap();
    let Reserved::New(reservation) = reserved else { panic!("{reserved:?}") };
    let callback = reservation.sink_token();
    let told = granted(QosStatus::Available, START, 3600);
    let record = ledger.confirm(reservation, "theirs".to_owned(), told).await.unwrap();
    let queued = ledger.queued(None, 10).await.unwrap();
    assert_eq!(queued.len(), 1);
    let notice = ledger.notice(queued[0].number).await.unwrap();
    ledger.close().await;
    drop(ledger);

    assert!(matches!(open(&keyed("b", &[])).unwrap_err(), CannotOpen::WrongKey(_)));
    assert!(matches!(open(&keyed("b", &["c"])).unwrap_err(), CannotOpen::WrongKey(_)));
    assert!(Peek::open(&keyed("b", &["c", "a"])).unwrap().find(&record.session.id).is_ok());
    for settings in [keyed("b", &["c", "a"]), keyed("b", &[])] {
        let ledger = open(&settings).unwrap();
        let id = record.session.id;
        assert_eq!(ledger.look(&id).await, Ok(record.clone()));
        assert_eq!(ledger.notice(queued[0].number).await.unwrap(), notice);
        assert!(ledger.is_sink_token(&id, callback.reveal()));
        let taken = ledger.reserve_for(party("c2"), booking(asked(phone(1), "192.0.2.1"))).await;
        assert!(matches!(taken, Err(Error::Taken { .. })), "names compare as before");
        let again = ledger.reserve_for(party("c1"), wanted.clone()).await;
        assert!(matches!(again, Ok(Reserved::Repeated { .. })));
        ledger.close().await;
    }
    assert!(matches!(open(&keyed("a", &[])).unwrap_err(), CannotOpen::WrongKey(_)));
}

#[tokio::test]
async fn a_damaged_file_is_told_or_whole_and_never_half_believed() {
    let folder = Folder::new("damaged");
    let ledger = open(&folder).unwrap();
    let mut written = Vec::new();
    for digits in 0..40 {
        written.push(session(&ledger, digits).await.unwrap());
    }
    written.sort_by_key(|record| record.session.id);
    ledger.close().await;
    drop(ledger);
    let file = folder.0.join("ledger.redb");
    let sound = fs::read(&file).unwrap();
    let mut told = 0;
    // A byte changed here and there, a stretch lost, an end torn off.
    let mut damages: Vec<Vec<u8>> = Vec::new();
    for at in (0..sound.len()).step_by(sound.len() / 150) {
        let mut changed = sound.clone();
        changed[at] ^= 0x10;
        damages.push(changed);
    }
    for at in (0..sound.len()).step_by(sound.len() / 20) {
        let mut lost = sound.clone();
        lost[at..(at + 4096).min(sound.len())].fill(0);
        damages.push(lost);
        damages.push(sound[..at].to_vec());
    }
    for damaged in damages {
        fs::write(&file, &damaged).unwrap();
        match Peek::open(&settings(&folder)) {
            Ok(peek) => assert!(peek.page(None, 100).unwrap() == written, "something else is told"),
            Err(CannotOpen::Damaged(..)) => told += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(fs::read(&file).unwrap() == damaged, "a byte was changed");
    }
    assert!(told > 20, "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_record_is_read_as_it_was_written(seed in crate::ledger::sample::any_asked()) {
        let seal = seal();
        let wanted = Booking { wanted: seed.clone(), ..booking(seed) };
        let claim = crate::ledger::Claim::new(&hasher(), &party("c1"), &wanted);
        let record = Record::reserved(&party("c1"), &wanted, claim, None, START);
        let sealed = seal.seal("records", 1, &rows::written(&record)).unwrap();
        prop_assert_eq!(rows::open_record(&seal, 1, &sealed).unwrap(), record);
    }
}
