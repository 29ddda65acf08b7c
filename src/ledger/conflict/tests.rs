use std::collections::HashSet;

use proptest::prelude::*;

use super::{
    super::{
        Requester,
        claim::{Claim, KeyHasher},
        tests::{
            model::{DeviceMatch, match_devices, share_a_packet},
            sample::{
                any_create_request, any_device, create_request, party, phone, reservation_request,
                user, vector_pairs,
            },
        },
    },
    *,
};
use crate::qod::CreateRequest;

fn decide_pair(
    mode: ConflictMode,
    one: &(Requester, CreateRequest),
    other: &(Requester, CreateRequest),
) -> ConflictDecision {
    let hasher = KeyHasher::random();
    let claim = |(requester, request): &(Requester, CreateRequest)| {
        Claim::new(&hasher, requester, &reservation_request(request.clone()))
    };
    let (a, b) = (claim(one), claim(other));
    decide(mode, (&a.keys, &a.flow), (&b.keys, &b.flow))
}

#[test]
fn truth_table_holds_in_both_orders() {
    let pairs = vector_pairs();
    assert_eq!(pairs.len(), 32);
    assert_eq!(pairs.iter().map(|pair| &pair.name).collect::<HashSet<_>>().len(), 32);
    for pair in pairs {
        let expected = match &*pair.expected {
            "conflict" => ConflictDecision::Conflict,
            "free" => ConflictDecision::NoConflict,
            "unknown" => ConflictDecision::Unknown,
            other => panic!("{other}"),
        };
        let mode = ConflictMode::FlowOverlap;
        assert_eq!(decide_pair(mode, &pair.one, &pair.other), expected, "{}", pair.name);
        assert_eq!(decide_pair(mode, &pair.other, &pair.one), expected, "{}, reversed", pair.name);
    }
}

#[test]
fn conflict_mode_determines_which_flows_conflict() {
    let wide = (party("c1"), create_request(phone(1), "192.0.2.0/30"));
    let same_network = (party("c1"), create_request(phone(1), "192.0.2.3/30"));
    let narrow = (party("c1"), create_request(phone(1), "192.0.2.1"));
    let adjacent = (party("c1"), create_request(phone(1), "198.51.100.1"));
    let another = (party("c1"), create_request(phone(2), "192.0.2.0/30"));
    let table = [
        (ConflictMode::FlowOverlap, [true, true, false]),
        (ConflictMode::ExactFlow, [true, false, false]),
        (ConflictMode::Device, [true, true, true]),
        (ConflictMode::UpstreamOnly, [false, false, false]),
    ];
    for (mode, expected) in table {
        for (other, conflicts) in [&same_network, &narrow, &adjacent].into_iter().zip(expected) {
            assert_eq!(
                decide_pair(mode, &wide, other) == ConflictDecision::Conflict,
                conflicts,
                "{mode:?}"
            );
        }
        assert_eq!(decide_pair(mode, &wide, &another), ConflictDecision::NoConflict, "{mode:?}");
    }
}

#[test]
fn server_order_does_not_change_exact_flow() {
    let list = |texts: [&str; 3]| {
        let addresses = texts.map(|text| crate::qod::Verbatim::from_value(text.parse().unwrap()));
        let server = crate::qod::ApplicationServer::Addresses(addresses.to_vec());
        (party("c1"), CreateRequest { server, ..create_request(phone(1), "192.0.2.1") })
    };
    let one = list(["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
    let other = list(["2001:db8::1", "192.0.2.2", "192.0.2.1"]);
    assert_eq!(decide_pair(ConflictMode::ExactFlow, &one, &other), ConflictDecision::Conflict);
}

#[test]
fn server_list_equals_network_it_fills() {
    let list = |texts: &[&str]| {
        let address = |text: &&str| crate::qod::Verbatim::from_value(text.parse().unwrap());
        let addresses = texts.iter().map(address).collect();
        let server = crate::qod::ApplicationServer::Addresses(addresses);
        (party("c1"), CreateRequest { server, ..create_request(phone(1), "192.0.2.1") })
    };
    let network = (party("c2"), create_request(phone(1), "192.0.2.2/31"));
    let filled = list(&["192.0.2.3", "192.0.2.2"]);
    let more = list(&["192.0.2.3", "192.0.2.4", "192.0.2.2"]);
    let adjacent = list(&["192.0.2.1", "192.0.2.4"]);
    for (mode, expected) in [
        (ConflictMode::FlowOverlap, [true, true, false]),
        (ConflictMode::ExactFlow, [true, false, false]),
    ] {
        for (listed, conflicts) in [&filled, &more, &adjacent].into_iter().zip(expected) {
            assert_eq!(
                decide_pair(mode, &network, listed) == ConflictDecision::Conflict,
                conflicts,
                "{mode:?}"
            );
            assert_eq!(
                decide_pair(mode, listed, &network) == ConflictDecision::Conflict,
                conflicts,
                "{mode:?}"
            );
        }
    }
}

fn any_requester() -> impl Strategy<Value = Requester> {
    prop_oneof![Just(party("c1")), Just(user("c1", "s1")), Just(user("c2", "s2"))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn rule_agrees_with_model_in_both_orders(
        one in (any_requester(), any_create_request()),
        other in (any_requester(), any_create_request()),
    ) {
        let same = match_devices((&one.0, &one.1), (&other.0, &other.1));
        let expected = match (share_a_packet(&one.1, &other.1), same) {
            (false, _) | (_, DeviceMatch::Different) => ConflictDecision::NoConflict,
            (true, DeviceMatch::Same) => ConflictDecision::Conflict,
            (true, DeviceMatch::Unknown) => ConflictDecision::Unknown,
        };
        prop_assert_eq!(decide_pair(ConflictMode::FlowOverlap, &one, &other), expected);
        for mode in [ConflictMode::FlowOverlap, ConflictMode::ExactFlow, ConflictMode::Device] {
            prop_assert_eq!(decide_pair(mode, &one, &other), decide_pair(mode, &other, &one));
        }
    }

    #[test]
    fn identified_device_equals_itself(device in any_device()) {
        let keys = DeviceKeys::new(&KeyHasher::random(), Some(&device), None);
        let identified = !keys.permanent.is_empty() || keys.v6.is_some();
        prop_assume!(identified);
        prop_assert_eq!(compare_devices(&keys, &keys), DeviceComparison::Same);
    }
}
