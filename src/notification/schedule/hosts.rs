//! Selects the next host to call. Healthy hosts have half of all calls for themselves, so hosts
//! that do not answer cannot delay them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{CallLimits, HostResponse};
use crate::qod::{Moment, SessionId};

// Maximum number of hosts without notifications whose health is remembered.
const IDLE_HOSTS_MAX: usize = 10_000;

/// All hosts that have notifications or had some recently.
#[derive(Debug)]
pub(super) struct Hosts {
    bounds: CallLimits,
    known: HashMap<Arc<str>, Host>,
    // Hosts with due notifications and a free call, in arrival order.
    ready: ReadyHosts,
    waits: BTreeSet<(Moment, Arc<str>)>,
    idle: BTreeMap<u64, Arc<str>>,
    sequence: u64,
    running: usize,
    running_unhealthy: usize,
    last: HostClass,
}

#[derive(Debug)]
struct Host {
    health: HostHealth,
    failures: u32,
    failed_at: Option<Moment>,
    not_before: Option<Moment>,
    running: usize,
    sessions: usize,
    ready: BTreeMap<u64, SessionId>,
    state: HostState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostHealth {
    Healthy,
    // It answers slowly.
    Slow,
    New,
    Failing,
}

/// The class whose share of the calls a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostClass {
    Healthy,
    New,
    Failing,
}

#[derive(Debug, Default)]
struct ReadyHosts {
    healthy: BTreeMap<u64, Arc<str>>,
    new: BTreeMap<u64, Arc<str>>,
    failing: BTreeMap<u64, Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostState {
    // No notification can be delivered there now.
    Blocked,
    Queued(HostClass, u64),
    Waiting(Moment),
    Idle(u64),
}

/// A call in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningCall {
    pub(super) class: HostClass,
    pub(super) started_at: Moment,
}

impl Hosts {
    pub(super) fn new(bounds: CallLimits) -> Self {
        Self {
            bounds,
            known: HashMap::new(),
            ready: ReadyHosts::default(),
            waits: BTreeSet::new(),
            idle: BTreeMap::new(),
            sequence: 0,
            running: 0,
            running_unhealthy: 0,
            last: HostClass::Failing,
        }
    }

    /// Sets the maximum number of concurrent calls to one host. It applies to the calls that start next.
    pub(super) fn set_calls_per_host_max(&mut self, calls_max: usize) {
        self.bounds.calls_per_host_max = calls_max;
    }

    /// Adds a session to a host. A notification that was overdue when it arrived suggests that its
    /// host is failing. Returns the shared name of the host.
    pub(super) fn add_session(&mut self, name: Arc<str>, overdue: bool) -> Arc<str> {
        let name = self.known.get_key_value(&name).map_or(name, |(known, _)| Arc::clone(known));
        let health = if overdue { HostHealth::Failing } else { HostHealth::New };
        let host = self.known.entry(Arc::clone(&name)).or_insert_with(|| Host::new(health));
        host.sessions += 1;
        self.update_state(&name);
        name
    }

    /// Removes a session from a host.
    pub(super) fn remove_session(&mut self, name: &Arc<str>) {
        if let Some(host) = self.known.get_mut(name) {
            host.sessions = host.sessions.saturating_sub(1);
        }
        self.update_state(name);
        while self.idle.len() > IDLE_HOSTS_MAX
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    /// Adds a session with a due notification. Returns its sequence number.
    pub(super) fn add_ready(&mut self, name: &Arc<str>, session: SessionId) -> u64 {
        let sequence = self.next_sequence();
        if let Some(host) = self.known.get_mut(name) {
            host.ready.insert(sequence, session);
        }
        self.update_state(name);
        sequence
    }

    /// Removes the session with this sequence number from the due ones.
    pub(super) fn remove_ready(&mut self, name: &Arc<str>, sequence: u64) {
        if let Some(host) = self.known.get_mut(name) {
            host.ready.remove(&sequence);
        }
        self.update_state(name);
    }

    /// Starts the next call.
    pub(super) fn start_next(&mut self, now: Moment) -> Option<(SessionId, RunningCall)> {
        while self.waits.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, name)) = self.waits.pop_first()
        {
            self.skip_backoff(&name);
        }
        let class = self.next_class()?;
        let (_, name) = self.ready.class_mut(class).pop_first()?;
        let host = self.known.get_mut(&name)?;
        host.state = HostState::Blocked;
        let (_, session) = host.ready.pop_first()?;
        host.running += 1;
        self.running += 1;
        self.running_unhealthy += usize::from(class != HostClass::Healthy);
        self.last = class;
        // The host queues behind all others if it has more due notifications.
        self.update_state(&name);
        Some((session, RunningCall { class, started_at: now }))
    }

    /// Records the end of a call. `backoff` returns the delay next a number of failures.
    pub(super) fn complete(
        &mut self,
        name: &Arc<str>,
        call: RunningCall,
        response: HostResponse,
        now: Moment,
        backoff: impl FnOnce(u32) -> Duration,
    ) {
        self.running = self.running.saturating_sub(1);
        let unhealthy = usize::from(call.class != HostClass::Healthy);
        self.running_unhealthy = self.running_unhealthy.saturating_sub(unhealthy);
        let Some(host) = self.known.get_mut(name) else { return };
        host.running = host.running.saturating_sub(1);
        match response {
            HostResponse::Prompt => host.record_response(HostHealth::Healthy),
            HostResponse::Slow => host.record_response(HostHealth::Slow),
            // Concurrent calls that fail count as one failure.
            HostResponse::NoResponse if host.failed_at.is_none_or(|at| at <= call.started_at) => {
                host.failures = host.failures.saturating_add(1);
                host.failed_at = Some(now);
                host.health = HostHealth::Failing;
                host.not_before = Some(now + backoff(host.failures));
            }
            HostResponse::NoResponse | HostResponse::NotCalled => {}
        }
        self.update_state(name);
    }

    /// Ends the backoff of a host.
    pub(super) fn skip_backoff(&mut self, name: &Arc<str>) {
        if let Some(host) = self.known.get_mut(name) {
            host.not_before = None;
        }
        self.update_state(name);
    }

    /// The end of the host's backoff, if any.
    pub(super) fn backoff_until(&self, name: &str) -> Option<Moment> {
        self.known.get(name).and_then(|host| host.not_before)
    }

    /// When the next backoff ends.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        self.waits.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(super) fn known_count(&self) -> usize {
        self.known.len()
    }

    // The classes alternate. Hosts that may not answer use at most half of the calls.
    fn next_class(&self) -> Option<HostClass> {
        if self.running >= self.bounds.calls_max {
            return None;
        }
        let unhealthy_allowed = self.running_unhealthy < self.bounds.calls_max.div_ceil(2);
        let second = self.last.next();
        [second, second.next(), self.last].into_iter().find(|class| match class {
            HostClass::Healthy => !self.ready.healthy.is_empty(),
            HostClass::New => unhealthy_allowed && !self.ready.new.is_empty(),
            HostClass::Failing => unhealthy_allowed && !self.ready.failing.is_empty(),
        })
    }

    // Moves a host to the queue of its new state next a change.
    fn update_state(&mut self, name: &Arc<str>) {
        let sequence = self.next_sequence();
        let Some(host) = self.known.get_mut(name) else { return };
        let (previous, next) = (host.state, host.expected_state(&self.bounds, sequence));
        let unchanged = match (previous, next) {
            (HostState::Queued(class, _), HostState::Queued(other, _)) => class == other,
            (HostState::Idle(_), HostState::Idle(_)) => true,
            _ => previous == next,
        };
        if unchanged {
            return;
        }
        host.state = next;
        match previous {
            HostState::Queued(class, sequence) => {
                _ = self.ready.class_mut(class).remove(&sequence);
            }
            HostState::Waiting(until) => _ = self.waits.remove(&(until, Arc::clone(name))),
            HostState::Idle(sequence) => _ = self.idle.remove(&sequence),
            HostState::Blocked => {}
        }
        match next {
            HostState::Queued(class, sequence) => {
                _ = self.ready.class_mut(class).insert(sequence, Arc::clone(name));
            }
            HostState::Waiting(until) => _ = self.waits.insert((until, Arc::clone(name))),
            HostState::Idle(sequence) => _ = self.idle.insert(sequence, Arc::clone(name)),
            HostState::Blocked => {}
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

impl Host {
    fn new(health: HostHealth) -> Self {
        Self {
            health,
            failures: 0,
            failed_at: None,
            not_before: None,
            running: 0,
            sessions: 0,
            ready: BTreeMap::new(),
            state: HostState::Blocked,
        }
    }

    fn record_response(&mut self, health: HostHealth) {
        self.health = health;
        self.failures = 0;
        self.not_before = None;
    }

    fn expected_state(&self, bounds: &CallLimits, sequence: u64) -> HostState {
        let (class, calls_max) = match self.health {
            HostHealth::Healthy => (HostClass::Healthy, bounds.calls_per_host_max),
            HostHealth::Slow => (HostClass::Failing, bounds.calls_per_host_max),
            HostHealth::New => (HostClass::New, 1),
            HostHealth::Failing => (HostClass::Failing, 1),
        };
        match self.not_before {
            _ if self.sessions == 0 && self.running == 0 => HostState::Idle(sequence),
            Some(until) => HostState::Waiting(until),
            None if !self.ready.is_empty() && self.running < calls_max => {
                HostState::Queued(class, sequence)
            }
            None => HostState::Blocked,
        }
    }
}

impl HostClass {
    const fn next(self) -> Self {
        match self {
            Self::Healthy => Self::New,
            Self::New => Self::Failing,
            Self::Failing => Self::Healthy,
        }
    }
}

impl ReadyHosts {
    const fn class_mut(&mut self, class: HostClass) -> &mut BTreeMap<u64, Arc<str>> {
        match class {
            HostClass::Healthy => &mut self.healthy,
            HostClass::New => &mut self.new,
            HostClass::Failing => &mut self.failing,
        }
    }
}
