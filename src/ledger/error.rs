//! Errors of the ledger.

use std::{io, time::Duration};

use super::sealed_rows::FORMAT;
use crate::qod::{RateLimitStatus, SessionId};

/// An error of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another session holds the flow.
    #[error("another session holds the flow of this device")]
    Conflict {
        /// The session that holds it, only if the client may see it.
        own_session: Option<SessionId>,
        /// The two devices may be the same; see [`OnUnknown::Refuse`](super::OnUnknown::Refuse).
        device_ambiguous: bool,
    },
    /// The client has reached its maximum number of concurrent sessions.
    #[error("the client already has {max} sessions")]
    QuotaExceeded {
        /// The maximum.
        max: u32,
    },
    /// The client has reached its maximum number of creates per day.
    #[error("the client has already created {max} sessions today")]
    DailyQuotaExceeded {
        /// The maximum.
        max: u32,
        /// The time until the end of the UTC day.
        resets_in: Duration,
    },
    /// Too many sessions share an identifier of the device, of all clients or of this one.
    #[error("an identifier of the device already has {max} sessions")]
    DeviceSessionsExceeded {
        /// The maximum.
        max: u32,
    },
    /// The session does not exist, or no longer exists.
    #[error("no such session")]
    NotFound,
    /// The session belongs to another client or user.
    #[error("the session belongs to another client or user")]
    NotOwner,
    /// A concurrent change came first; for a reservation: the sweep marked it in doubt.
    #[error("the record was changed concurrently")]
    Superseded,
    /// The state of the session does not allow the operation.
    #[error("the state of the session does not allow this operation")]
    InvalidState,
    /// The device is given as a network wider than the operator's rules allow.
    #[error("the device's network is wider than allowed")]
    DeviceTooBroad,
    /// The operator's id of the session is that of another live session.
    #[error("the operator session id is already in use")]
    OperatorSessionInUse,
    /// The client used this `Idempotency-Key` for a different request before.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The first request with this `Idempotency-Key` has not been answered yet.
    #[error("a request with this idempotency key is in progress")]
    RequestInProgress,
    /// The store is unavailable. The outcome of the operation is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger is lost when its process ends.
    #[error("the ledger is in memory only")]
    InMemory,
    /// The location contains no ledger.
    #[error("{0}: no ledger found")]
    NotFound(String),
    /// Another process uses the ledger.
    #[error("{0}: the ledger is in use by another process")]
    InUse(String),
    /// The file system returned an error.
    #[error("{0}: the ledger directory (`store.directory`) cannot be used: {1}")]
    Io(String, io::Error),
    /// The content is not a ledger, or it is damaged.
    #[error("{0}: not a ledger file, or damaged ({1}); nothing was changed")]
    Damaged(String, String),
    /// The content has the format of another version of the gateway.
    #[error("{0}: unsupported ledger format {1}, expected {FORMAT}; nothing was changed")]
    UnknownFormat(String, String),
    /// The rows were sealed with another key.
    #[error("{0}: the ledger was sealed with another key; nothing was changed")]
    WrongKey(String),
    /// The database cannot be used.
    #[error("{0}: {1}")]
    Database(String, String),
    /// The key is too short.
    #[error("the ledger key must have at least 32 characters")]
    ShortKey,
}

// The maximum `Retry-After` for an exhausted daily quota: terms may change before the day ends.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

impl Error {
    /// The state of the exceeded rate limit, with the time to wait.
    pub fn rate_limit(&self) -> Option<RateLimitStatus> {
        match self {
            Self::DailyQuotaExceeded { max, resets_in: over_in } => Some(RateLimitStatus {
                policy: "creates_per_day",
                quota: *max,
                window: Duration::from_hours(24),
                remaining: 0,
                retry_after: (*over_in).min(RETRY_AFTER_MAX),
            }),
            _ => None,
        }
    }
}
