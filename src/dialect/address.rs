//! Strict parsing of addresses, networks and phone numbers: every accepted text has one meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{cursor::BodyCursor, validation::ValidationErrors};
use crate::qod::{Nai, PhoneNumber, Verbatim};

/// Parses a phone number with an optional plus sign.
pub(super) fn phone(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<Verbatim<PhoneNumber>> {
    let expected =
        "expected an international phone number: 5 to 15 digits, the first of them not 0";
    cursor.parse(errors, expected, |text| {
        let number = PhoneNumber::with_optional_plus(text).ok()?;
        Some(Verbatim::from_text(number, text))
    })
}

/// Parses a phone number with a plus sign, as required from 0.11 on.
pub(super) fn phone_with_plus(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<Verbatim<PhoneNumber>> {
    let expected =
        "expected an international phone number: `+` and 5 to 15 digits, the first of them not 0";
    cursor.parse(errors, expected, |text| text.parse().ok().map(Verbatim::from_value))
}

/// Parses a network access identifier, or an external id, which has the same syntax.
pub(super) fn nai(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<Nai> {
    cursor.parse(errors, "expected 1 to 2048 printable characters", |text| text.parse().ok())
}

/// Parses a single IPv4 address.
pub(super) fn ipv4(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<Ipv4Addr> {
    cursor.parse(errors, "expected an IPv4 address such as 198.51.100.7", |text| text.parse().ok())
}

/// Parses an IPv4 address or network.
pub(super) fn ipv4_net(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<Verbatim<Ipv4Net>> {
    let expected = "expected an IPv4 address or network such as 198.51.100.0/24";
    cursor.parse(errors, expected, |text| {
        let (address, length) = address_and_length(text, 32)?;
        let net = Ipv4Net::new(address.parse().ok()?, length).ok()?;
        Some(Verbatim::from_text(net, text))
    })
}

/// Parses an IPv6 address or network.
pub(super) fn ipv6_net(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<Verbatim<Ipv6Net>> {
    let expected =
        "expected an IPv6 address or network such as 2001:db8::/64, not an IPv4-mapped one";
    cursor.parse(errors, expected, |text| {
        let (address, length) = address_and_length(text, 128)?;
        let net = Ipv6Net::new(ipv6_address(address)?, length).ok()?;
        Some(Verbatim::from_text(net, text))
    })
}

/// Parses a single IPv6 address.
pub(super) fn ipv6(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<Verbatim<Ipv6Net>> {
    let expected = "expected an IPv6 address such as 2001:db8::1, not an IPv4-mapped one";
    cursor.parse(errors, expected, |text| {
        let net = Ipv6Net::from(ipv6_address(text)?);
        Some(Verbatim::from_text(net, text))
    })
}

/// Parses a single address of either family.
pub(super) fn ip(
    cursor: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) -> Option<Verbatim<IpAddr>> {
    let expected = "expected an IPv4 or IPv6 address such as 198.51.100.7 or 2001:db8::1, not a \
                    network and not an IPv4-mapped address";
    cursor.parse(errors, expected, |text| {
        let v4 = text.parse().ok().map(IpAddr::V4);
        let address = v4.or_else(|| ipv6_address(text).map(IpAddr::V6))?;
        Some(Verbatim::from_text(address, text))
    })
}

/// A network in canonical notation: a single address has no prefix length.
pub(super) fn canonical_ipv4(net: Ipv4Net) -> Verbatim<Ipv4Net> {
    match net.prefix_len() {
        32 => Verbatim::from_text(net, &net.addr().to_string()),
        _ => Verbatim::from_value(net),
    }
}

/// A network in canonical notation: a single address has no prefix length.
pub(super) fn canonical_ipv6(net: Ipv6Net) -> Verbatim<Ipv6Net> {
    match net.prefix_len() {
        128 => Verbatim::from_text(net, &net.addr().to_string()),
        _ => Verbatim::from_value(net),
    }
}

/// Parses an IPv6 address. Rejects IPv4-mapped addresses: such a server or device would not be
/// found by its IPv4 address.
pub(super) fn ipv6_address(text: &str) -> Option<Ipv6Addr> {
    let address: Ipv6Addr = text.parse().ok()?;
    address.to_ipv4_mapped().is_none().then_some(address)
}

fn address_and_length(text: &str, length_max: u8) -> Option<(&str, u8)> {
    let Some((address, length)) = text.split_once('/') else { return Some((text, length_max)) };
    let is_decimal = length.bytes().all(|byte| byte.is_ascii_digit());
    let padded = length.len() > 1 && length.starts_with('0');
    let length = length.parse().ok().filter(|_| is_decimal && !padded)?;
    Some((address, length))
}
