//! Sessions: serializes them for clients in the form that the release defines, and parses operators'
//! responses: required members strictly, because a session that cannot be parsed may still occupy
//! network resources.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Descriptor,
    create_request::RequestBody,
    descriptor::{SessionShape, StatusForm, TimeForm},
    json_body,
    times::{self, TimesWithoutOffset, format_time},
};
use crate::{
    json::{Json, JsonLimits, without_bom},
    qod::{GrantedSession, Moment, QosStatus, Session, SessionMessage, Severity, StatusInfo},
};

const OPERATOR_SESSION_BYTES_MAX: usize = 256;

const MESSAGES_MAX: usize = 16;

const DESCRIPTION_CHARS_MAX: usize = 512;

/// A response or event of an operator that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operator's message {reason}")]
pub struct InvalidOperatorMessage {
    /// The error, as a predicate: `is not JSON`.
    pub reason: &'static str,
    /// The operator's session id, if it is valid. The session can be deleted with it.
    pub operator_session: Option<String>,
}

// A message of a session, as serialized.
#[derive(Serialize, PartialEq, Eq)]
struct MessageBody<'a> {
    severity: &'static str,
    description: Cow<'a, str>,
}

struct SessionBody<'a> {
    session: &'a Session,
    descriptor: &'a Descriptor,
}

/// Serializes a session, without the token of its sink.
pub(super) fn write(session: &Session, descriptor: &Descriptor) -> Bytes {
    json_body(&SessionBody { session, descriptor })
}

impl Serialize for SessionBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Session { id, wanted, granted } = self.session;
        let Descriptor { rule, session_shape: shape, .. } = self.descriptor;
        let mut map = serializer.serialize_map(None)?;
        let request = RequestBody {
            request: wanted,
            duration_s: duration_s(granted, shape.times),
            sink: wanted.sink.as_ref(),
            has_token: false,
            has_single_identifier: shape.has_single_identifier,
            rule,
        };
        request.write_members(&mut map)?;
        map.serialize_entry(rule.names.session_id, &id.to_string())?;
        write_times(granted, shape.times, &mut map)?;
        if shape.status != StatusForm::None {
            map.serialize_entry("qosStatus", granted.status.name())?;
        }
        let info = granted.status_info.filter(|_| granted.status == QosStatus::Unavailable);
        if let Some(info) = info.filter(|_| shape.status == StatusForm::StatusAndReason) {
            map.serialize_entry("statusInfo", info.name())?;
        }
        if shape.has_messages {
            let messages = session_messages(granted);
            if !messages.is_empty() {
                map.serialize_entry("messages", &messages)?;
            }
        }
        map.end()
    }
}

// The granted duration; in newer releases the actual duration of an ended session, at least a second.
fn duration_s(granted: &GrantedSession, form: TimeForm) -> u32 {
    let GrantedSession { duration_s, started_at, expires_at, status, .. } = granted;
    match (form, status, started_at, expires_at) {
        (TimeForm::Rfc3339, QosStatus::Unavailable, Some(started_at), Some(expires_at)) => {
            let seconds = expires_at.unix_s().saturating_sub(started_at.unix_s());
            u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
        }
        _ => *duration_s,
    }
}

fn write_times<M: SerializeMap>(
    granted: &GrantedSession,
    form: TimeForm,
    map: &mut M,
) -> Result<(), M::Error> {
    let (start_field, end_field) = ("startedAt", "expiresAt");
    match form {
        TimeForm::EpochSeconds => {
            let (start, end) = start_and_end(granted);
            map.serialize_entry(start_field, &start)?;
            map.serialize_entry(end_field, &end)
        }
        TimeForm::Rfc3339 if granted.status == QosStatus::Requested => Ok(()),
        TimeForm::Rfc3339 => {
            let times = [(start_field, granted.started_at), (end_field, granted.expires_at)];
            times
                .into_iter()
                .filter_map(|(field, time)| Some((field, time?)))
                .try_for_each(|(field, time)| map.serialize_entry(field, &format_time(time)))
        }
    }
}

// Start and end of a session, in whole seconds since the epoch. If only one of the two is known,
// the other is computed from the duration.
fn start_and_end(granted: &GrantedSession) -> (u64, u64) {
    let duration_s = u64::from(granted.duration_s);
    let (started_at, expires_at) =
        (granted.started_at.map(Moment::unix_s), granted.expires_at.map(Moment::unix_s));
    let start = started_at.or_else(|| Some(expires_at?.saturating_sub(duration_s)));
    let start = start.unwrap_or_default();
    (start, expires_at.unwrap_or_else(|| start.saturating_add(duration_s)))
}

// The operator's messages, plus one for a status that the release has no field for.
fn session_messages(granted: &GrantedSession) -> Vec<MessageBody<'_>> {
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

/// Parses an operator's response. Returns the operator's session id and the session.
pub(super) fn read(
    body: &[u8],
    descriptor: &Descriptor,
    times: TimesWithoutOffset,
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    read_json(&parse(body)?, descriptor, times)
}

/// Parses an operator's message as JSON.
pub(super) fn parse(body: &[u8]) -> Result<Json<'_>, InvalidOperatorMessage> {
    let reason = "is not JSON";
    Json::parse(without_bom(body), &JsonLimits::default())
        .map_err(|_| InvalidOperatorMessage { reason, operator_session: None })
}

/// Parses one session of an operator.
pub(super) fn read_json(
    json: &Json<'_>,
    descriptor: &Descriptor,
    times: TimesWithoutOffset,
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    let id = read_session_id(json, descriptor.rule.names.session_id)?;
    match read_granted(json, &descriptor.session_shape, times) {
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

fn read_granted(
    json: &Json<'_>,
    shape: &SessionShape,
    without_offset: TimesWithoutOffset,
) -> Result<GrantedSession, &'static str> {
    let duration = json.member("duration").and_then(Json::as_u64);
    let duration_s = duration.and_then(|duration| u32::try_from(duration).ok());
    let duration_s = duration_s.filter(|&duration_s| duration_s > 0);
    let duration_s = duration_s.ok_or("has no valid `duration`")?;
    let time = |name| match json.member(name).filter(|time| **time != Json::Null) {
        Some(time) => {
            times::read(time, shape.times, without_offset).map(Some).ok_or("has an invalid time")
        }
        None => Ok(None),
    };
    let (started_at, expires_at) = (time("startedAt")?, time("expiresAt")?);
    if matches!((started_at, expires_at), (Some(start), Some(end)) if start > end) {
        return Err("has an `expiresAt` before its `startedAt`");
    }
    let (status, status_info) = match shape.status {
        StatusForm::None => (Some(QosStatus::Available), None),
        StatusForm::Status => (read_status(json), None),
        StatusForm::StatusAndReason => (read_status(json), read_status_info(json)),
    };
    let status = status.ok_or("has no valid session status")?;
    let messages = read_messages(json);
    Ok(GrantedSession { duration_s, started_at, expires_at, status, status_info, messages })
}

/// Parses `qosStatus`, as used from 0.9 on.
pub(super) fn read_status(json: &Json<'_>) -> Option<QosStatus> {
    let status = json.member("qosStatus").and_then(Json::as_str)?;
    [QosStatus::Requested, QosStatus::Available, QosStatus::Unavailable]
        .into_iter()
        .find(|candidate| candidate.name() == status)
}

/// Parses `statusInfo`. Returns `None` if the value is unknown.
pub(super) fn read_status_info(json: &Json<'_>) -> Option<StatusInfo> {
    let name = json.member("statusInfo").and_then(Json::as_str)?;
    [StatusInfo::DurationExpired, StatusInfo::NetworkTerminated, StatusInfo::DeleteRequested]
        .into_iter()
        .find(|candidate| candidate.name() == name)
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
