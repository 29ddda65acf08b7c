//! Detection of a request's operation and dialect.

use http::{HeaderMap, HeaderValue, Method, header};

use super::*;
use crate::qod::ProblemKind;

const ID: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

fn apis() -> Apis {
    let detected = DialectSelection::Detected {
        candidates: ["camara-0.8.0", "camara-0.8.1", "devedge", "camara-0.10.1"]
            .map(|name| Arc::clone(dialect(name)))
            .into(),
        fallback: Arc::clone(dialect("camara-0.10.1")),
    };
    let one = |name| DialectSelection::Fixed(Arc::clone(dialect(name)));
    Apis::new(
        vec![
            api("/qod", one("camara-0.8.0")),
            api("/qod/v0", detected),
            api("/telefonica/qod/v0", one("telefonica-0.10")),
            api("/quality-on-demand/v1", one("camara-1.1.0")),
        ],
        Strictness::default(),
    )
}

fn detect(method: &Method, path: &str, body: &str) -> Result<ApiRequest, UnmatchedRequest> {
    apis().detect(method, path, &HeaderMap::new(), body.as_bytes())
}

fn proof() -> HeaderMap {
    HeaderMap::from_iter([(
        header::HeaderName::from_static("x-authorization"),
        HeaderValue::from_static("proof"),
    )])
}

#[test]
fn operations_are_detected_by_method_and_path() {
    let session = format!("/telefonica/qod/v0/sessions/{ID}");
    for (method, path, operation) in [
        (Method::POST, "/telefonica/qod/v0/sessions", Operation::CreateSession),
        (Method::GET, session.as_str(), Operation::GetSession),
        (Method::DELETE, session.as_str(), Operation::DeleteSession),
        (Method::POST, &format!("{session}/extend"), Operation::ExtendSession),
    ] {
        let call = detect(&method, path, "").unwrap();
        assert_eq!(call.operation(), operation);
        assert_eq!(call.dialect().name(), "telefonica-0.10");
        let id = call.session_id().map(|id| id.to_string());
        assert_eq!(id.is_ok(), operation != Operation::CreateSession);
        assert_eq!(id.unwrap_or_else(|_| ID.to_owned()), ID);
    }
}

#[test]
fn paths_are_matched_literally() {
    for path in [
        "",
        "/",
        "/qod/v0",
        "/qod/v0/",
        "/qod/v0/sessions/",
        "/qod/v0//sessions",
        "//qod/v0/sessions",
        "/qod/v0/sessions//extend",
        "/qod/v0/./sessions",
        "/qod/v0/x/../sessions",
        "/qod/v0/sessions/..",
        "/qod/v0/sessions/.",
        "/qod/v0/Sessions",
        "/QOD/v0/sessions",
        "/qod/v0%2fsessions",
        "/qod/v0/sessions%2f1",
        "/qod/v0/sessions/a%2fb",
        "/qod/v0sessions",
        "/qod/v0/sessions/a;b",
        "/qod/v0/sessions/a/b",
        "/qod/v0/sessions/a/extend/",
        "/qod/v0/sessions/a/extend/b",
        "/qod/v1/sessions",
        "/sessions",
        "/qod/v0/retrieve-qos-profiles",
        "/quality-on-demand/v1/qos-profiles",
    ] {
        let rejected = detect(&Method::POST, path, "").unwrap_err();
        assert_eq!(rejected.reason, UnmatchedReason::PathNotFound, "{path}");
    }
    assert!(detect(&Method::POST, "/nothing", "").unwrap_err().dialect.is_none());
    let below = detect(&Method::POST, "/telefonica/qod/v0/x", "").unwrap_err();
    assert_eq!(below.dialect.unwrap().name(), "telefonica-0.10");
}

#[test]
fn unsupported_method_is_rejected_with_the_allowed_ones() {
    let session = format!("/qod/v0/sessions/{ID}");
    for (path, allow) in [
        ("/qod/v0/sessions", "POST"),
        (session.as_str(), "GET, DELETE"),
        (&format!("{session}/extend"), "POST"),
    ] {
        for method in [Method::PUT, Method::HEAD, Method::OPTIONS, Method::PATCH] {
            let rejected = detect(&method, path, "").unwrap_err();
            assert_eq!(rejected.reason, UnmatchedReason::MethodNotAllowed { allow });
        }
    }
}

#[test]
fn extension_path_does_not_exist_if_no_dialect_has_it() {
    let rejected = detect(&Method::POST, &format!("/qod/sessions/{ID}/extend"), "").unwrap_err();
    assert_eq!(rejected.reason, UnmatchedReason::PathNotFound);
}

#[test]
fn invalid_session_id_is_rejected() {
    for id in ["1", "3fa85f6457174562b3fc2c963f66afa6", "urn:uuid"] {
        let path = format!("/telefonica/qod/v0/sessions/{id}");
        match detect(&Method::GET, &path, "") {
            Ok(call) => assert_eq!(call.session_id().unwrap_err().errors.len(), 1),
            Err(rejected) => assert_eq!(rejected.reason, UnmatchedReason::PathNotFound),
        }
    }
    // Before 0.10, the only documented error for an id is 404.
    for name in DIALECTS.names() {
        let dialects = DialectSelection::Fixed(Arc::clone(dialect(name)));
        let kind = ApiKind::Sessions;
        let apis =
            Apis::new(vec![Api { path: "/x".to_owned(), dialects, kind }], Strictness::default());
        let call = apis.detect(&Method::DELETE, "/x/sessions/1", &HeaderMap::new(), b"").unwrap();
        let early = ["0.1.0", "0.8.0", "0.8.1", "0.9.0", "devedge", "telefonica-0.8"];
        let expected = if early.iter().any(|early| name.ends_with(early)) {
            ProblemKind::SessionNotFound
        } else {
            ProblemKind::InvalidArgument
        };
        assert_eq!(call.session_id().unwrap_err().kind(), expected, "{name}");
    }
}

#[test]
fn dialect_is_detected_from_the_body() {
    for (body, name) in [
        (r#"{"ueId":{},"notificationUri":"u"}"#, "camara-0.8.0"),
        (r#"{"ueId":{},"notificationUrl":"u"}"#, "camara-0.8.1"),
        (r#"{"qos":"QOS_E","asId":{}}"#, "camara-0.8.1"),
        (r#"{"device":{"ueId":1,"notificationUri":2}}"#, "camara-0.10.1"),
        (r#"{"x":"ueId\":","y":"\"asId\":","qosProfile":"Q"}"#, "camara-0.10.1"),
        (r#"{"x":[{"ueId":1}]}"#, "camara-0.10.1"),
        (r#"["ueId"]"#, "camara-0.10.1"),
        ("", "camara-0.10.1"),
        (r#"{"ue\u0049d":{}}"#, "camara-0.8.1"),
        // Not valid JSON: the fallback.
        ("{\"ueId", "camara-0.10.1"),
        (r#"{"ueId":"#, "camara-0.10.1"),
        (r#"{"ueId":{},"ueId":{}}"#, "camara-0.10.1"),
    ] {
        let call = detect(&Method::POST, "/qod/v0/sessions", body).unwrap();
        assert_eq!(call.dialect().name(), name, "{body}");
    }
}

#[test]
fn body_of_a_shared_path_is_parsed_once() {
    let strictness = Strictness::default();
    let detected = |body: &str| detect(&Method::POST, "/qod/v0/sessions", body).unwrap();
    // The request contains the parsed body already.
    let request = detected(&body("camara-0.8.1").to_string());
    let expected = parse("camara-0.8.1", &body("camara-0.8.1"));
    assert_eq!(request.parse_create_session(b"", &strictness), expected);
    for invalid in ["", "{\"ueId\":", "{\"ueId\":{},\"ueId\":{}}"] {
        let expected =
            dialect("camara-0.10.1").parse_create_session(invalid.as_bytes(), &strictness);
        assert_eq!(detected(invalid).parse_create_session(b"", &strictness), expected, "{invalid}");
    }
    let fixed = detect(&Method::POST, "/qod/sessions", "").unwrap();
    let text = body("camara-0.8.0").to_string();
    assert!(fixed.parse_create_session(text.as_bytes(), &strictness).is_ok());
}

#[test]
fn proof_of_possession_selects_devedge() {
    for (body, name) in [
        (r#"{"ueId":{},"notificationUrl":"u"}"#, "devedge"),
        ("nonsense", "devedge"),
        (r#"{"device":{}}"#, "camara-0.10.1"),
    ] {
        let call = apis().detect(&Method::POST, "/qod/v0/sessions", &proof(), body.as_bytes());
        assert_eq!(call.unwrap().dialect().name(), name, "{body}");
    }
    let path = format!("/qod/v0/sessions/{ID}");
    let call = apis().detect(&Method::GET, &path, &proof(), b"").unwrap();
    assert_eq!(call.dialect().name(), "devedge");
}

#[test]
fn proof_header_is_required_on_every_path_of_its_dialect() {
    let header = |path: &str| detect(&Method::POST, path, "{}").unwrap().proof_header();
    assert_eq!(header("/qod/v0/sessions"), Some("x-authorization"));
    assert_eq!(header("/telefonica/qod/v0/sessions"), None);
}

#[test]
fn releases_that_share_a_path_are_distinguished() {
    let detected = |names: &[&str]| DialectSelection::Detected {
        candidates: names.iter().map(|name| Arc::clone(dialect(name))).collect(),
        fallback: Arc::clone(dialect(names[0])),
    };
    let early = ["camara-0.10.1", "camara-0.1.0", "telefonica-0.8", "camara-0.8.0"];
    let late = ["camara-1.1.0", "camara-1.0.0", "telefonica-1.1", "camara-1.2.0-rc.3"];
    let apis = Apis::new(
        vec![api("/early", detected(&early)), api("/late", detected(&late))],
        Strictness::default(),
    );
    for (path, body, name) in [
        ("early", r#"{"ueAddr":"1.2.3.4","notificationUri":"u"}"#, "camara-0.1.0"),
        ("early", r#"{"protocolIn":"ANY"}"#, "camara-0.1.0"),
        ("early", r#"{"ueId":{}}"#, "telefonica-0.8"),
        ("early", r#"{"ueId":{},"notificationUri":"u"}"#, "camara-0.8.0"),
        ("early", r#"{"device":{},"sink":"u"}"#, "camara-0.10.1"),
        ("late", r#"{"device":{}}"#, "camara-1.1.0"),
        ("late", r#"{"device":{},"sink":"u"}"#, "camara-1.1.0"),
        ("late", r#"{"device":{},"webhook":{}}"#, "telefonica-1.1"),
        ("late", r#"{"webhook":{}}"#, "telefonica-1.1"),
        ("late", r#"{"applicationServer":{"ipAddresses":[]},"sink":"u"}"#, "camara-1.2.0-rc.3"),
        ("late", r#"{"device":{"x":{"ipAddresses":1}}}"#, "camara-1.1.0"),
        ("late", r#"{"ueAddr":"1.2.3.4"}"#, "camara-1.1.0"),
    ] {
        let path = format!("/{path}/sessions");
        let call = apis.detect(&Method::POST, &path, &HeaderMap::new(), body.as_bytes());
        assert_eq!(call.unwrap().dialect().name(), name, "{body}");
    }
}

#[test]
fn preferred_dialect_replaces_a_detected_one() {
    let path = format!("/qod/v0/sessions/{ID}");
    let mut call = detect(&Method::GET, &path, "").unwrap();
    assert_eq!(call.dialect().name(), "camara-0.10.1");
    call.prefer(dialect("telefonica-0.10"));
    assert_eq!(call.dialect().name(), "camara-0.10.1");
    call.prefer(dialect("camara-0.8.0"));
    assert_eq!(call.dialect().name(), "camara-0.8.0");
    let mut extension = detect(&Method::POST, &format!("{path}/extend"), "").unwrap();
    extension.prefer(dialect("camara-0.8.0"));
    assert_eq!(extension.dialect().name(), "camara-0.10.1");
    let mut fixed = detect(&Method::POST, "/telefonica/qod/v0/sessions", "").unwrap();
    fixed.prefer(dialect("camara-0.10.1"));
    assert_eq!(fixed.dialect().name(), "telefonica-0.10");
}

#[test]
fn only_unencoded_json_is_accepted() {
    let create = detect(&Method::POST, "/qod/v0/sessions", "").unwrap();
    let check = |types: &[&str], coding: Option<&str>| {
        let mut headers = HeaderMap::new();
        for kind in types {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        if let Some(coding) = coding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
        }
        create.check_media_type(&headers)
    };
    for kind in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json ; charset=\"utf-8\"",
        "application/json; charset=us-ascii",
        "application/json;",
        "application/json; ;; charset=utf-8 ;",
        "application/json; boundary=x",
        "application/json; profile=\"https://example.com/a;charset=utf-16\"",
        "application/json; a=\"\\\";\"; b=c",
    ] {
        assert_eq!(check(&[kind], None), Ok(()), "{kind}");
    }
    for kind in [
        "",
        "text/json",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/json; a=b; charset=utf-16",
        "application/json; a=\"b\\\\\"; charset=utf-16",
        "application/json; charset",
        "application/json, text/plain",
        "application/cloudevents+json",
        "application/json; charset=\"utf-8",
        "application/json; boundary=",
        "application/json; =x",
        "application/json; a=\"x",
        ";",
    ] {
        assert_eq!(check(&[kind], None), Err(UnsupportedMediaType::ContentType), "{kind}");
    }
    assert_eq!(check(&[], None), Err(UnsupportedMediaType::ContentType));
    let twice = ["application/json", "application/json"];
    assert_eq!(check(&twice, None), Err(UnsupportedMediaType::ContentType));
    assert_eq!(check(&["application/json"], Some("Identity")), Ok(()));
    assert_eq!(
        check(&["application/json"], Some("gzip")),
        Err(UnsupportedMediaType::ContentEncoding)
    );
    let read = detect(&Method::GET, &format!("/qod/v0/sessions/{ID}"), "").unwrap();
    assert_eq!(read.check_media_type(&HeaderMap::new()), Ok(()));
}

#[test]
fn operator_paths_are_built_from_valid_session_ids() {
    let (old, new) = (dialect("camara-0.8.1"), dialect("camara-0.10.1"));
    let path = |operation, id| new.operation_path(operation, id);
    assert_eq!(path(Operation::CreateSession, None).unwrap(), "/sessions");
    assert_eq!(path(Operation::GetSession, Some("a-1")).unwrap(), "/sessions/a-1");
    assert_eq!(
        path(Operation::DeleteSession, Some("a/../b?c")).unwrap(),
        "/sessions/a%2F..%2Fb%3Fc"
    );
    assert_eq!(path(Operation::ExtendSession, Some("é")).unwrap(), "/sessions/%C3%A9/extend");
    assert_eq!(old.operation_path(Operation::ExtendSession, Some("1")), None);
    assert_eq!(path(Operation::GetSession, None), None);
    for id in ["", ".", "..", "a\nb", &"x".repeat(257)] {
        assert_eq!(path(Operation::GetSession, Some(id)), None, "{id:?}");
    }
}
