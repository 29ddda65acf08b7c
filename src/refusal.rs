//! All rejections of the gateway, in two tables.
//!
//! A module defines its own errors, without HTTP. The first table maps each error of each module to a
//! kind; the second maps each kind to a status and a code in each group of dialects (as the CAMARA
//! release documents them; where a release documents none, the nearest one that it documents). Neither
//! table has a wildcard: a new error does not compile until it has an entry. A third table,
//! `refusal/causes.rs`, gives each error its cause for the audit record.

use std::{borrow::Cow, time::Duration};

use self::messages::{
    message_of_extension, message_of_http_rejection, message_of_ledger, message_of_rejection,
};
use crate::{
    access::AccessDenied,
    credentials,
    dialect::{
        Descriptor, MalformedRequest, UnmatchedReason, UnsupportedMediaType, Untranslatable,
    },
    finder::{FinderError, FinderFailure, FinderUnavailable},
    identity::{AuthRejection, ProofError, Unauthenticated, insufficient_scope_challenge},
    ledger,
    limit::{NotAdmitted, TooManyRequests},
    operator::{OperatorRejection, UnknownCause},
    qod::{Problem, ProblemKind, RateLimitStatus},
    route::NoOperator,
    service::HttpRejection,
};

// When to repeat a request that met a concurrent change.
const CONCURRENT_CHANGE_RETRY: Duration = Duration::from_secs(1);
// When to repeat a request whose token could not be verified.
const KEYS_RETRY: Duration = Duration::from_secs(5);
// When to repeat a request that needs the ledger, or the database of all replicas.
const STORE_RETRY: Duration = Duration::from_secs(1);

mod causes;
mod messages;
mod codes;

/// The reason why a request is rejected.
#[derive(Debug)]
pub enum Refusal {
    /// No API has this path, or the path does not have this method.
    Unrecognised(UnmatchedReason),
    /// The media type or the content encoding of the body is not supported.
    UnsupportedMedia(UnsupportedMediaType),
    /// The server did not read the request completely, or did not answer it.
    Http(HttpRejection),
    /// The access token or its proof of possession is missing or not valid.
    Unauthenticated(AuthRejection),
    /// The token's scopes or the client's terms do not allow the request.
    Forbidden(AccessDenied),
    /// A client with a mock token requested a session of an operator that is not simulated.
    MockOnly,
    /// A rate limit is exceeded.
    RateLimited(TooManyRequests),
    /// The shared rate limits cannot be checked.
    LimitsUnavailable,
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
    /// The host of the client's sink is an address that may not be called.
    SinkForbidden,
    /// The access token of the client's sink expires before the session ends.
    SinkTokenExpires,
    /// The operator reports the session as unavailable, a status that the dialect cannot express.
    NotGranted,
    /// A session that is not available cannot be extended.
    SessionNotAvailable,
    /// Another request extends or changes the session at this moment.
    ConcurrentExtension,
    /// The `Idempotency-Key` is invalid or repeated.
    InvalidIdempotencyKey,
    /// The session is in doubt: the outcome of its create is unknown.
    InDoubt,
    /// The operator rejected the request, or the request was not sent to it.
    Operator(OperatorRejection),
    /// The operator did not extend a session: it rejected the request, or the request was not sent.
    OperatorExtension(OperatorRejection),
    /// The outcome at the operator is unknown.
    OperatorUnknown(UnknownCause),
    /// An internal error: an invariant is broken, or a task panicked.
    Internal(&'static str),
}

/// The error response for a rejection of this kind, with the status and code of a dialect.
pub fn new_problem(kind: ProblemKind, message: String, dialect: &Descriptor) -> Problem {
    let (status, code) = codes::status_and_code(kind, dialect);
    Problem { kind, status, code, message, rate_limit: None, challenge: None, retry_after: None }
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
            Self::Http(HttpRejection::Framing(_)) => ProblemKind::InvalidArgument,
            Self::Http(HttpRejection::HeaderTooLarge) => ProblemKind::HeaderTooLarge,
            Self::Http(HttpRejection::BodyTooLarge) => ProblemKind::ContentTooLarge,
            Self::Http(HttpRejection::Overloaded | HttpRejection::TooManyUnreadBodies) => {
                ProblemKind::Unavailable
            }
            Self::Http(HttpRejection::ResponseTimeout) => ProblemKind::Timeout,
            Self::Http(HttpRejection::HandlerPanicked) | Self::Internal(_) => ProblemKind::Internal,
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
            Self::Forbidden(
                AccessDenied::ProfileNotActive { .. } | AccessDenied::ProfileNotOffered,
            ) => ProblemKind::ProfileNotApplicable,
            Self::Forbidden(AccessDenied::Duration { .. }) => ProblemKind::DurationOutOfRange,
            // `extend` does not have the code of a create.
            Self::TooLong { .. } => ProblemKind::InvalidArgument,
            Self::RateLimited(_) => ProblemKind::TooManyRequests,
            Self::LimitsUnavailable => ProblemKind::Unavailable,
            Self::Malformed(malformed) => malformed.kind(),
            Self::InvalidIdempotencyKey => ProblemKind::InvalidArgument,
            Self::DeviceMissing => ProblemKind::MissingIdentifier,
            Self::DeviceUnnecessary => ProblemKind::UnnecessaryIdentifier,
            Self::DeviceMismatch => ProblemKind::OtherDevice,
            Self::ProfileNotFound => ProblemKind::ProfileNotFound,
            Self::NoOperator(NoOperator::NoRoute) => ProblemKind::DeviceNotFound,
            Self::NoOperator(NoOperator::UnsupportedIdentifiers) => {
                ProblemKind::UnsupportedIdentifier
            }
            Self::NoOperator(NoOperator::RoutesIncomplete) => ProblemKind::Unavailable,
            Self::NoOperator(NoOperator::Disagreement) => ProblemKind::IdentifierMismatch,
            Self::FinderUnavailable(_) => ProblemKind::Unavailable,
            Self::Untranslatable(untranslatable) => kind_of_untranslatable(untranslatable),
            Self::Ledger(error) => kind_of_ledger(error),
            Self::SinkForbidden => ProblemKind::InvalidSink,
            Self::SinkTokenExpires => ProblemKind::InvalidToken,
            Self::SessionNotAvailable => ProblemKind::ExtensionNotAllowed,
            Self::ConcurrentExtension => ProblemKind::ConcurrentExtension,
            Self::NotGranted => ProblemKind::Unavailable,
            Self::InDoubt => ProblemKind::Unavailable,
            Self::Operator(rejection) => kind_of_rejection(rejection),
            Self::OperatorExtension(rejection) => kind_of_extension(rejection),
            Self::OperatorUnknown(UnknownCause::NoResponse(_)) => ProblemKind::Timeout,
            Self::OperatorUnknown(
                UnknownCause::InvalidResponse { .. } | UnknownCause::ServerError(_),
            ) => ProblemKind::BadGateway,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Operator(rejection) | Self::OperatorExtension(rejection) => {
                rejection.retry_after()
            }
            Self::FinderUnavailable(unavailable) => match unavailable.reason {
                FinderFailure::Backoff(left) => Some(left),
                FinderFailure::NoToken(_) => Some(credentials::FETCH_BACKOFF),
                FinderFailure::Failed | FinderFailure::Timeout | FinderFailure::Busy => None,
            },
            Self::ConcurrentExtension
            | Self::Ledger(ledger::Error::Superseded | ledger::Error::RequestInProgress) => {
                Some(CONCURRENT_CHANGE_RETRY)
            }
            Self::Unauthenticated(rejection)
                if rejection.why == Unauthenticated::KeysUnavailable =>
            {
                Some(KEYS_RETRY)
            }
            Self::Ledger(ledger::Error::Unavailable(_)) | Self::LimitsUnavailable => {
                Some(STORE_RETRY)
            }
            Self::Unauthenticated(rejection) if is_replay_check_unavailable(rejection.why) => {
                Some(STORE_RETRY)
            }
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

    fn challenge(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unauthenticated(rejection) => Some(rejection.challenge.into()),
            Self::Forbidden(AccessDenied::Scope { scheme, needed, .. }) => {
                Some(insufficient_scope_challenge(scheme, needed).into())
            }
            _ => None,
        }
    }

    fn message(&self, dialect: &Descriptor) -> String {
        let conflict = dialect.errors.conflict_message;
        match self {
            Self::Unrecognised(UnmatchedReason::PathNotFound) => "no such path".to_owned(),
            Self::Unrecognised(UnmatchedReason::MethodNotAllowed { allow }) => {
                format!("expected one of the methods {allow}")
            }
            Self::UnsupportedMedia(media) => media.to_string(),
            Self::Http(error) => message_of_http_rejection(*error).to_owned(),
            Self::Unauthenticated(error) => error.to_string(),
            Self::Forbidden(error) => error.to_string(),
            Self::MockOnly => "a mock token is accepted for simulated operators only".to_owned(),
            Self::RateLimited(error) => error.to_string(),
            Self::LimitsUnavailable => "rate limits cannot be checked temporarily".to_owned(),
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
            Self::Ledger(error) => message_of_ledger(error, conflict),
            Self::TooLong { duration_s_max } => {
                format!("the client's terms allow a total duration of at most {duration_s_max} s")
            }
            Self::SinkForbidden => {
                "the sink's address may not be called; expected a public address".to_owned()
            }
            Self::SinkTokenExpires => {
                "the sink's access token expires before the session ends".to_owned()
            }
            Self::NotGranted => "the network cannot provide the session at the moment".to_owned(),
            Self::SessionNotAvailable => "only an available session can be extended".to_owned(),
            Self::ConcurrentExtension => message_of_ledger(&ledger::Error::Superseded, conflict),
            Self::InvalidIdempotencyKey => {
                "expected one `Idempotency-Key` of 1 to 255 visible characters".to_owned()
            }
            Self::InDoubt => {
                "the operator has not confirmed yet whether this session exists".to_owned()
            }
            Self::Operator(rejection) => message_of_rejection(rejection, conflict),
            Self::OperatorExtension(rejection) => message_of_extension(rejection, conflict),
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
            Self::Internal(_) => "internal error".to_owned(),
        }
    }
}

fn is_replay_check_unavailable(why: Unauthenticated) -> bool {
    matches!(why, Unauthenticated::InvalidProof(_, ProofError::ReplayCheckUnavailable))
}

fn kind_of_unauthenticated(why: Unauthenticated) -> ProblemKind {
    match why {
        Unauthenticated::KeysUnavailable
        | Unauthenticated::InvalidProof(
            _,
            ProofError::ReplayCacheFull | ProofError::ReplayCheckUnavailable,
        ) => ProblemKind::Unavailable,
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
        ledger::Error::QuotaExceeded { .. }
        | ledger::Error::DailyQuotaExceeded { .. }
        | ledger::Error::DeviceSessionsExceeded { .. } => ProblemKind::QuotaExceeded,
        ledger::Error::NotFound => ProblemKind::SessionNotFound,
        ledger::Error::NotOwner => ProblemKind::PermissionDenied,
        ledger::Error::InvalidState => ProblemKind::ExtensionNotAllowed,
        ledger::Error::DeviceTooBroad | ledger::Error::IdempotencyKeyReused => {
            ProblemKind::InvalidArgument
        }
        ledger::Error::OperatorSessionInUse => ProblemKind::BadGateway,
        ledger::Error::Superseded => ProblemKind::ConcurrentChange,
        ledger::Error::Unavailable(_) => ProblemKind::Unavailable,
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
        OperatorRejection::PathNotFound(_) | OperatorRejection::Redirected(_) => {
            ProblemKind::BadGateway
        }
        OperatorRejection::Unauthorized(_)
        | OperatorRejection::NoToken(_)
        | OperatorRejection::Unreachable(_)
        | OperatorRejection::Backoff(_) => ProblemKind::Unavailable,
    }
}

// `extend` has codes of its own for a session or an operator that does not permit it.
fn kind_of_extension(rejection: &OperatorRejection) -> ProblemKind {
    match kind_of_rejection(rejection) {
        ProblemKind::NotImplemented
        | ProblemKind::NotApplicable
        | ProblemKind::ProfileNotApplicable
        | ProblemKind::UnsupportedIdentifier
        | ProblemKind::IdentifierMismatch => ProblemKind::ExtensionNotSupported,
        ProblemKind::Conflict => ProblemKind::ExtensionNotAllowed,
        ProblemKind::DurationOutOfRange => ProblemKind::InvalidArgument,
        ProblemKind::DeviceNotFound => ProblemKind::SessionNotFound,
        kind => kind,
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
    Malformed(MalformedRequest),
    NoOperator(NoOperator),
    Untranslatable(Untranslatable),
    Ledger(ledger::Error),
}

impl From<NotAdmitted> for Refusal {
    fn from(not_admitted: NotAdmitted) -> Self {
        match not_admitted {
            NotAdmitted::Exceeded(exceeded) => Self::RateLimited(exceeded),
            NotAdmitted::Unavailable => Self::LimitsUnavailable,
        }
    }
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
