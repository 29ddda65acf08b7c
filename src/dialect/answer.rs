//! What all families say alike of a session: a profile, a duration, times, remarks, an operator's
//! id. And how an operator's answer is read: strictly where it counts, since a session that is
//! not understood may still hold the network.

use std::borrow::Cow;

use serde::Serialize;

use super::{descriptor::DurationRule, fault::Faults, node::Node};
use crate::{
    json::{Bounds, Json},
    qod::{Granted, Kind, Message, Moment, QosStatus, Severity, StatusInfo},
};

const OPERATOR_SESSION_BYTES_MAX: usize = 256;

const MESSAGES_MAX: usize = 16;

const DESCRIPTION_CHARS_MAX: usize = 512;

// The end of the year 9999. What is later was not meant in seconds.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// What an operator tells lacks what it must tell of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what the operator tells {reason}")]
pub struct Unreadable {
    /// What is wrong with it.
    pub reason: &'static str,
    /// The operator's id for the session, if that much could be read: it can be deleted by it.
    pub operator_session: Option<String>,
}

/// A message on a session, as it is written.
#[derive(Serialize, PartialEq, Eq)]
pub(super) struct Remark<'a> {
    severity: &'static str,
    description: Cow<'a, str>,
}

/// Reads the name of a profile.
pub(super) fn read_profile(node: &Node<'_>, faults: &mut Faults) -> Option<String> {
    let name = node.text(faults)?;
    let sound = (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !sound {
        faults.shape(node.place, "expected 1 to 256 letters, digits, `_`, `.` or `-`");
    }
    Some(name.to_owned())
}

/// Reads the duration that a client wants: the longest, if it names none and need not.
pub(super) fn read_duration(
    body: &Node<'_>,
    rule: &DurationRule,
    faults: &mut Faults,
) -> Option<u32> {
    let duration = if rule.required {
        Some(body.required("duration", faults)?)
    } else {
        body.member("duration")
    };
    match duration {
        Some(duration) => duration.number(faults, Kind::DurationOutOfRange, (1, rule.s_max)),
        None => Some(rule.s_max),
    }
}

/// When a session starts and ends, in whole seconds since the epoch. If only one of the two is
/// known, the other is as far off as the session is long.
pub(super) fn times(granted: &Granted) -> (u64, u64) {
    let duration_s = u64::from(granted.duration_s);
    let (started_at, expires_at) =
        (granted.started_at.map(Moment::unix_s), granted.expires_at.map(Moment::unix_s));
    let start = started_at.or_else(|| Some(expires_at?.saturating_sub(duration_s)));
    let start = start.unwrap_or_default();
    (start, expires_at.unwrap_or_else(|| start.saturating_add(duration_s)))
}

/// The operator's messages, and what the family has no field for.
pub(super) fn remarks(granted: &Granted) -> Vec<Remark<'_>> {
    let mut remarks: Vec<_> = granted.messages.iter().map(Remark::from).collect();
    if let Some(own) = own_remark(granted).filter(|own| !remarks.contains(own)) {
        remarks.push(own);
    }
    remarks
}

fn own_remark(granted: &Granted) -> Option<Remark<'static>> {
    let (severity, description) = match (granted.status, granted.status_info) {
        (QosStatus::Available, _) => return None,
        (QosStatus::Requested, _) => {
            (Severity::Info, "Session requested, not yet active: its times are provisional")
        }
        (QosStatus::Unavailable, None) => (Severity::Warning, "Session unavailable"),
        (QosStatus::Unavailable, Some(StatusInfo::NetworkTerminated)) => {
            (Severity::Warning, "Session unavailable: the network ended it")
        }
        (QosStatus::Unavailable, Some(StatusInfo::DurationExpired)) => {
            (Severity::Info, "Session unavailable: its time is up")
        }
        (QosStatus::Unavailable, Some(StatusInfo::DeleteRequested)) => {
            (Severity::Info, "Session unavailable: its client deleted it")
        }
    };
    Some(Remark { severity: name_of(severity), description: description.into() })
}

impl<'a> From<&'a Message> for Remark<'a> {
    fn from(message: &'a Message) -> Self {
        let Message { severity, description } = message;
        Self { severity: name_of(*severity), description: description.into() }
    }
}

/// Where families differ in what an operator tells of a session.
pub(super) struct Form {
    /// The member that has the operator's id for it.
    pub(super) id: &'static str,
    /// What a time is, if it is one.
    pub(super) time: fn(&Json<'_>) -> Option<Moment>,
    /// How it stands.
    pub(super) status: fn(&Json<'_>) -> Option<QosStatus>,
    /// Why.
    pub(super) status_info: fn(&Json<'_>) -> Option<StatusInfo>,
}

/// Reads an operator's answer.
pub(super) fn read_session(body: &[u8], form: &Form) -> Result<(String, Granted), Unreadable> {
    read_session_of(&parse(body)?, form)
}

/// Reads what is to be an operator's answer as JSON.
pub(super) fn parse(body: &[u8]) -> Result<Json<'_>, Unreadable> {
    let reason = "is not JSON";
    Json::parse(body, &Bounds::default()).map_err(|_| Unreadable { reason, operator_session: None })
}

/// Reads what an operator tells of one session.
pub(super) fn read_session_of(
    json: &Json<'_>,
    form: &Form,
) -> Result<(String, Granted), Unreadable> {
    let id = read_operator_session(json, form.id)?;
    match read_granted(json, form) {
        Ok(granted) => Ok((id.to_owned(), granted)),
        Err(reason) => Err(Unreadable { reason, operator_session: Some(id.to_owned()) }),
    }
}

/// Reads an operator's id for a session.
pub(super) fn read_operator_session<'j>(
    json: &'j Json<'_>,
    field: &str,
) -> Result<&'j str, Unreadable> {
    let id = json.member(field).and_then(Json::as_str);
    id.filter(|id| is_operator_session(id)).ok_or(Unreadable {
        reason: "names no session that can be asked for again",
        operator_session: None,
    })
}

/// Can an operator's id stand in a path?
pub(super) fn is_operator_session(id: &str) -> bool {
    (1..=OPERATOR_SESSION_BYTES_MAX).contains(&id.len())
        && !id.chars().any(char::is_control)
        && !matches!(id, "." | "..")
}

fn read_granted(json: &Json<'_>, form: &Form) -> Result<Granted, &'static str> {
    let duration = json.member("duration").and_then(Json::as_u64);
    let duration_s = duration.and_then(|duration| u32::try_from(duration).ok());
    let duration_s = duration_s.filter(|&duration_s| duration_s > 0);
    let duration_s = duration_s.ok_or("does not tell how long the session is")?;
    let started_at = read_time(json, "startedAt", form)?;
    let expires_at = read_time(json, "expiresAt", form)?;
    if matches!((started_at, expires_at), (Some(start), Some(end)) if start > end) {
        return Err("has the session end before it starts");
    }
    let status = (form.status)(json).ok_or("does not tell how the session stands")?;
    let (status_info, messages) = ((form.status_info)(json), read_messages(json));
    Ok(Granted { duration_s, started_at, expires_at, status, status_info, messages })
}

fn read_time(json: &Json<'_>, name: &str, form: &Form) -> Result<Option<Moment>, &'static str> {
    let Some(time) = json.member(name).filter(|time| **time != Json::Null) else { return Ok(None) };
    (form.time)(time).map(Some).ok_or("has a time that is none")
}

/// A time up to 0.10: seconds since the epoch.
pub(super) fn epoch_time(json: &Json<'_>) -> Option<Moment> {
    json.as_u64().filter(|&seconds| seconds <= UNIX_S_MAX).map(Moment::from_unix_s)
}

/// How a session stands, by the name that there is for it from 0.9 on.
pub(super) fn named_status(json: &Json<'_>) -> Option<QosStatus> {
    let status = json.member("qosStatus").and_then(Json::as_str)?;
    [QosStatus::Requested, QosStatus::Available, QosStatus::Unavailable]
        .into_iter()
        .find(|known| known.name() == status)
}

// A remark is never worth a session: what is not one is left out.
fn read_messages(json: &Json<'_>) -> Vec<Message> {
    let list = json.member("messages").map(Json::elements).unwrap_or_default();
    list.iter().filter_map(read_message).take(MESSAGES_MAX).collect()
}

fn read_message(json: &Json<'_>) -> Option<Message> {
    let severity = match json.member("severity")?.as_str()? {
        "INFO" => Severity::Info,
        "WARNING" => Severity::Warning,
        _ => return None,
    };
    let description = json.member("description")?.as_str()?;
    Some(Message {
        severity,
        description: description.chars().take(DESCRIPTION_CHARS_MAX).collect(),
    })
}

const fn name_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
    }
}
