//! The interface of stores. All stores have one contract and share its tests.
//!
//! Each method is one atomic operation; its result is as durable as the store guarantees. Stores
//! make no decisions: the index decides about conflicts, the record about states, and the ledger
//! engine combines them. A store executes an operation of the engine and writes its changes
//! atomically.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    ConflictRules, Error, OperatorAction, Requester, SessionRecord, SessionState,
    claim::DeviceKeys,
    idempotency::RequestFingerprint,
    notification::{OutboxChange, OutboxEntry, OutboxSelector, QueuedNotification},
    state_machine::Transition,
    usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
};
use crate::{
    clock::Tick,
    qod::{Moment, OperatorId, Session, SessionId},
};

/// The input of [`Store::insert`]: a new record, the limits of its client and the conflict rules.
#[derive(Clone, Debug)]
pub(super) struct InsertRequest {
    // Boxed, because it is moved to the store and back.
    pub(super) record: Box<SessionRecord>,
    /// The monotonic time from which the times of the record count.
    pub(super) started: Tick,
    pub(super) rules: ConflictRules,
    pub(super) sessions_max: u32,
    pub(super) creates_per_day: Option<u32>,
    pub(super) fingerprint: Option<RequestFingerprint>,
}

/// The result of [`Store::insert`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InsertOutcome {
    /// The record was inserted.
    New(InsertedRecord),
    /// The request is an idempotent replay; this is its stored response.
    Replayed { session: Box<Session>, requested_at: Moment },
}

/// A record as [`Store::insert`] has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InsertedRecord {
    /// The record. Its times are later than requested if the request waited in the store.
    pub(super) record: Box<SessionRecord>,
    /// The monotonic time from which the times of the record count; never later than that.
    pub(super) started: Tick,
    /// Whether the rule found a session whose device may be the same.
    pub(super) device_ambiguous: bool,
}

/// The result of [`Store::replace`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced {
    pub(super) outbox: OutboxChange,
    /// The operator's id of the session, from an event that arrived while the record was `PENDING`.
    pub(super) early_event: Option<String>,
    /// The usage record, if the change ended the session.
    pub(super) usage: Option<Box<UsageRecord>>,
}

/// The input of [`Store::remove`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal {
    pub(super) id: SessionId,
    pub(super) generation: u64,
    /// The transition that removes the record.
    pub(super) transition: Transition,
}

/// The result of [`Store::remove`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) outbox: OutboxChange,
    /// The usage record, if the removal ended the session.
    pub(super) usage: Option<Box<UsageRecord>>,
}

/// Queued notifications that this process delivers from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenNotifications {
    /// The notifications, in the order of their numbers for each session.
    pub entries: Vec<OutboxEntry>,
    /// Sessions whose delivery must be retried at once.
    pub retry: Vec<SessionId>,
}

/// The result of a sweep.
#[derive(Debug, Default)]
pub(super) struct SweepResult {
    /// The number of records examined.
    pub(super) examined: usize,
    /// The records that need a call to their operator.
    pub(super) due: Vec<(SessionRecord, OperatorAction)>,
    /// The notifications of the sweep.
    pub(super) outbox: OutboxChange,
    /// The usage records of sessions that ended.
    pub(super) usage: Vec<UsageRecord>,
}

impl InsertRequest {
    /// Sets all times later by the time that the request waited in the store, so that the wait does
    /// not reduce the operator's time to answer.
    pub(super) fn delay(&mut self, by: Duration) {
        self.record.shift_times(by);
        self.started = self.started + by;
    }
}

/// A store of records. `now` need not be exact: a hold that has expired for one request stays
/// expired for requests with an earlier time.
#[async_trait]
pub(super) trait Store: Debug + Send + Sync {
    /// The time of the ledger clock.
    fn now(&self) -> Moment;

    /// Checks replay, quotas, prefix length and conflicts, and inserts the record. Returns it as
    /// written: the store may set its times later ([`InsertRequest::delay`]).
    async fn insert(&self, request: InsertRequest, now: Moment) -> Result<InsertOutcome, Error>;

    /// Replaces a record by its next generation.
    ///
    /// # Errors
    /// `NotFound`; `Superseded` if the stored generation is not the previous one, or its hold has
    /// expired; `OperatorSessionInUse` if another session has the operator's id.
    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<Replaced, Error>;

    /// Removes a record of this generation.
    ///
    /// # Errors
    /// `NotFound` or `Superseded`.
    async fn remove(&self, removal: Removal, now: Moment) -> Result<Removed, Error>;

    /// Records that an event of a session arrived before the answer to its create. The next
    /// [`Self::replace`] returns it. `false` if the record is not `PENDING`.
    async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error>;

    /// The latest generation of a record.
    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error>;

    /// The session to which the operator assigned this id.
    async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error>;

    /// The records after this one, in the order of their ids, which is oldest first.
    async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error>;

    /// The records that the requester may see, that hold their flow, and whose device is certainly
    /// this one, newest first.
    async fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error>;

    /// Applies due transitions to at most `records_max` records.
    async fn sweep(&self, now: Moment, records_max: usize) -> Result<SweepResult, Error>;

    /// The queued notifications after this number, in order.
    async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error>;

    /// The queued notifications that this process must deliver and has not taken yet. `after` is the
    /// last number that it has taken.
    async fn take_notifications(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<TakenNotifications, Error> {
        let entries = self.outbox_entries(after, entries_max).await?;
        Ok(TakenNotifications { entries, retry: Vec::new() })
    }

    /// The queued notification of this number.
    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error>;

    /// The queued notification of this number, if this process has the right to deliver it for at
    /// least `call_timeout`.
    async fn notification_to_deliver(
        &self,
        number: u64,
        _call_timeout: Duration,
    ) -> Result<Option<QueuedNotification>, Error> {
        self.notification(number).await
    }

    /// Removes these notifications; missing ones are ignored.
    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error>;

    /// The usage records after a position that belong to a period. At most `records_max` records are
    /// read.
    async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error>;

    /// Removes at most `records_max` usage records that were made before this time. Returns their
    /// number.
    async fn prune_usage(&self, before: Moment, records_max: usize) -> Result<usize, Error>;

    /// The number of records for each operator and state, in time independent of the number of
    /// records.
    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error>;

    /// Reports the version of the policies that this process applies to other processes.
    fn announce_policy(&self, _version: &str) {}

    /// The operations of a store that several processes share.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }

    /// Whether the store waits for another process to release it, or is being read after that. Changes
    /// wait too.
    fn is_opening(&self) -> bool {
        false
    }

    /// Checks that the store is writable. The error is the reason.
    fn health(&self) -> Result<(), String>;

    /// Writes all outstanding changes and releases all resources.
    async fn close(&self);
}

/// A process that uses a shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its id.
    pub id: Uuid,
    /// The name of its machine.
    pub host: String,
    /// The version of the gateway.
    pub version: String,
    /// The version of its policies.
    pub policy_version: String,
    /// When it started.
    pub started_at: Moment,
    /// When it was last in contact with the database.
    pub seen_at: Moment,
    /// Whether its lease is valid.
    pub is_live: bool,
}

/// What only a shared store can do: this process has no complete view of it in memory.
#[async_trait]
pub(super) trait SharedStore: Send + Sync {
    /// The id of this process.
    fn replica_id(&self) -> Uuid;

    /// The number of processes that use the store, as last known.
    fn live_replicas(&self) -> usize;

    /// The processes that use the store or used it lately, the latest first.
    async fn replicas(&self) -> Result<Vec<Replica>, Error>;

    /// The selected notifications after this number, in order.
    async fn list_notifications(
        &self,
        selection: &OutboxSelector,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error>;

    /// Asks the processes that deliver these notifications to retry at once. Returns the number of
    /// sessions.
    async fn retry_notifications(&self, selection: &OutboxSelector) -> Result<u64, Error>;

    /// Drops notifications. Returns their number.
    async fn drop_notifications(&self, selection: &OutboxSelector) -> Result<u64, Error>;
}

#[cfg(test)]
pub(super) mod tests;
