//! Notifications in every dialect, compared with
//! `tests/golden/<dialect>.event-{available,unavailable}.json`, and callback events of operators.

use http::Uri;
use proptest::{option, prelude::*, sample::select};
use uuid::Uuid;

use super::{
    arbitrary::{name, sink},
    golden::{golden, pairs},
    *,
};
use crate::json::{Json, JsonLimits};
use crate::qod::{Moment, QosStatus, Secret, SessionId, StatusInfo};

const SESSION: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

static SCHEMAS: LazyLock<BTreeMap<&str, SchemaValidator>> = LazyLock::new(|| {
    let compile = |name| {
        let descriptor = dialect(name).descriptor();
        let file = schemas().join(format!("{}.yaml", descriptor.schema));
        let component = match descriptor.event_shape {
            EventShape::Termination => "Notification",
            EventShape::StatusChange => "EventNotification",
            EventShape::CloudEvent { .. } => "EventQosStatusChanged",
        };
        OpenApiDocument::read(&file).unwrap().validator(component, Direction::Request).unwrap()
    };
    DIALECTS.names().map(|name| (name, compile(name))).collect()
});

fn event(status: QosStatus, status_info: Option<StatusInfo>) -> SessionEvent {
    SessionEvent {
        id: "5698d710-9b1b-4695-a958-7b228f08128c".parse().unwrap(),
        session: SESSION.parse().unwrap(),
        status,
        status_info,
        at: Moment::from_unix_ms(1_764_594_000_250),
    }
}

fn sink_at(url: &str) -> Sink {
    let token = Some(Secret::new("c8974e592c2fa383d4a3960714+/="));
    Sink { url: url.to_owned(), token, token_expires_at: None }
}

fn cases() -> [(&'static str, SessionEvent); 2] {
    [
        ("event-available", event(QosStatus::Available, None)),
        ("event-unavailable", event(QosStatus::Unavailable, Some(StatusInfo::DurationExpired))),
    ]
}

// The notification in the form of its golden file; empty if the dialect cannot represent the event.
fn rendered(name: &str, event: &SessionEvent) -> Value {
    let sink = sink_at("https://app.example.com/cb/?for=qod");
    let Some(notification) = dialect(name).notification_request(event, &sink) else {
        return Value::Null;
    };
    json!({
        "url": notification.url,
        "contentType": notification.content_type,
        "authorization": notification.bearer.map(|token| format!("Bearer {}", token.reveal())),
        "body": serde_json::from_slice::<Value>(&notification.body).unwrap(),
    })
}

fn read(body: &Value) -> Result<RemoteEvent, InvalidOperatorMessage> {
    read_event(body.to_string().as_bytes())
}

// Up to 0.8 the only event is the termination, without details.
fn reports_status_changes(name: &str) -> bool {
    dialect(name).descriptor().event_shape != EventShape::Termination
}

fn supports(name: &str, info: StatusInfo) -> bool {
    match dialect(name).descriptor().event_shape {
        EventShape::Termination => false,
        EventShape::StatusChange => info != StatusInfo::DeleteRequested,
        EventShape::CloudEvent { .. } => true,
    }
}

fn cloud_event() -> Value {
    json!({
        "id": "a-b-c",
        "source": "https://operator.example/qod",
        "type": "org.camaraproject.qod.v0.qos-status-changed",
        "specversion": "1.0",
        "time": "2025-12-01T14:00:00.25+01:00",
        "data": {"sessionId": SESSION, "qosStatus": "UNAVAILABLE", "statusInfo": "NETWORK_TERMINATED"},
    })
}

fn change_of_0_9() -> Value {
    json!({
        "eventId": "5698d710-9b1b-4695-a958-7b228f08128c",
        "eventType": "QOS_STATUS_CHANGED",
        "eventTime": "2025-12-01T13:00:00.25Z",
        "eventDetail":
            {"sessionId": SESSION, "qosStatus": "UNAVAILABLE", "statusInfo": "NETWORK_TERMINATED"},
    })
}

fn end() -> Value {
    json!({"sessionId": SESSION, "event": "SESSION_TERMINATED"})
}

#[test]
fn notifications_match_their_golden_files_and_schemas() {
    for name in DIALECTS.names() {
        for (kind, event) in cases() {
            let file = golden(name, kind, rendered(name, &event).to_string().as_bytes());
            let body = file["body"].to_string();
            if !file.is_null() {
                let body = Json::parse(body.as_bytes(), &JsonLimits::default()).unwrap();
                assert_eq!(SCHEMAS[name].violations(&body), [], "{name}");
            }
        }
    }
}

#[test]
fn every_operator_event_is_rendered_in_every_client_dialect() {
    for (operator, client) in pairs() {
        for (kind, event) in cases() {
            let theirs = rendered(operator, &event);
            if theirs.is_null() {
                continue;
            }
            let read = read_event(theirs["body"].to_string().as_bytes()).unwrap();
            assert_eq!(read.operator_session, SESSION);
            let RemoteEvent { status, status_info, at, .. } = read;
            assert_eq!(at, reports_status_changes(operator).then_some(event.at));
            let ours = rendered(client, &SessionEvent { status, status_info, ..event.clone() });
            let mut expected =
                golden(client, kind, rendered(client, &event).to_string().as_bytes());
            if !reports_status_changes(operator) {
                for change in ["/body/data", "/body/event/eventDetail"] {
                    let change = expected.pointer_mut(change).and_then(Value::as_object_mut);
                    _ = change.map(|change| change.remove("statusInfo"));
                }
            }
            assert_eq!(ours, expected, "{operator} to {client}");
        }
    }
}

#[test]
fn requested_status_is_not_notified() {
    for name in DIALECTS.names() {
        assert_eq!(rendered(name, &event(QosStatus::Requested, None)), Value::Null);
    }
}

#[test]
fn only_unavailable_sessions_have_a_reason() {
    let event = event(QosStatus::Available, Some(StatusInfo::NetworkTerminated));
    assert_eq!(rendered("camara-1.1.0", &event).pointer("/body/data/statusInfo"), None);
    let mut theirs = cloud_event();
    theirs["data"]["qosStatus"] = json!("AVAILABLE");
    assert_eq!(read(&theirs).unwrap().status_info, None);
}

#[test]
fn up_to_0_8_the_event_is_posted_below_the_sink_url_with_the_token_in_the_query() {
    let end = event(QosStatus::Unavailable, None);
    for (sink, url) in [
        ("https://a.example", "https://a.example/notifications"),
        ("https://a.example/", "https://a.example/notifications"),
        ("https://a.example/cb", "https://a.example/cb/notifications"),
        ("https://a.example/cb//", "https://a.example/cb/notifications"),
        ("https://a.example/cb?", "https://a.example/cb/notifications"),
        ("https://a.example?x=/", "https://a.example/notifications?x=/"),
        ("https://a.example/cb?x=1?y", "https://a.example/cb/notifications?x=1?y"),
    ] {
        for name in ["camara-0.8.0", "camara-0.8.1", "devedge"] {
            let with_token = dialect(name).notification_request(&end, &sink_at(sink)).unwrap();
            let mark = if url.contains('?') { '&' } else { '?' };
            let expected = format!("{url}{mark}apikey=c8974e592c2fa383d4a3960714%2B%2F%3D");
            assert_eq!((with_token.url, with_token.bearer), (expected, None));
            let without_token = Sink { token: None, ..sink_at(sink) };
            assert_eq!(dialect(name).notification_request(&end, &without_token).unwrap().url, url);
        }
    }
}

#[test]
fn event_is_parsed_in_every_format() {
    let changed = RemoteEvent {
        operator_session: SESSION.to_owned(),
        status: QosStatus::Unavailable,
        status_info: Some(StatusInfo::NetworkTerminated),
        at: Some(Moment::from_unix_ms(1_764_594_000_250)),
    };
    let ended = RemoteEvent { status_info: None, at: None, ..changed.clone() };
    let wrapped = json!({"event": change_of_0_9(), "eventSubscriptionId": "x"});
    for (body, expected) in [
        (cloud_event(), &changed),
        (wrapped, &changed),
        (change_of_0_9(), &changed),
        (end(), &ended),
    ] {
        let read = read_event(body.to_string().as_bytes());
        assert_eq!(read.as_ref(), Ok(expected), "{body}");
    }
}

#[test]
fn invalid_reason_or_time_does_not_invalidate_an_event() {
    for invalid in [json!("PLMN_GONE"), json!(7), json!({}), json!(null), json!("2025-12-01")] {
        let mut body = cloud_event();
        body["data"]["statusInfo"] = invalid.clone();
        assert_eq!(read(&body).unwrap().status_info, None);
        let mut body = change_of_0_9();
        body["eventTime"] = invalid;
        assert_eq!(read(&body).unwrap().at, None);
    }
    let mut before_the_epoch = cloud_event();
    before_the_epoch["time"] = json!("1969-12-31T23:59:59Z");
    assert_eq!(read(&before_the_epoch).unwrap().at, None);
}

#[test]
fn unknown_events_are_rejected() {
    let with_value = |mut body: Value, pointer: &str, value: Value| {
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let invalid = [
        json!(null),
        json!(7),
        json!([]),
        json!({}),
        json!(""),
        json!("available"),
        json!("REQUESTED"),
        json!("a\nb"),
        json!(".."),
        json!("x".repeat(257)),
    ];
    for invalid in invalid {
        for (body, pointers) in [
            (cloud_event(), ["/type", "/data", "/data/qosStatus"].as_slice()),
            (change_of_0_9(), &["/eventType", "/eventDetail", "/eventDetail/qosStatus"]),
            (json!({"event": change_of_0_9()}), &["/event", "/event/eventDetail/qosStatus"]),
            (end(), &["/event"]),
        ] {
            for pointer in pointers {
                let body = with_value(body.clone(), pointer, invalid.clone());
                assert!(read(&body).is_err(), "{body}");
            }
        }
        if !matches!(invalid.as_str(), Some("available" | "REQUESTED")) {
            for (body, pointer) in [
                (cloud_event(), "/data/sessionId"),
                (change_of_0_9(), "/eventDetail/sessionId"),
                (end(), "/sessionId"),
            ] {
                let body = with_value(body, pointer, invalid.clone());
                assert_eq!(read(&body).unwrap_err().operator_session, None, "{body}");
            }
        }
    }
    let foreign = "org.camaraproject.device-status.v0.roaming-on";
    assert!(read(&with_value(cloud_event(), "/type", json!(foreign))).is_err());
    let listed = json!([cloud_event()]);
    assert!(read(&listed).is_err());
}

#[test]
fn error_without_status_contains_the_session_id() {
    let mut body = cloud_event();
    body["data"].as_object_mut().unwrap().remove("qosStatus");
    assert_eq!(read(&body).unwrap_err().operator_session.as_deref(), Some(SESSION));
}

#[test]
fn ambiguous_bodies_are_rejected() {
    let read = |body: &str| read_event(body.as_bytes());
    let twice =
        format!(r#"{{"sessionId":"x","event":"SESSION_TERMINATED","sessionId":"{SESSION}"}}"#);
    let by_case =
        format!(r#"{{"sessionId":"x","event":"SESSION_TERMINATED","SessionId":"{SESSION}"}}"#);
    let after = format!("{} {}", end(), end());
    let deep = format!(r#"{{"data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let wide = format!(r#"{{"data":[{}1]}}"#, "1,".repeat(70_000));
    for body in [&*twice, &by_case, &after, &deep, &wide, "", "{", "\u{0}"] {
        assert!(read(body).is_err(), "{body}");
    }
    assert!(read_event(b"\xff\xfe{}").is_err());
}

fn any_event() -> impl Strategy<Value = SessionEvent> {
    let info = select(vec![
        StatusInfo::DurationExpired,
        StatusInfo::NetworkTerminated,
        StatusInfo::DeleteRequested,
    ]);
    (any::<[u128; 2]>(), option::of(option::of(info)), 0..=253_402_207_200_999_u64).prop_map(
        |([id, session], unavailable, at)| SessionEvent {
            id: Uuid::from_u128(id),
            session: SessionId(Uuid::from_u128(session)),
            status: unavailable.map_or(QosStatus::Available, |_| QosStatus::Unavailable),
            status_info: unavailable.flatten(),
            at: Moment::from_unix_ms(at),
        },
    )
}

proptest! {
    #[test]
    fn rendered_event_matches_its_schema_and_parses_back(
        (name, sink) in name().prop_flat_map(|name| (Just(name), sink(dialect(name).rule()))),
        event in any_event(),
    ) {
        let Some(notification) = dialect(name).notification_request(&event, &sink) else {
            prop_assert!(event.status == QosStatus::Available && !reports_status_changes(name));
            return Ok(());
        };
        let json = Json::parse(&notification.body, &JsonLimits::default()).unwrap();
        prop_assert_eq!(SCHEMAS[name].violations(&json), []);
        let read = read_event(&notification.body).unwrap();
        let whole = reports_status_changes(name);
        prop_assert_eq!(read, RemoteEvent {
            operator_session: event.session.to_string(),
            status: event.status,
            status_info: event.status_info.filter(|info| supports(name, *info)),
            at: Some(event.at).filter(|_| whole),
        });
        let (ours, theirs): (Uri, Uri) =
            (notification.url.parse().unwrap(), sink.url.parse().unwrap());
        prop_assert_eq!(ours.authority(), theirs.authority());
        prop_assert_eq!(whole, notification.url == sink.url);
        prop_assert_eq!(notification.bearer, sink.token.filter(|_| whole));
    }
}
