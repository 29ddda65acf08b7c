//! How a session stands and is shown: what its operator leaves out is filled in, never invented beyond that.

use std::time::Duration;

use crate::{
    dialect::RemoteEvent,
    ledger::{Record, State},
    qod::{Granted, Message, Moment, QosStatus, Session, Severity, StatusInfo},
    refusal::Refusal,
};

/// The operator's id of a session that it still has; nothing, once the session is over.
pub(super) fn live(record: &Record) -> Result<Option<&str>, Refusal> {
    match record.state() {
        State::Pending | State::InDoubt => Err(Refusal::InDoubt),
        State::Requested | State::Available | State::Terminated | State::Releasing => {
            Ok(record.operator_session.as_deref())
        }
        State::Expired => Ok(None),
    }
}

/// A record's session as its client sees it.
pub(super) fn of(record: &Record) -> Session {
    shown(&record.session, record.requested_at())
}

/// A session as its client sees it. Up to 0.10 an answer has to name times even while the network
/// has not granted the session: they are counted from the request, and a remark says so.
/// What ended before it began has lasted no time.
pub(super) fn shown(session: &Session, requested_at: Moment) -> Session {
    let mut session = session.clone();
    let granted = &mut session.granted;
    let never_began = granted.status == QosStatus::Unavailable && granted.started_at.is_none();
    let started_at = *granted.started_at.get_or_insert(requested_at);
    let lasts_s = if never_began { 0 } else { granted.duration_s };
    let lasts = Duration::from_secs(u64::from(lasts_s));
    granted.expires_at.get_or_insert(started_at + lasts);
    if granted.status == QosStatus::Requested {
        let description = "Session requested, not yet active".to_owned();
        granted.messages.push(Message { severity: Severity::Info, description });
    }
    session
}

/// What has become of a session of which its operator tells something. Times are the operator's as
/// far as it tells them; a session does not begin or end before it is told of, for the ledger.
pub(super) fn told(record: &Record, event: &RemoteEvent, now: Moment) -> Granted {
    let mut granted = record.session.granted.clone();
    granted.status = event.status;
    if event.status != QosStatus::Unavailable {
        let started_at = event.at.unwrap_or(now);
        let lasts = Duration::from_secs(u64::from(granted.duration_s));
        granted.started_at.get_or_insert(started_at);
        // Never earlier than was told before: who holds a flow by it must not let go of it.
        granted.expires_at = granted.expires_at.max(Some(started_at + lasts));
        granted.status_info = None;
        return granted;
    }
    let expired = granted.expires_at.is_some_and(|expires_at| now >= expires_at);
    let info = match event.status_info {
        Some(StatusInfo::DurationExpired) => StatusInfo::DurationExpired,
        // Before 0.9 there is no word for it.
        None if expired => StatusInfo::DurationExpired,
        // Its client did not ask for it: whoever did, to the client it was the network.
        Some(StatusInfo::NetworkTerminated | StatusInfo::DeleteRequested) | None => {
            granted.expires_at = Some(event.at.unwrap_or(now));
            StatusInfo::NetworkTerminated
        }
    };
    granted.status_info = Some(info);
    granted
}

/// What has become of a session that its operator no longer knows: its time is up, or the network
/// has ended it.
pub(super) fn gone(record: &Record, now: Moment) -> Granted {
    let mut granted = record.session.granted.clone();
    let expired = granted.expires_at.is_some_and(|expires_at| now >= expires_at);
    granted.status = QosStatus::Unavailable;
    granted.status_info = Some(if expired {
        StatusInfo::DurationExpired
    } else {
        granted.expires_at = Some(now);
        StatusInfo::NetworkTerminated
    });
    granted
}
