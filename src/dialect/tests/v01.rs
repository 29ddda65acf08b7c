//! CAMARA 0.1: addresses, ports as text, protocols, and profiles agreed with each operator.

use super::*;
use crate::qod::{
    Device, DeviceIpv4, PortRange, PortsSpec, ProblemKind, Session, SessionId, Verbatim,
};

const NAME: &str = "camara-0.1.0";
const LATE: &str = "camara-1.1.0";

fn with(field: &str, value: Value) -> Value {
    let mut body = body(NAME);
    body[field] = value;
    body
}

#[track_caller]
fn rejected(body: &Value, at: &str) {
    let malformed = parse(NAME, body).expect_err(&body.to_string());
    let pointers: Vec<_> = malformed.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, [at], "{malformed}");
}

fn with_profile(ours: &str, theirs: &str) -> TranslationSettings {
    let qos_profiles = BTreeMap::from([(ours.to_owned(), theirs.to_owned())]);
    TranslationSettings { qos_profiles, ..TranslationSettings::default() }
}

#[test]
fn ports_are_parsed_from_text() {
    let wanted = parse(NAME, &with("uePorts", json!("5021,5010-5020,0"))).unwrap();
    let ranges = vec![PortRange { from: 5010, to: 5020 }];
    assert_eq!(wanted.device_ports, Some(PortsSpec { ranges, ports: vec![5021, 0] }));
    let sent = dialect(NAME).create_session_request(&wanted, None);
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["uePorts"], "5010-5020,5021,0");
    assert!(sent.get("asPorts").is_none(), "no ports are all of them: {sent}");
    for text in
        ["", ",", "1,", "1-", "-1", "1--2", "1-2-3", "2-1", "65536", "+1", "01", "1 ", "1, 2", "a"]
    {
        rejected(&with("asPorts", json!(text)), "/asPorts");
    }
    rejected(&with("asPorts", json!({ "ports": [1] })), "/asPorts");
}

#[test]
fn only_protocol_any_is_accepted() {
    for name in ["protocolIn", "protocolOut"] {
        for protocol in ["TCP", "UDP", "SCTP"] {
            rejected(&with(name, json!(protocol)), &format!("/{name}"));
        }
        let mut none = body(NAME);
        none.as_object_mut().unwrap().remove(name);
        rejected(&none, "");
    }
}

#[test]
fn device_address_is_translated_as_configured() {
    let wanted = parse(NAME, &with("ueAddr", json!("203.0.113.9/32"))).unwrap();
    let rendered = |operator: &str, settings: &TranslationSettings| {
        let translated = dialect(operator).translate_complete(&wanted, settings)?;
        Ok(translated.device.unwrap().ipv4.unwrap())
    };
    let settings = with_profile("LOW_LATENCY", "QOS_E");
    let alone =
        DeviceIpv4::Legacy(Verbatim::from_text("203.0.113.9/32".parse().unwrap(), "203.0.113.9"));
    assert_eq!(rendered(NAME, &settings).unwrap(), alone);
    assert_eq!(rendered("camara-0.8.1", &settings).unwrap(), alone);
    assert_eq!(rendered(LATE, &settings), Err(Untranslatable::Ipv4NotExpressible));
    let open = TranslationSettings { legacy_ipv4: LegacyIpv4::PublicIsPrivate, ..settings.clone() };
    let address = [203, 0, 113, 9].into();
    let both = DeviceIpv4::Public { public: address, private: Some(address), public_port: None };
    assert_eq!(rendered(LATE, &open).unwrap(), both);

    let masked = parse(NAME, &with("ueAddr", json!("203.0.113.0/24"))).unwrap();
    let networks = TranslationSettings { allow_prefixes: true, ..settings.clone() };
    assert!(dialect(NAME).translate_complete(&masked, &networks).is_ok());
    assert!(matches!(
        dialect(NAME).translate_complete(&masked, &settings),
        Err(Untranslatable::Prefix { .. })
    ));
}

#[test]
fn operator_receives_only_an_address() {
    let device = |device: Value| {
        let mut body = body(LATE);
        body["device"] = device;
        parse(LATE, &body).unwrap()
    };
    let settings = with_profile("QOS_E", "THROUGHPUT_M");
    let address = json!({ "publicAddress": "203.0.113.9", "privateAddress": "203.0.113.9" });
    let known = device(json!({ "phoneNumber": "+441632960123", "ipv4Address": address }));
    let translated = dialect(NAME).translate_complete(&known, &settings).unwrap();
    let sent = dialect(NAME).create_session_request(&translated, None);
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let expected = json!({
        "ueAddr": "203.0.113.9", "asAddr": "198.51.100.7", "protocolIn": "ANY",
        "protocolOut": "ANY", "qos": "THROUGHPUT_M", "duration": 86_400,
    });
    assert_eq!(sent, expected);
    let unknown = device(json!({ "phoneNumber": "+441632960123", "ipv6Address": "2001:db8::1" }));
    assert!(matches!(
        dialect(NAME).translate_complete(&unknown, &settings),
        Err(Untranslatable::UnsupportedIdentifiers { .. })
    ));
}

#[test]
fn server_must_be_one_ipv4_network() {
    let settings = with_profile("QOS_E", "THROUGHPUT_M");
    let fit = |server: Value| {
        let mut body = body("camara-0.8.1");
        body["ueId"] = json!({ "ipv4addr": "203.0.113.9" });
        body["asId"] = server;
        dialect(NAME).translate_complete(&parse("camara-0.8.1", &body).unwrap(), &settings)
    };
    assert!(fit(json!({ "ipv4addr": "198.51.100.0/24" })).is_ok());
    assert_eq!(fit(json!({ "ipv6addr": "2001:db8::1" })), Err(Untranslatable::UnsupportedServers));
    let both = json!({ "ipv4addr": "198.51.100.7", "ipv6addr": "2001:db8::1" });
    assert_eq!(fit(both), Err(Untranslatable::UnsupportedServers));
}

#[test]
fn profile_is_mapped_by_the_policies() {
    let theirs = parse(NAME, &body(NAME)).unwrap();
    let ours = CreateRequest { qos_profile: "QOS_E".to_owned(), ..theirs.clone() };
    for wanted in [&theirs, &ours] {
        assert_eq!(
            dialect(NAME).translate_complete(wanted, &TranslationSettings::default()),
            Err(Untranslatable::UnknownProfile)
        );
    }
    let settings = with_profile("LOW_LATENCY", "LOW_LATENCY");
    assert_eq!(
        dialect(NAME).translate_complete(&theirs, &settings).unwrap().qos_profile,
        "LOW_LATENCY"
    );
    for qos in ["QOS_E", "LATENCY"] {
        rejected(&with("qos", json!(qos)), "/qos");
    }
}

#[test]
fn problem_body_is_a_message_or_empty() {
    let rendered = |status: u16| {
        let (kind, code) = (ProblemKind::Conflict, "CONFLICT".into());
        let problem = Problem {
            kind,
            status,
            code,
            message: "taken".to_owned(),
            rate_limit: None,
            challenge: None,
            retry_after: None,
        };
        dialect(NAME).render_problem(&problem)
    };
    for status in [400, 409, 429, 500, 503] {
        let response = rendered(status);
        assert_eq!(&response.body()[..], br#"{"message":"taken"}"#, "{status}");
    }
    for status in [401, 403, 404] {
        let response = rendered(status);
        assert!(response.body().is_empty(), "{status}");
        assert!(!response.headers().contains_key(http::header::CONTENT_TYPE));
    }
    assert_eq!(rendered(401).headers()[http::header::WWW_AUTHENTICATE], "Bearer");
    let theirs = dialect(NAME).read_problem(409, br#"{"message":"Found session 7"}"#);
    assert_eq!(
        theirs,
        RemoteProblem { kind: ProblemKind::Conflict, code: None, retry_after: None }
    );
}

#[test]
fn device_without_an_address_is_rendered_without_one() {
    let number = Verbatim::from_value("+441632960123".parse().unwrap());
    let device = Some(Device { phone: Some(number), ..Device::default() });
    let wanted = CreateRequest { device, ..parse(NAME, &body(NAME)).unwrap() };
    let granted = GrantedSession {
        duration_s: 60,
        started_at: None,
        expires_at: None,
        status: QosStatus::Requested,
        status_info: None,
        messages: Vec::new(),
    };
    let session = Session { id: SessionId::random(), wanted: wanted.into(), granted };
    let response = dialect(NAME).render_response(&ApiResponse::Found(session));
    let rendered: Value = serde_json::from_slice(response.body()).unwrap();
    assert!(rendered.get("ueAddr").is_none() && rendered.get("messages").is_none(), "{rendered}");
    assert_eq!(rendered["expiresAt"], 60);
}
