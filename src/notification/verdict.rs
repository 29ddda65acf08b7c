//! What an answer means for a notice.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::schedule::Failure;
use crate::{
    outbound::{Answered, Forbidden, Sent, retry_after},
    qod::Moment,
};

/// What becomes of a notice that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was heard.
    Delivered,
    /// There is nothing to tell: the client's dialect has no word for it.
    Unsaid,
    /// It is told again, not before so long, and why.
    Again(Duration, &'static str),
    /// It never will be heard.
    Dropped(Reason),
    /// Nor will any other of its session.
    Gone(Reason),
}

/// Why a notice is not told any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The sink is no more (410).
    Gone,
    /// The sink does not take the token (401, 403), again and again.
    Unauthorized,
    /// The token's time is over.
    ExpiredToken,
    /// The sink does not want it.
    Refused,
    /// The sink is where no call may go.
    Forbidden,
    /// The sink's URL is none that can be called.
    NotCallable,
    /// The client's dialect is none that is known any more.
    UnknownDialect,
    /// It has waited for too long.
    TooOld,
    /// Whoever runs the gateway says so.
    ByHand,
}

/// How often a token is shown that is not taken.
const UNAUTHORIZED_MAX: u32 = 5;
const UNAUTHORIZED: &str = "unauthorized";

const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

impl Reason {
    /// Its name in the metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unauthorized => "unauthorized",
            Self::ExpiredToken => "expired_token",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden_address",
            Self::NotCallable => "not_callable",
            Self::UnknownDialect => "unknown_dialect",
            Self::TooOld => "too_old",
            Self::ByHand => "by_hand",
        }
    }
}

/// Judges what came of telling a notice, which may have failed before.
pub(super) fn judge(
    sent: &Result<Sent, Forbidden>,
    before: Option<Failure>,
    now: Moment,
) -> Verdict {
    match sent {
        Ok(Sent::Answered(Answered { status, headers, .. })) => {
            judge_answer(*status, headers, before, now)
        }
        Ok(Sent::NotSent(_) | Sent::NoRoom(_)) => Verdict::Again(Duration::ZERO, "not_reached"),
        Ok(Sent::Unknown(_)) => Verdict::Again(Duration::ZERO, "no_answer"),
        Err(Forbidden) => Verdict::Dropped(Reason::Forbidden),
    }
}

fn judge_answer(
    status: StatusCode,
    headers: &HeaderMap,
    before: Option<Failure>,
    now: Moment,
) -> Verdict {
    let unauthorized = before.filter(|failure| failure.why == UNAUTHORIZED);
    let unauthorized = 1 + unauthorized.map_or(0, |failure| failure.in_a_row);
    let again = |why| Verdict::Again(Duration::ZERO, why);
    let later = |why| {
        let wait = retry_after(headers, now).unwrap_or_default();
        Verdict::Again(wait.min(RETRY_AFTER_MAX), why)
    };
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone(Reason::Gone),
        401 | 403 if unauthorized < UNAUTHORIZED_MAX => again(UNAUTHORIZED),
        401 | 403 => Verdict::Gone(Reason::Unauthorized),
        404 => again("not_found"),
        429 => later("too_many_requests"),
        503 => later("failed"),
        408 | 425 | 500..=599 => again("failed"),
        _ => Verdict::Dropped(Reason::Refused),
    }
}

#[cfg(test)]
mod tests;
