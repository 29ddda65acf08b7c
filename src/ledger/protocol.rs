//! The states that a session's record can be in, and every way from one to the next. There is no
//! other: a record is changed by a [`Move`] of this table or not at all.

use serde::{Deserialize, Serialize};

/// How a record stands. The ledger's own page has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// The operator is being asked.
    Pending,
    /// Nobody knows what the operator said.
    InDoubt,
    /// Granted; the network has not answered yet.
    Requested,
    /// Granted.
    Available,
    /// Ended by the network; the operator knows it still.
    Terminated,
    /// Being deleted at the operator.
    Releasing,
    /// Its time is up.
    Expired,
}

/// What an operator tells of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Told {
    Requested,
    Available,
    /// Ended by the network.
    Terminated,
    /// Its time is up.
    Expired,
}

/// What can happen to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Move {
    /// The operator granted what it was asked for.
    Confirm(Told),
    /// It surely did not.
    Release,
    /// Nobody knows.
    Doubt,
    /// It turned out that it did, and the session must go.
    Find,
    /// It turned out that it did not.
    Absent,
    /// It told how the session stands.
    Observe(Told),
    /// It is being asked for more time.
    BeginExtend,
    /// It answered that.
    EndExtend(Told),
    /// It is to be told that the session must go.
    BeginDelete,
    /// It has the session no more.
    End,
    /// The hold's time, or that of being readable, is up.
    Lapse,
    /// The time after which something must be done about it is up.
    Deadline,
    /// A person knows better.
    Forget,
}

/// Where a move leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    State(State),
    /// No record, and no hold.
    Free,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::InDoubt,
        Self::Requested,
        Self::Available,
        Self::Terminated,
        Self::Releasing,
        Self::Expired,
    ];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InDoubt => "in_doubt",
            Self::Requested => "requested",
            Self::Available => "available",
            Self::Terminated => "terminated",
            Self::Releasing => "releasing",
            Self::Expired => "expired",
        }
    }

    /// Does it hold its flow? `RELEASING` that was `EXPIRED` does not, which is told by its times.
    #[cfg(test)]
    pub(super) const fn holds(self) -> bool {
        !matches!(self, Self::Expired)
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Where a move leads from here; nothing, if there is no such way.
    pub(super) const fn after(self, step: Move) -> Option<Next> {
        let state = match (self, step) {
            (Self::Pending, Move::Release)
            | (Self::InDoubt, Move::Absent | Move::Forget)
            | (Self::Releasing, Move::End)
            | (Self::InDoubt | Self::Releasing | Self::Expired, Move::Lapse) => {
                return Some(Next::Free);
            }
            (Self::Pending, Move::Doubt | Move::Deadline) => Self::InDoubt,
            (Self::Pending, Move::Confirm(told))
            | (Self::Requested | Self::Available, Move::Observe(told))
            | (Self::Available, Move::EndExtend(told)) => told.state(),
            (Self::Requested | Self::Available, Move::Lapse) => Self::Expired,
            (Self::Available, Move::BeginExtend) => Self::Available,
            (Self::Pending | Self::InDoubt, Move::Find)
            | (
                Self::Requested | Self::Available | Self::Terminated | Self::Expired,
                Move::BeginDelete,
            )
            | (Self::Requested | Self::Terminated, Move::Deadline) => Self::Releasing,
            _ => return None,
        };
        Some(Next::State(state))
    }
}

impl Told {
    pub(super) const fn state(self) -> State {
        match self {
            Self::Requested => State::Requested,
            Self::Available => State::Available,
            Self::Terminated => State::Terminated,
            Self::Expired => State::Expired,
        }
    }
}

#[cfg(test)]
mod check;
#[cfg(test)]
mod tests;
