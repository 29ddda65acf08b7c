//! The reply to a create, for its idempotent replays.

use super::SessionRecord;
use crate::{ledger::SessionState, qod::GrantedSession};

/// The reply to a create, for its idempotent replays.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) enum CreateReply<'r> {
    /// The client has no response yet.
    Open,
    /// The create was rejected.
    Rejected,
    /// What the response says of the session.
    Granted(&'r GrantedSession),
}

impl SessionRecord {
    /// The reply to the create, as far as this record shows it.
    pub(in crate::ledger) const fn create_reply(&self) -> CreateReply<'_> {
        match self.state {
            SessionState::Pending | SessionState::InDoubt => CreateReply::Open,
            SessionState::Releasing => CreateReply::Rejected,
            SessionState::Requested
            | SessionState::Available
            | SessionState::Terminated
            | SessionState::Expired => CreateReply::Granted(&self.session.granted),
        }
    }
}
