//! Simulations of several replicas on one bucket, against one exact limiter.

use std::{collections::VecDeque, num::NonZeroU32};

use super::*;
use crate::{clock::Clock, qod::Moment};

/// A bucket of the database: the arithmetic of the SQL function `lease_cells`.
#[derive(Debug, Default)]
pub(in crate::limit) struct ModelBucket {
    arrival: i64,
    lease_window: i64,
    held: i64,
    held_before: i64,
    // The safeguard of unused cells is off.
    ignores_held: bool,
}

impl ModelBucket {
    pub(in crate::limit) fn lease(&mut self, request: LeaseRequest, now_ms: i64) -> LeaseAnswer {
        let LeaseRequest { wanted, interval_ns, size_ns, lease_ms, .. } = request;
        let (now, window, lease_ns) = (now_ms * 1_000_000, now_ms / lease_ms, lease_ms * 1_000_000);
        let held = if self.ignores_held { (0, 0) } else { (self.held, self.held_before) };
        let last = self.lease_window.min(window);
        let mut arrival = self.arrival.min(now + size_ns).max(now);
        arrival = arrival.max(now.min((last + 1) * lease_ns) + (held.0 + held.1) * interval_ns);
        arrival = arrival.max(now.min((last + 2) * lease_ns) + held.0 * interval_ns);
        let granted = i64::from(wanted).min(((now + size_ns - arrival) / interval_ns).max(0));
        arrival += granted * interval_ns;
        if granted > 0 {
            let before = match window - last {
                0 => self.held_before,
                1 => self.held,
                _ => 0,
            };
            self.held = granted + if last == window { self.held } else { 0 };
            (self.arrival, self.lease_window, self.held_before) = (arrival, window, before);
        }
        let retry = (arrival + interval_ns - size_ns - now).max(0);
        let is_short = granted < i64::from(wanted);
        LeaseAnswer {
            granted: u32::try_from(granted).unwrap(),
            retry: Duration::from_nanos(if is_short { u64::try_from(retry).unwrap() } else { 0 }),
        }
    }
}

/// An exact limiter, to which all admissions are reported. Times are in nanoseconds.
pub(in crate::limit) struct ExactLimiter {
    rate: Rate,
    arrival: u128,
}

impl ExactLimiter {
    pub(in crate::limit) fn new(rate: Rate) -> Self {
        Self { rate, arrival: 0 }
    }

    /// Whether a request at this time is within the limit. It is counted if it is.
    pub(in crate::limit) fn admits(&mut self, now: u128) -> bool {
        let next = self.arrival.max(now) + self.rate.interval.as_nanos();
        let admits = next <= now + self.rate.size().as_nanos();
        self.arrival = if admits { next } else { self.arrival };
        admits
    }
}

pub(in crate::limit) fn rate(per_second: u32, burst: u32) -> Rate {
    let number = |number| NonZeroU32::new(number).unwrap();
    Rate::new(number(per_second), Duration::from_secs(1), number(burst)).unwrap()
}

#[derive(Debug, Default)]
struct Outcome {
    requests: u32,
    admitted: u32,
    /// By one exact limiter.
    ideal: u32,
    /// Admissions that an exact limiter would not have admitted.
    excess: u32,
    calls: u32,
}

struct Replica {
    cells: LeasedCells,
    waiting: VecDeque<()>,
    // The time of the next step of the call in flight.
    call: Option<Call>,
}

enum Call {
    /// It reaches the database at this time.
    Sent { at: u64, sent: Tick },
    /// Its answer arrives at this time.
    Answered { at: u64, sent: Tick, wanted: i32, answer: LeaseAnswer },
}

const ROUND_TRIP_MS: u64 = 4;
const REPLICAS: usize = 4;

/// Simulates one minute. `load` gives the requests of a millisecond to each replica.
fn simulate(
    rate: Rate,
    bucket: &mut ModelBucket,
    load: impl Fn(u64) -> [u32; REPLICAS],
) -> Outcome {
    let clock = Clock::fixed(Moment::from_unix_s(1_000));
    let start = clock.now().unix_ms();
    let replica =
        || Replica { cells: LeasedCells::new(1, rate), waiting: VecDeque::new(), call: None };
    let mut replicas: [Replica; REPLICAS] = std::array::from_fn(|_| replica());
    let (mut outcome, mut ideal, mut seen) =
        (Outcome::default(), ExactLimiter::new(rate), ExactLimiter::new(rate));
    for ms in 0..60_000 {
        let (now, at) = (clock.tick(), start + ms);
        let now_ns = u128::from(at) * 1_000_000;
        for (replica, requests) in replicas.iter_mut().zip(load(ms)) {
            let mut attempts = requests;
            match replica.call.take() {
                Some(Call::Sent { at: due, sent }) if due <= at => {
                    let request = replica.cells.request(now);
                    let answer = bucket.lease(request, i64::try_from(at).unwrap());
                    let (wanted, due) = (request.wanted, at + ROUND_TRIP_MS / 2);
                    replica.call = Some(Call::Answered { at: due, sent, wanted, answer });
                    outcome.calls += 1;
                }
                Some(Call::Answered { at: due, sent, wanted, answer }) if due <= at => {
                    replica.cells.record_answer(wanted, answer, sent, now);
                    attempts += u32::try_from(replica.waiting.drain(..).count()).unwrap();
                }
                call => replica.call = call,
            }
            for _ in 0..attempts {
                match replica.cells.take(now) {
                    Take::Admitted => {
                        outcome.admitted += 1;
                        outcome.excess += u32::from(!seen.admits(now_ns));
                    }
                    Take::Denied(_) => {}
                    Take::Wait { is_first } => {
                        replica.waiting.push_back(());
                        if is_first {
                            let due = at + ROUND_TRIP_MS / 2;
                            replica.call = Some(Call::Sent { at: due, sent: now });
                        }
                    }
                }
            }
            // The model has no tasks, so it sets the number of waiting requests itself.
            replica.cells.state().waiting = u32::try_from(replica.waiting.len()).unwrap();
            outcome.requests += requests;
            for _ in 0..requests {
                outcome.ideal += u32::from(ideal.admits(now_ns));
            }
        }
        clock.advance(Duration::from_millis(1));
    }
    outcome
}

/// Requests at a rate for each replica, which does not divide evenly into milliseconds.
fn steady(per_second: [u64; REPLICAS]) -> impl Fn(u64) -> [u32; REPLICAS] {
    move |ms| {
        std::array::from_fn(|index| {
            let (rate, phase) = (per_second[index], 137 * u64::try_from(index).unwrap());
            let sent = |ms: u64| (ms * rate + phase) / 1000;
            u32::try_from(sent(ms + 1) - sent(ms)).unwrap()
        })
    }
}

/// Bursts of 60 requests, each at another replica and partly at two.
fn bursts(ms: u64) -> [u32; REPLICAS] {
    let burst = usize::try_from(ms / 900).unwrap();
    std::array::from_fn(|index| {
        let is_start = ms.is_multiple_of(900);
        match (index + REPLICAS - burst % REPLICAS) % REPLICAS {
            0 if is_start => 45,
            1 if is_start => 15,
            _ => 0,
        }
    })
}

/// Nothing is admitted beyond the limit, hardly anything less, and with few calls per request.
fn assert_outcome(name: &str, outcome: &Outcome, calls_max: f64) {
    let Outcome { requests, admitted, ideal, excess, calls } = *outcome;
    assert_eq!(excess, 0, "{name}: {outcome:?}");
    let (share, calls) =
        (f64::from(admitted) / f64::from(ideal), f64::from(calls) / f64::from(requests));
    assert!(share > 0.99, "{name}: {share:.3} of the limit admitted: {outcome:?}");
    assert!(calls < calls_max, "{name}: {calls:.3} calls per request: {outcome:?}");
}

#[test]
fn replicas_never_admit_more_than_one_exact_limiter() {
    for burst in [20, 100] {
        let run = |per_second| {
            simulate(rate(100, burst), &mut ModelBucket::default(), steady(per_second))
        };
        assert_outcome("even load, 2x", &run([50; 4]), 0.35);
        assert_outcome("90 % at one replica, 2x", &run([180, 7, 7, 6]), 0.25);
        assert_outcome("90 % at one replica, 0.8x", &run([72, 3, 3, 2]), 0.35);
        assert_outcome("one replica, 0.9x", &run([90, 0, 0, 0]), 0.25);
        let outcome = simulate(rate(100, burst), &mut ModelBucket::default(), bursts);
        assert_outcome("bursts of 60", &outcome, 0.1);
    }
}

#[test]
fn simulation_finds_unused_cells_that_do_not_count() {
    let mut bucket = ModelBucket { ignores_held: true, ..ModelBucket::default() };
    // A replica leases a block and uses one cell of it. The bucket is full again when the others are used.
    let load = |ms: u64| match ms % 1200 {
        0..300 => [u32::from(ms.is_multiple_of(5)); 4],
        900 => [1, 0, 0, 0],
        945 => [40; 4],
        _ => [0; 4],
    };
    assert!(simulate(rate(100, 20), &mut bucket, load).excess > 0);
    let outcome = simulate(rate(100, 20), &mut ModelBucket::default(), load);
    assert_eq!(outcome.excess, 0, "{outcome:?}");
}

#[test]
fn denial_is_remembered_until_the_next_cell() {
    let clock = Clock::fixed(Moment::from_unix_s(1));
    let cells = LeasedCells::new(1, rate(1, 1));
    let now = clock.tick();
    assert_eq!(cells.take(now), Take::Wait { is_first: true });
    assert_eq!(cells.take(now), Take::Wait { is_first: false });
    let retry = Duration::from_millis(700);
    cells.record_answer(1, LeaseAnswer { granted: 0, retry }, now, now);
    assert_eq!(cells.take(now), Take::Denied(retry));
    clock.advance(Duration::from_millis(699));
    assert_eq!(cells.take(clock.tick()), Take::Denied(Duration::from_millis(1)));
    assert!(!cells.is_idle(clock.tick()));
    clock.advance(Duration::from_millis(1));
    assert!(cells.is_idle(clock.tick()));
    assert_eq!(cells.take(clock.tick()), Take::Wait { is_first: true });
}

#[test]
fn cells_end_with_their_lease() {
    let clock = Clock::fixed(Moment::from_unix_s(1));
    let cells = LeasedCells::new(1, rate(100, 200));
    let sent = clock.tick();
    let answer = LeaseAnswer { granted: 5, retry: Duration::ZERO };
    cells.record_answer(5, answer, sent, sent);
    assert_eq!(cells.take(sent), Take::Admitted);
    clock.advance(Duration::from_millis(249));
    assert_eq!(cells.take(clock.tick()), Take::Admitted);
    clock.advance(Duration::from_millis(1));
    assert_eq!(cells.take(clock.tick()), Take::Wait { is_first: true });
}

#[test]
fn block_follows_the_use_of_leases() {
    let cells = LeasedCells::new(1, rate(100, 200));
    let clock = Clock::fixed(Moment::from_unix_s(1));
    let now = clock.tick();
    let lease = |granted, used| {
        let answer = LeaseAnswer { granted, retry: Duration::ZERO };
        cells.record_answer(i32::try_from(granted).unwrap(), answer, now, now);
        assert!((0..used).all(|_| cells.take(now) == Take::Admitted));
        cells.request(now).wanted
    };
    assert_eq!(cells.request(now).wanted, 1);
    assert_eq!([lease(1, 1), lease(2, 2), lease(4, 4), lease(5, 5)], [2, 4, 5, 5], "5 % at most");
    assert_eq!(lease(0, 0), 5);
    assert_eq!(lease(5, 2), 2, "two cells were used");
    let waiting: Vec<_> = (0..300).map(|_| cells.wait()).collect();
    assert_eq!(cells.request(now).wanted, 200, "one for each waiting request, up to the burst");
    drop(waiting);
    assert!(cells.request(now).wanted <= 5);
}

#[test]
fn share_is_the_limit_divided_by_the_replicas() {
    let clock = Clock::fixed(Moment::from_unix_s(1));
    let cells = LeasedCells::new(1, rate(10, 20));
    let admitted =
        |replicas| (0..100).filter(|_| cells.take_share(replicas, clock.tick()).is_ok()).count();
    assert_eq!(admitted(4), 5);
    assert_eq!(cells.take_share(4, clock.tick()), Err(Duration::from_millis(400)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(admitted(4), 2);
    clock.advance(Duration::from_mins(1));
    assert_eq!(admitted(40), 1, "at least one");
}

#[test]
fn leased_cells_count_against_the_share() {
    let clock = Clock::fixed(Moment::from_unix_s(1));
    let cells = LeasedCells::new(1, rate(10, 20));
    let answer = LeaseAnswer { granted: 20, retry: Duration::ZERO };
    cells.record_answer(20, answer, clock.tick(), clock.tick());
    for _ in 0..20 {
        assert_eq!(cells.take(clock.tick()), Take::Admitted);
    }
    assert!(cells.take_share(1, clock.tick()).is_err());
}
