//! Which host is called next. Hosts that answer have half of all calls to themselves: however many
//! do not, and let us wait, the others are called as if those were not there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{Bounds, Heard};
use crate::qod::{Moment, SessionId};

// How many hosts without a notice are remembered, so that it is known how they were.
const IDLE_MAX: usize = 10_000;

/// All hosts that have a notice, or had one lately.
#[derive(Debug)]
pub(super) struct Hosts {
    bounds: Bounds,
    known: HashMap<Arc<str>, Host>,
    // Those with something to be told and a call to spare, by since when.
    turns: Turns,
    waits: BTreeSet<(Moment, Arc<str>)>,
    idle: BTreeMap<u64, Arc<str>>,
    turn: u64,
    running: usize,
    running_unsound: usize,
    last: Class,
}

#[derive(Debug)]
struct Host {
    standing: Standing,
    failures: u32,
    failed_at: Option<Moment>,
    not_before: Option<Moment>,
    running: usize,
    sessions: usize,
    ready: BTreeMap<u64, SessionId>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Sound,
    // It answers, and keeps us waiting for it.
    Slow,
    New,
    Failing,
}

/// Whose calls a call is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Sound,
    New,
    Failing,
}

#[derive(Debug, Default)]
struct Turns {
    sound: BTreeMap<u64, Arc<str>>,
    new: BTreeMap<u64, Arc<str>>,
    failing: BTreeMap<u64, Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    // Nothing can be told there now.
    Off,
    Queued(Class, u64),
    Waiting(Moment),
    Idle(u64),
}

/// A call under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) class: Class,
    pub(super) started_at: Moment,
}

impl Hosts {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            known: HashMap::new(),
            turns: Turns::default(),
            waits: BTreeSet::new(),
            idle: BTreeMap::new(),
            turn: 0,
            running: 0,
            running_unsound: 0,
            last: Class::Failing,
        }
    }

    /// One more session is told there. What has waited for long probably waits because of its host.
    /// Gives the name as all its sessions share it.
    pub(super) fn join(&mut self, name: Arc<str>, has_waited_long: bool) -> Arc<str> {
        let name = self.known.get_key_value(&name).map_or(name, |(known, _)| Arc::clone(known));
        let standing = if has_waited_long { Standing::Failing } else { Standing::New };
        let host = self.known.entry(Arc::clone(&name)).or_insert_with(|| Host::new(standing));
        host.sessions += 1;
        self.arrange(&name);
        name
    }

    /// One session less.
    pub(super) fn leave(&mut self, name: &Arc<str>) {
        if let Some(host) = self.known.get_mut(name) {
            host.sessions = host.sessions.saturating_sub(1);
        }
        self.arrange(name);
        while self.idle.len() > IDLE_MAX
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    /// A session has something to be told. Gives its turn.
    pub(super) fn ready(&mut self, name: &Arc<str>, session: SessionId) -> u64 {
        let turn = self.next_turn();
        if let Some(host) = self.known.get_mut(name) {
            host.ready.insert(turn, session);
        }
        self.arrange(name);
        turn
    }

    /// The session of this turn has nothing to be told after all.
    pub(super) fn unready(&mut self, name: &Arc<str>, turn: u64) {
        if let Some(host) = self.known.get_mut(name) {
            host.ready.remove(&turn);
        }
        self.arrange(name);
    }

    /// Begins the next call.
    pub(super) fn next(&mut self, now: Moment) -> Option<(SessionId, Running)> {
        while self.waits.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, name)) = self.waits.pop_first()
        {
            self.hurry(&name);
        }
        let class = self.class_to_go()?;
        let (_, name) = self.turns.of(class).pop_first()?;
        let host = self.known.get_mut(&name)?;
        host.place = Place::Off;
        let (_, session) = host.ready.pop_first()?;
        host.running += 1;
        self.running += 1;
        self.running_unsound += usize::from(class != Class::Sound);
        self.last = class;
        // Behind all others, if there is more.
        self.arrange(&name);
        Some((session, Running { class, started_at: now }))
    }

    /// A call is over. `pause` gives how long to wait after so many failures.
    pub(super) fn over(
        &mut self,
        name: &Arc<str>,
        call: Running,
        heard: Heard,
        now: Moment,
        pause: impl FnOnce(u32) -> Duration,
    ) {
        self.running = self.running.saturating_sub(1);
        let unsound = usize::from(call.class != Class::Sound);
        self.running_unsound = self.running_unsound.saturating_sub(unsound);
        let Some(host) = self.known.get_mut(name) else { return };
        host.running = host.running.saturating_sub(1);
        match heard {
            Heard::Promptly => host.answered(Standing::Sound),
            Heard::Slowly => host.answered(Standing::Slow),
            // Calls that fail together are one failure.
            Heard::Nothing if host.failed_at.is_none_or(|at| at <= call.started_at) => {
                host.failures = host.failures.saturating_add(1);
                host.failed_at = Some(now);
                host.standing = Standing::Failing;
                host.not_before = Some(now + pause(host.failures));
            }
            Heard::Nothing | Heard::NotCalled => {}
        }
        self.arrange(name);
    }

    /// It need not be waited for.
    pub(super) fn hurry(&mut self, name: &Arc<str>) {
        if let Some(host) = self.known.get_mut(name) {
            host.not_before = None;
        }
        self.arrange(name);
    }

    /// Until when it is left alone.
    pub(super) fn waits_until(&self, name: &str) -> Option<Moment> {
        self.known.get(name).and_then(|host| host.not_before)
    }

    /// When the next one has been waited for.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.waits.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.known.len()
    }

    // The classes take turns. Those that may keep us waiting have half of the calls.
    fn class_to_go(&self) -> Option<Class> {
        if self.running >= self.bounds.calls_max {
            return None;
        }
        let unsound_may = self.running_unsound < self.bounds.calls_max.div_ceil(2);
        let second = self.last.next();
        [second, second.next(), self.last].into_iter().find(|class| match class {
            Class::Sound => !self.turns.sound.is_empty(),
            Class::New => unsound_may && !self.turns.new.is_empty(),
            Class::Failing => unsound_may && !self.turns.failing.is_empty(),
        })
    }

    // Puts a host where it belongs, after whatever has changed.
    fn arrange(&mut self, name: &Arc<str>) {
        let turn = self.next_turn();
        let Some(host) = self.known.get_mut(name) else { return };
        let (before, after) = (host.place, host.belongs(&self.bounds, turn));
        let stays = match (before, after) {
            (Place::Queued(class, _), Place::Queued(other, _)) => class == other,
            (Place::Idle(_), Place::Idle(_)) => true,
            _ => before == after,
        };
        if stays {
            return;
        }
        host.place = after;
        match before {
            Place::Queued(class, turn) => _ = self.turns.of(class).remove(&turn),
            Place::Waiting(until) => _ = self.waits.remove(&(until, Arc::clone(name))),
            Place::Idle(turn) => _ = self.idle.remove(&turn),
            Place::Off => {}
        }
        match after {
            Place::Queued(class, turn) => _ = self.turns.of(class).insert(turn, Arc::clone(name)),
            Place::Waiting(until) => _ = self.waits.insert((until, Arc::clone(name))),
            Place::Idle(turn) => _ = self.idle.insert(turn, Arc::clone(name)),
            Place::Off => {}
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

impl Host {
    fn new(standing: Standing) -> Self {
        Self {
            standing,
            failures: 0,
            failed_at: None,
            not_before: None,
            running: 0,
            sessions: 0,
            ready: BTreeMap::new(),
            place: Place::Off,
        }
    }

    fn answered(&mut self, standing: Standing) {
        self.standing = standing;
        self.failures = 0;
        self.not_before = None;
    }

    fn belongs(&self, bounds: &Bounds, turn: u64) -> Place {
        let (class, calls_max) = match self.standing {
            Standing::Sound => (Class::Sound, bounds.calls_per_host_max),
            Standing::Slow => (Class::Failing, bounds.calls_per_host_max),
            Standing::New => (Class::New, 1),
            Standing::Failing => (Class::Failing, 1),
        };
        match self.not_before {
            _ if self.sessions == 0 && self.running == 0 => Place::Idle(turn),
            Some(until) => Place::Waiting(until),
            None if !self.ready.is_empty() && self.running < calls_max => {
                Place::Queued(class, turn)
            }
            None => Place::Off,
        }
    }
}

impl Class {
    const fn next(self) -> Self {
        match self {
            Self::Sound => Self::New,
            Self::New => Self::Failing,
            Self::Failing => Self::Sound,
        }
    }
}

impl Turns {
    const fn of(&mut self, class: Class) -> &mut BTreeMap<u64, Arc<str>> {
        match class {
            Class::Sound => &mut self.sound,
            Class::New => &mut self.new,
            Class::Failing => &mut self.failing,
        }
    }
}
