//! A simulated operator's sessions.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use super::No;
use crate::qod::{
    CreateSession, Device, Granted, Kind, Moment, QosStatus, RETRIEVED_MAX, Session, SessionId,
    StatusInfo,
};

/// Who has what until when.
#[derive(Default)]
pub(super) struct Book {
    sessions: HashMap<SessionId, Session>,
}

const SESSIONS_MAX: usize = 100_000;
// How long a session can be looked at after its end (CAMARA: at least 360 s).
const LINGERS: Duration = Duration::from_mins(6);

impl Book {
    pub(super) fn create(
        &mut self,
        wanted: CreateSession,
        grant_all: bool,
        now: Moment,
    ) -> Result<Session, No> {
        if self.sessions.len() >= SESSIONS_MAX {
            self.forget(now);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(No::new(Kind::Unavailable, "too many sessions"));
        }
        let flow = wanted.flow();
        let taken = |session: &Session| {
            ends(session) > now
                && session.wanted.device == wanted.device
                && session.wanted.flow().meets(&flow)
        };
        if !grant_all && self.sessions.values().any(taken) {
            return Err(No::new(Kind::Conflict, "Another session is created for the same device"));
        }
        let lasts = Duration::from_secs(u64::from(wanted.duration_s));
        let granted = Granted {
            duration_s: wanted.duration_s,
            started_at: Some(now),
            expires_at: Some(now + lasts),
            status: QosStatus::Available,
            status_info: None,
            messages: Vec::new(),
        };
        let session = Session { id: SessionId::random(), wanted, granted };
        self.sessions.insert(session.id, session.clone());
        Ok(session)
    }

    pub(super) fn find(&mut self, id: SessionId, now: Moment) -> Result<Session, No> {
        self.known(id, now).map(|session| session.clone())
    }

    pub(super) fn delete(&mut self, id: SessionId, now: Moment) -> Result<(), No> {
        self.known(id, now)?;
        self.sessions.remove(&id);
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
        let session = self.known(id, now)?;
        if session.granted.status != QosStatus::Available {
            return Err(No::new(Kind::ExtensionNotAllowed, "The target session is inactive"));
        }
        let before = ends(session);
        let wanted = before + Duration::from_secs(u64::from(additional_s));
        let expires_at = wanted.min(now + Duration::from_secs(remaining_s_max)).max(before);
        let more_s = u32::try_from(expires_at.since(before).as_secs()).unwrap_or(u32::MAX);
        session.granted.duration_s = session.granted.duration_s.saturating_add(more_s);
        session.granted.expires_at = Some(expires_at);
        Ok(session.clone())
    }

    /// The sessions of a device that can still be looked at, the newest first.
    pub(super) fn of_device(&mut self, device: &Device, now: Moment) -> Vec<Session> {
        let shares = |session: &&Session| {
            session.wanted.device.as_ref().is_some_and(|known| share_an_identifier(known, device))
        };
        let ids: Vec<_> = self.sessions.values().filter(shares).map(|session| session.id).collect();
        let mut found: Vec<_> = ids.into_iter().filter_map(|id| self.find(id, now).ok()).collect();
        found.sort_by_key(|session| Reverse(session.granted.started_at));
        found.truncate(RETRIEVED_MAX);
        found
    }

    pub(super) fn live(&self, now: Moment) -> impl Iterator<Item = (&Session, Moment)> {
        let live = self.sessions.values().filter(move |session| ends(session) > now);
        live.map(|session| (session, ends(session)))
    }

    fn known(&mut self, id: SessionId, now: Moment) -> Result<&mut Session, No> {
        let session = self.sessions.get_mut(&id);
        let session = session.filter(|session| now.since(ends(session)) < LINGERS);
        let session =
            session.ok_or_else(|| No::new(Kind::SessionNotFound, "Session Id does not exist"))?;
        if ends(session) <= now {
            session.granted.status = QosStatus::Unavailable;
            session.granted.status_info = Some(StatusInfo::DurationExpired);
        }
        Ok(session)
    }

    fn forget(&mut self, now: Moment) {
        self.sessions.retain(|_, session| now.since(ends(session)) < LINGERS);
    }
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

fn ends(session: &Session) -> Moment {
    session.granted.expires_at.unwrap_or_default()
}
