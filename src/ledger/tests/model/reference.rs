//! The model state: a list of sessions, and the effect of each call on it.

use std::time::Duration;

use super::{DeviceMatch, equal_flows, match_devices, share_a_packet, too_broad};
use crate::{
    ledger::{ConflictMode, OnUnknown, Requester, ReservationRequest, SessionState},
    qod::{ClientId, Moment, OperatorId, SessionId},
};

const SKEW: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_mins(6);
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct ModelLedger {
    pub(super) now: Moment,
    pub(super) sessions: Vec<ModelSession>,
    /// Session, client and day of each create; creates that certainly failed are removed.
    pub(super) created: Vec<(SessionId, ClientId, u64)>,
}

#[derive(Debug)]
pub(super) struct ModelSession {
    pub(super) id: SessionId,
    pub(super) party: Requester,
    pub(super) reservation_request: ReservationRequest,
    pub(super) phase: ModelPhase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelPhase {
    Pending { call_ends: Moment, life_ends: Moment },
    InDoubt { life_ends: Moment },
    Requested { duration_s: u32, life_ends: Moment },
    Available { until: Moment, extending: Option<Moment> },
    Terminated { life_ends: Moment, until: Moment },
    Releasing { until: Moment, holds_until: Option<Moment> },
    Expired { until: Moment },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ModelReport {
    Requested(u32),
    Available(u32),
    Terminated,
    Expired,
}

/// The allowed outcomes of a reservation.
#[derive(Debug, Default)]
pub(super) struct ExpectedOutcome {
    /// The daily quota, if it is exhausted.
    pub(super) day: Option<u32>,
    pub(super) quota: bool,
    pub(super) broad: bool,
    pub(super) conflicts: Vec<SessionId>,
    pub(super) unknown: Vec<SessionId>,
    /// Those of the sessions above whose ids the caller may see.
    pub(super) own: Vec<SessionId>,
    pub(super) refuse_unknown: bool,
}

impl ModelLedger {
    pub(super) fn find(&self, id: SessionId) -> Option<&ModelSession> {
        self.sessions.iter().find(|session| session.id == id)
    }

    pub(super) fn expected_outcome(
        &self,
        party: &Requester,
        reservation_request: &ReservationRequest,
    ) -> ExpectedOutcome {
        let holding = || self.sessions.iter().filter(|session| session.phase.holds());
        let live = holding().filter(|session| session.party.client == party.client).count();
        let today = self
            .created
            .iter()
            .filter(|(_, client, day)| *client == party.client && *day == self.day());
        let today = u32::try_from(today.count()).unwrap();
        let mut expected = ExpectedOutcome {
            day: reservation_request.creates_per_day.filter(|max| today >= *max),
            quota: live >= usize::try_from(reservation_request.sessions_max).unwrap(),
            broad: too_broad(
                reservation_request.operator_request.device.as_ref(),
                &reservation_request.rules,
            ),
            refuse_unknown: reservation_request.rules.unknown == OnUnknown::Refuse,
            ..ExpectedOutcome::default()
        };
        for session in holding()
            .filter(|session| session.reservation_request.operator == reservation_request.operator)
        {
            let (ours, theirs) = (
                &reservation_request.operator_request,
                &session.reservation_request.operator_request,
            );
            let flows = match reservation_request.rules.mode {
                ConflictMode::FlowOverlap => share_a_packet(ours, theirs),
                ConflictMode::ExactFlow => equal_flows(ours, theirs),
                ConflictMode::Device => true,
                ConflictMode::UpstreamOnly => false,
            };
            match match_devices((party, ours), (&session.party, theirs)) {
                DeviceMatch::Same if flows => expected.conflicts.push(session.id),
                DeviceMatch::Unknown if flows => expected.unknown.push(session.id),
                _ => {}
            }
            if may_see(party, &session.party) {
                expected.own.push(session.id);
            }
        }
        expected
    }

    pub(super) fn reserve(
        &mut self,
        id: SessionId,
        party: Requester,
        reservation_request: ReservationRequest,
    ) {
        let call_ends = self.now + reservation_request.call_timeout;
        let life = Duration::from_secs(reservation_request.operator_request.duration_s.into())
            + LINGER
            + SKEW;
        let phase = ModelPhase::Pending { call_ends, life_ends: call_ends + life };
        self.created.push((id, party.client.clone(), self.day()));
        self.sessions.push(ModelSession { id, party, reservation_request, phase });
    }

    fn day(&self) -> u64 {
        self.now.unix_s() / 86_400
    }

    /// Removes a session that was certainly not created.
    pub(super) fn release(&mut self, id: SessionId) {
        self.created.retain(|(created, ..)| *created != id);
        self.remove(id);
    }

    pub(super) fn set(
        &mut self,
        id: SessionId,
        change: impl FnOnce(ModelPhase, Moment) -> ModelPhase,
    ) {
        let now = self.now;
        let session = self.sessions.iter_mut().find(|session| session.id == id).unwrap();
        session.phase = change(session.phase, now);
    }

    /// After a restart, the operator calls of the previous process are no longer in progress.
    pub(super) fn restart(&mut self) {
        for session in &mut self.sessions {
            if let ModelPhase::Pending { life_ends, .. } = session.phase {
                session.phase = ModelPhase::InDoubt { life_ends };
            }
        }
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        self.sessions.retain(|session| session.id != id);
    }

    /// Applies the changes by time alone; a sweep applies more.
    pub(super) fn apply_time(&mut self, swept: bool) {
        let now = self.now;
        for session in &mut self.sessions {
            session.phase = session.phase.after_time(now, swept);
        }
        self.sessions.retain(|session| match session.phase {
            ModelPhase::Pending { life_ends: until, .. }
            | ModelPhase::InDoubt { life_ends: until }
            | ModelPhase::Releasing { until, .. }
            | ModelPhase::Expired { until } => now < until,
            _ => true,
        });
    }

    pub(super) fn count(&self, operator: &OperatorId, state: SessionState) -> u64 {
        let matches = |session: &&ModelSession| {
            session.reservation_request.operator == *operator && session.phase.state() == state
        };
        self.sessions.iter().filter(matches).count().try_into().unwrap()
    }
}

pub(super) fn may_see(party: &Requester, owner: &Requester) -> bool {
    party.client == owner.client && (party.subject.is_none() || party.subject == owner.subject)
}

impl ModelPhase {
    pub(super) fn holds(self) -> bool {
        !matches!(self, Self::Expired { .. } | Self::Releasing { holds_until: None, .. })
    }

    pub(super) fn state(self) -> SessionState {
        match self {
            Self::Pending { .. } => SessionState::Pending,
            Self::InDoubt { .. } => SessionState::InDoubt,
            Self::Requested { .. } => SessionState::Requested,
            Self::Available { .. } => SessionState::Available,
            Self::Terminated { .. } => SessionState::Terminated,
            Self::Releasing { .. } => SessionState::Releasing,
            Self::Expired { .. } => SessionState::Expired,
        }
    }

    fn after_time(self, now: Moment, swept: bool) -> Self {
        match self {
            Self::Available { until, .. } if until <= now => {
                Self::Expired { until: until + LINGER }
            }
            Self::Pending { call_ends, life_ends } if swept && call_ends + GRACE <= now => {
                Self::InDoubt { life_ends }
            }
            Self::Requested { life_ends, .. } if swept && life_ends <= now => self.deleted(now),
            Self::Terminated { until, .. } if swept && until <= now => self.deleted(now),
            Self::Releasing { until, holds_until } => {
                Self::Releasing { until, holds_until: holds_until.filter(|end| now < *end) }
            }
            same => same,
        }
    }

    pub(super) fn apply_report(self, report: ModelReport, now: Moment) -> Self {
        let until = |seconds: u32| now + Duration::from_secs(seconds.into()) + SKEW;
        match (report, self) {
            (ModelReport::Requested(new), Self::Requested { duration_s, .. })
                if new == duration_s =>
            {
                self
            }
            (ModelReport::Requested(duration_s), _) => {
                Self::Requested { duration_s, life_ends: until(duration_s) + LINGER }
            }
            (ModelReport::Available(seconds), _) => {
                Self::Available { until: until(seconds), extending: None }
            }
            (ModelReport::Terminated, _) => {
                Self::Terminated { life_ends: self.life_ends(), until: now + LINGER }
            }
            (ModelReport::Expired, _) => Self::Expired { until: now + LINGER },
        }
    }

    pub(super) fn observed(self, report: ModelReport, now: Moment) -> Self {
        match self {
            Self::Requested { .. } => self.apply_report(report, now),
            Self::Available { extending, .. } => {
                let ended = matches!(report, ModelReport::Terminated | ModelReport::Expired);
                let extending = extending.is_some_and(|until| now < until);
                if extending && !ended { self } else { self.apply_report(report, now) }
            }
            same => same,
        }
    }

    pub(super) fn extending(self, seconds: u32, now: Moment) -> Self {
        let Self::Available { until, .. } = self else { panic!("{self:?}") };
        let until = until + Duration::from_secs(seconds.into());
        Self::Available {
            until,
            extending: Some(now + super::super::sample::CALL_DEADLINE + GRACE),
        }
    }

    pub(super) fn deleted(self, now: Moment) -> Self {
        match self {
            Self::Expired { until } => Self::Releasing { until, holds_until: None },
            Self::Releasing { .. } => self,
            _ => {
                let life_ends = self.life_ends();
                let end = match self {
                    Self::Requested { .. } => life_ends.max(now + LINGER),
                    Self::Terminated { until, .. } => life_ends.max(until).max(now + GRACE),
                    _ => life_ends,
                };
                Self::Releasing { until: end.max(now) + LINGER, holds_until: Some(end) }
            }
        }
    }

    /// The operator no longer has the session.
    pub(super) fn absent(self, now: Moment) -> Self {
        match self {
            Self::Requested { .. } | Self::Available { .. } | Self::Terminated { .. } => {
                Self::Expired { until: now + LINGER }
            }
            same => same,
        }
    }

    fn life_ends(self) -> Moment {
        match self {
            Self::Pending { life_ends, .. }
            | Self::InDoubt { life_ends }
            | Self::Requested { life_ends, .. }
            | Self::Terminated { life_ends, .. } => life_ends,
            Self::Available { until, .. }
            | Self::Releasing { until, .. }
            | Self::Expired { until } => until,
        }
    }
}
