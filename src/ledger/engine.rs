//! The ledger engine: the operations of a ledger. Each operation changes the index and the rows
//! together, or neither.
//!
//! Pure except for the [`RowStore`]. All stores share these operations; a store is durable if its
//! rows are.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    Error, Requester, SessionRecord, SessionState,
    claim::DeviceKeys,
    daily_quota::{DailyCount, DailyCounts},
    idempotency::{
        IdempotencyIndex, IdempotencyKeyHash, IdempotencyRecord, REPLAY_TTL, RequestFingerprint,
    },
    index::Index,
    notification::{self, OutboxChange, OutboxIndex, QueuedNotification},
    record::{CreateReply, FAILED_TRANSITION_DELAY, LifecycleStep},
    state_machine::Transition,
    store::{
        InsertOutcome, InsertRequest, InsertedRecord, Removal, Removed, Replaced, SweepResult,
    },
    usage::{UsageNumbers, UsageRecord},
};
use crate::qod::{CreateRequest, Moment, Session, SessionEvent, SessionId};

// The maximum number of early events; further ones are dropped, and the operator retries.
const EARLY_EVENTS_MAX: usize = 10_000;

/// Rows of records, idempotency records, daily counts and notifications. After
/// [`Error::Unavailable`], index and rows may differ; both must be rebuilt.
pub(super) trait RowStore {
    fn get_record(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error>;
    fn put_record(&mut self, record: Cow<'_, SessionRecord>) -> Result<(), Error>;
    fn remove_record(&mut self, id: &SessionId) -> Result<(), Error>;
    fn get_idempotency(&self, key: &IdempotencyKeyHash)
    -> Result<Option<IdempotencyRecord>, Error>;
    fn put_idempotency(
        &mut self,
        key: &IdempotencyKeyHash,
        record: &IdempotencyRecord,
    ) -> Result<(), Error>;
    fn remove_idempotency(&mut self, key: &IdempotencyKeyHash) -> Result<(), Error>;
    fn put_daily_count(&mut self, count: &DailyCount) -> Result<(), Error>;
    fn put_notification(
        &mut self,
        number: u64,
        notification: &QueuedNotification,
    ) -> Result<(), Error>;
    fn remove_notification(&mut self, number: u64) -> Result<(), Error>;
    fn put_usage(&mut self, number: u64, usage: &UsageRecord) -> Result<(), Error>;
}

/// The in-memory state of all records: it is complete without reading rows.
#[derive(Debug, Default)]
pub(super) struct LedgerEngine {
    pub(super) index: Index,
    pub(super) idempotency: IdempotencyIndex,
    pub(super) outbox: OutboxIndex,
    pub(super) daily_counts: DailyCounts,
    pub(super) usage: UsageNumbers,
    /// Events that arrived before the answer to their create: the operator's id of the session.
    early_events: HashMap<SessionId, String>,
}

impl LedgerEngine {
    /// Adds a record that an earlier process wrote.
    pub(super) fn restore(&mut self, record: &SessionRecord, now: Moment) {
        let operator_session = record.operator_session.as_deref();
        self.index.restore(record.summary_after_restart(now), record.claim(), operator_session);
    }

    pub(super) fn insert(
        &mut self,
        rows: &mut impl RowStore,
        request: InsertRequest,
        now: Moment,
    ) -> Result<InsertOutcome, Error> {
        let InsertRequest { record, started, rules, sessions_max, creates_per_day, fingerprint } =
            request;
        let replay = fingerprint.as_ref().map_or(Ok(None), |fingerprint| {
            find_replay(rows, fingerprint, &record.session.wanted, now)
        })?;
        if let Some(replay) = replay {
            return Ok(replay);
        }
        let increment =
            |max| self.daily_counts.incremented(&record.client, max, record.requested_at());
        let daily_count = creates_per_day.map(increment).transpose()?;
        let device_ambiguous =
            self.index.insert(record.summary(now), record.claim(), &rules, sessions_max, now)?;
        rows.put_record(Cow::Borrowed(&*record))?;
        self.store_daily_count(rows, daily_count)?;
        if let Some(RequestFingerprint { key, digest }) = fingerprint {
            let expires_at = now + REPLAY_TTL;
            let session = record.session.id;
            let client = record.client.clone();
            let stored = IdempotencyRecord { client, digest, expires_at, session, response: None };
            self.put_idempotency(rows, &key, &stored)?;
        }
        Ok(InsertOutcome::New(InsertedRecord { record, started, device_ambiguous }))
    }

    pub(super) fn replace(
        &mut self,
        rows: &mut impl RowStore,
        record: SessionRecord,
        now: Moment,
    ) -> Result<Replaced, Error> {
        let operator_session = record.operator_session.as_deref();
        let before = self.index.replace(record.summary(now), operator_session)?;
        self.store_reply(rows, &record)?;
        let event = notification::event_for_change(before, &record, now);
        let outbox = self.enqueue(rows, &record, event, now)?;
        let early_event = self.early_events.remove(&record.session.id);
        let usage = self.put_usage(rows, record.usage_of_change(now), now)?;
        rows.put_record(Cow::Owned(record))?;
        Ok(Replaced { outbox, early_event, usage })
    }

    pub(super) fn record_early_event(&mut self, id: SessionId, operator_session: String) -> bool {
        if self.index.state(&id) != Some(SessionState::Pending) {
            return false;
        }
        if self.early_events.len() < EARLY_EVENTS_MAX {
            self.early_events.insert(id, operator_session);
        }
        true
    }

    pub(super) fn remove(
        &mut self,
        rows: &mut impl RowStore,
        removal: Removal,
        now: Moment,
    ) -> Result<Removed, Error> {
        let Removal { id, generation, transition } = removal;
        let Some(record) = self.remove_record(rows, id, generation)? else {
            return Ok(Removed::default());
        };
        if record.is_unconfirmed() {
            // The operator did not create it. A record that a timeout removes still counts, because
            // the operator may have created its session.
            let daily_count = self.daily_counts.decremented(&record.client, record.requested_at());
            self.store_daily_count(rows, daily_count)?;
        }
        self.finish_removal(rows, &record, transition, now)
    }

    fn remove_record(
        &mut self,
        rows: &mut impl RowStore,
        id: SessionId,
        generation: u64,
    ) -> Result<Option<SessionRecord>, Error> {
        self.index.remove(&id, generation)?;
        self.early_events.remove(&id);
        let record = rows.get_record(&id)?;
        rows.remove_record(&id)?;
        Ok(record)
    }

    fn finish_removal(
        &mut self,
        rows: &mut impl RowStore,
        record: &SessionRecord,
        transition: Transition,
        now: Moment,
    ) -> Result<Removed, Error> {
        if let Some(key) = record.idempotency_key() {
            self.remove_pending_reply(rows, key)?;
        }
        let usage = self.put_usage(rows, record.usage_of_removal(transition, now), now)?;
        let event = notification::event_for_removal(record, now);
        let outbox = self.enqueue(rows, record, event, now)?;
        Ok(Removed { outbox, usage })
    }

    // Writes the usage record of a session that ends.
    fn put_usage(
        &mut self,
        rows: &mut impl RowStore,
        usage: Option<UsageRecord>,
        now: Moment,
    ) -> Result<Option<Box<UsageRecord>>, Error> {
        let Some(usage) = usage else { return Ok(None) };
        rows.put_usage(self.usage.next(now), &usage)?;
        Ok(Some(Box::new(usage)))
    }

    /// Removes notifications that were delivered or dropped.
    pub(super) fn acknowledge(
        &mut self,
        rows: &mut impl RowStore,
        numbers: &[u64],
    ) -> Result<(), Error> {
        for &number in numbers {
            if self.outbox.remove(number) {
                rows.remove_notification(number)?;
            }
        }
        Ok(())
    }

    pub(super) fn find_by_device(
        &self,
        rows: &impl RowStore,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let mut ids = self.index.find_by_device(&requester.client, keys, now);
        // The ids are in the order of time.
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        let mut records = Vec::new();
        for id in ids {
            if records.len() >= records_max {
                break;
            }
            records.extend(rows.get_record(&id)?.filter(|record| requester.owns(record)));
        }
        Ok(records)
    }

    pub(super) fn sweep(
        &mut self,
        rows: &mut impl RowStore,
        now: Moment,
        records_max: usize,
    ) -> Result<SweepResult, Error> {
        self.index.expire_holds(now, records_max);
        let due = self.index.due(now, records_max);
        let mut swept = SweepResult { examined: due.len(), ..SweepResult::default() };
        for id in due {
            let Some(record) = rows.get_record(&id)? else {
                self.index.postpone(&id, now + FAILED_TRANSITION_DELAY);
                continue;
            };
            match record.lifecycle_step(now) {
                LifecycleStep::Remove => {
                    self.remove_record(rows, id, record.generation())?;
                    let removed = self.finish_removal(rows, &record, Transition::Expire, now)?;
                    swept.outbox += removed.outbox;
                    swept.usage.extend(removed.usage.map(|usage| *usage));
                }
                LifecycleStep::Action(action) => {
                    self.index.postpone(&id, record.summary(now).due);
                    swept.due.push((record, action));
                }
                LifecycleStep::Transition(next) => {
                    let action = next.immediate_action().map(|action| (next.clone(), action));
                    match self.replace(rows, *next, now) {
                        Ok(replaced) => {
                            swept.outbox += replaced.outbox;
                            swept.usage.extend(replaced.usage.map(|usage| *usage));
                            swept.due.extend(action.map(|(mut next, action)| {
                                next.early_event = replaced.early_event;
                                (*next, action)
                            }));
                        }
                        Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
                        Err(_) => self.index.postpone(&id, now + FAILED_TRANSITION_DELAY),
                    }
                }
                LifecycleStep::Unchanged => self.index.postpone(&id, now + FAILED_TRANSITION_DELAY),
            }
        }
        for _ in 0..records_max {
            let Some(key) = self.idempotency.pop_expired(now) else { break };
            rows.remove_idempotency(&key)?;
        }
        Ok(swept)
    }

    fn store_daily_count(
        &mut self,
        rows: &mut impl RowStore,
        daily_count: Option<DailyCount>,
    ) -> Result<(), Error> {
        let Some(daily_count) = daily_count else { return Ok(()) };
        rows.put_daily_count(&daily_count)?;
        self.daily_counts.set(daily_count);
        Ok(())
    }

    fn enqueue(
        &mut self,
        rows: &mut impl RowStore,
        record: &SessionRecord,
        event: Option<SessionEvent>,
        now: Moment,
    ) -> Result<OutboxChange, Error> {
        let notification = event.and_then(|event| QueuedNotification::new(event, record, now));
        let Some(notification) = notification else { return Ok(OutboxChange::default()) };
        let Some(number) = self.outbox.enqueue(&notification.client, now) else {
            return Ok(OutboxChange { dropped: 1, ..OutboxChange::default() });
        };
        rows.put_notification(number, &notification)?;
        Ok(OutboxChange { queued: 1, ..OutboxChange::default() })
    }

    // Stores the response of a create in its idempotency record, if it has one.
    fn store_reply(
        &mut self,
        rows: &mut impl RowStore,
        record: &SessionRecord,
    ) -> Result<(), Error> {
        let Some(key) = record.idempotency_key() else { return Ok(()) };
        let Some(stored) =
            rows.get_idempotency(key)?.filter(|stored| stored.session == record.session.id)
        else {
            return Ok(());
        };
        if stored.response.is_some() {
            return Ok(());
        }
        match record.create_reply() {
            CreateReply::Open => Ok(()),
            CreateReply::Rejected => self.remove_pending_reply(rows, key),
            CreateReply::Granted(granted) => {
                let stored = IdempotencyRecord { response: Some(granted.clone()), ..stored };
                self.put_idempotency(rows, key, &stored)
            }
        }
    }

    // Stores an idempotency record, and removes old ones that exceed the limits.
    fn put_idempotency(
        &mut self,
        rows: &mut impl RowStore,
        key: &IdempotencyKeyHash,
        record: &IdempotencyRecord,
    ) -> Result<(), Error> {
        rows.put_idempotency(key, record)?;
        self.idempotency.insert(*key, record);
        while let Some(excess) = self.idempotency.pop_excess(&record.client) {
            rows.remove_idempotency(&excess)?;
        }
        Ok(())
    }

    // A retry is then a new request.
    fn remove_pending_reply(
        &mut self,
        rows: &mut impl RowStore,
        key: &IdempotencyKeyHash,
    ) -> Result<(), Error> {
        if rows.get_idempotency(key)?.is_some_and(|stored| stored.response.is_none()) {
            rows.remove_idempotency(key)?;
            self.idempotency.remove(key);
        }
        Ok(())
    }
}

fn find_replay(
    rows: &impl RowStore,
    fingerprint: &RequestFingerprint,
    wanted: &Arc<CreateRequest>,
    now: Moment,
) -> Result<Option<InsertOutcome>, Error> {
    let Some(stored) =
        rows.get_idempotency(&fingerprint.key)?.filter(|stored| now < stored.expires_at)
    else {
        return Ok(None);
    };
    if stored.digest != fingerprint.digest {
        return Err(Error::IdempotencyKeyReused);
    }
    match stored.response {
        Some(granted) => {
            let requested_at = stored.expires_at - REPLAY_TTL;
            // The request is the same as the first one.
            let session = Session { id: stored.session, wanted: Arc::clone(wanted), granted };
            Ok(Some(InsertOutcome::Replayed { session: Box::new(session), requested_at }))
        }
        None => Err(Error::RequestInProgress),
    }
}
