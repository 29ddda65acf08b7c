use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{
        claim::KeyHasher,
        tests::sample::{
            START, any_create_request, create_request, device, party, phone, reservation_request,
            user,
        },
    },
    search::{CLIENT_DEVICE_SESSIONS_MAX, DEVICE_SESSIONS_MAX},
    *,
};
use crate::{
    clock::Clock,
    ledger::conflict::{ConflictDecision, decide},
    qod::{CreateRequest, DeviceIpv4, PortsSpec, Verbatim},
};

fn summary(until: Moment) -> RecordSummary {
    RecordSummary {
        id: SessionId::random(),
        generation: 0,
        state: SessionState::Available,
        holds_until: Some(until),
        due: until,
    }
}

fn claim(hasher: &KeyHasher, client: usize, asked: CreateRequest) -> Claim {
    let party = [party("c1"), user("c1", "s1"), user("c2", "s2")][client % 3].clone();
    Claim::new(hasher, &party, &reservation_request(asked))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn index_equals_full_scan(
        list in proptest::collection::vec((0..3_usize, any_create_request(), any::<bool>()), 1..40),
    ) {
        let hasher = KeyHasher::random();
        let rules = ConflictRules { unknown: OnUnknown::Refuse, ..ConflictRules::default() };
        let later = START + Duration::from_mins(1);
        let (mut index, mut held) = (Index::default(), Vec::<(SessionId, Claim)>::new());
        for (client, asked, removes) in list {
            let claim = claim(&hasher, client, asked);
            let verdicts: Vec<ConflictDecision> = held
                .iter()
                .map(|(_, other)| {
                    let parts = |claim: &'_ Claim| (claim.keys.clone(), claim.flow.clone());
                    let (a, b) = (parts(other), parts(&claim));
                    decide(rules.mode, (&a.0, &a.1), (&b.0, &b.1))
                })
                .collect();
            let expected = if verdicts.contains(&ConflictDecision::Conflict) {
                Some(false)
            } else if verdicts.contains(&ConflictDecision::Unknown) {
                Some(true)
            } else {
                None
            };
            let summary = summary(later);
            let rejected = match index.insert(summary, claim.clone(), &rules, 100, START) {
                Ok(_) => None,
                Err(Error::Conflict { device_ambiguous, .. }) => Some(device_ambiguous),
                Err(other) => panic!("{other}"),
            };
            prop_assert_eq!(rejected, expected);
            if rejected.is_none() {
                held.push((summary.id, claim));
            }
            if removes && !held.is_empty() {
                let (id, _) = held.swap_remove(0);
                prop_assert_eq!(index.remove(&id, 0), Ok(()));
            }
        }
        for (id, _) in held {
            prop_assert_eq!(index.remove(&id, 0), Ok(()));
        }
        prop_assert!(is_empty(&index));
    }
}

// All tables are empty once all sessions are removed.
fn is_empty(index: &Index) -> bool {
    index.slots.is_empty()
        && index.clients.is_empty()
        && index.operator_sessions.is_empty()
        && index.keys.is_empty()
        && index.networks.is_empty()
        && index.hold_expiries.len() == 0
        && index.due.len() == 0
        && index.counts().iter().all(|(_, _, count)| *count == 0)
}

#[test]
fn too_many_incomparable_devices_are_rejected() {
    let hasher = KeyHasher::random();
    let mut index = Index::default();
    let later = START + Duration::from_mins(1);
    let forward = ConflictRules::default();
    let strict = ConflictRules { unknown: OnUnknown::Refuse, ..forward };
    for digits in 0..1025 {
        let claim = claim(&hasher, 0, create_request(phone(digits), "192.0.2.1"));
        index.insert(summary(later), claim, &forward, u32::MAX, START).unwrap();
    }
    // The flow of this request overlaps no other.
    let mut incomparable = create_request(phone(1), "198.51.100.1");
    incomparable.device = Some(device(|device| device.nai = Some("a@x.example".parse().unwrap())));
    let claim = claim(&hasher, 0, incomparable);
    let rejected = index.insert(summary(later), claim.clone(), &strict, u32::MAX, START);
    assert!(
        matches!(rejected, Err(Error::Conflict { device_ambiguous: true, .. })),
        "{rejected:?}"
    );
    assert_eq!(index.insert(summary(later), claim, &forward, u32::MAX, START), Ok(false));
}

#[test]
fn expired_holds_are_removed_in_batches() {
    let hasher = KeyHasher::random();
    let mut index = Index::default();
    for digits in 0..1000 {
        let claim = claim(&hasher, 0, create_request(phone(digits), "192.0.2.1"));
        index
            .insert(summary(START), claim, &ConflictRules::default(), 2000, Moment::default())
            .unwrap();
    }
    let reserved = claim(&hasher, 0, create_request(phone(999), "192.0.2.1"));
    index.insert(summary(START), reserved, &ConflictRules::default(), 2000, START).unwrap();
    assert_eq!(index.hold_expiries.len(), 1000 + 1 - EXPIRED_HOLDS_PER_RESERVATION_MAX);
    index.expire_holds(START, usize::MAX);
    assert!(
        index.hold_expiries.len() == 0 && index.keys.is_empty() && index.clients.all_holds() == 0
    );
}

/// A name, and requests by number.
type Crowd = (&'static str, fn(u32) -> CreateRequest);

/// Requests of different flows for one device, or of different devices with one identifier.
fn crowds() -> [Crowd; 4] {
    fn one_phone(n: u32) -> CreateRequest {
        let ports = PortsSpec { ranges: Vec::new(), ports: vec![u16::try_from(n).unwrap()] };
        CreateRequest { device_ports: Some(ports), ..create_request(phone(1), "192.0.2.1") }
    }
    fn public(n: u32, private: Option<std::net::Ipv4Addr>, port: Option<u16>) -> CreateRequest {
        let mut asked = create_request(phone(n), "192.0.2.1");
        let public = [203, 0, 113, 9].into();
        let address = DeviceIpv4::Public { public, private, public_port: port };
        asked.device.as_mut().unwrap().ipv4 = Some(address);
        asked
    }
    fn one_port(n: u32) -> CreateRequest {
        public(n, None, Some(443))
    }
    fn one_private(n: u32) -> CreateRequest {
        public(n, Some([10, 0, 0, 1].into()), None)
    }
    fn one_network(n: u32) -> CreateRequest {
        let mut asked = create_request(phone(n), "192.0.2.1");
        let net = Verbatim::from_value("2001:db8::/64".parse().unwrap());
        asked.device.as_mut().unwrap().ipv6 = Some(net);
        asked
    }
    [
        ("phone", one_phone),
        ("public port", one_port),
        ("private address", one_private),
        ("network", one_network),
    ]
}

#[test]
fn sessions_that_share_an_identifier_are_limited_by_client_and_in_all() {
    let hasher = KeyHasher::random();
    let later = START + Duration::from_mins(1);
    let rules = ConflictRules::default();
    let by = |client: &str, asked: CreateRequest| {
        Claim::new(&hasher, &party(client), &reservation_request(asked))
    };
    for (name, request) in crowds() {
        let mut index = Index::default();
        let mut insert = |client: &str, n: u32| {
            let summary = summary(later);
            let result = index.insert(summary, by(client, request(n)), &rules, u32::MAX, START);
            result.map(|_| summary.id)
        };
        let refused =
            |max: usize| Err(Error::DeviceSessionsExceeded { max: u32::try_from(max).unwrap() });
        let (own_max, max) = (CLIENT_DEVICE_SESSIONS_MAX, DEVICE_SESSIONS_MAX);
        let mut n = 0..;
        let mut next = || n.next().unwrap();
        let own = insert("c2", next()).unwrap();
        for _ in 0..own_max {
            insert("c1", next()).unwrap();
        }
        assert_eq!(insert("c1", next()), refused(own_max), "{name}");
        for _ in own_max + 1..max {
            insert("c3", next()).unwrap();
        }
        assert_eq!(insert("c3", next()), refused(max), "{name}");
        assert_eq!(insert("c4", next()), refused(max), "{name}");
        let keys = by("c2", request(0)).keys;
        assert_eq!(index.find_by_device(&"c2".into(), &keys, START), [own], "{name}");
    }
}

#[test]
fn own_sessions_are_found_in_a_crowded_network() {
    let hasher = KeyHasher::random();
    let later = START + Duration::from_mins(1);
    let rules = ConflictRules::default();
    let by = |client: &str, net: &str| {
        let mut asked = create_request(phone(1), "192.0.2.1");
        let net = Verbatim::from_value(net.parse().unwrap());
        asked.device = Some(device(|device| device.ipv6 = Some(net)));
        Claim::new(&hasher, &party(client), &reservation_request(asked))
    };
    let mut index = Index::default();
    for n in 0..5000 {
        let claim = by("c1", &format!("2001:db8:0:{n:x}::/64"));
        index.insert(summary(later), claim, &rules, u32::MAX, START).unwrap();
    }
    let own = summary(later);
    index.insert(own, by("c2", "2001:db8:0:ffff::/64"), &rules, u32::MAX, START).unwrap();
    let wide = by("c2", "2001:db8::/48");
    assert_eq!(index.find_by_device(&"c2".into(), &wide.keys, START), [own.id]);
    let max = u32::try_from(DEVICE_SESSIONS_MAX).unwrap();
    let refused = index.insert(summary(later), wide, &rules, u32::MAX, START);
    assert_eq!(refused, Err(Error::DeviceSessionsExceeded { max }));
}

/// With a constant number of sessions, clients and devices come and go, and nothing grows.
#[test]
fn index_does_not_grow_while_sessions_come_and_go() {
    let hasher = KeyHasher::random();
    let rules = ConflictRules::default();
    let mut index = Index::default();
    let mut live = std::collections::VecDeque::new();
    for n in 0..5000_u32 {
        let mut asked = create_request(phone(n), "192.0.2.1");
        let device = asked.device.as_mut().unwrap();
        let public = [203, 0, 113, 9].into();
        device.ipv4 = Some(DeviceIpv4::Public { public, private: None, public_port: None });
        let network = ipnet::Ipv6Net::new((u128::from(n) << 64).into(), 64).unwrap();
        device.ipv6 = Some(Verbatim::from_value(network));
        let requester = party(&format!("client-{n}"));
        let claim = Claim::new(&hasher, &requester, &reservation_request(asked));
        let summary = summary(START + Duration::from_secs(n.into()));
        index.insert(summary, claim, &rules, 10, START).unwrap();
        let operator_session = format!("operator-session-{n}");
        let next = RecordSummary { generation: 1, due: summary.due, ..summary };
        index.replace(next, Some(&operator_session)).unwrap();
        live.push_back(summary.id);
        if live.len() > 100 {
            index.remove(&live.pop_front().unwrap(), 1).unwrap();
        }
        let sizes = [
            index.entries.slots(),
            index.clients.slots(),
            index.slots.len(),
            index.operator_sessions.len(),
            index.due.len(),
            index.hold_expiries.len(),
            index.networks.families() / 2,
        ];
        assert!(sizes.iter().all(|size| *size <= 101), "{sizes:?}");
    }
    for id in live {
        index.remove(&id, 1).unwrap();
    }
    assert!(is_empty(&index));
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Prints the latency and the memory of the index at several sizes. Run it alone, optimised:
/// `cargo test --release --lib -- --ignored --nocapture --test-threads 1 measure_index`.
#[test]
#[ignore = "a measurement, run by hand"]
#[expect(clippy::print_stdout, reason = "a measurement, run by hand")]
fn measure_index() {
    let hasher = KeyHasher::random();
    let clock = Clock::system();
    let by_phone = |n: u32| create_request(phone(n), "192.0.2.1");
    let by_address = |n: u32| {
        let public = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n / 4);
        let mut asked = create_request(phone(n), "192.0.2.1");
        asked.device = Some(device(|device| {
            device.ipv4 = Some(DeviceIpv4::Public {
                public,
                private: None,
                public_port: Some(u16::try_from(n % 4).unwrap()),
            });
        }));
        asked
    };
    let by_net = |n: u32| {
        let mut asked = create_request(phone(n), "192.0.2.1");
        let net = ipnet::Ipv6Net::new((0x2001_0db8_u128 << 96 | u128::from(n) << 64).into(), 64);
        asked.device =
            Some(device(|device| device.ipv6 = Some(Verbatim::from_value(net.unwrap()))));
        asked
    };
    let kinds: [(&str, &dyn Fn(u32) -> CreateRequest); 3] =
        [("phone", &by_phone), ("v4 and port", &by_address), ("v6 /64", &by_net)];
    // Keep all indexes: a later one would otherwise reuse freed memory.
    let mut measured = Vec::new();
    for (name, request) in kinds {
        let size_max = if name == "phone" { 10_000_000 } else { 1_000_000 };
        for size in [10_000_u32, 100_000, 1_000_000, 10_000_000] {
            if size > size_max {
                break;
            }
            let before = resident_bytes();
            let mut index = Index::default();
            let rules = ConflictRules::default();
            let mut add = |n: u32| {
                // Distributed like real expiries.
                let until =
                    START + Duration::from_secs(u64::from(n.wrapping_mul(2_654_435_761)) >> 18);
                let (summary, claim) = (summary(until), claim(&hasher, 0, request(n)));
                let since = clock.tick();
                let result = index.insert(summary, claim, &rules, u32::MAX, Moment::default());
                let elapsed = clock.elapsed(since);
                assert!(result.is_ok());
                elapsed
            };
            for n in 0..size {
                add(n);
            }
            let bytes = resident_bytes().saturating_sub(before) / u64::from(size);
            let mut times: Vec<u128> = (size..size + 10_000).map(|n| add(n).as_nanos()).collect();
            times.sort_unstable();
            let at = |share: usize| times[times.len() * share / 1000];
            measured.push(index);
            println!(
                "{name}, {size} sessions: reserve and check p50 {} ns, p99 {} ns; {bytes} B each",
                at(500),
                at(990)
            );
        }
    }
}

/// Inserts, replaces and removes sessions, to count the instructions of each operation:
/// `valgrind --tool=callgrind TEST_BINARY --ignored count_index_operations`, then
/// `callgrind_annotate --inclusive=yes`. Each function is called [`COUNTED`] times.
#[test]
#[ignore = "a measurement, run by hand"]
fn count_index_operations() {
    let hasher = KeyHasher::random();
    let rules = ConflictRules::default();
    let mut index = Index::default();
    let later =
        |n: u32| START + Duration::from_secs(u64::from(n.wrapping_mul(2_654_435_761)) >> 18);
    let mut ids = Vec::new();
    for n in 0..COUNTED * 2 {
        let mut asked = create_request(phone(n), "192.0.2.1");
        let port = Some(u16::try_from(n).unwrap());
        let public = [203, 0, 113, 9].into();
        let address = DeviceIpv4::Public { public, private: None, public_port: port };
        asked.device.as_mut().unwrap().ipv4 = Some(address);
        let (summary, claim) = (summary(later(n)), claim(&hasher, 0, asked));
        if n < COUNTED {
            index.insert(summary, claim, &rules, u32::MAX, Moment::default()).unwrap();
        } else {
            counted_insert(&mut index, summary, claim, &rules);
            ids.push(summary);
        }
    }
    for (n, summary) in (0..).zip(&mut ids) {
        summary.generation = 1;
        summary.holds_until = Some(later(n) + Duration::from_secs(1));
        summary.due = later(n) + Duration::from_secs(2);
        counted_replace(&mut index, *summary, &format!("operator-session-{n}"));
    }
    for summary in ids {
        counted_remove(&mut index, summary.id);
    }
}

const COUNTED: u32 = 10_000;

#[inline(never)]
fn counted_insert(index: &mut Index, summary: RecordSummary, claim: Claim, rules: &ConflictRules) {
    index.insert(summary, claim, rules, u32::MAX, Moment::default()).unwrap();
}

#[inline(never)]
fn counted_replace(index: &mut Index, summary: RecordSummary, operator_session: &str) {
    index.replace(summary, Some(operator_session)).unwrap();
}

#[inline(never)]
fn counted_remove(index: &mut Index, id: SessionId) {
    index.remove(&id, 1).unwrap();
}
