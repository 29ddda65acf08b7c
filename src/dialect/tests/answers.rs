//! What clients are told, and what operators tell.

use std::{borrow::Cow, time::Duration};

use http::header;

use super::*;
use crate::qod::{
    Kind, Message, Moment, Pace, QosStatus, Secret, Session, SessionId, Severity, StatusInfo,
};

fn granted(status: QosStatus) -> Granted {
    Granted {
        duration_s: 600,
        started_at: Some(Moment::from_unix_ms(1_700_000_000_999)),
        expires_at: Some(Moment::from_unix_ms(1_700_000_600_999)),
        status,
        status_info: None,
        messages: Vec::new(),
    }
}

fn session(name: &str, granted: Granted) -> Session {
    let mut wanted = parse(name, &body(name)).unwrap();
    let token = Some(Secret::new("keep-this-to-yourself"));
    let url = "https://a.example/cb".to_owned();
    wanted.sink = Some(Sink { url, token, token_expires_at: None });
    Session { id: SessionId::random(), wanted, granted }
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn answers_have_the_status_and_the_bytes_of_their_operation() {
    for name in DIALECTS.names() {
        let session = session(name, granted(QosStatus::Available));
        let render = |answer| dialect(name).render_answer(&answer);
        let created = render(Answer::Created(session.clone()));
        assert_eq!(created.status(), if name == "devedge" { 200 } else { 201 });
        assert_eq!(created.headers()[header::CONTENT_TYPE], "application/json");
        let found = render(Answer::Found(session.clone()));
        assert_eq!((found.status().as_u16(), found.body()), (200, created.body()));
        assert_eq!(render(Answer::Extended(session)).status(), 200);
        let deleted = render(Answer::Deleted);
        assert_eq!((deleted.status().as_u16(), deleted.body().len()), (204, 0));
        assert!(deleted.headers().is_empty());
    }
}

#[test]
fn a_client_is_shown_its_sink_and_not_its_token() {
    for name in DIALECTS.names() {
        let session = session(name, granted(QosStatus::Available));
        let response = dialect(name).render_answer(&Answer::Found(session));
        let text = String::from_utf8_lossy(response.body());
        assert!(text.contains("https://a.example/cb") && !text.contains("keep-this"), "{text}");
    }
}

#[test]
fn times_are_cut_to_seconds_and_completed_by_the_duration() {
    let times = |name, started_at, expires_at| {
        let granted = Granted { started_at, expires_at, ..granted(QosStatus::Available) };
        let session = session(name, granted);
        let json = json_of(&dialect(name).render_answer(&Answer::Found(session)));
        (json["startedAt"].as_u64().unwrap(), json["expiresAt"].as_u64().unwrap())
    };
    let (start, end) = (1_700_000_000, 1_700_000_600);
    let early = |name: &&str| !dialect(name).has(Operation::RetrieveSessions);
    for name in DIALECTS.names().filter(early) {
        let Granted { started_at, expires_at, .. } = granted(QosStatus::Available);
        assert_eq!(times(name, started_at, expires_at), (start, end));
        assert_eq!(times(name, started_at, None), (start, end));
        assert_eq!(times(name, None, expires_at), (start, end));
    }
}

#[test]
fn what_a_family_has_no_field_for_it_says_in_words() {
    let remark = |name, status, status_info| {
        let granted = Granted { status_info, ..granted(status) };
        let json = json_of(&dialect(name).render_answer(&Answer::Found(session(name, granted))));
        (json["qosStatus"].clone(), json["messages"][0]["severity"].clone())
    };
    let (old, new) = ("camara-0.8.1", "camara-0.10.1");
    assert_eq!(remark(old, QosStatus::Requested, None), (Value::Null, json!("INFO")));
    assert_eq!(remark(new, QosStatus::Requested, None), (json!("REQUESTED"), json!("INFO")));
    assert_eq!(remark(old, QosStatus::Available, None), (Value::Null, Value::Null));
    let ended = Some(StatusInfo::NetworkTerminated);
    assert_eq!(remark(old, QosStatus::Unavailable, ended), (Value::Null, json!("WARNING")));
    let expired = Some(StatusInfo::DurationExpired);
    assert_eq!(remark(new, QosStatus::Unavailable, expired), (json!("UNAVAILABLE"), json!("INFO")));
}

#[test]
fn an_operators_messages_come_first_and_none_comes_twice() {
    let name = "camara-0.10.1";
    let own =
        Message { severity: Severity::Warning, description: "Session unavailable".to_owned() };
    let other = Message { severity: Severity::Info, description: "Cell is busy".to_owned() };
    let messages = vec![other, own];
    let granted = Granted { messages, ..granted(QosStatus::Unavailable) };
    let json = json_of(&dialect(name).render_answer(&Answer::Found(session(name, granted))));
    assert_eq!(json["messages"].as_array().unwrap().len(), 2);
    assert_eq!(json["messages"][0], json!({"severity": "INFO", "description": "Cell is busy"}));
}

fn problem(status: u16, code: &'static str) -> Problem {
    let (kind, code) = (Kind::TooManyRequests, Cow::Borrowed(code));
    Problem {
        kind,
        status,
        code,
        message: "too many".to_owned(),
        pace: None,
        challenge: None,
        retry_after: None,
    }
}

#[test]
fn every_dialect_says_no_in_its_own_shape() {
    let problem = problem(429, "TOO_MANY_REQUESTS");
    for (name, body) in [
        ("camara-0.8.0", json!({"code": "TOO_MANY_REQUESTS", "message": "too many"})),
        (
            "camara-0.10.1",
            json!({"status": 429, "code": "TOO_MANY_REQUESTS", "message": "too many"}),
        ),
        (
            "camara-1.1.0",
            json!({"status": 429, "code": "TOO_MANY_REQUESTS", "message": "too many"}),
        ),
        ("camara-0.1.0", json!({"message": "too many"})),
        ("telefonica-0.10", json!({"code": "TOO_MANY_REQUESTS", "message": "too many"})),
        (
            "devedge",
            json!({"reasonCode": "ERR-429", "systemMessage": "TOO_MANY_REQUESTS",
            "userMessage": "too many"}),
        ),
    ] {
        let response = dialect(name).render_problem(&problem);
        assert_eq!(json_of(&response), body);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(response.headers().len(), 1);
    }
}

#[test]
fn without_a_token_there_is_a_challenge() {
    let response = dialect("devedge").render_problem(&problem(401, "UNAUTHORIZED"));
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert_eq!(json_of(&response)["reasonCode"], "ERR-1091");
}

#[test]
fn a_limit_tells_how_it_stands() {
    let pace = Pace {
        policy: "client",
        quota: 100,
        window: Duration::from_mins(1),
        remaining: 0,
        retry_after: Duration::from_millis(1200),
    };
    let problem = Problem { pace: Some(pace), ..problem(429, "TOO_MANY_REQUESTS") };
    let response = dialect("camara-0.8.1").render_problem(&problem);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(response.headers()["ratelimit-policy"], "\"client\";q=100;w=60");
    assert_eq!(response.headers()["ratelimit"], "\"client\";r=0;t=2");
}

#[test]
fn operators_sessions() {
    let old = json!({"id": "7", "duration": 60, "startedAt": 1_700_000_000,
    "expiresAt": 1_700_000_060, "messages": [
        {"severity": "WARNING", "description": "slow"}, {"severity": "LOUD", "description": ""},
    ]});
    let (id, granted) = dialect("devedge").read_session(old.to_string().as_bytes()).unwrap();
    assert_eq!(id, "7");
    assert_eq!(granted.status, QosStatus::Available);
    assert_eq!(granted.expires_at, Some(Moment::from_unix_s(1_700_000_060)));
    let slow = Message { severity: Severity::Warning, description: "slow".to_owned() };
    assert_eq!(granted.messages, [slow]);

    let new = json!({"sessionId": "7", "duration": 60, "startedAt": null, "messages": null,
        "qosStatus": "REQUESTED"});
    let (_, granted) = dialect("camara-0.10.1").read_session(new.to_string().as_bytes()).unwrap();
    assert_eq!((granted.status, granted.started_at), (QosStatus::Requested, None));
}

#[test]
fn an_answer_that_does_not_tell_enough() {
    let sound = json!({"sessionId": "7", "duration": 60, "qosStatus": "AVAILABLE"});
    let read = |body: &Value| dialect("camara-0.10.1").read_session(body.to_string().as_bytes());
    assert!(read(&sound).is_ok());
    for (field, value) in [
        ("duration", json!("60")),
        ("duration", json!(0)),
        ("duration", json!(5_000_000_000_u64)),
        ("startedAt", json!("2026-01-01T00:00:00Z")),
        ("startedAt", json!(-1)),
        ("expiresAt", json!(1_700_000_000_000_u64)),
        ("qosStatus", json!("BEST")),
        ("qosStatus", json!(1)),
    ] {
        let mut body = sound.clone();
        body[field] = value;
        let unreadable = read(&body).unwrap_err();
        assert_eq!(unreadable.operator_session.as_deref(), Some("7"), "{body}");
    }
    let mut backwards = sound.clone();
    backwards["startedAt"] = json!(2);
    backwards["expiresAt"] = json!(1);
    assert!(read(&backwards).is_err());
    for id in [json!(null), json!(7), json!(""), json!(".."), json!("a\nb"), json!("x".repeat(257))]
    {
        let mut body = sound.clone();
        body["sessionId"] = id;
        assert_eq!(read(&body).unwrap_err().operator_session, None, "{body}");
    }
    for body in ["", "<html>", "[]", r#"{"sessionId":"1","sessionId":"2"}"#] {
        let unreadable = dialect("camara-0.10.1").read_session(body.as_bytes()).unwrap_err();
        assert_eq!(unreadable.operator_session, None, "{body}");
    }
}

#[test]
fn an_operators_no_is_sorted_by_status_and_code() {
    let read = |status, body: &str| dialect("camara-0.10.1").read_problem(status, body.as_bytes());
    for (status, code, kind) in [
        (400, "INVALID_INPUT", Kind::InvalidArgument),
        (400, "OUT_OF_RANGE", Kind::OutOfRange),
        (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE", Kind::DurationOutOfRange),
        (400, "INVALID_SINK", Kind::BadGateway),
        (404, "IDENTIFIER_NOT_FOUND", Kind::DeviceNotFound),
        (404, "DEVICE_NOT_FOUND", Kind::DeviceNotFound),
        (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED", Kind::ExtensionNotAllowed),
        (422, "UNSUPPORTED_IDENTIFIER", Kind::UnsupportedIdentifier),
        (422, "UNIDENTIFIABLE_DEVICE", Kind::UnsupportedIdentifier),
        (422, "IDENTIFIER_MISMATCH", Kind::InvalidArgument),
        (422, "UNNECESSARY_IDENTIFIER", Kind::BadGateway),
        (422, "SERVICE_NOT_APPLICABLE", Kind::NotApplicable),
        (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE", Kind::ProfileNotApplicable),
        (401, "UNAUTHORIZED", Kind::Unauthenticated),
        (403, "FORBIDDEN", Kind::PermissionDenied),
        (404, "NOT_FOUND", Kind::SessionNotFound),
        (409, "CONFLICT", Kind::Conflict),
        (429, "TOO_MANY_REQUESTS", Kind::TooManyRequests),
        (429, "QUOTA_EXCEEDED", Kind::QuotaExceeded),
        (418, "TEAPOT", Kind::InvalidArgument),
        (405, "METHOD_NOT_ALLOWED", Kind::BadGateway),
        (500, "INTERNAL", Kind::BadGateway),
        (501, "NOT_IMPLEMENTED", Kind::NotImplemented),
        (503, "SERVICE_UNAVALIBLE", Kind::Unavailable),
        (504, "TIMEOUT", Kind::Timeout),
        (302, "FOUND", Kind::BadGateway),
        (999, "X", Kind::BadGateway),
    ] {
        let body = json!({"code": code, "message": "CONFLICT"}).to_string();
        let problem = read(status, &body);
        assert_eq!(problem, RemoteProblem { kind, code: Some(code.to_owned()) });
    }
    let devedge = r#"{"reasonCode":"ERR-1091","systemMessage":"UNAUTHORIZED","userMessage":"no"}"#;
    assert_eq!(read(401, devedge).code.as_deref(), Some("UNAUTHORIZED"));
    let prose = r#"{"reasonCode":"ERR-1","systemMessage":"no such thing here"}"#;
    assert_eq!(read(404, prose).code.as_deref(), Some("ERR-1"));
    let bare = RemoteProblem { kind: Kind::Conflict, code: None };
    assert_eq!(read(409, "<html>"), bare);
}
