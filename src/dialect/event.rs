//! Session events: renders notifications to clients in the format of their dialect, and parses
//! callback events of operators in any format, because some operators mix formats.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Descriptor, EventShape, api, json_body,
    session::{self, InvalidOperatorMessage},
    times::{parse_time, to_timestamp},
};
use crate::{
    json::Json,
    qod::{Moment, QosStatus, Secret, SessionEvent, Sink, StatusInfo},
};

// The only event up to 0.8.
const SESSION_TERMINATED: &str = "SESSION_TERMINATED";

// The only event of 0.9.
const QOS_STATUS_CHANGED: &str = "QOS_STATUS_CHANGED";

const DELETE_REQUESTED: &str = StatusInfo::DeleteRequested.name();

// Suffix of the event type from 0.10 on. The prefix depends on the release and is sometimes wrong.
const CHANGED_TYPE_SUFFIX: &str = "qos-status-changed";

const UNKNOWN_EVENT_TYPE: InvalidOperatorMessage =
    InvalidOperatorMessage { reason: "has an unknown event type", operator_session: None };

/// An HTTP POST request that notifies a client. It has no `Debug`, because up to 0.8 the URL
/// contains the token.
pub struct NotificationRequest {
    /// The target URL.
    pub url: String,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The bearer token, if the dialect sends the token as one.
    pub bearer: Option<Secret>,
    /// The body.
    pub body: Bytes,
}

/// A session event received from an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEvent {
    /// The operator's session id.
    pub operator_session: String,
    /// The new status: available or unavailable.
    pub status: QosStatus,
    /// Why the session is unavailable, if reported.
    pub status_info: Option<StatusInfo>,
    /// Time of the event, if reported.
    pub at: Option<Moment>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionTerminatedBody {
    session_id: String,
    event: &'static str,
}

#[derive(Serialize)]
struct EventNotificationBody {
    event: StatusChangedEventBody,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the release defines these names")]
struct StatusChangedEventBody {
    event_id: String,
    event_type: &'static str,
    event_time: String,
    event_detail: StatusChangeBody,
}

#[derive(Serialize)]
struct CloudEventBody<'a> {
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    specversion: &'static str,
    datacontenttype: &'static str,
    time: String,
    data: StatusChangeBody,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusChangeBody {
    session_id: String,
    qos_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_info: Option<&'static str>,
}

/// Renders a notification. The status `REQUESTED` is not notified; the create response contains it.
pub(super) fn write(
    event: &SessionEvent,
    sink: &Sink,
    descriptor: &Descriptor,
) -> Option<NotificationRequest> {
    match (event.status, &descriptor.event_shape) {
        (QosStatus::Requested, _) | (QosStatus::Available, EventShape::Termination) => None,
        (QosStatus::Unavailable, EventShape::Termination) => Some(terminated(event, sink)),
        (QosStatus::Available | QosStatus::Unavailable, EventShape::StatusChange) => {
            Some(status_changed(event, sink))
        }
        (QosStatus::Available | QosStatus::Unavailable, EventShape::CloudEvent { event_type }) => {
            Some(cloud_event(event, event_type, sink, descriptor))
        }
    }
}

fn terminated(event: &SessionEvent, sink: &Sink) -> NotificationRequest {
    let body =
        SessionTerminatedBody { session_id: event.session.to_string(), event: SESSION_TERMINATED };
    NotificationRequest {
        url: notifications_url(sink),
        content_type: "application/json",
        bearer: None,
        body: json_body(&body),
    }
}

// Up to 0.8, receivers listen below the sink URL and take the token from the query.
fn notifications_url(sink: &Sink) -> String {
    let (base, query) = sink.url.split_once('?').unwrap_or((&sink.url, ""));
    let token =
        sink.token.as_ref().map(|token| format!("apikey={}", api::percent_encode(token.reveal())));
    let query: Vec<_> = [query, token.as_deref().unwrap_or_default()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{}/notifications{separator}{}", base.trim_end_matches('/'), query.join("&"))
}

fn status_changed(event: &SessionEvent, sink: &Sink) -> NotificationRequest {
    let mut change = StatusChangeBody::from_event(event);
    // 0.9 does not define this value.
    change.status_info = change.status_info.filter(|info| *info != DELETE_REQUESTED);
    let body = EventNotificationBody {
        event: StatusChangedEventBody {
            event_id: event.id.hyphenated().to_string(),
            event_type: QOS_STATUS_CHANGED,
            event_time: to_timestamp(event.at).to_string(),
            event_detail: change,
        },
    };
    NotificationRequest {
        url: sink.url.clone(),
        content_type: "application/json",
        bearer: sink.token.clone(),
        body: json_body(&body),
    }
}

fn cloud_event(
    event: &SessionEvent,
    event_type: &str,
    sink: &Sink,
    descriptor: &Descriptor,
) -> NotificationRequest {
    let body = CloudEventBody {
        id: event.id.hyphenated().to_string(),
        source: format!("{}/sessions/{}", descriptor.default_path, event.session),
        event_type,
        specversion: "1.0",
        datacontenttype: "application/json",
        time: to_timestamp(event.at).to_string(),
        data: StatusChangeBody::from_event(event),
    };
    NotificationRequest {
        url: sink.url.clone(),
        content_type: "application/cloudevents+json",
        bearer: sink.token.clone(),
        body: json_body(&body),
    }
}

impl StatusChangeBody {
    fn from_event(event: &SessionEvent) -> Self {
        let unavailable = event.status == QosStatus::Unavailable;
        Self {
            session_id: event.session.to_string(),
            qos_status: event.status.name(),
            status_info: event.status_info.filter(|_| unavailable).map(StatusInfo::name),
        }
    }
}

/// Parses a callback event of an operator; detects its format.
///
/// # Errors
/// If it has no known format, or lacks a session id or status.
pub fn read(body: &[u8]) -> Result<RemoteEvent, InvalidOperatorMessage> {
    let json = session::parse(body)?;
    if let Some(data) = json.member("data") {
        let is_known = |name: &str| name.ends_with(CHANGED_TYPE_SUFFIX);
        return read_status_changed(&json, ("type", is_known), data, "time");
    }
    // The example of 0.9 omits the wrapper that its schema requires.
    let inner = json.member("event").filter(|event| event.as_str().is_none()).unwrap_or(&json);
    if let Some(detail) = inner.member("eventDetail") {
        return read_status_changed(
            inner,
            ("eventType", |name| name == QOS_STATUS_CHANGED),
            detail,
            "eventTime",
        );
    }
    read_terminated(&json)
}

fn read_status_changed(
    envelope: &Json<'_>,
    (type_field, is_known): (&str, fn(&str) -> bool),
    change: &Json<'_>,
    time_field: &str,
) -> Result<RemoteEvent, InvalidOperatorMessage> {
    let event_type = envelope.member(type_field).and_then(Json::as_str);
    event_type.filter(|name| is_known(name)).ok_or(UNKNOWN_EVENT_TYPE)?;
    let operator_session = session::read_session_id(change, "sessionId")?.to_owned();
    // `REQUESTED` is not a valid status of an event.
    let Some(status) =
        session::read_status(change).filter(|status| *status != QosStatus::Requested)
    else {
        let reason = "has no valid session status";
        return Err(InvalidOperatorMessage { reason, operator_session: Some(operator_session) });
    };
    let unavailable = status == QosStatus::Unavailable;
    let status_info = session::read_status_info(change).filter(|_| unavailable);
    let at = envelope.member(time_field).and_then(Json::as_str).and_then(parse_time);
    Ok(RemoteEvent { operator_session, status, status_info, at })
}

fn read_terminated(json: &Json<'_>) -> Result<RemoteEvent, InvalidOperatorMessage> {
    let event = json.member("event").and_then(Json::as_str);
    event.filter(|name| *name == SESSION_TERMINATED).ok_or(UNKNOWN_EVENT_TYPE)?;
    let operator_session = session::read_session_id(json, "sessionId")?.to_owned();
    let status = QosStatus::Unavailable;
    Ok(RemoteEvent { operator_session, status, status_info: None, at: None })
}
