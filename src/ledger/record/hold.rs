//! Why a record holds its flow, and until when.

use super::{CALL_GRACE, NO_EXPIRY, RETENTION, SessionRecord, SessionState, Times};
use crate::qod::Moment;

/// Why a flow is held, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reason.
    pub reason: HoldReason,
    /// The end of the hold at the latest, by the ledger clock.
    pub until: Moment,
}

/// Why a flow is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// The create request to the operator is in progress.
    CreateInProgress,
    /// The outcome of the create is unknown.
    CreateOutcomeUnknown,
    /// The network has not answered yet.
    Requested,
    /// The session is active.
    Available,
    /// An extension is in progress, or its outcome is unknown.
    ExtensionOutcomeUnknown,
    /// The network ended the session; the operator keeps its resources for 360 s, or until it is
    /// deleted.
    NetworkTerminated,
    /// The operator has not confirmed the delete.
    DeleteUnconfirmed,
}

impl HoldReason {
    /// The name in the admin API and in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateInProgress => "create_in_progress",
            Self::CreateOutcomeUnknown => "create_outcome_unknown",
            Self::Requested => "session_requested",
            Self::Available => "session_available",
            Self::ExtensionOutcomeUnknown => "extension_outcome_unknown",
            Self::NetworkTerminated => "network_terminated",
            Self::DeleteUnconfirmed => "delete_unconfirmed",
        }
    }
}

impl SessionRecord {
    /// Why the flow is held, and until when at the latest; `None` if it is not held.
    pub fn hold(&self) -> Option<Hold> {
        let Times { holds_until, lifetime_ends_at, ends_at, .. } = self.times;
        let until = match (self.state, holds_until?) {
            (SessionState::Terminated, NO_EXPIRY) => lifetime_ends_at.max(ends_at + CALL_GRACE),
            (_, NO_EXPIRY) => lifetime_ends_at + RETENTION,
            (_, until) => until,
        };
        let reason = match self.state {
            SessionState::Pending => HoldReason::CreateInProgress,
            SessionState::InDoubt => HoldReason::CreateOutcomeUnknown,
            SessionState::Requested => HoldReason::Requested,
            SessionState::Available if self.is_being_extended() => {
                HoldReason::ExtensionOutcomeUnknown
            }
            SessionState::Available => HoldReason::Available,
            SessionState::Terminated => HoldReason::NetworkTerminated,
            SessionState::Releasing => HoldReason::DeleteUnconfirmed,
            SessionState::Expired => return None,
        };
        Some(Hold { reason, until })
    }
}
