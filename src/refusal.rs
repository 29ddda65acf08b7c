//! All that the gateway says no with, in two tables.
//!
//! A room knows its own errors and nothing of HTTP. The first table sorts every error of every room
//! into a kind; the second gives each kind its status and code in each family of dialects (CAMARA's
//! released documents; where a release documents none, the nearest that it does). Neither has a
//! wildcard: what is new does not compile until it stands here.

use std::borrow::Cow;

use crate::{
    access::Forbidden,
    dialect::{Descriptor, Family, Malformed, Unfit, UnrecognisedReason, WrongMedia},
    identity::Unauthenticated,
    ledger,
    limit::TooMany,
    operator::{No, Silence},
    qod::{Kind, Pace, Problem},
    route::NoOperator,
};

/// Why a request was not served.
#[derive(Debug)]
pub enum Refusal {
    /// The path or method is of no API.
    Unrecognised(UnrecognisedReason),
    /// The body is not of a type that is read here.
    Media(WrongMedia),
    /// The header or body was not read.
    Unread(Unread),
    /// The token did not hold.
    Unauthenticated(Unauthenticated),
    /// The client may not do this.
    Forbidden(Forbidden),
    /// A client of mock tokens was led to an operator that is not simulated.
    MockOnly,
    /// The client asks too often.
    TooMany(TooMany),
    /// The body is not what the API's schema asks for.
    Malformed(Malformed),
    /// Nobody says whose traffic it is.
    NoDevice,
    /// No operator of ours serves the device.
    NoOperator(NoOperator),
    /// The operator cannot be asked for this.
    Unfit(Unfit),
    /// The ledger said no.
    Ledger(ledger::Error),
    /// The client's terms end before the session would.
    TooLong {
        /// The longest that they allow, in seconds.
        duration_s_max: u32,
    },
    /// The token of the client's sink is over before the session would be.
    SinkTokenExpires,
    /// A session that is not available cannot be extended.
    NotAvailable,
    /// The `Idempotency-Key` is none, or there are several.
    BadIdempotencyKey,
    /// Nobody knows yet whether the session exists.
    InDoubt,
    /// The operator said no.
    Operator(No),
    /// Nobody knows what the operator did.
    Silence(Silence),
    /// A part of the gateway fell over.
    Broken(&'static str),
}

/// Why a request was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not sound HTTP.
    Framing(&'static str),
    /// Its header is too large.
    HeaderTooLarge,
    /// Its body is too large.
    BodyTooLarge,
    /// There are too many requests at once.
    Busy,
    /// The answer was not ready in time.
    Late,
    /// The gateway fell over it.
    Broken,
}

/// A no of this kind, in the words of a dialect.
pub fn problem_of(kind: Kind, message: String, told_in: &Descriptor) -> Problem {
    let (status, code) = status_and_code(kind, told_in);
    Problem { kind, status, code, message, pace: None }
}

impl Refusal {
    /// What the client is told, in the words of its dialect.
    pub fn problem(&self, told_in: &Descriptor) -> Problem {
        let problem = problem_of(self.kind(), self.message(told_in), told_in);
        Problem { pace: self.pace(), ..problem }
    }

    /// What kind of no it is.
    #[expect(clippy::match_same_arms, reason = "a table: one row a reason")]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unrecognised(UnrecognisedReason::NoSuchPath) => Kind::PathNotFound,
            Self::Unrecognised(UnrecognisedReason::NoSuchMethod { .. }) => Kind::MethodNotAllowed,
            Self::Media(_) => Kind::UnsupportedMediaType,
            Self::Unread(Unread::Framing(_)) => Kind::InvalidArgument,
            Self::Unread(Unread::HeaderTooLarge) => Kind::HeaderTooLarge,
            Self::Unread(Unread::BodyTooLarge) => Kind::ContentTooLarge,
            Self::Unread(Unread::Busy) => Kind::Unavailable,
            Self::Unread(Unread::Late) => Kind::Timeout,
            Self::Unread(Unread::Broken) | Self::Broken(_) => Kind::Internal,
            Self::Unauthenticated(Unauthenticated::KeysUnavailable) => Kind::Unavailable,
            Self::Unauthenticated(
                Unauthenticated::Missing | Unauthenticated::Malformed | Unauthenticated::Invalid(_),
            ) => Kind::Unauthenticated,
            Self::Forbidden(
                Forbidden::Scope { .. }
                | Forbidden::Stranger
                | Forbidden::Operator
                | Forbidden::Profile,
            )
            | Self::MockOnly => Kind::PermissionDenied,
            Self::Forbidden(Forbidden::ProfileInactive) => Kind::ProfileNotApplicable,
            Self::Forbidden(Forbidden::Duration { .. }) | Self::TooLong { .. } => {
                Kind::DurationOutOfRange
            }
            Self::TooMany(_) => Kind::TooManyRequests,
            Self::Malformed(malformed) => malformed.kind(),
            Self::BadIdempotencyKey => Kind::InvalidArgument,
            Self::NoDevice => Kind::MissingIdentifier,
            Self::NoOperator(NoOperator::NoRule) => Kind::DeviceNotFound,
            Self::NoOperator(NoOperator::Disagreement) => Kind::InvalidArgument,
            Self::Unfit(unfit) => kind_of_unfit(unfit),
            Self::Ledger(error) => kind_of_ledger(error),
            Self::SinkTokenExpires => Kind::InvalidToken,
            Self::NotAvailable => Kind::ExtensionNotAllowed,
            Self::InDoubt => Kind::Unavailable,
            Self::Operator(no) => kind_of_no(no),
            Self::Silence(Silence::Lost(_)) => Kind::Timeout,
            Self::Silence(Silence::Unreadable { .. } | Silence::Failed(_)) => Kind::BadGateway,
        }
    }

    /// What the log is told, and the client is not.
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::Unauthenticated(error) => Some(format!("{error:?}")),
            Self::Ledger(ledger::Error::Unavailable(cause)) => Some(cause.clone()),
            Self::Operator(No::Said(said)) => Some(format!("it said {said:?}")),
            Self::Operator(no) => Some(format!("{no:?}")),
            Self::Silence(silence) => Some(format!("{silence:?}")),
            Self::Broken(what) => Some((*what).to_owned()),
            Self::Unrecognised(_)
            | Self::Media(_)
            | Self::Unread(_)
            | Self::Forbidden(_)
            | Self::MockOnly
            | Self::TooMany(_)
            | Self::Malformed(_)
            | Self::NoDevice
            | Self::NoOperator(_)
            | Self::Unfit(_)
            | Self::Ledger(_)
            | Self::TooLong { .. }
            | Self::SinkTokenExpires
            | Self::NotAvailable
            | Self::BadIdempotencyKey
            | Self::InDoubt => None,
        }
    }

    fn pace(&self) -> Option<Pace> {
        match self {
            Self::TooMany(TooMany { pace }) => Some(*pace),
            _ => None,
        }
    }

    fn message(&self, told_in: &Descriptor) -> String {
        match self {
            Self::Unrecognised(UnrecognisedReason::NoSuchPath) => "no such path".to_owned(),
            Self::Unrecognised(UnrecognisedReason::NoSuchMethod { allow }) => {
                format!("this path takes {allow} only")
            }
            Self::Media(media) => media.to_string(),
            Self::Unread(Unread::Framing(reason)) => (*reason).to_owned(),
            Self::Unread(Unread::HeaderTooLarge) => "the header is too large".to_owned(),
            Self::Unread(Unread::BodyTooLarge) => "the body is too large".to_owned(),
            Self::Unread(Unread::Busy) => "too busy; try again soon".to_owned(),
            Self::Unread(Unread::Late) => {
                "no answer in time; whether it was carried out is not known yet".to_owned()
            }
            Self::Unauthenticated(error) => error.to_string(),
            Self::Forbidden(error) => error.to_string(),
            Self::MockOnly => "a mock token reaches simulated operators only".to_owned(),
            Self::TooMany(error) => error.to_string(),
            Self::Malformed(malformed) => malformed.to_string(),
            Self::NoDevice => "expected a device".to_owned(),
            Self::NoOperator(error) => error.to_string(),
            Self::Unfit(unfit) => unfit.to_string(),
            Self::Ledger(error) => message_of_ledger(error, told_in.family),
            Self::TooLong { duration_s_max } => {
                format!("the client's terms allow at most {duration_s_max} s in all")
            }
            Self::SinkTokenExpires => {
                "the sink's access token is over before the session would be".to_owned()
            }
            Self::NotAvailable => "the session is not available, and cannot be extended".to_owned(),
            Self::BadIdempotencyKey => {
                "expected one `Idempotency-Key` of 1 to 255 visible characters".to_owned()
            }
            Self::InDoubt => "whether this session exists is not known yet".to_owned(),
            Self::Operator(no) => message_of_no(no, told_in.family),
            Self::Silence(Silence::Lost(_)) => {
                "the operator did not answer; the flow stays held until it is known what it did"
                    .to_owned()
            }
            Self::Silence(Silence::Unreadable { .. } | Silence::Failed(_)) => {
                "the operator's answer cannot be used; the flow stays held until it is known what \
                 it did"
                    .to_owned()
            }
            Self::Unread(Unread::Broken) | Self::Broken(_) => {
                "a fault of the gateway's own".to_owned()
            }
        }
    }
}

fn kind_of_unfit(unfit: &Unfit) -> Kind {
    match unfit {
        Unfit::Identifiers { .. } | Unfit::Ipv4NotExpressible => Kind::UnsupportedIdentifier,
        Unfit::Mask { .. } | Unfit::Ports | Unfit::Profile => Kind::InvalidArgument,
        Unfit::DeviceMissing => Kind::MissingIdentifier,
        Unfit::Servers => Kind::NotApplicable,
        Unfit::Duration { .. } => Kind::DurationOutOfRange,
    }
}

fn kind_of_ledger(error: &ledger::Error) -> Kind {
    match error {
        ledger::Error::Taken { .. } | ledger::Error::Unanswered => Kind::Conflict,
        ledger::Error::QuotaExceeded { .. } => Kind::QuotaExceeded,
        ledger::Error::NotFound => Kind::SessionNotFound,
        ledger::Error::NotYours => Kind::PermissionDenied,
        ledger::Error::NotActive => Kind::ExtensionNotAllowed,
        ledger::Error::TooBroad | ledger::Error::OtherRequest => Kind::InvalidArgument,
        ledger::Error::NameTaken => Kind::BadGateway,
        ledger::Error::Lost | ledger::Error::Unavailable(_) => Kind::Unavailable,
    }
}

#[expect(clippy::match_same_arms, reason = "a table: one row a reason")]
fn kind_of_no(no: &No) -> Kind {
    match no {
        // The client's credentials are good; what an operator has against ours is our affair.
        No::Said(said) => match said.kind {
            Kind::Unauthenticated | Kind::PermissionDenied => Kind::Unavailable,
            // Of a request that we have written, the operator's dislike of its form is our fault.
            Kind::MethodNotAllowed
            | Kind::UnsupportedMediaType
            | Kind::ContentTooLarge
            | Kind::HeaderTooLarge
            | Kind::PathNotFound => Kind::BadGateway,
            Kind::TooManyRequests | Kind::QuotaExceeded => Kind::Unavailable,
            kind => kind,
        },
        No::Gone => Kind::SessionNotFound,
        No::NoSuchOperation => Kind::NotImplemented,
        No::Redirected(_) => Kind::BadGateway,
        No::OurCredentials(_) | No::NotReached(_) => Kind::Unavailable,
    }
}

fn message_of_ledger(error: &ledger::Error, family: Family) -> String {
    match error {
        ledger::Error::Taken { own: Some(id), .. } => {
            format!("{}: your session {id}", conflict_in(family))
        }
        ledger::Error::Taken { own: None, .. } => conflict_in(family).to_owned(),
        ledger::Error::QuotaExceeded { max } => {
            format!("at most {max} sessions may be held at one time")
        }
        ledger::Error::NotFound => "no such session".to_owned(),
        ledger::Error::NotYours => "the session is not this client's".to_owned(),
        ledger::Error::NotActive => {
            "the session is not available, and cannot be extended".to_owned()
        }
        ledger::Error::TooBroad => "the device's address names too many devices".to_owned(),
        ledger::Error::Lost => "the session changed meanwhile; look at it again".to_owned(),
        ledger::Error::NameTaken => {
            "the operator's answer cannot be used; the flow stays held until it is known what it did"
                .to_owned()
        }
        ledger::Error::OtherRequest => {
            "this `Idempotency-Key` came with another request before".to_owned()
        }
        ledger::Error::Unanswered => {
            "this very request came before, and what became of it is not known yet".to_owned()
        }
        ledger::Error::Unavailable(_) => "sessions cannot be written down now".to_owned(),
    }
}

fn message_of_no(no: &No, family: Family) -> String {
    match no {
        No::Said(said) if said.kind == Kind::Conflict => conflict_in(family).to_owned(),
        No::Said(said) => match &said.code {
            Some(code) => format!("the operator refused with {code}"),
            None => "the operator refused".to_owned(),
        },
        No::Gone => "the operator knows this session no longer".to_owned(),
        No::NoSuchOperation => "the device's operator has no such operation".to_owned(),
        No::Redirected(_) | No::OurCredentials(_) | No::NotReached(_) => {
            "the device's operator cannot be asked now".to_owned()
        }
    }
}

// Up to 0.10 the sentences of the releases themselves.
const fn conflict_in(family: Family) -> &'static str {
    match family {
        Family::V08 => "Another session is created for the same UE",
        Family::V010 => "Another session is created for the same device",
        Family::V011 | Family::V1 => "Another session holds this flow of the device",
    }
}

fn status_and_code(kind: Kind, told_in: &Descriptor) -> (u16, Cow<'static, str>) {
    let (status, code) = match told_in.family {
        Family::V08 => in_0_8(kind, told_in),
        Family::V010 => in_0_10(kind, told_in),
        Family::V011 => in_0_11(kind, told_in),
        Family::V1 => in_1(kind, told_in),
    };
    (status, Cow::Borrowed(code))
}

/// CAMARA 0.8. It documents 400, 401, 403, 404, 409, 500 and 503; 405 and 429 have no neighbour.
const fn in_0_8(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument
        | Kind::OutOfRange
        | Kind::DurationOutOfRange
        | Kind::InvalidSink
        | Kind::InvalidCredential
        | Kind::InvalidToken
        | Kind::DeviceNotFound
        | Kind::UnsupportedIdentifier
        | Kind::MissingIdentifier
        | Kind::UnnecessaryIdentifier
        | Kind::NotApplicable
        | Kind::ProfileNotApplicable
        | Kind::ExtensionNotAllowed
        | Kind::UnsupportedMediaType
        | Kind::ContentTooLarge
        | Kind::HeaderTooLarge
        | Kind::NotImplemented => (400, "INVALID_INPUT"),
        Kind::Unauthenticated => (401, "UNAUTHORIZED"),
        Kind::PermissionDenied => (403, "FORBIDDEN"),
        Kind::SessionNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
        Kind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Kind::Conflict => (409, "CONFLICT"),
        Kind::TooManyRequests | Kind::QuotaExceeded => (429, "TOO_MANY_REQUESTS"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::Unavailable | Kind::Timeout | Kind::BadGateway => (503, told_in.unavailable_code),
    }
}

/// CAMARA 0.9 and 0.10: those of 0.8, and 501.
const fn in_0_10(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument
        | Kind::InvalidSink
        | Kind::InvalidCredential
        | Kind::InvalidToken
        | Kind::DeviceNotFound
        | Kind::UnsupportedIdentifier
        | Kind::MissingIdentifier
        | Kind::UnnecessaryIdentifier
        | Kind::ProfileNotApplicable
        | Kind::ExtensionNotAllowed
        | Kind::UnsupportedMediaType
        | Kind::ContentTooLarge
        | Kind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        Kind::OutOfRange | Kind::DurationOutOfRange => (400, "OUT_OF_RANGE"),
        Kind::Unauthenticated => (401, "UNAUTHENTICATED"),
        Kind::PermissionDenied => (403, "PERMISSION_DENIED"),
        Kind::SessionNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
        Kind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Kind::Conflict => (409, "CONFLICT"),
        Kind::TooManyRequests | Kind::QuotaExceeded => (429, "TOO_MANY_REQUESTS"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::NotApplicable | Kind::NotImplemented => (501, "NOT_IMPLEMENTED"),
        Kind::Unavailable | Kind::Timeout | Kind::BadGateway => (503, told_in.unavailable_code),
    }
}

/// CAMARA 0.11. It has no code for an identifier of the wrong kind, or for none: the device cannot be
/// identified. 405, 413 and 415 are not its own.
const fn in_0_11(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument | Kind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        Kind::OutOfRange => (400, "OUT_OF_RANGE"),
        Kind::DurationOutOfRange => (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
        Kind::InvalidSink => (400, told_in.sink_code),
        Kind::InvalidCredential => (400, "INVALID_CREDENTIAL"),
        Kind::InvalidToken => (400, "INVALID_TOKEN"),
        Kind::ProfileNotApplicable => told_in.profile_not_applicable,
        Kind::Unauthenticated => (401, "UNAUTHENTICATED"),
        Kind::PermissionDenied => (403, "PERMISSION_DENIED"),
        Kind::UnnecessaryIdentifier => (403, "INVALID_TOKEN_CONTEXT"),
        Kind::SessionNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
        Kind::DeviceNotFound => (404, "DEVICE_NOT_FOUND"),
        Kind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Kind::Conflict => (409, "CONFLICT"),
        Kind::ExtensionNotAllowed => (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
        Kind::ContentTooLarge => (413, "CONTENT_TOO_LARGE"),
        Kind::UnsupportedMediaType => (415, "UNSUPPORTED_MEDIA_TYPE"),
        Kind::UnsupportedIdentifier | Kind::MissingIdentifier => (422, "UNIDENTIFIABLE_DEVICE"),
        Kind::NotApplicable | Kind::NotImplemented => (422, "DEVICE_NOT_APPLICABLE"),
        Kind::TooManyRequests => (429, "TOO_MANY_REQUESTS"),
        Kind::QuotaExceeded => (429, "QUOTA_EXCEEDED"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::Unavailable | Kind::Timeout | Kind::BadGateway => (503, told_in.unavailable_code),
    }
}

/// CAMARA 1.0 and 1.1, and what CAMARA's Commonalities have for all APIs: 405, 415, 500 to 504.
/// They have no 413.
const fn in_1(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument | Kind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        Kind::OutOfRange => (400, "OUT_OF_RANGE"),
        Kind::DurationOutOfRange => (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
        Kind::InvalidSink => (400, told_in.sink_code),
        Kind::InvalidCredential => (400, "INVALID_CREDENTIAL"),
        Kind::InvalidToken => (400, "INVALID_TOKEN"),
        Kind::Unauthenticated => (401, "UNAUTHENTICATED"),
        Kind::PermissionDenied => (403, "PERMISSION_DENIED"),
        Kind::SessionNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
        Kind::DeviceNotFound => (404, "IDENTIFIER_NOT_FOUND"),
        Kind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Kind::Conflict => (409, "CONFLICT"),
        Kind::ExtensionNotAllowed => (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED"),
        Kind::ContentTooLarge => (413, "CONTENT_TOO_LARGE"),
        Kind::UnsupportedMediaType => (415, "UNSUPPORTED_MEDIA_TYPE"),
        Kind::UnsupportedIdentifier => (422, "UNSUPPORTED_IDENTIFIER"),
        Kind::MissingIdentifier => (422, "MISSING_IDENTIFIER"),
        Kind::UnnecessaryIdentifier => (422, "UNNECESSARY_IDENTIFIER"),
        Kind::NotApplicable | Kind::NotImplemented => (422, "SERVICE_NOT_APPLICABLE"),
        Kind::ProfileNotApplicable => told_in.profile_not_applicable,
        Kind::TooManyRequests => (429, "TOO_MANY_REQUESTS"),
        Kind::QuotaExceeded => (429, "QUOTA_EXCEEDED"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::BadGateway => (502, "BAD_GATEWAY"),
        Kind::Unavailable => (503, told_in.unavailable_code),
        Kind::Timeout => (504, "TIMEOUT"),
    }
}

macro_rules! from_rooms {
    ($($variant:ident($error:ty)),* $(,)?) => {
        $(impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}

from_rooms! {
    Media(WrongMedia),
    Unauthenticated(Unauthenticated),
    Forbidden(Forbidden),
    TooMany(TooMany),
    Malformed(Malformed),
    NoOperator(NoOperator),
    Unfit(Unfit),
    Ledger(ledger::Error),
}

#[cfg(test)]
mod tests;
