use std::{collections::HashMap as Reference, thread, time::Duration};

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

fn clock() -> Clock {
    Clock::fixed(Moment::from_unix_s(NOW))
}

fn proof(id: &str, lifetime_s: u64) -> VerifiedProof {
    VerifiedProof { id: id.into(), until: Moment::from_unix_s(NOW + lifetime_s) }
}

fn client(name: &str) -> ClientId {
    ClientId::from(name)
}

#[test]
fn proof_is_accepted_once_until_it_expires() {
    let (replays, clock, app) = (ReplayCache::default(), clock(), client("app"));
    assert_eq!(replays.insert(&app, &proof("a", 60), &clock), Ok(()));
    for _ in 0..60 {
        assert_eq!(replays.insert(&app, &proof("a", 60), &clock), Err(ProofError::Replayed));
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(replays.insert(&app, &proof("a", 60), &clock), Err(ProofError::Replayed));
    clock.advance(Duration::from_millis(1));
    assert_eq!(replays.insert(&app, &proof("a", 60), &clock), Err(ProofError::Expired));
    // After expiry, the id can be used again.
    clock.advance(Duration::from_secs(1));
    assert_eq!(replays.insert(&app, &proof("a", 90), &clock), Ok(()));
}

#[test]
fn ids_are_separate_per_client() {
    let (replays, clock) = (ReplayCache::default(), clock());
    for (name, id) in [("a", "bc"), ("ab", "c"), ("abc", ""), ("b", "bc")] {
        assert_eq!(replays.insert(&client(name), &proof(id, 60), &clock), Ok(()), "{name} {id}");
        let replayed = replays.insert(&client(name), &proof(id, 90), &clock);
        assert_eq!(replayed, Err(ProofError::Replayed), "{name} {id}");
    }
}

#[test]
fn full_cache_rejects_new_proofs_and_evicts_none() {
    let (replays, clock, app) = (ReplayCache::with_capacity(16 * 4), clock(), client("app"));
    for id in 0..4 {
        assert_eq!(replays.insert(&app, &proof(&id.to_string(), 10), &clock), Ok(()));
    }
    for id in 4..100 {
        assert_eq!(
            replays.insert(&app, &proof(&id.to_string(), 10), &clock),
            Err(ProofError::ReplayCacheFull)
        );
    }
    for id in 0..4 {
        assert_eq!(
            replays.insert(&app, &proof(&id.to_string(), 10), &clock),
            Err(ProofError::Replayed)
        );
    }
    // One client filled its shard; most other clients are unaffected.
    let others = (0..200).filter(|name| {
        let taken = replays.insert(&client(&format!("{name}")), &proof("a", 10), &clock);
        taken != Err(ProofError::ReplayCacheFull)
    });
    assert!(others.count() > 32);
    clock.advance(Duration::from_secs(11));
    for id in 4..8 {
        assert_eq!(replays.insert(&app, &proof(&id.to_string(), 20), &clock), Ok(()));
    }
}

#[test]
fn concurrent_uses_accept_exactly_one() {
    let (replays, clock) = (ReplayCache::default(), clock());
    for round in 0..50 {
        let taken: usize = thread::scope(|scope| {
            let one = || {
                usize::from(
                    replays.insert(&client("app"), &proof(&round.to_string(), 60), &clock).is_ok(),
                )
            };
            let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(taken, 1);
    }
}

proptest! {
    #[test]
    fn cache_behaves_like_a_plain_map(
        steps in proptest::collection::vec((0..3_u8, 0..12_u8, 0..40_u64, 0..3000_u64), 1..200),
    ) {
        let (replays, clock) = (ReplayCache::default(), clock());
        let mut reference: Reference<(u8, u8), Moment> = Reference::new();
        for (client_number, id, lifetime_s, elapsed_ms) in steps {
            clock.advance(Duration::from_millis(elapsed_ms));
            let now = clock.now();
            let until = now + Duration::from_secs(lifetime_s);
            let taken = replays.insert(&client(&client_number.to_string()), &VerifiedProof { id: id.to_string().into(), until }, &clock);
            let seen = reference.get(&(client_number, id)).copied();
            if taken.is_ok() {
                // An earlier proof with this id has expired.
                prop_assert!(seen.is_none_or(|until| until < now));
                reference.insert((client_number, id), until);
            } else {
                prop_assert_eq!(taken, Err(ProofError::Replayed));
                // It may be remembered until the end of the second.
                prop_assert!(seen.is_some_and(|until| until.unix_s() >= now.unix_s()));
            }
        }
    }
}
