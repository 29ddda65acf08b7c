//! The session store of a simulated operator: sessions, their timers and their events.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use rand::Rng;

use super::SimulatorError;
use crate::qod::{
    CreateRequest, Device, GrantedSession, Moment, ProblemKind, QosStatus, RETRIEVED_MAX, Session,
    SessionEvent, SessionId, Sink, StatusInfo,
};

/// The sessions of a simulated operator, as of the last call of [`SessionStore::advance`].
#[derive(Default)]
pub(super) struct SessionStore {
    sessions: HashMap<SessionId, SimulatedSession>,
    // The timers: one entry for each session.
    timers: BTreeSet<(Moment, SessionId)>,
    events: Vec<(SessionEvent, Sink)>,
    ended: VecDeque<EndedSession>,
}

/// A session that has ended.
pub(super) struct EndedSession {
    pub(super) id: SessionId,
    /// When it became available; `None` if it never did.
    pub(super) started_at: Option<Moment>,
    pub(super) ended_at: Moment,
}

struct SimulatedSession {
    session: Session,
    due: Moment,
}

const SESSIONS_MAX: usize = 100_000;
// How long a session can be retrieved after its end (CAMARA: at least 360 s).
const RETENTION: Duration = Duration::from_mins(6);

impl SessionStore {
    /// Runs the timers that are due up to `now`.
    pub(super) fn advance(&mut self, now: Moment) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let Some(SimulatedSession { session, .. }) = self.sessions.remove(&id) else {
                continue;
            };
            match session.granted.status {
                QosStatus::Requested => self.activate(session, at),
                QosStatus::Available => self.end(session, StatusInfo::DurationExpired, at),
                QosStatus::Unavailable => {}
            }
        }
    }

    /// The time of the next timer.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes the events since the last call, in order, with their sinks.
    pub(super) fn take_events(&mut self) -> Vec<(SessionEvent, Sink)> {
        mem::take(&mut self.events)
    }

    pub(super) fn create(
        &mut self,
        create: CreateRequest,
        grant_all: bool,
        activation_delay: Duration,
        now: Moment,
    ) -> Result<Session, SimulatorError> {
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(SimulatorError::new(ProblemKind::Unavailable, "too many sessions"));
        }
        let flow = create.flow();
        let conflicts = |session: &Session| {
            session.wanted.device == create.device && session.wanted.flow().overlaps(&flow)
        };
        if !grant_all && self.holding_flow().any(conflicts) {
            return Err(SimulatorError::new(
                ProblemKind::Conflict,
                "Another session is created for the same device",
            ));
        }
        let granted = GrantedSession {
            duration_s: create.duration_s,
            // Provisional until the session is available.
            started_at: Some(now),
            expires_at: Some(now + seconds(create.duration_s)),
            status: QosStatus::Requested,
            status_info: None,
            messages: Vec::new(),
        };
        let session = Session { id: SessionId::random(), wanted: Arc::new(create), granted };
        let id = session.id;
        if activation_delay.is_zero() {
            self.activate(session, now);
        } else {
            self.insert(session, now + activation_delay);
        }
        self.find(id)
    }

    pub(super) fn find(&self, id: SessionId) -> Result<Session, SimulatorError> {
        self.get(id).cloned()
    }

    /// Deletes a session. Only the deletion of an available session is an event (CAMARA).
    pub(super) fn delete(&mut self, id: SessionId, now: Moment) -> Result<(), SimulatorError> {
        self.get(id)?;
        let Some(mut session) = self.remove(id) else { return Ok(()) };
        self.record_end(&session, now);
        if session.granted.status == QosStatus::Available {
            session.granted.status = QosStatus::Unavailable;
            session.granted.status_info = Some(StatusInfo::DeleteRequested);
            self.record_event(&session, now);
        }
        Ok(())
    }

    /// Extends a session. The remaining duration is limited to `remaining_s_max`.
    pub(super) fn extend(
        &mut self,
        id: SessionId,
        additional_s: u32,
        remaining_s_max: u64,
        now: Moment,
    ) -> Result<Session, SimulatorError> {
        if self.get(id)?.granted.status != QosStatus::Available {
            return Err(SimulatorError::new(
                ProblemKind::ExtensionNotAllowed,
                "The target session is inactive",
            ));
        }
        if let Some(mut session) = self.remove(id) {
            let before = session.granted.expires_at.unwrap_or(now);
            let longest = now + Duration::from_secs(remaining_s_max);
            let expires_at = (before + seconds(additional_s)).min(longest).max(before);
            let more_s = u32::try_from(expires_at.since(before).as_secs()).unwrap_or(u32::MAX);
            session.granted.duration_s = session.granted.duration_s.saturating_add(more_s);
            session.granted.expires_at = Some(expires_at);
            self.insert(session, expires_at);
        }
        self.find(id)
    }

    /// The sessions of a device that can be retrieved, newest first.
    pub(super) fn find_by_device(&self, device: &Device) -> Vec<Session> {
        let shares = |session: &&Session| {
            session.wanted.device.as_ref().is_some_and(|known| share_an_identifier(known, device))
        };
        let mut found: Vec<_> = self.all().filter(shares).cloned().collect();
        found.sort_by_key(|session| Reverse(session.granted.started_at));
        found.truncate(RETRIEVED_MAX);
        found
    }

    /// The sessions that hold their flow. A session terminated by the network holds it until the session
    /// is deleted or can no longer be retrieved (CAMARA).
    pub(super) fn holding_flow(&self) -> impl Iterator<Item = &Session> {
        self.all().filter(|session| {
            session.granted.status != QosStatus::Unavailable
                || session.granted.status_info == Some(StatusInfo::NetworkTerminated)
        })
    }

    /// Terminates a session as the network would. Returns whether there was an active session.
    pub(super) fn terminate(&mut self, id: SessionId, now: Moment) -> bool {
        if !self.get(id).is_ok_and(|known| known.granted.status != QosStatus::Unavailable) {
            return false;
        }
        if let Some(session) = self.remove(id) {
            self.end(session, StatusInfo::NetworkTerminated, now);
        }
        true
    }

    /// Removes a session without an event. Returns whether it existed.
    pub(super) fn forget(&mut self, id: SessionId, now: Moment) -> bool {
        let Some(session) = self.remove(id) else { return false };
        self.record_end(&session, now);
        true
    }

    /// The sessions that have ended, the latest last.
    pub(super) fn ended(&self) -> impl Iterator<Item = &EndedSession> {
        self.ended.iter()
    }

    fn activate(&mut self, mut session: Session, now: Moment) {
        let expires_at = now + seconds(session.granted.duration_s);
        session.granted.status = QosStatus::Available;
        session.granted.started_at = Some(now);
        session.granted.expires_at = Some(expires_at);
        self.record_event(&session, now);
        self.insert(session, expires_at);
    }

    fn end(&mut self, mut session: Session, status_info: StatusInfo, now: Moment) {
        self.record_end(&session, now);
        if session.granted.status == QosStatus::Requested {
            session.granted.started_at = None;
        }
        session.granted.status = QosStatus::Unavailable;
        session.granted.status_info = Some(status_info);
        session.granted.expires_at = Some(now);
        self.record_event(&session, now);
        self.insert(session, now + RETENTION);
    }

    fn record_end(&mut self, session: &Session, ended_at: Moment) {
        if session.granted.status == QosStatus::Unavailable {
            return;
        }
        if self.ended.len() >= SESSIONS_MAX {
            self.ended.pop_front();
        }
        let is_available = session.granted.status == QosStatus::Available;
        let started_at = session.granted.started_at.filter(|_| is_available);
        self.ended.push_back(EndedSession { id: session.id, started_at, ended_at });
    }

    fn record_event(&mut self, session: &Session, at: Moment) {
        let Session { id, wanted, granted } = session;
        let Some(sink) = wanted.sink.clone() else { return };
        let event = SessionEvent {
            id: uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid(),
            session: *id,
            status: granted.status,
            status_info: granted.status_info,
            at,
        };
        self.events.push((event, sink));
    }

    fn all(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().map(|stored| &stored.session)
    }

    fn get(&self, id: SessionId) -> Result<&Session, SimulatorError> {
        let stored = self.sessions.get(&id);
        stored.map(|stored| &stored.session).ok_or_else(|| {
            SimulatorError::new(ProblemKind::SessionNotFound, "Session Id does not exist")
        })
    }

    fn insert(&mut self, session: Session, due: Moment) {
        self.timers.insert((due, session.id));
        self.sessions.insert(session.id, SimulatedSession { session, due });
    }

    fn remove(&mut self, id: SessionId) -> Option<Session> {
        let SimulatedSession { session, due } = self.sessions.remove(&id)?;
        self.timers.remove(&(due, id));
        Some(session)
    }
}

fn seconds(duration_s: u32) -> Duration {
    Duration::from_secs(u64::from(duration_s))
}

fn share_an_identifier(one: &Device, other: &Device) -> bool {
    fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
        one.is_some() && one == other
    }
    same(one.phone.as_ref(), other.phone.as_ref())
        || same(one.nai.as_ref(), other.nai.as_ref())
        || same(one.ipv4.as_ref(), other.ipv4.as_ref())
        || same(one.ipv6.as_ref(), other.ipv6.as_ref())
}

#[cfg(test)]
mod tests;
