//! All rejections of the gateway, in two tables.
//!
//! A module defines its own errors, without HTTP. The first table maps each error of each module to a
//! kind; the second maps each kind to a status and a code in each family of dialects (as the CAMARA
//! release documents them; where a release documents none, the nearest one that it documents). Neither
//! table has a wildcard: a new error does not compile until it has an entry. A third table,
//! `refusal/causes.rs`, gives each error its cause for the audit record.

use std::time::Duration;

use crate::{
    access::AccessDenied,
    dialect::{
        Descriptor, Family, MalformedRequest, UnmatchedReason, UnsupportedMediaType, Untranslatable,
    },
    finder::{FinderError, FinderFailure, FinderUnavailable},
    identity::{AuthRejection, ProofError, Unauthenticated},
    ledger,
    limit::TooManyRequests,
    operator::{OperatorRejection, UnknownCause},
    qod::{Problem, ProblemKind, RateLimitStatus},
    route::NoOperator,
};

mod causes;
mod codes;

/// The reason why a request is rejected.
#[derive(Debug)]
pub enum Refusal {
    /// No API has this path, or the path does not have this method.
    Unrecognised(UnmatchedReason),
    /// The media type or the content encoding of the body is not supported.
    UnsupportedMedia(UnsupportedMediaType),
    /// The server did not read the request completely.
    Transport(TransportError),
    /// The access token or its proof of possession is missing or not valid.
    Unauthenticated(AuthRejection),
    /// The token's scopes or the client's terms do not allow the request.
    Forbidden(AccessDenied),
    /// A client with a mock token requested a session of an operator that is not simulated.
    MockOnly,
    /// A rate limit is exceeded.
    RateLimited(TooManyRequests),
    /// The request does not match the API's schema.
    Malformed(MalformedRequest),
    /// Neither the body nor the token names a device.
    DeviceMissing,
    /// The body names a device although the token already names one.
    DeviceUnnecessary,
    /// The body and the token name different devices.
    DeviceMismatch,
    /// The `QoS` profile does not exist, or the client may not use it.
    ProfileNotFound,
    /// No configured operator serves the device.
    NoOperator(NoOperator),
    /// The finder that knows the device's operator is unavailable.
    FinderUnavailable(FinderUnavailable),
    /// The request cannot be translated into the operator's dialect.
    Untranslatable(Untranslatable),
    /// The ledger rejected the operation.
    Ledger(ledger::Error),
    /// The session would last longer than the client's terms allow.
    TooLong {
        /// The longest duration that the terms allow, in seconds.
        duration_s_max: u32,
    },
    /// The access token of the client's sink expires before the session ends.
    SinkTokenExpires,
    /// The operator reports the session as unavailable, a status that the dialect cannot express.
    NotGranted,
    /// A session that is not available cannot be extended.
    SessionNotAvailable,
    /// The `Idempotency-Key` is invalid or repeated.
    InvalidIdempotencyKey,
    /// The session is in doubt: the outcome of its create is unknown.
    InDoubt,
    /// The operator rejected the request, or the request was not sent to it.
    Operator(OperatorRejection),
    /// The outcome at the operator is unknown.
    OperatorUnknown(UnknownCause),
    /// An internal error: an invariant is broken, or a task panicked.
    Internal(&'static str),
}

/// The reason why the server did not read a request completely, or did not answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// It is not valid HTTP, or it is ambiguous.
    Framing(&'static str),
    /// The header exceeds the size limit.
    HeaderTooLarge,
    /// The body exceeds the size limit.
    BodyTooLarge,
    /// Too many requests are in flight.
    Overloaded,
    /// The response was not ready in time.
    ResponseTimeout,
    /// The request handler panicked.
    HandlerPanicked,
}

/// The error response for a rejection of this kind, with the status and code of a dialect.
pub fn new_problem(kind: ProblemKind, message: String, dialect: &Descriptor) -> Problem {
    let (status, code) = codes::status_and_code(kind, dialect);
    Problem {
        kind,
        status,
        code: code.into(),
        message,
        rate_limit: None,
        challenge: None,
        retry_after: None,
    }
}

impl Refusal {
    /// The error response, with the status and code of the client's dialect.
    pub fn problem(&self, dialect: &Descriptor) -> Problem {
        let problem = new_problem(self.kind(), self.message(dialect), dialect);
        let (pace, retry_after) = (self.pace(), self.retry_after());
        Problem { rate_limit: pace, challenge: self.challenge(), retry_after, ..problem }
    }

    /// The kind of the rejection: the first table.
    #[expect(clippy::match_same_arms, reason = "a table with one row for each reason")]
    pub fn kind(&self) -> ProblemKind {
        match self {
            Self::Unrecognised(UnmatchedReason::PathNotFound) => ProblemKind::PathNotFound,
            Self::Unrecognised(UnmatchedReason::MethodNotAllowed { .. }) => {
                ProblemKind::MethodNotAllowed
            }
            Self::UnsupportedMedia(_) => ProblemKind::UnsupportedMediaType,
            Self::Transport(TransportError::Framing(_)) => ProblemKind::InvalidArgument,
            Self::Transport(TransportError::HeaderTooLarge) => ProblemKind::HeaderTooLarge,
            Self::Transport(TransportError::BodyTooLarge) => ProblemKind::ContentTooLarge,
            Self::Transport(TransportError::Overloaded) => ProblemKind::Unavailable,
            Self::Transport(TransportError::ResponseTimeout) => ProblemKind::Timeout,
            Self::Transport(TransportError::HandlerPanicked) | Self::Internal(_) => {
                ProblemKind::Internal
            }
            Self::Unauthenticated(rejection) => kind_of_unauthenticated(rejection.why),
            Self::Forbidden(
                AccessDenied::Scope { .. }
                | AccessDenied::UnknownClient
                | AccessDenied::Operator
                | AccessDenied::Profile
                | AccessDenied::Network
                | AccessDenied::Dialect,
            )
            | Self::MockOnly => ProblemKind::PermissionDenied,
            Self::Forbidden(AccessDenied::ProfileInactive) => ProblemKind::ProfileNotApplicable,
            Self::Forbidden(AccessDenied::Duration { .. }) | Self::TooLong { .. } => {
                ProblemKind::DurationOutOfRange
            }
            Self::RateLimited(_) => ProblemKind::TooManyRequests,
            Self::Malformed(malformed) => malformed.kind(),
            Self::InvalidIdempotencyKey => ProblemKind::InvalidArgument,
            Self::DeviceMissing => ProblemKind::MissingIdentifier,
            Self::DeviceUnnecessary => ProblemKind::UnnecessaryIdentifier,
            Self::DeviceMismatch => ProblemKind::OtherDevice,
            Self::ProfileNotFound => ProblemKind::ProfileNotFound,
            Self::NoOperator(NoOperator::NoRoute) => ProblemKind::DeviceNotFound,
            Self::NoOperator(NoOperator::RoutesIncomplete) => ProblemKind::Unavailable,
            Self::NoOperator(NoOperator::Disagreement) => ProblemKind::InvalidArgument,
            Self::FinderUnavailable(_) => ProblemKind::Unavailable,
            Self::Untranslatable(untranslatable) => kind_of_untranslatable(untranslatable),
            Self::Ledger(error) => kind_of_ledger(error),
            Self::SinkTokenExpires => ProblemKind::InvalidToken,
            Self::SessionNotAvailable => ProblemKind::ExtensionNotAllowed,
            Self::NotGranted => ProblemKind::Unavailable,
            Self::InDoubt => ProblemKind::Unavailable,
            Self::Operator(rejection) => kind_of_rejection(rejection),
            Self::OperatorUnknown(UnknownCause::NoResponse(_)) => ProblemKind::Timeout,
            Self::OperatorUnknown(
                UnknownCause::InvalidResponse { .. } | UnknownCause::ServerError(_),
            ) => ProblemKind::BadGateway,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Operator(OperatorRejection::Backoff(resting)) => Some(resting.retry_after),
            Self::FinderUnavailable(FinderUnavailable {
                reason: FinderFailure::Backoff(left),
                ..
            }) => Some(*left),
            _ => None,
        }
    }

    fn pace(&self) -> Option<RateLimitStatus> {
        match self {
            Self::RateLimited(TooManyRequests { pace }) => Some(*pace),
            Self::Ledger(error) => error.rate_limit(),
            _ => None,
        }
    }

    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated(rejection) => Some(rejection.challenge),
            _ => None,
        }
    }

    fn message(&self, dialect: &Descriptor) -> String {
        match self {
            Self::Unrecognised(UnmatchedReason::PathNotFound) => "no such path".to_owned(),
            Self::Unrecognised(UnmatchedReason::MethodNotAllowed { allow }) => {
                format!("expected one of the methods {allow}")
            }
            Self::UnsupportedMedia(media) => media.to_string(),
            Self::Transport(TransportError::Framing(reason)) => (*reason).to_owned(),
            Self::Transport(TransportError::HeaderTooLarge) => {
                "the request header is too large".to_owned()
            }
            Self::Transport(TransportError::BodyTooLarge) => {
                "the request body is too large".to_owned()
            }
            Self::Transport(TransportError::Overloaded) => {
                "the gateway is overloaded; retry later".to_owned()
            }
            Self::Transport(TransportError::ResponseTimeout) => {
                "timeout: the outcome of the request is unknown".to_owned()
            }
            Self::Unauthenticated(error) => error.to_string(),
            Self::Forbidden(error) => error.to_string(),
            Self::MockOnly => "a mock token is accepted for simulated operators only".to_owned(),
            Self::RateLimited(error) => error.to_string(),
            Self::Malformed(malformed) => malformed.to_string(),
            Self::DeviceMissing => "expected a device".to_owned(),
            Self::DeviceMismatch => "the access token is for another device".to_owned(),
            Self::DeviceUnnecessary => {
                "the access token already identifies the device; expected no `device`".to_owned()
            }
            Self::ProfileNotFound => "there is no such QoS profile".to_owned(),
            Self::NoOperator(error) => error.to_string(),
            Self::FinderUnavailable(_) => {
                "the lookup of the device's operator is unavailable".to_owned()
            }
            Self::Untranslatable(untranslatable) => untranslatable.to_string(),
            Self::Ledger(error) => message_of_ledger(error, dialect.family),
            Self::TooLong { duration_s_max } => {
                format!("the client's terms allow a total duration of at most {duration_s_max} s")
            }
            Self::SinkTokenExpires => {
                "the sink's access token expires before the session ends".to_owned()
            }
            Self::NotGranted => "the network cannot provide the session at the moment".to_owned(),
            Self::SessionNotAvailable => "only an available session can be extended".to_owned(),
            Self::InvalidIdempotencyKey => {
                "expected one `Idempotency-Key` of 1 to 255 visible characters".to_owned()
            }
            Self::InDoubt => {
                "the operator has not confirmed yet whether this session exists".to_owned()
            }
            Self::Operator(rejection) => message_of_rejection(rejection, dialect.family),
            Self::OperatorUnknown(UnknownCause::NoResponse(_)) => {
                "operator timed out; the flow stays reserved until the outcome is known".to_owned()
            }
            Self::OperatorUnknown(
                UnknownCause::InvalidResponse { .. } | UnknownCause::ServerError(_),
            ) => {
                "invalid response from the operator; the flow stays reserved until the outcome is \
                 known"
                    .to_owned()
            }
            Self::Transport(TransportError::HandlerPanicked) | Self::Internal(_) => {
                "internal error".to_owned()
            }
        }
    }
}

fn kind_of_unauthenticated(why: Unauthenticated) -> ProblemKind {
    match why {
        Unauthenticated::KeysUnavailable
        | Unauthenticated::InvalidProof(_, ProofError::ReplayCacheFull) => ProblemKind::Unavailable,
        Unauthenticated::Missing
        | Unauthenticated::Malformed
        | Unauthenticated::Invalid(_)
        | Unauthenticated::InvalidProof(..) => ProblemKind::Unauthenticated,
    }
}

fn kind_of_untranslatable(untranslatable: &Untranslatable) -> ProblemKind {
    match untranslatable {
        Untranslatable::UnsupportedIdentifiers { .. } | Untranslatable::Ipv4NotExpressible => {
            ProblemKind::UnsupportedIdentifier
        }
        Untranslatable::Prefix { .. }
        | Untranslatable::EmptyPorts
        | Untranslatable::UnknownProfile => ProblemKind::InvalidArgument,
        Untranslatable::DeviceMissing => ProblemKind::MissingIdentifier,
        Untranslatable::UnsupportedServers | Untranslatable::SinglePortOnly => {
            ProblemKind::NotApplicable
        }
        Untranslatable::PortTooLow { .. } => ProblemKind::OutOfRange,
        Untranslatable::DurationTooLong { .. } => ProblemKind::DurationOutOfRange,
    }
}

fn kind_of_ledger(error: &ledger::Error) -> ProblemKind {
    match error {
        ledger::Error::Conflict { .. } | ledger::Error::RequestInProgress => ProblemKind::Conflict,
        ledger::Error::QuotaExceeded { .. } | ledger::Error::DailyQuotaExceeded { .. } => {
            ProblemKind::QuotaExceeded
        }
        ledger::Error::NotFound => ProblemKind::SessionNotFound,
        ledger::Error::NotOwner => ProblemKind::PermissionDenied,
        ledger::Error::InvalidState => ProblemKind::ExtensionNotAllowed,
        ledger::Error::DeviceTooBroad | ledger::Error::IdempotencyKeyReused => {
            ProblemKind::InvalidArgument
        }
        ledger::Error::OperatorSessionInUse => ProblemKind::BadGateway,
        ledger::Error::Superseded | ledger::Error::Unavailable(_) => ProblemKind::Unavailable,
    }
}

fn kind_of_rejection(rejection: &OperatorRejection) -> ProblemKind {
    match rejection {
        // The operator rejected the gateway's credentials, not the client's.
        OperatorRejection::Problem(problem) => match problem.kind {
            ProblemKind::Unauthenticated | ProblemKind::PermissionDenied => {
                ProblemKind::Unavailable
            }
            // The gateway built the request, so a complaint about its form is not the client's error.
            ProblemKind::MethodNotAllowed
            | ProblemKind::UnsupportedMediaType
            | ProblemKind::ContentTooLarge
            | ProblemKind::HeaderTooLarge
            | ProblemKind::PathNotFound => ProblemKind::BadGateway,
            ProblemKind::TooManyRequests | ProblemKind::QuotaExceeded => ProblemKind::Unavailable,
            kind => kind,
        },
        OperatorRejection::NotFound => ProblemKind::SessionNotFound,
        OperatorRejection::UnsupportedOperation => ProblemKind::NotImplemented,
        OperatorRejection::Redirected(_) => ProblemKind::BadGateway,
        OperatorRejection::Unauthorized(_)
        | OperatorRejection::NoToken(_)
        | OperatorRejection::Unreachable(_)
        | OperatorRejection::Backoff(_) => ProblemKind::Unavailable,
    }
}

fn message_of_ledger(error: &ledger::Error, family: Family) -> String {
    match error {
        ledger::Error::Conflict { own_session: Some(id), .. } => {
            format!("{}: your session {id}", conflict_message(family))
        }
        ledger::Error::Conflict { own_session: None, .. } => conflict_message(family).to_owned(),
        ledger::Error::QuotaExceeded { max } => {
            format!("the client may have at most {max} sessions at a time")
        }
        ledger::Error::DailyQuotaExceeded { max, .. } => {
            format!("the client may create at most {max} sessions per day (UTC)")
        }
        ledger::Error::NotFound => "no such session".to_owned(),
        ledger::Error::NotOwner => "the session belongs to another client or user".to_owned(),
        ledger::Error::InvalidState => "only an available session can be extended".to_owned(),
        ledger::Error::DeviceTooBroad => {
            "the device's network contains too many addresses".to_owned()
        }
        ledger::Error::Superseded => {
            "the session was changed by another request; read it again".to_owned()
        }
        ledger::Error::OperatorSessionInUse => {
            "invalid response from the operator; the flow stays reserved until the outcome is known"
                .to_owned()
        }
        ledger::Error::IdempotencyKeyReused => {
            "this `Idempotency-Key` was used with another request".to_owned()
        }
        ledger::Error::RequestInProgress => {
            "a request with this `Idempotency-Key` is still in progress".to_owned()
        }
        ledger::Error::Unavailable(_) => "the ledger is not writable".to_owned(),
    }
}

fn message_of_rejection(rejection: &OperatorRejection, family: Family) -> String {
    match rejection {
        OperatorRejection::Problem(problem) if problem.kind == ProblemKind::Conflict => {
            conflict_message(family).to_owned()
        }
        OperatorRejection::Problem(problem) => match &problem.code {
            Some(code) => format!("the operator rejected the request with {code}"),
            None => "the operator rejected the request".to_owned(),
        },
        OperatorRejection::NotFound => "the operator no longer has this session".to_owned(),
        OperatorRejection::UnsupportedOperation => {
            "the device's operator does not support this operation".to_owned()
        }
        OperatorRejection::Redirected(_)
        | OperatorRejection::Unauthorized(_)
        | OperatorRejection::NoToken(_)
        | OperatorRejection::Unreachable(_)
        | OperatorRejection::Backoff(_) => "the device's operator is unavailable".to_owned(),
    }
}

// Up to 0.10, the sentences are those of the CAMARA releases.
const fn conflict_message(family: Family) -> &'static str {
    match family {
        Family::V01 | Family::V08 => "Another session is created for the same UE",
        Family::V010 => "Another session is created for the same device",
        Family::V011 | Family::V1 => "Another session uses this flow of the device",
    }
}

macro_rules! from_errors {
    ($($variant:ident($error:ty)),* $(,)?) => {
        $(impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from_errors! {
    UnsupportedMedia(UnsupportedMediaType),
    Unauthenticated(AuthRejection),
    Forbidden(AccessDenied),
    RateLimited(TooManyRequests),
    Malformed(MalformedRequest),
    NoOperator(NoOperator),
    Untranslatable(Untranslatable),
    Ledger(ledger::Error),
}

impl From<FinderError> for Refusal {
    fn from(not_found: FinderError) -> Self {
        match not_found {
            FinderError::NoOperator(no_operator) => Self::NoOperator(no_operator),
            FinderError::Unavailable(unanswered) => Self::FinderUnavailable(unanswered),
        }
    }
}

#[cfg(test)]
mod tests;
