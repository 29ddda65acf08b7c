//! Many hosts at once, in a world whose time is made up.

use super::*;

const HEARD_WITHIN: Duration = Duration::from_millis(20);
const CALL: Duration = Duration::from_secs(10);
const WIDE: Bounds = Bounds { calls_max: 512, calls_per_host_max: 8 };

const DEAD: u64 = 1000;
const SOUND: u64 = 5000;

// How long the sound host's notices waited, and how often each dead one was called.
struct Outcome {
    waited: Vec<Duration>,
    calls: HashMap<u64, u32>,
}

/// A host that answers, one of whose sessions has something to hear every tenth of a second, beside
/// many that never do, for ten minutes. `known` tells whether it was called before those were there.
fn beside_dead_hosts(known: bool, queued_at: Moment) -> Outcome {
    let mut schedule = Schedule::new(WIDE, 1);
    let mut outcome = Outcome { waited: Vec::new(), calls: HashMap::new() };
    let mut ends: BTreeMap<(Moment, u64), Start> = BTreeMap::new();
    let mut since: HashMap<u64, Moment> = HashMap::new();
    let mut number = 0;
    let mut add = |schedule: &mut Schedule, of: u64, host_number, queued_at, now| {
        number += 1;
        schedule.add(queued(number, of, 1, queued_at), host(host_number), now);
        number
    };
    if known {
        add(&mut schedule, SOUND, SOUND, START, START);
        let start = schedule.next(START).unwrap();
        schedule.over(&start, Heard::Promptly, Fate::Settled, START);
    }
    let dead: HashMap<u64, u64> = (0..DEAD * 2)
        .map(|of| (add(&mut schedule, of, of % DEAD, queued_at, START), of % DEAD))
        .collect();
    let (mut now, mut next_at) = (START, START);
    while now < START + Duration::from_mins(10) {
        if now >= next_at {
            let of = SOUND + u64::try_from(outcome.waited.len()).unwrap() % 50;
            since.insert(add(&mut schedule, of, SOUND, now, now), now);
            next_at = now + Duration::from_millis(100);
        }
        while let Some((&(at, number), start)) = ends.first_key_value()
            && at <= now
        {
            if let Some(since) = since.get(&number) {
                schedule.over(start, Heard::Promptly, Fate::Settled, now);
                outcome.waited.push(now.since(*since));
            } else {
                schedule.over(start, Heard::Nothing, AGAIN, now);
            }
            ends.remove(&(at, number));
        }
        for start in all(&mut schedule, now) {
            let lasts = if since.contains_key(&start.number) { HEARD_WITHIN } else { CALL };
            ends.insert((now + lasts, start.number), start);
            if let Some(host) = dead.get(&start.number) {
                *outcome.calls.entry(*host).or_default() += 1;
            }
        }
        let ends = ends.first_key_value().map(|((at, _), _)| *at);
        now = [ends, schedule.wake_at(), Some(next_at)].into_iter().flatten().min().unwrap();
    }
    outcome
}

#[test]
fn a_thousand_hosts_that_never_answer_do_not_delay_one_that_does() {
    let Outcome { waited, calls } = beside_dead_hosts(true, START);
    assert!(waited.len() > 5900, "{}", waited.len());
    assert_eq!(waited.iter().max(), Some(&HEARD_WITHIN));
    // And each of those is called again and again, later and later.
    let often = calls.values();
    assert_eq!(calls.len(), usize::try_from(DEAD).unwrap());
    assert!(*often.clone().min().unwrap() >= 5 && *often.max().unwrap() <= 30);
}

#[test]
fn nor_one_that_was_never_called_if_those_have_waited_for_long() {
    let Outcome { waited, .. } = beside_dead_hosts(false, START - HOUR);
    assert_eq!(waited.iter().max(), Some(&HEARD_WITHIN));
}

#[test]
fn nor_for_long_if_nothing_is_known_of_any() {
    // A thousand first calls of ten seconds, 256 at once, the later half of them beside second ones.
    let Outcome { waited, .. } = beside_dead_hosts(false, START);
    let longest = *waited.iter().max().unwrap();
    assert!(longest <= Duration::from_secs(61), "{longest:?}");
    let late = waited.iter().filter(|waited| **waited > HEARD_WITHIN * 2).count();
    assert!(late <= 620, "{late}");
}

#[test]
fn hosts_without_notices_are_forgotten_when_there_are_too_many() {
    let mut schedule = Schedule::new(WIDE, 1);
    for number in 0..12_000 {
        schedule.add(queued(number, number, 1, START), host(number), START);
        let start = schedule.next(START).unwrap();
        schedule.over(&start, Heard::Promptly, Fate::Settled, START);
    }
    assert_eq!(schedule.hosts.remembered(), 10_000);
}

/// Prints what a step costs, with many notices and with few. Run it alone, optimised:
/// `cargo test --release --lib -- --ignored --nocapture what_a_step_costs`.
#[test]
#[ignore = "a measurement, for people to read"]
#[expect(clippy::print_stdout, reason = "a measurement, for people to read")]
fn what_a_step_costs() {
    let clock = crate::clock::Clock::system();
    for notices in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let mut schedule = Schedule::new(WIDE, 1);
        let began = clock.tick();
        for number in 0..notices {
            schedule.add(queued(number, number, 1, START), host(number % (notices / 10)), START);
        }
        let added = clock.elapsed(began);
        let (mut now, mut steps) = (START, 0_u32);
        let began = clock.tick();
        while steps < 200_000 {
            for start in all(&mut schedule, now) {
                let (heard, fate) = match steps % 3 {
                    0 => (Heard::Nothing, AGAIN),
                    1 => (Heard::Promptly, AGAIN),
                    _ => (Heard::Promptly, Fate::Untried),
                };
                schedule.over(&start, heard, fate, now);
                steps += 1;
            }
            now = now + Duration::from_millis(1);
        }
        let each = clock.elapsed(began) / steps;
        let adding = added / u32::try_from(notices).unwrap();
        println!("{notices} notices: {adding:?} to add one, {each:?} for a call");
    }
}
