use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{
        claim::KeyHasher,
        sample::{START, any_asked, asked, booking, device, party, phone, user},
    },
    *,
};
use crate::{
    clock::Clock,
    qod::{CreateSession, DeviceIpv4, Written},
};

fn life(until: Moment) -> Life {
    Life {
        id: SessionId::random(),
        generation: 0,
        state: State::Available,
        holds_until: Some(until),
        due: until,
    }
}

fn claim(hasher: &KeyHasher, client: usize, asked: CreateSession) -> Claim {
    let party = [party("c1"), user("c1", "s1"), user("c2", "s2")][client % 3].clone();
    Claim::new(hasher, &party, &booking(asked))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_finds_what_looking_through_all_finds(
        list in proptest::collection::vec((0..3_usize, any_asked(), any::<bool>()), 1..40),
    ) {
        let hasher = KeyHasher::random();
        let rules = Rules { unknown: OnUnknown::Refuse, ..Rules::default() };
        let later = START + Duration::from_mins(1);
        let (mut index, mut held) = (Index::default(), Vec::<(SessionId, Claim)>::new());
        for (client, asked, removes) in list {
            let claim = claim(&hasher, client, asked);
            let verdicts: Vec<Verdict> = held
                .iter()
                .map(|(_, other)| {
                    let of = |claim: &'_ Claim| (claim.keys.clone(), claim.flow.clone());
                    let (a, b) = (of(other), of(&claim));
                    judge(rules.mode, (&a.0, &a.1), (&b.0, &b.1))
                })
                .collect();
            let expected = if verdicts.contains(&Verdict::Conflict) {
                Some(false)
            } else if verdicts.contains(&Verdict::Unknown) {
                Some(true)
            } else {
                None
            };
            let life = life(later);
            let told = match index.insert(life, claim.clone(), &rules, 100, START) {
                Ok(_) => None,
                Err(Error::Taken { device_unknown, .. }) => Some(device_unknown),
                Err(other) => panic!("{other}"),
            };
            prop_assert_eq!(told, expected);
            if told.is_none() {
                held.push((life.id, claim));
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

// Nothing is left behind of what is gone.
fn is_empty(index: &Index) -> bool {
    index.slots.is_empty()
        && index.clients.is_empty()
        && index.keys.is_empty()
        && index.nets.is_empty()
        && index.lapses.is_empty()
        && index.due.is_empty()
        && index.counts().iter().all(|(_, _, count)| *count == 0)
}

#[test]
fn too_many_to_look_at_are_refused_unseen() {
    let hasher = KeyHasher::random();
    let mut index = Index::default();
    let later = START + Duration::from_mins(1);
    let forward = Rules::default();
    let strict = Rules { unknown: OnUnknown::Refuse, ..forward };
    for digits in 0..1025 {
        let claim = claim(&hasher, 0, asked(phone(digits), "192.0.2.1"));
        index.insert(life(later), claim, &forward, u32::MAX, START).unwrap();
    }
    // None of the flows meets this one's.
    let mut stranger = asked(phone(1), "198.51.100.1");
    stranger.device = Some(device(|device| device.nai = Some("a@x.example".parse().unwrap())));
    let claim = claim(&hasher, 0, stranger);
    let told = index.insert(life(later), claim.clone(), &strict, u32::MAX, START);
    assert!(matches!(told, Err(Error::Taken { device_unknown: true, .. })), "{told:?}");
    assert_eq!(index.insert(life(later), claim, &forward, u32::MAX, START), Ok(false));
}

#[test]
fn many_lapses_are_cleared_away_by_and_by() {
    let hasher = KeyHasher::random();
    let mut index = Index::default();
    for digits in 0..1000 {
        let claim = claim(&hasher, 0, asked(phone(digits), "192.0.2.1"));
        index.insert(life(START), claim, &Rules::default(), 2000, Moment::default()).unwrap();
    }
    let reserved = claim(&hasher, 0, asked(phone(999), "192.0.2.1"));
    index.insert(life(START), reserved, &Rules::default(), 2000, START).unwrap();
    assert_eq!(index.lapses.len(), 1000 + 1 - LAPSES_A_RESERVATION_MAX);
    index.lapse(START, usize::MAX);
    assert!(index.lapses.is_empty() && index.keys.is_empty() && index.clients.is_empty());
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Prints what the index costs, at sizes from `SESSIONS`' default on. Run it alone, optimised:
/// `cargo test --release --lib -- --ignored --nocapture --test-threads 1 what_it_costs`.
#[test]
#[ignore = "a measurement, for people to read"]
#[expect(clippy::print_stdout, reason = "a measurement, for people to read")]
fn what_it_costs() {
    let hasher = KeyHasher::random();
    let clock = Clock::system();
    let by_phone = |n: u32| asked(phone(n), "192.0.2.1");
    let by_address = |n: u32| {
        let public = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n / 4);
        let mut asked = asked(phone(n), "192.0.2.1");
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
        let mut asked = asked(phone(n), "192.0.2.1");
        let net = ipnet::Ipv6Net::new((0x2001_0db8_u128 << 96 | u128::from(n) << 64).into(), 64);
        asked.device = Some(device(|device| device.ipv6 = Some(Written::plain(net.unwrap()))));
        asked
    };
    let kinds: [(&str, &dyn Fn(u32) -> CreateSession); 3] =
        [("phone", &by_phone), ("v4 and port", &by_address), ("v6 /64", &by_net)];
    // All are kept, or the next one's memory would be what the last one left.
    let mut measured = Vec::new();
    for (name, wish) in kinds {
        let most = if name == "phone" { 10_000_000 } else { 1_000_000 };
        for size in [10_000_u32, 100_000, 1_000_000, 10_000_000] {
            if size > most {
                break;
            }
            let before = resident_bytes();
            let mut index = Index::default();
            let rules = Rules::default();
            let mut add = |n: u32| {
                // Scattered, as real expiries are.
                let until =
                    START + Duration::from_secs(u64::from(n.wrapping_mul(2_654_435_761)) >> 18);
                let (life, claim) = (life(until), claim(&hasher, 0, wish(n)));
                let since = clock.tick();
                let done = index.insert(life, claim, &rules, u32::MAX, Moment::default());
                let took = clock.elapsed(since);
                assert!(done.is_ok());
                took
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
