//! Who holds which flow for which period: the one room that remembers.
//!
//! ```text
//!            reserve                       confirm
//!   (free) ───────────▶ PENDING ─────────────────────────▶ REQUESTED ◀─ observe ─▶ AVAILABLE ⟲ extend
//!                        │  │ │                                │                       │
//!                release │  │ │ confirm                        │    observe, confirm   │
//!   (free) ◀─────────────┘  │ └────────────▶ TERMINATED ◀──────┴───────────────────────┤
//!                           │                    │                                     │
//!            leave_in_doubt,│                    │ begin_delete,                       │ expiry
//!            call deadline  │                    │ 360 s         begin_delete          │ + skew
//!                  + grace  ▼      found         ▼                                     ▼
//!   (free) ◀──────────── IN_DOUBT ─────────▶ RELEASING ◀────────────────────────── EXPIRED
//!      ▲   absent, forget,                       │             begin_delete            │
//!      │   longest life                          │                                     │
//!      └─────────────────────────────────────────┴─────────────────────────────────────┘
//!                          end (the operator has it no more), or its time
//! ```
//!
//! | state | holds its flow | leaves it by itself |
//! |---|---|---|
//! | `PENDING`: the operator is being asked | yes | 30 s after the call's deadline, to `IN_DOUBT`; at once, if its process is gone |
//! | `IN_DOUBT`: nobody knows what it said | yes | when recovery finds out, at the latest after the longest life that a session made by that call can have: deadline, duration, 360 s and skew |
//! | `REQUESTED`: its network has not answered yet | yes | as `AVAILABLE`; if its expiry is not known, after its longest life, to `RELEASING` |
//! | `AVAILABLE` | yes | at its expiry and skew, to `EXPIRED` |
//! | `TERMINATED`: ended by its network, known to the operator still | yes | 360 s after it was heard of, to `RELEASING` |
//! | `RELEASING`: being deleted at the operator, again and again | yes, unless it was `EXPIRED` | 360 s after its expiry and skew |
//! | `EXPIRED`: readable still | no | after 360 s |
//!
//! `REQUESTED` and `AVAILABLE` too go to `RELEASING` by `begin_delete`, and `PENDING` by `abandon`.
//! The table of all ways is `protocol.rs`, and a record can be changed by no other. A hold once given
//! up never comes back; whoever wants the flow then must reserve it. Every change is a
//! compare-and-set on the record's generation, so of two that would act on one record, one is told
//! [`Error::Lost`]. What is uncertain is held: holds are a superset of what the operators hold.
//!
//! A [`Reservation`] that is dropped frees nothing. It was written down before its operator was
//! asked, and stays `PENDING` until [`Ledger::sweep`] puts it in doubt.
//!
//! What is written down outlives the process: see `embedded.rs`. Times are the ledger's own: `hand.rs`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    clock::Clock,
    limit::Admission,
    metrics::Metrics,
    qod::{
        ClientId, CreateSession, Device, Granted, Moment, OperatorId, RETRIEVED_MAX, SessionId,
        Subject,
    },
};

mod book;
mod claim;
mod day;
mod embedded;
mod error;
mod hand;
mod index;
mod memory;
mod notice;
mod outbox;
mod protocol;
mod record;
mod repeat;
mod reservation;
mod rule;
mod store;

use self::{
    claim::{Claim, DeviceKeys, KeyHasher},
    embedded::Embedded,
    hand::Hand,
    memory::Memory,
    outbox::Outgoing,
    protocol::Move,
    store::{Inserted, Store, Wish},
};
pub use self::{
    embedded::{CannotOpen, Opening, Peek, Settings, Sync},
    error::Error,
    notice::{Notice, Queued},
    protocol::State,
    record::{Record, Todo},
    reservation::{Reservation, Reserved},
    rule::{ConflictMode, OnUnknown, Rules},
};

// How many records one hold of the store's lock may look at, so that a sweep delays nobody.
const SWEPT_AT_ONCE_MAX: usize = 256;
// How many records one sweep hands out; the rest are due at the next one.
const DUE_A_SWEEP_MAX: usize = 1024;
// How often a delete reads the record again when somebody changed it meanwhile.
const DELETE_TRIES_MAX: usize = 4;

/// The book of all sessions. Clones are the same book.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Arc<dyn Store>,
    hasher: Arc<KeyHasher>,
    outbox: Arc<Outgoing>,
    clock: Clock,
}

/// What is to be reserved.
#[derive(Clone, Debug)]
pub struct Booking {
    /// Whom the session is asked of.
    pub operator: OperatorId,
    /// The dialect that the client speaks.
    pub dialect: Arc<str>,
    /// What was asked, in the client's words: for echo.
    pub wanted: CreateSession,
    /// What the operator is asked, as fitted to it: whose device and flow are held.
    pub claimed: CreateSession,
    /// What a conflict is at this operator.
    pub rules: Rules,
    /// How many sessions the client may hold at once.
    pub sessions_max: u32,
    /// How many it may begin in one day of UTC.
    pub creates_per_day: Option<u32>,
    /// How long the call to the operator may take.
    pub call_deadline: Duration,
    /// How often the operator is asked how the session stands, if it does not tell by itself.
    pub asked_every: Option<Duration>,
    /// By what it is known if it is sent again.
    pub again: Option<Again>,
}

/// What makes a create the same one when it is sent again.
#[derive(Clone, Debug)]
pub struct Again {
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// All that was asked, byte by byte.
    pub asked: Bytes,
}

// Who asks. Tests make one, where only `limit` makes an `Admission`.
#[derive(Clone, Debug)]
struct Party {
    client: ClientId,
    subject: Option<Subject>,
}

impl Ledger {
    /// A ledger that forgets all when the process ends.
    pub fn in_memory(clock: Clock) -> Self {
        let store = Memory::new(Hand::new(clock.clone()));
        Self::over(Arc::new(store), KeyHasher::random(), clock)
    }

    /// The ledger of a directory, which it makes if there is none. What its last process left
    /// undone is taken up: what was being asked then is in doubt now.
    ///
    /// # Errors
    /// If the directory is in use, or is not such a one, or cannot be read. Nothing is changed then.
    pub fn open(
        settings: &Settings,
        opening: Opening,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, CannotOpen> {
        let (store, hasher) = Embedded::open(settings, opening, clock.clone(), metrics)?;
        Ok(Self::over(Arc::new(store), hasher, clock))
    }

    fn over(store: Arc<dyn Store>, hasher: KeyHasher, clock: Clock) -> Self {
        Self { store, hasher: Arc::new(hasher), outbox: Arc::default(), clock }
    }

    /// Holds a flow, or says who has it. When this returns, the hold is written down.
    ///
    /// Checked in this order, with the insertion, as one step: whether it was sent before
    /// ([`Error::OtherRequest`], [`Error::Unanswered`]), the client's quotas
    /// ([`Error::DayQuotaExceeded`], [`Error::QuotaExceeded`]), the width of its device ([`Error::TooBroad`]), the conflict
    /// ([`Error::Taken`]).
    pub async fn reserve(
        &self,
        admission: &Admission,
        booking: Booking,
    ) -> Result<Reserved, Error> {
        self.reserve_for(Party::of(admission), booking).await
    }

    async fn reserve_for(&self, party: Party, booking: Booking) -> Result<Reserved, Error> {
        let begun = self.clock.tick();
        let now = self.store.now();
        let claim = Claim::new(&self.hasher, &party, &booking);
        let repeat = booking.again.as_ref().map(|Again { key, asked }| {
            self.hasher.repeat(&party.client, key, &[booking.dialect.as_bytes(), asked])
        });
        let key = repeat.as_ref().map(|repeat| repeat.key);
        let mut record = Record::reserved(&party, &booking, claim, key, now);
        let Booking { claimed, rules, sessions_max, creates_per_day, .. } = booking;
        let wish = Wish { record: record.clone(), rules, sessions_max, creates_per_day, repeat };
        Ok(match self.store.insert(wish, now).await? {
            Inserted::New { same_device_unknown, waited } => {
                record.delay(waited);
                let begun = begun + waited;
                let hasher = Arc::clone(&self.hasher);
                Reserved::New(Reservation::new(record, claimed, hasher, begun, same_device_unknown))
            }
            Inserted::Repeated { session, requested_at } => {
                Reserved::Repeated { session, requested_at }
            }
        })
    }

    /// Turns a reservation into the session that its operator granted, known there as
    /// `operator_session`. [`Error::Lost`]: the reservation is somebody else's now, so the session
    /// must be deleted at the operator; its flow stays held until the longest life is over.
    /// [`Error::NameTaken`]: it must not be, for that is another session's name.
    pub async fn confirm(
        &self,
        reservation: Reservation,
        operator_session: String,
        granted: Granted,
    ) -> Result<Record, Error> {
        let now = self.store.now();
        self.write(reservation.into_record().confirmed(operator_session, granted, now)?, now).await
    }

    /// Frees the flow of a session that its operator certainly did not make.
    pub async fn release(&self, reservation: Reservation) -> Result<(), Error> {
        let record = reservation.into_record();
        record.frees(Move::Release)?;
        match self.forget_record(&record).await {
            // The sweep has put it in doubt meanwhile; there is none.
            Err(Error::Lost) => {
                let record = self.read(&record.session.id).await?;
                self.absent(&record).await
            }
            done => done,
        }
    }

    /// Keeps the flow of a session that its operator may have made, until it is known or nothing
    /// can be left of it.
    pub async fn leave_in_doubt(&self, reservation: Reservation) -> Result<Record, Error> {
        let now = self.store.now();
        let doubted = reservation.into_record().doubted()?;
        match self.write(doubted.clone(), now).await {
            // The sweep was first.
            Err(Error::Lost) => self.read(&doubted.session.id).await,
            done => done,
        }
    }

    /// Keeps the flow of a session that its operator has made as `operator_session`, and that must
    /// go: it is to be deleted there.
    pub async fn abandon(
        &self,
        reservation: Reservation,
        operator_session: String,
    ) -> Result<Record, Error> {
        self.found(&reservation.into_record(), operator_session).await
    }

    /// Writes down that a session in doubt was found at its operator: by an answer that came late,
    /// by its list of sessions, or by whatever else names it. It must go, for its client was told
    /// that there is none.
    pub async fn found(&self, record: &Record, operator_session: String) -> Result<Record, Error> {
        let now = self.store.now();
        self.write(record.found(operator_session, now)?, now).await
    }

    /// Frees the flow of a session in doubt that its operator certainly does not have.
    pub async fn absent(&self, record: &Record) -> Result<(), Error> {
        record.frees(Move::Absent)?;
        self.forget_record(record).await
    }

    /// Frees the flow of a session in doubt, because a person says so.
    pub async fn forget(&self, id: &SessionId) -> Result<Record, Error> {
        let record = self.read(id).await?;
        record.frees(Move::Forget)?;
        self.forget_record(&record).await?;
        Ok(record)
    }

    /// A session of the client's, whatever its state; if the token is three-legged, of the same
    /// user's. One whose time is up is told as `UNAVAILABLE`, `DURATION_EXPIRED` for 360 s more.
    pub async fn find(&self, admission: &Admission, id: &SessionId) -> Result<Record, Error> {
        self.find_for(&Party::of(admission), id).await
    }

    async fn find_for(&self, party: &Party, id: &SessionId) -> Result<Record, Error> {
        let record = self.read(id).await?;
        if party.owns(&record) { Ok(record) } else { Err(Error::NotYours) }
    }

    /// Writes down that a session is being deleted at its operator; only then may it be. From then
    /// on [`Self::sweep`] tells when to try again, until [`Self::end`]. A session that is being
    /// deleted already is told as it is.
    pub async fn begin_delete(&self, record: &Record) -> Result<Record, Error> {
        let mut current = record.clone();
        for _ in 0..DELETE_TRIES_MAX {
            let now = self.store.now();
            let next = current.released(now)?;
            if next.generation() == current.generation() {
                return Ok(next);
            }
            match self.write(next, now).await {
                // A delete is wanted whatever else happened to the session.
                Err(Error::Lost) => current = self.read(&record.session.id).await?,
                done => return done,
            }
        }
        Err(Error::Lost)
    }

    /// Forgets a session that its operator has no more (it said 204 or 404), and frees its flow.
    /// A session forgotten before is well forgotten.
    pub async fn end(&self, record: &Record) -> Result<(), Error> {
        record.frees(Move::End)?;
        match self.forget_record(record).await {
            Err(Error::NotFound) => Ok(()),
            done => done,
        }
    }

    /// Raises the hold before the operator is asked for more time. One extension at a time: a
    /// second one is [`Error::Lost`] until the first is over, or its call's deadline is.
    /// Afterwards: [`Self::extend`] if granted, [`Self::cancel_extend`] if refused; if nobody knows,
    /// nothing: the hold stays raised until [`Self::observe`].
    pub async fn begin_extend(&self, record: &Record, additional_s: u32) -> Result<Record, Error> {
        let now = self.store.now();
        self.write(record.extending(additional_s, now)?, now).await
    }

    /// Writes down what an extension came to.
    pub async fn extend(&self, record: &Record, granted: Granted) -> Result<Record, Error> {
        let now = self.store.now();
        self.write(record.extended(granted, now)?, now).await
    }

    /// Lowers the hold again when the operator refused an extension.
    pub async fn cancel_extend(&self, record: &Record) -> Result<Record, Error> {
        self.extend(record, record.session.granted.clone()).await
    }

    /// Writes down what the operator tells of a session: its status and times. Gives the record as
    /// it stands then, which may be another's news if that came first. What an operator tells while
    /// an extension is under way may be from before it, and is shown, but not written down; so what
    /// counts is when it was asked, by [`Self::now`].
    pub async fn observe(
        &self,
        record: &Record,
        granted: Granted,
        asked_at: Moment,
    ) -> Result<Record, Error> {
        let now = self.store.now();
        let next = record.observed(granted, asked_at, now)?;
        if next.generation() == record.generation() {
            return Ok(next);
        }
        match self.write(next, now).await {
            Err(Error::Lost) => self.read(&record.session.id).await,
            done => done,
        }
    }

    /// Moves on all records whose time has come, and gives those of which something is to be done
    /// (again) at their operator, at most 1024. To be called every second or so.
    pub async fn sweep(&self) -> Result<Vec<(Record, Todo)>, Error> {
        let mut due = Vec::new();
        loop {
            let swept = self.store.sweep(self.store.now(), SWEPT_AT_ONCE_MAX).await?;
            due.extend(swept.due);
            self.note(swept.told);
            if swept.records < SWEPT_AT_ONCE_MAX || due.len() >= DUE_A_SWEEP_MAX {
                return Ok(due);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The ledger's own time.
    pub fn now(&self) -> Moment {
        self.store.now()
    }

    /// Which session the operator has under this name of its own.
    pub async fn named_by(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        self.store.named_by(operator, operator_session).await
    }

    /// The records after this one, oldest first, whosesoever they are: for whoever runs the gateway.
    pub async fn page(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let now = self.store.now();
        let records = self.store.page(after, records_max).await?;
        Ok(records.iter().filter_map(|record| record.seen(now)).collect())
    }

    /// A record, whosesoever it is: for whoever runs the gateway.
    pub async fn look(&self, id: &SessionId) -> Result<Record, Error> {
        self.read(id).await
    }

    /// How many records there are of each operator in each state; none is left out, once there
    /// has been a record of the operator.
    pub async fn counts(&self) -> Result<Vec<(OperatorId, State, u64)>, Error> {
        self.store.counts().await
    }

    /// Can it write? Why not, otherwise.
    pub fn health(&self) -> Result<(), String> {
        self.store.health()
    }

    /// Writes what is to be written, and lets go of what it has: nothing is written any more then.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// The client's sessions of a device, at any operator, the newest first, at most 100; if the
    /// token is three-legged, those of the same user. They are those that hold their flow and whose
    /// device, as its operator was told of it, is surely this one: a session that holds nothing any
    /// more is found by its id only.
    pub async fn of_device(
        &self,
        admission: &Admission,
        device: &Device,
    ) -> Result<Vec<Record>, Error> {
        self.of_device_for(&Party::of(admission), device).await
    }

    /// The client's sessions of the user that its token speaks for, as [`Self::of_device`] has them.
    pub async fn of_user(&self, admission: &Admission) -> Result<Vec<Record>, Error> {
        let party = Party::of(admission);
        let keys = DeviceKeys::new(&self.hasher, None, party.subject.as_ref());
        self.of_keys(&party, &keys).await
    }

    async fn of_device_for(&self, party: &Party, device: &Device) -> Result<Vec<Record>, Error> {
        self.of_keys(party, &DeviceKeys::new(&self.hasher, Some(device), None)).await
    }

    async fn of_keys(&self, party: &Party, keys: &DeviceKeys) -> Result<Vec<Record>, Error> {
        let now = self.store.now();
        let records = self.store.of_device(party, keys, now, RETRIEVED_MAX).await?;
        Ok(records.iter().filter_map(|record| record.seen(now)).collect())
    }

    async fn read(&self, id: &SessionId) -> Result<Record, Error> {
        let record = self.store.find(id).await?.ok_or(Error::NotFound)?;
        record.seen(self.store.now()).ok_or(Error::NotFound)
    }

    async fn write(&self, record: Record, now: Moment) -> Result<Record, Error> {
        self.note(self.store.replace(record.clone(), now).await?);
        Ok(record)
    }

    async fn forget_record(&self, record: &Record) -> Result<(), Error> {
        let now = self.store.now();
        self.note(self.store.remove(record.session.id, record.generation(), now).await?);
        Ok(())
    }
}

impl Party {
    fn of(admission: &Admission) -> Self {
        let client = admission.grant().client();
        Self { client: client.id().clone(), subject: client.subject().cloned() }
    }

    fn owns(&self, record: &Record) -> bool {
        self.client == record.client && (self.subject.is_none() || self.subject == record.subject)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
