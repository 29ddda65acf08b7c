//! The state machine of session records: all states and transitions. A record changes only by a
//! [`Transition`] of this table.

use serde::{Deserialize, Serialize};

/// The state of a record. The documentation of the ledger module has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SessionState {
    /// The create request to the operator is in progress.
    Pending,
    /// The outcome of the create request is unknown.
    InDoubt,
    /// Granted; the network has not answered yet.
    Requested,
    /// Granted and active.
    Available,
    /// Ended by the network; still present at the operator.
    Terminated,
    /// Being deleted at the operator.
    Releasing,
    /// Expired, or no longer present at the operator.
    Expired,
}

/// The state of a session as reported by its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum OperatorReport {
    Requested,
    Available,
    /// Ended by the network.
    Terminated,
    /// Expired.
    Expired,
}

/// A transition of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Transition {
    /// The operator granted the session.
    Confirm(OperatorReport),
    /// The operator certainly did not create the session.
    Release,
    /// The outcome of the create is unknown.
    MarkInDoubt,
    /// The operator turned out to have the session; it must be deleted.
    MarkFound,
    /// The operator turned out not to have the session.
    MarkAbsent,
    /// The operator reported the state of the session.
    Observe(OperatorReport),
    /// The operator reported that it does not have the session any more.
    ObserveAbsent,
    /// An extension request is about to be sent.
    BeginExtend,
    /// The operator answered the extension request.
    FinishExtend(OperatorReport),
    /// A delete request is about to be sent.
    BeginDelete,
    /// The operator no longer has the session.
    FinishDelete,
    /// The hold, or the period in which the record is readable, has expired.
    Expire,
    /// The deadline of the state has passed, and the next transition is due.
    Deadline,
    /// An administrator releases the flow.
    Forget,
}

/// The result of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransitionResult {
    State(SessionState),
    /// The record and its hold are removed.
    Removed,
}

impl SessionState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::InDoubt,
        Self::Requested,
        Self::Available,
        Self::Terminated,
        Self::Releasing,
        Self::Expired,
    ];

    /// The name of the state in metrics.
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

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the operator does not grant the session any more.
    pub(super) const fn has_ended(self) -> bool {
        matches!(self, Self::Terminated | Self::Expired)
    }

    /// The result of a transition from this state; `None` if the transition is not allowed.
    pub(super) const fn apply(self, transition: Transition) -> Option<TransitionResult> {
        let state = match (self, transition) {
            (Self::Pending, Transition::Release)
            | (Self::InDoubt, Transition::MarkAbsent | Transition::Forget)
            | (Self::Releasing, Transition::FinishDelete)
            | (Self::InDoubt | Self::Releasing | Self::Expired, Transition::Expire) => {
                return Some(TransitionResult::Removed);
            }
            (Self::Pending, Transition::MarkInDoubt | Transition::Deadline) => Self::InDoubt,
            (Self::Pending, Transition::Confirm(report))
            | (Self::Requested | Self::Available, Transition::Observe(report))
            | (Self::Available, Transition::FinishExtend(report)) => report.state(),
            (Self::Requested | Self::Available, Transition::Expire)
            | (Self::Requested | Self::Available | Self::Terminated, Transition::ObserveAbsent) => {
                Self::Expired
            }
            (Self::Available, Transition::BeginExtend) => Self::Available,
            (Self::Pending | Self::InDoubt, Transition::MarkFound)
            | (
                Self::Requested | Self::Available | Self::Terminated | Self::Expired,
                Transition::BeginDelete,
            )
            | (Self::Requested | Self::Terminated, Transition::Deadline) => Self::Releasing,
            _ => return None,
        };
        Some(TransitionResult::State(state))
    }
}

impl OperatorReport {
    pub(super) const fn state(self) -> SessionState {
        match self {
            Self::Requested => SessionState::Requested,
            Self::Available => SessionState::Available,
            Self::Terminated => SessionState::Terminated,
            Self::Expired => SessionState::Expired,
        }
    }
}

#[cfg(test)]
mod tests;
