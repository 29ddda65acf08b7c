//! Lookups over the kinds of identifier.

use super::*;
use crate::qod::{DeviceIpv4, Verbatim};

const NAI: &str = "me@iot.example.com";

fn device(text: &str) -> Device {
    text.parse().unwrap()
}

fn routes(matches: &[Match], order: &[Resolver]) -> Routes {
    let target = || Target::Operator("op".into());
    let routes =
        matches.iter().map(|matching| Route { matching: matching.clone(), target: target() });
    Routes::new(routes.collect(), order.to_vec(), Disagreement::First)
}

fn number_prefix() -> Match {
    Match::NumberPrefix("+44".parse().unwrap())
}

fn realm() -> Match {
    Match::Realm("example.org".parse().unwrap())
}

fn network(net: &str) -> Match {
    match net.parse().unwrap() {
        ipnet::IpNet::V4(net) => Match::Ipv4(net),
        ipnet::IpNet::V6(net) => Match::Ipv6(net),
    }
}

#[test]
fn device_without_a_routable_kind_of_identifier_is_unsupported() {
    let all = &Resolver::DEFAULT_ORDER;
    let unsupported = Err(NoOperator::UnsupportedIdentifiers);
    let no_route = Err(NoOperator::NoRoute);
    let find = |matches: &[Match], order: &[Resolver], device: &Device| {
        routes(matches, order).find(device).map(drop)
    };
    for (matches, name, expected) in [
        (vec![number_prefix()], NAI, unsupported),
        (vec![number_prefix()], "198.51.100.7", unsupported),
        (vec![number_prefix()], "+491510000001", no_route),
        (vec![realm()], NAI, no_route),
        (vec![realm()], "+441510000001", unsupported),
        (vec![network("192.0.2.0/24")], "198.51.100.7", no_route),
        (vec![network("192.0.2.0/24")], "2001:db8::1", unsupported),
        (vec![network("2001:db8:1::/48")], "2001:db8::1", no_route),
        (vec![network("2001:db8:1::/48")], NAI, unsupported),
        (vec![number_prefix(), realm()], NAI, no_route),
        (vec![], NAI, unsupported),
    ] {
        assert_eq!(find(&matches, all, &device(name)), expected, "{matches:?} {name}");
    }
    // One routable kind suffices.
    let nai = device(NAI).nai;
    let both = Device { nai, ..device("+491510000001") };
    assert_eq!(find(&[number_prefix()], all, &both), no_route);
    // A kind that is not in the order is not looked up.
    let numbers = &[Resolver::Number];
    assert_eq!(find(&[number_prefix(), realm()], numbers, &device(NAI)), unsupported);
    let external_id = device(NAI).nai;
    let external = Device { external_id, ..Device::default() };
    assert_eq!(find(&[realm()], all, &external), no_route);
    assert_eq!(find(&[number_prefix()], all, &external), unsupported);
    let exact = Match::Number("+441510000001".parse().unwrap());
    assert_eq!(find(&[exact], all, &device("+441510000002")), no_route);
    let legacy = Verbatim::from_value("198.51.100.0/24".parse().unwrap());
    let legacy = Device { ipv4: Some(DeviceIpv4::Legacy(legacy)), ..Device::default() };
    assert_eq!(find(&[realm()], all, &legacy), unsupported);
}

#[test]
fn fallback_finder_makes_its_kinds_of_identifier_routable() {
    const NUMBERS: &[IdentifierKind] = &[IdentifierKind::PhoneNumber];
    const NAMES: &[IdentifierKind] = &[IdentifierKind::NetworkAccessIdentifier];
    let find = |identifiers, number_prefixes: Option<&[&str]>, name: &str| {
        let number_prefixes = number_prefixes
            .map(|all| all.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        let fallback = FallbackFinder { finder: "f".into(), identifiers, number_prefixes };
        let routes = routes(&[], &Resolver::DEFAULT_ORDER).with_fallback_finders(vec![fallback]);
        routes.find(&device(name)).map(drop)
    };
    assert_eq!(find(NAMES, None, NAI), Ok(()));
    assert_eq!(find(NUMBERS, None, NAI), Err(NoOperator::UnsupportedIdentifiers));
    let portugal: Option<&[&str]> = Some(&["+351"]);
    assert_eq!(find(NUMBERS, portugal, "+441510000001"), Err(NoOperator::NoRoute));
    assert_eq!(find(NAMES, portugal, NAI), Err(NoOperator::UnsupportedIdentifiers));
    // By a route only.
    let number = "+441510000001";
    assert_eq!(find(NUMBERS, Some(&[]), number), Err(NoOperator::UnsupportedIdentifiers));
}
