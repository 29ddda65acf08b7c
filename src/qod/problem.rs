//! What a caller is told when the answer is no.

use std::{borrow::Cow, time::Duration};

/// What kind of no it is, in no dialect's words. Rooms and operators' answers are sorted into
/// these; the refusal table gives each its status and code in each family of dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The request is not of the form that the API asks for.
    InvalidArgument,
    /// A number lies outside its range.
    OutOfRange,
    /// The duration lies outside what the profile, the operator or the client's terms allow.
    DurationOutOfRange,
    /// The sink is not a URL that may be notified.
    InvalidSink,
    /// The sink's credential is of a type that is not supported.
    InvalidCredential,
    /// The sink's access token is incomplete.
    InvalidToken,
    /// The sink's credential would have to be fetched with a key that the gateway does not have.
    CredentialNotConfigured,
    /// No access token, or one that does not hold.
    Unauthenticated,
    /// The token's scope or the client's terms do not allow it, or the session is somebody else's.
    PermissionDenied,
    /// There is no such session.
    SessionNotFound,
    /// There is no such profile.
    ProfileNotFound,
    /// There is no such path.
    PathNotFound,
    /// No operator serves the device.
    DeviceNotFound,
    /// The operator cannot look the device up by any identifier given.
    UnsupportedIdentifier,
    /// Neither the token nor the body names a device.
    MissingIdentifier,
    /// The token names a device already.
    UnnecessaryIdentifier,
    /// The token names another device.
    OtherDevice,
    /// The operator does not offer what was asked.
    NotApplicable,
    /// The profile is known, but not offered now.
    ProfileNotApplicable,
    /// Another session holds the device's flow.
    Conflict,
    /// A session that is not available cannot be extended.
    ExtensionNotAllowed,
    /// Too many requests.
    TooManyRequests,
    /// Too many sessions at one time.
    QuotaExceeded,
    /// The path knows no such method.
    MethodNotAllowed,
    /// The body is not JSON by its content type, or is encoded.
    UnsupportedMediaType,
    /// The body is too large.
    ContentTooLarge,
    /// The header is too large.
    HeaderTooLarge,
    /// The operator has no such operation.
    NotImplemented,
    /// The operator or a part of the gateway is not there now.
    Unavailable,
    /// The operator did not answer in time.
    Timeout,
    /// The operator answered what nobody can read.
    BadGateway,
    /// The gateway's own fault.
    Internal,
}

/// CAMARA's `ErrorInfo`, and what goes with it into the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub kind: Kind,
    /// The HTTP status.
    pub status: u16,
    /// A code for programs.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: String,
    /// For `Retry-After` and the `RateLimit` fields.
    pub pace: Option<Pace>,
    /// For `WWW-Authenticate`: how else one may ask.
    pub challenge: Option<&'static str>,
    /// For `Retry-After` alone: when to come again, where no limit was reached.
    pub retry_after: Option<Duration>,
}

/// How a limit stands (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Which limit, in a word.
    pub policy: &'static str,
    /// How many requests it allows in its window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
    /// How many are left.
    pub remaining: u32,
    /// When to come again.
    pub retry_after: Duration,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::InvalidArgument,
        Self::OutOfRange,
        Self::DurationOutOfRange,
        Self::InvalidSink,
        Self::InvalidCredential,
        Self::InvalidToken,
        Self::CredentialNotConfigured,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::SessionNotFound,
        Self::ProfileNotFound,
        Self::PathNotFound,
        Self::DeviceNotFound,
        Self::UnsupportedIdentifier,
        Self::MissingIdentifier,
        Self::UnnecessaryIdentifier,
        Self::OtherDevice,
        Self::NotApplicable,
        Self::ProfileNotApplicable,
        Self::Conflict,
        Self::ExtensionNotAllowed,
        Self::TooManyRequests,
        Self::QuotaExceeded,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::ContentTooLarge,
        Self::HeaderTooLarge,
        Self::NotImplemented,
        Self::Unavailable,
        Self::Timeout,
        Self::BadGateway,
        Self::Internal,
    ];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in metrics and audit lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::OutOfRange => "out_of_range",
            Self::DurationOutOfRange => "duration_out_of_range",
            Self::InvalidSink => "invalid_sink",
            Self::InvalidCredential => "invalid_credential",
            Self::InvalidToken => "invalid_token",
            Self::CredentialNotConfigured => "credential_not_configured",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::SessionNotFound => "session_not_found",
            Self::ProfileNotFound => "profile_not_found",
            Self::PathNotFound => "path_not_found",
            Self::DeviceNotFound => "device_not_found",
            Self::UnsupportedIdentifier => "unsupported_identifier",
            Self::MissingIdentifier => "missing_identifier",
            Self::UnnecessaryIdentifier => "unnecessary_identifier",
            Self::OtherDevice => "other_device",
            Self::NotApplicable => "not_applicable",
            Self::ProfileNotApplicable => "profile_not_applicable",
            Self::Conflict => "conflict",
            Self::ExtensionNotAllowed => "extension_not_allowed",
            Self::TooManyRequests => "too_many_requests",
            Self::QuotaExceeded => "quota_exceeded",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::ContentTooLarge => "content_too_large",
            Self::HeaderTooLarge => "header_too_large",
            Self::NotImplemented => "not_implemented",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::BadGateway => "bad_gateway",
            Self::Internal => "internal",
        }
    }
}
