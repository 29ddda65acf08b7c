//! What operators are asked for, identifier by identifier.

use super::*;
use crate::qod::{
    ApplicationServer, Device, DeviceIpv4, IdentifierKind, PortRange, PortsSpec, Written,
};

const OLD: &str = "camara-0.8.1";
const NEW: &str = "camara-0.10.1";

fn old(ue_id: &Value) -> CreateSession {
    let mut body = body(OLD);
    body["ueId"] = ue_id.clone();
    parse(OLD, &body).unwrap()
}

fn new(device: &Value) -> CreateSession {
    let mut body = body(NEW);
    body["device"] = device.clone();
    parse(NEW, &body).unwrap()
}

// The device, as the operator is told of it.
fn sent(operator: &str, wanted: &CreateSession, fitting: &Fitting) -> Result<Value, Unfit> {
    let operator = dialect(operator);
    let fitted = operator.fit(wanted, fitting)?;
    let body: Value =
        serde_json::from_slice(&operator.create_session_request(&fitted, None)).unwrap();
    Ok(body.get("ueId").or_else(|| body.get("device")).unwrap().clone())
}

#[test]
fn a_number_gets_its_plus() {
    let wanted = old(&json!({"msisdn": "441632960123"}));
    let fitting = Fitting::default();
    let number = json!({"phoneNumber": "+441632960123"});
    assert_eq!(sent(NEW, &wanted, &fitting).unwrap(), number);
    assert_eq!(sent(OLD, &wanted, &fitting).unwrap(), json!({"msisdn": "+441632960123"}));
}

#[test]
fn external_ids_are_names_only_where_the_operator_says_so() {
    let (strict, loose) =
        (Fitting::default(), Fitting { external_id_as_nai: true, ..Fitting::default() });
    let (name, id) = (json!({"networkAccessIdentifier": "a@b"}), json!({"externalId": "a@b"}));
    for (operator, wanted, told, given) in [
        (NEW, old(&id), name.clone(), IdentifierKind::ExternalId),
        (OLD, new(&name), id.clone(), IdentifierKind::NetworkAccessIdentifier),
    ] {
        let unfit = Unfit::Identifiers { given: vec![given] };
        assert_eq!(sent(operator, &wanted, &strict), Err(unfit));
        assert_eq!(sent(operator, &wanted, &loose).unwrap(), told);
    }
    assert_eq!(sent(NEW, &new(&name), &strict).unwrap(), name);
    assert_eq!(sent(OLD, &old(&id), &strict).unwrap(), id);
}

#[test]
fn a_device_alone_is_fitted_as_in_a_wish() {
    let loose = Fitting { external_id_as_nai: true, ..Fitting::default() };
    let wanted = new(&json!({"networkAccessIdentifier": "a@b"}));
    let device = wanted.device.as_ref().unwrap();
    let fitted = dialect(OLD).fit(&wanted, &loose).unwrap().device.unwrap();
    assert_eq!(dialect(OLD).fit_device(device, &loose).unwrap(), fitted);
    assert_eq!(fitted.external_id, device.nai);
    let given = vec![IdentifierKind::NetworkAccessIdentifier];
    let refused = dialect(OLD).fit_device(device, &Fitting::default());
    assert_eq!(refused, Err(Unfit::Identifiers { given }));
}

#[test]
fn an_address_alone_needs_a_policy_to_become_two() {
    let mut wanted = old(&json!({"ipv4addr": "203.0.113.9"}));
    let fitting = |legacy_ipv4| Fitting { legacy_ipv4, ..Fitting::default() };
    let refused = Err(Unfit::Ipv4NotExpressible);
    assert_eq!(sent(NEW, &wanted, &fitting(LegacyIpv4::Refuse)), refused);
    let two = json!({"ipv4Address":
        {"publicAddress": "203.0.113.9", "privateAddress": "203.0.113.9"}});
    assert_eq!(sent(NEW, &wanted, &fitting(LegacyIpv4::PublicIsPrivate)).unwrap(), two);
    let with_port = fitting(LegacyIpv4::PublicWithDevicePort);
    assert_eq!(sent(NEW, &wanted, &with_port), refused);
    wanted.device_ports = Some(PortsSpec { ranges: Vec::new(), ports: vec![40_123] });
    let port = json!({"ipv4Address": {"publicAddress": "203.0.113.9", "publicPort": 40_123}});
    assert_eq!(sent(NEW, &wanted, &with_port).unwrap(), port);
    let range = vec![PortRange { from: 40_123, to: 40_124 }];
    wanted.device_ports = Some(PortsSpec { ranges: range, ports: Vec::new() });
    assert_eq!(sent(NEW, &wanted, &with_port), refused);
}

#[test]
fn two_addresses_become_one_if_they_are_one() {
    let pair = |private| {
        json!({"ipv4Address":
        {"publicAddress": "203.0.113.9", "privateAddress": private}})
    };
    let strict = Fitting::default();
    let told = |address| json!({"ipv4addr": address});
    assert_eq!(sent(OLD, &new(&pair("203.0.113.9")), &strict).unwrap(), told("203.0.113.9"));
    let refused = Err(Unfit::Ipv4NotExpressible);
    assert_eq!(sent(OLD, &new(&pair("10.0.0.1")), &strict), refused);
    let loose = Fitting { private_ipv4_as_legacy: true, ..Fitting::default() };
    assert_eq!(sent(OLD, &new(&pair("10.0.0.1")), &loose).unwrap(), told("10.0.0.1"));
}

#[test]
fn a_public_port_can_stand_for_the_devices_ports() {
    let mut wanted =
        new(&json!({"ipv4Address": {"publicAddress": "203.0.113.9", "publicPort": 40_123}}));
    assert_eq!(sent(OLD, &wanted, &Fitting::default()), Err(Unfit::Ipv4NotExpressible));
    let fitting = Fitting { legacy_ipv4: LegacyIpv4::PublicWithDevicePort, ..Fitting::default() };
    let fitted = dialect(OLD).fit(&wanted, &fitting).unwrap();
    assert_eq!(fitted.device_ports.unwrap().ports, [40_123]);
    // With a number beside it the flow need not be narrowed.
    wanted.device.as_mut().unwrap().phone = Some(Written::plain("+441632960123".parse().unwrap()));
    let fitted = dialect(OLD).fit(&wanted, &fitting).unwrap();
    assert_eq!((fitted.device_ports, fitted.device.unwrap().ipv4), (None, None));
}

#[test]
fn masks_of_devices() {
    let masked = old(&json!({"ipv4addr": "192.168.0.1/24"}));
    let unfit = Unfit::Mask { kind: IdentifierKind::Ipv4Address };
    assert_eq!(sent(OLD, &masked, &Fitting::default()), Err(unfit.clone()));
    assert!(unfit.to_string().contains("`ipv4Address` has a mask"));
    let masks = Fitting { device_masks: true, ..Fitting::default() };
    assert_eq!(sent(OLD, &masked, &masks).unwrap(), json!({"ipv4addr": "192.168.0.1/24"}));
    let all = Fitting { legacy_ipv4: LegacyIpv4::PublicIsPrivate, ..masks.clone() };
    assert_eq!(sent(NEW, &masked, &all), Err(unfit));
    let single = old(&json!({"ipv4addr": "192.168.0.1/32"}));
    assert_eq!(sent(OLD, &single, &masks).unwrap(), json!({"ipv4addr": "192.168.0.1"}));
    let both = old(&json!({"ipv4addr": "192.168.0.1/24", "msisdn": "441632960123"}));
    let unfit = Unfit::Mask { kind: IdentifierKind::Ipv4Address };
    assert_eq!(sent(OLD, &both, &Fitting::default()), Err(unfit));
    let number = json!({"msisdn": "+441632960123"});
    let numbers = Fitting { identifiers: vec![IdentifierKind::PhoneNumber], ..Fitting::default() };
    assert_eq!(sent(OLD, &both, &numbers).unwrap(), number);
}

#[test]
fn masks_of_ipv6_devices() {
    let wanted = |text: &str| old(&json!({ "ipv6addr": text }));
    let (strict, loose) =
        (Fitting::default(), Fitting { ipv6_prefix_as_address: true, ..Fitting::default() });
    let told = |text| json!({ "ipv6Address": text });
    assert_eq!(sent(NEW, &wanted("2001:db8::1/128"), &strict).unwrap(), told("2001:db8::1"));
    let unfit = Err(Unfit::Mask { kind: IdentifierKind::Ipv6Address });
    assert_eq!(sent(NEW, &wanted("2001:db8::1/64"), &strict), unfit);
    assert_eq!(sent(NEW, &wanted("2001:db8::1/64"), &loose).unwrap(), told("2001:db8::"));
    assert_eq!(sent(NEW, &wanted("2001:db8::/56"), &loose), unfit);
    let masks = Fitting { device_masks: true, ..Fitting::default() };
    let network = json!({"ipv6addr": "2001:db8::/56"});
    assert_eq!(sent(OLD, &wanted("2001:db8::/56"), &masks).unwrap(), network);
    let network = told("2001:db8::/56");
    assert_eq!(sent("camara-0.9.0", &wanted("2001:db8::/56"), &masks).unwrap(), network);
    assert_eq!(sent("camara-0.9.0", &wanted("2001:db8::/56"), &strict), unfit);
    assert_eq!(sent(NEW, &wanted("2001:db8::/56"), &masks), unfit);
}

#[test]
fn identifiers_that_an_operator_does_not_take_are_not_sent() {
    let wanted = new(&json!({"phoneNumber": "+441632960123", "networkAccessIdentifier": "a@b"}));
    let takes = |kind| Fitting { identifiers: vec![kind], ..Fitting::default() };
    let number = json!({"phoneNumber": "+441632960123"});
    assert_eq!(sent(NEW, &wanted, &takes(IdentifierKind::PhoneNumber)).unwrap(), number);
    let given = vec![IdentifierKind::PhoneNumber, IdentifierKind::NetworkAccessIdentifier];
    let unfit = Unfit::Identifiers { given };
    assert_eq!(sent(NEW, &wanted, &takes(IdentifierKind::Ipv6Address)), Err(unfit));
    let nobody = CreateSession { device: None, ..wanted };
    assert_eq!(sent(NEW, &nobody, &Fitting::default()), Err(Unfit::DeviceMissing));
}

#[test]
fn profiles() {
    let mut wanted = parse(NEW, &body(NEW)).unwrap();
    let profile = |wanted: &CreateSession, fitting: &Fitting| {
        dialect(NEW).fit(wanted, fitting).map(|fitted| fitted.qos_profile)
    };
    assert_eq!(profile(&wanted, &Fitting::default()).unwrap(), "QOS_E");
    let qos_profiles = BTreeMap::from([("video".to_owned(), "QCI_7".to_owned())]);
    let own = Fitting { qos_profiles, ..Fitting::default() };
    assert_eq!(profile(&wanted, &own), Err(Unfit::Profile));
    wanted.qos_profile = "video".to_owned();
    assert_eq!(profile(&wanted, &own).unwrap(), "QCI_7");
    assert_eq!(profile(&wanted, &Fitting::default()), Err(Unfit::Profile));
}

#[test]
fn durations_are_refused_or_cut() {
    let wanted = parse(NEW, &body(NEW)).unwrap();
    let hour = Fitting { duration_s_max: 3600, ..Fitting::default() };
    assert_eq!(dialect(NEW).fit(&wanted, &hour), Err(Unfit::Duration { max_s: 3600 }));
    let cut = Fitting { duration_cap: true, ..hour };
    assert_eq!(dialect(NEW).fit(&wanted, &cut).unwrap().duration_s, 3600);
    let longer = CreateSession { duration_s: 86_401, ..wanted };
    let generous = Fitting { duration_s_max: u32::MAX, ..Fitting::default() };
    let unfit = Err(Unfit::Duration { max_s: 86_400 });
    assert_eq!(dialect(NEW).fit(&longer, &generous), unfit);
}

#[test]
fn lists_of_servers_that_are_one_network() {
    let fit = |list: &[&str]| {
        let server = ApplicationServer::Addresses(
            list.iter().map(|address| Written::plain(address.parse().unwrap())).collect(),
        );
        let wanted = CreateSession { server, ..parse(NEW, &body(NEW)).unwrap() };
        dialect(NEW).fit(&wanted, &Fitting::default()).map(|fitted| address_texts(&fitted))
    };
    let texts = |v4: &str| [Some(v4.to_owned()), None];
    assert_eq!(fit(&["198.51.100.7"]).unwrap(), texts("198.51.100.7"));
    assert_eq!(fit(&["198.51.100.7", "198.51.100.6"]).unwrap(), texts("198.51.100.6/31"));
    assert_eq!(fit(&["198.51.100.7", "198.51.100.8"]), Err(Unfit::Servers));
    let both = [Some("198.51.100.7".to_owned()), Some("2001:db8::1".to_owned())];
    assert_eq!(fit(&["198.51.100.7", "2001:db8::1"]).unwrap(), both);
    assert_eq!(fit(&[]), Err(Unfit::Servers));
}

fn address_texts(wanted: &CreateSession) -> [Option<String>; 2] {
    address::server_texts(&wanted.server)
}

#[test]
fn a_list_of_no_ports_is_not_every_port() {
    let nothing = Some(PortsSpec::default());
    let wanted = CreateSession { server_ports: nothing, ..parse(NEW, &body(NEW)).unwrap() };
    assert_eq!(dialect(NEW).fit(&wanted, &Fitting::default()), Err(Unfit::Ports));
}

#[test]
fn a_servers_ipv6_is_put_in_small_letters_and_its_host_bits_stay() {
    let mut body = body(NEW);
    body["applicationServer"] =
        json!({"ipv4Address": "198.51.100.7/24", "ipv6Address": "2001:DB8::1/64"});
    let wanted = parse(NEW, &body).unwrap();
    let fitted = dialect(OLD).fit(&wanted, &Fitting::default()).unwrap();
    let texts = [Some("198.51.100.7/24".to_owned()), Some("2001:db8::1/64".to_owned())];
    assert_eq!(address_texts(&fitted), texts);
}

#[test]
fn another_familys_device_is_shown_as_near_as_can_be() {
    let legacy = Device {
        external_id: Some("a@b".parse().unwrap()),
        ipv4: Some(DeviceIpv4::Legacy(Written::plain("203.0.113.9/32".parse().unwrap()))),
        ..Device::default()
    };
    let wanted = CreateSession { device: Some(legacy), ..parse(OLD, &body(OLD)).unwrap() };
    let shown: Value =
        serde_json::from_slice(&dialect(NEW).create_session_request(&wanted, None)).unwrap();
    let expected = json!({"networkAccessIdentifier": "a@b", "ipv4Address":
        {"publicAddress": "203.0.113.9", "privateAddress": "203.0.113.9"}});
    assert_eq!(shown["device"], expected);
}
