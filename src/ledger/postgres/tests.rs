//! The contract of stores on a real server, and what only a shared store must do.

mod benchmarks;
mod failures;
mod races;
mod safeguards;
mod usage;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{replica::ReplicaIdentity, *};
use crate::{
    ledger::{
        keys::HashSecret,
        store::tests::{StoreKind, assert_store_contract},
    },
    metrics::Metrics,
    postgres::{Settings, Statement, test_server},
    qod::Secret,
};

const LEDGER: &str = concat!(
    include_str!("../../postgres/sql/0001_ledger.sql"),
    include_str!("../../postgres/sql/0003_usage.sql")
);
const TABLES: &str = "operator, session, hold_key, operator_kinds, client_holds, client_day, reply, \
                      replica, notification, notification_queue, usage_record";

/// A schema whose clock the test sets.
struct TestSchema {
    server: &'static test_server::Server,
    database: test_server::TestDatabase<'static>,
    schema: String,
}

/// A store that sets the clock of the database to the time of the test before each operation.
#[derive(Debug)]
struct ClockedStore {
    inner: PostgresStore,
    clock: Clock,
    set_clock: Statement,
    clock_set_to: AtomicU64,
}

impl TestSchema {
    fn new() -> Option<Self> {
        let server = test_server::shared()?;
        let database = server.create_database();
        let schema = "qod".to_owned();
        let sql = LEDGER.replace("{schema}", &schema);
        server.sql(&database.name, &format!("CREATE SCHEMA {schema}; {sql}"));
        server.sql(
            &database.name,
            &format!(
                "CREATE TABLE {schema}.test_clock (now bigint); INSERT INTO {schema}.test_clock VALUES (0); \
                 INSERT INTO {schema}.setting VALUES ('ledger', '\\x07'); \
                 CREATE OR REPLACE FUNCTION {schema}.ledger_now() RETURNS bigint LANGUAGE sql VOLATILE \
                 RETURN (SELECT now FROM {schema}.test_clock); \
                 GRANT ALL ON SCHEMA {schema} TO public; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO public; \
                 GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO public"
            ),
        );
        Some(Self { server, database, schema })
    }

    fn database(&self, clock: &Clock) -> Database {
        let settings = Settings::for_test(&self.database.url, &self.schema);
        Database::new(settings, Metrics::new().unwrap(), clock.clone()).unwrap()
    }

    /// Replaces parts of the SQL of the ledger's functions: a test must find the fault.
    fn change_ledger(&self, changes: &[(&str, &str)]) {
        let mut sql = LEDGER.to_owned();
        for (text, replacement) in changes {
            assert!(sql.contains(text), "{text}");
            sql = sql.replace(text, replacement);
        }
        let sql = sql.replace("{schema}", &self.schema);
        let functions = sql
            .split("\nCREATE FUNCTION ")
            .skip(1)
            .filter(|text| text.contains(" AS $$\n") || text.contains("\nAS $$\n"));
        for function in functions {
            let function = function.split_once("\n$$;").unwrap().0;
            self.server
                .sql(&self.database.name, &format!("CREATE OR REPLACE FUNCTION {function}\n$$;"));
        }
    }

    fn count(&self, table: &str) -> usize {
        let sql = format!("SELECT count(*) FROM {}.{table}", self.schema);
        self.server.sql(&self.database.name, &sql).trim().parse().unwrap()
    }

    /// All rows of all tables, as text.
    fn dump(&self) -> String {
        let rows = |table| {
            let sql = format!("SELECT t::text FROM {}.{table} t", self.schema);
            self.server.sql(&self.database.name, &sql)
        };
        TABLES.split(", ").map(rows).collect()
    }

    /// Removes all rows, and opens a store.
    fn empty_store(&self, clock: &Clock) -> Arc<dyn Store> {
        let tables = TABLES.split(", ").map(|table| format!("{}.{table}", self.schema));
        let tables: Vec<_> = tables.collect();
        self.server.sql(&self.database.name, &format!("TRUNCATE {}", tables.join(", ")));
        self.store(clock)
    }

    /// The number of live sessions that are counted for a client.
    fn live_holds(&self, client: &str) -> u64 {
        let key = RowHasher::new(KeyHasher::new([7; 32])).client(&client.into());
        let sql = format!(
            "SELECT coalesce(sum(live), 0) FROM {}.client_holds WHERE client = {key}",
            self.schema
        );
        self.server.sql(&self.database.name, &sql).trim().parse().unwrap()
    }

    fn store(&self, clock: &Clock) -> Arc<dyn Store> {
        self.store_on(self.database(clock), clock)
    }

    fn store_on(&self, database: Database, clock: &Clock) -> Arc<dyn Store> {
        let key = Secret::new("k".repeat(32));
        let opened = OpenedDatabase {
            seals: SealKeys::new(&key, &[]).unwrap(),
            hash_secret: HashSecret::new([7; 32]),
            now: clock.now(),
            identity: ReplicaIdentity { replica: uuid::Uuid::new_v4(), ledger: vec![7] },
        };
        Arc::new(ClockedStore {
            inner: PostgresStore::new(database, opened, clock.clone()),
            clock: clock.clone(),
            set_clock: Statement::new(
                "set_clock",
                "UPDATE {schema}.test_clock SET now = $1",
                &self.schema,
            ),
            clock_set_to: AtomicU64::new(0),
        })
    }
}

impl ClockedStore {
    async fn at(&self, now: Moment) -> &PostgresStore {
        let now = now.unix_ms();
        if self.clock_set_to.swap(now, Ordering::SeqCst) != now {
            let now = row::bigint(now);
            self.inner.query(&self.set_clock, &[(&now, Type::INT8)]).await.unwrap();
        }
        &self.inner
    }
}

#[async_trait]
impl Store for ClockedStore {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    async fn insert(
        &self,
        mut request: InsertRequest,
        now: Moment,
    ) -> Result<InsertOutcome, Error> {
        request.delay(now.since(request.record.requested_at()));
        self.at(now).await.insert(request, now).await
    }

    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<Replaced, Error> {
        self.at(now).await.replace(record, now).await
    }

    async fn remove(&self, removal: Removal, now: Moment) -> Result<Removed, Error> {
        self.at(now).await.remove(removal, now).await
    }

    async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error> {
        self.inner.record_early_event(id, operator_session).await
    }

    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        self.inner.find(id).await
    }

    async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        self.inner.find_by_operator_session(operator, operator_session).await
    }

    async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.inner.list(after, records_max).await
    }

    async fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.inner.find_by_device(requester, keys, now, records_max).await
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<SweepResult, Error> {
        self.at(now).await.sweep(now, records_max).await
    }

    async fn take_notifications(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<TakenNotifications, Error> {
        self.at(self.clock.now()).await.take_notifications(after, entries_max).await
    }

    async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        self.inner.outbox_entries(after, entries_max).await
    }

    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        self.inner.notification(number).await
    }

    async fn notification_to_deliver(
        &self,
        number: u64,
        call_timeout: Duration,
    ) -> Result<Option<QueuedNotification>, Error> {
        self.at(self.clock.now()).await.notification_to_deliver(number, call_timeout).await
    }

    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.inner.acknowledge(numbers).await
    }

    async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        self.inner.usage(after, period, records_max).await
    }

    async fn prune_usage(&self, before: Moment, records_max: usize) -> Result<usize, Error> {
        self.inner.prune_usage(before, records_max).await
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        self.inner.counts().await
    }

    fn health(&self) -> Result<(), String> {
        self.inner.health()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[test]
fn shared_store_satisfies_the_contract() {
    let Some(schema) = TestSchema::new() else { return };
    let kind = StoreKind {
        make: &|clock| schema.empty_store(clock),
        // Another replica continues: nothing is in memory only.
        restart: Some(&|_, clock| schema.store(clock)),
        shared: true,
        histories: 24,
    };
    assert_store_contract(&kind);
}
