//! Stores all sessions and reserves flows. All persistent state of the gateway is in this module.
//!
//! ```text
//!            reserve                       confirm
//!   (free) ───────────▶ PENDING ─────────────────────────▶ REQUESTED ◀─ observe ─▶ AVAILABLE ⟲ extend
//!                        │  │ │                                │                       │
//!                release │  │ │ confirm                        │    observe, confirm   │
//!   (free) ◀─────────────┘  │ └────────────▶ TERMINATED ◀──────┴───────────────────────┤
//!                           │                    │                                     │
//!             mark_in_doubt,│                    │ begin_delete,                       │ expiry
//!            call deadline  │                    │ 360 s         begin_delete          │ + skew
//!                  + grace  ▼    mark_found      ▼                                     ▼
//!   (free) ◀──────────── IN_DOUBT ─────────▶ RELEASING ◀────────────────────────── EXPIRED
//!      ▲   mark_absent, forget,                  │             begin_delete            │
//!      │   maximum lifetime                      │                                     │
//!      └─────────────────────────────────────────┴─────────────────────────────────────┘
//!             finish_delete (the operator no longer has the session), or timeout
//! ```
//!
//! | state | holds its flow | automatic transition |
//! |---|---|---|
//! | `PENDING`: the create request is in progress | yes | to `IN_DOUBT`, 30 s after the deadline of the call, or at start if the process ended |
//! | `IN_DOUBT`: the outcome of the create is unknown | yes | when recovery learns the outcome; at the latest after the maximum lifetime of a session created by that call: deadline, duration, 360 s and clock skew |
//! | `REQUESTED`: the network has not answered yet | yes | as `AVAILABLE`; if the expiry is unknown, to `RELEASING` after the maximum lifetime |
//! | `AVAILABLE` | yes | to `EXPIRED`, at the expiry plus clock skew |
//! | `TERMINATED`: ended by the network, still present at the operator | yes | to `RELEASING`, 360 s after the report of the end |
//! | `RELEASING`: being deleted at the operator; the delete is retried | until the session would have ended without the delete; not if it was `EXPIRED` | removed 360 s after the end of the hold |
//! | `EXPIRED`: expired, or no longer present at the operator; still readable | no | removed after 360 s |
//!
//! `begin_delete` also moves `REQUESTED` and `AVAILABLE` to `RELEASING`; `abandon` moves `PENDING`.
//! `observe_absent` moves `REQUESTED`, `AVAILABLE` and `TERMINATED` to `EXPIRED`.
//! `state_machine.rs` contains all transitions; a record changes only by one of them. A released hold
//! never returns; the flow must be reserved again. Every change is a compare-and-set on the record's
//! generation: of two concurrent changes, one fails with [`Error::Superseded`]. Uncertain sessions
//! hold their flow: holds are a superset of the sessions at the operators.
//!
//! Dropping a [`Reservation`] does not release its flow. The reservation is durable before the
//! operator is called, and stays `PENDING` until [`Ledger::sweep`] marks it in doubt.
//!
//! `store_config.rs` lists the kinds of stores. All times are those of the ledger clock: `ledger_clock.rs`.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    limit::Admission,
    metrics::Metrics,
    qod::{
        ClientId, CreateRequest, GrantedSession, KeyedHash, Moment, OperatorId, SessionId,
        TokenSubject,
    },
    trace::SpanReference,
};

mod engine;
mod claim;
mod daily_quota;
mod durable;
mod embedded;
mod error;
mod extension;
mod keys;
mod ledger_clock;
mod index;
mod memory;
mod notification;
mod offline_reader;
mod outbox;
mod postgres;
mod queries;
mod recovery;
mod rows;
mod seal;
mod sealed_rows;
mod state_machine;
mod record;
mod idempotency;
mod replicas;
mod reports;
mod reservation;
mod conflict;
mod copy;
mod store;
mod store_config;
mod usage;
mod writer;

pub use self::copy::{CopyReport, copy};
pub use self::postgres::PostgresSettings;
use self::{
    claim::{Claim, KeyHasher},
    outbox::OutboxSignal,
    state_machine::Transition,
    store::{InsertOutcome, InsertRequest, Removal, Store},
};
pub use self::{
    conflict::{ConflictMode, ConflictRules, OnUnknown},
    embedded::EmbeddedSettings,
    error::{Error, OpenError},
    idempotency::IdempotencyRequest,
    notification::{OutboxEntry, OutboxSelector, QueuedNotification},
    offline_reader::OfflineReader,
    record::{OperatorAction, SessionRecord},
    reservation::{Reservation, ReserveOutcome},
    rows::SyncMode,
    state_machine::SessionState,
    store::{Replica, TakenNotifications},
    store_config::{OpenMode, StoreConfig},
    usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
};

// The maximum number of records that a sweep examines in one critical section of the store, so that
// it does not delay requests.
const SWEEP_BATCH_MAX: usize = 256;
// The maximum number of records that one sweep returns; the others are due at the next sweep.
const DUE_PER_SWEEP_MAX: usize = 1024;
// How often a delete reads the record again after a concurrent change.
const DELETE_ATTEMPTS_MAX: usize = 4;

/// The store of all sessions. Clones share one state.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Arc<dyn Store>,
    hasher: Arc<KeyHasher>,
    outbox: Arc<OutboxSignal>,
    clock: Clock,
    // `None` in tests.
    metrics: Option<Metrics>,
}

/// A request to reserve a flow.
#[derive(Clone, Debug)]
pub struct ReservationRequest {
    /// The operator that receives the create request.
    pub operator: OperatorId,
    /// The dialect of the client's request.
    pub dialect: Arc<str>,
    /// The create request as the client sent it; responses echo it.
    pub client_request: Arc<CreateRequest>,
    /// The create request as translated for the operator. Its device and flow are reserved.
    pub operator_request: CreateRequest,
    /// The conflict rules of this operator.
    pub rules: ConflictRules,
    /// The maximum number of concurrent sessions of the client.
    pub sessions_max: u32,
    /// The maximum number of creates of the client in one UTC day.
    pub creates_per_day: Option<u32>,
    /// The timeout of the call to the operator.
    pub call_timeout: Duration,
    /// The interval at which the operator is polled, if it sends no notifications.
    pub poll_interval: Option<Duration>,
    /// Identifies an idempotent replay of this request.
    pub idempotency: Option<IdempotencyRequest>,
    /// What the usage record of the session contains; `None` if it gets none.
    pub usage: Option<UsageRequest>,
    /// The span of the request, for the link of notifications.
    pub trace: Option<SpanReference>,
}

/// The part of a session's usage record that only its create request knows.
#[derive(Clone, Debug)]
pub struct UsageRequest {
    /// The `x-correlator` of the request.
    pub correlator: Box<str>,
    /// The dialect of the operator.
    pub operator_dialect: Arc<str>,
    /// A keyed hash of the device.
    pub device: u64,
}

// The client and the user of a request. Tests create it directly, because only `limit` creates an
// `Admission`.
#[derive(Clone, Debug)]
struct Requester {
    client: ClientId,
    subject: Option<TokenSubject>,
}

impl Ledger {
    /// Opens the ledger of a store, and creates it if it does not exist. Sessions that were `PENDING`
    /// when the last process ended are in doubt.
    ///
    /// # Errors
    /// If the ledger is in use, is not a ledger, or cannot be read. Nothing is changed then.
    pub fn open(
        config: &StoreConfig,
        opening: OpenMode,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let (store, hasher) = config.open(opening, clock.clone(), metrics.clone())?;
        Ok(Self { metrics: Some(metrics), ..Self::with_store(store, hasher, clock) })
    }

    fn with_store(store: Arc<dyn Store>, hasher: KeyHasher, clock: Clock) -> Self {
        Self { store, hasher: Arc::new(hasher), outbox: Arc::default(), clock, metrics: None }
    }

    /// Reserves a flow. The reservation is durable when this returns.
    ///
    /// The checks and the insertion are one atomic step. The checks are, in this order: idempotent
    /// replay ([`Error::IdempotencyKeyReused`], [`Error::RequestInProgress`]), the client's quotas
    /// ([`Error::DailyQuotaExceeded`], [`Error::QuotaExceeded`]), the prefix length of the device
    /// ([`Error::DeviceTooBroad`]), the number of its sessions ([`Error::DeviceSessionsExceeded`]),
    /// conflicts ([`Error::Conflict`]).
    pub async fn reserve(
        &self,
        admission: &Admission,
        request: ReservationRequest,
    ) -> Result<ReserveOutcome, Error> {
        self.reserve_for(Requester::from_admission(admission), request).await
    }

    async fn reserve_for(
        &self,
        requester: Requester,
        request: ReservationRequest,
    ) -> Result<ReserveOutcome, Error> {
        let started = self.clock.tick();
        let now = self.store.now();
        let claim = Claim::new(&self.hasher, &requester, &request);
        let fingerprint = request.idempotency.as_ref().map(|IdempotencyRequest { key, body }| {
            self.hasher.request_fingerprint(
                &requester.client,
                key,
                &[request.dialect.as_bytes(), body],
            )
        });
        let key = fingerprint.as_ref().map(|fingerprint| fingerprint.key);
        let record = SessionRecord::new_pending(&requester, &request, claim, key, now);
        let ReservationRequest { operator_request, rules, sessions_max, creates_per_day, .. } =
            request;
        let insert = InsertRequest {
            record: Box::new(record),
            started,
            rules,
            sessions_max,
            creates_per_day,
            fingerprint,
        };
        Ok(match self.store.insert(insert, now).await? {
            InsertOutcome::New(inserted) => {
                let hasher = Arc::clone(&self.hasher);
                ReserveOutcome::New(Reservation::new(inserted, operator_request, hasher))
            }
            InsertOutcome::Replayed { session, requested_at } => {
                ReserveOutcome::Replayed { session, requested_at }
            }
        })
    }

    /// Turns a reservation into the session that its operator granted with the id
    /// `operator_session`.
    ///
    /// # Errors
    /// [`Error::Superseded`]: the sweep marked the reservation in doubt; the session must be deleted
    /// at the operator, and its flow stays reserved until the end of the maximum lifetime.
    /// [`Error::OperatorSessionInUse`]: the id is that of another session; the session must not be
    /// deleted at the operator.
    pub async fn confirm(
        &self,
        reservation: Reservation,
        operator_session: String,
        granted: GrantedSession,
    ) -> Result<SessionRecord, Error> {
        let (id, now) = (reservation.id(), self.store.now());
        let confirmed = reservation.into_record().confirmed(operator_session, granted, now)?;
        let written = self.write(confirmed, now).await;
        self.keep_in_doubt_if_in_use(&id, written).await
    }

    // An id of another session does not prove that the operator has this one.
    async fn keep_in_doubt_if_in_use(
        &self,
        id: &SessionId,
        written: Result<SessionRecord, Error>,
    ) -> Result<SessionRecord, Error> {
        if matches!(written, Err(Error::OperatorSessionInUse))
            && let Ok(in_doubt) = self.read(id).await.and_then(|record| record.in_doubt())
        {
            // If this fails, the sweep does it.
            _ = self.write(in_doubt, self.store.now()).await;
        }
        written
    }

    /// Releases the flow of a session that the operator certainly did not create.
    pub async fn release(&self, reservation: Reservation) -> Result<(), Error> {
        let record = reservation.into_record();
        match self.remove_record(&record, Transition::Release).await {
            // The sweep has marked it in doubt; the session does not exist.
            Err(Error::Superseded) => {
                let record = self.read(&record.session.id).await?;
                self.mark_absent(&record).await
            }
            result => result,
        }
    }

    /// Marks a session as in doubt: the operator may have created it. Its flow stays reserved until
    /// the outcome is known or the maximum lifetime ends.
    pub async fn mark_in_doubt(&self, reservation: Reservation) -> Result<SessionRecord, Error> {
        let now = self.store.now();
        let in_doubt = reservation.into_record().in_doubt()?;
        match self.write(in_doubt.clone(), now).await {
            // The sweep was first.
            Err(Error::Superseded) => self.read(&in_doubt.session.id).await,
            result => result,
        }
    }

    /// Abandons a reservation whose session the operator has created as `operator_session`. The
    /// session must be deleted there; its flow stays reserved until then.
    pub async fn abandon(
        &self,
        reservation: Reservation,
        operator_session: String,
    ) -> Result<SessionRecord, Error> {
        let id = reservation.id();
        let written = self.mark_found(&reservation.into_record(), operator_session).await;
        self.keep_in_doubt_if_in_use(&id, written).await
    }

    /// Records that a session in doubt exists at its operator, as a late response, the operator's
    /// list of sessions or another source shows. The session must be deleted, because the client
    /// received an error.
    pub async fn mark_found(
        &self,
        record: &SessionRecord,
        operator_session: String,
    ) -> Result<SessionRecord, Error> {
        let now = self.store.now();
        self.write(record.found(operator_session, now)?, now).await
    }

    /// Releases the flow of a session in doubt that the operator certainly does not have.
    pub async fn mark_absent(&self, record: &SessionRecord) -> Result<(), Error> {
        self.remove_record(record, Transition::MarkAbsent).await
    }

    /// Releases the flow of a session in doubt on an administrator's command.
    pub async fn forget(&self, id: &SessionId) -> Result<SessionRecord, Error> {
        let record = self.read(id).await?;
        self.remove_record(&record, Transition::Forget).await?;
        Ok(record)
    }

    /// Returns a session of the client, in any state; with a three-legged token, of the same user.
    /// An expired session is returned as `UNAVAILABLE`, `DURATION_EXPIRED` for 360 s.
    pub async fn find(
        &self,
        admission: &Admission,
        id: &SessionId,
    ) -> Result<SessionRecord, Error> {
        self.find_for(&Requester::from_admission(admission), id).await
    }

    async fn find_for(
        &self,
        requester: &Requester,
        id: &SessionId,
    ) -> Result<SessionRecord, Error> {
        let record = self.read(id).await?;
        if requester.owns(&record) { Ok(record) } else { Err(Error::NotOwner) }
    }

    /// Records that a session is being deleted at its operator. This must come before the delete
    /// request. [`Self::sweep`] then returns the record for each retry, until
    /// [`Self::finish_delete`]. A session that is already being deleted is returned unchanged.
    pub async fn begin_delete(&self, record: &SessionRecord) -> Result<SessionRecord, Error> {
        let mut current = record.clone();
        for _ in 0..DELETE_ATTEMPTS_MAX {
            let now = self.store.now();
            let next = current.deleting(now)?;
            if next.generation() == current.generation() {
                return Ok(next);
            }
            match self.write(next, now).await {
                // The session must be deleted whatever the concurrent change was.
                Err(Error::Superseded) => current = self.read(&record.session.id).await?,
                result => return result,
            }
        }
        Err(Error::Superseded)
    }

    /// Removes a session that the operator no longer has (it answered 204 or 404), and releases its
    /// flow. Succeeds if the session was removed before.
    pub async fn finish_delete(&self, record: &SessionRecord) -> Result<(), Error> {
        match self.remove_record(record, Transition::FinishDelete).await {
            Err(Error::NotFound) => Ok(()),
            result => result,
        }
    }

    /// Applies all transitions that are due, and returns the records that need a call to their
    /// operator, first or repeated, at most 1024. Call it about once a second.
    pub async fn sweep(&self) -> Result<Vec<(SessionRecord, OperatorAction)>, Error> {
        let mut due = Vec::new();
        loop {
            let swept = self.store.sweep(self.store.now(), SWEEP_BATCH_MAX).await?;
            due.extend(swept.due);
            self.count_usage(&swept.usage);
            self.record_outbox_change(swept.outbox);
            if swept.examined < SWEEP_BATCH_MAX || due.len() >= DUE_PER_SWEEP_MAX {
                return Ok(due);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The time of the ledger clock.
    pub fn now(&self) -> Moment {
        self.store.now()
    }

    /// Reports the version of the policies that this process applies to other replicas.
    pub fn announce_policy(&self, version: &str) {
        self.store.announce_policy(version);
    }

    /// A keyed hash for a purpose outside of the ledger. It is the same at all processes that use this
    /// store, and after a restart.
    pub fn keyed_hash(&self, purpose: &'static str) -> KeyedHash {
        self.hasher.derived(purpose)
    }

    /// Whether the ledger is being taken over from another process. Changes wait until that is complete.
    pub fn is_opening(&self) -> bool {
        self.store.is_opening()
    }

    /// Checks that the store is writable. The error is the reason.
    pub fn health(&self) -> Result<(), String> {
        self.store.health()
    }

    /// Writes all outstanding changes and closes the store. Later writes fail.
    pub async fn close(&self) {
        self.store.close().await;
    }

    async fn read(&self, id: &SessionId) -> Result<SessionRecord, Error> {
        let record = self.store.find(id).await?.ok_or(Error::NotFound)?;
        record.as_of(self.store.now()).ok_or(Error::NotFound)
    }

    async fn write(&self, record: SessionRecord, now: Moment) -> Result<SessionRecord, Error> {
        let replaced = self.store.replace(record.clone(), now).await?;
        self.record_outbox_change(replaced.outbox);
        self.count_usage(replaced.usage.as_deref());
        let mut written = record;
        written.early_event = replaced.early_event;
        Ok(written)
    }

    async fn remove_record(
        &self,
        record: &SessionRecord,
        transition: Transition,
    ) -> Result<(), Error> {
        record.ensure_removes(transition)?;
        let (id, generation) = (record.session.id, record.generation());
        let removal = Removal { id, generation, transition };
        let removed = self.store.remove(removal, self.store.now()).await?;
        self.record_outbox_change(removed.outbox);
        self.count_usage(removed.usage.as_deref());
        Ok(())
    }
}

impl Requester {
    fn from_admission(admission: &Admission) -> Self {
        let client = admission.grant().client();
        Self { client: client.id().clone(), subject: client.subject().cloned() }
    }

    fn owns(&self, record: &SessionRecord) -> bool {
        self.client == record.client && (self.subject.is_none() || self.subject == record.subject)
    }
}

#[cfg(test)]
pub(crate) mod tests;
