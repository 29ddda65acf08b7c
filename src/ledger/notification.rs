//! Notifications to clients, from the status change of a session until delivery.
//!
//! A notification is stored with its status change in one atomic step, so there is exactly one for
//! each status change. Duplicate reports of an operator change no status and queue nothing.

use std::{collections::HashMap, sync::Arc};

use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{SessionRecord, SessionState};
use crate::{
    qod::{ClientId, Moment, QosStatus, SessionEvent, SessionId, Sink, StatusInfo},
    trace::SpanReference,
};

// The maximum number of queued notifications per client, so that an unreachable client does not
// fill the disk.
pub(super) const QUEUED_PER_CLIENT_MAX: usize = 10_000;

/// A queued event and its recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedNotification {
    /// The event.
    pub event: SessionEvent,
    /// The dialect of the client's create request.
    pub dialect: Arc<str>,
    /// The recipient.
    pub client: ClientId,
    /// The target.
    pub sink: Sink,
    /// The time at which it was queued.
    pub queued_at: Moment,
    /// The span of the client's create request.
    pub trace: Option<SpanReference>,
}

/// The part of a queued notification that the delivery schedule needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its sequence number. The notifications of a session are delivered in this order.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    /// The recipient.
    pub client: ClientId,
    /// The time at which it was queued.
    pub queued_at: Moment,
    /// The URL of the sink.
    pub sink_url: String,
    /// The new status of the session.
    pub status: QosStatus,
}

/// Selects notifications by session or client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxSelector {
    /// All notifications.
    All,
    /// Those of one client.
    Client(ClientId),
    /// Those of one session.
    Session(SessionId),
}

impl OutboxSelector {
    /// Whether a notification of this session and client is selected.
    pub fn matches(&self, session: &SessionId, client: &ClientId) -> bool {
        match self {
            Self::All => true,
            Self::Client(this) => this == client,
            Self::Session(this) => this == session,
        }
    }
}

/// The effect of an operation on the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OutboxChange {
    /// The number of notifications queued.
    pub(super) queued: u64,
    /// The number of notifications dropped, because their client had too many queued.
    pub(super) dropped: u64,
}

/// The numbers and recipients of all queued notifications.
#[derive(Debug, Default)]
pub(super) struct OutboxIndex {
    last_number: u64,
    queued: HashMap<u64, ClientId>,
    queued_per_client: HashMap<ClientId, usize>,
}

impl QueuedNotification {
    pub(super) fn new(event: SessionEvent, record: &SessionRecord, now: Moment) -> Option<Self> {
        let sink = record.session.wanted.sink.clone()?;
        let (dialect, client) = (Arc::clone(&record.dialect), record.client.clone());
        Some(Self { event, dialect, client, sink, queued_at: now, trace: record.trace })
    }

    pub(super) fn outbox_entry(&self, number: u64) -> OutboxEntry {
        OutboxEntry {
            number,
            session: self.event.session,
            client: self.client.clone(),
            queued_at: self.queued_at,
            sink_url: self.sink.url.clone(),
            status: self.event.status,
        }
    }
}

/// The event of a transition from the state `before`, if the client must be notified.
pub(super) fn event_for_change(
    before: SessionState,
    record: &SessionRecord,
    now: Moment,
) -> Option<SessionEvent> {
    let granted = &record.session.granted;
    let at = match (before, granted.status) {
        (SessionState::Pending | SessionState::Requested, QosStatus::Available) => {
            granted.started_at
        }
        // If the session was never available, the response to the create says so.
        (SessionState::Requested | SessionState::Available, QosStatus::Unavailable) => {
            granted.expires_at
        }
        _ => return None,
    };
    // An event is never in the future.
    let at = at.map_or(now, |at| at.min(now));
    Some(new_event(record, granted.status, granted.status_info, at))
}

/// The event of removing a session, if the client must be notified.
pub(super) fn event_for_removal(record: &SessionRecord, now: Moment) -> Option<SessionEvent> {
    let (info, at) = match record.state() {
        // No sweep ran when it expired.
        SessionState::Requested | SessionState::Available => {
            (StatusInfo::DurationExpired, record.holds_until().unwrap_or(now))
        }
        SessionState::Releasing if record.notify_on_delete() => (StatusInfo::DeleteRequested, now),
        _ => return None,
    };
    Some(new_event(record, QosStatus::Unavailable, Some(info), at))
}

fn new_event(
    record: &SessionRecord,
    status: QosStatus,
    status_info: Option<StatusInfo>,
    at: Moment,
) -> SessionEvent {
    let id: Uuid = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
    SessionEvent { id, session: record.session.id, status, status_info, at }
}

impl OutboxIndex {
    /// Adds a notification that an earlier process stored.
    pub(super) fn restore(&mut self, number: u64, client: ClientId) {
        self.last_number = self.last_number.max(number);
        self.track(number, client);
    }

    /// Allocates the number of a new notification. `None` if the client's queue is full.
    pub(super) fn enqueue(&mut self, client: &ClientId, now: Moment) -> Option<u64> {
        if self.queued_per_client.get(client).is_some_and(|queued| *queued >= QUEUED_PER_CLIENT_MAX)
        {
            return None;
        }
        // Derived from the time, so that numbers are unique even if the outbox was empty at a
        // restart.
        let number = self.last_number.saturating_add(1).max(now.unix_ms().saturating_mul(1 << 20));
        self.last_number = number;
        self.track(number, client.clone());
        Some(number)
    }

    /// Removes a notification. Returns whether it was queued.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let Some(client) = self.queued.remove(&number) else { return false };
        let left = self.queued_per_client.get_mut(&client).map(|queued| {
            *queued = queued.saturating_sub(1);
            *queued
        });
        if left == Some(0) {
            self.queued_per_client.remove(&client);
        }
        true
    }

    fn track(&mut self, number: u64, client: ClientId) {
        *self.queued_per_client.entry(client.clone()).or_default() += 1;
        self.queued.insert(number, client);
    }
}

impl std::ops::AddAssign for OutboxChange {
    fn add_assign(&mut self, more: Self) {
        self.queued += more.queued;
        self.dropped += more.dropped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_limit_is_per_client_and_numbers_are_unique() {
        let (one, other) = (ClientId("one".into()), ClientId("other".into()));
        let now = Moment::from_unix_s(1_700_000_000);
        let mut outbox = OutboxIndex::default();
        let numbers: Vec<u64> =
            (0..QUEUED_PER_CLIENT_MAX).map(|_| outbox.enqueue(&one, now).unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        assert_eq!(outbox.enqueue(&one, now), None);
        assert!(outbox.enqueue(&other, now).is_some());
        assert!(outbox.remove(numbers[0]));
        assert!(!outbox.remove(numbers[0]));
        let next = outbox.enqueue(&one, now).unwrap();
        assert!(next > numbers[QUEUED_PER_CLIENT_MAX - 1]);
        // After a restart with an empty outbox, numbers are still higher.
        let mut restarted = OutboxIndex::default();
        assert!(
            restarted.enqueue(&one, now + std::time::Duration::from_millis(20)).unwrap() > next
        );
    }
}
