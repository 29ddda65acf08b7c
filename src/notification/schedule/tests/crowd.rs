//! Many hosts at once, in simulated time.

use super::*;

const RESPONSE_TIME: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(10);
const WIDE: CallLimits = CallLimits { calls_max: 512, calls_per_host_max: 8 };

const DEAD: u64 = 1000;
const HEALTHY: u64 = 5000;

// How long the notifications of the healthy host waited, and how many calls each dead host
// received.
struct CrowdResult {
    waited: Vec<Duration>,
    calls: HashMap<u64, u32>,
}

/// Simulates ten minutes of a healthy host with a new notification every 100 ms beside many dead
/// hosts. If `known`, the healthy host was called before the dead ones were added.
fn beside_dead_hosts(known: bool, queued_at: Moment) -> CrowdResult {
    let mut schedule = Schedule::new(WIDE, 1);
    let mut result = CrowdResult { waited: Vec::new(), calls: HashMap::new() };
    let mut ends: BTreeMap<(Moment, u64), DueNotification> = BTreeMap::new();
    let mut since: HashMap<u64, Moment> = HashMap::new();
    let mut number = 0;
    let mut add = |schedule: &mut Schedule, of: u64, host_number, queued_at, now| {
        number += 1;
        schedule.add(queued(number, of, 1, queued_at), host(host_number), now);
        number
    };
    if known {
        add(&mut schedule, HEALTHY, HEALTHY, START, START);
        let due = schedule.next_due(START).unwrap();
        schedule.complete(&due, HostResponse::Prompt, Disposition::Done, START);
    }
    let dead: HashMap<u64, u64> = (0..DEAD * 2)
        .map(|of| (add(&mut schedule, of, of % DEAD, queued_at, START), of % DEAD))
        .collect();
    let (mut now, mut next_at) = (START, START);
    while now < START + Duration::from_mins(10) {
        if now >= next_at {
            let of = HEALTHY + u64::try_from(result.waited.len()).unwrap() % 50;
            since.insert(add(&mut schedule, of, HEALTHY, now, now), now);
            next_at = now + Duration::from_millis(100);
        }
        while let Some((&(at, number), due)) = ends.first_key_value()
            && at <= now
        {
            if let Some(since) = since.get(&number) {
                schedule.complete(due, HostResponse::Prompt, Disposition::Done, now);
                result.waited.push(now.since(*since));
            } else {
                schedule.complete(due, HostResponse::NoResponse, RETRY, now);
            }
            ends.remove(&(at, number));
        }
        for due in all(&mut schedule, now) {
            let duration = if since.contains_key(&due.number) { RESPONSE_TIME } else { TIMEOUT };
            ends.insert((now + duration, due.number), due);
            if let Some(host) = dead.get(&due.number) {
                *result.calls.entry(*host).or_default() += 1;
            }
        }
        let ends = ends.first_key_value().map(|((at, _), _)| *at);
        now = [ends, schedule.wake_at(), Some(next_at)].into_iter().flatten().min().unwrap();
    }
    result
}

#[test]
fn dead_hosts_do_not_delay_a_healthy_host() {
    let CrowdResult { waited, calls } = beside_dead_hosts(true, START);
    assert!(waited.len() > 5900, "{}", waited.len());
    assert_eq!(waited.iter().max(), Some(&RESPONSE_TIME));
    // Each dead host is retried with growing backoff.
    let call_counts = calls.values();
    assert_eq!(calls.len(), usize::try_from(DEAD).unwrap());
    assert!(*call_counts.clone().min().unwrap() >= 5 && *call_counts.max().unwrap() <= 30);
}

#[test]
fn overdue_dead_hosts_do_not_delay_a_new_host() {
    let CrowdResult { waited, .. } = beside_dead_hosts(false, START - HOUR);
    assert_eq!(waited.iter().max(), Some(&RESPONSE_TIME));
}

#[test]
fn unknown_dead_hosts_delay_a_new_host_by_about_a_minute() {
    // 1,000 first calls of 10 s each, 256 at a time; the later half run beside retries.
    let CrowdResult { waited, .. } = beside_dead_hosts(false, START);
    let longest = *waited.iter().max().unwrap();
    assert!(longest <= Duration::from_secs(61), "{longest:?}");
    let late = waited.iter().filter(|waited| **waited > RESPONSE_TIME * 2).count();
    assert!(late <= 620, "{late}");
}

#[test]
fn idle_hosts_are_evicted_when_there_are_too_many() {
    let mut schedule = Schedule::new(WIDE, 1);
    for number in 0..12_000 {
        schedule.add(queued(number, number, 1, START), host(number), START);
        let due = schedule.next_due(START).unwrap();
        schedule.complete(&due, HostResponse::Prompt, Disposition::Done, START);
    }
    assert_eq!(schedule.hosts.known_count(), 10_000);
}

/// Prints the cost of one step, with many and with few notifications. Run it alone, optimized:
/// `cargo test --release --lib -- --ignored --nocapture schedule_step_cost`.
#[test]
#[ignore = "prints a measurement"]
#[expect(clippy::print_stdout, reason = "prints a measurement")]
fn schedule_step_cost() {
    let clock = crate::clock::Clock::system();
    for notifications in [1_000_u64, 10_000, 100_000, 1_000_000] {
        let mut schedule = Schedule::new(WIDE, 1);
        let began = clock.tick();
        for number in 0..notifications {
            schedule.add(
                queued(number, number, 1, START),
                host(number % (notifications / 10)),
                START,
            );
        }
        let added = clock.elapsed(began);
        let (mut now, mut steps) = (START, 0_u32);
        let began = clock.tick();
        while steps < 200_000 {
            for due in all(&mut schedule, now) {
                let (response, fate) = match steps % 3 {
                    0 => (HostResponse::NoResponse, RETRY),
                    1 => (HostResponse::Prompt, RETRY),
                    _ => (HostResponse::Prompt, Disposition::NotAttempted),
                };
                schedule.complete(&due, response, fate, now);
                steps += 1;
            }
            now = now + Duration::from_millis(1);
        }
        let each = clock.elapsed(began) / steps;
        let adding = added / u32::try_from(notifications).unwrap();
        println!("{notifications} notifications: {adding:?} to add one, {each:?} for a call");
    }
}
