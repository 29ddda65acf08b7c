//! Classifies the response of a sink: delivered, retry or drop.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::schedule::DeliveryFailure;
use crate::{
    outbound::{CallResult, ForbiddenAddress, PeerResponse, retry_after},
    qod::Moment,
};

/// The result of one delivery attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeliveryResult {
    /// The sink accepted the notification.
    Delivered,
    /// The client's dialect cannot represent the event; nothing is sent.
    NotRepresentable,
    /// The delivery is retried, not previous this delay, for this reason.
    Retry(Duration, &'static str),
    /// The notification is dropped.
    Dropped(DropReason),
    /// All notifications of the session are dropped.
    SinkGone(DropReason),
}

/// Why a notification is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    /// The sink no longer exists (410).
    SinkGone,
    /// The sink rejected the token (401, 403) on five consecutive attempts.
    Unauthorized,
    /// The token has expired.
    ExpiredToken,
    /// The sink rejected the notification.
    Rejected,
    /// The sink's address is forbidden.
    ForbiddenAddress,
    /// The sink's URL cannot be called.
    NotCallable,
    /// The client's dialect is no longer defined.
    UnknownDialect,
    /// The notification is older than the delivery TTL.
    Expired,
    /// An administrator dropped the notification.
    DroppedByAdmin,
}

/// Number of consecutive attempts with a rejected token.
const UNAUTHORIZED_MAX: u32 = 5;
const UNAUTHORIZED: &str = "unauthorized";

const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

impl DropReason {
    /// The label value in metrics and logs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SinkGone => "gone",
            Self::Unauthorized => "unauthorized",
            Self::ExpiredToken => "expired_token",
            Self::Rejected => "rejected",
            Self::ForbiddenAddress => "forbidden_address",
            Self::NotCallable => "not_callable",
            Self::UnknownDialect => "unknown_dialect",
            Self::Expired => "expired",
            Self::DroppedByAdmin => "by_hand",
        }
    }
}

/// Classifies the result of a delivery call, given the previous failure of the notification.
pub(super) fn classify(
    sent: &Result<CallResult, ForbiddenAddress>,
    previous: Option<DeliveryFailure>,
    now: Moment,
) -> DeliveryResult {
    match sent {
        Ok(CallResult::Answered(PeerResponse { status, headers, .. })) => {
            classify_response(*status, headers, previous, now)
        }
        Ok(CallResult::NotSent(_) | CallResult::PoolExhausted(_)) => {
            DeliveryResult::Retry(Duration::ZERO, "unreachable")
        }
        Ok(CallResult::Unknown(_)) => DeliveryResult::Retry(Duration::ZERO, "timeout"),
        Err(ForbiddenAddress) => DeliveryResult::Dropped(DropReason::ForbiddenAddress),
    }
}

fn classify_response(
    status: StatusCode,
    headers: &HeaderMap,
    previous: Option<DeliveryFailure>,
    now: Moment,
) -> DeliveryResult {
    let unauthorized = previous.filter(|failure| failure.reason == UNAUTHORIZED);
    let unauthorized = 1 + unauthorized.map_or(0, |failure| failure.consecutive);
    let retry = |reason| DeliveryResult::Retry(Duration::ZERO, reason);
    let retry_later = |reason| {
        let wait = retry_after(headers, now).unwrap_or_default();
        DeliveryResult::Retry(wait.min(RETRY_AFTER_MAX), reason)
    };
    match status.as_u16() {
        200..=299 => DeliveryResult::Delivered,
        410 => DeliveryResult::SinkGone(DropReason::SinkGone),
        401 | 403 if unauthorized < UNAUTHORIZED_MAX => retry(UNAUTHORIZED),
        401 | 403 => DeliveryResult::SinkGone(DropReason::Unauthorized),
        404 => retry("not_found"),
        429 => retry_later("too_many_requests"),
        503 => retry_later("failed"),
        408 | 425 | 500..=599 => retry("failed"),
        _ => DeliveryResult::Dropped(DropReason::Rejected),
    }
}

#[cfg(test)]
mod tests;
