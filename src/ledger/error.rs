//! Why the ledger says no.

use std::time::Duration;

use crate::qod::{Pace, SessionId};

/// Why the ledger says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody holds the flow.
    #[error("another session holds the flow of this device")]
    Taken {
        /// The session that holds it, only if the asker may see it.
        own: Option<SessionId>,
        /// It is not known whether that is the same device: [`OnUnknown::Refuse`](super::OnUnknown::Refuse).
        device_unknown: bool,
    },
    /// The client holds as many sessions as it may.
    #[error("the client holds {max} sessions already")]
    QuotaExceeded {
        /// As many as it may.
        max: u32,
    },
    /// The client has begun as many sessions today as it may.
    #[error("the client has begun {max} sessions today already")]
    DayQuotaExceeded {
        /// As many as it may.
        max: u32,
        /// How long its day lasts still.
        over_in: Duration,
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
    /// The operator's own name for the session is that of another one, which it has not ended.
    #[error("the operator calls another session so")]
    NameTaken,
    /// The client's key has come with another request before.
    #[error("the idempotency key was used for another request")]
    OtherRequest,
    /// What this very request asked before has no answer yet.
    #[error("the same request is being carried out")]
    Unanswered,
    /// The store does not answer. Whether it has done what it was asked to is not known.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
}

// Whoever has had a day's share need not wait for longer before it asks again: terms may change.
const WAIT_MAX: Duration = Duration::from_hours(1);

impl Error {
    /// How long whoever asked must wait, if that is known.
    pub fn pace(&self) -> Option<Pace> {
        match self {
            Self::DayQuotaExceeded { max, over_in } => Some(Pace {
                policy: "creates_per_day",
                quota: *max,
                window: Duration::from_hours(24),
                remaining: 0,
                retry_after: (*over_in).min(WAIT_MAX),
            }),
            _ => None,
        }
    }
}
