use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

// Near each other, so that many are in one another.
fn net() -> impl Strategy<Value = Ipv4Net> {
    (any::<u16>(), 14_u8..=32, any::<bool>()).prop_map(|(bits, length, near)| {
        let bits = 0x0a00_0000 | u32::from(if near { bits & 0xff } else { bits });
        Ipv4Net::new(bits.into(), length).unwrap().trunc()
    })
}

fn nets() -> impl Strategy<Value = BTreeMap<Ipv4Net, u8>> {
    prop::collection::btree_map(net(), 0_u8..4, 0..400)
}

fn led_to(operator: &str) -> Target {
    Target::Operator(operator.into())
}

fn addresses(of: &BTreeMap<Ipv4Net, u8>) -> Addresses<Ipv4Net> {
    Addresses::new(of.iter().map(|(net, operator)| (*net, led_to(&operator.to_string()))).collect())
}

proptest! {
    #[test]
    fn a_network_is_whose_the_longest_around_it_and_all_inside_it_are(
        one in nets(),
        mut other in nets(),
        asked in prop::collection::vec(net(), 50),
    ) {
        other.retain(|net, _| !one.contains_key(net));
        let tables = [addresses(&one), addresses(&other)];
        let all: BTreeMap<Ipv4Net, u8> = one.iter().chain(&other).map(|(k, v)| (*k, *v)).collect();
        for net in asked.iter().chain(all.keys()) {
            let around = all.iter().filter(|(own, _)| own.contains(net));
            let around = around.max_by_key(|(own, _)| own.prefix_len()).map(|(_, whose)| *whose);
            let mut inside = all.iter().filter(|(own, _)| net.contains(*own));
            let split = inside.any(|(_, whose)| Some(*whose) != around);
            let expected = around.map(|whose| led_to(&whose.to_string()));
            let expected = if split { Lookup::Split } else { expected.as_ref().into() };
            prop_assert_eq!(Addresses::find(&tables.iter(), net), expected, "{}", net);
        }
    }

    #[test]
    fn a_clash_is_the_same_network_for_another_operator(one in nets(), other in nets()) {
        let clash = addresses(&one).clash(&addresses(&other));
        let differs = |net: &Ipv4Net| other.get(net).is_some_and(|whose| *whose != one[net]);
        prop_assert_eq!(clash.is_some(), one.keys().any(differs));
        prop_assert!(clash.is_none_or(|net| differs(&net)));
    }
}

#[test]
fn of_two_for_the_same_the_later_is_taken() {
    let net: Ipv4Net = "10.0.0.0/8".parse().unwrap();
    let routes = ["a", "b"].map(|operator| (net, led_to(operator)));
    let table = Addresses::new(routes.into());
    assert_eq!(Addresses::find(&[&table].into_iter(), &net), Lookup::Operator(&"b".into()));
    assert_eq!(table.len(), 1);
}
