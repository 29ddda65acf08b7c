//! Responses to clients and responses of operators.

use std::{borrow::Cow, time::Duration};

use http::header;

use super::*;
use crate::qod::{
    Moment, ProblemKind, QosStatus, RateLimitStatus, Secret, Session, SessionId, SessionMessage,
    Severity, StatusInfo,
};

fn granted(status: QosStatus) -> GrantedSession {
    GrantedSession {
        duration_s: 600,
        started_at: Some(Moment::from_unix_ms(1_700_000_000_999)),
        expires_at: Some(Moment::from_unix_ms(1_700_000_600_999)),
        status,
        status_info: None,
        messages: Vec::new(),
    }
}

fn session(name: &str, granted: GrantedSession) -> Session {
    let mut wanted = parse(name, &body(name)).unwrap();
    let token = Some(Secret::new("keep-this-to-yourself"));
    let url = "https://a.example/cb".to_owned();
    wanted.sink = Some(Sink { url, token, token_expires_at: None });
    Session { id: SessionId::random(), wanted: wanted.into(), granted }
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn responses_have_the_status_and_body_of_their_operation() {
    for name in DIALECTS.names() {
        let session = session(name, granted(QosStatus::Available));
        let render = |answer| dialect(name).render_response(&answer);
        let created = render(ApiResponse::Created(session.clone()));
        assert_eq!(created.status(), if name == "devedge" { 200 } else { 201 });
        assert_eq!(created.headers()[header::CONTENT_TYPE], "application/json");
        let found = render(ApiResponse::Found(session.clone()));
        assert_eq!((found.status().as_u16(), found.body()), (200, created.body()));
        assert_eq!(render(ApiResponse::Extended(session)).status(), 200);
        let deleted = render(ApiResponse::Deleted);
        assert_eq!((deleted.status().as_u16(), deleted.body().len()), (204, 0));
        assert!(deleted.headers().is_empty());
    }
}

#[test]
fn session_contains_the_sink_without_its_token() {
    for name in DIALECTS.names() {
        let session = session(name, granted(QosStatus::Available));
        let response = dialect(name).render_response(&ApiResponse::Found(session));
        let text = String::from_utf8_lossy(response.body());
        assert!(text.contains("https://a.example/cb") && !text.contains("keep-this"), "{text}");
    }
}

#[test]
fn times_are_truncated_to_seconds_and_completed_from_the_duration() {
    let times = |name, started_at, expires_at| {
        let granted = GrantedSession { started_at, expires_at, ..granted(QosStatus::Available) };
        let session = session(name, granted);
        let json = json_of(&dialect(name).render_response(&ApiResponse::Found(session)));
        (json["startedAt"].as_u64().unwrap(), json["expiresAt"].as_u64().unwrap())
    };
    let (start, end) = (1_700_000_000, 1_700_000_600);
    let early = |name: &&str| !dialect(name).has(Operation::RetrieveSessions);
    for name in DIALECTS.names().filter(early) {
        let GrantedSession { started_at, expires_at, .. } = granted(QosStatus::Available);
        assert_eq!(times(name, started_at, expires_at), (start, end));
        assert_eq!(times(name, started_at, None), (start, end));
        assert_eq!(times(name, None, expires_at), (start, end));
    }
}

#[test]
fn status_without_a_field_is_rendered_as_a_message() {
    let message = |name, status, status_info| {
        let granted = GrantedSession { status_info, ..granted(status) };
        let json =
            json_of(&dialect(name).render_response(&ApiResponse::Found(session(name, granted))));
        (json["qosStatus"].clone(), json["messages"][0]["severity"].clone())
    };
    let (old, new) = ("camara-0.8.1", "camara-0.10.1");
    assert_eq!(message(old, QosStatus::Requested, None), (Value::Null, json!("INFO")));
    assert_eq!(message(new, QosStatus::Requested, None), (json!("REQUESTED"), json!("INFO")));
    assert_eq!(message(old, QosStatus::Available, None), (Value::Null, Value::Null));
    let ended = Some(StatusInfo::NetworkTerminated);
    assert_eq!(message(old, QosStatus::Unavailable, ended), (Value::Null, json!("WARNING")));
    let expired = Some(StatusInfo::DurationExpired);
    assert_eq!(
        message(new, QosStatus::Unavailable, expired),
        (json!("UNAVAILABLE"), json!("INFO"))
    );
}

#[test]
fn operator_messages_come_first_without_duplicates() {
    let name = "camara-0.10.1";
    let own = SessionMessage {
        severity: Severity::Warning,
        description: "Session unavailable".to_owned(),
    };
    let other = SessionMessage { severity: Severity::Info, description: "Cell is busy".to_owned() };
    let messages = vec![other, own];
    let granted = GrantedSession { messages, ..granted(QosStatus::Unavailable) };
    let json = json_of(&dialect(name).render_response(&ApiResponse::Found(session(name, granted))));
    assert_eq!(json["messages"].as_array().unwrap().len(), 2);
    assert_eq!(json["messages"][0], json!({"severity": "INFO", "description": "Cell is busy"}));
}

fn problem(status: u16, code: &'static str) -> Problem {
    let (kind, code) = (ProblemKind::TooManyRequests, Cow::Borrowed(code));
    Problem {
        kind,
        status,
        code,
        message: "too many".to_owned(),
        rate_limit: None,
        challenge: None,
        retry_after: None,
    }
}

#[test]
fn every_dialect_renders_problems_in_its_own_shape() {
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
fn missing_token_is_answered_with_a_challenge() {
    let response = dialect("devedge").render_problem(&problem(401, "UNAUTHORIZED"));
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert_eq!(json_of(&response)["reasonCode"], "ERR-1091");
}

#[test]
fn rate_limit_state_is_rendered_in_header_fields() {
    let pace = RateLimitStatus {
        policy: "client",
        quota: 100,
        window: Duration::from_mins(1),
        remaining: 0,
        retry_after: Duration::from_millis(1200),
    };
    let problem = Problem { rate_limit: Some(pace), ..problem(429, "TOO_MANY_REQUESTS") };
    let response = dialect("camara-0.8.1").render_problem(&problem);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(response.headers()["ratelimit-policy"], "\"client\";q=100;w=60");
    assert_eq!(response.headers()["ratelimit"], "\"client\";r=0;t=2");
}

#[test]
fn operator_sessions_are_parsed() {
    let old = json!({"id": "7", "duration": 60, "startedAt": 1_700_000_000,
    "expiresAt": 1_700_000_060, "messages": [
        {"severity": "WARNING", "description": "slow"}, {"severity": "LOUD", "description": ""},
    ]});
    let (id, granted) = dialect("devedge")
        .read_session(old.to_string().as_bytes(), TimesWithoutOffset::Reject)
        .unwrap();
    assert_eq!(id, "7");
    assert_eq!(granted.status, QosStatus::Available);
    assert_eq!(granted.expires_at, Some(Moment::from_unix_s(1_700_000_060)));
    let slow = SessionMessage { severity: Severity::Warning, description: "slow".to_owned() };
    assert_eq!(granted.messages, [slow]);

    let new = json!({"sessionId": "7", "duration": 60, "startedAt": null, "messages": null,
        "qosStatus": "REQUESTED"});
    let (_, granted) = dialect("camara-0.10.1")
        .read_session(new.to_string().as_bytes(), TimesWithoutOffset::Reject)
        .unwrap();
    assert_eq!((granted.status, granted.started_at), (QosStatus::Requested, None));
}

#[test]
fn incomplete_operator_session_is_rejected() {
    let valid = json!({"sessionId": "7", "duration": 60, "qosStatus": "AVAILABLE"});
    let read = |body: &Value| {
        dialect("camara-0.10.1")
            .read_session(body.to_string().as_bytes(), TimesWithoutOffset::Reject)
    };
    assert!(read(&valid).is_ok());
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
        let mut body = valid.clone();
        body[field] = value;
        let error = read(&body).unwrap_err();
        assert_eq!(error.operator_session.as_deref(), Some("7"), "{body}");
    }
    let mut backwards = valid.clone();
    backwards["startedAt"] = json!(2);
    backwards["expiresAt"] = json!(1);
    assert!(read(&backwards).is_err());
    for id in [json!(null), json!(7), json!(""), json!(".."), json!("a\nb"), json!("x".repeat(257))]
    {
        let mut body = valid.clone();
        body["sessionId"] = id;
        assert_eq!(read(&body).unwrap_err().operator_session, None, "{body}");
    }
    for body in ["", "<html>", "[]", r#"{"sessionId":"1","sessionId":"2"}"#] {
        let error = dialect("camara-0.10.1")
            .read_session(body.as_bytes(), TimesWithoutOffset::Reject)
            .unwrap_err();
        assert_eq!(error.operator_session, None, "{body}");
    }
}

#[test]
fn operator_problem_is_classified_by_status_and_code() {
    let read = |status, body: &str| dialect("camara-0.10.1").read_problem(status, body.as_bytes());
    for (status, code, kind) in [
        (400, "INVALID_INPUT", ProblemKind::InvalidArgument),
        (400, "OUT_OF_RANGE", ProblemKind::OutOfRange),
        (400, "QUALITY_ON_DEMAND.DURATION_OUT_OF_RANGE", ProblemKind::DurationOutOfRange),
        (400, "INVALID_SINK", ProblemKind::BadGateway),
        (404, "IDENTIFIER_NOT_FOUND", ProblemKind::DeviceNotFound),
        (404, "DEVICE_NOT_FOUND", ProblemKind::DeviceNotFound),
        (409, "QUALITY_ON_DEMAND.SESSION_EXTENSION_NOT_ALLOWED", ProblemKind::ExtensionNotAllowed),
        (422, "UNSUPPORTED_IDENTIFIER", ProblemKind::UnsupportedIdentifier),
        (422, "UNIDENTIFIABLE_DEVICE", ProblemKind::UnsupportedIdentifier),
        (422, "IDENTIFIER_MISMATCH", ProblemKind::IdentifierMismatch),
        (422, "DEVICE_IDENTIFIERS_MISMATCH", ProblemKind::IdentifierMismatch),
        (422, "UNNECESSARY_IDENTIFIER", ProblemKind::BadGateway),
        (422, "SERVICE_NOT_APPLICABLE", ProblemKind::NotApplicable),
        (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE", ProblemKind::ProfileNotApplicable),
        (401, "UNAUTHORIZED", ProblemKind::Unauthenticated),
        (403, "FORBIDDEN", ProblemKind::PermissionDenied),
        (404, "NOT_FOUND", ProblemKind::SessionNotFound),
        (409, "CONFLICT", ProblemKind::Conflict),
        (429, "TOO_MANY_REQUESTS", ProblemKind::TooManyRequests),
        (429, "QUOTA_EXCEEDED", ProblemKind::QuotaExceeded),
        (418, "TEAPOT", ProblemKind::InvalidArgument),
        (405, "METHOD_NOT_ALLOWED", ProblemKind::BadGateway),
        (407, "PROXY", ProblemKind::BadGateway),
        (421, "MISDIRECTED", ProblemKind::BadGateway),
        (426, "UPGRADE", ProblemKind::BadGateway),
        (500, "INTERNAL", ProblemKind::BadGateway),
        (501, "NOT_IMPLEMENTED", ProblemKind::NotImplemented),
        (503, "SERVICE_UNAVALIBLE", ProblemKind::Unavailable),
        (504, "TIMEOUT", ProblemKind::Timeout),
        (302, "FOUND", ProblemKind::BadGateway),
        (999, "X", ProblemKind::BadGateway),
    ] {
        let body = json!({"code": code, "message": "CONFLICT"}).to_string();
        let problem = read(status, &body);
        assert_eq!(problem, RemoteProblem { kind, code: Some(code.to_owned()), retry_after: None });
    }
    let devedge = r#"{"reasonCode":"ERR-1091","systemMessage":"UNAUTHORIZED","userMessage":"no"}"#;
    assert_eq!(read(401, devedge).code.as_deref(), Some("UNAUTHORIZED"));
    let prose = r#"{"reasonCode":"ERR-1","systemMessage":"no such thing here"}"#;
    assert_eq!(read(404, prose).code, None);
    let longest = "X".repeat(96);
    for (code, is_known) in [
        ("Q.O_D1", true),
        (&*longest, true),
        (&*format!("{longest}X"), false),
        ("<script>alert(1)</script>", false),
        ("+447700900123", false),
        ("447700900123", false),
        ("Conflict", false),
        ("_X", false),
        ("A B", false),
        ("", false),
        ("ÄX", false),
    ] {
        let body = json!({"code": code, "message": "m"}).to_string();
        assert_eq!(read(409, &body).code.is_some(), is_known, "{code}");
        assert_eq!(read(409, &body).kind, ProblemKind::Conflict);
    }
    let bare = RemoteProblem { kind: ProblemKind::Conflict, code: None, retry_after: None };
    assert_eq!(read(409, "<html>"), bare);
}
