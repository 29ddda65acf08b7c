//! Usage records of several replicas: each is read once by a reader that continues after its last position,
//! and a statement that is repeated writes one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    safeguards::{replica_on, sql},
    *,
};
use crate::{
    ledger::{
        Ledger, ReserveOutcome,
        tests::sample::{START, create_request, granted, party, phone, reservation_request},
    },
    qod::QosStatus,
};

const FENCE: &str =
    "        AND u.position < pg_snapshot_xmin(pg_current_snapshot())::text::bigint\n";

async fn start_session(ledger: &Ledger, number: u32) -> SessionRecord {
    let request = reservation_request(create_request(phone(number), "192.0.2.1"));
    let reserved = ledger.reserve_for(party("c1"), request).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    let available = granted(QosStatus::Available, START, 60);
    ledger.confirm(reservation, format!("operator-{number}"), available).await.unwrap()
}

async fn end_session(ledger: &Ledger, record: &SessionRecord) {
    let deleting = ledger.begin_delete(record).await.unwrap();
    ledger.finish_delete(&deleting).await.unwrap();
}

/// A reader that continues after its last position.
struct UsageReader {
    ledger: Ledger,
    after: Option<UsageCursor>,
    read: BTreeMap<SessionId, usize>,
}

impl UsageReader {
    async fn read(&mut self) {
        loop {
            let page = self.ledger.usage(self.after, UsagePeriod::default(), 3).await.unwrap();
            for (at, usage) in page.records {
                assert!(self.after < Some(at));
                self.after = Some(at);
                *self.read.entry(usage.session).or_default() += 1;
            }
            if page.next.is_none() {
                return;
            }
        }
    }

    /// Other tests use the same server: their transactions delay the last records.
    async fn read_until(&mut self, count: usize) {
        for _ in 0..2000 {
            self.read().await;
            if self.read.len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_record_is_read_once_while_replicas_write() {
    const TASKS: u32 = 8;
    const SESSIONS: u32 = 12;
    let Some(schema) = TestSchema::new() else { return };
    let clock = Clock::fixed(START);
    let replicas = [replica_on(&schema, &clock), replica_on(&schema, &clock)];
    let is_done = Arc::new(AtomicBool::new(false));
    let mut reader =
        UsageReader { ledger: replica_on(&schema, &clock), after: None, read: BTreeMap::new() };
    let reading = {
        let is_done = Arc::clone(&is_done);
        tokio::spawn(async move {
            while !is_done.load(Ordering::SeqCst) {
                reader.read().await;
            }
            reader.read_until(usize::try_from(TASKS * SESSIONS).unwrap()).await;
            reader.read
        })
    };
    let tasks = (0..TASKS).map(|task| {
        let ledger = replicas[task as usize % replicas.len()].clone();
        tokio::spawn(async move {
            for n in 0..SESSIONS {
                let record = start_session(&ledger, task * SESSIONS + n).await;
                end_session(&ledger, &record).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    is_done.store(true, Ordering::SeqCst);
    let read = reading.await.unwrap();
    assert_eq!(read.len(), usize::try_from(TASKS * SESSIONS).unwrap());
    assert!(read.values().all(|count| *count == 1), "{read:?}");
}

/// What a reader returns that continues after its last position, while the first of two records is committed
/// after the second.
fn read_in_reverse_order_of_commits(schema: &TestSchema) -> String {
    sql(schema, "CREATE TABLE {schema}.go (go integer)");
    let record = |n| {
        format!("SELECT {{schema}}.record_usage('00000000-0000-0000-0000-00000000000{n}', 0, '')")
    };
    let first = format!(
        "DO $$ BEGIN PERFORM * FROM ({}) r; PERFORM pg_advisory_xact_lock(78); \
           FOR i IN 1 .. 2000 LOOP \
             EXIT WHEN EXISTS (SELECT FROM {{schema}}.go); PERFORM pg_sleep(0.005); \
           END LOOP; END $$",
        record(1)
    );
    let is_held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 78 \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let (mut read, mut after) = (String::new(), "-1".to_owned());
    let mut read_on = || {
        let rows = format!(
            "SELECT number || ' ' || right(session::text, 1) \
             FROM {{schema}}.read_usage({after}, 0, 1000000000000000, 10)"
        );
        for row in sql(schema, &rows).lines() {
            let (position, session) = row.split_once(' ').unwrap();
            after = position.to_owned();
            read += session;
        }
        read.clone()
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| sql(schema, &first));
        while sql(schema, is_held) != "1" && !first.is_finished() {}
        sql(schema, &record(2));
        read_on();
        sql(schema, "INSERT INTO {schema}.go VALUES (1)");
        first.join().unwrap();
    });
    for _ in 0..100 {
        if read_on().len() == 2 {
            break;
        }
    }
    read
}

#[tokio::test]
async fn record_that_is_committed_late_is_lost_only_without_the_fence() {
    let Some(schema) = TestSchema::new() else { return };
    assert_eq!(read_in_reverse_order_of_commits(&schema), "12");
    let Some(schema) = TestSchema::new() else { return };
    schema.change_ledger(&[(FENCE, "")]);
    assert_eq!(read_in_reverse_order_of_commits(&schema), "2");
}

#[tokio::test]
async fn repeated_statements_write_one_record() {
    let Some(schema) = TestSchema::new() else { return };
    let ledger = replica_on(&schema, &Clock::fixed(START));
    let id = start_session(&ledger, 1).await.session.id.0;
    let change = format!(
        "SELECT outcome FROM {{schema}}.replace_and_end('{id}', 2, 1, 6::smallint, NULL, 0, NULL, '', NULL, \
         NULL, false, '{{}}', NULL, NULL, NULL, 1, 'usage')"
    );
    assert_eq!((sql(&schema, &change), sql(&schema, &change)), ("0".to_owned(), "0".to_owned()));
    assert_eq!(schema.count("usage_record"), 1);
    let id = start_session(&ledger, 2).await.session.id.0;
    let removal = format!(
        "SELECT outcome FROM {{schema}}.remove_and_end('{id}', 1, NULL, NULL, NULL, NULL, NULL, 1, 'usage')"
    );
    assert_eq!((sql(&schema, &removal), sql(&schema, &removal)), ("0".to_owned(), "1".to_owned()));
    assert_eq!(schema.count("usage_record"), 2);
}

#[tokio::test]
async fn session_does_not_end_if_its_record_cannot_be_written() {
    let Some(schema) = TestSchema::new() else { return };
    let ledger = replica_on(&schema, &Clock::fixed(START));
    let record = start_session(&ledger, 1).await;
    let deleting = ledger.begin_delete(&record).await.unwrap();
    sql(&schema, "ALTER TABLE {schema}.usage_record ADD CONSTRAINT disk_full CHECK (false)");
    assert!(ledger.finish_delete(&deleting).await.is_err());
    assert_eq!((schema.count("session"), schema.count("usage_record")), (1, 0));
    sql(&schema, "ALTER TABLE {schema}.usage_record DROP CONSTRAINT disk_full");
    ledger.finish_delete(&deleting).await.unwrap();
    assert_eq!((schema.count("session"), schema.count("usage_record")), (0, 1));
}

#[tokio::test]
async fn records_of_a_period_are_found_among_others() {
    let Some(schema) = TestSchema::new() else { return };
    let clock = Clock::fixed(START);
    let ledger = replica_on(&schema, &clock);
    let mut ended = Vec::new();
    for hour in 0..4 {
        let record = start_session(&ledger, hour).await;
        let deleting = ledger.begin_delete(&record).await.unwrap();
        ledger.finish_delete(&deleting).await.unwrap();
        ended.push((clock.now(), record.session.id));
        clock.advance(Duration::from_hours(1));
    }
    let mut all = UsageReader { ledger: ledger.clone(), after: None, read: BTreeMap::new() };
    all.read_until(4).await;
    let (from, to) = (ended[1].0, ended[3].0);
    let period = UsagePeriod { from: Some(from), to: Some(to) };
    let page = ledger.usage(None, period, 10).await.unwrap();
    let found: Vec<_> =
        page.records.iter().map(|(_, usage)| (usage.recorded_at, usage.session)).collect();
    assert_eq!(found, ended[1..3]);
}
