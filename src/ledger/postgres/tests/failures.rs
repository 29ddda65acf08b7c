//! Answers that are lost, and databases that cannot be used.

use std::{net::SocketAddr, path::PathBuf};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    ledger::{
        Ledger, OpenError, OpenMode, ReserveOutcome, StoreConfig,
        embedded::EmbeddedSettings,
        rows::SyncMode,
        tests::sample::{START, create_request, granted, party, phone, reservation_request},
    },
    postgres::{migrate, test_proxy::Proxy},
    qod::{QosStatus, Sink},
};

/// A store behind a proxy.
fn proxied(schema: &TestSchema, clock: &Clock) -> (Proxy, Ledger) {
    let url = &schema.database.url;
    let address = url.split(['@', '/']).find(|part| part.parse::<SocketAddr>().is_ok()).unwrap();
    let proxy = Proxy::start(address.parse().unwrap());
    let url = url.replace(address, &proxy.address.to_string());
    // The answer to a statement is the only one.
    let settings =
        Settings { prepared_statements: false, ..Settings::for_test(&url, &schema.schema) };
    let database = Database::new(settings, Metrics::new().unwrap(), clock.clone()).unwrap();
    let store = schema.store_on(database, clock);
    (proxy, Ledger::with_store(store, KeyHasher::new([7; 32]), clock.clone()))
}

#[tokio::test]
async fn operation_whose_answer_is_lost_is_done_once() {
    let Some(schema) = TestSchema::new() else { return };
    let clock = Clock::fixed(START);
    let (proxy, ledger) = proxied(&schema, &clock);
    let mut create = create_request(phone(1), "192.0.2.1");
    create.sink = Some(Sink {
        url: "https://sink.example/1".to_owned(),
        token: None,
        token_expires_at: None,
    });
    let mut request = reservation_request(create);
    request.creates_per_day = Some(10);
    // All connections and the operator are known now.
    assert_eq!(ledger.sweep().await, Ok(Vec::new()));
    let warm_up = reservation_request(create_request(phone(9), "192.0.2.1"));
    let Ok(ReserveOutcome::New(other)) = ledger.reserve_for(party("c2"), warm_up).await else {
        panic!();
    };
    ledger.release(other).await.unwrap();

    proxy.lose_answers(1);
    let reserved = ledger.reserve_for(party("c1"), request.clone()).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    assert_eq!(proxy.answers_to_lose(), 0);
    assert_eq!((schema.count("session"), schema.live_holds("c1")), (1, 1));

    proxy.lose_answers(1);
    let available = granted(QosStatus::Available, START, 60);
    let record = ledger.confirm(reservation, "operator-1".to_owned(), available).await.unwrap();
    assert_eq!(proxy.answers_to_lose(), 0);
    assert_eq!((record.generation(), schema.count("notification")), (1, 1));

    let record = ledger.begin_delete(&record).await.unwrap();
    proxy.lose_answers(1);
    ledger.finish_delete(&record).await.unwrap();
    assert_eq!(proxy.answers_to_lose(), 0);
    assert_eq!((schema.count("session"), schema.count("hold_key")), (0, 0));
    assert_eq!((schema.live_holds("c1"), schema.count("notification")), (0, 2));
    assert_eq!(schema.count("usage_record"), 1);
}

#[tokio::test]
async fn notifications_whose_answer_is_lost_are_taken_again() {
    let Some(schema) = TestSchema::new() else { return };
    let (proxy, ledger) = proxied(&schema, &Clock::fixed(START));
    let mut create = create_request(phone(1), "192.0.2.1");
    create.sink = Some(Sink {
        url: "https://sink.example/1".to_owned(),
        token: None,
        token_expires_at: None,
    });
    let take = async || ledger.take_notifications(None, 10).await.unwrap().entries;
    assert!(take().await.is_empty());
    let reserved = ledger.reserve_for(party("c1"), reservation_request(create)).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    let available = granted(QosStatus::Available, START, 60);
    ledger.confirm(reservation, "operator-1".to_owned(), available).await.unwrap();
    proxy.lose_answers(1);
    assert!(take().await.is_empty());
    assert_eq!(proxy.answers_to_lose(), 0);
    let taken = take().await;
    assert_eq!(taken.len(), 1);
    let timeout = Duration::from_secs(1);
    assert!(ledger.notification_to_deliver(taken[0].number, timeout).await.unwrap().is_some());
    assert!(take().await.is_empty());
}

#[tokio::test]
async fn database_that_is_away_is_reported_and_comes_back() {
    let Some(schema) = TestSchema::new() else { return };
    let (proxy, ledger) = proxied(&schema, &Clock::fixed(START));
    let request = |digits| reservation_request(create_request(phone(digits), "192.0.2.1"));
    assert_eq!(ledger.sweep().await, Ok(Vec::new()));
    let known = reservation_request(create_request(phone(2), "192.0.2.1"));
    let Ok(ReserveOutcome::New(known)) = ledger.reserve_for(party("c1"), known).await else {
        panic!();
    };
    let available = granted(QosStatus::Available, START, 60);
    let known = ledger.confirm(known, "operator-2".to_owned(), available).await.unwrap();
    assert_eq!(ledger.health(), Ok(()));
    proxy.cut();
    let refused = ledger.reserve_for(party("c1"), request(1)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(ledger.health().is_err());
    // A known session can be read, and not changed.
    assert_eq!(ledger.get(&known.session.id).await, Ok(known.clone()));
    let deleted = ledger.begin_delete(&known).await;
    assert!(matches!(deleted, Err(Error::Unavailable(_))), "{deleted:?}");
    let unknown = ledger.get(&SessionId::random()).await;
    assert!(matches!(unknown, Err(Error::Unavailable(_))), "{unknown:?}");
    proxy.restore();
    let reserved = ledger.reserve_for(party("c1"), request(3)).await;
    assert!(reserved.is_ok(), "{reserved:?}");
    assert_eq!(ledger.health(), Ok(()));
}

/// A schema that was made by the migrations, with the clock of the database.
fn migrated() -> Option<(test_server::TestDatabase<'static>, Settings)> {
    let database = test_server::shared()?.create_database();
    let settings = Settings::for_test(&database.url, "qod");
    let opened = Database::new(settings.clone(), Metrics::new().unwrap(), Clock::system()).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(migrate(&opened)).unwrap();
    Some((database, settings))
}

fn config(database: &Settings, key: &str, previous_keys: &[&str]) -> StoreConfig {
    let secret = |key: &str| Secret::new(key.repeat(32));
    StoreConfig::Postgres(PostgresSettings {
        database: database.clone(),
        key: secret(key),
        previous_keys: previous_keys.iter().map(|key| secret(key)).collect(),
    })
}

fn open(config: &StoreConfig) -> Result<Ledger, OpenError> {
    Ledger::open(config, OpenMode::FailIfLocked, Clock::system(), Metrics::new().unwrap())
}

#[test]
fn replica_with_another_key_is_refused_and_keys_can_be_rotated() {
    let Some((_database, settings)) = migrated() else { return };
    drop(open(&config(&settings, "a", &[])).unwrap());
    let refused = open(&config(&settings, "b", &[])).err();
    assert!(matches!(refused, Some(OpenError::WrongKey(_))), "{refused:?}");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let old = open(&config(&settings, "a", &["b"])).unwrap();
    let request = reservation_request(create_request(phone(1), "192.0.2.1"));
    let id = runtime.block_on(async {
        match old.reserve_for(party("c1"), request).await.unwrap() {
            ReserveOutcome::New(reservation) => reservation.id(),
            ReserveOutcome::Replayed { .. } => panic!(),
        }
    });
    // A replica with the new key reads rows of the old one, and the other way round.
    let new = open(&config(&settings, "b", &["a"])).unwrap();
    let (found, counts) = runtime.block_on(async { (new.get(&id).await, new.counts().await) });
    assert_eq!(found.map(|record| record.session.id), Ok(id));
    assert!(
        counts.unwrap().iter().any(|(operator, _, count)| &*operator.0 == "north" && *count == 1)
    );
    assert!(open(&config(&settings, "a", &["b"])).is_ok());
}

#[test]
fn schema_without_tables_is_reported_in_words() {
    let Some(server) = test_server::shared() else { return };
    let database = server.create_database();
    let settings = Settings::for_test(&database.url, "qod");
    let error = open(&config(&settings, "a", &[])).err().unwrap().to_string();
    assert!(error.contains("store migrate"), "{error}");
}

/// A folder, the configuration of a ledger in it, and a runtime to use it.
fn embedded_ledger(name: &str) -> (PathBuf, StoreConfig, Runtime) {
    let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let embedded = StoreConfig::Embedded(EmbeddedSettings {
        directory: folder.clone(),
        sync: SyncMode::Durable,
        key: None,
        previous_keys: Vec::new(),
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    (folder, embedded, runtime)
}

#[test]
fn stopped_ledger_is_copied_and_verified() {
    let Some((_database, settings)) = migrated() else { return };
    let (folder, embedded, runtime) = embedded_ledger("qod-copy");
    let metrics = Metrics::new().unwrap();
    let (sink_token, id) = runtime.block_on(async {
        let ledger = open(&embedded).unwrap();
        let mut kept = None;
        for n in 0..700_u32 {
            let mut create = create_request(phone(n), "192.0.2.1");
            create.sink = Some(Sink {
                url: format!("https://sink.example/{n}"),
                token: Some(Secret::new("token")),
                token_expires_at: None,
            });
            let mut request = reservation_request(create);
            request.creates_per_day = Some(10_000);
            let reserved = ledger.reserve_for(party("c1"), request).await.unwrap();
            let ReserveOutcome::New(reservation) = reserved else { panic!() };
            if n % 10 == 0 {
                kept = Some((reservation.sink_token(), reservation.id()));
                continue;
            }
            let available = granted(QosStatus::Available, ledger.now(), 3600);
            ledger.confirm(reservation, format!("operator-{n}"), available).await.unwrap();
        }
        ledger.close().await;
        kept.unwrap()
    });
    let StoreConfig::Postgres(target) = config(&settings, "a", &[]) else { panic!() };
    let report = crate::ledger::copy(&embedded, &target, &Clock::system(), &metrics).unwrap();
    assert_eq!((report.sessions, report.notifications, report.replies), (700, 630, 0));
    let again = crate::ledger::copy(&embedded, &target, &Clock::system(), &metrics);
    assert!(again.unwrap_err().to_string().contains("not empty"));
    let ledger = open(&StoreConfig::Postgres(target)).unwrap();
    runtime.block_on(async {
        // Tokens and hashes of the first ledger are valid.
        assert!(ledger.verify_sink_token(&id, sink_token.reveal()));
        assert_eq!(ledger.get(&id).await.unwrap().state(), SessionState::InDoubt);
        let request = reservation_request(create_request(phone(1), "192.0.2.1"));
        let conflict = ledger.reserve_for(party("c1"), request).await;
        assert!(matches!(conflict, Err(Error::Conflict { own_session: Some(_), .. })));
        assert_eq!(ledger.take_notifications(None, 1000).await.unwrap().entries.len(), 630);
    });
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn copy_is_refused_while_a_replica_runs() {
    let Some((database, settings)) = migrated() else { return };
    let (folder, embedded, runtime) = embedded_ledger("qod-copy-live");
    runtime.block_on(open(&embedded).unwrap().close());
    let replica = config(&settings, "a", &[]);
    let _replica = open(&replica).unwrap();
    let StoreConfig::Postgres(target) = replica else { panic!() };
    let copy =
        || crate::ledger::copy(&embedded, &target, &Clock::system(), &Metrics::new().unwrap());
    let refused = copy().unwrap_err().to_string();
    assert!(refused.contains("replicas are running"), "{refused}");
    // Its registration is what prevents the copy.
    let server = test_server::shared().unwrap();
    server.sql(&database.name, "DELETE FROM qod.replica");
    assert!(copy().is_ok());
    std::fs::remove_dir_all(folder).unwrap();
}
