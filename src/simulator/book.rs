//! A simulated operator's sessions, what time makes of them, and what is to be told of it.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    mem,
    time::Duration,
};

use rand::Rng;

use super::No;
use crate::qod::{
    CreateSession, Device, Event, Granted, Kind, Moment, QosStatus, RETRIEVED_MAX, Session,
    SessionId, Sink, StatusInfo,
};

/// Who has what until when. What it says is so since [`Book::settle`].
#[derive(Default)]
pub(super) struct Book {
    sessions: HashMap<SessionId, Kept>,
    // When something happens by itself, and to which session; one entry each.
    due: BTreeSet<(Moment, SessionId)>,
    happened: Vec<(Event, Sink)>,
}

struct Kept {
    session: Session,
    due: Moment,
}

const SESSIONS_MAX: usize = 100_000;
// How long a session can be looked at after its end (CAMARA: at least 360 s).
const LINGERS: Duration = Duration::from_mins(6);

impl Book {
    /// Lets happen what was due up to now.
    pub(super) fn settle(&mut self, now: Moment) {
        while let Some(&(at, id)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            let Some(Kept { session, .. }) = self.sessions.remove(&id) else { continue };
            match session.granted.status {
                QosStatus::Requested => self.begin(session, at),
                QosStatus::Available => self.end(session, StatusInfo::DurationExpired, at),
                QosStatus::Unavailable => {}
            }
        }
    }

    /// When something happens by itself next.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What has happened since this was asked last, in order, and who wants to hear of it.
    pub(super) fn happened(&mut self) -> Vec<(Event, Sink)> {
        mem::take(&mut self.happened)
    }

    pub(super) fn create(
        &mut self,
        wanted: CreateSession,
        grant_all: bool,
        requested_for: Duration,
        now: Moment,
    ) -> Result<Session, No> {
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(No::new(Kind::Unavailable, "too many sessions"));
        }
        let flow = wanted.flow();
        let taken = |session: &Session| {
            session.wanted.device == wanted.device && session.wanted.flow().meets(&flow)
        };
        if !grant_all && self.holding().any(taken) {
            return Err(No::new(Kind::Conflict, "Another session is created for the same device"));
        }
        let granted = Granted {
            duration_s: wanted.duration_s,
            // Provisional while it is only requested.
            started_at: Some(now),
            expires_at: Some(now + lasts(wanted.duration_s)),
            status: QosStatus::Requested,
            status_info: None,
            messages: Vec::new(),
        };
        let session = Session { id: SessionId::random(), wanted, granted };
        let id = session.id;
        if requested_for.is_zero() {
            self.begin(session, now);
        } else {
            self.keep(session, now + requested_for);
        }
        self.find(id)
    }

    pub(super) fn find(&self, id: SessionId) -> Result<Session, No> {
        self.known(id).cloned()
    }

    /// Only of what was available its client hears that it is deleted (CAMARA).
    pub(super) fn delete(&mut self, id: SessionId, now: Moment) -> Result<(), No> {
        self.known(id)?;
        if let Some(mut session) = self.take(id)
            && session.granted.status == QosStatus::Available
        {
            session.granted.status = QosStatus::Unavailable;
            session.granted.status_info = Some(StatusInfo::DeleteRequested);
            self.note(&session, now);
        }
        Ok(())
    }

    /// What would be left beyond `remaining_s_max` is cut.
    pub(super) fn extend(
        &mut self,
        id: SessionId,
        additional_s: u32,
        remaining_s_max: u64,
        now: Moment,
    ) -> Result<Session, No> {
        if self.known(id)?.granted.status != QosStatus::Available {
            return Err(No::new(Kind::ExtensionNotAllowed, "The target session is inactive"));
        }
        if let Some(mut session) = self.take(id) {
            let before = session.granted.expires_at.unwrap_or(now);
            let longest = now + Duration::from_secs(remaining_s_max);
            let expires_at = (before + lasts(additional_s)).min(longest).max(before);
            let more_s = u32::try_from(expires_at.since(before).as_secs()).unwrap_or(u32::MAX);
            session.granted.duration_s = session.granted.duration_s.saturating_add(more_s);
            session.granted.expires_at = Some(expires_at);
            self.keep(session, expires_at);
        }
        self.find(id)
    }

    /// The sessions of a device that can still be looked at, the newest first.
    pub(super) fn of_device(&self, device: &Device) -> Vec<Session> {
        let shares = |session: &&Session| {
            session.wanted.device.as_ref().is_some_and(|known| share_an_identifier(known, device))
        };
        let mut found: Vec<_> = self.all().filter(shares).cloned().collect();
        found.sort_by_key(|session| Reverse(session.granted.started_at));
        found.truncate(RETRIEVED_MAX);
        found
    }

    /// The sessions that hold their flow. One that the network ended does so until it is deleted, or
    /// can no longer be looked at (CAMARA).
    pub(super) fn holding(&self) -> impl Iterator<Item = &Session> {
        self.all().filter(|session| {
            session.granted.status != QosStatus::Unavailable
                || session.granted.status_info == Some(StatusInfo::NetworkTerminated)
        })
    }

    /// The network ends a session. Tells whether there was one that it could end.
    pub(super) fn terminate(&mut self, id: SessionId, now: Moment) -> bool {
        if !self.known(id).is_ok_and(|known| known.granted.status != QosStatus::Unavailable) {
            return false;
        }
        if let Some(session) = self.take(id) {
            self.end(session, StatusInfo::NetworkTerminated, now);
        }
        true
    }

    /// A session is lost, and nobody is told. Tells whether there was one.
    pub(super) fn forget(&mut self, id: SessionId) -> bool {
        self.take(id).is_some()
    }

    fn begin(&mut self, mut session: Session, now: Moment) {
        let expires_at = now + lasts(session.granted.duration_s);
        session.granted.status = QosStatus::Available;
        session.granted.started_at = Some(now);
        session.granted.expires_at = Some(expires_at);
        self.note(&session, now);
        self.keep(session, expires_at);
    }

    fn end(&mut self, mut session: Session, status_info: StatusInfo, now: Moment) {
        if session.granted.status == QosStatus::Requested {
            session.granted.started_at = None;
        }
        session.granted.status = QosStatus::Unavailable;
        session.granted.status_info = Some(status_info);
        session.granted.expires_at = Some(now);
        self.note(&session, now);
        self.keep(session, now + LINGERS);
    }

    fn note(&mut self, session: &Session, at: Moment) {
        let Session { id, wanted, granted } = session;
        let Some(sink) = wanted.sink.clone() else { return };
        let event = Event {
            id: uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid(),
            session: *id,
            status: granted.status,
            status_info: granted.status_info,
            at,
        };
        self.happened.push((event, sink));
    }

    fn all(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().map(|kept| &kept.session)
    }

    fn known(&self, id: SessionId) -> Result<&Session, No> {
        let kept = self.sessions.get(&id);
        kept.map(|kept| &kept.session)
            .ok_or_else(|| No::new(Kind::SessionNotFound, "Session Id does not exist"))
    }

    fn keep(&mut self, session: Session, due: Moment) {
        self.due.insert((due, session.id));
        self.sessions.insert(session.id, Kept { session, due });
    }

    fn take(&mut self, id: SessionId) -> Option<Session> {
        let Kept { session, due } = self.sessions.remove(&id)?;
        self.due.remove(&(due, id));
        Some(session)
    }
}

fn lasts(duration_s: u32) -> Duration {
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
