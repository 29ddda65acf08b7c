//! What is written down of a session, and the ways from one state to the next: one method each.
//!
//! Nothing here reads a clock or a store. A method gives the record that should stand next, of the
//! next generation; whether it will is the store's to say. Where a method may lead, the protocol's
//! table says.
//!
//! Times are the ledger's own. An operator's clock is never held against them: what counts of the
//! times that it tells is how far they are apart, and how far they move.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

mod fate;

pub use self::fate::Todo;
pub(super) use self::fate::{Fate, Life};
use super::{
    Booking, Claim, Error, Party, State,
    claim::DeviceKeys,
    protocol::{Move, Next, Told},
    repeat::RepeatKey,
};
use crate::qod::{
    ClientId, CreateSession, Device, Flow, Granted, Moment, OperatorId, QosStatus, Session,
    SessionId, StatusInfo, Subject,
};

// CAMARA: a resource is kept at least so long after its network ended it.
const LINGERS: Duration = Duration::from_mins(6);
// An operator's last proxy has let go of a request so long after its connection was closed.
const GRACE: Duration = Duration::from_secs(30);
const FOREVER: Moment = Moment::from_unix_ms(u64::MAX);

/// A session and all that the ledger knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    // What its token stood for, if the client did not name it.
    device: Option<Device>,
    keys: DeviceKeys,
    flow: Flow,
    repeat: Option<RepeatKey>,
    state: State,
    generation: u64,
    /// Is its client to hear that it is deleted, once it is?
    owes_farewell: bool,
    times: Times,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    requested_at: Moment,
    skew: Duration,
    call_deadline: Duration,
    call_ends_at: Moment,
    /// Until when the flow is held; nothing: it is not.
    holds_until: Option<Moment>,
    /// When the operator can have nothing of it any more, if nobody deletes or extends it.
    life_ends_at: Moment,
    /// The end that the operator told last, with skew, and without an extension under way.
    told_end: Option<Moment>,
    /// When it began to be deleted; until then, when it was reserved.
    since: Moment,
    /// When time alone ends the state.
    ends_at: Moment,
    /// Until when an extension may be under way.
    extending_until: Option<Moment>,
    /// How often its operator is asked how it stands, if it does not tell by itself.
    asked_every: Option<Duration>,
}

impl Record {
    pub(super) fn reserved(
        party: &Party,
        booking: &Booking,
        claim: Claim,
        repeat: Option<RepeatKey>,
        now: Moment,
    ) -> Self {
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
            session: Session { id: SessionId::at(now), wanted: booking.wanted.clone(), granted },
            client: party.client.clone(),
            subject: party.subject.clone(),
            operator: booking.operator.clone(),
            dialect: Arc::clone(&booking.dialect),
            operator_session: None,
            device: if booking.wanted.device.is_some() {
                None
            } else {
                booking.claimed.device.clone()
            },
            keys: claim.keys,
            flow: claim.flow,
            repeat,
            state: State::Pending,
            generation: 0,
            owes_farewell: false,
            times: Times {
                requested_at: now,
                skew,
                call_deadline: booking.call_deadline,
                call_ends_at,
                holds_until: Some(life_ends_at),
                life_ends_at,
                told_end: None,
                since: now,
                ends_at: call_ends_at + GRACE,
                extending_until: None,
                asked_every: booking.asked_every,
            },
        }
    }

    /// Moves all times of a reservation that had to wait.
    pub(super) fn delay(&mut self, by: Duration) {
        let Times { requested_at, call_ends_at, holds_until, life_ends_at, since, ends_at, .. } =
            &mut self.times;
        for time in [requested_at, call_ends_at, life_ends_at, since, ends_at] {
            *time = *time + by;
        }
        *holds_until = holds_until.map(|until| until + by);
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

    /// Until when its flow is held; nothing: it is not held.
    pub const fn holds_until(&self) -> Option<Moment> {
        self.times.holds_until
    }

    /// Is it being extended, or was it, and nobody knows what came of it?
    pub const fn is_being_extended(&self) -> bool {
        self.times.extending_until.is_some()
    }

    /// Is a session that its operator tells of for the very same packets? Of a device there is at
    /// most one of ours there, for this record holds them: unless conflicts are left to the operator,
    /// or one device is known by names that nobody can compare.
    pub fn is_for(&self, told: &CreateSession) -> bool {
        Claim::flow_of(told) == self.flow
    }

    /// Whose traffic it is for, in the client's words if it named it.
    pub fn device(&self) -> Option<&Device> {
        self.session.wanted.device.as_ref().or(self.device.as_ref())
    }

    /// The packets that it is for.
    pub const fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(super) const fn call_ends_at(&self) -> Moment {
        self.times.call_ends_at
    }

    pub(super) const fn call_deadline(&self) -> Duration {
        self.times.call_deadline
    }

    pub(super) const fn repeat(&self) -> Option<&RepeatKey> {
        self.repeat.as_ref()
    }

    pub(super) const fn owes_farewell(&self) -> bool {
        self.owes_farewell
    }

    /// Has nobody been told of it yet?
    pub(super) const fn is_unconfirmed(&self) -> bool {
        matches!(self.state, State::Pending | State::InDoubt)
    }

    /// What its client was told when it was made; nothing, if it was told no.
    pub(super) fn answered_as(&self) -> Option<Session> {
        let granted = !matches!(self.state, State::Pending | State::InDoubt | State::Releasing);
        granted.then(|| self.session.clone())
    }

    pub(super) fn claim(&self) -> Claim {
        Claim {
            operator: self.operator.clone(),
            client: self.client.clone(),
            keys: self.keys.clone(),
            flow: self.flow.clone(),
        }
    }

    pub(super) fn confirmed(
        self,
        operator_session: String,
        granted: Granted,
        now: Moment,
    ) -> Result<Self, Error> {
        let step = Move::Confirm(told_of(&granted));
        self.leads_on(step)?;
        // Its flow may be somebody else's by now.
        if self.lapsed(now) {
            return Err(Error::Lost);
        }
        Ok(Self { operator_session: Some(operator_session), ..self.told(step, granted, now)? })
    }

    pub(super) fn doubted(&self) -> Result<Self, Error> {
        self.put_in_doubt(Move::Doubt)
    }

    /// Of a session that was found at its operator, and must go.
    pub(super) fn found(&self, operator_session: String, now: Moment) -> Result<Self, Error> {
        self.leads_on(Move::Find)?;
        if self.lapsed(now) {
            return Err(Error::Lost);
        }
        let found = self.gone_soon(Move::Find, now)?;
        Ok(Self { operator_session: Some(operator_session), ..found })
    }

    /// The same record, of the same generation, if there is nothing new in what is told.
    pub(super) fn observed(
        &self,
        granted: Granted,
        asked_at: Moment,
        now: Moment,
    ) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        match seen.state {
            State::Pending | State::InDoubt => Err(Error::NotActive),
            // There is no way back: what says otherwise is late.
            State::Terminated | State::Releasing | State::Expired => Ok(seen),
            State::Requested | State::Available => {
                let extending = self.times.extending_until.is_some_and(|until| asked_at < until);
                if extending && granted.status != QosStatus::Unavailable {
                    let mut shown = seen;
                    shown.session.granted = granted;
                    return Ok(shown);
                }
                let next = self.told(Move::Observe(told_of(&granted)), granted, now)?;
                Ok(if next.says_the_same(self) { seen } else { next })
            }
        }
    }

    pub(super) fn extending(&self, additional_s: u32, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        seen.leads_on(Move::BeginExtend)?;
        if self.times.extending_until.is_some_and(|until| now < until) {
            return Err(Error::Lost);
        }
        seen.next(Move::BeginExtend, |times| {
            let raised = times.life_ends_at + seconds(additional_s);
            times.holds_until = Some(raised);
            times.life_ends_at = raised;
            times.ends_at = raised;
            times.extending_until = Some(now + times.call_deadline + GRACE);
        })
    }

    pub(super) fn extended(&self, granted: Granted, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        if seen.times.extending_until.is_none() {
            return Err(Error::NotActive);
        }
        seen.told(Move::EndExtend(told_of(&granted)), granted, now)
    }

    /// The same record, of the same generation, if it is being deleted already.
    pub(super) fn released(&self, now: Moment) -> Result<Self, Error> {
        let seen = self.seen(now).ok_or(Error::NotFound)?;
        match seen.state {
            State::Releasing => Ok(seen),
            // The flow may be somebody else's by now.
            State::Expired => seen.next(Move::BeginDelete, |times| times.since = now),
            state => Ok(Self {
                owes_farewell: state == State::Available,
                ..seen.gone_soon(Move::BeginDelete, now)?
            }),
        }
    }

    /// May it be forgotten by this move?
    pub(super) fn frees(&self, step: Move) -> Result<(), Error> {
        match self.state.after(step) {
            Some(Next::Free) => Ok(()),
            Some(Next::State(_)) | None => Err(Error::NotActive),
        }
    }

    // It holds as long as before; only whose task it is has changed.
    fn put_in_doubt(&self, step: Move) -> Result<Self, Error> {
        self.next(step, |times| times.ends_at = times.life_ends_at)
    }

    fn gone_soon(&self, step: Move, now: Moment) -> Result<Self, Error> {
        self.next(step, |times| {
            let gone = times.life_ends_at.max(now) + LINGERS;
            times.holds_until = Some(gone);
            times.ends_at = gone;
            times.since = now;
        })
    }

    // What an operator tells of a session that it has.
    fn told(&self, step: Move, granted: Granted, now: Moment) -> Result<Self, Error> {
        let longest = now + seconds(granted.duration_s) + self.times.skew;
        let told_end = self.told_end(&granted, now);
        let until = |times: &mut Times, end| {
            times.holds_until = Some(end);
            times.life_ends_at = end;
            times.ends_at = end;
        };
        let mut next = self.next(step, |times| match (told_of(&granted), told_end) {
            (Told::Requested, None) => {
                // It may begin at any time, so only a delete ends it for sure.
                times.life_ends_at = longest + LINGERS;
                times.ends_at = times.life_ends_at;
                times.holds_until = Some(FOREVER);
            }
            (Told::Requested, Some(end)) => until(times, end),
            (Told::Available, end) => until(times, end.unwrap_or(longest)),
            (Told::Expired, _) => {
                times.holds_until = None;
                times.ends_at = now + LINGERS;
            }
            (Told::Terminated, _) => {
                times.ends_at = now + LINGERS;
                times.holds_until = Some(FOREVER);
            }
        })?;
        next.session.granted = granted;
        next.times.told_end = told_end;
        next.times.extending_until = None;
        Ok(next)
    }

    // When the session is over. The first time that an operator tells of its end, the session has
    // not lived longer than since now; later its end moves as far as the operator moves it.
    fn told_end(&self, granted: &Granted, now: Moment) -> Option<Moment> {
        let told = granted.expires_at?;
        let before = self.times.told_end.zip(self.session.granted.expires_at);
        Some(match before {
            Some((end, before)) if before <= told => end + told.since(before),
            Some((end, before)) => end - before.since(told),
            None => {
                let stamped = granted.started_at.map(|started_at| told.since(started_at));
                let lasts = stamped.unwrap_or_default().max(seconds(granted.duration_s));
                now + lasts + self.times.skew
            }
        })
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.state == other.state
            && self.session.granted == other.session.granted
            && (self.times.holds_until, self.times.extending_until)
                == (other.times.holds_until, other.times.extending_until)
    }

    fn leads_on(&self, step: Move) -> Result<State, Error> {
        match self.state.after(step) {
            Some(Next::State(state)) => Ok(state),
            Some(Next::Free) | None => Err(Error::NotActive),
        }
    }

    fn next(&self, step: Move, change: impl FnOnce(&mut Times)) -> Result<Self, Error> {
        let state = self.leads_on(step)?;
        let mut next = self.clone();
        next.state = state;
        next.generation = self.generation.saturating_add(1);
        change(&mut next.times);
        Ok(next)
    }
}

fn told_of(granted: &Granted) -> Told {
    match (granted.status, granted.status_info) {
        (QosStatus::Requested, _) => Told::Requested,
        (QosStatus::Available, _) => Told::Available,
        (QosStatus::Unavailable, Some(StatusInfo::DurationExpired)) => Told::Expired,
        (QosStatus::Unavailable, _) => Told::Terminated,
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}
