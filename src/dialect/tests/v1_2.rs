//! CAMARA 1.2: lists of servers, strictness, bounds, `PRIVATE_KEY_JWT` credentials.

use super::*;
use crate::qod::{ApplicationServer, Device, DeviceIpv4, PortRange, PortsSpec, ProblemKind};

const NAME: &str = "camara-1.2.0-rc.3";
const EARLY: &str = "camara-1.1.0";

fn with(pointer: &str, value: Value) -> Value {
    let mut body = body(NAME);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

fn servers(list: &[&str]) -> Value {
    with("/applicationServer", json!({ "ipAddresses": list }))
}

#[track_caller]
fn errors(body: &Value) -> Vec<(String, ProblemKind)> {
    let malformed = parse(NAME, body).expect_err(&body.to_string());
    malformed.errors.into_iter().map(|error| (error.pointer, error.kind)).collect()
}

#[track_caller]
fn rejected(body: &Value, at: &str, kind: ProblemKind) {
    assert_eq!(errors(body), [(at.to_owned(), kind)], "{body}");
}

#[test]
fn server_list_keeps_its_notation() {
    let list = ["198.51.100.7", "2001:DB8::7", "203.0.113.20"];
    let wanted = parse(NAME, &servers(&list)).unwrap();
    assert_eq!(wanted.flow().servers.len(), 3);
    let translated =
        dialect(NAME).translate_complete(&wanted, &TranslationSettings::default()).unwrap();
    let sent = dialect(NAME).create_session_request(&translated, None);
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["applicationServer"], json!({ "ipAddresses": list }));
    let sixteen: Vec<String> = (0..16).map(|last| format!("198.51.100.{last}")).collect();
    let sixteen: Vec<&str> = sixteen.iter().map(String::as_str).collect();
    assert!(parse(NAME, &servers(&sixteen)).is_ok());
}

#[test]
fn invalid_server_lists_are_rejected() {
    let (list, bad) = ("/applicationServer/ipAddresses", ProblemKind::InvalidArgument);
    let many: Vec<String> = (0..17).map(|last| format!("198.51.100.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    rejected(&servers(&many), list, bad);
    rejected(&servers(&[]), list, bad);
    rejected(&servers(&["198.51.100.7", "198.51.100.7"]), list, bad);
    rejected(&servers(&["2001:db8::7", "2001:DB8:0::7"]), list, bad);
    let second = format!("{list}/1");
    for text in ["198.51.100.0/24", "198.51.100.7/32", "2001:db8::/64", "a.example", "010.0.0.1"] {
        rejected(&servers(&["198.51.100.7", text]), &second, bad);
    }
    rejected(&servers(&["198.51.100.7", "::ffff:198.51.100.8"]), &second, bad);
    for value in [json!("198.51.100.7"), json!({}), json!(null), json!([1])] {
        let body = with("/applicationServer", json!({ "ipAddresses": value }));
        assert!(errors(&body).iter().all(|(at, _)| at.starts_with("/applicationServer")), "{body}");
    }
    let both = json!({ "ipAddresses": ["198.51.100.7"], "ipv4Address": "198.51.100.7" });
    let expected = [("/applicationServer/ipv4Address".to_owned(), bad)];
    assert!(errors(&with("/applicationServer", both)).contains(&expected[0]));
}

#[test]
fn server_networks_must_have_the_format_of_the_release() {
    for (name, text) in [
        ("ipv4Address", "198.51.100.0/33"),
        ("ipv4Address", "198.51.100"),
        ("ipv6Address", "2001:db8::/129"),
        ("ipv6Address", "2001:db8::g"),
    ] {
        let at = format!("/applicationServer/{name}");
        rejected(
            &with("/applicationServer", json!({ name: text })),
            &at,
            ProblemKind::InvalidArgument,
        );
    }
    let both = json!({ "ipv4Address": "198.51.100.7/24", "ipv6Address": "2001:db8::/64" });
    assert!(parse(NAME, &with("/applicationServer", both)).is_ok());
}

#[test]
fn older_operator_receives_a_list_only_as_one_network() {
    let rendered = |list: &[&str]| {
        let wanted = parse(NAME, &servers(list)).unwrap();
        let translated =
            dialect(EARLY).translate_complete(&wanted, &TranslationSettings::default())?;
        assert!(
            translated.flow().is_within(&wanted.flow())
                && wanted.flow().is_within(&translated.flow())
        );
        let sent = dialect(EARLY).create_session_request(&translated, None);
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        Ok(sent["applicationServer"].clone())
    };
    let one = json!({ "ipv4Address": "198.51.100.7" });
    assert_eq!(rendered(&["198.51.100.7"]).unwrap(), one);
    let four = ["198.51.100.6", "198.51.100.4", "198.51.100.7", "198.51.100.5"];
    assert_eq!(rendered(&four).unwrap(), json!({ "ipv4Address": "198.51.100.4/30" }));
    let each = json!({ "ipv4Address": "198.51.100.7", "ipv6Address": "2001:db8::/127" });
    assert_eq!(rendered(&["2001:db8::1", "198.51.100.7", "2001:db8::"]).unwrap(), each);
    for list in [
        &["198.51.100.5", "198.51.100.6"][..],
        &["198.51.100.4", "198.51.100.5", "198.51.100.6"],
        &["2001:db8::1", "2001:db8::2"],
    ] {
        assert_eq!(rendered(list), Err(Untranslatable::UnsupportedServers), "{list:?}");
    }
}

#[test]
fn older_dialects_render_the_first_address_of_each_family() {
    let wanted = parse(NAME, &servers(&["198.51.100.5", "198.51.100.9", "2001:db8::1"])).unwrap();
    let rendered = dialect(EARLY).create_session_request(&wanted, None);
    let rendered: Value = serde_json::from_slice(&rendered).unwrap();
    let first = json!({ "ipv4Address": "198.51.100.5", "ipv6Address": "2001:db8::1" });
    assert_eq!(rendered["applicationServer"], first);
}

#[test]
fn unknown_members_are_rejected_regardless_of_policies() {
    let lenient = Strictness::default();
    assert_eq!(lenient.unknown_members, UnknownMembers::Drop);
    let mut valid = with("/sink", json!("https://a.example/"));
    valid["sinkCredential"] = json!({
        "credentialType": "ACCESSTOKEN", "accessToken": "t",
        "accessTokenExpiresUtc": "2030-01-01T00:00:00Z", "accessTokenType": "bearer",
    });
    valid["device"]["ipv4Address"] = json!({ "publicAddress": "203.0.113.9", "publicPort": 1 });
    valid["devicePorts"] = json!({ "ranges": [{ "from": 1, "to": 2 }] });
    assert!(parse(NAME, &valid).is_ok());
    for place in [
        "",
        "/device",
        "/device/ipv4Address",
        "/applicationServer",
        "/devicePorts",
        "/devicePorts/ranges/0",
        "/sinkCredential",
    ] {
        let mut body = valid.clone();
        body.pointer_mut(place).unwrap()["colour"] = json!("green");
        rejected(&body, &format!("{place}/colour"), ProblemKind::InvalidArgument);
    }
    let extend = br#"{"requestedAdditionalDuration": 1, "x": 1}"#;
    assert!(dialect(NAME).parse_extend_session(extend, &lenient).is_err());
    assert!(dialect(EARLY).parse_extend_session(extend, &lenient).is_ok());
    assert!(dialect(NAME).parse_retrieve_sessions(br#"{"x": 1}"#, &lenient).is_err());
}

#[test]
fn port_0_is_rejected() {
    for ports in [json!({ "ports": [0] }), json!({ "ranges": [{ "from": 0, "to": 9 }] })] {
        let body = with("/applicationServerPorts", ports);
        let below = errors(&body);
        assert!(below.len() == 1 && below[0].1 == ProblemKind::OutOfRange, "{below:?}");
    }
    let public = json!({ "publicAddress": "203.0.113.9", "publicPort": 0 });
    let at = "/device/ipv4Address/publicPort";
    rejected(&with("/device/ipv4Address", public), at, ProblemKind::OutOfRange);
}

#[test]
fn port_0_is_removed_from_ranges_and_otherwise_rejected() {
    let wanted = |ranges: &[(u16, u16)], ports: &[u16]| {
        let ranges = ranges.iter().map(|&(from, to)| PortRange { from, to }).collect();
        let spec = PortsSpec { ranges, ports: ports.to_vec() };
        CreateRequest { server_ports: Some(spec), ..parse(EARLY, &body(EARLY)).unwrap() }
    };
    let translate =
        |wanted| dialect(NAME).translate_complete(&wanted, &TranslationSettings::default());
    let translated = translate(wanted(&[(0, 9), (20, 30)], &[443])).unwrap();
    assert!(translated.flow().is_within(&wanted(&[(0, 9), (20, 30)], &[443]).flow()));
    let ranges = [PortRange { from: 1, to: 9 }, PortRange { from: 20, to: 30 }];
    assert_eq!(translated.server_ports.unwrap().ranges, ranges);
    let low = Err(Untranslatable::PortTooLow { min: 1 });
    assert_eq!(translate(wanted(&[], &[0, 443])), low);
    assert_eq!(translate(wanted(&[(0, 0)], &[443])), low);
    assert_eq!(
        dialect(EARLY)
            .translate_complete(&wanted(&[], &[0]), &TranslationSettings::default())
            .unwrap()
            .device_ports,
        None
    );

    let mut hidden = parse(EARLY, &body(EARLY)).unwrap();
    let public = "203.0.113.9".parse().unwrap();
    let ipv4 = DeviceIpv4::Public { public, private: None, public_port: Some(0) };
    hidden.device = Some(Device { ipv4: Some(ipv4), ..Device::default() });
    assert_eq!(translate(hidden), Err(Untranslatable::Ipv4NotExpressible));
}

#[test]
fn text_lengths_are_bounded() {
    let long = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
    assert!(parse(NAME, &with("/sink", json!(long(2048)))).is_ok());
    rejected(&with("/sink", json!(long(2049))), "/sink", ProblemKind::InvalidSink);
    let long = with("/duration", json!(2_147_483_648_u32));
    rejected(&long, "/duration", ProblemKind::InvalidArgument);
    let nai = "/device/networkAccessIdentifier";
    assert!(parse(NAME, &with(nai, json!("x".repeat(2048)))).is_ok());
    rejected(&with(nai, json!("x".repeat(2049))), nai, ProblemKind::InvalidArgument);
    // Characters, not bytes.
    assert!(parse(NAME, &with(nai, json!("é".repeat(2048)))).is_ok());
    assert!(parse(NAME, &with(nai, json!("😀".repeat(2048)))).is_ok());
    rejected(&with(nai, json!("é".repeat(2049))), nai, ProblemKind::InvalidArgument);
}

#[test]
fn private_key_jwt_credential_is_valid_but_unsupported() {
    let credential = |credential| {
        let mut body = with("/sink", json!("https://a.example/"));
        body["sinkCredential"] = credential;
        body
    };
    let key = json!({
        "credentialType": "PRIVATE_KEY_JWT", "clientId": "a", "tokenUri": "https://a.example/token",
    });
    let at = "/sinkCredential/credentialType";
    rejected(&credential(key.clone()), at, ProblemKind::CredentialNotConfigured);
    let bare = json!({ "credentialType": "PRIVATE_KEY_JWT" });
    rejected(&credential(bare), at, ProblemKind::CredentialNotConfigured);
    for other in ["PLAIN", "REFRESHTOKEN", "OTHER"] {
        rejected(&credential(json!({ "credentialType": other })), at, ProblemKind::InvalidArgument);
    }
    // Other errors take precedence.
    let mut invalid = key;
    invalid["tokenUri"] = json!("http://a.example/token");
    let malformed = parse(NAME, &credential(invalid)).unwrap_err();
    assert_eq!((malformed.errors.len(), malformed.kind()), (2, ProblemKind::InvalidArgument));
    let token = |length: usize| {
        credential(json!({
            "credentialType": "ACCESSTOKEN", "accessToken": "t".repeat(length),
            "accessTokenExpiresUtc": "2030-01-01T00:00:00Z", "accessTokenType": "bearer",
        }))
    };
    assert!(parse(NAME, &token(4096)).is_ok());
    rejected(&token(4097), "/sinkCredential/accessToken", ProblemKind::InvalidArgument);
}

#[test]
fn long_message_is_truncated() {
    let problem = |message: String| {
        let (kind, code) = (ProblemKind::InvalidArgument, "INVALID_ARGUMENT".into());
        Problem {
            kind,
            status: 400,
            code,
            message,
            rate_limit: None,
            challenge: None,
            retry_after: None,
        }
    };
    let rendered = |name: &str, length: usize| {
        let response = dialect(name).render_problem(&problem("é".repeat(length)));
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        body["message"].as_str().unwrap().chars().count()
    };
    assert_eq!((rendered(NAME, 512), rendered(NAME, 513), rendered(NAME, 9000)), (512, 512, 512));
    assert_eq!(rendered(EARLY, 9000), 9000);
}

#[test]
fn operator_session_with_a_server_list_is_parsed() {
    let listed = json!([{
        "sessionId": "7", "duration": 60, "qosStatus": "UNAVAILABLE",
        "statusInfo": "NETWORK_TERMINATED", "qosProfile": "QOS_E",
        "applicationServer": { "ipAddresses": ["198.51.100.7", "198.51.100.9"] },
    }]);
    let rendered = dialect(NAME)
        .read_sessions(listed.to_string().as_bytes(), TimesWithoutOffset::Reject)
        .unwrap();
    assert!(rendered.complete);
    let ApplicationServer::Addresses(list) = &rendered.sessions[0].wanted.server else { panic!() };
    assert_eq!(list.len(), 2);
}
