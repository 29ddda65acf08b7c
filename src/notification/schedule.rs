//! Selects the next notification to deliver. The schedule has no clock and makes no calls, and its
//! cost does not grow with the number of notifications.
//!
//! * Notifications of one session are delivered in order: each waits until the previous one was
//!   delivered or dropped.
//! * A failed delivery is retried with growing backoff: for the session if the sink answered with
//!   an error, for the whole host if the sink did not answer. Such a host then receives one call at
//!   a time until it answers.
//! * Each host has a limit of concurrent calls, and hosts that do not answer use at most half of
//!   all calls.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{OutboxSelector, sink_url::SinkUrl};
use crate::{
    ledger::OutboxEntry,
    qod::{ClientId, Moment, QosStatus, SessionId},
};

mod hosts;

use self::hosts::{Hosts, RunningCall};

const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_mins(10);
// A notification that has waited longer was probably not deliverable: a responsive host would have
// accepted it.
const OVERDUE: Duration = Duration::from_mins(1);

/// Limits of concurrent calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallLimits {
    /// In total.
    pub(super) calls_max: usize,
    /// Per host.
    pub(super) calls_per_host_max: usize,
}

/// The notifications that wait and those being delivered.
#[derive(Debug)]
pub(super) struct Schedule {
    sessions: BTreeMap<SessionId, SessionQueue>,
    notifications: BTreeMap<u64, SessionId>,
    hosts: Hosts,
    backoffs: BTreeSet<(Moment, SessionId)>,
    random: StdRng,
}

// The notifications of one session; the first one is delivered next.
#[derive(Debug)]
struct SessionQueue {
    host: Arc<str>,
    client: ClientId,
    notifications: VecDeque<ScheduledNotification>,
    attempts: u32,
    failure: Option<DeliveryFailure>,
    slot: SlotState,
}

#[derive(Clone, Copy, Debug)]
struct ScheduledNotification {
    number: u64,
    queued_at: Moment,
    status: QosStatus,
}

#[derive(Clone, Copy, Debug)]
enum SlotState {
    Ready(u64),
    Waiting(Moment),
    Running(RunningCall),
}

/// A notification that is due for delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueNotification {
    pub(super) number: u64,
    pub(super) session: SessionId,
    /// The last failure.
    pub(super) failure: Option<DeliveryFailure>,
}

/// The last failure of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliveryFailure {
    /// The cause, as in the metrics.
    pub(super) reason: &'static str,
    /// Number of consecutive failures with this cause.
    pub(super) consecutive: u32,
}

/// How a host responded to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostResponse {
    /// It answered in time.
    Prompt,
    /// It answered slowly.
    Slow,
    /// It did not answer.
    NoResponse,
    /// It was not called.
    NotCalled,
}

/// What to do with a notification after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Remove it: it was delivered or dropped.
    Done,
    /// Retry it, not before this delay, for this reason.
    Retry(Duration, &'static str),
    /// Leave it unchanged: no attempt was made.
    NotAttempted,
}

/// A scheduled notification, as shown in the admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingNotification {
    /// Its number in the outbox.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    /// The receiving client.
    pub client: ClientId,
    /// Scheme, host and port of the sink; the rest of the URL is never shown.
    pub host: Arc<str>,
    /// The session status that it reports.
    pub status: QosStatus,
    /// When it was queued.
    pub queued_at: Moment,
    /// Number of failed attempts.
    pub attempts: u32,
    /// The earliest time of the next attempt; `None` while it is being delivered or is not the
    /// first of its session.
    pub next_at: Option<Moment>,
    /// The last failure.
    pub failure: Option<&'static str>,
}

impl PendingNotification {
    /// A notification that another replica delivers: its attempts are not known here.
    pub fn delivered_elsewhere(entry: OutboxEntry) -> Self {
        let OutboxEntry { number, session, client, queued_at, sink_url, status } = entry;
        let host = SinkUrl::parse(&sink_url).map_or_else(|| "".into(), |url| url.host);
        let (attempts, next_at, failure) = (0, None, None);
        Self { number, session, client, host, status, queued_at, attempts, next_at, failure }
    }
}

impl Schedule {
    /// Creates an empty schedule. `seed` seeds the random backoff.
    pub(super) fn new(bounds: CallLimits, seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            notifications: BTreeMap::new(),
            hosts: Hosts::new(bounds),
            backoffs: BTreeSet::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Sets the maximum number of concurrent calls to one host.
    pub(super) fn set_calls_per_host_max(&mut self, calls_max: usize) {
        self.hosts.set_calls_per_host_max(calls_max);
    }

    /// The number of notifications.
    pub(super) fn len(&self) -> usize {
        self.notifications.len()
    }

    /// When the oldest notification was queued.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let (_, session) = self.notifications.first_key_value()?;
        self.sessions.get(session)?.notifications.front().map(|first| first.queued_at)
    }

    /// Adds a notification. Notifications of one session must be added in order.
    pub(super) fn add(&mut self, queued: OutboxEntry, host: Arc<str>, now: Moment) {
        let OutboxEntry { number, session, client, queued_at, status, .. } = queued;
        if self.notifications.insert(number, session).is_some() {
            return;
        }
        let entry = ScheduledNotification { number, queued_at, status };
        if let Some(queue) = self.sessions.get_mut(&session) {
            queue.notifications.push_back(entry);
            return;
        }
        let host = self.hosts.add_session(host, now.since(queued_at) > OVERDUE);
        let slot = SlotState::Ready(self.hosts.add_ready(&host, session));
        let notifications = VecDeque::from([entry]);
        let queue = SessionQueue { host, client, notifications, attempts: 0, failure: None, slot };
        self.sessions.insert(session, queue);
    }

    /// Returns the next due notification, if any. The caller reports the result to
    /// [`Self::complete`].
    pub(super) fn next_due(&mut self, now: Moment) -> Option<DueNotification> {
        while let Some(&(at, session)) = self.backoffs.first()
            && at <= now
        {
            self.backoffs.pop_first();
            self.skip_backoff(session);
        }
        let (session, running) = self.hosts.start_next(now)?;
        let queue = self.sessions.get_mut(&session)?;
        queue.slot = SlotState::Running(running);
        let number = queue.notifications.front()?.number;
        Some(DueNotification { number, session, failure: queue.failure })
    }

    /// When the next notification may become due, if nothing else happens.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        let session = self.backoffs.first().map(|(at, _)| *at);
        [session, self.hosts.wake_at()].into_iter().flatten().min()
    }

    /// Records the result of a call. Returns `false` if the notification was removed in the
    /// meantime.
    pub(super) fn complete(
        &mut self,
        due: &DueNotification,
        response: HostResponse,
        fate: Disposition,
        now: Moment,
    ) -> bool {
        let Some(queue) = self.sessions.get_mut(&due.session) else { return false };
        let SlotState::Running(running) = queue.slot else { return false };
        let random = &mut self.random;
        self.hosts
            .complete(&queue.host, running, response, now, |failures| backoff(random, failures));
        let there = queue.notifications.front().is_some_and(|first| first.number == due.number);
        let mut not_before = now;
        match fate {
            Disposition::Done if there => {
                queue.notifications.pop_front();
                self.notifications.remove(&due.number);
                queue.reset_failures();
            }
            Disposition::Retry(at_least, reason) if there => {
                queue.record_failure(reason);
                not_before = now + backoff(random, queue.attempts).max(at_least);
            }
            Disposition::Done | Disposition::Retry(..) | Disposition::NotAttempted => {}
        }
        if queue.notifications.is_empty() {
            self.remove_session(due.session);
        } else if not_before > now {
            queue.slot = SlotState::Waiting(not_before);
            self.backoffs.insert((not_before, due.session));
        } else {
            queue.slot = SlotState::Ready(self.hosts.add_ready(&queue.host, due.session));
        }
        there
    }

    /// Removes the oldest notification if it was queued at or before `queued_before` and is not being
    /// delivered.
    pub(super) fn remove_expired(&mut self, queued_before: Moment) -> Option<u64> {
        let (&number, &session) = self.notifications.first_key_value()?;
        let queue = self.sessions.get_mut(&session)?;
        let running = matches!(queue.slot, SlotState::Running(_));
        if running
            || queue.notifications.front().is_none_or(|first| first.queued_at > queued_before)
        {
            return None;
        }
        queue.notifications.pop_front();
        queue.reset_failures();
        self.notifications.remove(&number);
        if queue.notifications.is_empty() {
            self.remove_session(session);
        }
        Some(number)
    }

    /// Removes the selected notifications. A delivery in progress continues.
    pub(super) fn remove(&mut self, which: &OutboxSelector) -> Vec<u64> {
        let mut taken = Vec::new();
        for session in self.matching_sessions(which) {
            let Some(queue) = self.sessions.get_mut(&session) else { continue };
            let numbers = queue.notifications.drain(..).map(|entry| entry.number);
            taken.extend(numbers.inspect(|number| _ = self.notifications.remove(number)));
            queue.reset_failures();
            // Notifications added in the meantime wait until the call ends.
            if !matches!(queue.slot, SlotState::Running(_)) {
                self.remove_session(session);
            }
        }
        taken
    }

    /// Clears the backoff of these sessions. Returns the number of sessions.
    pub(super) fn retry(&mut self, which: &OutboxSelector) -> usize {
        let sessions = self.matching_sessions(which);
        for session in &sessions {
            let Some(queue) = self.sessions.get(session) else { continue };
            self.hosts.skip_backoff(&queue.host);
            self.skip_backoff(*session);
        }
        sessions.len()
    }

    /// Lists the notifications after number `after`, oldest first.
    /// A notification of this process.
    pub(super) fn find(&self, number: u64) -> Option<PendingNotification> {
        let session = self.notifications.get(&number)?;
        self.describe(number, session, &OutboxSelector::All)
    }

    pub(super) fn page(
        &self,
        which: &OutboxSelector,
        after: Option<u64>,
        max: usize,
    ) -> Vec<PendingNotification> {
        let from = after.map_or(0, |number| number.saturating_add(1));
        let notifications = self.notifications.range(from..);
        notifications
            .filter_map(|(number, session)| self.describe(*number, session, which))
            .take(max)
            .collect()
    }

    fn describe(
        &self,
        number: u64,
        session: &SessionId,
        which: &OutboxSelector,
    ) -> Option<PendingNotification> {
        let queue =
            self.sessions.get(session).filter(|queue| which.matches(session, &queue.client))?;
        let index = queue.notifications.binary_search_by_key(&number, |entry| entry.number).ok()?;
        let entry = queue.notifications.get(index)?;
        let first = index == 0;
        let host = self.hosts.backoff_until(&queue.host);
        let next_at = match queue.slot {
            SlotState::Ready(_) => Some(host.unwrap_or(entry.queued_at)),
            SlotState::Waiting(until) => Some(host.map_or(until, |host| host.max(until))),
            SlotState::Running(_) => None,
        };
        Some(PendingNotification {
            number,
            session: *session,
            client: queue.client.clone(),
            host: Arc::clone(&queue.host),
            status: entry.status,
            queued_at: entry.queued_at,
            attempts: if first { queue.attempts } else { 0 },
            next_at: next_at.filter(|_| first),
            failure: queue.failure.filter(|_| first).map(|failure| failure.reason),
        })
    }

    // Finds a single session without a scan.
    fn matching_sessions(&self, which: &OutboxSelector) -> Vec<SessionId> {
        match which {
            OutboxSelector::Session(session) => {
                self.sessions.contains_key(session).then_some(*session).into_iter().collect()
            }
            OutboxSelector::Client(_) | OutboxSelector::All => {
                let all = self.sessions.iter();
                all.filter(|(session, queue)| which.matches(session, &queue.client))
                    .map(|(session, _)| *session)
                    .collect()
            }
        }
    }

    // Ends the backoff of a session.
    fn skip_backoff(&mut self, session: SessionId) {
        let Some(queue) = self.sessions.get_mut(&session) else { return };
        if let SlotState::Waiting(until) = queue.slot {
            self.backoffs.remove(&(until, session));
            queue.slot = SlotState::Ready(self.hosts.add_ready(&queue.host, session));
        }
    }

    fn remove_session(&mut self, session: SessionId) {
        let Some(queue) = self.sessions.remove(&session) else { return };
        match queue.slot {
            SlotState::Ready(sequence) => self.hosts.remove_ready(&queue.host, sequence),
            SlotState::Waiting(until) => _ = self.backoffs.remove(&(until, session)),
            SlotState::Running(_) => {}
        }
        self.hosts.remove_session(&queue.host);
    }
}

impl SessionQueue {
    fn record_failure(&mut self, reason: &'static str) {
        self.attempts = self.attempts.saturating_add(1);
        let same_reason = self.failure.filter(|failure| failure.reason == reason);
        let consecutive = same_reason.map_or(0, |failure| failure.consecutive).saturating_add(1);
        self.failure = Some(DeliveryFailure { reason, consecutive });
    }

    fn reset_failures(&mut self) {
        self.attempts = 0;
        self.failure = None;
    }
}

// Exponential backoff with full jitter: up to one second after the first failure, doubled after
// each further one. The jitter spreads deliveries that failed together.
fn backoff(random: &mut StdRng, failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let longest = BACKOFF.saturating_mul(doubled).min(BACKOFF_MAX);
    longest.mul_f64(random.random())
}

#[cfg(test)]
mod tests;
