//! What has happened to a session: told to a client in the one way that its dialect has, and read
//! from an operator in any, for some mix them.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Descriptor, EventShape,
    answer::{self, Unreadable},
    api, v1, written,
};
use crate::{
    json::Json,
    qod::{Event, Moment, QosStatus, Secret, Sink, StatusInfo},
};

// The one event up to 0.8.
const TERMINATED: &str = "SESSION_TERMINATED";

// The one event of 0.9.
const CHANGED: &str = "QOS_STATUS_CHANGED";

const DELETE_REQUESTED: &str = StatusInfo::DeleteRequested.name();

// How the one event's type ends from 0.10 on; what stands before it is a release's, or a mistake.
const CHANGED_TYPE: &str = "qos-status-changed";

const UNKNOWN: Unreadable =
    Unreadable { reason: "is no event that is known", operator_session: None };

/// A request to POST to a client. It has no `Debug`: up to 0.8 its URL has the token in it.
pub struct Notification {
    /// Where to.
    pub url: String,
    /// Of what type the body is.
    pub content_type: &'static str,
    /// The token to show, where it is a bearer token.
    pub bearer: Option<Secret>,
    /// The body.
    pub body: Bytes,
}

/// What an operator tells has happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEvent {
    /// Its own id for the session.
    pub operator_session: String,
    /// How the session stands since: available, or not any more.
    pub status: QosStatus,
    /// Why it is unavailable, if it tells.
    pub status_info: Option<StatusInfo>,
    /// Since when, if it tells.
    pub at: Option<Moment>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEnd {
    session_id: String,
    event: &'static str,
}

#[derive(Serialize)]
struct WrittenNotice {
    event: WrittenEvent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the release's own names")]
struct WrittenEvent {
    event_id: String,
    event_type: &'static str,
    event_time: String,
    event_detail: WrittenChange,
}

#[derive(Serialize)]
struct WrittenCloudEvent {
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    specversion: &'static str,
    datacontenttype: &'static str,
    time: String,
    data: WrittenChange,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenChange {
    session_id: String,
    qos_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_info: Option<&'static str>,
}

/// Writes what a client is told. That a session is requested, its client knows from its answer.
pub(super) fn write(event: &Event, sink: &Sink, descriptor: &Descriptor) -> Option<Notification> {
    match (event.status, descriptor.event_shape) {
        (QosStatus::Requested, _) | (QosStatus::Available, EventShape::End) => None,
        (QosStatus::Unavailable, EventShape::End) => Some(end(event, sink)),
        (QosStatus::Available | QosStatus::Unavailable, EventShape::Change) => {
            Some(change(event, sink))
        }
        (QosStatus::Available | QosStatus::Unavailable, EventShape::CloudEvent { event_type }) => {
            Some(cloud_event(event, event_type, sink, descriptor))
        }
    }
}

fn end(event: &Event, sink: &Sink) -> Notification {
    let body = WrittenEnd { session_id: event.session.to_string(), event: TERMINATED };
    Notification {
        url: below(sink),
        content_type: "application/json",
        bearer: None,
        body: written(&body),
    }
}

// The release has its receivers listen below the URL, and take the token from the query.
fn below(sink: &Sink) -> String {
    let (place, query) = sink.url.split_once('?').unwrap_or((&sink.url, ""));
    let token = sink.token.as_ref().map(|token| format!("apikey={}", api::escaped(token.reveal())));
    let query: Vec<_> = [query, token.as_deref().unwrap_or_default()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}/notifications{mark}{}", place.trim_end_matches('/'), query.join("&"))
}

fn change(event: &Event, sink: &Sink) -> Notification {
    let mut change = WrittenChange::of(event);
    // The release has no word for it.
    change.status_info = change.status_info.filter(|info| *info != DELETE_REQUESTED);
    let body = WrittenNotice {
        event: WrittenEvent {
            event_id: event.id.hyphenated().to_string(),
            event_type: CHANGED,
            event_time: v1::timestamp(event.at).to_string(),
            event_detail: change,
        },
    };
    Notification {
        url: sink.url.clone(),
        content_type: "application/json",
        bearer: sink.token.clone(),
        body: written(&body),
    }
}

fn cloud_event(
    event: &Event,
    event_type: &'static str,
    sink: &Sink,
    descriptor: &Descriptor,
) -> Notification {
    let body = WrittenCloudEvent {
        id: event.id.hyphenated().to_string(),
        source: format!("{}/sessions/{}", descriptor.default_path, event.session),
        event_type,
        specversion: "1.0",
        datacontenttype: "application/json",
        time: v1::timestamp(event.at).to_string(),
        data: WrittenChange::of(event),
    };
    Notification {
        url: sink.url.clone(),
        content_type: "application/cloudevents+json",
        bearer: sink.token.clone(),
        body: written(&body),
    }
}

impl WrittenChange {
    fn of(event: &Event) -> Self {
        let over = event.status == QosStatus::Unavailable;
        Self {
            session_id: event.session.to_string(),
            qos_status: event.status.name(),
            status_info: event.status_info.filter(|_| over).map(StatusInfo::name),
        }
    }
}

/// Reads what an operator tells, by what it looks like.
pub fn read(body: &[u8]) -> Result<RemoteEvent, Unreadable> {
    let json = answer::parse(body)?;
    if let Some(data) = json.member("data") {
        let known = |name: &str| name.ends_with(CHANGED_TYPE);
        return read_change(&json, ("type", known), data, "time");
    }
    // The example of 0.9 leaves the wrapper out that its schema has.
    let inner = json.member("event").filter(|event| event.as_str().is_none()).unwrap_or(&json);
    if let Some(detail) = inner.member("eventDetail") {
        return read_change(inner, ("eventType", |name| name == CHANGED), detail, "eventTime");
    }
    read_end(&json)
}

fn read_change(
    envelope: &Json<'_>,
    (type_field, is_known): (&str, fn(&str) -> bool),
    change: &Json<'_>,
    time_field: &str,
) -> Result<RemoteEvent, Unreadable> {
    let event_type = envelope.member(type_field).and_then(Json::as_str);
    event_type.filter(|name| is_known(name)).ok_or(UNKNOWN)?;
    let operator_session = answer::read_operator_session(change, "sessionId")?.to_owned();
    // That a session is requested is no event.
    let Some(status) =
        answer::named_status(change).filter(|status| *status != QosStatus::Requested)
    else {
        let reason = "does not tell how the session stands";
        return Err(Unreadable { reason, operator_session: Some(operator_session) });
    };
    let over = status == QosStatus::Unavailable;
    let status_info = v1::read_status_info(change).filter(|_| over);
    let at = envelope.member(time_field).and_then(Json::as_str).and_then(v1::moment);
    Ok(RemoteEvent { operator_session, status, status_info, at })
}

fn read_end(json: &Json<'_>) -> Result<RemoteEvent, Unreadable> {
    let event = json.member("event").and_then(Json::as_str);
    event.filter(|name| *name == TERMINATED).ok_or(UNKNOWN)?;
    let operator_session = answer::read_operator_session(json, "sessionId")?.to_owned();
    let status = QosStatus::Unavailable;
    Ok(RemoteEvent { operator_session, status, status_info: None, at: None })
}
