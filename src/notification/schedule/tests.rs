mod crowd;

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

const START: Moment = Moment::from_unix_s(1_700_000_000);
const BOUNDS: Bounds = Bounds { calls_max: 6, calls_per_host_max: 2 };

fn session(number: u64) -> SessionId {
    SessionId(uuid::Uuid::from_u64_pair(7, number))
}

fn host(number: u64) -> Arc<str> {
    format!("https://h{number}.example").into()
}

fn client(number: u64) -> ClientId {
    ClientId(format!("c{number}").into())
}

fn queued(number: u64, of: u64, client_number: u64, at: Moment) -> Queued {
    Queued {
        number,
        session: session(of),
        client: client(client_number),
        queued_at: at,
        sink_url: String::new(),
        status: QosStatus::Available,
    }
}

/// Takes all that may be told now.
fn all(schedule: &mut Schedule, now: Moment) -> Vec<Start> {
    std::iter::from_fn(|| schedule.next(now)).collect()
}

fn numbers(starts: &[Start]) -> Vec<u64> {
    starts.iter().map(|start| start.number).collect()
}

const AGAIN: Fate = Fate::Again(Duration::ZERO, "failed");
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_sessions_notices_are_told_one_after_the_other() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=3 {
        schedule.add(queued(number, 1, 1, START), host(1), START);
    }
    let first = all(&mut schedule, START);
    assert_eq!(numbers(&first), [1]);
    schedule.over(&first[0], Heard::Promptly, AGAIN, START);
    let again = all(&mut schedule, START + HOUR);
    assert_eq!(numbers(&again), [1]);
    assert_eq!(again[0].failure, Some(Failure { why: "failed", in_a_row: 1 }));
    schedule.over(&again[0], Heard::Promptly, Fate::Settled, START + HOUR);
    let next = all(&mut schedule, START + HOUR);
    assert_eq!((numbers(&next), next[0].failure), (vec![2], None));
    assert_eq!((schedule.len(), schedule.oldest()), (2, Some(START)));
}

#[test]
fn a_host_that_was_never_called_is_called_once_then_as_often_as_it_may() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=5 {
        schedule.add(queued(number, number, 1, START), host(1), START);
    }
    let first = all(&mut schedule, START);
    assert_eq!(numbers(&first), [1]);
    schedule.over(&first[0], Heard::Promptly, Fate::Settled, START);
    let more = all(&mut schedule, START);
    assert_eq!(numbers(&more), [2, 3]);
    // One that lets us wait may be called as often.
    schedule.over(&more[0], Heard::Slowly, Fate::Settled, START);
    assert_eq!(numbers(&all(&mut schedule, START)), [4]);
}

#[test]
fn a_host_that_does_not_answer_is_left_alone_longer_and_longer_then_called_once() {
    let mut schedule = Schedule::new(Bounds { calls_per_host_max: 4, ..BOUNDS }, 1);
    for number in 1..=6 {
        schedule.add(queued(number, number, 1, START), host(1), START);
    }
    let first = all(&mut schedule, START);
    schedule.over(&first[0], Heard::Promptly, Fate::Settled, START);
    // Four that fail together are one failure.
    let mut now = START;
    for start in all(&mut schedule, now) {
        schedule.over(&start, Heard::Nothing, AGAIN, now + Duration::from_secs(10));
    }
    now = now + Duration::from_secs(10);
    let mut paused = Vec::new();
    for failures in 1..=14 {
        let at = schedule.hosts.waits_until(&host(1)).unwrap();
        let longest = PAUSE * 2_u32.pow(failures - 1);
        assert!(at.since(now) <= longest.min(PAUSE_MAX), "{failures}: {:?}", at.since(now));
        paused.push(at.since(now));
        now = now.max(at);
        schedule.retry(&Which::All);
        let starts = all(&mut schedule, now);
        assert_eq!(starts.len(), 1);
        schedule.over(&starts[0], Heard::Nothing, AGAIN, now);
    }
    assert!(paused.iter().any(|pause| *pause > Duration::from_mins(2)), "{paused:?}");
    // Until it answers.
    schedule.retry(&Which::All);
    let last = all(&mut schedule, now);
    schedule.over(&last[0], Heard::Promptly, Fate::Settled, now);
    schedule.retry(&Which::All);
    assert_eq!(all(&mut schedule, now).len(), 4);
}

#[test]
fn a_sink_that_says_when_to_come_again_is_not_told_before() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    schedule.add(queued(1, 1, 1, START), host(1), START);
    let minute = Duration::from_mins(1);
    let first = schedule.next(START).unwrap();
    let fate = Fate::Again(minute, "too_many_requests");
    schedule.over(&first, Heard::Promptly, fate, START);
    let at = schedule.wake_at().unwrap();
    assert!(at >= START + minute && at <= START + minute + PAUSE);
    assert_eq!(schedule.next(START + Duration::from_millis(59_999)), None);
    let [shown] = &schedule.page(&Which::All, None, 10)[..] else { panic!() };
    assert_eq!(
        (shown.next_at, shown.failure, shown.attempts),
        (Some(at), Some("too_many_requests"), 1)
    );
    // Unless somebody says so.
    assert_eq!(schedule.retry(&Which::Session(session(1))), 1);
    assert!(schedule.next(START).is_some());
}

#[test]
fn what_was_not_tried_is_told_as_if_nothing_had_been() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    schedule.add(queued(1, 1, 1, START), host(1), START);
    let first = schedule.next(START).unwrap();
    assert!(schedule.over(&first, Heard::NotCalled, Fate::Untried, START));
    assert_eq!(schedule.next(START), Some(first));
}

#[test]
fn what_is_taken_out_is_told_no_more_and_what_comes_meanwhile_waits_for_the_call() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=4 {
        schedule.add(queued(number, number % 2, number % 2, START), host(1), START);
    }
    let first = schedule.next(START).unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(schedule.take(&Which::Client(client(1))), [1, 3]);
    assert!(schedule.take(&Which::Session(session(1))).is_empty());
    schedule.add(queued(5, 1, 1, START), host(1), START);
    assert_eq!(schedule.next(START), None);
    assert!(!schedule.over(&first, Heard::Promptly, Fate::Settled, START));
    assert_eq!(numbers(&all(&mut schedule, START)), [2, 5]);
    assert_eq!(schedule.take(&Which::All), [2, 4, 5]);
    assert_eq!(schedule.len(), 0);
}

#[test]
fn the_oldest_are_taken_out_but_for_one_that_is_being_told() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=3 {
        let at = START + Duration::from_secs(number);
        schedule.add(queued(number, number, 1, at), host(number), at);
    }
    let second = Duration::from_secs(1);
    assert_eq!(schedule.take_older(START), None);
    assert_eq!(schedule.take_older(START + second), Some(1));
    assert_eq!(schedule.take_older(START + second), None);
    let start = schedule.next(START + HOUR).unwrap();
    assert_eq!((start.number, schedule.take_older(START + HOUR)), (2, None));
    schedule.over(&start, Heard::Nothing, AGAIN, START + HOUR);
    assert_eq!(schedule.take_older(START + HOUR), Some(2));
    assert_eq!(schedule.take_older(START + HOUR), Some(3));
    assert_eq!((schedule.take_older(START + HOUR), schedule.len()), (None, 0));
}

#[test]
fn people_are_shown_each_notice_in_order_and_in_pages() {
    let mut schedule = Schedule::new(BOUNDS, 1);
    for number in 1..=6 {
        schedule.add(queued(number, number % 2, number % 2, START), host(1), START);
    }
    schedule.next(START).unwrap();
    let page = |which: &Which, after, max| -> Vec<u64> {
        schedule.page(which, after, max).iter().map(|shown| shown.number).collect()
    };
    assert_eq!(page(&Which::All, None, 4), [1, 2, 3, 4]);
    assert_eq!(page(&Which::All, Some(4), 4), [5, 6]);
    assert_eq!(page(&Which::Client(client(0)), None, 2), [2, 4]);
    assert_eq!(page(&Which::Session(session(1)), Some(1), 9), [3, 5]);
    assert!(page(&Which::All, Some(u64::MAX), 9).is_empty());
    let next: Vec<_> = schedule.page(&Which::All, None, 9).iter().map(|s| s.next_at).collect();
    assert_eq!(next, [None, Some(START), None, None, None, None]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add { session: u64 },
    Advance { ms: u64 },
    Start,
    Over { which: usize, heard: Heard, fate: Fate },
    TakeSession(u64),
    TakeClient(u64),
    TakeOlder { ms: u64 },
    Retry(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let heard = prop_oneof![
        Just(Heard::Promptly),
        Just(Heard::Slowly),
        Just(Heard::Nothing),
        Just(Heard::NotCalled),
    ];
    let fate = prop_oneof![
        2 => Just(Fate::Settled),
        2 => Just(AGAIN),
        1 => (0..100_000_u64).prop_map(|ms| Fate::Again(Duration::from_millis(ms), "failed")),
        1 => Just(Fate::Untried),
    ];
    let over = (any::<prop::sample::Index>(), heard, fate)
        .prop_map(|(which, heard, fate)| Step::Over { which: which.index(64), heard, fate });
    let step = prop_oneof![
        8 => (0..SESSIONS).prop_map(|session| Step::Add { session }),
        4 => (0..20_000_u64).prop_map(|ms| Step::Advance { ms }),
        6 => Just(Step::Start),
        10 => over,
        1 => (0..SESSIONS).prop_map(Step::TakeSession),
        1 => (0..CLIENTS).prop_map(Step::TakeClient),
        1 => (0..60_000_u64).prop_map(|ms| Step::TakeOlder { ms }),
        1 => (0..SESSIONS).prop_map(Step::Retry),
    ];
    vec(step, 0..200)
}

const SESSIONS: u64 = 24;
const HOSTS: u64 = 8;
const CLIENTS: u64 = 3;

// What is known of a host by whoever looks on.
#[derive(Default)]
struct Seen {
    sound: bool,
    slow: bool,
    failed_at: Option<Moment>,
}

// What the schedule is to do, by looking at all of it each time.
struct World {
    schedule: Schedule,
    now: Moment,
    last: u64,
    waiting: BTreeMap<u64, VecDeque<(u64, Moment)>>,
    running: Vec<(Start, u64, Moment, bool)>,
    not_before: HashMap<u64, Moment>,
    hosts: HashMap<u64, Seen>,
}

impl World {
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

    fn step(&mut self, step: Step) {
        match step {
            Step::Add { session } => {
                self.last += 1;
                let notice = queued(self.last, session, session % CLIENTS, self.now);
                self.schedule.add(notice, host(session % HOSTS), self.now);
                self.waiting.entry(session).or_default().push_back((self.last, self.now));
            }
            Step::Advance { ms } => self.now = self.now + Duration::from_millis(ms),
            Step::Start => self.start(),
            Step::Over { which, heard, fate } if !self.running.is_empty() => {
                self.over(which % self.running.len(), heard, fate);
            }
            Step::Over { .. } => {}
            Step::TakeSession(one) => {
                let taken = self.schedule.take(&Which::Session(session(one)));
                self.taken(taken, |session| session == one);
            }
            Step::TakeClient(one) => {
                let taken = self.schedule.take(&Which::Client(client(one)));
                self.taken(taken, |session| session % CLIENTS == one);
            }
            Step::TakeOlder { ms } => {
                let than = self.now - Duration::from_millis(ms);
                while let Some(number) = self.schedule.take_older(than) {
                    let session = self.session_of(number);
                    assert!(!self.is_running(session, number));
                    let (first, at) = self.waiting.get_mut(&session).unwrap().pop_front().unwrap();
                    assert!(first == number && at <= than);
                    if self.waiting[&session].is_empty() {
                        self.not_before.remove(&session);
                    }
                }
            }
            Step::Retry(one) => {
                self.schedule.retry(&Which::Session(session(one)));
                self.not_before.remove(&one);
            }
        }
        let count: usize = self.waiting.values().map(VecDeque::len).sum();
        assert_eq!(self.schedule.len(), count);
        let oldest = self.waiting.values().filter_map(|all| all.front()).min();
        assert_eq!(self.schedule.oldest(), oldest.map(|(_, at)| *at));
    }

    fn start(&mut self) {
        while let Some(start) = self.schedule.next(self.now) {
            let session = self.session_of(start.number);
            let host = session % HOSTS;
            // In order, one at a time, and not before its time.
            assert_eq!(self.waiting[&session].front().unwrap().0, start.number);
            assert!(self.running.iter().all(|(other, ..)| other.session != start.session));
            assert!(self.not_before.get(&session).is_none_or(|at| *at <= self.now));
            // No more than there may be.
            let of_host = self.running.iter().filter(|(_, other, ..)| *other == host).count();
            let Seen { sound, slow, .. } = self.hosts.entry(host).or_default();
            let (sound, answers) = (*sound, *sound || *slow);
            assert!(of_host < if answers { BOUNDS.calls_per_host_max } else { 1 });
            self.running.push((start, host, self.now, sound));
            let unsound = self.running.iter().filter(|(.., sound)| !sound).count();
            assert!(self.running.len() <= BOUNDS.calls_max && unsound <= BOUNDS.calls_max / 2);
        }
        let waits = self.waiting.values().any(|all| !all.is_empty());
        assert!(!waits || !self.running.is_empty() || self.schedule.wake_at().is_some());
    }

    fn over(&mut self, which: usize, heard: Heard, fate: Fate) {
        let (start, host, started_at, _) = self.running.swap_remove(which);
        let session = self.waiting.iter().find_map(|(session, all)| {
            let first = all.front().is_some_and(|(number, _)| *number == start.number);
            first.then_some(*session)
        });
        let there = self.schedule.over(&start, heard, fate, self.now);
        assert_eq!(there, session.is_some());
        let seen = self.hosts.entry(host).or_default();
        match heard {
            Heard::Promptly => (seen.sound, seen.slow) = (true, false),
            Heard::Slowly => (seen.sound, seen.slow) = (false, true),
            Heard::Nothing if seen.failed_at.is_none_or(|at| at <= started_at) => {
                *seen = Seen { failed_at: Some(self.now), ..Seen::default() };
            }
            Heard::Nothing | Heard::NotCalled => {}
        }
        let Some(session) = session else { return };
        match fate {
            Fate::Settled => _ = self.waiting.get_mut(&session).unwrap().pop_front(),
            Fate::Again(wait, _) => _ = self.not_before.insert(session, self.now + wait),
            Fate::Untried => {}
        }
    }

    fn taken(&mut self, mut taken: Vec<u64>, of: impl Fn(u64) -> bool) {
        let mut expected = Vec::new();
        for (session, all) in &mut self.waiting {
            if of(*session) {
                expected.extend(all.drain(..).map(|(number, _)| number));
                self.not_before.remove(session);
            }
        }
        expected.sort_unstable();
        taken.sort_unstable();
        assert_eq!(taken, expected);
    }

    fn session_of(&self, number: u64) -> u64 {
        let has = |all: &VecDeque<(u64, Moment)>| all.iter().any(|(other, _)| *other == number);
        *self.waiting.iter().find(|(_, all)| has(all)).expect("it waits").0
    }

    fn is_running(&self, of: u64, number: u64) -> bool {
        self.running
            .iter()
            .any(|(start, ..)| (start.session, start.number) == (session(of), number))
    }

    // From now on all is heard.
    fn finish(mut self) {
        for _ in 0..10 * SESSIONS * (1 + self.last) {
            while !self.running.is_empty() {
                self.over(0, Heard::Promptly, Fate::Settled);
            }
            if self.schedule.len() == 0 {
                break;
            }
            self.step(Step::Start);
            if self.running.is_empty() {
                self.now = self.now.max(self.schedule.wake_at().unwrap());
            }
        }
        assert!(self.waiting.values().all(VecDeque::is_empty), "{:?}", self.waiting);
        // Nothing is left behind.
        assert!(self.schedule.sessions.is_empty() && self.schedule.waits.is_empty());
        assert!(all(&mut self.schedule, self.now + HOUR).is_empty());
        assert_eq!(self.schedule.wake_at(), None);
    }
}

proptest! {
    #[test]
    fn whatever_happens_order_and_bounds_are_kept_and_nothing_is_lost(
        steps in steps(), seed in any::<u64>(),
    ) {
        let mut world = World::new(seed);
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}
