//! What is written down of a session, and the ways from one state to the next: one method each.
//!
//! Nothing here reads a clock or a store. A method gives the record that should stand next, of the
//! next generation; whether it will is the store's to say.

use std::{sync::Arc, time::Duration};

use super::{Booking, Error, Party};
use crate::qod::{
    ClientId, Granted, Moment, OperatorId, QosStatus, Session, SessionId, StatusInfo, Subject,
};

// CAMARA: a resource is kept at least so long after its network ended it.
const LINGERS: Duration = Duration::from_mins(6);
// An operator's last proxy has let go of a request so long after its connection was closed.
const GRACE: Duration = Duration::from_secs(30);
// The longest pause between two deletes of one session.
const DELETE_PAUSE_MAX: Duration = Duration::from_mins(10);
const FOREVER: Moment = Moment::from_unix_ms(u64::MAX);

/// How a record stands. The ledger's own page has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The operator is being asked.
    Pending,
    /// Nobody knows what the operator said.
    InDoubt,
    /// Granted; the network has not answered yet.
    Requested,
    /// Granted.
    Available,
    /// Ended by the network; the operator knows it still.
    Terminated,
    /// Being deleted at the operator.
    Releasing,
    /// Its time is up.
    Expired,
}

/// A session and all that the ledger knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The session. Until it is confirmed, it is told as `REQUESTED`, with no times.
    pub session: Session,
    /// Whose it is.
    pub client: ClientId,
    /// For which end user, if the token was three-legged.
    pub subject: Option<Subject>,
    /// Who grants it.
    pub operator: OperatorId,
    /// The dialect that its client asked in.
    pub dialect: Arc<str>,
    /// The operator's name for it, once there is one.
    pub operator_session: Option<String>,
    state: State,
    generation: u64,
    times: Times,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Times {
    requested_at: Moment,
    skew: Duration,
    call_deadline: Duration,
    call_ends_at: Moment,
    /// Until when the flow is held; nothing: it is not.
    holds_until: Option<Moment>,
    /// When the operator can have nothing of it any more, if nobody deletes or extends it.
    life_ends_at: Moment,
    /// When it began to be deleted; until then, when it was reserved.
    since: Moment,
    /// When time alone ends the state.
    ends_at: Moment,
    /// Until when an extension may be under way.
    extending_until: Option<Moment>,
}

/// What the index must know of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) id: SessionId,
    pub(super) generation: u64,
    pub(super) state: State,
    /// Until when the flow is held; nothing: it is not.
    pub(super) holds_until: Option<Moment>,
    /// When to ask for the record's fate.
    pub(super) due: Moment,
}

/// What time does to a record.
#[derive(Debug)]
pub(super) enum Fate {
    Stays,
    Becomes(Box<Record>),
    DeleteAgain,
    Gone,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::InDoubt,
        Self::Requested,
        Self::Available,
        Self::Terminated,
        Self::Releasing,
        Self::Expired,
    ];

    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InDoubt => "in_doubt",
            Self::Requested => "requested",
            Self::Available => "available",
            Self::Terminated => "terminated",
            Self::Releasing => "releasing",
            Self::Expired => "expired",
        }
    }
}

impl Record {
    pub(super) fn reserved(party: &Party, booking: &Booking, now: Moment) -> Self {
        let granted = Granted {
            duration_s: booking.wanted.duration_s,
            started_at: None,
            expires_at: None,
            status: QosStatus::Requested,
            status_info: None,
            messages: Vec::new(),
        };
        let skew = booking.rules.skew;
        let call_ends_at = now + booking.call_deadline;
        // The operator may have made the session at the last moment of the call.
        let life_ends_at = call_ends_at + seconds(booking.claimed.duration_s) + LINGERS + skew;
        Self {
            session: Session { id: SessionId::random(), wanted: booking.wanted.clone(), granted },
            client: party.client.clone(),
            subject: party.subject.clone(),
            operator: booking.operator.clone(),
            dialect: Arc::clone(&booking.dialect),
            operator_session: None,
            state: State::Pending,
            generation: 0,
            times: Times {
                requested_at: now,
                skew,
                call_deadline: booking.call_deadline,
                call_ends_at,
                holds_until: Some(life_ends_at),
                life_ends_at,
                since: now,
                ends_at: call_ends_at + GRACE,
                extending_until: None,
            },
        }
    }

    /// How it stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it was asked for.
    pub const fn requested_at(&self) -> Moment {
        self.times.requested_at
    }

    /// How often it was changed.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn call_ends_at(&self) -> Moment {
        self.times.call_ends_at
    }

    pub(super) const fn call_deadline(&self) -> Duration {
        self.times.call_deadline
    }

    pub(super) fn life(&self, now: Moment) -> Life {
        let Times { holds_until, ends_at, since, .. } = self.times;
        let due = if self.state == State::Releasing {
            // Each pause is as long as all before it.
            let pause = now.since(since).clamp(GRACE, DELETE_PAUSE_MAX);
            ends_at.min(now + pause)
        } else {
            ends_at
        };
        Life {
            id: self.session.id,
            generation: self.generation,
            state: self.state,
            holds_until,
            due,
        }
    }

    pub(super) fn confirmed(
        self,
        operator_session: String,
        granted: Granted,
        now: Moment,
    ) -> Result<Self, Error> {
        match self.state {
            // Its flow may be somebody else's by now.
            State::Pending if self.lapsed(now) => Err(Error::Lost),
            State::Pending => {
                Ok(Self { operator_session: Some(operator_session), ..self.told(granted, now) })
            }
            State::InDoubt
            | State::Requested
            | State::Available
            | State::Terminated
            | State::Releasing
            | State::Expired => Err(Error::NotActive),
        }
    }

    pub(super) fn doubted(&self) -> Result<Self, Error> {
        if self.state != State::Pending {
            return Err(Error::NotActive);
        }
        // It holds as long as before; only whose task it is has changed.
        let life_ends_at = self.times.life_ends_at;
        Ok(self.next(State::InDoubt, |times| times.ends_at = life_ends_at))
    }

    /// The same record, of the same generation, if there is nothing new in what is told.
    pub(super) fn observed(&self, granted: Granted, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        match seen.state {
            State::Pending | State::InDoubt => Err(Error::NotActive),
            // There is no way back: what says otherwise is late.
            State::Terminated | State::Releasing | State::Expired => Ok(seen),
            State::Requested | State::Available => {
                let extending = self.times.extending_until.is_some_and(|until| now < until);
                if extending && granted.status != QosStatus::Unavailable {
                    let mut shown = seen;
                    shown.session.granted = granted;
                    return Ok(shown);
                }
                let next = self.told(granted, now);
                Ok(if next.says_the_same(self) { seen } else { next })
            }
        }
    }

    pub(super) fn extending(&self, additional_s: u32, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        if seen.state != State::Available {
            return Err(Error::NotActive);
        }
        if self.times.extending_until.is_some_and(|until| now < until) {
            return Err(Error::Lost);
        }
        Ok(seen.next(State::Available, |times| {
            let raised = times.life_ends_at + seconds(additional_s);
            times.holds_until = Some(raised);
            times.life_ends_at = raised;
            times.ends_at = raised;
            times.extending_until = Some(now + times.call_deadline + GRACE);
        }))
    }

    pub(super) fn extended(&self, granted: Granted, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        if seen.state != State::Available || seen.times.extending_until.is_none() {
            return Err(Error::NotActive);
        }
        Ok(seen.told(granted, now))
    }

    /// The same record, of the same generation, if it is being deleted already.
    pub(super) fn released(&self, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        match seen.state {
            State::Pending | State::InDoubt => Err(Error::NotActive),
            State::Releasing => Ok(seen),
            State::Requested | State::Available | State::Terminated => {
                Ok(seen.next(State::Releasing, |times| {
                    let gone = times.life_ends_at.max(now) + LINGERS;
                    times.holds_until = Some(gone);
                    times.ends_at = gone;
                    times.since = now;
                }))
            }
            // The flow may be somebody else's by now.
            State::Expired => Ok(seen.next(State::Releasing, |times| times.since = now)),
        }
    }

    /// The record as a reader sees it: what has expired is expired, though no sweep has been by.
    pub(super) fn seen(&self, now: Moment) -> Option<Self> {
        let lapsed = self.lapsed(now);
        let seen = match self.state {
            State::Requested | State::Available if lapsed => self.expired(self.generation),
            State::Pending | State::InDoubt if lapsed => return None,
            State::Pending
            | State::InDoubt
            | State::Requested
            | State::Available
            | State::Terminated
            | State::Releasing
            | State::Expired => self.clone(),
        };
        let forgettable = matches!(seen.state, State::Releasing | State::Expired);
        (!forgettable || now < seen.times.ends_at).then_some(seen)
    }

    fn lapsed(&self, now: Moment) -> bool {
        self.times.holds_until.is_some_and(|until| until <= now)
    }

    /// What time has done to the record by now.
    pub(super) fn fate(&self, now: Moment) -> Fate {
        let Some(seen) = self.seen(now) else { return Fate::Gone };
        if seen.state != self.state {
            return Fate::Becomes(Box::new(self.expired(self.generation.saturating_add(1))));
        }
        let next = match self.state {
            State::Releasing => return Fate::DeleteAgain,
            _ if now < self.times.ends_at => return Fate::Stays,
            State::Pending => self.doubted(),
            State::Requested | State::Terminated => self.released(now),
            State::InDoubt | State::Available | State::Expired => return Fate::Stays,
        };
        next.map_or(Fate::Stays, |next| Fate::Becomes(Box::new(next)))
    }

    // What an operator tells of a session that it has.
    fn told(&self, granted: Granted, now: Moment) -> Self {
        let told_end = granted.expires_at.map(|at| at + self.times.skew);
        let longest = now + seconds(granted.duration_s) + self.times.skew;
        let mut next = match (granted.status, granted.status_info, told_end) {
            (QosStatus::Requested, _, None) => self.next(State::Requested, |times| {
                // It may begin at any time, so only a delete ends it for sure.
                times.life_ends_at = longest + LINGERS;
                times.ends_at = times.life_ends_at;
                times.holds_until = Some(FOREVER);
            }),
            (QosStatus::Requested, _, Some(end)) => self.until(State::Requested, end),
            (QosStatus::Available, _, end) => self.until(State::Available, end.unwrap_or(longest)),
            (QosStatus::Unavailable, Some(StatusInfo::DurationExpired), _) => {
                self.next(State::Expired, |times| {
                    times.holds_until = None;
                    times.ends_at = now + LINGERS;
                })
            }
            (QosStatus::Unavailable, _, _) => self.next(State::Terminated, |times| {
                times.ends_at = now + LINGERS;
                times.holds_until = Some(FOREVER);
            }),
        };
        next.session.granted = granted;
        next.times.extending_until = None;
        next
    }

    fn until(&self, state: State, end: Moment) -> Self {
        self.next(state, |times| {
            times.holds_until = Some(end);
            times.life_ends_at = end;
            times.ends_at = end;
        })
    }

    fn expired(&self, generation: u64) -> Self {
        let mut expired = self.next(State::Expired, |times| {
            times.ends_at = times.holds_until.unwrap_or(times.life_ends_at) + LINGERS;
            times.holds_until = None;
        });
        expired.generation = generation;
        expired.session.granted.status = QosStatus::Unavailable;
        expired.session.granted.status_info = Some(StatusInfo::DurationExpired);
        expired
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.state == other.state
            && self.session.granted == other.session.granted
            && (self.times.holds_until, self.times.extending_until)
                == (other.times.holds_until, other.times.extending_until)
    }

    fn next(&self, state: State, change: impl FnOnce(&mut Times)) -> Self {
        let mut next = self.clone();
        next.state = state;
        next.generation = self.generation.saturating_add(1);
        change(&mut next.times);
        next
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}
