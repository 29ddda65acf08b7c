use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

// Near each other, so that many are nested.
fn net() -> impl Strategy<Value = Ipv4Net> {
    (any::<u16>(), 14_u8..=32, any::<bool>()).prop_map(|(bits, length, near)| {
        let bits = 0x0a00_0000 | u32::from(if near { bits & 0xff } else { bits });
        Ipv4Net::new(bits.into(), length).unwrap().trunc()
    })
}

fn nets() -> impl Strategy<Value = BTreeMap<Ipv4Net, u8>> {
    prop::collection::btree_map(net(), 0_u8..4, 0..400)
}

fn target(operator: &str) -> Target {
    Target::Operator(operator.into())
}

fn addresses(of: &BTreeMap<Ipv4Net, u8>) -> Addresses<Ipv4Net> {
    Addresses::new(of.iter().map(|(net, operator)| (*net, target(&operator.to_string()))).collect())
}

proptest! {
    #[test]
    fn lookup_agrees_with_a_linear_search(
        one in nets(),
        mut other in nets(),
        queries in prop::collection::vec(net(), 50),
    ) {
        other.retain(|net, _| !one.contains_key(net));
        let tables = [addresses(&one), addresses(&other)];
        let all: BTreeMap<Ipv4Net, u8> = one.iter().chain(&other).map(|(k, v)| (*k, *v)).collect();
        for net in queries.iter().chain(all.keys()) {
            let around = all.iter().filter(|(own, _)| own.contains(net));
            let around = around.max_by_key(|(own, _)| own.prefix_len());
            let around = around.map(|(_, operator)| *operator);
            let mut inside = all.iter().filter(|(own, _)| net.contains(*own));
            let split = inside.any(|(_, operator)| Some(*operator) != around);
            let expected = around.map(|operator| target(&operator.to_string()));
            let expected = if split { Lookup::Split } else { expected.as_ref().into() };
            prop_assert_eq!(Addresses::find(&tables.iter(), net), expected, "{}", net);
        }
    }

    #[test]
    fn conflict_is_the_same_network_with_another_operator(one in nets(), other in nets()) {
        let conflict = addresses(&one).find_conflict(&addresses(&other));
        let differs = |net: &Ipv4Net| other.get(net).is_some_and(|operator| *operator != one[net]);
        prop_assert_eq!(conflict.is_some(), one.keys().any(differs));
        prop_assert!(conflict.is_none_or(|net| differs(&net)));
    }
}

#[test]
fn later_route_for_the_same_network_applies() {
    let net: Ipv4Net = "10.0.0.0/8".parse().unwrap();
    let routes = ["a", "b"].map(|operator| (net, target(operator)));
    let table = Addresses::new(routes.into());
    assert_eq!(Addresses::find(&[&table].into_iter(), &net), Lookup::Operator(&"b".into()));
    assert_eq!(table.len(), 1);
}
