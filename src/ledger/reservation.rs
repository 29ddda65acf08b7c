//! The right to ask an operator for a session.

use std::{sync::Arc, time::Duration};

use super::{Record, claim::KeyHasher};
use crate::{
    clock::{Clock, Tick},
    qod::{ClientId, CreateSession, Moment, OperatorId, Secret, Session, SessionId},
};

/// What came of reserving.
#[derive(Debug)]
pub enum Reserved {
    /// The flow is held.
    New(Reservation),
    /// This very request was sent before, and is answered as it was then.
    Repeated {
        /// The session that was made then.
        session: Box<Session>,
        /// When it was sent first.
        requested_at: Moment,
    },
}

/// A flow held for a session that its operator has yet to grant. It ends in exactly one of the
/// ledger's `confirm`, `release` and `leave_in_doubt`; where it is dropped, its flow stays held.
///
/// ```
/// # use qod_gateway::{ledger::Reservation, qod::SessionId};
/// fn told(reservation: &Reservation) -> SessionId {
///     reservation.id()
/// }
/// ```
///
/// Only the ledger makes one, and nobody has it twice:
///
/// ```compile_fail
/// # use qod_gateway::ledger::Reservation;
/// let forged = Reservation {};
/// ```
///
/// ```compile_fail
/// # use qod_gateway::ledger::Reservation;
/// fn twice(reservation: Reservation) -> (Reservation, Reservation) {
///     (reservation.clone(), reservation)
/// }
/// ```
#[derive(Debug)]
#[must_use = "its flow stays held until it is confirmed, released or left in doubt"]
pub struct Reservation {
    // On the heap, for it goes from hand to hand.
    record: Box<Record>,
    claimed: Box<CreateSession>,
    hasher: Arc<KeyHasher>,
    begun: Tick,
    same_device_unknown: bool,
}

impl Reservation {
    pub(super) fn new(
        record: Record,
        claimed: CreateSession,
        hasher: Arc<KeyHasher>,
        begun: Tick,
        same_device_unknown: bool,
    ) -> Self {
        let (record, claimed) = (Box::new(record), Box::new(claimed));
        Self { record, claimed, hasher, begun, same_device_unknown }
    }

    pub(super) fn into_record(self) -> Record {
        *self.record
    }

    /// The gateway's name for the session to come.
    pub fn id(&self) -> SessionId {
        self.record.session.id
    }

    /// What a change of it must know: how often it was changed.
    pub fn generation(&self) -> u64 {
        self.record.generation()
    }

    /// Whom to ask.
    pub fn operator(&self) -> &OperatorId {
        &self.record.operator
    }

    /// For whom.
    pub fn client(&self) -> &ClientId {
        &self.record.client
    }

    /// What was asked, in the client's words.
    pub fn wanted(&self) -> &CreateSession {
        &self.record.session.wanted
    }

    /// What to ask of the operator.
    pub fn claimed(&self) -> &CreateSession {
        &self.claimed
    }

    /// What the operator is to show when it tells what happens to the session.
    pub fn sink_token(&self) -> Secret {
        self.hasher.sink_token(&self.id())
    }

    /// When the call to the operator must be over, by the time of day.
    pub fn deadline(&self) -> Moment {
        self.record.call_ends_at()
    }

    /// What is left until the deadline, by the steady hand. The operator may be asked only within
    /// it: later the flow may be somebody else's.
    pub fn time_left(&self, clock: &Clock) -> Duration {
        self.record.call_deadline().saturating_sub(clock.elapsed(self.begun))
    }

    /// Is there a session of which nobody can tell whether its device is the same? Only the operator
    /// knows then whether there is a conflict. Few of such sessions are looked at: for a metric.
    pub const fn same_device_unknown(&self) -> bool {
        self.same_device_unknown
    }
}
