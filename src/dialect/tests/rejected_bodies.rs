//! Rejected bodies, and the pointers of their errors.

use super::{
    descriptor::{Ipv4Form, Ipv6Form, PortsForm},
    *,
};
use crate::qod::ProblemKind;

// The pointers and kinds of the errors.
fn errors(name: &str, body: &Value) -> Vec<(String, ProblemKind)> {
    let malformed = parse(name, body).expect_err(&body.to_string());
    malformed.errors.into_iter().map(|error| (error.pointer, error.kind)).collect()
}

fn with_value(name: &str, pointer: &str, value: Value) -> Value {
    let mut body = body(name);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

// Device, server and ports have the same members from 0.9 on.
#[track_caller]
fn rejected_from_0_9_on(pointer: &str, value: &Value, below: &str, kind: ProblemKind) {
    rejected("device", pointer, value, below, kind);
}

// In every dialect with this member, a body with this value has errors at or below it, and no others.
#[track_caller]
fn rejected(member: &str, pointer: &str, value: &Value, below: &str, kind: ProblemKind) {
    // Dialects with a single port report further errors.
    let other =
        |rule: &RequestRule| rule.ports == PortsForm::SinglePort && pointer.ends_with("Ports");
    let has_member = |rule: &RequestRule| rule.names.device == member || rule.sink.field == member;
    let concerns = |name: &&str| has_member(dialect(name).rule()) && !other(dialect(name).rule());
    for name in DIALECTS.names().filter(concerns) {
        let body = with_value(name, pointer, value.clone());
        assert_eq!(errors(name, &body), [(format!("{pointer}{below}"), kind)], "{body}");
    }
}

#[test]
fn valid_bodies_are_accepted_and_a_missing_duration_is_a_day() {
    for name in DIALECTS.names() {
        let wanted = parse(name, &body(name)).unwrap();
        assert_eq!(wanted.duration_s, 86_400);
        assert_eq!(wanted.sink, None);
    }
}

#[test]
fn malformed_texts_are_rejected() {
    for (pointer, text) in [
        ("/ueId/msisdn", "0441632960"),
        ("/ueId/externalId", ""),
        ("/ueId/ipv4addr", "010.001.002.003"),
        ("/ueId/ipv4addr", "192.0.2.1/33"),
        ("/ueId/ipv6addr", "fe80::1%eth0"),
        ("/asId/ipv4addr", "010.001.002.003"),
        ("/asId/ipv4addr", "198.51.100.7/33"),
        ("/asId/ipv6addr", "2001:db8::/129"),
        ("/asId/ipv6addr", "::ffff:c633:6407"),
        ("/notificationAuthToken", "a\nb"),
        ("/notificationAuthToken", ""),
    ] {
        rejected("ueId", pointer, &json!(text), "", ProblemKind::InvalidArgument);
    }
    for (pointer, text) in [
        ("/device/phoneNumber", "+0441632960"),
        ("/device/networkAccessIdentifier", "a\u{0}@b"),
        ("/device/ipv6Address", "fe80::1%eth0"),
        ("/device/ipv6Address", "not-an-ip"),
        ("/applicationServer/ipv4Address", "not-an-ip"),
        ("/applicationServer/ipv4Address", "198.51.100.7/33"),
        ("/applicationServer/ipv4Address", "198.51.100.7/08"),
        ("/applicationServer/ipv4Address", "198.51.100.7/+8"),
        ("/applicationServer/ipv4Address", "198.51.100.7/"),
        ("/applicationServer/ipv6Address", "::ffff:198.51.100.7"),
        ("/applicationServer/ipv6Address", "198.51.100.7"),
    ] {
        rejected_from_0_9_on(pointer, &json!(text), "", ProblemKind::InvalidArgument);
    }
}

#[test]
fn device_networks_are_rejected_except_ipv6_up_to_0_9() {
    let networks = |name: &&str| dialect(name).rule().device.ipv6 == Ipv6Form::Net;
    let (early, late): (Vec<_>, Vec<_>) = DIALECTS
        .names()
        .filter(|name| dialect(name).rule().device.ipv4 == Ipv4Form::Public)
        .partition(networks);
    assert_eq!(early, ["camara-0.9.0"]);
    let with_value = |name| with_value(name, "/device/ipv6Address", json!("2001:db8::/64"));
    let device = parse(early[0], &with_value(early[0])).unwrap().device.unwrap();
    assert_eq!(device.ipv6.unwrap().value.prefix_len(), 64);
    for name in late {
        let expected = ("/device/ipv6Address".to_owned(), ProblemKind::InvalidArgument);
        assert_eq!(errors(name, &with_value(name)), [expected]);
    }
}

#[test]
fn token_length_is_bounded_in_0_10() {
    for token in ["only-nineteen-chars", "twenty-characters-and\u{7f}", &"x".repeat(257)] {
        let webhook =
            json!({"notificationUrl": "https://a.example/", "notificationAuthToken": token});
        let below = "/notificationAuthToken";
        rejected("webhook", "/webhook", &webhook, below, ProblemKind::InvalidArgument);
    }
    // Characters, not bytes.
    let webhook = |token: String| json!({"notificationUrl": "https://a.example/", "notificationAuthToken": token});
    let longest = with_value("camara-0.10.1", "/webhook", webhook("é".repeat(256)));
    assert!(parse("camara-0.10.1", &longest).is_ok());
    let longer = webhook("é".repeat(257));
    let below = "/notificationAuthToken";
    rejected("webhook", "/webhook", &longer, below, ProblemKind::InvalidArgument);
}

#[test]
fn invalid_ports_are_rejected() {
    for (value, below, kind) in [
        (json!({"ranges": [{"from": 2, "to": 1}]}), "/ranges/0", ProblemKind::OutOfRange),
        (json!({"ports": [1, 65_536]}), "/ports/1", ProblemKind::OutOfRange),
        (json!({"ports": [-1]}), "/ports/0", ProblemKind::OutOfRange),
        (json!({"ports": ["1"]}), "/ports/0", ProblemKind::InvalidArgument),
        (json!({"ports": [1], "port": 1}), "/port", ProblemKind::InvalidArgument),
        (
            json!({"ranges": [{"from": 1, "to": 2, "by": 1}]}),
            "/ranges/0/by",
            ProblemKind::InvalidArgument,
        ),
        (json!({"ranges": [{"from": 1}]}), "/ranges/0", ProblemKind::InvalidArgument),
        (json!({"ports": []}), "/ports", ProblemKind::InvalidArgument),
        (json!({}), "", ProblemKind::InvalidArgument),
        (json!(443), "", ProblemKind::InvalidArgument),
    ] {
        rejected("ueId", "/uePorts", &value, below, kind);
        rejected_from_0_9_on("/applicationServerPorts", &value, below, kind);
    }
}

#[test]
fn invalid_durations_are_rejected() {
    for value in
        [json!(86_401), json!(0), json!(-1), json!(1e300), json!(1.5), json!("60"), json!(null)]
    {
        // The codes for a range are those of profiles, not of the schema.
        rejected("ueId", "/duration", &value, "", ProblemKind::InvalidArgument);
        for name in ["camara-0.9.0", "camara-0.10.1", "telefonica-0.10"] {
            let expected = ("/duration".to_owned(), ProblemKind::InvalidArgument);
            assert_eq!(errors(name, &with_value(name, "/duration", value.clone())), [expected]);
        }
    }
}

#[test]
fn unknown_members_of_device_server_and_ports_are_rejected() {
    let bad = ProblemKind::InvalidArgument;
    rejected("ueId", "/ueId/imsi", &json!("1"), "", bad);
    rejected("ueId", "/asId/port", &json!(443), "", bad);
    rejected_from_0_9_on("/device/imsi", &json!("1"), "", bad);
    rejected_from_0_9_on("/applicationServer/port", &json!(443), "", bad);
}

#[test]
fn public_address_alone_is_rejected() {
    let bad = ProblemKind::InvalidArgument;
    for (value, below, kind) in [
        (json!({"publicAddress": "203.0.113.9"}), "", bad),
        (json!({"publicAddress": "203.0.113.09", "publicPort": 1}), "/publicAddress", bad),
        (
            json!({"publicAddress": "203.0.113.9", "publicPort": 65_536}),
            "/publicPort",
            ProblemKind::OutOfRange,
        ),
        (json!({"publicAddress": "203.0.113.9", "publicPort": 1, "port": 1}), "/port", bad),
        (json!("203.0.113.9"), "", bad),
    ] {
        rejected_from_0_9_on("/device/ipv4Address", &value, below, kind);
    }
}

#[test]
fn server_with_members_of_a_later_release_is_rejected() {
    let list = json!({"ipAddresses": ["198.51.100.7"]});
    let bad = ProblemKind::InvalidArgument;
    let expected = ["/applicationServer", "/applicationServer/ipAddresses"];
    for name in ["camara-0.10.1", "camara-1.1.0"] {
        let body = with_value(name, "/applicationServer", list.clone());
        assert_eq!(errors(name, &body), expected.map(|at| (at.to_owned(), bad)));
    }
}

#[test]
fn device_with_unknown_members_only_is_rejected() {
    let imsi = json!({"imsi": "1"});
    let body = with_value("camara-0.8.1", "/ueId", imsi);
    let expected = ["/ueId", "/ueId/imsi"].map(|at| (at.to_owned(), ProblemKind::InvalidArgument));
    assert_eq!(errors("camara-0.8.1", &body), expected);
}

#[test]
fn invalid_sink_urls_are_rejected() {
    let long = format!("https://a.example/{}", "x".repeat(2048));
    for url in [
        "/relative",
        "a.example",
        "ftp://a.example/",
        "file:///etc/passwd",
        "http://",
        "https:///path",
        "https://user@a.example/",
        "https://user:pw@a.example/",
        "https://a.example/#top",
        "https://a.example:/",
        "https://a.example:99999/",
        "https://a.example\\@b.example/",
        "https://a.example/\u{e9}",
        "https://a.example/ b",
        "https://a.example/\n",
        "javascript:alert(1)",
        &long,
    ] {
        let body = with_value("camara-0.8.1", "/notificationUrl", json!(url));
        let found = errors("camara-0.8.1", &body);
        assert_eq!(found, [("/notificationUrl".to_owned(), ProblemKind::InvalidSink)], "{url}");
    }
    for url in [
        "http://a.example",
        "https://a.example:8443/cb?x=1",
        "https://[2001:db8::1]:1/",
        "HTTPS://a.example/",
    ] {
        let body = with_value("camara-0.8.1", "/notificationUrl", json!(url));
        let sink = parse("camara-0.8.1", &body).unwrap().sink.unwrap();
        assert_eq!((sink.url.as_str(), sink.token), (url, None));
    }
}

#[test]
fn unknown_members_are_dropped_or_rejected() {
    let refuse = Strictness { unknown_members: UnknownMembers::Reject, ..Strictness::default() };
    for name in DIALECTS.names() {
        let mut body = body(name);
        body["colour"] = json!("green");
        assert_eq!(parse(name, &body).is_ok(), !dialect(name).rule().strict);
        let text = body.to_string();
        let malformed = dialect(name).parse_create_session(text.as_bytes(), &refuse).unwrap_err();
        assert_eq!(malformed.errors.len(), 1);
        assert_eq!(malformed.errors[0].pointer, "/colour");
    }
    let mut body = body("camara-0.10.1");
    body["webhook"] = json!({"notificationUrl": "https://a.example/", "method": "PUT"});
    assert!(parse("camara-0.10.1", &body).is_ok());
    let text = body.to_string();
    let strict = dialect("camara-0.10.1").parse_create_session(text.as_bytes(), &refuse);
    assert_eq!(strict.unwrap_err().errors[0].pointer, "/webhook/method");
}

#[test]
fn all_errors_are_reported_sorted_by_pointer() {
    let body = json!({
        "ueId": {"msisdn": "12"}, "asId": {"ipv4addr": "x"}, "duration": -1,
        "uePorts": {"ranges": [{"from": 9, "to": 8}]},
    });
    let malformed = parse("camara-0.8.0", &body).unwrap_err();
    let pointers: Vec<_> = malformed.errors.iter().map(|error| error.pointer.as_str()).collect();
    let expected = ["", "/asId/ipv4addr", "/duration", "/ueId/msisdn", "/uePorts/ranges/0"];
    assert_eq!(pointers, expected);
    assert_eq!(malformed.kind(), ProblemKind::InvalidArgument);
    assert!(malformed.to_string().starts_with("expected property is missing: qos; /asId"));
}

#[test]
fn at_most_sixteen_errors_are_listed() {
    let ranges: Vec<_> = (0..100).map(|_| json!({"from": 9, "to": 8})).collect();
    let body = with_value("camara-0.8.1", "/asPorts", json!({ "ranges": ranges }));
    let malformed = parse("camara-0.8.1", &body).unwrap_err();
    assert_eq!((malformed.errors.len(), malformed.has_more), (16, true));
    assert_eq!(malformed.kind(), ProblemKind::OutOfRange);
    assert!(malformed.to_string().ends_with("; and more"));
}

#[test]
fn only_the_first_of_many_errors_are_searched_for() {
    let many = 19_000;
    let lists = [
        ("camara-1.1.0", "/devicePorts", json!({ "ports": vec![json!("x"); many] })),
        ("camara-1.1.0", "/devicePorts", json!({ "ranges": vec![json!({}); many] })),
        ("camara-1.1.0", "/devicePorts", json!({ "ports": vec![json!(70_000); many] })),
        ("camara-0.8.1", "/asPorts", json!({ "ranges": vec![json!({"from": 9, "to": 8}); many] })),
        (
            "camara-1.2.0-rc.3",
            "/applicationServer",
            json!({ "ipAddresses": vec![json!("x"); many] }),
        ),
    ];
    for (name, pointer, list) in lists {
        let malformed = parse(name, &with_value(name, pointer, list)).unwrap_err();
        assert!((1..=16).contains(&malformed.errors.len()), "{malformed}");
        assert!(malformed.has_more, "{malformed}");
        assert!(malformed.errors.iter().all(|error| error.pointer.starts_with(pointer)));
        let first = &malformed.errors[0].pointer;
        assert!(first == pointer || first.contains("/0"), "{malformed}");
    }
}

#[test]
fn messages_never_contain_the_invalid_value() {
    let body = json!({
        "ueId": {"msisdn": "+12secret", "ipv4addr": "secret", "externalId": "secret\u{1}"},
        "asId": {"ipv4addr": "secret"}, "qos": "secret", "notificationUrl": "secret",
        "notificationAuthToken": "secret\u{1}",
    });
    let malformed = parse("camara-0.8.1", &body).unwrap_err();
    assert_eq!(malformed.errors.len(), 7);
    assert!(!malformed.to_string().contains("secret"), "{malformed}");
}

#[test]
fn invalid_json_is_a_single_error() {
    let strictness = Strictness::default();
    for name in DIALECTS.names() {
        for body in ["", "{", "[]", "1", "\"\"", "null", "{\"duration\":1,\"duration\":2}", "{}{}"]
        {
            let malformed = dialect(name).parse_create_session(body.as_bytes(), &strictness);
            assert!(!malformed.unwrap_err().errors.is_empty(), "{body}");
            let malformed = dialect(name).parse_extend_session(body.as_bytes(), &strictness);
            assert!(!malformed.unwrap_err().errors.is_empty(), "{body}");
        }
    }
}

#[test]
fn integers_may_have_a_zero_fraction() {
    for number in ["3600.0", "3.6e3", "3600"] {
        let body = body("camara-0.10.1").to_string();
        let body = body.replacen('{', &format!("{{\"duration\": {number}, "), 1);
        let wanted = dialect("camara-0.10.1")
            .parse_create_session(body.as_bytes(), &Strictness::default())
            .unwrap();
        assert_eq!(wanted.duration_s, 3600);
    }
}

#[test]
fn extensions_are_validated() {
    let parse = |body: &str| {
        dialect("camara-0.10.1").parse_extend_session(body.as_bytes(), &Strictness::default())
    };
    assert_eq!(parse(r#"{"requestedAdditionalDuration": 86399}"#).unwrap(), 86_399);
    for number in ["0", "86400", "-1"] {
        let malformed = parse(&format!(r#"{{"requestedAdditionalDuration": {number}}}"#));
        assert_eq!(malformed.unwrap_err().kind(), ProblemKind::InvalidArgument, "{number}");
    }
    assert_eq!(parse(r#"{"duration": 1}"#).unwrap_err().kind(), ProblemKind::InvalidArgument);
}

#[test]
fn example_of_t_mobile_with_a_device_network_is_accepted() {
    let body = json!({
        "duration": 86400,
        "ueId": {
            "externalId": "123456789@domain.com", "msisdn": "123456789",
            "ipv4addr": "192.168.0.1/24", "ipv6addr": "2001:db8:85a3:8d3:1319:8a2e:370:7344",
        },
        "asId": {"ipv4addr": "192.168.0.1/24", "ipv6addr": "2001:db8:85a3:8d3::/64"},
        "uePorts": {"ranges": [{"from": 5010, "to": 5020}], "ports": [5060, 5070]},
        "asPorts": {"ranges": [{"from": 5010, "to": 5020}], "ports": [5060, 5070]},
        "qos": "QOS_E",
        "notificationUrl": "https://application-server.com",
        "notificationAuthToken": "c8974e592c2fa383d4a3960714",
    });
    let wanted = parse("devedge", &body).unwrap();
    assert_eq!(wanted.device.unwrap().kinds().count(), 4);
}
