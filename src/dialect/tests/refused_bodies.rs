//! What a client may not write, and where it is told so.

use super::*;
use crate::qod::Kind;

// The pointers and kinds of the faults.
fn faults(name: &str, body: &Value) -> Vec<(String, Kind)> {
    let malformed = parse(name, body).expect_err(&body.to_string());
    malformed.faults.into_iter().map(|fault| (fault.pointer, fault.kind)).collect()
}

fn spoilt(name: &str, pointer: &str, value: Value) -> Value {
    let mut body = body(name);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

// Device, server and ports are put in the same words from 0.9 on.
#[track_caller]
fn refused_from_0_10_on(pointer: &str, value: &Value, below: &str, kind: Kind) {
    refused(Family::V010, pointer, value, below, kind);
    refused(Family::V011, pointer, value, below, kind);
    refused(Family::V1, pointer, value, below, kind);
}

// In every dialect of the family a body with this value has a fault at or below it, and no other.
#[track_caller]
fn refused(family: Family, pointer: &str, value: &Value, below: &str, kind: Kind) {
    // Where a list of ports is one port, more is wrong with it.
    let other = |name: &&str| dialect(name).rule().one_port && pointer.ends_with("Ports");
    let of_family = DIALECTS.names().filter(|name| dialect(name).family() == family);
    for name in of_family.filter(|name| !other(name)) {
        let body = spoilt(name, pointer, value.clone());
        assert_eq!(faults(name, &body), [(format!("{pointer}{below}"), kind)], "{body}");
    }
}

#[test]
fn sound_bodies_are_taken_and_a_missing_duration_is_a_day() {
    for name in DIALECTS.names() {
        let wanted = parse(name, &body(name)).unwrap();
        assert_eq!(wanted.duration_s, 86_400);
        assert_eq!(wanted.sink, None);
    }
}

#[test]
fn texts_that_are_not_what_they_stand_for() {
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
        refused(Family::V08, pointer, &json!(text), "", Kind::InvalidArgument);
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
        refused_from_0_10_on(pointer, &json!(text), "", Kind::InvalidArgument);
    }
}

#[test]
fn a_device_is_no_network_but_up_to_0_9_of_ipv6() {
    let networks = |name: &&str| dialect(name).rule().device.ipv6_masks;
    let (early, late): (Vec<_>, Vec<_>) = DIALECTS
        .names()
        .filter(|name| dialect(name).rule().device.ipv4 == descriptor::Ipv4Form::Public)
        .partition(networks);
    assert_eq!(early, ["camara-0.9.0"]);
    let spoilt = |name| spoilt(name, "/device/ipv6Address", json!("2001:db8::/64"));
    let device = parse(early[0], &spoilt(early[0])).unwrap().device.unwrap();
    assert_eq!(device.ipv6.unwrap().value.prefix_len(), 64);
    for name in late {
        let expected = ("/device/ipv6Address".to_owned(), Kind::InvalidArgument);
        assert_eq!(faults(name, &spoilt(name)), [expected]);
    }
}

#[test]
fn tokens_of_0_10_have_bounds() {
    for token in ["only-nineteen-chars", "twenty-characters-and\u{7f}", &"x".repeat(257)] {
        let webhook =
            json!({"notificationUrl": "https://a.example/", "notificationAuthToken": token});
        let below = "/notificationAuthToken";
        refused(Family::V010, "/webhook", &webhook, below, Kind::InvalidArgument);
    }
}

#[test]
fn ports_that_are_none() {
    for (value, below, kind) in [
        (json!({"ranges": [{"from": 2, "to": 1}]}), "/ranges/0", Kind::OutOfRange),
        (json!({"ports": [1, 65_536]}), "/ports/1", Kind::OutOfRange),
        (json!({"ports": [-1]}), "/ports/0", Kind::OutOfRange),
        (json!({"ports": ["1"]}), "/ports/0", Kind::InvalidArgument),
        (json!({"ports": [1], "port": 1}), "/port", Kind::InvalidArgument),
        (json!({"ranges": [{"from": 1, "to": 2, "by": 1}]}), "/ranges/0/by", Kind::InvalidArgument),
        (json!({"ranges": [{"from": 1}]}), "/ranges/0", Kind::InvalidArgument),
        (json!({"ports": []}), "/ports", Kind::InvalidArgument),
        (json!({}), "", Kind::InvalidArgument),
        (json!(443), "", Kind::InvalidArgument),
    ] {
        refused(Family::V08, "/uePorts", &value, below, kind);
        refused_from_0_10_on("/applicationServerPorts", &value, below, kind);
    }
}

#[test]
fn durations_that_are_none() {
    for (value, kind) in [
        (json!(86_401), Kind::DurationOutOfRange),
        (json!(0), Kind::DurationOutOfRange),
        (json!(-1), Kind::DurationOutOfRange),
        (json!(1e300), Kind::DurationOutOfRange),
        (json!(1.5), Kind::InvalidArgument),
        (json!("60"), Kind::InvalidArgument),
        (json!(null), Kind::InvalidArgument),
    ] {
        refused(Family::V08, "/duration", &value, "", kind);
        refused(Family::V010, "/duration", &value, "", kind);
    }
}

#[test]
fn members_that_would_change_what_the_others_mean() {
    let bad = Kind::InvalidArgument;
    refused(Family::V08, "/ueId/imsi", &json!("1"), "", bad);
    refused(Family::V08, "/asId/port", &json!(443), "", bad);
    refused_from_0_10_on("/device/imsi", &json!("1"), "", bad);
    refused_from_0_10_on("/applicationServer/port", &json!(443), "", bad);
}

#[test]
fn a_public_address_needs_something_beside_it() {
    let bad = Kind::InvalidArgument;
    for (value, below, kind) in [
        (json!({"publicAddress": "203.0.113.9"}), "", bad),
        (json!({"publicAddress": "203.0.113.09", "publicPort": 1}), "/publicAddress", bad),
        (
            json!({"publicAddress": "203.0.113.9", "publicPort": 65_536}),
            "/publicPort",
            Kind::OutOfRange,
        ),
        (json!({"publicAddress": "203.0.113.9", "publicPort": 1, "port": 1}), "/port", bad),
        (json!("203.0.113.9"), "", bad),
    ] {
        refused_from_0_10_on("/device/ipv4Address", &value, below, kind);
    }
}

#[test]
fn a_server_by_names_of_a_later_release_is_not_every_server() {
    let list = json!({"ipAddresses": ["198.51.100.7"]});
    let bad = Kind::InvalidArgument;
    let expected = ["/applicationServer", "/applicationServer/ipAddresses"];
    for name in ["camara-0.10.1", "camara-1.1.0"] {
        let body = spoilt(name, "/applicationServer", list.clone());
        assert_eq!(faults(name, &body), expected.map(|at| (at.to_owned(), bad)));
    }
}

#[test]
fn a_device_by_unknown_names_only_is_none() {
    let imsi = json!({"imsi": "1"});
    let body = spoilt("camara-0.8.1", "/ueId", imsi);
    let expected = ["/ueId", "/ueId/imsi"].map(|at| (at.to_owned(), Kind::InvalidArgument));
    assert_eq!(faults("camara-0.8.1", &body), expected);
}

#[test]
fn urls_that_may_not_be_notified() {
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
        let body = spoilt("camara-0.8.1", "/notificationUrl", json!(url));
        let found = faults("camara-0.8.1", &body);
        assert_eq!(found, [("/notificationUrl".to_owned(), Kind::InvalidSink)], "{url}");
    }
    for url in [
        "http://a.example",
        "https://a.example:8443/cb?x=1",
        "https://[2001:db8::1]:1/",
        "HTTPS://a.example/",
    ] {
        let body = spoilt("camara-0.8.1", "/notificationUrl", json!(url));
        let sink = parse("camara-0.8.1", &body).unwrap().sink.unwrap();
        assert_eq!((sink.url.as_str(), sink.token), (url, None));
    }
}

#[test]
fn members_that_nobody_knows_are_left_out_or_refused() {
    let refuse = Strictness { unknown_members: UnknownMembers::Refuse, ..Strictness::default() };
    for name in DIALECTS.names() {
        let mut body = body(name);
        body["colour"] = json!("green");
        assert_eq!(parse(name, &body).is_ok(), !dialect(name).rule().strict);
        let text = body.to_string();
        let malformed = dialect(name).parse_create_session(text.as_bytes(), &refuse).unwrap_err();
        assert_eq!(malformed.faults.len(), 1);
        assert_eq!(malformed.faults[0].pointer, "/colour");
    }
    let mut body = body("camara-0.10.1");
    body["webhook"] = json!({"notificationUrl": "https://a.example/", "method": "PUT"});
    assert!(parse("camara-0.10.1", &body).is_ok());
    let text = body.to_string();
    let strict = dialect("camara-0.10.1").parse_create_session(text.as_bytes(), &refuse);
    assert_eq!(strict.unwrap_err().faults[0].pointer, "/webhook/method");
}

#[test]
fn every_failing_place_is_told_in_order() {
    let body = json!({
        "ueId": {"msisdn": "12"}, "asId": {"ipv4addr": "x"}, "duration": -1,
        "uePorts": {"ranges": [{"from": 9, "to": 8}]},
    });
    let malformed = parse("camara-0.8.0", &body).unwrap_err();
    let pointers: Vec<_> = malformed.faults.iter().map(|fault| fault.pointer.as_str()).collect();
    let expected = ["", "/asId/ipv4addr", "/duration", "/ueId/msisdn", "/uePorts/ranges/0"];
    assert_eq!(pointers, expected);
    assert_eq!(malformed.kind(), Kind::InvalidArgument);
    assert!(malformed.to_string().starts_with("expected property is missing: qos; /asId"));
}

#[test]
fn of_many_failing_places_sixteen_are_told() {
    let ranges: Vec<_> = (0..100).map(|_| json!({"from": 9, "to": 8})).collect();
    let body = spoilt("camara-0.8.1", "/asPorts", json!({ "ranges": ranges }));
    let malformed = parse("camara-0.8.1", &body).unwrap_err();
    assert_eq!((malformed.faults.len(), malformed.more), (16, 84));
    assert_eq!(malformed.kind(), Kind::OutOfRange);
    assert!(malformed.to_string().ends_with("and 84 more"));
}

#[test]
fn what_stands_at_a_place_is_never_told() {
    let body = json!({
        "ueId": {"msisdn": "+12secret", "ipv4addr": "secret", "externalId": "secret\u{1}"},
        "asId": {"ipv4addr": "secret"}, "qos": "secret", "notificationUrl": "secret",
        "notificationAuthToken": "secret\u{1}",
    });
    let malformed = parse("camara-0.8.1", &body).unwrap_err();
    assert_eq!(malformed.faults.len(), 7);
    assert!(!malformed.to_string().contains("secret"), "{malformed}");
}

#[test]
fn a_body_that_is_not_json_is_one_fault() {
    let strictness = Strictness::default();
    for name in DIALECTS.names() {
        for body in ["", "{", "[]", "1", "\"\"", "null", "{\"duration\":1,\"duration\":2}", "{}{}"]
        {
            let malformed = dialect(name).parse_create_session(body.as_bytes(), &strictness);
            assert!(!malformed.unwrap_err().faults.is_empty(), "{body}");
            let malformed = dialect(name).parse_extend_session(body.as_bytes(), &strictness);
            assert!(!malformed.unwrap_err().faults.is_empty(), "{body}");
        }
    }
}

#[test]
fn whole_numbers_may_be_written_as_fractions() {
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
fn extensions() {
    let parse = |body: &str| {
        dialect("camara-0.10.1").parse_extend_session(body.as_bytes(), &Strictness::default())
    };
    assert_eq!(parse(r#"{"requestedAdditionalDuration": 86399}"#).unwrap(), 86_399);
    for number in ["0", "86400", "-1"] {
        let malformed = parse(&format!(r#"{{"requestedAdditionalDuration": {number}}}"#));
        assert_eq!(malformed.unwrap_err().kind(), Kind::DurationOutOfRange, "{number}");
    }
    assert_eq!(parse(r#"{"duration": 1}"#).unwrap_err().kind(), Kind::InvalidArgument);
}

#[test]
fn a_public_page_of_t_mobiles_shows_a_masked_device() {
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
