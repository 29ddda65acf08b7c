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
//!                  + grace  ▼                    ▼                                     ▼
//!   (free) ◀──────────── IN_DOUBT            RELEASING ◀────────────────────────── EXPIRED
//!      ▲     longest life                        │             begin_delete            │
//!      └─────────────────────────────────────────┴─────────────────────────────────────┘
//!                          end (the operator has it no more), or its time
//! ```
//!
//! | state | holds its flow | leaves it by itself |
//! |---|---|---|
//! | `PENDING`: the operator is being asked | yes | 30 s after the call's deadline, to `IN_DOUBT` |
//! | `IN_DOUBT`: nobody knows what it said | yes | after the longest life that a session made by that call can have: deadline, duration, 360 s and skew |
//! | `REQUESTED`: its network has not answered yet | yes | as `AVAILABLE`; if its expiry is not known, after its longest life, to `RELEASING` |
//! | `AVAILABLE` | yes | at its expiry and skew, to `EXPIRED` |
//! | `TERMINATED`: ended by its network, known to the operator still | yes | 360 s after it was heard of, to `RELEASING` |
//! | `RELEASING`: being deleted at the operator, again and again | yes, unless it was `EXPIRED` | 360 s after its expiry and skew |
//! | `EXPIRED`: readable still | no | after 360 s |
//!
//! `REQUESTED` and `AVAILABLE` too go to `RELEASING` by `begin_delete`. A hold once given up never
//! comes back; whoever wants the flow then must reserve it. Every change is a compare-and-set on the
//! record's generation, so of two that would act on one record, one is told [`Error::Lost`].
//! What is uncertain is held: holds are a superset of what the operators hold.
//!
//! A [`Reservation`] that is dropped frees nothing. It was written down before its operator was
//! asked, and stays `PENDING` until [`Ledger::sweep`] puts it in doubt.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    limit::Admission,
    qod::{
        ClientId, CreateSession, Device, Granted, Moment, OperatorId, RETRIEVED_MAX, SessionId,
        Subject,
    },
};

mod claim;
mod index;
mod memory;
mod record;
mod reservation;
mod rule;
mod store;

use self::{
    claim::{Claim, DeviceKeys, KeyHasher},
    memory::Memory,
    store::{Store, Wish},
};
pub use self::{
    record::{Record, State},
    reservation::Reservation,
    rule::{ConflictMode, OnUnknown, Rules},
};

// How many records one hold of the store's lock may look at, so that a sweep delays nobody.
const SWEPT_AT_ONCE_MAX: usize = 256;
// How many deletes one sweep hands out; the rest are due at the next one.
const DELETES_A_SWEEP_MAX: usize = 1024;
// How often a delete reads the record again when somebody changed it meanwhile.
const DELETE_TRIES_MAX: usize = 4;

/// The book of all sessions. Clones are the same book.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Arc<dyn Store>,
    hasher: Arc<KeyHasher>,
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
    /// How long the call to the operator may take.
    pub call_deadline: Duration,
}

/// Why the ledger says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody holds the flow.
    #[error("another session holds the flow of this device")]
    Taken {
        /// The session that holds it, only if the asker may see it.
        own: Option<SessionId>,
        /// It is not known whether that is the same device: [`OnUnknown::Refuse`].
        device_unknown: bool,
    },
    /// The client holds as many sessions as it may.
    #[error("the client holds {max} sessions already")]
    QuotaExceeded {
        /// As many as it may.
        max: u32,
    },
    /// No such session, or none any more.
    #[error("no such session")]
    NotFound,
    /// Another client's session, or another user's.
    #[error("the session belongs to somebody else")]
    NotYours,
    /// Somebody else changed the record meanwhile; for a reservation: the sweep took it over.
    #[error("the record was changed by somebody else")]
    Lost,
    /// The session's state does not allow it.
    #[error("the session is not in a state for that")]
    NotActive,
    /// The device is a network wider than the operator's rules allow.
    #[error("the device's network is wider than allowed")]
    TooBroad,
    /// The store does not answer.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
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
        Self::over(Arc::new(Memory::default()), clock)
    }

    fn over(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, hasher: Arc::new(KeyHasher::random()), clock }
    }

    /// Holds a flow, or says who has it. When this returns, the hold is written down.
    ///
    /// Checked in this order, with the insertion, as one step: the client's quota
    /// ([`Error::QuotaExceeded`]), the width of its device ([`Error::TooBroad`]), the conflict
    /// ([`Error::Taken`]).
    pub async fn reserve(
        &self,
        admission: &Admission,
        booking: Booking,
    ) -> Result<Reservation, Error> {
        self.reserve_for(Party::of(admission), booking).await
    }

    async fn reserve_for(&self, party: Party, booking: Booking) -> Result<Reservation, Error> {
        let begun = self.clock.tick();
        let now = self.clock.now();
        let claim = Claim::new(&self.hasher, &party, &booking);
        let Booking { claimed, rules, sessions_max, .. } = &booking;
        let record = Record::reserved(&party, &booking, now);
        let wish =
            Wish { record: record.clone(), claim, rules: *rules, sessions_max: *sessions_max };
        let same_device_unknown = self.store.insert(wish, now).await?;
        Ok(Reservation::new(record, claimed.clone(), begun, same_device_unknown))
    }

    /// Turns a reservation into the session that its operator granted, known there as
    /// `operator_session`. [`Error::Lost`]: the reservation is somebody else's now, so the session
    /// must be deleted at the operator; its flow stays held until the longest life is over.
    pub async fn confirm(
        &self,
        reservation: Reservation,
        operator_session: String,
        granted: Granted,
    ) -> Result<Record, Error> {
        let now = self.clock.now();
        self.write(reservation.into_record().confirmed(operator_session, granted, now)?, now).await
    }

    /// Frees the flow of a session that its operator certainly did not make.
    pub async fn release(&self, reservation: Reservation) -> Result<(), Error> {
        let record = reservation.into_record();
        self.store.remove(record.session.id, record.generation()).await
    }

    /// Keeps the flow of a session that its operator may have made, until nothing can be left of it.
    pub async fn leave_in_doubt(&self, reservation: Reservation) -> Result<(), Error> {
        let now = self.clock.now();
        self.write(reservation.into_record().doubted()?, now).await.map(drop)
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
            let now = self.clock.now();
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
        if record.operator_session.is_none() {
            return Err(Error::NotActive);
        }
        match self.store.remove(record.session.id, record.generation()).await {
            Err(Error::NotFound) => Ok(()),
            done => done,
        }
    }

    /// Raises the hold before the operator is asked for more time. One extension at a time: a
    /// second one is [`Error::Lost`] until the first is over, or its call's deadline is.
    /// Afterwards: [`Self::extend`] if granted, [`Self::cancel_extend`] if refused; if nobody knows,
    /// nothing: the hold stays raised until [`Self::observe`].
    pub async fn begin_extend(&self, record: &Record, additional_s: u32) -> Result<Record, Error> {
        let now = self.clock.now();
        self.write(record.extending(additional_s, now)?, now).await
    }

    /// Writes down what an extension came to.
    pub async fn extend(&self, record: &Record, granted: Granted) -> Result<Record, Error> {
        let now = self.clock.now();
        self.write(record.extended(granted, now)?, now).await
    }

    /// Lowers the hold again when the operator refused an extension.
    pub async fn cancel_extend(&self, record: &Record) -> Result<Record, Error> {
        self.extend(record, record.session.granted.clone()).await
    }

    /// Writes down what the operator tells of a session: its status and times. Gives the record as
    /// it stands then, which may be another's news if that came first. What an operator tells while
    /// an extension is under way may be from before it, and is shown, but not written down.
    pub async fn observe(&self, record: &Record, granted: Granted) -> Result<Record, Error> {
        let now = self.clock.now();
        let next = record.observed(granted, now)?;
        if next.generation() == record.generation() {
            return Ok(next);
        }
        match self.write(next, now).await {
            Err(Error::Lost) => self.read(&record.session.id).await,
            done => done,
        }
    }

    /// Moves on all records whose time has come, and gives those in `RELEASING` whose delete is to
    /// be sent (again) to their operator, at most 1024. To be called every second or so.
    pub async fn sweep(&self) -> Result<Vec<Record>, Error> {
        let mut releasing = Vec::new();
        loop {
            let swept = self.store.sweep(self.clock.now(), SWEPT_AT_ONCE_MAX).await?;
            releasing.extend(swept.releasing);
            if swept.records < SWEPT_AT_ONCE_MAX || releasing.len() >= DELETES_A_SWEEP_MAX {
                return Ok(releasing);
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many records there are of each operator in each state; none is left out, once there
    /// has been a record of the operator.
    pub fn counts(&self) -> Vec<(OperatorId, State, u64)> {
        self.store.counts()
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

    async fn of_device_for(&self, party: &Party, device: &Device) -> Result<Vec<Record>, Error> {
        let now = self.clock.now();
        let keys = DeviceKeys::new(&self.hasher, Some(device), None);
        let records = self.store.of_device(party, &keys, now, RETRIEVED_MAX).await?;
        Ok(records.iter().filter_map(|record| record.seen(now)).collect())
    }

    async fn read(&self, id: &SessionId) -> Result<Record, Error> {
        let record = self.store.find(id).await?.ok_or(Error::NotFound)?;
        record.seen(self.clock.now()).ok_or(Error::NotFound)
    }

    async fn write(&self, record: Record, now: Moment) -> Result<Record, Error> {
        self.store.replace(record.clone(), now).await?;
        Ok(record)
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
