//! What a client is to hear of its session: from the change that brings it until it has been heard.
//!
//! A notice is written down with the change itself, as one step: nothing happens that is not told, and
//! nothing is told that did not happen. What counts is that the session's status is another: so what
//! is heard of twice is told once.

use std::{collections::HashMap, sync::Arc};

use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Record, State};
use crate::qod::{ClientId, Event, Moment, QosStatus, SessionId, Sink, StatusInfo};

// How many notices of one client may wait: whoever does not hear must not fill the disk.
const WAITING_OF_A_CLIENT_MAX: usize = 10_000;

/// An event, and whom to tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened.
    pub event: Event,
    /// The dialect that the client asked in.
    pub dialect: Arc<str>,
    /// Who is to hear of it.
    pub client: ClientId,
    /// Where.
    pub sink: Sink,
    /// Since when it waits.
    pub queued_at: Moment,
}

/// What of a notice tells its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its place: a session's notices are told in their order.
    pub number: u64,
    /// Whose turn it is.
    pub session: SessionId,
    /// Who is to hear of it.
    pub client: ClientId,
    /// Since when it waits.
    pub queued_at: Moment,
    /// Where it is to be told.
    pub sink_url: String,
    /// How the session stands since.
    pub status: QosStatus,
}

/// What a step has put into the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// So many notices wait now.
    pub(super) queued: u64,
    /// So many do not, for too many of their client's wait already.
    pub(super) overflown: u64,
}

/// What is known of all waiting notices without reading them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    last: u64,
    waiting: HashMap<u64, ClientId>,
    clients: HashMap<ClientId, usize>,
}

impl Notice {
    pub(super) fn new(event: Event, record: &Record, now: Moment) -> Option<Self> {
        let sink = record.session.wanted.sink.clone()?;
        let (dialect, client) = (Arc::clone(&record.dialect), record.client.clone());
        Some(Self { event, dialect, client, sink, queued_at: now })
    }

    pub(super) fn queued_as(&self, number: u64) -> Queued {
        Queued {
            number,
            session: self.event.session,
            client: self.client.clone(),
            queued_at: self.queued_at,
            sink_url: self.sink.url.clone(),
            status: self.event.status,
        }
    }
}

/// What has happened to a session that was in this state before.
pub(super) fn of_change(before: State, record: &Record, now: Moment) -> Option<Event> {
    let granted = &record.session.granted;
    let at = match (before, granted.status) {
        (State::Pending | State::Requested, QosStatus::Available) => granted.started_at,
        // That it was never available, its client is told with the answer.
        (State::Requested | State::Available, QosStatus::Unavailable) => granted.expires_at,
        _ => return None,
    };
    // Nothing has happened yet that is still to come.
    let at = at.map_or(now, |at| at.min(now));
    Some(event(record, granted.status, granted.status_info, at))
}

/// What happens to a session that is forgotten now.
pub(super) fn of_end(record: &Record, now: Moment) -> Option<Event> {
    let (info, at) = match record.state() {
        // Nobody was by when its time was up.
        State::Requested | State::Available => {
            (StatusInfo::DurationExpired, record.holds_until().unwrap_or(now))
        }
        State::Releasing if record.owes_farewell() => (StatusInfo::DeleteRequested, now),
        _ => return None,
    };
    Some(event(record, QosStatus::Unavailable, Some(info), at))
}

fn event(record: &Record, status: QosStatus, status_info: Option<StatusInfo>, at: Moment) -> Event {
    let id: Uuid = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
    Event { id, session: record.session.id, status, status_info, at }
}

impl Outbox {
    /// Takes in a notice that another process has written.
    pub(super) fn restore(&mut self, number: u64, client: ClientId) {
        self.last = self.last.max(number);
        self.take_in(number, client);
    }

    /// The place of one more notice; none, if there is no room for its client's.
    pub(super) fn add(&mut self, client: &ClientId, now: Moment) -> Option<u64> {
        if self.clients.get(client).is_some_and(|waiting| *waiting >= WAITING_OF_A_CLIENT_MAX) {
            return None;
        }
        // By the time, so that no number comes again when the outbox was empty for a while.
        let number = self.last.saturating_add(1).max(now.unix_ms().saturating_mul(1 << 20));
        self.last = number;
        self.take_in(number, client.clone());
        Some(number)
    }

    /// Was it there?
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let Some(client) = self.waiting.remove(&number) else { return false };
        let left = self.clients.get_mut(&client).map(|waiting| {
            *waiting = waiting.saturating_sub(1);
            *waiting
        });
        if left == Some(0) {
            self.clients.remove(&client);
        }
        true
    }

    fn take_in(&mut self, number: u64, client: ClientId) {
        *self.clients.entry(client.clone()).or_default() += 1;
        self.waiting.insert(number, client);
    }
}

impl std::ops::AddAssign for Told {
    fn add_assign(&mut self, more: Self) {
        self.queued += more.queued;
        self.overflown += more.overflown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_anothers_room_and_numbers_never_come_again() {
        let (one, other) = (ClientId("one".into()), ClientId("other".into()));
        let now = Moment::from_unix_s(1_700_000_000);
        let mut outbox = Outbox::default();
        let numbers: Vec<u64> =
            (0..WAITING_OF_A_CLIENT_MAX).map(|_| outbox.add(&one, now).unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        assert_eq!(outbox.add(&one, now), None);
        assert!(outbox.add(&other, now).is_some());
        assert!(outbox.remove(numbers[0]));
        assert!(!outbox.remove(numbers[0]));
        let next = outbox.add(&one, now).unwrap();
        assert!(next > numbers[WAITING_OF_A_CLIENT_MAX - 1]);
        // In a new process nothing waits any more; a later number is higher still.
        let mut anew = Outbox::default();
        assert!(anew.add(&one, now + std::time::Duration::from_millis(20)).unwrap() > next);
    }
}
