//! The client's view of a session: completes the fields that an operator omits, and applies callback events
//! to it.

use std::time::Duration;

use crate::{
    dialect::RemoteEvent,
    ledger::{SessionRecord, SessionState},
    qod::{GrantedSession, Moment, QosStatus, Session, SessionMessage, Severity, StatusInfo},
    refusal::Refusal,
};

/// The operator's id of a session that the operator still has; `None` once the session has ended.
pub(super) fn operator_session_id(record: &SessionRecord) -> Result<Option<&str>, Refusal> {
    match record.state() {
        SessionState::Pending | SessionState::InDoubt => Err(Refusal::InDoubt),
        SessionState::Requested
        | SessionState::Available
        | SessionState::Terminated
        | SessionState::Releasing => Ok(record.operator_session.as_deref()),
        SessionState::Expired => Ok(None),
    }
}

/// The client's view of the session of a record.
pub(super) fn from_record(record: &SessionRecord) -> Session {
    from_session(&record.session, record.requested_at())
}

/// The client's view of a session. Releases up to 0.10 require times even while the network has not
/// granted the session: these are counted from the request, and a message states that they are
/// provisional. A session that ended before it started has a duration of zero.
pub(super) fn from_session(session: &Session, requested_at: Moment) -> Session {
    let mut session = session.clone();
    let granted = &mut session.granted;
    let never_started = granted.status == QosStatus::Unavailable && granted.started_at.is_none();
    let started_at = *granted.started_at.get_or_insert(requested_at);
    let duration_s = if never_started { 0 } else { granted.duration_s };
    let duration = Duration::from_secs(u64::from(duration_s));
    granted.expires_at.get_or_insert(started_at + duration);
    if granted.status == QosStatus::Requested {
        let description = "Session requested, not yet active".to_owned();
        granted.messages.push(SessionMessage { severity: Severity::Info, description });
    }
    session
}

/// The session as its operator reports it. Releases before 0.11 do not report why a session ended.
/// `now` is a time of the ledger clock.
pub(super) fn apply_report(
    record: &SessionRecord,
    mut reported: GrantedSession,
    now: Moment,
) -> GrantedSession {
    if reported.status == QosStatus::Unavailable && reported.status_info.is_none() {
        reported.status_info = Some(end_reason(record, None, now));
    }
    reported
}

/// The state of a session after a callback event. Times are the operator's; if the event has none, they
/// are derived from `now`, the time of the ledger clock at which it was received.
pub(super) fn apply_event(
    record: &SessionRecord,
    event: &RemoteEvent,
    now: Moment,
) -> GrantedSession {
    let mut granted = record.session.granted.clone();
    granted.status = event.status;
    let at = event.at.unwrap_or_else(|| record.operator_time(now));
    if event.status != QosStatus::Unavailable {
        let duration = Duration::from_secs(u64::from(granted.duration_s));
        granted.started_at.get_or_insert(at);
        // Never earlier than a time that was reported before: the flow is reserved until then.
        granted.expires_at = granted.expires_at.max(Some(at + duration));
        granted.status_info = None;
        return granted;
    }
    let info = match event.status_info {
        Some(info @ (StatusInfo::DurationExpired | StatusInfo::NetworkTerminated)) => info,
        // The client did not delete the session, and releases before 0.11 report no reason.
        Some(StatusInfo::DeleteRequested) | None => end_reason(record, event.at, now),
    };
    if info == StatusInfo::NetworkTerminated {
        granted.expires_at = Some(at);
    }
    granted.status_info = Some(info);
    granted
}

/// The state of a session that its operator no longer has at `now`, a time of the ledger clock: its
/// duration expired, or the network ended it.
pub(super) fn apply_not_found(record: &SessionRecord, now: Moment) -> GrantedSession {
    let mut granted = record.session.granted.clone();
    if granted.status == QosStatus::Unavailable {
        return granted;
    }
    let info = end_reason(record, None, now);
    if info == StatusInfo::NetworkTerminated {
        granted.expires_at = Some(record.operator_time(now));
    }
    granted.status = QosStatus::Unavailable;
    granted.status_info = Some(info);
    granted
}

fn end_reason(record: &SessionRecord, ended_at: Option<Moment>, now: Moment) -> StatusInfo {
    if record.may_have_expired(ended_at, now) {
        StatusInfo::DurationExpired
    } else {
        StatusInfo::NetworkTerminated
    }
}

#[cfg(test)]
mod tests;
