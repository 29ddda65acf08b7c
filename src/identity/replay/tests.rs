use std::{collections::HashMap as Naive, thread, time::Duration};

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

fn clock() -> Clock {
    Clock::fixed(Moment::from_unix_s(NOW))
}

fn proof(id: &str, lasts_s: u64) -> Proof {
    Proof { id: id.into(), until: Moment::from_unix_s(NOW + lasts_s) }
}

fn client(name: &str) -> ClientId {
    ClientId::from(name)
}

#[test]
fn a_proof_is_taken_once_for_as_long_as_it_is_good() {
    let (replays, clock, app) = (Replays::default(), clock(), client("app"));
    assert_eq!(replays.take(&app, &proof("a", 60), &clock), Ok(()));
    for _ in 0..60 {
        assert_eq!(replays.take(&app, &proof("a", 60), &clock), Err(NotProved::Replayed));
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(replays.take(&app, &proof("a", 60), &clock), Err(NotProved::Replayed));
    clock.advance(Duration::from_millis(1));
    assert_eq!(replays.take(&app, &proof("a", 60), &clock), Err(NotProved::Time));
    // By then its name may be another's.
    clock.advance(Duration::from_secs(1));
    assert_eq!(replays.take(&app, &proof("a", 90), &clock), Ok(()));
}

#[test]
fn a_name_is_its_clients_own() {
    let (replays, clock) = (Replays::default(), clock());
    for (name, id) in [("a", "bc"), ("ab", "c"), ("abc", ""), ("b", "bc")] {
        assert_eq!(replays.take(&client(name), &proof(id, 60), &clock), Ok(()), "{name} {id}");
        let again = replays.take(&client(name), &proof(id, 90), &clock);
        assert_eq!(again, Err(NotProved::Replayed), "{name} {id}");
    }
}

#[test]
fn a_full_memory_refuses_and_forgets_nothing() {
    let (replays, clock, app) = (Replays::with_room_for(16 * 4), clock(), client("app"));
    for id in 0..4 {
        assert_eq!(replays.take(&app, &proof(&id.to_string(), 10), &clock), Ok(()));
    }
    for id in 4..100 {
        assert_eq!(replays.take(&app, &proof(&id.to_string(), 10), &clock), Err(NotProved::Full));
    }
    for id in 0..4 {
        assert_eq!(
            replays.take(&app, &proof(&id.to_string(), 10), &clock),
            Err(NotProved::Replayed)
        );
    }
    // It is one client's flood: most of the others feel nothing of it.
    let others = (0..200).filter(|name| {
        let taken = replays.take(&client(&format!("{name}")), &proof("a", 10), &clock);
        taken != Err(NotProved::Full)
    });
    assert!(others.count() > 32);
    clock.advance(Duration::from_secs(11));
    for id in 4..8 {
        assert_eq!(replays.take(&app, &proof(&id.to_string(), 20), &clock), Ok(()));
    }
}

#[test]
fn of_many_at_once_one_is_taken() {
    let (replays, clock) = (Replays::default(), clock());
    for round in 0..50 {
        let taken: usize = thread::scope(|scope| {
            let one = || {
                usize::from(
                    replays.take(&client("app"), &proof(&round.to_string(), 60), &clock).is_ok(),
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
    fn it_remembers_as_a_plain_list_does(
        steps in proptest::collection::vec((0..3_u8, 0..12_u8, 0..40_u64, 0..3000_u64), 1..200),
    ) {
        let (replays, clock) = (Replays::default(), clock());
        let mut naive: Naive<(u8, u8), Moment> = Naive::new();
        for (who, id, lasts_s, pause_ms) in steps {
            clock.advance(Duration::from_millis(pause_ms));
            let now = clock.now();
            let until = now + Duration::from_secs(lasts_s);
            let taken = replays.take(&client(&who.to_string()), &Proof { id: id.to_string().into(), until }, &clock);
            let seen = naive.get(&(who, id)).copied();
            if taken.is_ok() {
                // Whatever was taken before is too old to be shown again.
                prop_assert!(seen.is_none_or(|until| until < now));
                naive.insert((who, id), until);
            } else {
                prop_assert_eq!(taken, Err(NotProved::Replayed));
                // It may be remembered to the end of the second.
                prop_assert!(seen.is_some_and(|until| until.unix_s() >= now.unix_s()));
            }
        }
    }
}
