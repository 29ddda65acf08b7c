//! The status and code of each kind of rejection in each group of dialects.

use std::borrow::Cow;

use crate::{
    dialect::{Descriptor, ErrorCodes},
    qod::ProblemKind,
};

/// The status and code of a kind of rejection in a dialect.
pub(super) fn status_and_code(kind: ProblemKind, dialect: &Descriptor) -> (u16, Cow<'static, str>) {
    let custom = dialect.errors.overrides.iter().find(|(own, ..)| *own == kind);
    if let Some((_, status, code)) = custom {
        return (*status, code.clone().into());
    }
    let (status, code) = match dialect.errors.codes {
        ErrorCodes::V0_8 => codes_0_8(kind, dialect),
        ErrorCodes::V0_10 => codes_0_10(kind, dialect),
        ErrorCodes::V0_11 => codes_0_11(kind, dialect),
        ErrorCodes::V1 => codes_1(kind, dialect),
    };
    (status, code.into())
}

// CAMARA 0.8, and the statuses of 0.1. It documents 400, 401, 403, 404, 409, 500 and 503; 405 and 429
// have no near equivalent.
const fn codes_0_8(kind: ProblemKind, dialect: &Descriptor) -> (u16, &'static str) {
    match kind {
        ProblemKind::InvalidArgument
        | ProblemKind::OutOfRange
        | ProblemKind::DurationOutOfRange
        | ProblemKind::InvalidSink
        | ProblemKind::InvalidCredential
        | ProblemKind::InvalidToken
        | ProblemKind::CredentialNotConfigured
        | ProblemKind::DeviceNotFound
        | ProblemKind::UnsupportedIdentifier
        | ProblemKind::MissingIdentifier
        | ProblemKind::UnnecessaryIdentifier
        | ProblemKind::IdentifierMismatch
        | ProblemKind::NotApplicable
        | ProblemKind::ProfileNotApplicable
        | ProblemKind::ExtensionNotAllowed
        | ProblemKind::ExtensionNotSupported
        | ProblemKind::UnsupportedMediaType
        | ProblemKind::ContentTooLarge
        | ProblemKind::HeaderTooLarge
        | ProblemKind::NotImplemented => (400, "INVALID_INPUT"),
        ProblemKind::Unauthenticated => (401, "UNAUTHORIZED"),
        ProblemKind::PermissionDenied | ProblemKind::OtherDevice => (403, "FORBIDDEN"),
        ProblemKind::SessionNotFound | ProblemKind::ProfileNotFound | ProblemKind::PathNotFound => {
            (404, "NOT_FOUND")
        }
        ProblemKind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        ProblemKind::Conflict
        | ProblemKind::ConcurrentChange
        | ProblemKind::ConcurrentExtension => (409, "CONFLICT"),
        ProblemKind::TooManyRequests | ProblemKind::QuotaExceeded => (429, "TOO_MANY_REQUESTS"),
        ProblemKind::Internal => (500, "INTERNAL"),
        ProblemKind::Unavailable | ProblemKind::Timeout | ProblemKind::BadGateway => {
            (503, dialect.errors.unavailable_code)
        }
    }
}

// CAMARA 0.9 and 0.10: as 0.8, and 501.
const fn codes_0_10(kind: ProblemKind, dialect: &Descriptor) -> (u16, &'static str) {
    match kind {
        ProblemKind::InvalidArgument
        | ProblemKind::InvalidSink
        | ProblemKind::InvalidCredential
        | ProblemKind::InvalidToken
        | ProblemKind::CredentialNotConfigured
        | ProblemKind::DeviceNotFound
        | ProblemKind::UnsupportedIdentifier
        | ProblemKind::MissingIdentifier
        | ProblemKind::UnnecessaryIdentifier
        | ProblemKind::IdentifierMismatch
        | ProblemKind::ProfileNotApplicable
        | ProblemKind::ExtensionNotAllowed
        | ProblemKind::UnsupportedMediaType
        | ProblemKind::ContentTooLarge
        | ProblemKind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        ProblemKind::OutOfRange | ProblemKind::DurationOutOfRange => (400, "OUT_OF_RANGE"),
        ProblemKind::Unauthenticated => (401, "UNAUTHENTICATED"),
        ProblemKind::PermissionDenied | ProblemKind::OtherDevice => (403, "PERMISSION_DENIED"),
        ProblemKind::SessionNotFound | ProblemKind::ProfileNotFound | ProblemKind::PathNotFound => {
            (404, "NOT_FOUND")
        }
        ProblemKind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        ProblemKind::Conflict
        | ProblemKind::ConcurrentChange
        | ProblemKind::ConcurrentExtension => (409, "CONFLICT"),
        ProblemKind::TooManyRequests | ProblemKind::QuotaExceeded => (429, "TOO_MANY_REQUESTS"),
        ProblemKind::Internal => (500, "INTERNAL"),
        ProblemKind::NotApplicable
        | ProblemKind::NotImplemented
        | ProblemKind::ExtensionNotSupported => (501, "NOT_IMPLEMENTED"),
        ProblemKind::Unavailable | ProblemKind::Timeout | ProblemKind::BadGateway => {
            (503, dialect.errors.unavailable_code)
        }
    }
}

// CAMARA 0.11: as 1.0, except for these codes. UNIDENTIFIABLE_DEVICE is its code for an unsupported and
// for a missing identifier. It does not document 405, 413 and 415.
const fn codes_0_11(kind: ProblemKind, dialect: &Descriptor) -> (u16, &'static str) {
    match kind {
        ProblemKind::UnnecessaryIdentifier | ProblemKind::OtherDevice => {
            (403, "INVALID_TOKEN_CONTEXT")
        }
        ProblemKind::DeviceNotFound => (404, "DEVICE_NOT_FOUND"),
        ProblemKind::UnsupportedIdentifier | ProblemKind::MissingIdentifier => {
            (422, "UNIDENTIFIABLE_DEVICE")
        }
        ProblemKind::NotApplicable | ProblemKind::NotImplemented => (422, "DEVICE_NOT_APPLICABLE"),
        ProblemKind::Timeout | ProblemKind::BadGateway => (503, dialect.errors.unavailable_code),
        _ => codes_1(kind, dialect),
    }
}

// CAMARA 1.0 to 1.2, and the codes that CAMARA's Commonalities define for all APIs: 405, 415, 500 to
// 504. 413 is not documented.
const fn codes_1(kind: ProblemKind, dialect: &Descriptor) -> (u16, &'static str) {
    match kind {
        ProblemKind::InvalidArgument | ProblemKind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        ProblemKind::OutOfRange => (400, "OUT_OF_RANGE"),
        ProblemKind::DurationOutOfRange => (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
        ProblemKind::InvalidSink => (400, dialect.errors.sink_code),
        ProblemKind::InvalidCredential => (400, "INVALID_CREDENTIAL"),
        ProblemKind::InvalidToken => (400, "INVALID_TOKEN"),
        ProblemKind::CredentialNotConfigured => dialect.errors.private_key_jwt,
        ProblemKind::Unauthenticated => (401, "UNAUTHENTICATED"),
        ProblemKind::PermissionDenied | ProblemKind::OtherDevice => (403, "PERMISSION_DENIED"),
        ProblemKind::SessionNotFound | ProblemKind::ProfileNotFound | ProblemKind::PathNotFound => {
            (404, "NOT_FOUND")
        }
        ProblemKind::DeviceNotFound => (404, "IDENTIFIER_NOT_FOUND"),
        ProblemKind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        ProblemKind::Conflict | ProblemKind::ConcurrentChange => (409, "CONFLICT"),
        ProblemKind::ExtensionNotAllowed
        | ProblemKind::ExtensionNotSupported
        | ProblemKind::ConcurrentExtension => {
            (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED")
        }
        ProblemKind::ContentTooLarge => (413, "CONTENT_TOO_LARGE"),
        ProblemKind::UnsupportedMediaType => (415, "UNSUPPORTED_MEDIA_TYPE"),
        ProblemKind::UnsupportedIdentifier => (422, "UNSUPPORTED_IDENTIFIER"),
        ProblemKind::MissingIdentifier => (422, "MISSING_IDENTIFIER"),
        ProblemKind::UnnecessaryIdentifier => (422, "UNNECESSARY_IDENTIFIER"),
        ProblemKind::NotApplicable | ProblemKind::NotImplemented => (422, "SERVICE_NOT_APPLICABLE"),
        ProblemKind::IdentifierMismatch => dialect.errors.identifier_mismatch,
        ProblemKind::ProfileNotApplicable => dialect.errors.profile_not_applicable,
        ProblemKind::TooManyRequests => (429, "TOO_MANY_REQUESTS"),
        ProblemKind::QuotaExceeded => (429, "QUOTA_EXCEEDED"),
        ProblemKind::Internal => (500, "INTERNAL"),
        ProblemKind::BadGateway => (502, "BAD_GATEWAY"),
        ProblemKind::Unavailable => (503, dialect.errors.unavailable_code),
        ProblemKind::Timeout => (504, "TIMEOUT"),
    }
}
