//! What CAMARA 0.1 has of its own: addresses, ports as a text, protocols, and profiles by agreement.

use super::*;
use crate::qod::{Device, DeviceIpv4, Kind, PortRange, PortsSpec, Session, SessionId, Written};

const NAME: &str = "camara-0.1.0";
const LATE: &str = "camara-1.1.0";

fn with(field: &str, value: Value) -> Value {
    let mut body = body(NAME);
    body[field] = value;
    body
}

#[track_caller]
fn refused(body: &Value, at: &str) {
    let malformed = parse(NAME, body).expect_err(&body.to_string());
    let pointers: Vec<_> = malformed.faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, [at], "{malformed}");
}

fn agreed(ours: &str, theirs: &str) -> Fitting {
    let qos_profiles = BTreeMap::from([(ours.to_owned(), theirs.to_owned())]);
    Fitting { qos_profiles, ..Fitting::default() }
}

#[test]
fn ports_are_a_text() {
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
        refused(&with("asPorts", json!(text)), "/asPorts");
    }
    refused(&with("asPorts", json!({ "ports": [1] })), "/asPorts");
}

#[test]
fn of_the_protocols_only_all_are_taken() {
    for name in ["protocolIn", "protocolOut"] {
        for protocol in ["TCP", "UDP", "SCTP"] {
            refused(&with(name, json!(protocol)), &format!("/{name}"));
        }
        let mut none = body(NAME);
        none.as_object_mut().unwrap().remove(name);
        refused(&none, "");
    }
}

#[test]
fn a_device_is_an_address_and_goes_where_the_policies_say_what_that_is() {
    let wanted = parse(NAME, &with("ueAddr", json!("203.0.113.9/32"))).unwrap();
    let told = |operator: &str, fitting: &Fitting| {
        let fitted = dialect(operator).fit(&wanted, fitting)?;
        Ok(fitted.device.unwrap().ipv4.unwrap())
    };
    let agreed = agreed("LOW_LATENCY", "QOS_E");
    let alone =
        DeviceIpv4::Legacy(Written::from_text("203.0.113.9/32".parse().unwrap(), "203.0.113.9"));
    assert_eq!(told(NAME, &agreed).unwrap(), alone);
    assert_eq!(told("camara-0.8.1", &agreed).unwrap(), alone);
    assert_eq!(told(LATE, &agreed), Err(Unfit::Ipv4NotExpressible));
    let open = Fitting { legacy_ipv4: LegacyIpv4::PublicIsPrivate, ..agreed.clone() };
    let address = [203, 0, 113, 9].into();
    let both = DeviceIpv4::Public { public: address, private: Some(address), public_port: None };
    assert_eq!(told(LATE, &open).unwrap(), both);

    let masked = parse(NAME, &with("ueAddr", json!("203.0.113.0/24"))).unwrap();
    let masks = Fitting { device_masks: true, ..agreed.clone() };
    assert!(dialect(NAME).fit(&masked, &masks).is_ok());
    assert!(matches!(dialect(NAME).fit(&masked, &agreed), Err(Unfit::Mask { .. })));
}

#[test]
fn an_operator_of_it_is_told_an_address_and_nothing_else() {
    let device = |device: Value| {
        let mut body = body(LATE);
        body["device"] = device;
        parse(LATE, &body).unwrap()
    };
    let agreed = agreed("QOS_E", "THROUGHPUT_M");
    let address = json!({ "publicAddress": "203.0.113.9", "privateAddress": "203.0.113.9" });
    let known = device(json!({ "phoneNumber": "+441632960123", "ipv4Address": address }));
    let fitted = dialect(NAME).fit(&known, &agreed).unwrap();
    let sent = dialect(NAME).create_session_request(&fitted, None);
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    let expected = json!({
        "ueAddr": "203.0.113.9", "asAddr": "198.51.100.7", "protocolIn": "ANY",
        "protocolOut": "ANY", "qos": "THROUGHPUT_M", "duration": 86_400,
    });
    assert_eq!(sent, expected);
    let unknown = device(json!({ "phoneNumber": "+441632960123", "ipv6Address": "2001:db8::1" }));
    assert!(matches!(dialect(NAME).fit(&unknown, &agreed), Err(Unfit::Identifiers { .. })));
}

#[test]
fn a_server_is_of_ipv4_and_whole() {
    let agreed = agreed("QOS_E", "THROUGHPUT_M");
    let fit = |server: Value| {
        let mut body = body("camara-0.8.1");
        body["ueId"] = json!({ "ipv4addr": "203.0.113.9" });
        body["asId"] = server;
        dialect(NAME).fit(&parse("camara-0.8.1", &body).unwrap(), &agreed)
    };
    assert!(fit(json!({ "ipv4addr": "198.51.100.0/24" })).is_ok());
    assert_eq!(fit(json!({ "ipv6addr": "2001:db8::1" })), Err(Unfit::Servers));
    let both = json!({ "ipv4addr": "198.51.100.7", "ipv6addr": "2001:db8::1" });
    assert_eq!(fit(both), Err(Unfit::Servers));
}

#[test]
fn a_profile_is_what_the_policies_say_it_is() {
    let theirs = parse(NAME, &body(NAME)).unwrap();
    let ours = CreateSession { qos_profile: "QOS_E".to_owned(), ..theirs.clone() };
    for wanted in [&theirs, &ours] {
        assert_eq!(dialect(NAME).fit(wanted, &Fitting::default()), Err(Unfit::Profile));
    }
    let agreed = agreed("LOW_LATENCY", "LOW_LATENCY");
    assert_eq!(dialect(NAME).fit(&theirs, &agreed).unwrap().qos_profile, "LOW_LATENCY");
    for qos in ["QOS_E", "LATENCY"] {
        refused(&with("qos", json!(qos)), "/qos");
    }
}

#[test]
fn a_no_is_a_sentence_or_nothing() {
    let told = |status: u16| {
        let (kind, code) = (Kind::Conflict, "CONFLICT".into());
        let problem = Problem {
            kind,
            status,
            code,
            message: "taken".to_owned(),
            pace: None,
            challenge: None,
            retry_after: None,
        };
        dialect(NAME).render_problem(&problem)
    };
    for status in [400, 409, 429, 500, 503] {
        let response = told(status);
        assert_eq!(&response.body()[..], br#"{"message":"taken"}"#, "{status}");
    }
    for status in [401, 403, 404] {
        let response = told(status);
        assert!(response.body().is_empty(), "{status}");
        assert!(!response.headers().contains_key(http::header::CONTENT_TYPE));
    }
    assert_eq!(told(401).headers()[http::header::WWW_AUTHENTICATE], "Bearer");
    let theirs = dialect(NAME).read_problem(409, br#"{"message":"Found session 7"}"#);
    assert_eq!(theirs, RemoteProblem { kind: Kind::Conflict, code: None });
}

#[test]
fn a_device_without_an_address_is_shown_without_one() {
    let number = Written::plain("+441632960123".parse().unwrap());
    let device = Some(Device { phone: Some(number), ..Device::default() });
    let wanted = CreateSession { device, ..parse(NAME, &body(NAME)).unwrap() };
    let granted = Granted {
        duration_s: 60,
        started_at: None,
        expires_at: None,
        status: QosStatus::Requested,
        status_info: None,
        messages: Vec::new(),
    };
    let session = Session { id: SessionId::random(), wanted, granted };
    let response = dialect(NAME).render_answer(&Answer::Found(session));
    let told: Value = serde_json::from_slice(response.body()).unwrap();
    assert!(told.get("ueAddr").is_none() && told.get("messages").is_none(), "{told}");
    assert_eq!(told["expiresAt"], 60);
}
