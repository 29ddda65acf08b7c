//! The volatile store: a ledger engine and its rows in memory, behind one lock.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use super::{
    Error, Requester, SessionRecord, SessionState,
    claim::DeviceKeys,
    daily_quota::DailyCount,
    engine::{LedgerEngine, RowStore},
    idempotency::{IdempotencyKeyHash, IdempotencyRecord},
    ledger_clock::LedgerClock,
    notification::{OutboxEntry, QueuedNotification},
    store::{InsertOutcome, InsertRequest, Removal, Removed, Replaced, Store, SweepResult},
    usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
};
use crate::qod::{Moment, OperatorId, SessionId};

// The number of usage records in memory; the oldest are removed first.
const USAGE_RECORDS_MAX: usize = 100_000;

/// The memory store. The lock is never held across an `await`.
#[derive(Debug)]
pub(super) struct MemoryStore {
    clock: LedgerClock,
    state: Mutex<(LedgerEngine, MemoryRows)>,
}

#[derive(Debug, Default)]
struct MemoryRows {
    // Boxed, because the nodes of the tree are moved when it grows and are often half empty.
    records: BTreeMap<SessionId, Box<SessionRecord>>,
    idempotency: HashMap<IdempotencyKeyHash, IdempotencyRecord>,
    notifications: BTreeMap<u64, QueuedNotification>,
    usage: BTreeMap<u64, UsageRecord>,
}

impl MemoryStore {
    pub(super) fn new(clock: LedgerClock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    // After a panic under the lock, index and rows may differ: all later operations fail.
    fn lock(&self) -> Result<MutexGuard<'_, (LedgerEngine, MemoryRows)>, Error> {
        self.state.lock().map_err(|_| {
            Error::Unavailable("a panic interrupted an operation of the ledger".to_owned())
        })
    }

    fn run<T>(
        &self,
        operation: impl FnOnce(&mut LedgerEngine, &mut MemoryRows) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.lock()?;
        let (engine, rows) = &mut *state;
        operation(engine, rows)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    async fn insert(&self, request: InsertRequest, now: Moment) -> Result<InsertOutcome, Error> {
        self.run(|engine, rows| engine.insert(rows, request, now))
    }

    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<Replaced, Error> {
        self.run(|engine, rows| engine.replace(rows, record, now))
    }

    async fn remove(&self, removal: Removal, now: Moment) -> Result<Removed, Error> {
        self.run(|engine, rows| engine.remove(rows, removal, now))
    }

    async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error> {
        self.run(|engine, _| Ok(engine.record_early_event(id, operator_session)))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        self.lock()?.1.get_record(id)
    }

    async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        Ok(self.lock()?.0.index.find_by_operator_session(operator, operator_session))
    }

    async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let state = self.lock()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = state.1.records.range((from, Bound::Unbounded)).take(records_max);
        Ok(records.map(|(_, record)| SessionRecord::clone(record)).collect())
    }

    async fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.run(|engine, rows| engine.find_by_device(rows, requester, keys, now, records_max))
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<SweepResult, Error> {
        self.run(|engine, rows| engine.sweep(rows, now, records_max))
    }

    async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        let state = self.lock()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = state.1.notifications.range((from, Bound::Unbounded)).take(entries_max);
        Ok(entries.map(|(number, notification)| notification.outbox_entry(*number)).collect())
    }

    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        Ok(self.lock()?.1.notifications.get(&number).cloned())
    }

    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.run(|engine, rows| engine.acknowledge(rows, &numbers))
    }

    async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        let state = self.lock()?;
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.0));
        let read = state.1.usage.range((from, Bound::Unbounded)).take(records_max);
        let read = read.map(|(number, usage)| (UsageCursor(*number), usage.clone())).collect();
        Ok(UsagePage::select(read, period, records_max))
    }

    async fn prune_usage(&self, before: Moment, records_max: usize) -> Result<usize, Error> {
        self.run(|_, rows| {
            let first = UsageCursor::first_at(before).0;
            let old: Vec<u64> =
                rows.usage.range(..first).take(records_max).map(|(number, _)| *number).collect();
            for number in &old {
                rows.usage.remove(number);
            }
            Ok(old.len())
        })
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        Ok(self.lock()?.0.index.counts())
    }

    fn health(&self) -> Result<(), String> {
        self.lock().map(drop).map_err(|error| error.to_string())
    }

    async fn close(&self) {}
}

impl RowStore for MemoryRows {
    fn get_record(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        Ok(self.records.get(id).map(|record| SessionRecord::clone(record)))
    }

    fn put_record(&mut self, record: Cow<'_, SessionRecord>) -> Result<(), Error> {
        self.records.insert(record.session.id, Box::new(record.into_owned()));
        Ok(())
    }

    fn remove_record(&mut self, id: &SessionId) -> Result<(), Error> {
        self.records.remove(id);
        Ok(())
    }

    fn get_idempotency(
        &self,
        key: &IdempotencyKeyHash,
    ) -> Result<Option<IdempotencyRecord>, Error> {
        Ok(self.idempotency.get(key).cloned())
    }

    fn put_notification(
        &mut self,
        number: u64,
        notification: &QueuedNotification,
    ) -> Result<(), Error> {
        self.notifications.insert(number, notification.clone());
        Ok(())
    }

    fn remove_notification(&mut self, number: u64) -> Result<(), Error> {
        self.notifications.remove(&number);
        Ok(())
    }

    fn put_usage(&mut self, number: u64, usage: &UsageRecord) -> Result<(), Error> {
        if self.usage.len() >= USAGE_RECORDS_MAX {
            self.usage.pop_first();
        }
        self.usage.insert(number, usage.clone());
        Ok(())
    }

    fn put_idempotency(
        &mut self,
        key: &IdempotencyKeyHash,
        record: &IdempotencyRecord,
    ) -> Result<(), Error> {
        self.idempotency.insert(*key, record.clone());
        Ok(())
    }

    fn remove_idempotency(&mut self, key: &IdempotencyKeyHash) -> Result<(), Error> {
        self.idempotency.remove(key);
        Ok(())
    }

    fn put_daily_count(&mut self, _: &DailyCount) -> Result<(), Error> {
        // The engine stores the counts in memory.
        Ok(())
    }
}

#[cfg(test)]
mod tests;
