//! Which notice may be told now. It has no clock and makes no calls, and takes no longer for many
//! notices than for few.
//!
//! * A session's notices are told in order: none before the one before it is heard or dropped.
//! * What is not heard is tried again, later and later: a session's, when an answer says no; all of a
//!   host's, when none comes. Such a host is then called once at a time until it answers.
//! * No host has more than its calls, and hosts that do not answer have no more than half of all.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::Which;
use crate::{
    ledger::Queued,
    qod::{ClientId, Moment, QosStatus, SessionId},
};

mod hosts;

use self::hosts::{Hosts, Running};

const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(10);
// Nobody who answers leaves a notice waiting for so long.
const LONG: Duration = Duration::from_mins(1);

/// How many calls there may be at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In all.
    pub(super) calls_max: usize,
    /// To one host.
    pub(super) calls_per_host_max: usize,
}

/// The notices that wait, and those that are being told.
#[derive(Debug)]
pub(super) struct Schedule {
    sessions: BTreeMap<SessionId, Lane>,
    notices: BTreeMap<u64, SessionId>,
    hosts: Hosts,
    waits: BTreeSet<(Moment, SessionId)>,
    random: StdRng,
}

// A session's notices; the first is the one to be told.
#[derive(Debug)]
struct Lane {
    host: Arc<str>,
    client: ClientId,
    notices: VecDeque<Entry>,
    attempts: u32,
    failure: Option<Failure>,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    queued_at: Moment,
    status: QosStatus,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready(u64),
    Waiting(Moment),
    Running(Running),
}

/// A notice that is to be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) number: u64,
    pub(super) session: SessionId,
    /// What went wrong last.
    pub(super) failure: Option<Failure>,
}

/// What went wrong with a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it was.
    pub(super) why: &'static str,
    /// How often, without anything else in between.
    pub(super) in_a_row: u32,
}

/// What a call has told of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It answers.
    Promptly,
    /// It answers when it pleases.
    Slowly,
    /// It does not.
    Nothing,
    /// It was not called.
    NotCalled,
}

/// What becomes of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It need not be told any more.
    Settled,
    /// It is told again, not before so long, and what went wrong.
    Again(Duration, &'static str),
    /// It goes on as if nothing had been tried.
    Untried,
}

/// A notice in the schedule, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the outbox.
    pub number: u64,
    /// What it is about.
    pub session: SessionId,
    /// Who is to hear it.
    pub client: ClientId,
    /// Scheme, host and port of the sink; never more of its URL.
    pub host: Arc<str>,
    /// What it says.
    pub status: QosStatus,
    /// Since when it waits.
    pub queued_at: Moment,
    /// How often it was told, and not heard.
    pub attempts: u32,
    /// When it is told again at the earliest; nothing while it is being told, or is not the first of
    /// its session.
    pub next_at: Option<Moment>,
    /// What went wrong last.
    pub failure: Option<&'static str>,
}

impl Schedule {
    /// Without notices yet. The seed is for how long is waited.
    pub(super) fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            notices: BTreeMap::new(),
            hosts: Hosts::new(bounds),
            waits: BTreeSet::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// How many notices there are.
    pub(super) fn len(&self) -> usize {
        self.notices.len()
    }

    /// Since when the oldest waits.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let (_, session) = self.notices.first_key_value()?;
        self.sessions.get(session)?.notices.front().map(|first| first.queued_at)
    }

    /// Takes in a notice. Those of a session must come in order.
    pub(super) fn add(&mut self, queued: Queued, host: Arc<str>, now: Moment) {
        let Queued { number, session, client, queued_at, status, .. } = queued;
        if self.notices.insert(number, session).is_some() {
            return;
        }
        let entry = Entry { number, queued_at, status };
        if let Some(lane) = self.sessions.get_mut(&session) {
            lane.notices.push_back(entry);
            return;
        }
        let host = self.hosts.join(host, now.since(queued_at) > LONG);
        let place = Place::Ready(self.hosts.ready(&host, session));
        let notices = VecDeque::from([entry]);
        let lane = Lane { host, client, notices, attempts: 0, failure: None, place };
        self.sessions.insert(session, lane);
    }

    /// The next notice to be told, if one may be. Whoever takes it says when it is [`Self::over`].
    pub(super) fn next(&mut self, now: Moment) -> Option<Start> {
        while let Some(&(at, session)) = self.waits.first()
            && at <= now
        {
            self.waits.pop_first();
            self.hurry(session);
        }
        let (session, running) = self.hosts.next(now)?;
        let lane = self.sessions.get_mut(&session)?;
        lane.place = Place::Running(running);
        let number = lane.notices.front()?.number;
        Some(Start { number, session, failure: lane.failure })
    }

    /// When there may be more to be told, if nothing happens until then.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        let session = self.waits.first().map(|(at, _)| *at);
        [session, self.hosts.wake_at()].into_iter().flatten().min()
    }

    /// A call is over. Gives whether its notice is there still: it may have been dropped meanwhile.
    pub(super) fn over(&mut self, start: &Start, heard: Heard, fate: Fate, now: Moment) -> bool {
        let Some(lane) = self.sessions.get_mut(&start.session) else { return false };
        let Place::Running(running) = lane.place else { return false };
        let random = &mut self.random;
        self.hosts.over(&lane.host, running, heard, now, |failures| pause(random, failures));
        let there = lane.notices.front().is_some_and(|first| first.number == start.number);
        let mut not_before = now;
        match fate {
            Fate::Settled if there => {
                lane.notices.pop_front();
                self.notices.remove(&start.number);
                lane.begin_anew();
            }
            Fate::Again(at_least, why) if there => {
                lane.fail(why);
                not_before = now + pause(random, lane.attempts).max(at_least);
            }
            Fate::Settled | Fate::Again(..) | Fate::Untried => {}
        }
        if lane.notices.is_empty() {
            self.forget(start.session);
        } else if not_before > now {
            lane.place = Place::Waiting(not_before);
            self.waits.insert((not_before, start.session));
        } else {
            lane.place = Place::Ready(self.hosts.ready(&lane.host, start.session));
        }
        there
    }

    /// Takes out the oldest notice, if it waits since then or longer and is not being told.
    pub(super) fn take_older(&mut self, than: Moment) -> Option<u64> {
        let (&number, &session) = self.notices.first_key_value()?;
        let lane = self.sessions.get_mut(&session)?;
        let running = matches!(lane.place, Place::Running(_));
        if running || lane.notices.front().is_none_or(|first| first.queued_at > than) {
            return None;
        }
        lane.notices.pop_front();
        lane.begin_anew();
        self.notices.remove(&number);
        if lane.notices.is_empty() {
            self.forget(session);
        }
        Some(number)
    }

    /// Takes out all notices of these sessions. Those being told are told to the end.
    pub(super) fn take(&mut self, which: &Which) -> Vec<u64> {
        let mut taken = Vec::new();
        for session in self.of(which) {
            let Some(lane) = self.sessions.get_mut(&session) else { continue };
            let numbers = lane.notices.drain(..).map(|entry| entry.number);
            taken.extend(numbers.inspect(|number| _ = self.notices.remove(number)));
            lane.begin_anew();
            // What comes meanwhile waits until the call is over.
            if !matches!(lane.place, Place::Running(_)) {
                self.forget(session);
            }
        }
        taken
    }

    /// Has the notices of these sessions wait for nothing. Gives how many sessions there are.
    pub(super) fn retry(&mut self, which: &Which) -> usize {
        let sessions = self.of(which);
        for session in &sessions {
            let Some(lane) = self.sessions.get(session) else { continue };
            self.hosts.hurry(&lane.host);
            self.hurry(*session);
        }
        sessions.len()
    }

    /// The notices after this one, oldest first, for people.
    pub(super) fn page(&self, which: &Which, after: Option<u64>, max: usize) -> Vec<Waiting> {
        let from = after.map_or(0, |number| number.saturating_add(1));
        let notices = self.notices.range(from..);
        notices
            .filter_map(|(number, session)| self.shown(*number, session, which))
            .take(max)
            .collect()
    }

    fn shown(&self, number: u64, session: &SessionId, which: &Which) -> Option<Waiting> {
        let lane = self.sessions.get(session).filter(|lane| which.has(session, &lane.client))?;
        let place = lane.notices.binary_search_by_key(&number, |entry| entry.number).ok()?;
        let entry = lane.notices.get(place)?;
        let first = place == 0;
        let host = self.hosts.waits_until(&lane.host);
        let next_at = match lane.place {
            Place::Ready(_) => Some(host.unwrap_or(entry.queued_at)),
            Place::Waiting(until) => Some(host.map_or(until, |host| host.max(until))),
            Place::Running(_) => None,
        };
        Some(Waiting {
            number,
            session: *session,
            client: lane.client.clone(),
            host: Arc::clone(&lane.host),
            status: entry.status,
            queued_at: entry.queued_at,
            attempts: if first { lane.attempts } else { 0 },
            next_at: next_at.filter(|_| first),
            failure: lane.failure.filter(|_| first).map(|failure| failure.why),
        })
    }

    // Of one, without looking at the others.
    fn of(&self, which: &Which) -> Vec<SessionId> {
        match which {
            Which::Session(session) => {
                self.sessions.contains_key(session).then_some(*session).into_iter().collect()
            }
            Which::Client(_) | Which::All => {
                let all = self.sessions.iter();
                all.filter(|(session, lane)| which.has(session, &lane.client))
                    .map(|(session, _)| *session)
                    .collect()
            }
        }
    }

    // A session need not be waited for.
    fn hurry(&mut self, session: SessionId) {
        let Some(lane) = self.sessions.get_mut(&session) else { return };
        if let Place::Waiting(until) = lane.place {
            self.waits.remove(&(until, session));
            lane.place = Place::Ready(self.hosts.ready(&lane.host, session));
        }
    }

    fn forget(&mut self, session: SessionId) {
        let Some(lane) = self.sessions.remove(&session) else { return };
        match lane.place {
            Place::Ready(turn) => self.hosts.unready(&lane.host, turn),
            Place::Waiting(until) => _ = self.waits.remove(&(until, session)),
            Place::Running(_) => {}
        }
        self.hosts.leave(&lane.host);
    }
}

impl Lane {
    fn fail(&mut self, why: &'static str) {
        self.attempts = self.attempts.saturating_add(1);
        let alike = self.failure.filter(|failure| failure.why == why);
        let in_a_row = alike.map_or(0, |failure| failure.in_a_row).saturating_add(1);
        self.failure = Some(Failure { why, in_a_row });
    }

    fn begin_anew(&mut self) {
        self.attempts = 0;
        self.failure = None;
    }
}

// Anything up to a second after the first failure, up to twice as long after each further one: so
// those that failed together do not come again together.
fn pause(random: &mut StdRng, failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let longest = PAUSE.saturating_mul(doubled).min(PAUSE_MAX);
    longest.mul_f64(random.random())
}

#[cfg(test)]
mod tests;
