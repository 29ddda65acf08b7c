//! The shared store: several replicas use one PostgreSQL database.
//!
//! Each operation is one call of a function of `src/postgres/sql/0001_ledger.sql`, which documents the
//! tables, the locks and the transactions. The database finds the sessions that a new one must be compared
//! with; the conflict rule itself is the one of the other stores (`conflict.rs`), and this process applies
//! it. Times are those of the database. Rows are sealed, and the columns that are compared are keyed hashes.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio_postgres::types::{ToSql, Type};

mod changes;
mod record_cache;
mod database_clock;
mod import;
mod lookup;
mod opening;
mod outbox;
mod replica;
mod reserve;
mod row;
mod statements;
mod usage;

pub use self::opening::PostgresSettings;
pub(super) use self::opening::{OpenedDatabase, Opening};
use self::{
    database_clock::DatabaseClock, lookup::RowHasher, record_cache::RecordCache,
    replica::ReplicaLease, statements::Statements,
};
use super::{
    Error, Requester, SessionRecord, SessionState,
    claim::{DeviceKeys, KeyHasher},
    conflict::{DeviceComparison, compare_devices},
    keys::SealKeys,
    notification::{OutboxChange, OutboxEntry, OutboxSelector, QueuedNotification},
    record::{FAILED_TRANSITION_DELAY, LifecycleStep},
    state_machine::Transition,
    store::{
        InsertOutcome, InsertRequest, Removal, Removed, Replaced, SharedStore, Store, SweepResult,
        TakenNotifications,
    },
    usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
};
use crate::{
    clock::Clock,
    postgres::{Answer, Database, DatabaseError, Statement},
    qod::{Moment, OperatorId, SessionId},
};

// How long a replica has for a session that it took in a sweep.
const DUE_LEASE: Duration = Duration::from_secs(30);
// The number of idempotency records of all clients; the oldest are removed first. About 2 GB.
const REPLIES_MAX: i64 = 10_000_000;
// The number of concurrent statements of a sweep.
const SWEEP_STATEMENTS_MAX: usize = 8;
// The number of records per statement when a device's sessions are listed.
const RECORDS_PER_PAGE: i64 = 256;

/// The shared store.
pub(super) struct PostgresStore {
    database: Database,
    statements: Statements,
    seals: SealKeys,
    rows: RowHasher,
    clock: DatabaseClock,
    replica: ReplicaLease,
    /// The tables are those of another ledger.
    is_replaced: AtomicBool,
    /// Records for reads while the database is away.
    cache: RecordCache,
    /// The operators that are known to be in the database.
    operators: Mutex<HashSet<OperatorId>>,
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl PostgresStore {
    pub(super) fn new(database: Database, keys: OpenedDatabase, clock: Clock) -> Self {
        let OpenedDatabase { seals, hash_secret, now, identity } = keys;
        Self {
            statements: Statements::new(database.schema()),
            database,
            seals,
            rows: RowHasher::new(KeyHasher::new(hash_secret.secret())),
            clock: DatabaseClock::new(clock.clone(), now),
            is_replaced: AtomicBool::new(false),
            cache: RecordCache::new(clock.clone()),
            replica: ReplicaLease::new(clock, identity),
            operators: Mutex::default(),
        }
    }

    async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Answer, Error> {
        Ok(self.try_query(statement, parameters).await?)
    }

    // With the code of the database if it rejects the statement.
    async fn try_query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Answer, DatabaseError> {
        if self.is_replaced.load(Ordering::Relaxed) {
            return Err(DatabaseError::Unavailable(replica::OTHER_LEDGER.to_owned()));
        }
        self.database.query(statement, parameters).await
    }

    // The keys of this process find nothing in the tables of another ledger.
    fn stop_using_other_ledger(&self) {
        if !self.is_replaced.swap(true, Ordering::Relaxed) {
            tracing::error!(event = "ledger_replaced", "{}", replica::OTHER_LEDGER);
        }
    }

    // Registers an operator, so that counts can name it.
    async fn ensure_operator(&self, operator: &OperatorId) -> Result<(), Error> {
        if self.operators().contains(operator) {
            return Ok(());
        }
        let key = self.rows.operator(operator);
        let name = self.seal_row(row::OPERATORS, row::key_of(key), &operator.0)?;
        self.query(&self.statements.add_operator, &[(&key, Type::INT8), (&name, Type::BYTEA)])
            .await?;
        self.operators().insert(operator.clone());
        Ok(())
    }

    fn operators(&self) -> std::sync::MutexGuard<'_, HashSet<OperatorId>> {
        self.operators.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn expire_holds(
        &self,
        ids: Option<Vec<uuid::Uuid>>,
        holds_max: usize,
    ) -> Result<(), Error> {
        let holds_max = row::count(holds_max);
        let parameters: &[Parameter<'_>] = &[(&ids, Type::UUID_ARRAY), (&holds_max, Type::INT4)];
        self.query(&self.statements.expire_holds, parameters).await.map(drop)
    }

    // Applies the transition of one due record. Returns whether it must be examined again soon.
    async fn sweep_record(&self, record: SessionRecord, now: Moment) -> Result<SweptRecord, Error> {
        let mut swept = SweptRecord::default();
        let later =
            |record: &SessionRecord, due| Some((record.session.id.0, record.generation(), due));
        match record.lifecycle_step(now) {
            LifecycleStep::Remove => {
                match self.remove_record(&record, Transition::Expire, now).await {
                    Ok(removed) => (swept.outbox, swept.usage) = (removed.outbox, removed.usage),
                    Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
                    // Another change was first.
                    Err(_) => {}
                }
            }
            LifecycleStep::Action(action) => {
                swept.postponed = later(&record, record.summary(now).due);
                swept.due = Some((record, action));
            }
            LifecycleStep::Transition(next) => {
                match self.replace(SessionRecord::clone(&next), now).await {
                    Ok(replaced) => {
                        (swept.outbox, swept.usage) = (replaced.outbox, replaced.usage);
                        let mut next = *next;
                        next.early_event = replaced.early_event;
                        swept.due = next.immediate_action().map(|action| (next, action));
                    }
                    Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
                    Err(_) => swept.postponed = later(&record, now + FAILED_TRANSITION_DELAY),
                }
            }
            LifecycleStep::Unchanged => {
                swept.postponed = later(&record, now + FAILED_TRANSITION_DELAY);
            }
        }
        Ok(swept)
    }

    async fn postpone(&self, postponed: Vec<(uuid::Uuid, u64, Moment)>) -> Result<(), Error> {
        if postponed.is_empty() {
            return Ok(());
        }
        let (mut ids, mut generations, mut due) = (Vec::new(), Vec::new(), Vec::new());
        for (id, generation, at) in postponed {
            ids.push(id);
            generations.push(row::bigint(generation));
            due.push(row::milliseconds(at));
        }
        self.query(
            &self.statements.postpone,
            &[(&ids, Type::UUID_ARRAY), (&generations, Type::INT8_ARRAY), (&due, Type::INT8_ARRAY)],
        )
        .await
        .map(drop)
    }
}

/// What one record of a sweep requires.
#[derive(Debug, Default)]
struct SweptRecord {
    outbox: OutboxChange,
    usage: Option<Box<UsageRecord>>,
    due: Option<(SessionRecord, super::OperatorAction)>,
    postponed: Option<(uuid::Uuid, u64, Moment)>,
}

#[async_trait]
impl Store for PostgresStore {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    async fn insert(&self, request: InsertRequest, now: Moment) -> Result<InsertOutcome, Error> {
        self.reserve(request, now).await
    }

    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<Replaced, Error> {
        self.replace_record(&record, now).await
    }

    async fn remove(&self, removal: Removal, now: Moment) -> Result<Removed, Error> {
        let Removal { id, generation, transition } = removal;
        let record = self.find(&id).await?.ok_or(Error::NotFound)?;
        if record.generation() != generation {
            return Err(Error::Superseded);
        }
        self.remove_record(&record, transition, now).await
    }

    async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error> {
        let event = self.seal_row(row::EARLY_EVENTS, id.0.as_u128(), &operator_session)?;
        let pending = SessionState::Pending as i16;
        let answer = self
            .query(
                &self.statements.record_early_event,
                &[(&id.0, Type::UUID), (&pending, Type::INT2), (&event, Type::BYTEA)],
            )
            .await?;
        answer.rows.first().map_or(Ok(false), |row| row::get(row, 0))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        let answer = match self.query(&self.statements.find, &[(&id.0, Type::UUID)]).await {
            Ok(answer) => answer,
            // A change of an outdated record fails: its generation is not the next one.
            Err(error) => return self.cache.find(id).map(Some).ok_or(error),
        };
        let row = answer.rows.first();
        let record = row.map(|row| self.open_record(id.0, row::get(row, 0)?)).transpose()?;
        self.cache.update(id, record.as_ref());
        Ok(record)
    }

    async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        let key = self.rows.operator_session(operator, operator_session);
        let answer =
            self.query(&self.statements.find_by_operator_session, &[(&key, Type::UUID)]).await?;
        answer.rows.first().map(|row| Ok(SessionId(row::get(row, 0)?))).transpose()
    }

    async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let (after, records_max) = (after.map(|id| id.0), row::limit(records_max));
        let parameters: &[Parameter<'_>] = &[(&after, Type::UUID), (&records_max, Type::INT8)];
        let answer = self.query(&self.statements.list, parameters).await?;
        let record = |row| self.open_record(row::get(row, 0)?, row::get(row, 1)?);
        answer.rows.iter().map(record).collect()
    }

    async fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let (found, client) = (self.rows.device_lookup(keys), self.rows.client(&requester.client));
        let (mut records, mut before) = (Vec::new(), None);
        loop {
            let answer = self
                .query(
                    &self.statements.find_by_device,
                    &[
                        (&found, Type::INT8_ARRAY),
                        (&client, Type::INT8),
                        (&before, Type::UUID),
                        (&RECORDS_PER_PAGE, Type::INT8),
                    ],
                )
                .await?;
            for row in &answer.rows {
                let record = self.open_record(row::get(row, 0)?, row::get(row, 1)?)?;
                before = Some(record.session.id.0);
                let holds = record.holds_until().is_some_and(|until| until > now);
                if holds
                    && requester.owns(&record)
                    && compare_devices(record.keys(), keys) == DeviceComparison::Same
                {
                    records.push(record);
                }
                if records.len() >= records_max {
                    return Ok(records);
                }
            }
            if i64::try_from(answer.rows.len()).is_ok_and(|count| count < RECORDS_PER_PAGE) {
                return Ok(records);
            }
        }
    }

    async fn sweep(&self, _now: Moment, records_max: usize) -> Result<SweepResult, Error> {
        self.renew_lease_if_due().await?;
        self.expire_holds(None, records_max).await?;
        let (limit, lease) = (row::count(records_max), row::duration(DUE_LEASE));
        let parameters: &[Parameter<'_>] = &[(&limit, Type::INT4), (&lease, Type::INT8)];
        let sent = self.clock.tick();
        let answer = self.query(&self.statements.lease_due, parameters).await?;
        let mut leased = Vec::new();
        for row in &answer.rows {
            let (at, mut record) =
                (row::moment(row, 0)?, self.open_record(row::get(row, 1)?, row::get(row, 2)?)?);
            self.clock.observe(at, sent);
            record.early_event = self.open_early_event(record.session.id, row::get(row, 3)?)?;
            leased.push((at, record));
        }
        let mut swept = SweepResult { examined: leased.len(), ..SweepResult::default() };
        let steps = leased.into_iter().map(|(at, record)| self.sweep_record(record, at));
        let mut steps = stream::iter(steps).buffer_unordered(SWEEP_STATEMENTS_MAX);
        let mut postponed = Vec::new();
        while let Some(step) = steps.next().await {
            let SweptRecord { outbox, usage, due, postponed: later } = step?;
            swept.outbox += outbox;
            swept.usage.extend(usage.map(|usage| *usage));
            swept.due.extend(due);
            postponed.extend(later);
        }
        self.postpone(postponed).await?;
        self.query(
            &self.statements.expire_replies,
            &[(&limit, Type::INT4), (&REPLIES_MAX, Type::INT8)],
        )
        .await?;
        Ok(swept)
    }

    async fn take_notifications(
        &self,
        _after: Option<u64>,
        entries_max: usize,
    ) -> Result<TakenNotifications, Error> {
        self.take(entries_max).await
    }

    async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        self.list_selected(&OutboxSelector::All, after, entries_max).await
    }

    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        self.find_notification(number).await
    }

    async fn notification_to_deliver(
        &self,
        number: u64,
        call_timeout: Duration,
    ) -> Result<Option<QueuedNotification>, Error> {
        self.find_owned_notification(number, call_timeout).await
    }

    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        let numbers: Vec<i64> = numbers.into_iter().map(row::bigint).collect();
        self.query(&self.statements.acknowledge, &[(&numbers, Type::INT8_ARRAY)]).await.map(drop)
    }

    async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        self.read_usage(after, period, records_max).await
    }

    async fn prune_usage(&self, before: Moment, records_max: usize) -> Result<usize, Error> {
        self.prune_usage_records(before, records_max).await
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        self.count_sessions().await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }

    fn announce_policy(&self, version: &str) {
        self.replica.set_policy_version(version);
    }

    fn health(&self) -> Result<(), String> {
        if self.is_replaced.load(Ordering::Relaxed) {
            return Err(replica::OTHER_LEDGER.to_owned());
        }
        self.database.health()
    }

    async fn close(&self) {
        self.leave().await;
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresStore")
    }
}

#[cfg(test)]
mod tests;
