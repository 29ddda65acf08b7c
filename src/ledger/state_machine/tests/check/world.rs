//! The state of the model: the ledger, the operator, the messages between them, and the state of
//! each process.

use super::super::{OperatorReport, SessionState};

/// Identifies a reservation and its gateway: each gateway creates the reservation of its own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    One,
    Two,
}

/// A process that takes steps and can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Process {
    Gateway(Side),
    Reconciler,
}

/// The time since a flow was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Age {
    /// Before the call's deadline.
    Calling,
    /// After the deadline; the operator may still execute an earlier request.
    Late,
    /// After the grace period: no request of the call reaches the operator any more.
    Settled,
    /// After the longest life of a session created by the call.
    LifeEnded,
    /// After the longest life of an extended session.
    ExtendedLifeEnded,
}

/// When a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LifeEnd {
    Granted,
    Extended,
}

/// A durable record of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckRecord {
    pub(super) state: SessionState,
    /// A released hold is never restored.
    pub(super) holds: bool,
    pub(super) end: LifeEnd,
    pub(super) extending: bool,
}

/// A session at the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CheckSession {
    Never,
    Exists {
        status: OperatorReport,
        end: LifeEnd,
    },
    /// It ended without a delete, and the operator has forgotten it.
    Ended,
    /// It was deleted while it was live.
    Deleted,
}

/// One request and its response in transit. No message is duplicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    Idle,
    Request {
        in_time: bool,
    },
    /// It was executed. The response contains the status at the time it is received.
    Accepted,
    Rejected,
}

/// A reservation is extended once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Extension {
    Never,
    /// Before its deadline and grace period.
    Open(Wire),
    Closed(Wire),
}

/// What the client of a reservation has requested and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ClientState {
    NotStarted,
    Waiting,
    ConfirmedCreated,
    /// It deleted the session, or the session ended.
    Finished,
}

/// The state of one reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckReservation {
    pub(super) client: ClientState,
    pub(super) age: Age,
    pub(super) record: Option<CheckRecord>,
    pub(super) session: CheckSession,
    pub(super) call: Wire,
    pub(super) extension: Extension,
    /// Whether a delete without a record is in transit. For other deletes, the sending process does
    /// not matter.
    pub(super) stray_delete: bool,
    /// Whether the operator is about to send a callback event.
    pub(super) event_pending: bool,
}

/// A record as read by a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReadRecord {
    pub(super) of: Side,
    pub(super) record: CheckRecord,
    /// Whether its generation is still current. Generations are only compared for equality.
    pub(super) newest: bool,
}

/// The task of a process; lost when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Idle,
    /// The flow is reserved; the operator has not been called yet.
    Reserved(ReadRecord),
    Sent(ReadRecord),
    Granted(ReadRecord, OperatorReport),
    Rejected(ReadRecord),
    /// The reservation is in doubt; the process still waits for the response.
    TimedOut,
    /// The session is recorded; the client has no response yet.
    Confirmed,
    Extending(ReadRecord),
    ExtensionSent(ReadRecord),
    ExtensionGranted(ReadRecord, OperatorReport),
    ExtensionRejected(ReadRecord),
    /// It has read the status at the operator. `conclusive`: no extension was in flight then.
    StatusRead {
        known: ReadRecord,
        status: OperatorReport,
        end: LifeEnd,
        conclusive: bool,
    },
    /// It has read that the operator does not have the session any more.
    StatusAbsent(ReadRecord),
    /// The lookup found a session of the reservation.
    Found(ReadRecord),
    /// The lookup found no session, for certain.
    NotFound(ReadRecord),
    Deleting(ReadRecord),
}

/// The state of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckWorld {
    reservations: [CheckReservation; 2],
    gateways: [Task; 2],
    reconciler: Task,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::One, Self::Two];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

impl Process {
    pub(super) const ALL: [Self; 3] =
        [Self::Gateway(Side::One), Self::Gateway(Side::Two), Self::Reconciler];
}

impl CheckSession {
    pub(super) const fn is_live(self) -> bool {
        matches!(
            self,
            Self::Exists { status: OperatorReport::Requested | OperatorReport::Available, .. }
        )
    }

    /// Whether the operator counts the session. A session ended by its network is not live but
    /// counts until it is deleted.
    pub(super) const fn occupies(self) -> bool {
        self.is_live() || matches!(self, Self::Exists { status: OperatorReport::Terminated, .. })
    }

    pub(super) const fn exists(self) -> bool {
        matches!(self, Self::Exists { .. })
    }

    pub(super) const fn delete(&mut self) {
        *self = if self.is_live() { Self::Deleted } else { Self::Ended };
    }

    const fn ended_by_itself(self) -> bool {
        matches!(self, Self::Ended) || (self.exists() && !self.is_live())
    }
}

impl LifeEnd {
    pub(super) fn has_ended(self, age: Age) -> bool {
        match self {
            Self::Granted => age >= Age::LifeEnded,
            Self::Extended => age >= Age::ExtendedLifeEnded,
        }
    }
}

impl CheckRecord {
    pub(super) const RESERVED: Self =
        Self { state: SessionState::Pending, holds: true, end: LifeEnd::Granted, extending: false };
}

impl Extension {
    pub(super) const fn wire(self) -> Wire {
        match self {
            Self::Never => Wire::Idle,
            Self::Open(wire) | Self::Closed(wire) => wire,
        }
    }

    pub(super) const fn with(self, wire: Wire) -> Self {
        match self {
            Self::Never | Self::Open(_) => Self::Open(wire),
            Self::Closed(_) => Self::Closed(wire),
        }
    }
}

impl CheckReservation {
    pub(super) const NEW: Self = Self {
        client: ClientState::NotStarted,
        age: Age::Calling,
        record: None,
        session: CheckSession::Never,
        call: Wire::Idle,
        extension: Extension::Never,
        stray_delete: false,
        event_pending: false,
    };

    // Finished: the reservation can no longer change.
    pub(super) const CLOSED: Self =
        Self { client: ClientState::Finished, age: Age::ExtendedLifeEnded, ..Self::NEW };

    /// Whether the ledger shows the session to its client.
    pub(super) fn visible(&self) -> bool {
        self.state()
            .is_some_and(|state| matches!(state, SessionState::Requested | SessionState::Available))
    }

    pub(super) fn state(&self) -> Option<SessionState> {
        self.record.map(|record| record.state)
    }

    fn drop_irrelevant(&mut self, own: Task, extension_sent: bool) {
        let answered = |wire| matches!(wire, Wire::Accepted | Wire::Rejected);
        if answered(self.call) && !own.awaits_response() {
            self.call = Wire::Idle;
        }
        if answered(self.extension.wire()) && !extension_sent {
            self.extension = self.extension.with(Wire::Idle);
        }
        if self.session.ended_by_itself()
            || (self.client == ClientState::Waiting && !own.may_respond())
        {
            self.client = ClientState::Finished;
        }
        self.stray_delete &= self.session.is_live();
        let held = self.record.is_some_and(|record| record.holds);
        if !held && self.session.ended_by_itself() && !self.session.occupies() {
            self.session = CheckSession::Ended;
            self.event_pending = false;
        }
        let asked = matches!(self.call, Wire::Request { .. }) || matches!(own, Task::Reserved(_));
        let in_question = self
            .state()
            .is_none_or(|state| matches!(state, SessionState::Pending | SessionState::InDoubt));
        if !asked && !in_question {
            self.age = self.age.max(Age::Settled);
        }
    }

    fn may_be_closed(&self) -> bool {
        self.client == ClientState::Finished
            && self.record.is_none()
            && !self.session.exists()
            && self.call == Wire::Idle
            && self.extension.wire() == Wire::Idle
            && !self.event_pending
    }
}

impl Task {
    const fn awaits_response(self) -> bool {
        matches!(self, Self::Sent(_) | Self::TimedOut)
    }

    const fn may_respond(self) -> bool {
        matches!(self, Self::Reserved(_) | Self::Sent(_) | Self::Granted(..) | Self::Confirmed)
    }

    pub(super) fn read_records_mut(&mut self) -> Option<&mut ReadRecord> {
        match self {
            Self::Idle | Self::TimedOut | Self::Confirmed => None,
            Self::Reserved(known)
            | Self::Sent(known)
            | Self::Granted(known, _)
            | Self::Rejected(known)
            | Self::Extending(known)
            | Self::ExtensionSent(known)
            | Self::ExtensionGranted(known, _)
            | Self::ExtensionRejected(known)
            | Self::StatusRead { known, .. }
            | Self::StatusAbsent(known)
            | Self::Found(known)
            | Self::NotFound(known)
            | Self::Deleting(known) => Some(known),
        }
    }
}

impl CheckWorld {
    pub(super) const START: Self = Self {
        reservations: [CheckReservation::NEW; 2],
        gateways: [Task::Idle; 2],
        reconciler: Task::Idle,
    };

    pub(super) fn reservation(&self, side: Side) -> &CheckReservation {
        &self.reservations[side as usize]
    }

    pub(super) fn reservation_mut(&mut self, side: Side) -> &mut CheckReservation {
        &mut self.reservations[side as usize]
    }

    pub(super) fn task(&self, of: Process) -> Task {
        match of {
            Process::Gateway(side) => self.gateways[side as usize],
            Process::Reconciler => self.reconciler,
        }
    }

    pub(super) fn task_mut(&mut self, of: Process) -> &mut Task {
        match of {
            Process::Gateway(side) => &mut self.gateways[side as usize],
            Process::Reconciler => &mut self.reconciler,
        }
    }

    pub(super) fn read_records_mut(&mut self, of: Side) -> impl Iterator<Item = &mut ReadRecord> {
        let tasks = self.gateways.iter_mut().chain([&mut self.reconciler]);
        tasks.filter_map(Task::read_records_mut).filter(move |known| known.of == of)
    }

    /// Merges states that differ only in what can never matter again.
    pub(super) fn normalize(&mut self) {
        for side in Side::BOTH {
            let own = self.gateways[side as usize];
            let extension_sent = self
                .gateways
                .iter()
                .any(|task| matches!(task, Task::ExtensionSent(known) if known.of == side));
            let in_use = matches!(own, Task::TimedOut | Task::Confirmed)
                || self.read_records_mut(side).next().is_some();
            let reservation = &mut self.reservations[side as usize];
            if reservation.client == ClientState::NotStarted {
                continue;
            }
            reservation.drop_irrelevant(own, extension_sent);
            if !in_use && reservation.may_be_closed() {
                *reservation = CheckReservation::CLOSED;
            }
        }
    }
}
