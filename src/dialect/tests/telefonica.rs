//! Telefónica's variant of 0.8: a single port, which is the public port of the address.

use super::{
    descriptor::{Ipv4Form, PortsForm},
    *,
};
use crate::qod::{Device, DeviceIpv4, IdentifierKind, PortRange, PortsSpec, Verbatim};

const OURS: &str = "telefonica-0.8";

fn by_address(ports: &Value) -> Value {
    let mut body = body(OURS);
    body["ueId"] = json!({ "ipv4addr": "198.51.100.7" });
    if !ports.is_null() {
        body["uePorts"] = ports.clone();
    }
    body
}

fn public(port: u16) -> DeviceIpv4 {
    let public = [198, 51, 100, 7].into();
    DeviceIpv4::Public { public, private: None, public_port: Some(port) }
}

#[test]
fn single_device_port_is_the_public_port_of_the_address() {
    let wanted = parse(OURS, &by_address(&json!({ "ports": [5060] }))).unwrap();
    assert_eq!(wanted.device.as_ref().unwrap().ipv4, Some(public(5060)));
    assert_eq!(wanted.device_ports, None, "it is part of the address, not a filter");
    let newer = dialect("camara-0.10.1")
        .translate_complete(&wanted, &TranslationSettings::default())
        .unwrap();
    assert_eq!(newer.device.unwrap().ipv4, Some(public(5060)));
    // With another identifier it is a filter, as in 0.8.
    let mut by_number = body(OURS);
    by_number["uePorts"] = json!({ "ports": [5060] });
    let wanted = parse(OURS, &by_number).unwrap();
    assert_eq!(wanted.device_ports.unwrap().ports, [5060]);
}

#[test]
fn unsupported_bodies_are_rejected() {
    for invalid in [
        by_address(&Value::Null),
        by_address(&json!({ "ports": [1, 2] })),
        by_address(&json!({ "ranges": [{ "from": 1, "to": 1 }] })),
    ] {
        assert!(parse(OURS, &invalid).is_err(), "{invalid}");
    }
    let mut mask = by_address(&json!({ "ports": [5060] }));
    mask["ueId"]["ipv4addr"] = json!("198.51.100.0/24");
    assert!(parse(OURS, &mask).is_err());
}

#[test]
fn operator_receives_at_most_one_port() {
    let wanted = |ipv4, ports: Option<PortsSpec>| CreateRequest {
        device: Some(Device { ipv4: Some(ipv4), ..Device::default() }),
        device_ports: ports,
        ..parse("camara-0.10.1", &body("camara-0.10.1")).unwrap()
    };
    let sent = |wanted: &CreateRequest| {
        let translated =
            dialect(OURS).translate_complete(wanted, &TranslationSettings::default())?;
        let body = dialect(OURS).create_session_request(&translated, None);
        Ok(serde_json::from_slice::<Value>(&body).unwrap())
    };
    let one = |port| PortsSpec { ranges: Vec::new(), ports: vec![port] };
    let sent_body = sent(&wanted(public(5060), None)).unwrap();
    assert_eq!(sent_body["ueId"], json!({ "ipv4addr": "198.51.100.7" }));
    assert_eq!(sent_body["uePorts"], json!({ "ports": [5060] }));
    // The dialect cannot represent a filter by device port as well.
    for port in [5060, 5061] {
        let filtered = sent(&wanted(public(5060), Some(one(port))));
        assert_eq!(filtered, Err(Untranslatable::Ipv4NotExpressible));
    }
    let private = DeviceIpv4::Public {
        public: [198, 51, 100, 7].into(),
        private: Some([10, 0, 0, 1].into()),
        public_port: None,
    };
    assert_eq!(sent(&wanted(private, None)), Err(Untranslatable::Ipv4NotExpressible));
    let single = PortsSpec { ranges: vec![PortRange { from: 443, to: 443 }], ports: Vec::new() };
    let mut by_number = parse("camara-0.10.1", &body("camara-0.10.1")).unwrap();
    by_number.server_ports = Some(single);
    assert_eq!(sent(&by_number).unwrap()["asPorts"], json!({ "ports": [443] }));
    by_number.server_ports = Some(PortsSpec { ports: vec![443, 444], ..PortsSpec::default() });
    assert_eq!(sent(&by_number), Err(Untranslatable::SinglePortOnly));
}

// Translates a request from a client's dialect and returns the body for the operator.
fn translated_body(client: &str, wanted: &CreateRequest) -> Result<Value, Untranslatable> {
    let body_text = dialect(client).create_session_request(wanted, None);
    let request = parse(client, &serde_json::from_slice(&body_text).unwrap()).unwrap();
    let translated = dialect(OURS).translate_complete(&request, &TranslationSettings::default())?;
    let sent = dialect(OURS).create_session_request(&translated, None);
    Ok(serde_json::from_slice(&sent).unwrap())
}

#[test]
fn single_port_is_translated_from_every_dialect_with_phone_numbers() {
    let number = |name: &&str| dialect(name).rule().device.allows(IdentifierKind::PhoneNumber);
    for client in DIALECTS.names().filter(number) {
        let mut wanted = parse(client, &body(client)).unwrap();
        wanted.server_ports = Some(PortsSpec { ranges: Vec::new(), ports: vec![443] });
        wanted.device_ports = Some(if dialect(client).rule().ports == PortsForm::SinglePort {
            PortsSpec { ranges: Vec::new(), ports: vec![5060] }
        } else {
            PortsSpec { ranges: vec![PortRange { from: 5060, to: 5060 }], ports: Vec::new() }
        });
        let expected = json!({
            "ueId": { "msisdn": "+441632960123" }, "asId": { "ipv4addr": "198.51.100.7" },
            "uePorts": { "ports": [5060] }, "asPorts": { "ports": [443] },
            "qos": "QOS_E", "duration": 86_400,
        });
        assert_eq!(translated_body(client, &wanted), Ok(expected), "{client}");
    }
}

#[test]
fn address_with_port_is_translated_from_every_dialect_with_both() {
    let by = |client, ipv4| {
        let device = Some(Device { ipv4: Some(ipv4), ..Device::default() });
        let wanted = CreateRequest { device, ..parse(client, &body(client)).unwrap() };
        translated_body(client, &wanted)
    };
    let has_both = |name: &&str| dialect(name).rule().device.ipv4 != Ipv4Form::Net;
    for client in DIALECTS.names().filter(has_both) {
        let sent = by(client, public(5060)).expect(client);
        assert_eq!(sent["ueId"], json!({ "ipv4addr": "198.51.100.7" }), "{client}");
        assert_eq!(sent["uePorts"], json!({ "ports": [5060] }), "{client}");
    }
    for client in ["camara-0.8.0", "camara-0.8.1", "devedge"] {
        let alone = DeviceIpv4::Legacy(Verbatim::from_value("198.51.100.7/32".parse().unwrap()));
        assert_eq!(by(client, alone), Err(Untranslatable::Ipv4NotExpressible), "{client}");
    }
}
