//! What time does to a record: what it is by now, when to look at it again, and what is to be done
//! about it then.

use std::time::Duration;

use super::{GRACE, LINGERS, Record, State, Times};
use crate::{
    ledger::protocol::{Move, Next},
    qod::{Moment, QosStatus, SessionId, StatusInfo},
};

// The longest pause between two attempts to do what is due.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// What the index must know of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Life {
    pub(in crate::ledger) id: SessionId,
    pub(in crate::ledger) generation: u64,
    pub(in crate::ledger) state: State,
    /// Until when the flow is held; nothing: it is not.
    pub(in crate::ledger) holds_until: Option<Moment>,
    /// When to ask for the record's fate.
    pub(in crate::ledger) due: Moment,
}

/// What is to be done about a record at its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Delete the session there.
    Delete,
    /// Look whether it is there: the answer to its create was lost.
    LookFor,
    /// Ask how it stands: the answer to an extension was lost, or it does not tell by itself.
    Ask,
}

/// What time does to a record.
#[derive(Debug)]
pub(in crate::ledger) enum Fate {
    Stays,
    Becomes(Box<Record>),
    Due(Todo),
    Gone,
}

impl Record {
    pub(in crate::ledger) fn life(&self, now: Moment) -> Life {
        let Times { holds_until, ends_at, since, call_ends_at, extending_until, .. } = self.times;
        let asked_at = self.times.asked_every.map(|every| now + every);
        // Each pause is as long as all before it.
        let pause = |since: Moment| now + now.since(since).clamp(GRACE, PAUSE_MAX);
        let due = match (self.state, extending_until) {
            (State::Releasing, _) => ends_at.min(pause(since)),
            // What the operator has not done by then it will not do any more.
            (State::InDoubt, _) => ends_at.min(pause(call_ends_at).max(call_ends_at + GRACE)),
            (State::Available, Some(until)) => ends_at.min(pause(until).max(until)),
            (State::Requested | State::Available, None) => ends_at.min(asked_at.unwrap_or(ends_at)),
            _ => ends_at,
        };
        Life {
            id: self.session.id,
            generation: self.generation,
            state: self.state,
            holds_until,
            due,
        }
    }

    /// The record as a reader sees it: what has expired is expired, though no sweep has been by.
    pub(in crate::ledger) fn seen(&self, now: Moment) -> Option<Self> {
        let lapsed = self.lapsed(now);
        let seen = match self.state {
            State::Requested | State::Available if lapsed => self.expired(self.generation),
            State::Pending | State::InDoubt if lapsed => return None,
            _ => self.clone(),
        };
        let forgettable = matches!(seen.state, State::Releasing | State::Expired);
        (!forgettable || now < seen.times.ends_at).then_some(seen)
    }

    pub(super) fn lapsed(&self, now: Moment) -> bool {
        self.times.holds_until.is_some_and(|until| until <= now)
    }

    /// The same for a process that has just begun: what is to be done is due as soon as it may be,
    /// however often a process before has tried.
    pub(in crate::ledger) fn life_anew(&self, now: Moment) -> Life {
        let Times { ends_at, call_ends_at, extending_until, asked_every, .. } = self.times;
        let due = match (self.state, extending_until) {
            (State::Releasing, _) => now,
            (State::InDoubt, _) => call_ends_at + GRACE,
            (State::Available, Some(until)) => until,
            (State::Requested | State::Available, None) if asked_every.is_some() => now,
            _ => ends_at,
        };
        Life { due: due.min(ends_at), ..self.life(now) }
    }

    /// What time has done to the record by now.
    pub(in crate::ledger) fn fate(&self, now: Moment) -> Fate {
        let Some(seen) = self.seen(now) else {
            return if self.fades() { Fate::Gone } else { Fate::Stays };
        };
        if seen.state != self.state && self.leads_on(Move::Lapse) == Ok(seen.state) {
            return Fate::Becomes(Box::new(self.expired(self.generation.saturating_add(1))));
        }
        let Times { ends_at, call_ends_at, extending_until, asked_every, .. } = self.times;
        let next = match self.state {
            State::Releasing => return Fate::Due(Todo::Delete),
            State::InDoubt if call_ends_at + GRACE <= now => return Fate::Due(Todo::LookFor),
            State::Available if extending_until.is_some_and(|until| until <= now) => {
                return Fate::Due(Todo::Ask);
            }
            State::Requested | State::Available if asked_every.is_some() && now < ends_at => {
                return Fate::Due(Todo::Ask);
            }
            _ if now < ends_at => return Fate::Stays,
            State::Pending => self.put_in_doubt(Move::Deadline),
            State::Requested | State::Terminated => self.gone_soon(Move::Deadline, now),
            State::InDoubt | State::Available | State::Expired => return Fate::Stays,
        };
        next.map_or(Fate::Stays, |next| Fate::Becomes(Box::new(next)))
    }

    /// What is to be done at once about a record that has just come to its state.
    pub(in crate::ledger) const fn todo(&self) -> Option<Todo> {
        match self.state {
            State::Releasing => Some(Todo::Delete),
            State::InDoubt => Some(Todo::LookFor),
            _ => None,
        }
    }

    // Does time alone end it? If nobody was by for long, two moves may be due at once.
    fn fades(&self) -> bool {
        let step = |state| if state == State::Pending { Move::Deadline } else { Move::Lapse };
        match self.state.after(step(self.state)) {
            Some(Next::State(next)) => next.after(step(next)) == Some(Next::Free),
            end => end == Some(Next::Free),
        }
    }

    fn expired(&self, generation: u64) -> Self {
        let mut expired = self.clone();
        expired.state = State::Expired;
        expired.generation = generation;
        let times = &mut expired.times;
        times.ends_at = times.holds_until.unwrap_or(times.life_ends_at) + LINGERS;
        times.holds_until = None;
        expired.session.granted.status = QosStatus::Unavailable;
        expired.session.granted.status_info = Some(StatusInfo::DurationExpired);
        expired
    }
}
