use proptest::prelude::*;

use super::*;
use crate::{clock::Clock, qod::Moment};

const SETTINGS: Settings =
    Settings { failures_max: 3, open_for: Duration::from_secs(10), probes_max: 2, calls_max: 8 };

fn clock() -> Clock {
    Clock::fixed(Moment::from_unix_s(1_700_000_000))
}

fn fail(breaker: &Arc<Breaker>, times: u32, clock: &Clock) {
    for _ in 0..times {
        breaker.turn(Need::New, clock.tick()).unwrap().tell(Verdict::Sick, clock.tick());
    }
}

#[test]
fn it_opens_after_failures_in_a_row_and_closes_when_a_probe_goes_well() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    fail(&breaker, 2, &clock);
    breaker.turn(Need::New, clock.tick()).unwrap().tell(Verdict::Well, clock.tick());
    fail(&breaker, 3, &clock);
    clock.advance(Duration::from_secs(4));
    let resting = breaker.turn(Need::New, clock.tick()).unwrap_err();
    assert_eq!(resting, Resting { why: Why::Open, retry_after: Duration::from_secs(6) });
    clock.advance(Duration::from_secs(6));
    assert_eq!(breaker.stands(clock.tick()), Stands::HalfOpen);
    let probe = breaker.turn(Need::New, clock.tick()).unwrap();
    let other = breaker.turn(Need::New, clock.tick()).unwrap();
    assert!(breaker.turn(Need::New, clock.tick()).is_err(), "two probes are enough");
    // One that was not made leaves its place to another.
    drop(other);
    let late = breaker.turn(Need::New, clock.tick()).unwrap();
    assert_eq!(probe.tell(Verdict::Well, clock.tick()), Some(Stands::Closed));
    assert_eq!(late.tell(Verdict::Sick, clock.tick()), None);
    fail(&breaker, 2, &clock);
    assert_eq!(breaker.stands(clock.tick()), Stands::Closed);
}

#[test]
fn a_probe_that_fails_opens_it_again() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    fail(&breaker, 3, &clock);
    clock.advance(SETTINGS.open_for);
    fail(&breaker, 1, &clock);
    assert_eq!(breaker.stands(clock.tick()), Stands::Open);
}

#[test]
fn what_there_is_is_seen_to_now_and_then_and_closes_it_if_that_goes_well() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    fail(&breaker, 3, &clock);
    let care = breaker.turn(Need::Care, clock.tick()).unwrap();
    assert!(breaker.turn(Need::Care, clock.tick()).is_err());
    // However many look, what is to be ended has a call of its own.
    breaker.turn(Need::Look, clock.tick()).unwrap();
    assert!(breaker.turn(Need::Look, clock.tick()).is_err());
    assert_eq!(care.tell(Verdict::Sick, clock.tick()), None);
    clock.advance(CARE_EVERY);
    let care = breaker.turn(Need::Care, clock.tick()).unwrap();
    assert_eq!(care.tell(Verdict::Well, clock.tick()), Some(Stands::Closed));
    breaker.turn(Need::New, clock.tick()).unwrap();
}

#[test]
fn an_operator_is_left_alone_for_as_long_as_it_asks_for_but_no_longer_than_five_minutes() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    breaker.told(Duration::from_hours(1), clock.tick());
    breaker.told(SOON, clock.tick());
    breaker.turn(Need::Care, clock.tick()).unwrap();
    let resting = breaker.turn(Need::New, clock.tick()).unwrap_err();
    assert_eq!(resting, Resting { why: Why::Told, retry_after: TOLD_MAX });
    clock.advance(TOLD_MAX);
    breaker.turn(Need::New, clock.tick()).unwrap();
}

#[test]
fn more_calls_than_may_wait_are_refused_at_once() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    let turn = || breaker.turn(Need::New, clock.tick());
    let turns: Vec<Turn> = (0..SETTINGS.calls_max).map(|_| turn().unwrap()).collect();
    assert_eq!(turn().unwrap_err(), Resting::BUSY);
    assert_eq!(breaker.turn(Need::Look, clock.tick()).unwrap_err(), Resting::BUSY);
    // What frees something has places of its own, and takes none of the others'.
    let care = || breaker.turn(Need::Care, clock.tick());
    let cares: Vec<Turn> = (0..SETTINGS.calls_max).map(|_| care().unwrap()).collect();
    assert_eq!(care().unwrap_err(), Resting::BUSY);
    drop(turns);
    turn().unwrap();
    drop(cares);
    care().unwrap();
}

proptest! {
    #[test]
    fn whatever_happens_a_breaker_that_is_open_lets_nothing_new_through_and_no_probe_too_many(
        steps in proptest::collection::vec((0_u8..6, 0_usize..8), 1..200),
    ) {
        let (breaker, clock) = (Breaker::new(SETTINGS), clock());
        let (mut out, mut in_a_row): (Vec<(Turn, u64)>, u32) = (Vec::new(), 0);
        let mut era = 0_u64;
        for (step, place) in steps {
            let now = clock.tick();
            let before = breaker.stands(now);
            match step {
                0 | 1 => match breaker.turn(Need::New, now) {
                    Ok(turn) => {
                        prop_assert_ne!(before, Stands::Open);
                        out.push((turn, era));
                        let probes = out.iter().filter(|(_, of)| *of == era).count();
                        prop_assert!(before == Stands::Closed || probes <= 2);
                    }
                    Err(resting) => {
                        prop_assert!(before != Stands::Closed || resting.why == Why::Busy);
                        prop_assert!(resting.retry_after <= SETTINGS.open_for);
                    }
                },
                2 => clock.advance(Duration::from_secs(3)),
                3 if !out.is_empty() => drop(out.swap_remove(place % out.len())),
                _ if !out.is_empty() => {
                    let (turn, of) = out.swap_remove(place % out.len());
                    let well = step == 4;
                    let verdict = if well { Verdict::Well } else { Verdict::Sick };
                    let changed = turn.tell(verdict, now);
                    // What was asked in an earlier round tells nothing.
                    prop_assert!(changed.is_none() || of == era);
                    if of == era && before == Stands::Closed {
                        in_a_row = if well { 0 } else { in_a_row + 1 };
                        prop_assert_eq!(changed == Some(Stands::Open), in_a_row == 3);
                    }
                    if changed.is_some() {
                        (era, in_a_row) = (era + 1, 0);
                    }
                }
                _ => {}
            }
        }
    }
}
