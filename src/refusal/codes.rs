//! What each kind of no is in each family of dialects: its status and its code.

use crate::{
    dialect::{Descriptor, Family},
    qod::Kind,
};

/// The status and code of a kind of no, in a dialect.
pub(super) fn of(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    let own = told_in.errors.own.iter().find(|(own, ..)| *own == kind);
    if let Some((_, status, code)) = own {
        return (*status, code);
    }
    match told_in.errors.codes {
        Family::V01 | Family::V08 => in_0_8(kind, told_in),
        Family::V010 => in_0_10(kind, told_in),
        Family::V011 => in_0_11(kind, told_in),
        Family::V1 => in_1(kind, told_in),
    }
}

// CAMARA 0.8, and the statuses of 0.1. It documents 400, 401, 403, 404, 409, 500 and 503; 405 and 429 have no neighbour.
const fn in_0_8(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument
        | Kind::OutOfRange
        | Kind::DurationOutOfRange
        | Kind::InvalidSink
        | Kind::InvalidCredential
        | Kind::InvalidToken
        | Kind::CredentialNotConfigured
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
        Kind::PermissionDenied | Kind::OtherDevice => (403, "FORBIDDEN"),
        Kind::SessionNotFound | Kind::ProfileNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
        Kind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Kind::Conflict => (409, "CONFLICT"),
        Kind::TooManyRequests | Kind::QuotaExceeded => (429, "TOO_MANY_REQUESTS"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::Unavailable | Kind::Timeout | Kind::BadGateway => (503, told_in.errors.unavailable),
    }
}

// CAMARA 0.9 and 0.10: those of 0.8, and 501.
const fn in_0_10(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument
        | Kind::InvalidSink
        | Kind::InvalidCredential
        | Kind::InvalidToken
        | Kind::CredentialNotConfigured
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
        Kind::PermissionDenied | Kind::OtherDevice => (403, "PERMISSION_DENIED"),
        Kind::SessionNotFound | Kind::ProfileNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
        Kind::MethodNotAllowed => (405, "METHOD_NOT_ALLOWED"),
        Kind::Conflict => (409, "CONFLICT"),
        Kind::TooManyRequests | Kind::QuotaExceeded => (429, "TOO_MANY_REQUESTS"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::NotApplicable | Kind::NotImplemented => (501, "NOT_IMPLEMENTED"),
        Kind::Unavailable | Kind::Timeout | Kind::BadGateway => (503, told_in.errors.unavailable),
    }
}

// CAMARA 0.11. It has no code for an identifier of the wrong kind, or for none: the device cannot be
// identified. 405, 413 and 415 are not its own.
const fn in_0_11(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument | Kind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        Kind::OutOfRange => (400, "OUT_OF_RANGE"),
        Kind::DurationOutOfRange => (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
        Kind::InvalidSink => (400, told_in.errors.sink),
        Kind::InvalidCredential => (400, "INVALID_CREDENTIAL"),
        Kind::InvalidToken => (400, "INVALID_TOKEN"),
        Kind::CredentialNotConfigured => told_in.errors.private_key_jwt,
        Kind::ProfileNotApplicable => told_in.errors.profile_not_applicable,
        Kind::Unauthenticated => (401, "UNAUTHENTICATED"),
        Kind::PermissionDenied => (403, "PERMISSION_DENIED"),
        Kind::UnnecessaryIdentifier | Kind::OtherDevice => (403, "INVALID_TOKEN_CONTEXT"),
        Kind::SessionNotFound | Kind::ProfileNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
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
        Kind::Unavailable | Kind::Timeout | Kind::BadGateway => (503, told_in.errors.unavailable),
    }
}

// CAMARA 1.0 to 1.2, and what CAMARA's Commonalities have for all APIs: 405, 415, 500 to 504.
// They have no 413.
const fn in_1(kind: Kind, told_in: &Descriptor) -> (u16, &'static str) {
    match kind {
        Kind::InvalidArgument | Kind::HeaderTooLarge => (400, "INVALID_ARGUMENT"),
        Kind::OutOfRange => (400, "OUT_OF_RANGE"),
        Kind::DurationOutOfRange => (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE"),
        Kind::InvalidSink => (400, told_in.errors.sink),
        Kind::InvalidCredential => (400, "INVALID_CREDENTIAL"),
        Kind::InvalidToken => (400, "INVALID_TOKEN"),
        Kind::CredentialNotConfigured => told_in.errors.private_key_jwt,
        Kind::Unauthenticated => (401, "UNAUTHENTICATED"),
        Kind::PermissionDenied | Kind::OtherDevice => (403, "PERMISSION_DENIED"),
        Kind::SessionNotFound | Kind::ProfileNotFound | Kind::PathNotFound => (404, "NOT_FOUND"),
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
        Kind::ProfileNotApplicable => told_in.errors.profile_not_applicable,
        Kind::TooManyRequests => (429, "TOO_MANY_REQUESTS"),
        Kind::QuotaExceeded => (429, "QUOTA_EXCEEDED"),
        Kind::Internal => (500, "INTERNAL"),
        Kind::BadGateway => (502, "BAD_GATEWAY"),
        Kind::Unavailable => (503, told_in.errors.unavailable),
        Kind::Timeout => (504, "TIMEOUT"),
    }
}
