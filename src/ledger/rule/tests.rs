use std::collections::HashSet;

use proptest::prelude::*;

use super::{
    super::{
        Party,
        claim::{Claim, KeyHasher},
        model::{Alike, alike, share_a_packet},
        sample::{any_asked, any_device, asked, booking, pairs, party, phone, user},
    },
    *,
};
use crate::qod::CreateSession;

fn verdict(
    mode: ConflictMode,
    one: &(Party, CreateSession),
    other: &(Party, CreateSession),
) -> Verdict {
    let hasher = KeyHasher::random();
    let claim = |(party, asked): &(Party, CreateSession)| {
        Claim::new(&hasher, party, &booking(asked.clone()))
    };
    let (a, b) = (claim(one), claim(other));
    judge(mode, (&a.keys, &a.flow), (&b.keys, &b.flow))
}

#[test]
fn the_truth_table_holds_in_both_orders() {
    let pairs = pairs();
    assert_eq!(pairs.len(), 32);
    assert_eq!(pairs.iter().map(|pair| &pair.name).collect::<HashSet<_>>().len(), 32);
    for pair in pairs {
        let expected = match &*pair.verdict {
            "conflict" => Verdict::Conflict,
            "free" => Verdict::Free,
            "unknown" => Verdict::Unknown,
            other => panic!("{other}"),
        };
        let mode = ConflictMode::FlowOverlap;
        assert_eq!(verdict(mode, &pair.one, &pair.other), expected, "{}", pair.name);
        assert_eq!(verdict(mode, &pair.other, &pair.one), expected, "{}, turned", pair.name);
    }
}

#[test]
fn modes_differ_in_what_they_ask_of_the_flows() {
    let wide = (party("c1"), asked(phone(1), "192.0.2.0/30"));
    let written_otherwise = (party("c1"), asked(phone(1), "192.0.2.3/30"));
    let narrow = (party("c1"), asked(phone(1), "192.0.2.1"));
    let beside = (party("c1"), asked(phone(1), "198.51.100.1"));
    let another = (party("c1"), asked(phone(2), "192.0.2.0/30"));
    let table = [
        (ConflictMode::FlowOverlap, [true, true, false]),
        (ConflictMode::ExactFlow, [true, false, false]),
        (ConflictMode::Device, [true, true, true]),
        (ConflictMode::UpstreamOnly, [false, false, false]),
    ];
    for (mode, expected) in table {
        for (other, conflicts) in [&written_otherwise, &narrow, &beside].into_iter().zip(expected) {
            assert_eq!(verdict(mode, &wide, other) == Verdict::Conflict, conflicts, "{mode:?}");
        }
        assert_eq!(verdict(mode, &wide, &another), Verdict::Free, "{mode:?}");
    }
}

#[test]
fn an_exact_flow_is_the_same_in_any_order_of_its_servers() {
    let list = |texts: [&str; 3]| {
        let addresses = texts.map(|text| crate::qod::Written::plain(text.parse().unwrap()));
        let server = crate::qod::ApplicationServer::Addresses(addresses.to_vec());
        (party("c1"), CreateSession { server, ..asked(phone(1), "192.0.2.1") })
    };
    let one = list(["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
    let other = list(["2001:db8::1", "192.0.2.2", "192.0.2.1"]);
    assert_eq!(verdict(ConflictMode::ExactFlow, &one, &other), Verdict::Conflict);
}

#[test]
fn a_list_of_servers_is_the_network_that_it_fills() {
    let list = |texts: &[&str]| {
        let address = |text: &&str| crate::qod::Written::plain(text.parse().unwrap());
        let addresses = texts.iter().map(address).collect();
        let server = crate::qod::ApplicationServer::Addresses(addresses);
        (party("c1"), CreateSession { server, ..asked(phone(1), "192.0.2.1") })
    };
    let network = (party("c2"), asked(phone(1), "192.0.2.2/31"));
    let filled = list(&["192.0.2.3", "192.0.2.2"]);
    let more = list(&["192.0.2.3", "192.0.2.4", "192.0.2.2"]);
    let beside = list(&["192.0.2.1", "192.0.2.4"]);
    for (mode, expected) in [
        (ConflictMode::FlowOverlap, [true, true, false]),
        (ConflictMode::ExactFlow, [true, false, false]),
    ] {
        for (listed, conflicts) in [&filled, &more, &beside].into_iter().zip(expected) {
            assert_eq!(verdict(mode, &network, listed) == Verdict::Conflict, conflicts, "{mode:?}");
            assert_eq!(verdict(mode, listed, &network) == Verdict::Conflict, conflicts, "{mode:?}");
        }
    }
}

fn any_party() -> impl Strategy<Value = Party> {
    prop_oneof![Just(party("c1")), Just(user("c1", "s1")), Just(user("c2", "s2"))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn it_says_what_the_model_says_in_both_orders(
        one in (any_party(), any_asked()),
        other in (any_party(), any_asked()),
    ) {
        let same = alike((&one.0, &one.1), (&other.0, &other.1));
        let expected = match (share_a_packet(&one.1, &other.1), same) {
            (false, _) | (_, Alike::No) => Verdict::Free,
            (true, Alike::Yes) => Verdict::Conflict,
            (true, Alike::Unknown) => Verdict::Unknown,
        };
        prop_assert_eq!(verdict(ConflictMode::FlowOverlap, &one, &other), expected);
        for mode in [ConflictMode::FlowOverlap, ConflictMode::ExactFlow, ConflictMode::Device] {
            prop_assert_eq!(verdict(mode, &one, &other), verdict(mode, &other, &one));
        }
    }

    #[test]
    fn a_named_device_is_the_same_as_itself(device in any_device()) {
        let keys = DeviceKeys::new(&KeyHasher::random(), Some(&device), None);
        let named = !keys.permanent.is_empty() || keys.v6.is_some();
        prop_assume!(named);
        prop_assert_eq!(same_device(&keys, &keys), SameDevice::Same);
    }
}
