use http::HeaderMap;

use super::*;
use crate::qod::Verbatim;

fn device() -> Device {
    Device {
        phone: Some(Verbatim::from_value("+34600000001".parse().unwrap())),
        nai: Some("a@Op.example".parse().unwrap()),
        external_id: Some("b@op.example".parse().unwrap()),
        ipv4: Some(DeviceIpv4::Public {
            public: [203, 0, 113, 7].into(),
            private: Some([10, 0, 0, 7].into()),
            public_port: Some(59_765),
        }),
        ipv6: Some(Verbatim::from_value("2001:db8:1:2:3::4/128".parse().unwrap())),
    }
}

fn body(device: &Device, by: IdentifierKind, kind: Kind) -> Option<Value> {
    let body = LookupSubject::from_device(device, by)?.request_body(kind)?;
    Some(serde_json::from_slice(&body).unwrap())
}

#[test]
fn request_body_contains_only_the_looked_up_identifier() {
    let by_number = body(&device(), IdentifierKind::PhoneNumber, Kind::NetworkId);
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
        assert!(Kind::TelcoFinder(PortabilitySearchMode::Deep).identifiers().contains(&by));
        for (mode, expected_mode) in
            [(PortabilitySearchMode::Shallow, "SHALLOW"), (PortabilitySearchMode::Deep, "DEEP")]
        {
            let expected = json!({
                "target": target, "includeApiRoot": false,
                "includeAuthProviderConfiguration": false, "portabilitySearchMode": expected_mode,
            });
            assert_eq!(body(&device(), by, Kind::TelcoFinder(mode)), Some(expected));
        }
    }
    assert_eq!(body(&device(), IdentifierKind::Ipv4Address, Kind::NetworkId), None);
    let kind = Kind::TelcoFinder(PortabilitySearchMode::Shallow);
    assert_eq!(body(&device(), IdentifierKind::ExternalId, kind), None);
}

#[test]
fn network_of_many_addresses_is_not_looked_up() {
    let kind = Kind::TelcoFinder(PortabilitySearchMode::Shallow);
    let ipv4 = |net: &str| Device {
        ipv4: Some(DeviceIpv4::Legacy(Verbatim::from_value(net.parse().unwrap()))),
        ..Device::default()
    };
    let target = |body: Option<Value>| body.map(|body| body["target"].clone());
    let one = target(body(&ipv4("203.0.113.7/32"), IdentifierKind::Ipv4Address, kind));
    assert_eq!(one, Some(json!({ "ipv4Address": { "publicAddress": "203.0.113.7" } })));
    assert_eq!(body(&ipv4("203.0.113.0/24"), IdentifierKind::Ipv4Address, kind), None);
    let ipv6 = |net: &str| Device {
        ipv6: Some(Verbatim::from_value(net.parse().unwrap())),
        ..Device::default()
    };
    let one = target(body(&ipv6("2001:db8:1:2::/64"), IdentifierKind::Ipv6Address, kind));
    assert_eq!(one, Some(json!({ "ipv6Address": "2001:db8:1:2::" })));
    assert_eq!(body(&ipv6("2001:db8:1::/48"), IdentifierKind::Ipv6Address, kind), None);
}

fn parse(kind: Kind, status: u16, body: &str) -> Result<FinderAnswer, String> {
    let status = StatusCode::from_u16(status).unwrap();
    let response = PeerResponse {
        status,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    parse_answer(kind, &response)
}

#[test]
fn responses_are_parsed_as_operator_not_found_or_error() {
    let (network, finder) = (Kind::NetworkId, Kind::TelcoFinder(PortabilitySearchMode::Shallow));
    let of_network = parse(network, 200, r#"{"networkId":"21407","more":1}"#);
    assert_eq!(of_network, Ok(FinderAnswer::Network("21407".into())));
    let root = r#"{"operatorId":"TELEFONICA_ES","apiRoot":"https://evil.example"}"#;
    assert_eq!(parse(finder, 200, root), Ok(FinderAnswer::Operator("TELEFONICA_ES".into())));
    for (status, body) in [
        (404, ""),
        (404, "<html>"),
        (422, r#"{"code":"NOT_SUPPORTED"}"#),
        (422, r#"{"code":"NotSupported"}"#),
        (400, r#"{"status":400,"code":"TELCO_FINDER.NOT_SUPPORTED"}"#),
        (422, r#"{"code":"SERVICE_NOT_APPLICABLE"}"#),
    ] {
        assert_eq!(parse(finder, status, body), Ok(FinderAnswer::NotFound), "{status} {body}");
        assert_eq!(parse(network, status, body), Ok(FinderAnswer::NotFound), "{status} {body}");
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
        assert!(parse(finder, status, body).is_err(), "{status} {body}");
    }
    for body in [
        r#"{"networkId":"2140"}"#,
        r#"{"networkId":"2140777"}"#,
        r#"{"networkId":"2140a"}"#,
        r#"{"networkId":21407}"#,
        r#"{"operatorId":"a"}"#,
    ] {
        assert!(parse(network, 200, body).is_err(), "{body}");
    }
}

#[test]
fn operator_name_that_may_contain_a_phone_number_is_not_logged() {
    assert_eq!(FinderAnswer::Network("21407".into()).log_name(), "21407");
    assert_eq!(FinderAnswer::Operator("MVNO_24_ES".into()).log_name(), "MVNO_24_ES");
    let odd = FinderAnswer::Operator("of +34 600 000 001".into());
    assert!(!odd.log_name().contains("34"));
}
