//! Translation of create requests for operators, by identifier.

use super::*;
use crate::qod::{
    ApplicationServer, Device, DeviceIpv4, IdentifierKind, PortRange, PortsSpec, Verbatim,
};

const OLD: &str = "camara-0.8.1";
const NEW: &str = "camara-0.10.1";

fn old(ue_id: &Value) -> CreateRequest {
    let mut body = body(OLD);
    body["ueId"] = ue_id.clone();
    parse(OLD, &body).unwrap()
}

fn new(device: &Value) -> CreateRequest {
    let mut body = body(NEW);
    body["device"] = device.clone();
    parse(NEW, &body).unwrap()
}

// The device in the request to the operator.
fn sent(
    operator: &str,
    wanted: &CreateRequest,
    settings: &TranslationSettings,
) -> Result<Value, Untranslatable> {
    let operator = dialect(operator);
    let translated = operator.translate_complete(wanted, settings)?;
    let body: Value =
        serde_json::from_slice(&operator.create_session_request(&translated, None)).unwrap();
    Ok(body.get("ueId").or_else(|| body.get("device")).unwrap().clone())
}

#[test]
fn phone_number_gets_a_plus_sign() {
    let wanted = old(&json!({"msisdn": "441632960123"}));
    let settings = TranslationSettings::default();
    let number = json!({"phoneNumber": "+441632960123"});
    assert_eq!(sent(NEW, &wanted, &settings).unwrap(), number);
    assert_eq!(sent(OLD, &wanted, &settings).unwrap(), json!({"msisdn": "+441632960123"}));
}

#[test]
fn external_id_is_sent_as_nai_only_if_configured() {
    let (strict, loose) = (
        TranslationSettings::default(),
        TranslationSettings { external_id_as_nai: true, ..TranslationSettings::default() },
    );
    let (name, id) = (json!({"networkAccessIdentifier": "a@b"}), json!({"externalId": "a@b"}));
    for (operator, wanted, expected, given) in [
        (NEW, old(&id), name.clone(), IdentifierKind::ExternalId),
        (OLD, new(&name), id.clone(), IdentifierKind::NetworkAccessIdentifier),
    ] {
        let error = Untranslatable::UnsupportedIdentifiers { given: vec![given] };
        assert_eq!(sent(operator, &wanted, &strict), Err(error));
        assert_eq!(sent(operator, &wanted, &loose).unwrap(), expected);
    }
    assert_eq!(sent(NEW, &new(&name), &strict).unwrap(), name);
    assert_eq!(sent(OLD, &old(&id), &strict).unwrap(), id);
}

#[test]
fn device_is_translated_as_in_a_create_request() {
    let loose = TranslationSettings { external_id_as_nai: true, ..TranslationSettings::default() };
    let wanted = new(&json!({"networkAccessIdentifier": "a@b"}));
    let device = wanted.device.as_ref().unwrap();
    let translated = dialect(OLD).translate_complete(&wanted, &loose).unwrap().device.unwrap();
    assert_eq!(dialect(OLD).translate_device(device, &loose).unwrap(), translated);
    assert_eq!(translated.external_id, device.nai);
    let given = vec![IdentifierKind::NetworkAccessIdentifier];
    let rejected = dialect(OLD).translate_device(device, &TranslationSettings::default());
    assert_eq!(rejected, Err(Untranslatable::UnsupportedIdentifiers { given }));
}

#[test]
fn single_address_is_translated_only_if_configured() {
    let mut wanted = old(&json!({"ipv4addr": "203.0.113.9"}));
    let settings =
        |legacy_ipv4| TranslationSettings { legacy_ipv4, ..TranslationSettings::default() };
    let rejected = Err(Untranslatable::Ipv4NotExpressible);
    assert_eq!(sent(NEW, &wanted, &settings(LegacyIpv4::Reject)), rejected);
    let two = json!({"ipv4Address":
        {"publicAddress": "203.0.113.9", "privateAddress": "203.0.113.9"}});
    assert_eq!(sent(NEW, &wanted, &settings(LegacyIpv4::PublicIsPrivate)).unwrap(), two);
    let with_port = settings(LegacyIpv4::PublicWithDevicePort);
    assert_eq!(sent(NEW, &wanted, &with_port), rejected);
    wanted.device_ports = Some(PortsSpec { ranges: Vec::new(), ports: vec![40_123] });
    let port = json!({"ipv4Address": {"publicAddress": "203.0.113.9", "publicPort": 40_123}});
    assert_eq!(sent(NEW, &wanted, &with_port).unwrap(), port);
    let range = vec![PortRange { from: 40_123, to: 40_124 }];
    wanted.device_ports = Some(PortsSpec { ranges: range, ports: Vec::new() });
    assert_eq!(sent(NEW, &wanted, &with_port), rejected);
}

#[test]
fn equal_public_and_private_addresses_become_one() {
    let pair = |private| {
        json!({"ipv4Address":
        {"publicAddress": "203.0.113.9", "privateAddress": private}})
    };
    let strict = TranslationSettings::default();
    let expected = |address| json!({"ipv4addr": address});
    assert_eq!(sent(OLD, &new(&pair("203.0.113.9")), &strict).unwrap(), expected("203.0.113.9"));
    let rejected = Err(Untranslatable::Ipv4NotExpressible);
    assert_eq!(sent(OLD, &new(&pair("10.0.0.1")), &strict), rejected);
    let loose =
        TranslationSettings { private_ipv4_as_legacy: true, ..TranslationSettings::default() };
    assert_eq!(sent(OLD, &new(&pair("10.0.0.1")), &loose).unwrap(), expected("10.0.0.1"));
}

#[test]
fn public_port_is_sent_as_device_port_if_configured() {
    let mut wanted =
        new(&json!({"ipv4Address": {"publicAddress": "203.0.113.9", "publicPort": 40_123}}));
    assert_eq!(
        sent(OLD, &wanted, &TranslationSettings::default()),
        Err(Untranslatable::Ipv4NotExpressible)
    );
    let settings = TranslationSettings {
        legacy_ipv4: LegacyIpv4::PublicWithDevicePort,
        ..TranslationSettings::default()
    };
    let translated = dialect(OLD).translate_complete(&wanted, &settings).unwrap();
    assert_eq!(translated.device_ports.unwrap().ports, [40_123]);
    // With a phone number, the flow is not narrowed.
    wanted.device.as_mut().unwrap().phone =
        Some(Verbatim::from_value("+441632960123".parse().unwrap()));
    let translated = dialect(OLD).translate_complete(&wanted, &settings).unwrap();
    assert_eq!((translated.device_ports, translated.device.unwrap().ipv4), (None, None));
}

#[test]
fn ipv4_networks_are_sent_only_if_allowed() {
    let masked = old(&json!({"ipv4addr": "192.168.0.1/24"}));
    let error = Untranslatable::Prefix { kind: IdentifierKind::Ipv4Address };
    assert_eq!(sent(OLD, &masked, &TranslationSettings::default()), Err(error.clone()));
    assert!(error.to_string().contains("`ipv4Address` is a network"));
    let networks = TranslationSettings { allow_prefixes: true, ..TranslationSettings::default() };
    assert_eq!(sent(OLD, &masked, &networks).unwrap(), json!({"ipv4addr": "192.168.0.1/24"}));
    let all = TranslationSettings { legacy_ipv4: LegacyIpv4::PublicIsPrivate, ..networks.clone() };
    assert_eq!(sent(NEW, &masked, &all), Err(error));
    let single = old(&json!({"ipv4addr": "192.168.0.1/32"}));
    assert_eq!(sent(OLD, &single, &networks).unwrap(), json!({"ipv4addr": "192.168.0.1"}));
    let both = old(&json!({"ipv4addr": "192.168.0.1/24", "msisdn": "441632960123"}));
    let error = Untranslatable::Prefix { kind: IdentifierKind::Ipv4Address };
    assert_eq!(sent(OLD, &both, &TranslationSettings::default()), Err(error));
    let number = json!({"msisdn": "+441632960123"});
    let numbers = TranslationSettings {
        identifiers: vec![IdentifierKind::PhoneNumber],
        ..TranslationSettings::default()
    };
    assert_eq!(sent(OLD, &both, &numbers).unwrap(), number);
}

#[test]
fn ipv6_networks_are_sent_only_if_allowed() {
    let wanted = |text: &str| old(&json!({ "ipv6addr": text }));
    let (strict, loose) = (
        TranslationSettings::default(),
        TranslationSettings { ipv6_prefix_as_address: true, ..TranslationSettings::default() },
    );
    let expected = |text| json!({ "ipv6Address": text });
    assert_eq!(sent(NEW, &wanted("2001:db8::1/128"), &strict).unwrap(), expected("2001:db8::1"));
    let error = Err(Untranslatable::Prefix { kind: IdentifierKind::Ipv6Address });
    assert_eq!(sent(NEW, &wanted("2001:db8::1/64"), &strict), error);
    assert_eq!(sent(NEW, &wanted("2001:db8::1/64"), &loose).unwrap(), expected("2001:db8::"));
    assert_eq!(sent(NEW, &wanted("2001:db8::/56"), &loose), error);
    let networks = TranslationSettings { allow_prefixes: true, ..TranslationSettings::default() };
    let network = json!({"ipv6addr": "2001:db8::/56"});
    assert_eq!(sent(OLD, &wanted("2001:db8::/56"), &networks).unwrap(), network);
    let network = expected("2001:db8::/56");
    assert_eq!(sent("camara-0.9.0", &wanted("2001:db8::/56"), &networks).unwrap(), network);
    assert_eq!(sent("camara-0.9.0", &wanted("2001:db8::/56"), &strict), error);
    assert_eq!(sent(NEW, &wanted("2001:db8::/56"), &networks), error);
}

#[test]
fn unsupported_identifiers_are_not_sent() {
    let wanted = new(&json!({"phoneNumber": "+441632960123", "networkAccessIdentifier": "a@b"}));
    let accepting =
        |kind| TranslationSettings { identifiers: vec![kind], ..TranslationSettings::default() };
    let number = json!({"phoneNumber": "+441632960123"});
    assert_eq!(sent(NEW, &wanted, &accepting(IdentifierKind::PhoneNumber)).unwrap(), number);
    let given = vec![IdentifierKind::PhoneNumber, IdentifierKind::NetworkAccessIdentifier];
    let error = Untranslatable::UnsupportedIdentifiers { given };
    assert_eq!(sent(NEW, &wanted, &accepting(IdentifierKind::Ipv6Address)), Err(error));
}

#[test]
fn profiles_are_mapped_to_the_operators_names() {
    let mut wanted = parse(NEW, &body(NEW)).unwrap();
    let profile = |wanted: &CreateRequest, settings: &TranslationSettings| {
        dialect(NEW).translate_complete(wanted, settings).map(|translated| translated.qos_profile)
    };
    assert_eq!(profile(&wanted, &TranslationSettings::default()).unwrap(), "QOS_E");
    let qos_profiles = BTreeMap::from([("video".to_owned(), "QCI_7".to_owned())]);
    let own = TranslationSettings { qos_profiles, ..TranslationSettings::default() };
    assert_eq!(profile(&wanted, &own), Err(Untranslatable::UnknownProfile));
    wanted.qos_profile = "video".to_owned();
    assert_eq!(profile(&wanted, &own).unwrap(), "QCI_7");
    assert_eq!(
        profile(&wanted, &TranslationSettings::default()),
        Err(Untranslatable::UnknownProfile)
    );
}

#[test]
fn long_durations_are_rejected_or_reduced() {
    let wanted = parse(NEW, &body(NEW)).unwrap();
    let hour = TranslationSettings { duration_s_max: 3600, ..TranslationSettings::default() };
    assert_eq!(
        dialect(NEW).translate_complete(&wanted, &hour),
        Err(Untranslatable::DurationTooLong { max_s: 3600 })
    );
    let cut = TranslationSettings { clamp_duration: true, ..hour };
    assert_eq!(dialect(NEW).translate_complete(&wanted, &cut).unwrap().duration_s, 3600);
    let longer = CreateRequest { duration_s: 86_401, ..wanted };
    let generous =
        TranslationSettings { duration_s_max: u32::MAX, ..TranslationSettings::default() };
    let error = Err(Untranslatable::DurationTooLong { max_s: 86_400 });
    assert_eq!(dialect(NEW).translate_complete(&longer, &generous), error);
}

#[test]
fn server_list_is_sent_only_as_one_network() {
    let translate = |list: &[&str]| {
        let server = ApplicationServer::Addresses(
            list.iter().map(|address| Verbatim::from_value(address.parse().unwrap())).collect(),
        );
        let wanted = CreateRequest { server, ..parse(NEW, &body(NEW)).unwrap() };
        dialect(NEW)
            .translate_complete(&wanted, &TranslationSettings::default())
            .map(|translated| address_texts(&translated))
    };
    let texts = |v4: &str| [Some(v4.to_owned()), None];
    assert_eq!(translate(&["198.51.100.7"]).unwrap(), texts("198.51.100.7"));
    assert_eq!(translate(&["198.51.100.7", "198.51.100.6"]).unwrap(), texts("198.51.100.6/31"));
    assert_eq!(
        translate(&["198.51.100.7", "198.51.100.8"]),
        Err(Untranslatable::UnsupportedServers)
    );
    let both = [Some("198.51.100.7".to_owned()), Some("2001:db8::1".to_owned())];
    assert_eq!(translate(&["198.51.100.7", "2001:db8::1"]).unwrap(), both);
    assert_eq!(translate(&[]), Err(Untranslatable::UnsupportedServers));
}

fn address_texts(wanted: &CreateRequest) -> [Option<String>; 2] {
    server::subnet_texts(&wanted.server)
}

#[test]
fn empty_port_list_is_rejected() {
    let nothing = Some(PortsSpec::default());
    let wanted = CreateRequest { server_ports: nothing, ..parse(NEW, &body(NEW)).unwrap() };
    assert_eq!(
        dialect(NEW).translate_complete(&wanted, &TranslationSettings::default()),
        Err(Untranslatable::EmptyPorts)
    );
}

#[test]
fn server_ipv6_is_lower_cased_with_its_host_bits() {
    let mut body = body(NEW);
    body["applicationServer"] =
        json!({"ipv4Address": "198.51.100.7/24", "ipv6Address": "2001:DB8::1/64"});
    let wanted = parse(NEW, &body).unwrap();
    let translated =
        dialect(OLD).translate_complete(&wanted, &TranslationSettings::default()).unwrap();
    let texts = [Some("198.51.100.7/24".to_owned()), Some("2001:db8::1/64".to_owned())];
    assert_eq!(address_texts(&translated), texts);
}

#[test]
fn device_of_another_family_is_represented_as_closely_as_possible() {
    let legacy = Device {
        external_id: Some("a@b".parse().unwrap()),
        ipv4: Some(DeviceIpv4::Legacy(Verbatim::from_value("203.0.113.9/32".parse().unwrap()))),
        ..Device::default()
    };
    let wanted = CreateRequest { device: Some(legacy), ..parse(OLD, &body(OLD)).unwrap() };
    let rendered: Value =
        serde_json::from_slice(&dialect(NEW).create_session_request(&wanted, None)).unwrap();
    let expected = json!({"networkAccessIdentifier": "a@b", "ipv4Address":
        {"publicAddress": "203.0.113.9", "privateAddress": "203.0.113.9"}});
    assert_eq!(rendered["device"], expected);
}
