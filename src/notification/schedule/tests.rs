mod crowd;

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

const START: Moment = Moment::from_unix_s(1_700_000_000);
const BOUNDS: CallLimits = CallLimits { calls_max: 6, calls_per_host_max: 2 };

fn session(number: u64) -> SessionId {
    SessionId(uuid::Uuid::from_u64_pair(7, number))
}

fn host(number: u64) -> Arc<str> {
    format!("https://h{number}.example").into()
}

fn client(number: u64) -> ClientId {
    ClientId(format!("c{number}").into())
}

fn queued(number: u64, of: u64, client_number: u64, at: Moment) -> OutboxEntry {
    OutboxEntry {
        number,
        session: session(of),
        client: client(client_number),
        queued_at: at,
        sink_url: String::new(),
        status: QosStatus::Available,
    }
}

/// Takes all due notifications.
fn all(schedule: &mut Schedule, now: Moment) -> Vec<DueNotification> {
    std::iter::from_fn(|| schedule.next_due(now)).collect()
}

fn numbers(starts: &[DueNotification]) -> Vec<u64> {
    starts.iter().map(|due| due.number).collect()
}

const RETRY: Disposition = Disposition::Retry(Duration::ZERO, "failed");
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn notifications_of_a_session_are_delivered_in_order() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=3 {
        schedule.add(queued(number, 1, 1, START), host(1), START);
    }
    let first = all(&mut schedule, START);
    assert_eq!(numbers(&first), [1]);
    schedule.complete(&first[0], HostResponse::Prompt, RETRY, START);
    let retried = all(&mut schedule, START + HOUR);
    assert_eq!(numbers(&retried), [1]);
    assert_eq!(retried[0].failure, Some(DeliveryFailure { reason: "failed", consecutive: 1 }));
    schedule.complete(&retried[0], HostResponse::Prompt, Disposition::Done, START + HOUR);
    let next = all(&mut schedule, START + HOUR);
    assert_eq!((numbers(&next), next[0].failure), (vec![2], None));
    assert_eq!((schedule.len(), schedule.oldest()), (2, Some(START)));
}

#[test]
fn new_host_gets_one_call_until_it_answers() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=5 {
        schedule.add(queued(number, number, 1, START), host(1), START);
    }
    let first = all(&mut schedule, START);
    assert_eq!(numbers(&first), [1]);
    schedule.complete(&first[0], HostResponse::Prompt, Disposition::Done, START);
    let more = all(&mut schedule, START);
    assert_eq!(numbers(&more), [2, 3]);
    // A slow host may have as many calls.
    schedule.complete(&more[0], HostResponse::Slow, Disposition::Done, START);
    assert_eq!(numbers(&all(&mut schedule, START)), [4]);
}

#[test]
fn unresponsive_host_backs_off_exponentially_and_gets_one_call() {
    let mut schedule = Schedule::new(CallLimits { calls_per_host_max: 4, ..BOUNDS }, 1);
    for number in 1..=6 {
        schedule.add(queued(number, number, 1, START), host(1), START);
    }
    let first = all(&mut schedule, START);
    schedule.complete(&first[0], HostResponse::Prompt, Disposition::Done, START);
    // Four calls that fail together count as one failure.
    let mut now = START;
    for due in all(&mut schedule, now) {
        schedule.complete(&due, HostResponse::NoResponse, RETRY, now + Duration::from_secs(10));
    }
    now = now + Duration::from_secs(10);
    let mut backoffs = Vec::new();
    for failures in 1..=14 {
        let at = schedule.hosts.backoff_until(&host(1)).unwrap();
        let longest = BACKOFF * 2_u32.pow(failures - 1);
        assert!(at.since(now) <= longest.min(BACKOFF_MAX), "{failures}: {:?}", at.since(now));
        backoffs.push(at.since(now));
        now = now.max(at);
        schedule.retry(&OutboxSelector::All);
        let starts = all(&mut schedule, now);
        assert_eq!(starts.len(), 1);
        schedule.complete(&starts[0], HostResponse::NoResponse, RETRY, now);
    }
    assert!(backoffs.iter().any(|backoff| *backoff > Duration::from_mins(2)), "{backoffs:?}");
    // The host answers again.
    schedule.retry(&OutboxSelector::All);
    let last = all(&mut schedule, now);
    schedule.complete(&last[0], HostResponse::Prompt, Disposition::Done, now);
    schedule.retry(&OutboxSelector::All);
    assert_eq!(all(&mut schedule, now).len(), 4);
}

#[test]
fn retry_delay_of_a_sink_is_respected() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    schedule.add(queued(1, 1, 1, START), host(1), START);
    let minute = Duration::from_mins(1);
    let first = schedule.next_due(START).unwrap();
    let fate = Disposition::Retry(minute, "too_many_requests");
    schedule.complete(&first, HostResponse::Prompt, fate, START);
    let at = schedule.wake_at().unwrap();
    assert!(at >= START + minute && at <= START + minute + BACKOFF);
    assert_eq!(schedule.next_due(START + Duration::from_millis(59_999)), None);
    let [listed] = &schedule.page(&OutboxSelector::All, None, 10)[..] else { panic!() };
    assert_eq!(
        (listed.next_at, listed.failure, listed.attempts),
        (Some(at), Some("too_many_requests"), 1)
    );
    // A manual retry skips the delay.
    assert_eq!(schedule.retry(&OutboxSelector::Session(session(1))), 1);
    assert!(schedule.next_due(START).is_some());
}

#[test]
fn unattempted_notification_keeps_its_state() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    schedule.add(queued(1, 1, 1, START), host(1), START);
    let first = schedule.next_due(START).unwrap();
    assert!(schedule.complete(&first, HostResponse::NotCalled, Disposition::NotAttempted, START));
    assert_eq!(schedule.next_due(START), Some(first));
}

#[test]
fn removed_notifications_are_not_delivered_and_new_ones_wait_for_the_running_call() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=4 {
        schedule.add(queued(number, number % 2, number % 2, START), host(1), START);
    }
    let first = schedule.next_due(START).unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(schedule.remove(&OutboxSelector::Client(client(1))), [1, 3]);
    assert!(schedule.remove(&OutboxSelector::Session(session(1))).is_empty());
    schedule.add(queued(5, 1, 1, START), host(1), START);
    assert_eq!(schedule.next_due(START), None);
    assert!(!schedule.complete(&first, HostResponse::Prompt, Disposition::Done, START));
    assert_eq!(numbers(&all(&mut schedule, START)), [2, 5]);
    assert_eq!(schedule.remove(&OutboxSelector::All), [2, 4, 5]);
    assert_eq!(schedule.len(), 0);
}

#[test]
fn expired_notifications_are_removed_unless_being_delivered() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=3 {
        let at = START + Duration::from_secs(number);
        schedule.add(queued(number, number, 1, at), host(number), at);
    }
    let second = Duration::from_secs(1);
    assert_eq!(schedule.remove_expired(START), None);
    assert_eq!(schedule.remove_expired(START + second), Some(1));
    assert_eq!(schedule.remove_expired(START + second), None);
    let due = schedule.next_due(START + HOUR).unwrap();
    assert_eq!((due.number, schedule.remove_expired(START + HOUR)), (2, None));
    schedule.complete(&due, HostResponse::NoResponse, RETRY, START + HOUR);
    assert_eq!(schedule.remove_expired(START + HOUR), Some(2));
    assert_eq!(schedule.remove_expired(START + HOUR), Some(3));
    assert_eq!((schedule.remove_expired(START + HOUR), schedule.len()), (None, 0));
}

#[test]
fn notifications_are_listed_in_order_and_in_pages() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=6 {
        schedule.add(queued(number, number % 2, number % 2, START), host(1), START);
    }
    schedule.next_due(START).unwrap();
    let page = |which: &OutboxSelector, after, max| -> Vec<u64> {
        schedule.page(which, after, max).iter().map(|listed| listed.number).collect()
    };
    assert_eq!(page(&OutboxSelector::All, None, 4), [1, 2, 3, 4]);
    assert_eq!(page(&OutboxSelector::All, Some(4), 4), [5, 6]);
    assert_eq!(page(&OutboxSelector::Client(client(0)), None, 2), [2, 4]);
    assert_eq!(page(&OutboxSelector::Session(session(1)), Some(1), 9), [3, 5]);
    assert!(page(&OutboxSelector::All, Some(u64::MAX), 9).is_empty());
    let next: Vec<_> =
        schedule.page(&OutboxSelector::All, None, 9).iter().map(|s| s.next_at).collect();
    assert_eq!(next, [None, Some(START), None, None, None, None]);
}

#[derive(Clone, Copy, Debug)]
enum ScheduleStep {
    Add { session: u64 },
    Advance { ms: u64 },
    Start,
    Complete { which: usize, response: HostResponse, fate: Disposition },
    RemoveSession(u64),
    RemoveClient(u64),
    RemoveExpired { ms: u64 },
    Retry(u64),
}

fn steps() -> impl Strategy<Value = Vec<ScheduleStep>> {
    let response = prop_oneof![
        Just(HostResponse::Prompt),
        Just(HostResponse::Slow),
        Just(HostResponse::NoResponse),
        Just(HostResponse::NotCalled),
    ];
    let fate = prop_oneof![
        2 => Just(Disposition::Done),
        2 => Just(RETRY),
        1 => (0..100_000_u64).prop_map(|ms| Disposition::Retry(Duration::from_millis(ms), "failed")),
        1 => Just(Disposition::NotAttempted),
    ];
    let complete =
        (any::<prop::sample::Index>(), response, fate).prop_map(|(which, response, fate)| {
            ScheduleStep::Complete { which: which.index(64), response, fate }
        });
    let step = prop_oneof![
        8 => (0..SESSIONS).prop_map(|session| ScheduleStep::Add { session }),
        4 => (0..20_000_u64).prop_map(|ms| ScheduleStep::Advance { ms }),
        6 => Just(ScheduleStep::Start),
        10 => complete,
        1 => (0..SESSIONS).prop_map(ScheduleStep::RemoveSession),
        1 => (0..CLIENTS).prop_map(ScheduleStep::RemoveClient),
        1 => (0..60_000_u64).prop_map(|ms| ScheduleStep::RemoveExpired { ms }),
        1 => (0..SESSIONS).prop_map(ScheduleStep::Retry),
    ];
    vec(step, 0..200)
}

const SESSIONS: u64 = 24;
const HOSTS: u64 = 8;
const CLIENTS: u64 = 3;

// The expected state of a host.
#[derive(Default)]
struct ExpectedHost {
    healthy: bool,
    slow: bool,
    failed_at: Option<Moment>,
}

// A naive model of the schedule, which scans all notifications each time.
struct ScheduleWorld {
    schedule: Schedule,
    now: Moment,
    last: u64,
    waiting: BTreeMap<u64, VecDeque<(u64, Moment)>>,
    running: Vec<(DueNotification, u64, Moment, bool)>,
    not_before: HashMap<u64, Moment>,
    hosts: HashMap<u64, ExpectedHost>,
}

impl ScheduleWorld {
    fn new(seed: u64) -> Self {
        Self {
            schedule: Schedule::new(BOUNDS, seed),
            now: START,
            last: 0,
            waiting: BTreeMap::new(),
            running: Vec::new(),
            not_before: HashMap::new(),
            hosts: HashMap::new(),
        }
    }

    fn step(&mut self, step: ScheduleStep) {
        match step {
            ScheduleStep::Add { session } => {
                self.last += 1;
                let notice = queued(self.last, session, session % CLIENTS, self.now);
                self.schedule.add(notice, host(session % HOSTS), self.now);
                self.waiting.entry(session).or_default().push_back((self.last, self.now));
            }
            ScheduleStep::Advance { ms } => self.now = self.now + Duration::from_millis(ms),
            ScheduleStep::Start => self.start(),
            ScheduleStep::Complete { which, response, fate } if !self.running.is_empty() => {
                self.complete(which % self.running.len(), response, fate);
            }
            ScheduleStep::Complete { .. } => {}
            ScheduleStep::RemoveSession(one) => {
                let removed = self.schedule.remove(&OutboxSelector::Session(session(one)));
                self.check_removed(removed, |session| session == one);
            }
            ScheduleStep::RemoveClient(one) => {
                let removed = self.schedule.remove(&OutboxSelector::Client(client(one)));
                self.check_removed(removed, |session| session % CLIENTS == one);
            }
            ScheduleStep::RemoveExpired { ms } => {
                let than = self.now - Duration::from_millis(ms);
                while let Some(number) = self.schedule.remove_expired(than) {
                    let session = self.session_of(number);
                    assert!(!self.is_running(session, number));
                    let (first, at) = self.waiting.get_mut(&session).unwrap().pop_front().unwrap();
                    assert!(first == number && at <= than);
                    if self.waiting[&session].is_empty() {
                        self.not_before.remove(&session);
                    }
                }
            }
            ScheduleStep::Retry(one) => {
                self.schedule.retry(&OutboxSelector::Session(session(one)));
                self.not_before.remove(&one);
            }
        }
        let count: usize = self.waiting.values().map(VecDeque::len).sum();
        assert_eq!(self.schedule.len(), count);
        let oldest = self.waiting.values().filter_map(|all| all.front()).min();
        assert_eq!(self.schedule.oldest(), oldest.map(|(_, at)| *at));
    }

    fn start(&mut self) {
        while let Some(due) = self.schedule.next_due(self.now) {
            let session = self.session_of(due.number);
            let host = session % HOSTS;
            // In order, one at a time per session, and not before the backoff ends.
            assert_eq!(self.waiting[&session].front().unwrap().0, due.number);
            assert!(self.running.iter().all(|(other, ..)| other.session != due.session));
            assert!(self.not_before.get(&session).is_none_or(|at| *at <= self.now));
            // Within the call limits.
            let of_host = self.running.iter().filter(|(_, other, ..)| *other == host).count();
            let ExpectedHost { healthy, slow, .. } = self.hosts.entry(host).or_default();
            let (healthy, answers) = (*healthy, *healthy || *slow);
            assert!(of_host < if answers { BOUNDS.calls_per_host_max } else { 1 });
            self.running.push((due, host, self.now, healthy));
            let unhealthy = self.running.iter().filter(|(.., healthy)| !healthy).count();
            assert!(self.running.len() <= BOUNDS.calls_max && unhealthy <= BOUNDS.calls_max / 2);
        }
        let waits = self.waiting.values().any(|all| !all.is_empty());
        assert!(!waits || !self.running.is_empty() || self.schedule.wake_at().is_some());
    }

    fn complete(&mut self, which: usize, response: HostResponse, fate: Disposition) {
        let (due, host, started_at, _) = self.running.swap_remove(which);
        let session = self.waiting.iter().find_map(|(session, all)| {
            let first = all.front().is_some_and(|(number, _)| *number == due.number);
            first.then_some(*session)
        });
        let there = self.schedule.complete(&due, response, fate, self.now);
        assert_eq!(there, session.is_some());
        let seen = self.hosts.entry(host).or_default();
        match response {
            HostResponse::Prompt => (seen.healthy, seen.slow) = (true, false),
            HostResponse::Slow => (seen.healthy, seen.slow) = (false, true),
            HostResponse::NoResponse if seen.failed_at.is_none_or(|at| at <= started_at) => {
                *seen = ExpectedHost { failed_at: Some(self.now), ..ExpectedHost::default() };
            }
            HostResponse::NoResponse | HostResponse::NotCalled => {}
        }
        let Some(session) = session else { return };
        match fate {
            Disposition::Done => _ = self.waiting.get_mut(&session).unwrap().pop_front(),
            Disposition::Retry(wait, _) => _ = self.not_before.insert(session, self.now + wait),
            Disposition::NotAttempted => {}
        }
    }

    fn check_removed(&mut self, mut removed: Vec<u64>, of: impl Fn(u64) -> bool) {
        let mut expected = Vec::new();
        for (session, all) in &mut self.waiting {
            if of(*session) {
                expected.extend(all.drain(..).map(|(number, _)| number));
                self.not_before.remove(session);
            }
        }
        expected.sort_unstable();
        removed.sort_unstable();
        assert_eq!(removed, expected);
    }

    fn session_of(&self, number: u64) -> u64 {
        let has = |all: &VecDeque<(u64, Moment)>| all.iter().any(|(other, _)| *other == number);
        *self.waiting.iter().find(|(_, all)| has(all)).expect("notification is queued").0
    }

    fn is_running(&self, of: u64, number: u64) -> bool {
        self.running.iter().any(|(due, ..)| (due.session, due.number) == (session(of), number))
    }

    // From now on every delivery succeeds.
    fn finish(mut self) {
        for _ in 0..10 * SESSIONS * (1 + self.last) {
            while !self.running.is_empty() {
                self.complete(0, HostResponse::Prompt, Disposition::Done);
            }
            if self.schedule.len() == 0 {
                break;
            }
            self.step(ScheduleStep::Start);
            if self.running.is_empty() {
                self.now = self.now.max(self.schedule.wake_at().unwrap());
            }
        }
        assert!(self.waiting.values().all(VecDeque::is_empty), "{:?}", self.waiting);
        // No state is left over.
        assert!(self.schedule.sessions.is_empty() && self.schedule.backoffs.is_empty());
        assert!(all(&mut self.schedule, self.now + HOUR).is_empty());
        assert_eq!(self.schedule.wake_at(), None);
    }
}

proptest! {
    #[test]
    fn order_and_limits_hold_and_nothing_is_lost(
        steps in steps(), seed in any::<u64>(),
    ) {
        let mut world = ScheduleWorld::new(seed);
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}
