//! Parts of a session that all families share: profile, duration, times, messages and the
//! operator's session id. Also parses operators' responses: required members strictly, because a
//! session that cannot be parsed may still occupy network resources.

use std::borrow::Cow;

use serde::Serialize;

use super::{cursor::BodyCursor, descriptor::DurationRule, validation::ValidationErrors};
use crate::{
    json::{Json, JsonLimits, without_bom},
    qod::{GrantedSession, Moment, ProblemKind, QosStatus, SessionMessage, Severity, StatusInfo},
};

const OPERATOR_SESSION_BYTES_MAX: usize = 256;

const MESSAGES_MAX: usize = 16;

const DESCRIPTION_CHARS_MAX: usize = 512;

// The end of the year 9999. A later time is not in seconds.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// A response or event of an operator that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operator's message {reason}")]
pub struct InvalidOperatorMessage {
    /// The error, as a predicate: `is not JSON`.
    pub reason: &'static str,
    /// The operator's session id, if it is valid. The session can be deleted with it.
    pub operator_session: Option<String>,
}

/// A message of a session, as serialized.
#[derive(Serialize, PartialEq, Eq)]
pub(super) struct MessageBody<'a> {
    severity: &'static str,
    description: Cow<'a, str>,
}

/// Parses the name of a profile.
pub(super) fn read_profile(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<String> {
    let name = cursor.string(errors)?;
    let valid = (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !valid {
        errors.add_structural(cursor.pointer, "expected 1 to 256 letters, digits, `_`, `.` or `-`");
    }
    Some(name.to_owned())
}

/// Parses the requested duration in seconds. An optional duration that is missing defaults to the
/// maximum.
pub(super) fn read_duration(
    body: &BodyCursor<'_>,
    rule: &DurationRule,
    errors: &mut ValidationErrors,
) -> Option<u32> {
    let duration = if rule.required {
        Some(body.required("duration", errors)?)
    } else {
        body.member("duration")
    };
    match duration {
        Some(duration) => duration.integer(errors, ProblemKind::InvalidArgument, (1, rule.s_max)),
        None => Some(rule.s_max),
    }
}

/// Start and end of a session, in whole seconds since the epoch. If only one of the two is known,
/// the other is computed from the duration.
pub(super) fn start_and_end(granted: &GrantedSession) -> (u64, u64) {
    let duration_s = u64::from(granted.duration_s);
    let (started_at, expires_at) =
        (granted.started_at.map(Moment::unix_s), granted.expires_at.map(Moment::unix_s));
    let start = started_at.or_else(|| Some(expires_at?.saturating_sub(duration_s)));
    let start = start.unwrap_or_default();
    (start, expires_at.unwrap_or_else(|| start.saturating_add(duration_s)))
}

/// The operator's messages, plus one for a status that the family has no field for.
pub(super) fn session_messages(granted: &GrantedSession) -> Vec<MessageBody<'_>> {
    let mut messages: Vec<_> = granted.messages.iter().map(MessageBody::from).collect();
    if let Some(own) = status_message(granted).filter(|own| !messages.contains(own)) {
        messages.push(own);
    }
    messages
}

fn status_message(granted: &GrantedSession) -> Option<MessageBody<'static>> {
    let (severity, description) = match (granted.status, granted.status_info) {
        (QosStatus::Available, _) => return None,
        (QosStatus::Requested, _) => {
            (Severity::Info, "Session requested, not yet active: its times are provisional")
        }
        (QosStatus::Unavailable, None) => (Severity::Warning, "Session unavailable"),
        (QosStatus::Unavailable, Some(StatusInfo::NetworkTerminated)) => {
            (Severity::Warning, "Session unavailable: the network terminated it")
        }
        (QosStatus::Unavailable, Some(StatusInfo::DurationExpired)) => {
            (Severity::Info, "Session unavailable: its duration expired")
        }
        (QosStatus::Unavailable, Some(StatusInfo::DeleteRequested)) => {
            (Severity::Info, "Session unavailable: the client deleted it")
        }
    };
    Some(MessageBody { severity: severity_name(severity), description: description.into() })
}

impl<'a> From<&'a SessionMessage> for MessageBody<'a> {
    fn from(message: &'a SessionMessage) -> Self {
        let SessionMessage { severity, description } = message;
        Self { severity: severity_name(*severity), description: description.into() }
    }
}

/// How to read an operator's times that have no offset from UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimesWithoutOffset {
    /// They are invalid, as in RFC 3339.
    #[default]
    Reject,
    /// They are in UTC.
    Utc,
}

/// The format of an operator's session, as far as families differ.
pub(super) struct SessionFormat {
    /// The member with the operator's session id.
    pub(super) id_field: &'static str,
    /// Parses a time.
    pub(super) parse_time: fn(&Json<'_>) -> Option<Moment>,
    /// Parses the session's status.
    pub(super) parse_status: fn(&Json<'_>) -> Option<QosStatus>,
    /// Parses the reason for the status.
    pub(super) parse_status_info: fn(&Json<'_>) -> Option<StatusInfo>,
}

/// Parses an operator's response.
pub(super) fn read_session(
    body: &[u8],
    format: &SessionFormat,
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    read_session_json(&parse(body)?, format)
}

/// Parses an operator's message as JSON.
pub(super) fn parse(body: &[u8]) -> Result<Json<'_>, InvalidOperatorMessage> {
    let reason = "is not JSON";
    Json::parse(without_bom(body), &JsonLimits::default())
        .map_err(|_| InvalidOperatorMessage { reason, operator_session: None })
}

/// Parses one session of an operator.
pub(super) fn read_session_json(
    json: &Json<'_>,
    format: &SessionFormat,
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    let id = read_session_id(json, format.id_field)?;
    match read_granted(json, format) {
        Ok(granted) => Ok((id.to_owned(), granted)),
        Err(reason) => {
            Err(InvalidOperatorMessage { reason, operator_session: Some(id.to_owned()) })
        }
    }
}

/// Parses an operator's session id.
pub(super) fn read_session_id<'j>(
    json: &'j Json<'_>,
    field: &str,
) -> Result<&'j str, InvalidOperatorMessage> {
    let id = json.member(field).and_then(Json::as_str);
    id.filter(|id| is_valid_session_id(id))
        .ok_or(InvalidOperatorMessage { reason: "has no valid session id", operator_session: None })
}

/// Whether an operator's session id is valid in a path.
pub(super) fn is_valid_session_id(id: &str) -> bool {
    (1..=OPERATOR_SESSION_BYTES_MAX).contains(&id.len())
        && !id.chars().any(char::is_control)
        && !matches!(id, "." | "..")
}

fn read_granted(json: &Json<'_>, format: &SessionFormat) -> Result<GrantedSession, &'static str> {
    let duration = json.member("duration").and_then(Json::as_u64);
    let duration_s = duration.and_then(|duration| u32::try_from(duration).ok());
    let duration_s = duration_s.filter(|&duration_s| duration_s > 0);
    let duration_s = duration_s.ok_or("has no valid `duration`")?;
    let started_at = read_time(json, "startedAt", format)?;
    let expires_at = read_time(json, "expiresAt", format)?;
    if matches!((started_at, expires_at), (Some(start), Some(end)) if start > end) {
        return Err("has an `expiresAt` before its `startedAt`");
    }
    let status = (format.parse_status)(json).ok_or("has no valid session status")?;
    let (status_info, messages) = ((format.parse_status_info)(json), read_messages(json));
    Ok(GrantedSession { duration_s, started_at, expires_at, status, status_info, messages })
}

fn read_time(
    json: &Json<'_>,
    name: &str,
    format: &SessionFormat,
) -> Result<Option<Moment>, &'static str> {
    let Some(time) = json.member(name).filter(|time| **time != Json::Null) else { return Ok(None) };
    (format.parse_time)(time).map(Some).ok_or("has an invalid time")
}

/// Parses a time as used up to 0.10: seconds since the epoch.
pub(super) fn parse_epoch_time(json: &Json<'_>) -> Option<Moment> {
    json.as_u64().filter(|&seconds| seconds <= UNIX_S_MAX).map(Moment::from_unix_s)
}

/// Parses `qosStatus`, as used from 0.9 on.
pub(super) fn read_status(json: &Json<'_>) -> Option<QosStatus> {
    let status = json.member("qosStatus").and_then(Json::as_str)?;
    [QosStatus::Requested, QosStatus::Available, QosStatus::Unavailable]
        .into_iter()
        .find(|candidate| candidate.name() == status)
}

// An invalid message must not invalidate the session; it is skipped.
fn read_messages(json: &Json<'_>) -> Vec<SessionMessage> {
    let list = json.member("messages").map(Json::elements).unwrap_or_default();
    list.iter().filter_map(read_message).take(MESSAGES_MAX).collect()
}

fn read_message(json: &Json<'_>) -> Option<SessionMessage> {
    let severity = match json.member("severity")?.as_str()? {
        "INFO" => Severity::Info,
        "WARNING" => Severity::Warning,
        _ => return None,
    };
    let description = json.member("description")?.as_str()?;
    Some(SessionMessage {
        severity,
        description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
    })
}

const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
    }
}
