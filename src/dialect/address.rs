//! Addresses, networks and numbers, read strictly: one text, one meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{
    descriptor::{Rule, Servers},
    fault::Faults,
    node::Node,
};
use crate::qod::{ApplicationServer, DeviceIpv4, Kind, Nai, PhoneNumber, Written};

/// From 1.2 on: the member that has a list of servers.
pub(super) const LIST_FIELD: &str = "ipAddresses";

const LISTED_MAX: usize = 16;

/// A phone number, its plus optional.
pub(super) fn phone(node: &Node<'_>, faults: &mut Faults) -> Option<Written<PhoneNumber>> {
    let expected =
        "expected an international phone number: 5 to 15 digits, the first of them not 0";
    node.parsed(faults, expected, |text| {
        let number = PhoneNumber::with_optional_plus(text).ok()?;
        Some(Written::from_text(number, text))
    })
}

/// A phone number with its plus, as from 0.11 on.
pub(super) fn phone_with_plus(
    node: &Node<'_>,
    faults: &mut Faults,
) -> Option<Written<PhoneNumber>> {
    let expected =
        "expected an international phone number: `+` and 5 to 15 digits, the first of them not 0";
    node.parsed(faults, expected, |text| text.parse().ok().map(Written::plain))
}

/// A network access identifier, or what looks the same.
pub(super) fn nai(node: &Node<'_>, faults: &mut Faults) -> Option<Nai> {
    node.parsed(faults, "expected 1 to 2048 printable characters", |text| text.parse().ok())
}

/// An IPv4 address that stands alone.
pub(super) fn ipv4(node: &Node<'_>, faults: &mut Faults) -> Option<Ipv4Addr> {
    node.parsed(faults, "expected an IPv4 address such as 198.51.100.7", |text| text.parse().ok())
}

/// An IPv4 address, or a network of them.
pub(super) fn ipv4_net(node: &Node<'_>, faults: &mut Faults) -> Option<Written<Ipv4Net>> {
    let expected = "expected an IPv4 address or network such as 198.51.100.0/24";
    node.parsed(faults, expected, |text| {
        let (address, length) = address_and_length(text, 32)?;
        let net = Ipv4Net::new(address.parse().ok()?, length).ok()?;
        Some(Written::from_text(net, text))
    })
}

/// An IPv6 address, or a network of them.
pub(super) fn ipv6_net(node: &Node<'_>, faults: &mut Faults) -> Option<Written<Ipv6Net>> {
    let expected = "expected an IPv6 address or network such as 2001:db8::/64, not of IPv4";
    node.parsed(faults, expected, |text| {
        let (address, length) = address_and_length(text, 128)?;
        let net = Ipv6Net::new(ipv6_address(address)?, length).ok()?;
        Some(Written::from_text(net, text))
    })
}

/// An IPv6 address that stands alone.
pub(super) fn ipv6(node: &Node<'_>, faults: &mut Faults) -> Option<Written<Ipv6Net>> {
    let expected = "expected an IPv6 address such as 2001:db8::1, not of IPv4";
    node.parsed(faults, expected, |text| {
        let net = Ipv6Net::from(ipv6_address(text)?);
        Some(Written::from_text(net, text))
    })
}

/// A server: one address or network of each family, at least one of them; or a list of addresses.
/// No other member may stand beside them: a server that is left out would be all servers.
pub(super) fn server(
    node: &Node<'_>,
    names: [&str; 2],
    rule: &Rule,
    faults: &mut Faults,
) -> Option<ApplicationServer> {
    let listed = rule.servers == Servers::SubnetsOrList;
    if let Some(list) = node.member(LIST_FIELD).filter(|_| listed) {
        node.only(&[LIST_FIELD], faults);
        return Some(ApplicationServer::Addresses(addresses(&list, faults)));
    }
    node.only(&names, faults);
    node.any_of(&names, faults);
    let [v4, v6] = names;
    let ipv4 = node.member(v4).and_then(|address| ipv4_net(&address, faults));
    let ipv6 = node.member(v6).and_then(|address| ipv6_net(&address, faults));
    let server = ApplicationServer::Subnets { ipv4, ipv6 };
    (ipv4.is_some() || ipv6.is_some()).then_some(server)
}

// One address twice, however it is written, is no list of servers.
fn addresses(list: &Node<'_>, faults: &mut Faults) -> Vec<Written<IpAddr>> {
    let mut known: Vec<Written<IpAddr>> = Vec::new();
    for element in list.elements(faults).take(LISTED_MAX + 1) {
        let Some(address) = address(&element, faults) else { continue };
        if known.iter().any(|other| other.value == address.value) {
            let expected = "expected a list without an address that is there twice";
            faults.meaning(list.place, Kind::InvalidArgument, expected);
        }
        known.push(address);
    }
    if known.len() > LISTED_MAX {
        faults.shape(list.place, format!("expected a list of at most {LISTED_MAX} elements"));
    }
    known
}

// Of whichever family.
fn address(node: &Node<'_>, faults: &mut Faults) -> Option<Written<IpAddr>> {
    let expected = "expected an address such as 198.51.100.7 or 2001:db8::1, not a network and not of IPv4 in \
         IPv6";
    node.parsed(faults, expected, |text| {
        let v4 = text.parse().ok().map(IpAddr::V4);
        let address = v4.or_else(|| ipv6_address(text).map(IpAddr::V6))?;
        Some(Written::from_text(address, text))
    })
}

/// A device's IPv4 address, alone: the one that the operator knows it by, if both are known.
pub(super) fn device_text(ipv4: &DeviceIpv4) -> String {
    match ipv4 {
        DeviceIpv4::Legacy(net) => net.text(),
        DeviceIpv4::Public { public, private, .. } => private.unwrap_or(*public).to_string(),
    }
}

/// The texts of a server's IPv4 and IPv6 networks. A list of addresses is shown by the first of
/// each family to who has no words for it; no operator is: `fit` makes networks of it, or refuses.
pub(super) fn server_texts(server: &ApplicationServer) -> [Option<String>; 2] {
    match server {
        ApplicationServer::Subnets { ipv4, ipv6 } => {
            [ipv4.as_ref().map(Written::text), ipv6.as_ref().map(Written::text)]
        }
        ApplicationServer::Addresses(list) => {
            let first = |v4| list.iter().find(|address| address.value.is_ipv4() == v4);
            [first(true), first(false)].map(|address| address.map(Written::text))
        }
    }
}

/// A network as we write it: without its length, if it is a single address.
pub(super) fn plain_ipv4(net: Ipv4Net) -> Written<Ipv4Net> {
    match net.prefix_len() {
        32 => Written::from_text(net, &net.addr().to_string()),
        _ => Written::plain(net),
    }
}

/// A network as we write it: without its length, if it is a single address.
pub(super) fn plain_ipv6(net: Ipv6Net) -> Written<Ipv6Net> {
    match net.prefix_len() {
        128 => Written::from_text(net, &net.addr().to_string()),
        _ => Written::plain(net),
    }
}

/// An IPv6 address. An IPv4-mapped one would be the same server in another family, and in no index of
/// ours.
pub(super) fn ipv6_address(text: &str) -> Option<Ipv6Addr> {
    let address: Ipv6Addr = text.parse().ok()?;
    address.to_ipv4_mapped().is_none().then_some(address)
}

fn address_and_length(text: &str, whole: u8) -> Option<(&str, u8)> {
    let Some((address, length)) = text.split_once('/') else { return Some((text, whole)) };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    let padded = length.len() > 1 && length.starts_with('0');
    let length = length.parse().ok().filter(|_| plain && !padded)?;
    Some((address, length))
}
