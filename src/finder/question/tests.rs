use http::HeaderMap;

use super::*;
use crate::qod::Written;

fn device() -> Device {
    Device {
        phone: Some(Written::plain("+34600000001".parse().unwrap())),
        nai: Some("a@Op.example".parse().unwrap()),
        external_id: Some("b@op.example".parse().unwrap()),
        ipv4: Some(DeviceIpv4::Public {
            public: [203, 0, 113, 7].into(),
            private: Some([10, 0, 0, 7].into()),
            public_port: Some(59_765),
        }),
        ipv6: Some(Written::plain("2001:db8:1:2:3::4/128".parse().unwrap())),
    }
}

fn asked(device: &Device, by: IdentifierKind, kind: Kind) -> Option<Value> {
    let body = Subject::of(device, by)?.asked(kind)?;
    Some(serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_question_tells_of_a_device_what_it_needs_and_nothing_else() {
    let by_number = asked(&device(), IdentifierKind::PhoneNumber, Kind::NetworkId);
    assert_eq!(by_number, Some(json!({ "phoneNumber": "+34600000001" })));
    for (by, target) in [
        (IdentifierKind::PhoneNumber, json!({ "phoneNumber": "+34600000001" })),
        (
            IdentifierKind::NetworkAccessIdentifier,
            json!({ "networkAccessIdentifier": "a@op.example" }),
        ),
        (
            IdentifierKind::Ipv4Address,
            json!({ "ipv4Address": { "publicAddress": "203.0.113.7", "publicPort": 59_765 } }),
        ),
        (IdentifierKind::Ipv6Address, json!({ "ipv6Address": "2001:db8:1:2:3::4" })),
    ] {
        assert!(Kind::TelcoFinder(Mode::Deep).identifiers().contains(&by));
        for (mode, told) in [(Mode::Shallow, "SHALLOW"), (Mode::Deep, "DEEP")] {
            let expected = json!({
                "target": target, "includeApiRoot": false,
                "includeAuthProviderConfiguration": false, "portabilitySearchMode": told,
            });
            assert_eq!(asked(&device(), by, Kind::TelcoFinder(mode)), Some(expected));
        }
    }
    assert_eq!(asked(&device(), IdentifierKind::Ipv4Address, Kind::NetworkId), None);
    let kind = Kind::TelcoFinder(Mode::Shallow);
    assert_eq!(asked(&device(), IdentifierKind::ExternalId, kind), None);
}

#[test]
fn nobody_is_asked_about_a_whole_network() {
    let kind = Kind::TelcoFinder(Mode::Shallow);
    let ipv4 = |net: &str| Device {
        ipv4: Some(DeviceIpv4::Legacy(Written::plain(net.parse().unwrap()))),
        ..Device::default()
    };
    let target = |asked: Option<Value>| asked.map(|asked| asked["target"].clone());
    let one = target(asked(&ipv4("203.0.113.7/32"), IdentifierKind::Ipv4Address, kind));
    assert_eq!(one, Some(json!({ "ipv4Address": { "publicAddress": "203.0.113.7" } })));
    assert_eq!(asked(&ipv4("203.0.113.0/24"), IdentifierKind::Ipv4Address, kind), None);
    let ipv6 = |net: &str| Device {
        ipv6: Some(Written::plain(net.parse().unwrap())),
        ..Device::default()
    };
    let one = target(asked(&ipv6("2001:db8:1:2::/64"), IdentifierKind::Ipv6Address, kind));
    assert_eq!(one, Some(json!({ "ipv6Address": "2001:db8:1:2::" })));
    assert_eq!(asked(&ipv6("2001:db8:1::/48"), IdentifierKind::Ipv6Address, kind), None);
}

fn told(kind: Kind, status: u16, body: &str) -> Result<Answer, String> {
    let status = StatusCode::from_u16(status).unwrap();
    let answered = Answered {
        status,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    read(kind, &answered)
}

#[test]
fn an_answer_names_an_operator_or_nobody_or_is_none() {
    let (network, finder) = (Kind::NetworkId, Kind::TelcoFinder(Mode::Shallow));
    let of_network = told(network, 200, r#"{"networkId":"21407","more":1}"#);
    assert_eq!(of_network, Ok(Answer::Network("21407".into())));
    let root = r#"{"operatorId":"TELEFONICA_ES","apiRoot":"https://evil.example"}"#;
    assert_eq!(told(finder, 200, root), Ok(Answer::Operator("TELEFONICA_ES".into())));
    for (status, body) in [
        (404, ""),
        (404, "<html>"),
        (422, r#"{"code":"NOT_SUPPORTED"}"#),
        (422, r#"{"code":"NotSupported"}"#),
        (400, r#"{"status":400,"code":"TELCO_FINDER.NOT_SUPPORTED"}"#),
        (422, r#"{"code":"SERVICE_NOT_APPLICABLE"}"#),
    ] {
        assert_eq!(told(finder, status, body), Ok(Answer::Nobody), "{status} {body}");
        assert_eq!(told(network, status, body), Ok(Answer::Nobody), "{status} {body}");
    }
    let long = format!("{{\"operatorId\":\"{}\"}}", "x".repeat(OPERATOR_ID_CHARS_MAX + 1));
    for (status, body) in [
        (200, ""),
        (200, "null"),
        (200, r#"{"operatorId":""}"#),
        (200, r#"{"operatorId":null}"#),
        (200, r#"{"operatorId":"a","operatorId":"b"}"#),
        (200, r#"{"operatorId":"a\nb"}"#),
        (200, &*long),
        (204, ""),
        (301, ""),
        (400, r#"{"code":"INVALID_ARGUMENT"}"#),
        (401, ""),
        (500, r#"{"code":"NOT_SUPPORTED"}"#),
    ] {
        assert!(told(finder, status, body).is_err(), "{status} {body}");
    }
    for body in [
        r#"{"networkId":"2140"}"#,
        r#"{"networkId":"2140777"}"#,
        r#"{"networkId":"2140a"}"#,
        r#"{"networkId":21407}"#,
        r#"{"operatorId":"a"}"#,
    ] {
        assert!(told(network, 200, body).is_err(), "{body}");
    }
}

#[test]
fn a_number_that_stands_in_a_names_place_is_not_told() {
    assert_eq!(Answer::Network("21407".into()).named(), "21407");
    assert_eq!(Answer::Operator("MVNO_24_ES".into()).named(), "MVNO_24_ES");
    let odd = Answer::Operator("of +34 600 000 001".into());
    assert!(!odd.named().contains("34"));
}
