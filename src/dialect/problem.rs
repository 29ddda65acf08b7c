//! The word no: as a client's dialect puts it, and as an operator meant it.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::{ErrorShape, Errors, respond, written};
use crate::{
    json::{Bounds, Json},
    qod::{Kind, Pace, Problem},
};

const CODE_BYTES_MAX: usize = 64;

/// An operator's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteProblem {
    /// What kind of no it is.
    pub kind: Kind,
    /// The operator's code, for the log: up to 64 bytes of visible ASCII.
    pub code: Option<String>,
}

#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
}

#[derive(Serialize)]
struct CodeMessage<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct StatusCodeMessage<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DevEdge<'a> {
    reason_code: String,
    system_message: &'a str,
    user_message: &'a str,
}

/// Writes a no, with what goes with it into the header.
pub(super) fn render(problem: &Problem, errors: &Errors) -> Response<Bytes> {
    let Problem { kind: _, status, code, message, pace, challenge, retry_after } = problem;
    let message = &*cut(message, errors.message_chars_max.unwrap_or(usize::MAX));
    let body = match errors.shape {
        ErrorShape::Message if matches!(*status, 401 | 403 | 404) => Bytes::new(),
        ErrorShape::Message => written(&Message { message }),
        ErrorShape::CodeMessage => written(&CodeMessage { code, message }),
        ErrorShape::StatusCodeMessage => {
            written(&StatusCodeMessage { status: *status, code, message })
        }
        ErrorShape::DevEdge => {
            let reason_code = devedge_reason(*status);
            written(&DevEdge { reason_code, system_message: code, user_message: message })
        }
    };
    let mut response = respond(*status, body);
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(challenge.unwrap_or("Bearer"));
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = retry_after {
        let seconds = HeaderValue::from(whole_seconds(*wait));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    if let Some(pace) = pace {
        write_pace(pace, response.headers_mut());
    }
    response
}

fn cut(message: &str, chars_max: usize) -> Cow<'_, str> {
    match message.char_indices().nth(chars_max) {
        Some(_) => message.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
        None => message.into(),
    }
}

// Only this one code of T-Mobile's is known from a public page. The others are made up alike, so
// that a program can at least tell them apart.
fn devedge_reason(status: u16) -> String {
    match status {
        401 => "ERR-1091".to_owned(),
        other => format!("ERR-{other}"),
    }
}

// draft-ietf-httpapi-ratelimit-headers-10
fn write_pace(pace: &Pace, headers: &mut HeaderMap) {
    let Pace { policy, quota, window, remaining, retry_after } = *pace;
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

// Rounded up: whoever comes again after so many seconds is not too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Sorts an operator's no.
pub(super) fn read(status: u16, body: &[u8], errors: &Errors) -> RemoteProblem {
    let json = Json::parse(body, &Bounds::default()).unwrap_or_default();
    let code = ["code", "systemMessage", "reasonCode"].into_iter().find_map(|name| {
        let code = json.member(name)?.as_str()?;
        let sound = (1..=CODE_BYTES_MAX).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| code.to_owned())
    });
    let own = errors.own.iter().find(|(_, own_status, own_code)| {
        *own_status == status && code.as_deref() == Some(*own_code)
    });
    let kind = own.map_or_else(|| kind(status, code.as_deref()), |(kind, ..)| *kind);
    RemoteProblem { kind, code }
}

// A status that can only mean that the two sides do not understand each other, such as 405, is no
// fault of the client's.
fn kind(status: u16, code: Option<&str>) -> Kind {
    match (status, code) {
        (400, Some("OUT_OF_RANGE")) => Kind::OutOfRange,
        (400, Some("QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE")) => Kind::DurationOutOfRange,
        // The sink is ours, and whether a device has to be named depends on our token.
        (400, Some("INVALID_SINK" | "INVALID_CREDENTIAL" | "INVALID_TOKEN"))
        | (422, Some("MISSING_IDENTIFIER" | "UNNECESSARY_IDENTIFIER"))
        | (405 | 406 | 408 | 411 | 413 | 414 | 415 | 431, _) => Kind::BadGateway,
        (401, _) => Kind::Unauthenticated,
        (403, _) => Kind::PermissionDenied,
        (404, Some("IDENTIFIER_NOT_FOUND" | "DEVICE_NOT_FOUND")) => Kind::DeviceNotFound,
        (404 | 410, _) => Kind::SessionNotFound,
        (409, Some("QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED")) => Kind::ExtensionNotAllowed,
        (409, _) => Kind::Conflict,
        (
            422,
            Some(
                "UNSUPPORTED_IDENTIFIER"
                | "UNSUPPORTED_DEVICE_IDENTIFIERS"
                | "UNIDENTIFIABLE_DEVICE",
            ),
        ) => Kind::UnsupportedIdentifier,
        (422, Some("IDENTIFIER_MISMATCH" | "DEVICE_IDENTIFIERS_MISMATCH")) => Kind::InvalidArgument,
        (422, Some("QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE")) => Kind::ProfileNotApplicable,
        (422, _) => Kind::NotApplicable,
        (429, Some("QUOTA_EXCEEDED")) => Kind::QuotaExceeded,
        (429, _) => Kind::TooManyRequests,
        (400..=499, _) => Kind::InvalidArgument,
        (501, _) => Kind::NotImplemented,
        (503, _) => Kind::Unavailable,
        (504, _) => Kind::Timeout,
        _ => Kind::BadGateway,
    }
}
