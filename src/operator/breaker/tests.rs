use proptest::prelude::*;

use super::*;
use crate::{clock::Clock, qod::Moment};

const SETTINGS: Settings = Settings {
    failures_max: 3,
    open_duration: Duration::from_secs(10),
    probes_max: 2,
    calls_max: 8,
};

fn clock() -> Clock {
    Clock::fixed(Moment::from_unix_s(1_700_000_000))
}

fn fail(breaker: &Arc<Breaker>, times: u32, clock: &Clock) {
    for _ in 0..times {
        breaker
            .acquire(CallClass::New, clock.tick())
            .unwrap()
            .report(PeerHealth::Unhealthy, clock.tick());
    }
}

#[test]
fn breaker_opens_after_consecutive_failures_and_closes_after_a_successful_probe() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    fail(&breaker, 2, &clock);
    breaker
        .acquire(CallClass::New, clock.tick())
        .unwrap()
        .report(PeerHealth::Healthy, clock.tick());
    fail(&breaker, 3, &clock);
    clock.advance(Duration::from_secs(4));
    let backoff = breaker.acquire(CallClass::New, clock.tick()).unwrap_err();
    assert_eq!(
        backoff,
        Backoff { reason: BackoffReason::Open, retry_after: Duration::from_secs(6) }
    );
    clock.advance(Duration::from_secs(6));
    assert_eq!(breaker.status(clock.tick()), BreakerStatus::HalfOpen);
    let probe = breaker.acquire(CallClass::New, clock.tick()).unwrap();
    let other = breaker.acquire(CallClass::New, clock.tick()).unwrap();
    assert!(breaker.acquire(CallClass::New, clock.tick()).is_err(), "two probes at a time");
    // A permit that is dropped without a call frees its probe slot.
    drop(other);
    let late = breaker.acquire(CallClass::New, clock.tick()).unwrap();
    assert_eq!(probe.report(PeerHealth::Healthy, clock.tick()), Some(BreakerStatus::Closed));
    assert_eq!(late.report(PeerHealth::Unhealthy, clock.tick()), None);
    fail(&breaker, 2, &clock);
    assert_eq!(breaker.status(clock.tick()), BreakerStatus::Closed);
}

#[test]
fn failed_probe_opens_the_breaker_again() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    fail(&breaker, 3, &clock);
    clock.advance(SETTINGS.open_duration);
    fail(&breaker, 1, &clock);
    assert_eq!(breaker.status(clock.tick()), BreakerStatus::Open);
}

#[test]
fn open_breaker_permits_occasional_calls_about_existing_sessions() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    fail(&breaker, 3, &clock);
    let cleanup = breaker.acquire(CallClass::Cleanup, clock.tick()).unwrap();
    assert!(breaker.acquire(CallClass::Cleanup, clock.tick()).is_err());
    // Reads do not use up the permits of cleanup calls.
    breaker.acquire(CallClass::Read, clock.tick()).unwrap();
    assert!(breaker.acquire(CallClass::Read, clock.tick()).is_err());
    assert_eq!(cleanup.report(PeerHealth::Unhealthy, clock.tick()), None);
    clock.advance(OPEN_CALL_INTERVAL);
    let cleanup = breaker.acquire(CallClass::Cleanup, clock.tick()).unwrap();
    assert_eq!(cleanup.report(PeerHealth::Healthy, clock.tick()), Some(BreakerStatus::Closed));
    breaker.acquire(CallClass::New, clock.tick()).unwrap();
}

#[test]
fn retry_after_is_honoured_for_at_most_five_minutes() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    breaker.set_retry_after(Duration::from_hours(1), clock.tick());
    breaker.set_retry_after(DEFAULT_RETRY_AFTER, clock.tick());
    breaker.acquire(CallClass::Cleanup, clock.tick()).unwrap();
    let backoff = breaker.acquire(CallClass::New, clock.tick()).unwrap_err();
    assert_eq!(
        backoff,
        Backoff { reason: BackoffReason::RetryAfter, retry_after: RETRY_AFTER_MAX }
    );
    clock.advance(RETRY_AFTER_MAX);
    breaker.acquire(CallClass::New, clock.tick()).unwrap();
}

#[test]
fn calls_above_the_limit_are_rejected_immediately() {
    let (breaker, clock) = (Breaker::new(SETTINGS), clock());
    let acquire = || breaker.acquire(CallClass::New, clock.tick());
    let permits: Vec<CallPermit> = (0..SETTINGS.calls_max).map(|_| acquire().unwrap()).collect();
    assert_eq!(acquire().unwrap_err(), Backoff::BUSY);
    assert_eq!(breaker.acquire(CallClass::Read, clock.tick()).unwrap_err(), Backoff::BUSY);
    // Cleanup calls have their own permits, and use none of the others'.
    let acquire_cleanup = || breaker.acquire(CallClass::Cleanup, clock.tick());
    let cleanups: Vec<CallPermit> =
        (0..SETTINGS.calls_max).map(|_| acquire_cleanup().unwrap()).collect();
    assert_eq!(acquire_cleanup().unwrap_err(), Backoff::BUSY);
    drop(permits);
    acquire().unwrap();
    drop(cleanups);
    acquire_cleanup().unwrap();
}

proptest! {
    #[test]
    fn open_breaker_permits_no_new_calls_and_a_bounded_number_of_probes(
        steps in proptest::collection::vec((0_u8..6, 0_usize..8), 1..200),
    ) {
        let (breaker, clock) = (Breaker::new(SETTINGS), clock());
        let (mut out, mut failures): (Vec<(CallPermit, u64)>, u32) = (Vec::new(), 0);
        let mut era = 0_u64;
        for (step, index) in steps {
            let now = clock.tick();
            let before = breaker.status(now);
            match step {
                0 | 1 => match breaker.acquire(CallClass::New, now) {
                    Ok(permit) => {
                        prop_assert_ne!(before, BreakerStatus::Open);
                        out.push((permit, era));
                        let probes = out.iter().filter(|(_, of)| *of == era).count();
                        prop_assert!(before == BreakerStatus::Closed || probes <= 2);
                    }
                    Err(backoff) => {
                        prop_assert!(before != BreakerStatus::Closed || backoff.reason == BackoffReason::Busy);
                        prop_assert!(backoff.retry_after <= SETTINGS.open_duration);
                    }
                },
                2 => clock.advance(Duration::from_secs(3)),
                3 if !out.is_empty() => drop(out.swap_remove(index % out.len())),
                _ if !out.is_empty() => {
                    let (permit, of) = out.swap_remove(index % out.len());
                    let healthy = step == 4;
                    let health = if healthy { PeerHealth::Healthy } else { PeerHealth::Unhealthy };
                    let changed = permit.report(health, now);
                    // Results of calls from an earlier phase are ignored.
                    prop_assert!(changed.is_none() || of == era);
                    if of == era && before == BreakerStatus::Closed {
                        failures = if healthy { 0 } else { failures + 1 };
                        prop_assert_eq!(changed == Some(BreakerStatus::Open), failures == 3);
                    }
                    if changed.is_some() {
                        (era, failures) = (era + 1, 0);
                    }
                }
                _ => {}
            }
        }
    }
}
