//! The list of sessions, and what each call does to it.

use std::time::Duration;

use super::{Alike, alike, equal_flows, share_a_packet, too_broad};
use crate::{
    ledger::{Booking, ConflictMode, OnUnknown, Party, State},
    qod::{ClientId, Moment, OperatorId, SessionId},
};

const SKEW: Duration = Duration::from_secs(5);
const LINGERS: Duration = Duration::from_mins(6);
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Book {
    pub(super) now: Moment,
    pub(super) kept: Vec<Kept>,
    /// Who began which session on which day, those aside that were surely not made.
    pub(super) begun: Vec<(SessionId, ClientId, u64)>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: SessionId,
    pub(super) party: Party,
    pub(super) booking: Booking,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending { call_ends: Moment, life_ends: Moment },
    InDoubt { life_ends: Moment },
    Requested { duration_s: u32, life_ends: Moment },
    Available { until: Moment, extending: Option<Moment> },
    Terminated { life_ends: Moment, until: Moment },
    Releasing { until: Moment, holds: bool },
    Expired { until: Moment },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Requested(u32),
    Available(u32),
    Terminated,
    Expired,
}

/// What a reservation may be answered with.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// As many as it may begin in a day, if it has.
    pub(super) day: Option<u32>,
    pub(super) quota: bool,
    pub(super) broad: bool,
    pub(super) conflicts: Vec<SessionId>,
    pub(super) unknown: Vec<SessionId>,
    /// Those of them that the asker may be told of.
    pub(super) own: Vec<SessionId>,
    pub(super) refuse_unknown: bool,
}

impl Book {
    pub(super) fn find(&self, id: SessionId) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.id == id)
    }

    pub(super) fn judge(&self, party: &Party, booking: &Booking) -> Judged {
        let holding = || self.kept.iter().filter(|kept| kept.phase.holds());
        let live = holding().filter(|kept| kept.party.client == party.client).count();
        let today =
            self.begun.iter().filter(|(_, who, day)| *who == party.client && *day == self.day());
        let today = u32::try_from(today.count()).unwrap();
        let mut judged = Judged {
            day: booking.creates_per_day.filter(|max| today >= *max),
            quota: live >= usize::try_from(booking.sessions_max).unwrap(),
            broad: too_broad(booking.claimed.device.as_ref(), &booking.rules),
            refuse_unknown: booking.rules.unknown == OnUnknown::Refuse,
            ..Judged::default()
        };
        for kept in holding().filter(|kept| kept.booking.operator == booking.operator) {
            let (ours, theirs) = (&booking.claimed, &kept.booking.claimed);
            let flows = match booking.rules.mode {
                ConflictMode::FlowOverlap => share_a_packet(ours, theirs),
                ConflictMode::ExactFlow => equal_flows(ours, theirs),
                ConflictMode::Device => true,
                ConflictMode::UpstreamOnly => false,
            };
            match alike((party, ours), (&kept.party, theirs)) {
                Alike::Yes if flows => judged.conflicts.push(kept.id),
                Alike::Unknown if flows => judged.unknown.push(kept.id),
                _ => {}
            }
            if may_see(party, &kept.party) {
                judged.own.push(kept.id);
            }
        }
        judged
    }

    pub(super) fn reserve(&mut self, id: SessionId, party: Party, booking: Booking) {
        let call_ends = self.now + booking.call_deadline;
        let life = Duration::from_secs(booking.claimed.duration_s.into()) + LINGERS + SKEW;
        let phase = Phase::Pending { call_ends, life_ends: call_ends + life };
        self.begun.push((id, party.client.clone(), self.day()));
        self.kept.push(Kept { id, party, booking, phase });
    }

    fn day(&self) -> u64 {
        self.now.unix_s() / 86_400
    }

    /// It was surely not made.
    pub(super) fn release(&mut self, id: SessionId) {
        self.begun.retain(|(begun, ..)| *begun != id);
        self.forget(id);
    }

    pub(super) fn set(&mut self, id: SessionId, change: impl FnOnce(Phase, Moment) -> Phase) {
        let now = self.now;
        let kept = self.kept.iter_mut().find(|kept| kept.id == id).unwrap();
        kept.phase = change(kept.phase, now);
    }

    /// Nobody is being asked any more by who is gone.
    pub(super) fn restart(&mut self) {
        for kept in &mut self.kept {
            if let Phase::Pending { life_ends, .. } = kept.phase {
                kept.phase = Phase::InDoubt { life_ends };
            }
        }
    }

    pub(super) fn forget(&mut self, id: SessionId) {
        self.kept.retain(|kept| kept.id != id);
    }

    /// What time alone has done by now; a sweep does more.
    pub(super) fn settle(&mut self, swept: bool) {
        let now = self.now;
        for kept in &mut self.kept {
            kept.phase = kept.phase.settled(now, swept);
        }
        self.kept.retain(|kept| match kept.phase {
            Phase::Pending { life_ends: until, .. }
            | Phase::InDoubt { life_ends: until }
            | Phase::Releasing { until, .. }
            | Phase::Expired { until } => now < until,
            _ => true,
        });
    }

    pub(super) fn count(&self, operator: &OperatorId, state: State) -> u64 {
        let of = |kept: &&Kept| kept.booking.operator == *operator && kept.phase.state() == state;
        self.kept.iter().filter(of).count().try_into().unwrap()
    }
}

pub(super) fn may_see(party: &Party, owner: &Party) -> bool {
    party.client == owner.client && (party.subject.is_none() || party.subject == owner.subject)
}

impl Phase {
    pub(super) fn holds(self) -> bool {
        !matches!(self, Self::Expired { .. } | Self::Releasing { holds: false, .. })
    }

    pub(super) fn state(self) -> State {
        match self {
            Self::Pending { .. } => State::Pending,
            Self::InDoubt { .. } => State::InDoubt,
            Self::Requested { .. } => State::Requested,
            Self::Available { .. } => State::Available,
            Self::Terminated { .. } => State::Terminated,
            Self::Releasing { .. } => State::Releasing,
            Self::Expired { .. } => State::Expired,
        }
    }

    fn settled(self, now: Moment, swept: bool) -> Self {
        match self {
            Self::Available { until, .. } if until <= now => {
                Self::Expired { until: until + LINGERS }
            }
            Self::Pending { call_ends, life_ends } if swept && call_ends + GRACE <= now => {
                Self::InDoubt { life_ends }
            }
            Self::Requested { life_ends, .. } if swept && life_ends <= now => self.deleted(now),
            Self::Terminated { until, .. } if swept && until <= now => self.deleted(now),
            same => same,
        }
    }

    pub(super) fn told(self, told: Told, now: Moment) -> Self {
        let until = |seconds: u32| now + Duration::from_secs(seconds.into()) + SKEW;
        match (told, self) {
            (Told::Requested(new), Self::Requested { duration_s, .. }) if new == duration_s => self,
            (Told::Requested(duration_s), _) => {
                Self::Requested { duration_s, life_ends: until(duration_s) + LINGERS }
            }
            (Told::Available(seconds), _) => {
                Self::Available { until: until(seconds), extending: None }
            }
            (Told::Terminated, _) => {
                Self::Terminated { life_ends: self.life_ends(), until: now + LINGERS }
            }
            (Told::Expired, _) => Self::Expired { until: now + LINGERS },
        }
    }

    pub(super) fn observed(self, told: Told, now: Moment) -> Self {
        match self {
            Self::Requested { .. } => self.told(told, now),
            Self::Available { extending, .. } => {
                let over = matches!(told, Told::Terminated | Told::Expired);
                let extending = extending.is_some_and(|until| now < until);
                if extending && !over { self } else { self.told(told, now) }
            }
            same => same,
        }
    }

    pub(super) fn extending(self, seconds: u32, now: Moment) -> Self {
        let Self::Available { until, .. } = self else { panic!("{self:?}") };
        let until = until + Duration::from_secs(seconds.into());
        Self::Available { until, extending: Some(now + super::super::sample::CALL + GRACE) }
    }

    pub(super) fn deleted(self, now: Moment) -> Self {
        match self {
            Self::Expired { until } => Self::Releasing { until, holds: false },
            Self::Releasing { .. } => self,
            _ => Self::Releasing { until: self.life_ends().max(now) + LINGERS, holds: true },
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
