//! Problems: renders error responses to clients and classifies error responses of operators.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::{ErrorFormat, ErrorShape, json_body, respond};
use crate::{
    json::{Json, JsonLimits},
    qod::{Problem, ProblemKind, RateLimitStatus},
};

const CODE_BYTES_MAX: usize = 96;

/// An error response of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteProblem {
    /// The kind of problem.
    pub kind: ProblemKind,
    /// The operator's code, for the client and the log: capital letters, digits, `_` and `.`, as in
    /// CAMARA's codes. `None` if it has another form: it might contain an identifier or markup.
    pub code: Option<String>,
    /// How long the operator asked to wait. The caller sets it; it is not in the body.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct MessageError<'a> {
    message: &'a str,
}

#[derive(Serialize)]
struct CodeMessageError<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct StatusCodeMessageError<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DevEdgeError<'a> {
    reason_code: String,
    system_message: &'a str,
    user_message: &'a str,
}

/// Renders an error response with its header fields.
pub(super) fn render(problem: &Problem, errors: &ErrorFormat) -> Response<Bytes> {
    let Problem { kind: _, status, code, message, rate_limit: pace, challenge, retry_after } =
        problem;
    let message = &*truncate(message, errors.message_chars_max.unwrap_or(usize::MAX));
    let body = match errors.shape {
        ErrorShape::Message if matches!(*status, 401 | 403 | 404) => Bytes::new(),
        ErrorShape::Message => json_body(&MessageError { message }),
        ErrorShape::CodeMessage => json_body(&CodeMessageError { code, message }),
        ErrorShape::StatusCodeMessage => {
            json_body(&StatusCodeMessageError { status: *status, code, message })
        }
        ErrorShape::DevEdge => {
            let reason_code = devedge_reason(*status);
            json_body(&DevEdgeError { reason_code, system_message: code, user_message: message })
        }
    };
    let mut response = respond(*status, body);
    let challenge = challenge.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
    match (response.status(), challenge) {
        (StatusCode::UNAUTHORIZED, challenge) => {
            let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        (StatusCode::FORBIDDEN, Some(challenge)) => {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        _ => {}
    }
    if let Some(wait) = retry_after {
        let seconds = HeaderValue::from(whole_seconds(*wait));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    if let Some(pace) = pace {
        write_rate_limit(pace, response.headers_mut());
    }
    response
}

fn truncate(message: &str, chars_max: usize) -> Cow<'_, str> {
    match message.char_indices().nth(chars_max) {
        Some(_) => message.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
        None => message.into(),
    }
}

// `ERR-1091` is the only code that T-Mobile documents publicly. The others are derived from the
// status, so that clients can distinguish them.
fn devedge_reason(status: u16) -> String {
    match status {
        401 => "ERR-1091".to_owned(),
        other => format!("ERR-{other}"),
    }
}

// draft-ietf-httpapi-ratelimit-headers-10
fn write_rate_limit(pace: &RateLimitStatus, headers: &mut HeaderMap) {
    let RateLimitStatus { policy, quota, window, remaining, retry_after } = *pace;
    let (window_s, retry_s) = (whole_seconds(window), whole_seconds(retry_after));
    let fields = [
        ("retry-after", retry_s.to_string()),
        ("ratelimit-policy", format!("\"{policy}\";q={quota};w={window_s}")),
        ("ratelimit", format!("\"{policy}\";r={remaining};t={retry_s}")),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

// Rounded up, so that a retry after this time is not too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Classifies an error response of an operator.
pub(super) fn read(status: u16, body: &[u8], errors: &ErrorFormat) -> RemoteProblem {
    let json = Json::parse(body, &JsonLimits::default()).unwrap_or_default();
    let codes = ["code", "systemMessage", "reasonCode"];
    let codes = codes.into_iter().filter_map(|name| json.member(name)?.as_str());
    let code = codes.clone().find(|code| is_camara_code(code));
    let custom = errors.overrides.iter().find(|(_, custom_status, custom_code)| {
        *custom_status == status && codes.clone().any(|code| code == custom_code)
    });
    // A code of the policies may have any form.
    let code = custom.map(|(.., code)| code.as_str()).or(code);
    let kind = custom.map_or_else(|| classify(status, code), |(kind, ..)| *kind);
    RemoteProblem { kind, code: code.map(str::to_owned), retry_after: None }
}

fn is_camara_code(code: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_.".contains(&byte);
    code.len() <= CODE_BYTES_MAX
        && code.starts_with(|first: char| first.is_ascii_uppercase())
        && code.bytes().all(allowed)
}

// A status that indicates a protocol mismatch between gateway and operator, such as 405, is not a
// client error.
fn classify(status: u16, code: Option<&str>) -> ProblemKind {
    match (status, code) {
        (400, Some("OUT_OF_RANGE")) => ProblemKind::OutOfRange,
        (400, Some("QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE")) => ProblemKind::DurationOutOfRange,
        // The sink is the gateway's, and whether a device is required depends on the gateway's
        // token.
        (400, Some("INVALID_SINK" | "INVALID_CREDENTIAL" | "INVALID_TOKEN"))
        | (422, Some("MISSING_IDENTIFIER" | "UNNECESSARY_IDENTIFIER"))
        | (405..=408 | 411 | 413..=415 | 417 | 421 | 426 | 431, _) => ProblemKind::BadGateway,
        (401, _) => ProblemKind::Unauthenticated,
        (403, _) => ProblemKind::PermissionDenied,
        (404, Some("IDENTIFIER_NOT_FOUND" | "DEVICE_NOT_FOUND")) => ProblemKind::DeviceNotFound,
        (404 | 410, _) => ProblemKind::SessionNotFound,
        (409, Some("QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED")) => {
            ProblemKind::ExtensionNotAllowed
        }
        (409, _) => ProblemKind::Conflict,
        (
            422,
            Some(
                "UNSUPPORTED_IDENTIFIER"
                | "UNSUPPORTED_DEVICE_IDENTIFIERS"
                | "UNIDENTIFIABLE_DEVICE",
            ),
        ) => ProblemKind::UnsupportedIdentifier,
        (422, Some("IDENTIFIER_MISMATCH" | "DEVICE_IDENTIFIERS_MISMATCH")) => {
            ProblemKind::IdentifierMismatch
        }
        (422, Some("QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE")) => {
            ProblemKind::ProfileNotApplicable
        }
        (422, _) => ProblemKind::NotApplicable,
        (429, Some("QUOTA_EXCEEDED")) => ProblemKind::QuotaExceeded,
        (429, _) => ProblemKind::TooManyRequests,
        (400..=499, _) => ProblemKind::InvalidArgument,
        (501, _) => ProblemKind::NotImplemented,
        (503, _) => ProblemKind::Unavailable,
        (504, _) => ProblemKind::Timeout,
        _ => ProblemKind::BadGateway,
    }
}
