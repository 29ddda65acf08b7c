//! All that the gateway says no with, in two tables.
//!
//! A room knows its own errors and nothing of HTTP. The first table sorts every error of every room
//! into a kind; the second gives each kind its status and code in each family of dialects (CAMARA's
//! released documents; where a release documents none, the nearest that it does). Neither has a
//! wildcard: what is new does not compile until it stands here.

use std::time::Duration;

use crate::{
    access::Forbidden,
    dialect::{Descriptor, Family, Malformed, Unfit, UnrecognisedReason, WrongMedia},
    finder::{NoAnswer, NotFound, Unanswered},
    identity::{NotProved, Refused, Unauthenticated},
    ledger,
    limit::TooMany,
    operator::{No, Silence},
    qod::{Kind, Pace, Problem},
    route::NoOperator,
};

mod codes;

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
    Unauthenticated(Refused),
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
    /// The body names a device, and the token does so too.
    DeviceNamedTwice,
    /// The body names another device than the token does.
    OtherDevice,
    /// There is no such profile, or none for this client.
    NoProfile,
    /// No operator of ours serves the device.
    NoOperator(NoOperator),
    /// Who knows the device's operator cannot be asked now.
    Unanswered(Unanswered),
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
    /// The network cannot grant the session, and the dialect has no word for such a one.
    NeverGranted,
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
    let (status, code) = codes::of(kind, told_in);
    Problem {
        kind,
        status,
        code: code.into(),
        message,
        pace: None,
        challenge: None,
        retry_after: None,
    }
}

impl Refusal {
    /// What the client is told, in the words of its dialect.
    pub fn problem(&self, told_in: &Descriptor) -> Problem {
        let problem = problem_of(self.kind(), self.message(told_in), told_in);
        let (pace, retry_after) = (self.pace(), self.retry_after());
        Problem { pace, challenge: self.challenge(), retry_after, ..problem }
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
            Self::Unauthenticated(refused) => kind_of_unauthenticated(refused.why),
            Self::Forbidden(
                Forbidden::Scope { .. }
                | Forbidden::Stranger
                | Forbidden::Operator
                | Forbidden::Profile
                | Forbidden::Network
                | Forbidden::Dialect,
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
            Self::DeviceNamedTwice => Kind::UnnecessaryIdentifier,
            Self::OtherDevice => Kind::OtherDevice,
            Self::NoProfile => Kind::ProfileNotFound,
            Self::NoOperator(NoOperator::NoRule) => Kind::DeviceNotFound,
            Self::NoOperator(NoOperator::NotYet) => Kind::Unavailable,
            Self::NoOperator(NoOperator::Disagreement) => Kind::InvalidArgument,
            Self::Unanswered(_) => Kind::Unavailable,
            Self::Unfit(unfit) => kind_of_unfit(unfit),
            Self::Ledger(error) => kind_of_ledger(error),
            Self::SinkTokenExpires => Kind::InvalidToken,
            Self::NotAvailable => Kind::ExtensionNotAllowed,
            Self::NeverGranted => Kind::Unavailable,
            Self::InDoubt => Kind::Unavailable,
            Self::Operator(no) => kind_of_no(no),
            Self::Silence(Silence::Lost(_)) => Kind::Timeout,
            Self::Silence(Silence::Unreadable { .. } | Silence::Failed(_)) => Kind::BadGateway,
        }
    }

    /// What the log is told, and the client is not.
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::Unauthenticated(refused) => Some(format!("{:?}", refused.why)),
            Self::Unanswered(Unanswered { finder, why }) => Some(format!("{finder}: {why:?}")),
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
            | Self::DeviceNamedTwice
            | Self::OtherDevice
            | Self::NoProfile
            | Self::NoOperator(_)
            | Self::Unfit(_)
            | Self::Ledger(_)
            | Self::TooLong { .. }
            | Self::SinkTokenExpires
            | Self::NeverGranted
            | Self::NotAvailable
            | Self::BadIdempotencyKey
            | Self::InDoubt => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Operator(No::Resting(resting)) => Some(resting.retry_after),
            Self::Unanswered(Unanswered { why: NoAnswer::Resting(left), .. }) => Some(*left),
            _ => None,
        }
    }

    fn pace(&self) -> Option<Pace> {
        match self {
            Self::TooMany(TooMany { pace }) => Some(*pace),
            Self::Ledger(error) => error.pace(),
            _ => None,
        }
    }

    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated(refused) => Some(refused.challenge),
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
            Self::OtherDevice => "the access token is for another device".to_owned(),
            Self::DeviceNamedTwice => "the access token names the device already".to_owned(),
            Self::NoProfile => "there is no such QoS profile".to_owned(),
            Self::NoOperator(error) => error.to_string(),
            Self::Unanswered(_) => {
                "which operator serves this device cannot be found out now".to_owned()
            }
            Self::Unfit(unfit) => unfit.to_string(),
            Self::Ledger(error) => message_of_ledger(error, told_in.family),
            Self::TooLong { duration_s_max } => {
                format!("the client's terms allow at most {duration_s_max} s in all")
            }
            Self::SinkTokenExpires => {
                "the sink's access token is over before the session would be".to_owned()
            }
            Self::NeverGranted => "the network cannot grant the session now".to_owned(),
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

fn kind_of_unauthenticated(why: Unauthenticated) -> Kind {
    match why {
        Unauthenticated::KeysUnavailable | Unauthenticated::NotProved(_, NotProved::Full) => {
            Kind::Unavailable
        }
        Unauthenticated::Missing
        | Unauthenticated::Malformed
        | Unauthenticated::Invalid(_)
        | Unauthenticated::NotProved(..) => Kind::Unauthenticated,
    }
}

fn kind_of_unfit(unfit: &Unfit) -> Kind {
    match unfit {
        Unfit::Identifiers { .. } | Unfit::Ipv4NotExpressible => Kind::UnsupportedIdentifier,
        Unfit::Mask { .. } | Unfit::Ports | Unfit::Profile => Kind::InvalidArgument,
        Unfit::DeviceMissing => Kind::MissingIdentifier,
        Unfit::Servers | Unfit::ManyPorts => Kind::NotApplicable,
        Unfit::PortTooLow { .. } => Kind::OutOfRange,
        Unfit::Duration { .. } => Kind::DurationOutOfRange,
    }
}

fn kind_of_ledger(error: &ledger::Error) -> Kind {
    match error {
        ledger::Error::Taken { .. } | ledger::Error::Unanswered => Kind::Conflict,
        ledger::Error::QuotaExceeded { .. } | ledger::Error::DayQuotaExceeded { .. } => {
            Kind::QuotaExceeded
        }
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
        No::OurCredentials(_) | No::NoToken(_) | No::NotReached(_) | No::Resting(_) => {
            Kind::Unavailable
        }
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
        ledger::Error::DayQuotaExceeded { max, .. } => {
            format!("at most {max} sessions may be begun in one day (UTC)")
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
        No::Redirected(_)
        | No::OurCredentials(_)
        | No::NoToken(_)
        | No::NotReached(_)
        | No::Resting(_) => "the device's operator cannot be asked now".to_owned(),
    }
}

// Up to 0.10 the sentences of the releases themselves.
const fn conflict_in(family: Family) -> &'static str {
    match family {
        Family::V01 | Family::V08 => "Another session is created for the same UE",
        Family::V010 => "Another session is created for the same device",
        Family::V011 | Family::V1 => "Another session holds this flow of the device",
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
    Unauthenticated(Refused),
    Forbidden(Forbidden),
    TooMany(TooMany),
    Malformed(Malformed),
    NoOperator(NoOperator),
    Unfit(Unfit),
    Ledger(ledger::Error),
}

impl From<NotFound> for Refusal {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::NoOperator(no) => Self::NoOperator(no),
            NotFound::Unanswered(unanswered) => Self::Unanswered(unanswered),
        }
    }
}

#[cfg(test)]
mod tests;
