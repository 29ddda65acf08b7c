//! CAMARA 0.11 to 1.1: sinks and credentials, RFC 3339 times, one identifier, lists.

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::qod::{
    Device, DeviceIpv4, Moment, ProblemKind, QosStatus, Session, SessionId, StatusInfo, Verbatim,
};

const NAME: &str = "camara-1.1.0";

fn with(pointer: &str, value: Value) -> Value {
    let mut body = body(NAME);
    body[pointer] = value;
    body
}

#[track_caller]
fn single_error(body: &Value) -> (String, ProblemKind) {
    let malformed = parse(NAME, body).expect_err(&body.to_string());
    assert_eq!(malformed.errors.len(), 1, "{malformed}");
    (malformed.errors[0].pointer.clone(), malformed.kind())
}

fn granted(status: QosStatus) -> GrantedSession {
    GrantedSession {
        duration_s: 600,
        started_at: Some(Moment::from_unix_ms(1_764_590_400_999)),
        expires_at: Some(Moment::from_unix_ms(1_764_590_460_999)),
        status,
        status_info: None,
        messages: Vec::new(),
    }
}

fn session(granted: GrantedSession) -> Session {
    Session { id: SessionId::random(), wanted: parse(NAME, &body(NAME)).unwrap().into(), granted }
}

fn rendered_session(session: Session) -> Value {
    let response = dialect(NAME).render_response(&ApiResponse::Found(session));
    serde_json::from_slice(response.body()).unwrap()
}

fn credential(more: &Value) -> Value {
    let mut credential = json!({
        "credentialType": "ACCESSTOKEN", "accessToken": "t",
        "accessTokenExpiresUtc": "2030-01-01T01:00:00.5+01:00", "accessTokenType": "Bearer",
    });
    for (name, value) in more.as_object().unwrap() {
        credential[name] = value.clone();
    }
    let mut body = with("sink", json!("https://a.example/cb"));
    body["sinkCredential"] = credential;
    body
}

#[test]
fn duration_is_required_and_may_be_long() {
    let mut none = body(NAME);
    none.as_object_mut().unwrap().remove("duration");
    assert_eq!(single_error(&none), (String::new(), ProblemKind::InvalidArgument));
    for value in [json!(0), json!(-1), json!(2_147_483_648_u32), json!("60")] {
        let expected = ("/duration".to_owned(), ProblemKind::InvalidArgument);
        assert_eq!(single_error(&with("duration", value)), expected);
    }
    let longest = parse(NAME, &with("duration", json!(i32::MAX))).unwrap();
    let generous =
        TranslationSettings { duration_s_max: u32::MAX, ..TranslationSettings::default() };
    let translated = dialect(NAME).translate_complete(&longest, &generous).unwrap();
    assert_eq!(translated.duration_s, i32::MAX.unsigned_abs());
    let early = dialect("camara-0.10.1").translate_complete(&longest, &generous);
    assert_eq!(early, Err(Untranslatable::DurationTooLong { max_s: 86_400 }));
}

#[test]
fn device_is_optional_but_not_empty() {
    let mut none = body(NAME);
    none.as_object_mut().unwrap().remove("device");
    assert_eq!(parse(NAME, &none).unwrap().device, None);
    let rejected = |device| single_error(&with("device", device));
    let at = |pointer: &str| (pointer.to_owned(), ProblemKind::InvalidArgument);
    assert_eq!(rejected(json!({})), at("/device"));
    assert_eq!(rejected(json!({"phoneNumber": "441632960123"})), at("/device/phoneNumber"));
    assert_eq!(rejected(json!({"phoneNumber": "+0441632960"})), at("/device/phoneNumber"));
}

#[test]
fn sink_must_be_https() {
    for url in ["http://a.example/", "HTTPS://a.example/", "ftp://a.example/", "https://", ""] {
        assert_eq!(
            single_error(&with("sink", json!(url))),
            ("/sink".to_owned(), ProblemKind::InvalidSink)
        );
    }
    let sink = parse(NAME, &with("sink", json!("https://a.example/cb"))).unwrap().sink.unwrap();
    assert_eq!((sink.url.as_str(), sink.token), ("https://a.example/cb", None));
}

#[test]
fn sink_credential_must_be_a_complete_access_token() {
    let sink = parse(NAME, &credential(&json!({}))).unwrap().sink.unwrap();
    assert_eq!(sink.token.unwrap().reveal(), "t");
    assert_eq!(sink.token_expires_at, Some(Moment::from_unix_ms(1_893_456_000_500)));
    let below = |name: &str| format!("/sinkCredential{name}");
    for (more, at, kind) in [
        (json!({"credentialType": "PLAIN"}), "/credentialType", ProblemKind::InvalidCredential),
        (
            json!({"credentialType": "REFRESHTOKEN"}),
            "/credentialType",
            ProblemKind::InvalidCredential,
        ),
        (
            json!({"credentialType": "PRIVATE_KEY_JWT"}),
            "/credentialType",
            ProblemKind::InvalidCredential,
        ),
        (json!({"accessTokenType": "mac"}), "/accessTokenType", ProblemKind::InvalidToken),
        (
            json!({"accessTokenExpiresUtc": "soon"}),
            "/accessTokenExpiresUtc",
            ProblemKind::InvalidArgument,
        ),
        (json!({"accessToken": "a\nb"}), "/accessToken", ProblemKind::InvalidArgument),
    ] {
        assert_eq!(single_error(&credential(&more)), (below(at), kind), "{more}");
    }
    let mut alone = credential(&json!({}));
    alone["sinkCredential"] = json!({"credentialType": "ACCESSTOKEN"});
    let malformed = parse(NAME, &alone).unwrap_err();
    assert!(malformed.errors.iter().all(|error| error.pointer == below("")), "{malformed}");
}

#[test]
fn gateway_sink_has_an_expiry() {
    let wanted = parse(NAME, &body(NAME)).unwrap();
    let token = Some(crate::qod::Secret::new("t"));
    let sink = Sink { url: "https://g.example/".to_owned(), token, token_expires_at: None };
    let rendered = dialect(NAME).create_session_request(&wanted, Some(&sink));
    let rendered: Value = serde_json::from_slice(&rendered).unwrap();
    assert_eq!(rendered["sinkCredential"]["accessTokenExpiresUtc"], "9999-12-30T22:00:00Z");
    assert!(parse(NAME, &rendered).is_ok());
}

#[test]
fn times_are_rfc_3339_and_omitted_if_unknown() {
    let running = rendered_session(session(granted(QosStatus::Available)));
    assert_eq!(running["startedAt"], "2025-12-01T12:00:00Z");
    assert_eq!(
        (&running["expiresAt"], &running["duration"]),
        (&json!("2025-12-01T12:01:00Z"), &json!(600))
    );
    assert!(running.get("statusInfo").is_none() && running.get("messages").is_none());
    let asked = rendered_session(session(granted(QosStatus::Requested)));
    assert!(asked.get("startedAt").is_none() && asked.get("expiresAt").is_none(), "{asked}");
    let over = GrantedSession {
        status_info: Some(StatusInfo::NetworkTerminated),
        ..granted(QosStatus::Unavailable)
    };
    let over = rendered_session(session(over));
    assert_eq!(
        (&over["statusInfo"], &over["duration"]),
        (&json!("NETWORK_TERMINATED"), &json!(60))
    );
}

#[test]
fn device_is_rendered_with_one_identifier_and_a_plus_sign() {
    let mut rendered = session(granted(QosStatus::Available));
    let ipv4 = DeviceIpv4::Public {
        public: "203.0.113.9".parse().unwrap(),
        private: None,
        public_port: Some(1),
    };
    let number = Verbatim::from_text("+441632960123".parse().unwrap(), "441632960123");
    let all = Device {
        phone: Some(number),
        nai: Some("a@b".parse().unwrap()),
        external_id: None,
        ipv4: Some(ipv4),
        ipv6: Some(Verbatim::from_value("2001:db8::1/128".parse().unwrap())),
    };
    let mut device = |device: Device| {
        Arc::make_mut(&mut rendered.wanted).device = Some(device);
        rendered_session(rendered.clone())["device"].clone()
    };
    assert_eq!(device(all.clone()), json!({"phoneNumber": "+441632960123"}));
    let nameless = Device { phone: None, ..all };
    assert_eq!(device(nameless.clone()), json!({"networkAccessIdentifier": "a@b"}));
    let addressed = Device { nai: None, ..nameless };
    let public = json!({"ipv4Address": {"publicAddress": "203.0.113.9", "publicPort": 1}});
    assert_eq!(device(addressed.clone()), public);
    assert_eq!(device(Device { ipv4: None, ..addressed }).as_object().unwrap().len(), 1);
    Arc::make_mut(&mut rendered.wanted).device = None;
    assert!(rendered_session(rendered).get("device").is_none());
}

#[test]
fn operator_times_and_reasons_are_parsed() {
    let rendered = json!({"sessionId": "7", "duration": 60, "qosStatus": "UNAVAILABLE",
        "startedAt": "2025-12-01T13:00:00.25+01:00", "expiresAt": "2025-12-01T12:01:00Z",
        "statusInfo": "DELETE_REQUESTED"});
    let read = |rendered: &Value| {
        dialect(NAME).read_session(rendered.to_string().as_bytes(), TimesWithoutOffset::Reject)
    };
    let (id, granted) = read(&rendered).unwrap();
    assert_eq!((id.as_str(), granted.status_info), ("7", Some(StatusInfo::DeleteRequested)));
    assert_eq!(granted.started_at, Some(Moment::from_unix_ms(1_764_590_400_250)));
    for time in [json!(1_764_590_400), json!("today"), json!("1969-12-31T23:59:59Z"), json!("")] {
        let mut invalid = rendered.clone();
        invalid["startedAt"] = time;
        assert_eq!(read(&invalid).unwrap_err().operator_session.as_deref(), Some("7"), "{invalid}");
    }
}

#[test]
fn retrieval_request_is_parsed() {
    let read =
        |body: &str| dialect(NAME).parse_retrieve_sessions(body.as_bytes(), &Strictness::default());
    let device = read(r#"{"device":{"phoneNumber":"+441632960123"}}"#).unwrap().unwrap();
    assert_eq!(device.phone.unwrap().value.to_string(), "+441632960123");
    assert_eq!(read("{}").unwrap(), None);
    for body in ["", "[]", r#"{"device":{}}"#, r#"{"device":{"imsi":"1"}}"#, r#"{"device":1}"#] {
        assert!(read(body).is_err(), "{body}");
    }
    let strict = Strictness { unknown_members: UnknownMembers::Reject, ..Strictness::default() };
    assert!(dialect(NAME).parse_retrieve_sessions(br#"{"x":1}"#, &strict).is_err());
}

#[test]
fn retrieval_request_is_serialized() {
    let device = parse(NAME, &body(NAME)).unwrap().device.unwrap();
    let asked = dialect(NAME).retrieve_sessions_request(&device).unwrap();
    assert_eq!(&asked[..], br#"{"device":{"phoneNumber":"+441632960123"}}"#);
    assert_eq!(dialect("camara-0.10.1").retrieve_sessions_request(&device), None);
    let path = dialect(NAME).operation_path(Operation::RetrieveSessions, None);
    assert_eq!(path.as_deref(), Some("/retrieve-sessions"));
    assert_eq!(dialect("camara-0.10.1").operation_path(Operation::RetrieveSessions, None), None);
}

#[test]
fn operator_list_yields_valid_entries_and_completeness() {
    let mut one = session(granted(QosStatus::Available));
    one.granted.duration_s = one.wanted.duration_s;
    let url = "https://g.example/1".to_owned();
    Arc::make_mut(&mut one.wanted).sink = Some(Sink { url, token: None, token_expires_at: None });
    let valid = rendered_session(one.clone());
    let read = |list: &Value| {
        dialect(NAME).read_sessions(list.to_string().as_bytes(), TimesWithoutOffset::Reject)
    };
    let rendered = read(&json!([valid])).unwrap();
    assert!(rendered.complete);
    assert_eq!(rendered.sessions[0].operator_session, one.id.to_string());
    assert_eq!(rendered.sessions[0].wanted, *one.wanted);
    assert_eq!(read(&json!([])).unwrap(), RemoteSessions { sessions: vec![], complete: true });

    // An invalid server must not count as no server.
    let mut invalid = valid.clone();
    invalid["applicationServer"] = json!({"ipAddresses": ["198.51.100.7"]});
    for invalid in [invalid, json!(1), json!({"sessionId": "8"})] {
        let rendered = read(&json!([invalid, valid])).unwrap();
        assert!(rendered.sessions.len() == 1 && !rendered.complete, "{invalid}");
    }
    let many = read(&Value::from(vec![valid.clone(); 101])).unwrap();
    assert!(many.sessions.len() == 100 && !many.complete);
    assert!(!read(&Value::from(vec![valid; 100])).unwrap().complete);
    for body in ["", "{}", "null", "[", "[]]"] {
        assert!(
            dialect(NAME).read_sessions(body.as_bytes(), TimesWithoutOffset::Reject).is_err(),
            "{body}"
        );
    }
}

#[test]
fn list_contains_at_most_a_hundred_sessions() {
    let sessions = vec![session(granted(QosStatus::Available)); 101];
    let response = dialect(NAME).render_response(&ApiResponse::Retrieved(sessions));
    let list: Vec<Value> = serde_json::from_slice(response.body()).unwrap();
    assert_eq!((response.status().as_u16(), list.len()), (200, 100));
    let none = dialect(NAME).render_response(&ApiResponse::Retrieved(Vec::new()));
    assert_eq!(&none.body()[..], b"[]");
}

#[test]
fn correlator_must_have_the_format_of_the_release() {
    let check = |name: &str, values: &[&str]| {
        let speaks = DialectSelection::Fixed(Arc::clone(dialect(name)));
        let apis = Apis::new(vec![api("", speaks)], Strictness::default());
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-correlator", HeaderValue::from_str(value).unwrap());
        }
        let call = apis.detect(&Method::POST, "/sessions", &headers, b"").unwrap();
        call.check_correlator(&headers).is_ok()
    };
    let (longest, long) = ("a".repeat(256), "a".repeat(257));
    assert!(check(NAME, &[]) && check(NAME, &[""]) && check(NAME, &["a-_:;./<>{}9", &longest]));
    let early = "camara-1.0.0";
    assert!(check(early, &["a-Z9"]) && check(early, &[&"a".repeat(55)]));
    assert!(!check(early, &["a:b"]) && !check(early, &[&"a".repeat(56)]));
    for bad in ["a b", "a,b", &long, "a\"b"] {
        assert!(check("camara-0.11.1", &[bad]), "{bad}");
        assert!(!check(NAME, &[bad]) && !check(NAME, &["a", bad]), "{bad}");
        assert!(check("camara-0.10.1", &[bad]), "{bad}");
    }
}

#[test]
fn from_0_11_on_one_identifier_is_rendered_and_before_1_1_http_sinks_are_accepted() {
    for name in ["camara-0.11.1", "camara-1.0.0"] {
        let mut body = with("sink", json!("http://a.example/cb"));
        body["device"]["networkAccessIdentifier"] = json!("a@b");
        let wanted = parse(name, &body).unwrap();
        assert_eq!(wanted.sink.as_ref().unwrap().url, "http://a.example/cb");
        let granted = granted(QosStatus::Available);
        let session = Session { id: SessionId::random(), wanted: wanted.into(), granted };
        let response = dialect(name).render_response(&ApiResponse::Found(session));
        let rendered: Value = serde_json::from_slice(response.body()).unwrap();
        let device = json!({ "phoneNumber": body["device"]["phoneNumber"] });
        assert_eq!((&rendered["device"], &rendered["sink"]), (&device, &body["sink"]));
        body["sink"] = json!("http://");
        assert_eq!(parse(name, &body).unwrap_err().kind(), ProblemKind::InvalidSink);
    }
}

#[test]
fn retrieval_path_exists_from_0_11_on() {
    let detect = |name: &str, method: &Method, path: &str| {
        let speaks = DialectSelection::Fixed(Arc::clone(dialect(name)));
        let path = format!("/quality-on-demand/v1{path}");
        Apis::new(vec![api("/quality-on-demand/v1", speaks)], Strictness::default()).detect(
            method,
            &path,
            &HeaderMap::new(),
            b"",
        )
    };
    let call = detect(NAME, &Method::POST, "/retrieve-sessions").unwrap();
    assert_eq!(call.operation(), Operation::RetrieveSessions);
    assert!(call.check_media_type(&HeaderMap::new()).is_err());
    let reason = |name, method, path| detect(name, &method, path).unwrap_err().reason;
    let allow = UnmatchedReason::MethodNotAllowed { allow: "POST" };
    assert_eq!(reason(NAME, Method::GET, "/retrieve-sessions"), allow);
    let nowhere = UnmatchedReason::PathNotFound;
    assert_eq!(reason(NAME, Method::POST, "/retrieve-sessions/"), nowhere);
    assert_eq!(reason(NAME, Method::POST, "/retrieve-sessions/1"), nowhere);
    assert_eq!(reason("camara-0.10.1", Method::POST, "/retrieve-sessions"), nowhere);
}

#[test]
fn time_without_an_offset_is_read_only_if_the_operator_is_known_to_mean_utc() {
    let read = |time: &str, times| {
        let body = json!({
            "sessionId": "s-1", "duration": 60, "startedAt": time, "qosStatus": "AVAILABLE",
        });
        let body = format!("\u{feff}{body}");
        dialect(NAME)
            .read_session(body.as_bytes(), times)
            .ok()
            .map(|(_, granted)| granted.started_at.unwrap().unix_s())
    };
    let (reject, utc) = (TimesWithoutOffset::Reject, TimesWithoutOffset::Utc);
    let at = 1_893_456_000;
    for time in ["2030-01-01T00:00:00", "2030-01-01T00:00:00.000", "2030-01-01 00:00:00"] {
        assert_eq!((read(time, reject), read(time, utc)), (None, Some(at)), "{time}");
    }
    for time in ["2030-01-01T00:00:00Z", "2030-01-01T02:00:00+02:00"] {
        assert_eq!((read(time, reject), read(time, utc)), (Some(at), Some(at)), "{time}");
    }
    for time in ["2030-01-01", "", "x", "2030-13-01T00:00:00", "1969-12-31T23:59:59"] {
        assert_eq!((read(time, reject), read(time, utc)), (None, None), "{time}");
    }
}
