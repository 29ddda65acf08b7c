//! Problems: the errors reported to API clients.

use std::{borrow::Cow, time::Duration};

/// The kind of a problem, independent of the dialect. Stages and operator responses map to these
/// kinds; the refusal table maps each to a status and code per family of dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The request is malformed.
    InvalidArgument,
    /// A number is out of range.
    OutOfRange,
    /// The duration is outside the limits of the profile, the operator or the client's terms.
    DurationOutOfRange,
    /// The sink is not an allowed URL.
    InvalidSink,
    /// The type of the sink credential is not supported.
    InvalidCredential,
    /// The sink's access token is incomplete.
    InvalidToken,
    /// The gateway has no key to obtain a token for the sink credential.
    CredentialNotConfigured,
    /// The access token is missing or invalid.
    Unauthenticated,
    /// The token's scope or the client's terms do not allow the request, or the session belongs to
    /// another client.
    PermissionDenied,
    /// The session does not exist.
    SessionNotFound,
    /// The profile does not exist.
    ProfileNotFound,
    /// The path does not exist.
    PathNotFound,
    /// No operator serves the device.
    DeviceNotFound,
    /// The operator supports none of the given device identifiers.
    UnsupportedIdentifier,
    /// Neither the token nor the body identifies a device.
    MissingIdentifier,
    /// The token already identifies a device.
    UnnecessaryIdentifier,
    /// The token identifies another device.
    OtherDevice,
    /// The device's identifiers belong to different devices or operators.
    IdentifierMismatch,
    /// The operator does not offer the requested service.
    NotApplicable,
    /// The profile exists, but new sessions of the device cannot use it.
    ProfileNotApplicable,
    /// Another session has reserved the device's flow.
    Conflict,
    /// A session that is not available cannot be extended.
    ExtensionNotAllowed,
    /// Another request changes the session at the same time.
    ConcurrentChange,
    /// Another request extends or changes the session at the same time as an extension.
    ConcurrentExtension,
    /// The operator cannot extend sessions.
    ExtensionNotSupported,
    /// Too many requests.
    TooManyRequests,
    /// Too many concurrent sessions.
    QuotaExceeded,
    /// The path does not support the method.
    MethodNotAllowed,
    /// The content type is not JSON, or the body has a content encoding.
    UnsupportedMediaType,
    /// The body is too large.
    ContentTooLarge,
    /// The header is too large.
    HeaderTooLarge,
    /// The operator does not support the operation.
    NotImplemented,
    /// The operator or a part of the gateway is unavailable.
    Unavailable,
    /// The operator did not respond in time.
    Timeout,
    /// The operator's response is invalid.
    BadGateway,
    /// An internal error of the gateway.
    Internal,
}

/// CAMARA's `ErrorInfo` with its response header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// The HTTP status.
    pub status: u16,
    /// The machine-readable code.
    pub code: Cow<'static, str>,
    /// The human-readable message.
    pub message: String,
    /// For `Retry-After` and the `RateLimit` fields.
    pub rate_limit: Option<RateLimitStatus>,
    /// For `WWW-Authenticate`: the challenge.
    pub challenge: Option<Cow<'static, str>>,
    /// For `Retry-After` without a rate limit.
    pub retry_after: Option<Duration>,
}

/// The state of a rate limit (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// The name of the limit.
    pub policy: &'static str,
    /// The number of requests allowed per window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
    /// The number of remaining requests.
    pub remaining: u32,
    /// The delay until the next request is allowed.
    pub retry_after: Duration,
}

impl ProblemKind {
    /// All kinds.
    pub const ALL: [Self; 36] = [
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
        Self::IdentifierMismatch,
        Self::NotApplicable,
        Self::ProfileNotApplicable,
        Self::Conflict,
        Self::ExtensionNotAllowed,
        Self::ConcurrentChange,
        Self::ConcurrentExtension,
        Self::ExtensionNotSupported,
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

    /// Finds the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in metrics and audit records.
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
            Self::IdentifierMismatch => "identifier_mismatch",
            Self::NotApplicable => "not_applicable",
            Self::ProfileNotApplicable => "profile_not_applicable",
            Self::Conflict => "conflict",
            Self::ExtensionNotAllowed => "extension_not_allowed",
            Self::ConcurrentChange => "concurrent_change",
            Self::ConcurrentExtension => "concurrent_extension",
            Self::ExtensionNotSupported => "extension_not_supported",
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
