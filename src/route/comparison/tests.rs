//! Comparisons of routes, against lookups of sample devices.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::route::{Disagreement, Resolver, Route};

fn matching(text: &str) -> Match {
    if let Some(number) = text.strip_prefix("number ") {
        return Match::Number(number.parse().unwrap());
    }
    match text.parse() {
        Ok(IpNet::V4(net)) => Match::Ipv4(net),
        Ok(IpNet::V6(net)) => Match::Ipv6(net),
        Err(_) if text.starts_with('+') => Match::NumberPrefix(text.parse().unwrap()),
        Err(_) => Match::Realm(text.parse().unwrap()),
    }
}

fn routes(entries: &[(&str, &str)]) -> Routes {
    let routes = entries.iter().map(|(text, operator)| Route {
        matching: matching(text),
        target: Target::Operator((*operator).into()),
    });
    Routes::new(routes.collect(), Resolver::DEFAULT_ORDER.to_vec(), Disagreement::First)
}

/// The changes as `range: from > to`, where `-` is no route.
fn changes(old: &[(&str, &str)], new: &[(&str, &str)]) -> Vec<String> {
    let name =
        |target: Option<Target>| target.map_or_else(|| "-".to_owned(), |target| target.to_string());
    let moved = routes(old).moved_devices(&routes(new));
    let lines = moved.into_iter().flat_map(|MovedDevices { from, to, first, .. }| {
        let targets = format!("{} > {}", name(from), name(to));
        first.into_iter().map(move |range| format!("{range}: {targets}")).collect::<Vec<_>>()
    });
    lines.collect()
}

#[test]
fn order_and_notation_make_no_difference() {
    let old = [("+49", "a"), ("+4915", "b"), ("192.0.2.0/24", "a"), ("op.example", "a")];
    let mut new = old;
    new.reverse();
    assert_eq!(changes(&old, &new), [""; 0]);
    let digits: Vec<String> = (0..10).map(|digit| format!("+49{digit}")).collect();
    let split: Vec<_> = digits.iter().map(|prefix| (prefix.as_str(), "a")).collect();
    assert_eq!(changes(&[("+49", "a")], &split), [""; 0]);
    assert_eq!(
        changes(&[("192.0.2.0/24", "a")], &[("192.0.2.0/25", "a"), ("192.0.2.128/25", "a")]),
        [""; 0]
    );
}

#[test]
fn adjacent_ranges_are_merged_and_inner_ranges_are_excepted() {
    assert_eq!(changes(&[("+4915", "a")], &[("+4915", "b")]), ["+4915: a > b"]);
    let two = |operator| [("+49150", operator), ("+49151", operator)];
    assert_eq!(changes(&two("a"), &two("b")), ["+49150 to +49151: a > b"]);
    assert_eq!(
        changes(&[("+49", "a"), ("+4915", "c")], &[("+49", "b"), ("+4915", "c")]),
        ["+4900 to +4914: a > b", "+4916 to +4999: a > b"]
    );
    assert_eq!(
        changes(&[], &[("::/0", "a"), ("0.0.0.0/0", "a")]),
        ["0.0.0.0/0: - > a", "::/0: - > a"]
    );
    assert_eq!(
        changes(&[("10.0.0.0/8", "a")], &[("10.0.0.0/8", "a"), ("10.0.0.0/32", "b")]),
        ["10.0.0.0/32: a > b"]
    );
    assert_eq!(
        changes(&[("10.0.0.0/30", "a")], &[("10.0.0.0/32", "a")]),
        ["10.0.0.1 to 10.0.0.3: a > -"]
    );
}

#[test]
fn whole_numbers_are_masked_and_move_with_their_prefix() {
    let old = [("+49", "a"), ("number +4915112345678", "a"), ("number +4915112345600", "c")];
    assert_eq!(changes(&old, &[("+49", "b")]), ["+49: a > b", "+49…00: c > b"]);
}

#[test]
fn realms_move_with_their_parent_domain() {
    let old = [("op.example", "a"), ("iot.op.example", "a"), ("x.op.example", "c")];
    assert_eq!(changes(&old, &[("op.example", "b"), ("x.op.example", "c")]), ["op.example: a > b"]);
    assert_eq!(changes(&old, &old[..2]), ["x.op.example: c > a"]);
}

#[test]
fn ranges_are_bounded() {
    let prefixes: Vec<String> = (0..50).map(|index| format!("+49{:02}", index * 2)).collect();
    let all: Vec<_> = prefixes.iter().map(|prefix| (prefix.as_str(), "a")).collect();
    let moved = routes(&[]).moved_devices(&routes(&all));
    assert_eq!((moved.len(), moved[0].count, moved[0].first.len()), (1, 50, RANGES_MAX));
}

fn prefixes() -> impl Strategy<Value = BTreeMap<u64, u8>> {
    proptest::collection::btree_map(1_u64..3000, 0_u8..3, 0..12)
}

fn prefix_routes(entries: &BTreeMap<u64, u8>) -> Routes {
    let entries: Vec<_> =
        entries.iter().map(|(digits, to)| (format!("+{digits}"), format!("op-{to}"))).collect();
    let entries: Vec<_> = entries.iter().map(|(one, to)| (one.as_str(), to.as_str())).collect();
    routes(&entries)
}

fn is_in(range: &str, number: &str) -> bool {
    let (first, last) = range.split_once(" to ").unwrap_or((range, range));
    number.get(..first.len()).is_some_and(|head| (first..=last).contains(&head))
}

fn networks() -> impl Strategy<Value = BTreeMap<(u8, u8), u8>> {
    proptest::collection::btree_map((any::<u8>(), 24_u8..=32), 0_u8..3, 0..10)
}

fn network_routes(entries: &BTreeMap<(u8, u8), u8>) -> Routes {
    let routes = entries.iter().map(|((host, length), to)| Route {
        matching: Match::Ipv4(Ipv4Net::new([192, 0, 2, *host].into(), *length).unwrap().trunc()),
        target: Target::Operator(format!("op-{to}").as_str().into()),
    });
    Routes::new(routes.collect(), Resolver::DEFAULT_ORDER.to_vec(), Disagreement::First)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn number_ranges_agree_with_lookups(old in prefixes(), new in prefixes()) {
        let (old, new) = (prefix_routes(&old), prefix_routes(&new));
        let moved = old.moved_devices(&new);
        prop_assume!(moved.iter().all(|moved| moved.count <= RANGES_MAX));
        for sample in (1000..10_000_u64).step_by(7) {
            let number: PhoneNumber = format!("+{sample}55555").parse().unwrap();
            let (from, to) = (old.target_of(number), new.target_of(number));
            let mut ranges = moved.iter().flat_map(|moved| {
                moved.first.iter().map(move |range| (range, &moved.from, &moved.to))
            });
            let found = ranges.find(|(range, ..)| is_in(range, &number.to_string()));
            if let Some((_, before, after)) = found {
                prop_assert_eq!((before, after), (&from, &to));
            } else {
                prop_assert_eq!(from, to);
            }
        }
    }

    #[test]
    fn network_ranges_agree_with_lookups(old in networks(), new in networks()) {
        let (old, new) = (network_routes(&old), network_routes(&new));
        let segments = [old.ipv4_segments(), new.ipv4_segments()];
        let changed: Vec<_> = changed_segments(&segments).collect();
        for host in 0..=255_u8 {
            let address = Ipv4Addr::from([192, 0, 2, host]);
            let target = |routes: &Routes| {
                let device = address.to_string().parse().unwrap();
                match routes.lookup_kind(routes.all(), &device, crate::qod::IdentifierKind::Ipv4Address) {
                    Lookup::Operator(operator) => Some(Target::Operator(operator.clone())),
                    _ => None,
                }
            };
            let point = u128::from(u32::from(address));
            let change = changed.iter().find(|change| {
                (change.segment.first..=change.segment.last).contains(&point)
            });
            let expected = (target(&old), target(&new));
            if let Some(change) = change {
                let (from, to) = change.targets;
                prop_assert_eq!((from.cloned(), to.cloned()), expected);
            } else {
                prop_assert_eq!(expected.0, expected.1);
            }
        }
    }

    #[test]
    fn comparison_mirrors_in_the_other_direction(old in prefixes(), new in prefixes()) {
        let (old, new) = (prefix_routes(&old), prefix_routes(&new));
        prop_assert_eq!(old.moved_devices(&old), vec![]);
        let mut there = old.moved_devices(&new);
        let mut back = new.moved_devices(&old);
        for moved in &mut back {
            std::mem::swap(&mut moved.from, &mut moved.to);
        }
        let key = |moved: &MovedDevices| format!("{moved:?}");
        there.sort_by_key(key);
        back.sort_by_key(key);
        prop_assert_eq!(there, back);
    }
}
