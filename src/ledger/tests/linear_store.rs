//! A store for tests that has nothing in common with the others but the interface: no index, no engine,
//! no rows. It is one map behind one lock, and each operation scans all records. It shows what a store
//! must do.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    clock::Clock,
    ledger::{
        Claim, ConflictRules, Error, OnUnknown, OpenMode, Requester, SessionRecord, SessionState,
        StoreConfig,
        claim::DeviceKeys,
        conflict::{ConflictDecision, DeviceComparison, compare_devices, decide},
        idempotency::{IdempotencyKeyHash, IdempotencyRecord, REPLAY_TTL, RequestFingerprint},
        ledger_clock::LedgerClock,
        notification::{
            OutboxChange, OutboxEntry, QUEUED_PER_CLIENT_MAX, QueuedNotification, event_for_change,
            event_for_removal,
        },
        record::{CreateReply, LifecycleStep, RecordSummary},
        state_machine::Transition,
        store::{
            InsertOutcome, InsertRequest, InsertedRecord, Removal, Removed, Replaced, Store,
            SweepResult,
            tests::{StoreKind, assert_store_contract},
        },
        usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
    },
    metrics::Metrics,
    qod::{ClientId, Moment, OperatorId, Session, SessionEvent, SessionId},
};

const DAY_S: u64 = 24 * 3600;
const FAILED_TRANSITION_DELAY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(in crate::ledger) struct LinearStore {
    clock: LedgerClock,
    state: Mutex<LinearState>,
}

#[derive(Debug, Default)]
struct LinearState {
    /// Each record with its summary, which has no hold once the hold has expired for one request.
    records: BTreeMap<SessionId, (SessionRecord, RecordSummary)>,
    operators: BTreeSet<OperatorId>,
    replies: BTreeMap<IdempotencyKeyHash, IdempotencyRecord>,
    /// The counted creates of clients with a daily quota, with their days.
    created: BTreeMap<SessionId, (ClientId, u64)>,
    outbox: BTreeMap<u64, QueuedNotification>,
    last_number: u64,
    usage: BTreeMap<u64, UsageRecord>,
    last_usage: u64,
    early_events: BTreeMap<SessionId, String>,
}

impl LinearStore {
    pub(in crate::ledger) fn new(clock: LedgerClock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, LinearState> {
        self.state.lock().unwrap()
    }
}

impl LinearState {
    fn insert(&mut self, request: InsertRequest, now: Moment) -> Result<InsertOutcome, Error> {
        let InsertRequest { record, started, rules, sessions_max, creates_per_day, fingerprint } =
            request;
        if let Some(fingerprint) = &fingerprint
            && let Some(replay) = self.find_replay(fingerprint, &record, now)?
        {
            return Ok(replay);
        }
        if let Some(max) = creates_per_day {
            self.check_daily_quota(&record, max)?;
        }
        self.expire_holds(now);
        let claim = record.claim();
        let live = self.holding(now).filter(|other| other.client == claim.client).count();
        if live >= usize::try_from(sessions_max).unwrap() {
            return Err(Error::QuotaExceeded { max: sessions_max });
        }
        if claim.keys.is_too_broad(&rules) {
            return Err(Error::DeviceTooBroad);
        }
        let device_ambiguous = self.check_conflicts(&claim, &rules, now)?;
        let id = record.session.id;
        if creates_per_day.is_some() {
            self.created.insert(id, (record.client.clone(), day_of(&record)));
        }
        if let Some(RequestFingerprint { key, digest }) = fingerprint {
            let (client, expires_at) = (record.client.clone(), now + REPLAY_TTL);
            let reply =
                IdempotencyRecord { client, digest, expires_at, session: id, response: None };
            self.replies.insert(key, reply);
        }
        self.operators.insert(record.operator.clone());
        self.put(SessionRecord::clone(&record), now);
        Ok(InsertOutcome::New(InsertedRecord { record, started, device_ambiguous }))
    }

    fn find_replay(
        &self,
        fingerprint: &RequestFingerprint,
        record: &SessionRecord,
        now: Moment,
    ) -> Result<Option<InsertOutcome>, Error> {
        let reply = self.replies.get(&fingerprint.key).filter(|reply| now < reply.expires_at);
        let Some(reply) = reply else { return Ok(None) };
        if reply.digest != fingerprint.digest {
            return Err(Error::IdempotencyKeyReused);
        }
        let granted = reply.response.clone().ok_or(Error::RequestInProgress)?;
        let wanted = record.session.wanted.clone();
        let session = Box::new(Session { id: reply.session, wanted, granted });
        let requested_at = reply.expires_at - REPLAY_TTL;
        Ok(Some(InsertOutcome::Replayed { session, requested_at }))
    }

    fn check_daily_quota(&self, record: &SessionRecord, max: u32) -> Result<(), Error> {
        let today = (record.client.clone(), day_of(record));
        let created = self.created.values().filter(|create| **create == today).count();
        if created < usize::try_from(max).unwrap() {
            return Ok(());
        }
        let midnight = Moment::from_unix_s((today.1 + 1) * DAY_S);
        let resets_in = midnight.since(record.requested_at());
        Err(Error::DailyQuotaExceeded { max, resets_in })
    }

    // Returns whether a session was found whose device may be the same.
    fn check_conflicts(
        &self,
        claim: &Claim,
        rules: &ConflictRules,
        now: Moment,
    ) -> Result<bool, Error> {
        let (mut conflicts, mut unknown) = (Vec::new(), Vec::new());
        for other in self.holding(now).filter(|other| other.operator == claim.operator) {
            let theirs = other.claim();
            match decide(rules.mode, (&theirs.keys, &theirs.flow), (&claim.keys, &claim.flow)) {
                ConflictDecision::NoConflict => continue,
                ConflictDecision::Conflict => &mut conflicts,
                ConflictDecision::Unknown => &mut unknown,
            }
            .push((other.session.id, theirs));
        }
        let subject = claim.keys.subject();
        let is_own = |theirs: &Claim| {
            theirs.client == claim.client && (subject.is_none() || subject == theirs.keys.subject())
        };
        let own = |found: &[(SessionId, Claim)]| {
            found.iter().find(|(_, theirs)| is_own(theirs)).map(|(id, _)| *id)
        };
        if !conflicts.is_empty() {
            let own_session = own(&conflicts);
            return Err(Error::Conflict { own_session, device_ambiguous: false });
        }
        if !unknown.is_empty() && rules.unknown == OnUnknown::Refuse {
            return Err(Error::Conflict { own_session: own(&unknown), device_ambiguous: true });
        }
        Ok(!unknown.is_empty())
    }

    fn replace(&mut self, record: SessionRecord, now: Moment) -> Result<Replaced, Error> {
        let id = record.session.id;
        let (stored, before) = self.records.get(&id).ok_or(Error::NotFound)?;
        let restores_hold = before.holds_until.is_none() && record.holds_until().is_some();
        if restores_hold || before.generation + 1 != record.generation() {
            return Err(Error::Superseded);
        }
        if stored.operator_session.is_none()
            && let Some(name) = &record.operator_session
            && self.find_by_operator_session(&record.operator, name).is_some()
        {
            return Err(Error::OperatorSessionInUse);
        }
        let event = event_for_change(before.state, &record, now);
        self.store_reply(&record);
        let outbox = self.enqueue(&record, event, now);
        let usage = self.put_usage(record.usage_of_change(now));
        self.put(record, now);
        Ok(Replaced { outbox, early_event: None, usage })
    }

    fn remove(&mut self, removal: Removal, now: Moment) -> Result<Removed, Error> {
        let Removal { id, generation, transition } = removal;
        let (record, _) = self.records.get(&id).ok_or(Error::NotFound)?;
        if record.generation() != generation {
            return Err(Error::Superseded);
        }
        if record.is_unconfirmed() {
            self.created.remove(&id);
        }
        Ok(self.remove_record(id, transition, now))
    }

    fn remove_record(&mut self, id: SessionId, transition: Transition, now: Moment) -> Removed {
        let (record, _) = self.records.remove(&id).unwrap();
        self.replies.retain(|_, reply| reply.session != id || reply.response.is_some());
        let event = event_for_removal(&record, now);
        let outbox = self.enqueue(&record, event, now);
        Removed { outbox, usage: self.put_usage(record.usage_of_removal(transition, now)) }
    }

    fn put_usage(&mut self, usage: Option<UsageRecord>) -> Option<Box<UsageRecord>> {
        if let Some(usage) = &usage {
            self.last_usage += 1;
            self.usage.insert(self.last_usage, usage.clone());
        }
        usage.map(Box::new)
    }

    // Stores the response of a create for replays. A rejected create may be sent again.
    fn store_reply(&mut self, record: &SessionRecord) {
        let id = record.session.id;
        match record.create_reply() {
            CreateReply::Open => {}
            CreateReply::Rejected => {
                self.replies.retain(|_, reply| reply.session != id || reply.response.is_some());
            }
            CreateReply::Granted(granted) => {
                for reply in self.replies.values_mut().filter(|reply| reply.session == id) {
                    reply.response.get_or_insert_with(|| granted.clone());
                }
            }
        }
    }

    fn enqueue(
        &mut self,
        record: &SessionRecord,
        event: Option<SessionEvent>,
        now: Moment,
    ) -> OutboxChange {
        let queued = event.and_then(|event| QueuedNotification::new(event, record, now));
        let Some(notification) = queued else { return OutboxChange::default() };
        let of_client =
            self.outbox.values().filter(|other| other.client == notification.client).count();
        if of_client >= QUEUED_PER_CLIENT_MAX {
            return OutboxChange { queued: 0, dropped: 1 };
        }
        self.last_number += 1;
        self.outbox.insert(self.last_number, notification);
        OutboxChange { queued: 1, dropped: 0 }
    }

    fn sweep(&mut self, now: Moment, records_max: usize) -> SweepResult {
        self.expire_holds(now);
        self.replies.retain(|_, reply| now < reply.expires_at);
        let summaries = self.records.values().map(|(_, summary)| summary);
        let mut due: Vec<(Moment, SessionId)> = summaries
            .filter(|summary| summary.due <= now)
            .map(|summary| (summary.due, summary.id))
            .collect();
        due.sort_unstable();
        due.truncate(records_max);
        let mut swept = SweepResult { examined: due.len(), ..SweepResult::default() };
        for (_, id) in due {
            let record = self.records[&id].0.clone();
            let change = match record.lifecycle_step(now) {
                LifecycleStep::Remove => {
                    let removed = self.remove_record(id, Transition::Expire, now);
                    Some((removed.outbox, removed.usage))
                }
                LifecycleStep::Action(action) => {
                    self.postpone(id, record.summary(now).due);
                    swept.due.push((record, action));
                    continue;
                }
                LifecycleStep::Transition(next) => {
                    let action = next.immediate_action().map(|action| ((*next).clone(), action));
                    let change = self.replace(*next, now).ok();
                    let change = change.map(|replaced| (replaced.outbox, replaced.usage));
                    swept.due.extend(action.filter(|_| change.is_some()));
                    change
                }
                LifecycleStep::Unchanged => None,
            };
            match change {
                Some((outbox, usage)) => {
                    swept.outbox += outbox;
                    swept.usage.extend(usage.map(|usage| *usage));
                }
                None => self.postpone(id, now + FAILED_TRANSITION_DELAY),
            }
        }
        swept
    }

    fn find_by_operator_session(&self, operator: &OperatorId, name: &str) -> Option<SessionId> {
        let mut records = self.records.values().map(|(record, _)| record);
        let found = records.find(|record| {
            record.operator == *operator && record.operator_session.as_deref() == Some(name)
        });
        found.map(|record| record.session.id)
    }

    fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
    ) -> impl Iterator<Item = &SessionRecord> {
        let held: Vec<&SessionRecord> = self.holding(now).collect();
        held.into_iter().rev().filter(move |record| {
            requester.owns(record)
                && compare_devices(&record.claim().keys, keys) == DeviceComparison::Same
        })
    }

    fn holding(&self, now: Moment) -> impl Iterator<Item = &SessionRecord> {
        let records = self.records.values();
        let held = records.filter(move |(_, summary)| summary.holds_until > Some(now));
        held.map(|(record, _)| record)
    }

    fn expire_holds(&mut self, now: Moment) {
        for (_, summary) in self.records.values_mut() {
            summary.holds_until = summary.holds_until.filter(|until| *until > now);
        }
    }

    fn postpone(&mut self, id: SessionId, due: Moment) {
        self.records.get_mut(&id).unwrap().1.due = due;
    }

    fn put(&mut self, record: SessionRecord, now: Moment) {
        let summary = record.summary(now);
        self.records.insert(summary.id, (record, summary));
    }
}

fn day_of(record: &SessionRecord) -> u64 {
    record.requested_at().unix_s() / DAY_S
}

#[async_trait]
impl Store for LinearStore {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    async fn insert(&self, request: InsertRequest, now: Moment) -> Result<InsertOutcome, Error> {
        self.state().insert(request, now)
    }

    async fn replace(&self, record: SessionRecord, now: Moment) -> Result<Replaced, Error> {
        let mut state = self.state();
        let id = record.session.id;
        let replaced = state.replace(record, now)?;
        Ok(Replaced { early_event: state.early_events.remove(&id), ..replaced })
    }

    async fn record_early_event(
        &self,
        id: SessionId,
        operator_session: String,
    ) -> Result<bool, Error> {
        let mut state = self.state();
        let pending = state
            .records
            .get(&id)
            .is_some_and(|(record, _)| record.state() == SessionState::Pending);
        if pending {
            state.early_events.insert(id, operator_session);
        }
        Ok(pending)
    }

    async fn remove(&self, removal: Removal, now: Moment) -> Result<Removed, Error> {
        self.state().remove(removal, now)
    }

    async fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        Ok(self.state().records.get(id).map(|(record, _)| record.clone()))
    }

    async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        Ok(self.state().find_by_operator_session(operator, operator_session))
    }

    async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let records = state.records.range((from, Bound::Unbounded)).take(records_max);
        Ok(records.map(|(_, (record, _))| record.clone()).collect())
    }

    async fn find_by_device(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let state = self.state();
        Ok(state.find_by_device(requester, keys, now).take(records_max).cloned().collect())
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<SweepResult, Error> {
        Ok(self.state().sweep(now, records_max))
    }

    async fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state();
        let queued = state.outbox.range((from, Bound::Unbounded)).take(entries_max);
        Ok(queued.map(|(number, notification)| notification.outbox_entry(*number)).collect())
    }

    async fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        Ok(self.state().outbox.get(&number).cloned())
    }

    async fn acknowledge(&self, numbers: Vec<u64>) -> Result<(), Error> {
        let mut state = self.state();
        for number in numbers {
            state.outbox.remove(&number);
        }
        Ok(())
    }

    async fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        let state = self.state();
        let rows = state.usage.range(after.map_or(0, |after| after.0 + 1)..).take(records_max);
        let read = rows.map(|(number, usage)| (UsageCursor(*number), usage.clone())).collect();
        Ok(UsagePage::select(read, period, records_max))
    }

    async fn prune_usage(&self, before: Moment, records_max: usize) -> Result<usize, Error> {
        let mut state = self.state();
        let old = state.usage.iter().filter(|(_, usage)| usage.recorded_at < before);
        let old: Vec<u64> = old.take(records_max).map(|(number, _)| *number).collect();
        state.usage.retain(|number, _| !old.contains(number));
        Ok(old.len())
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        let state = self.state();
        let count = |operator: &OperatorId, wanted: SessionState| {
            let records = state.records.values();
            let counted = records
                .filter(|(record, _)| record.operator == *operator && record.state() == wanted);
            u64::try_from(counted.count()).unwrap()
        };
        let operators = state.operators.iter();
        let pairs = operators.flat_map(|operator| SessionState::ALL.map(|state| (operator, state)));
        Ok(pairs
            .map(|(operator, state)| (operator.clone(), state, count(operator, state)))
            .collect())
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn close(&self) {}
}

fn open(clock: &Clock) -> Arc<dyn Store> {
    let metrics = Metrics::new().unwrap();
    StoreConfig::Linear.open(OpenMode::FailIfLocked, clock.clone(), metrics).unwrap().0
}

#[test]
fn linear_store_satisfies_the_contract() {
    assert_store_contract(&StoreKind { make: &open, restart: None, shared: false, histories: 128 });
}
