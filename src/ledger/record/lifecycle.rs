//! The lifecycle of a record: its state at a given time, the time at which it is due for the sweep,
//! and the action that is then required.

use std::time::Duration;

use super::{CALL_GRACE, RETENTION, SessionRecord, SessionState, Times};
use crate::{
    ledger::state_machine::{Transition, TransitionResult},
    qod::{Moment, QosStatus, SessionId, StatusInfo},
};

// The maximum interval between two attempts of an action.
const RETRY_INTERVAL_MAX: Duration = Duration::from_mins(10);

/// The delay before a record is examined again whose due transition failed.
pub(in crate::ledger) const FAILED_TRANSITION_DELAY: Duration = Duration::from_secs(30);

/// The part of a record that the index stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct RecordSummary {
    pub(in crate::ledger) id: SessionId,
    pub(in crate::ledger) generation: u64,
    pub(in crate::ledger) state: SessionState,
    /// The end of the hold; `None` if the flow is not held.
    pub(in crate::ledger) holds_until: Option<Moment>,
    /// The time at which the sweep examines the record.
    pub(in crate::ledger) due: Moment,
}

/// A call to the operator that a record requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorAction {
    /// Delete the session.
    Delete,
    /// Look the session up: the outcome of its create is unknown.
    Lookup,
    /// Get the status: the outcome of an extension is unknown, or the operator sends no
    /// notifications.
    Poll,
}

/// The step of the lifecycle that is due.
#[derive(Debug)]
pub(in crate::ledger) enum LifecycleStep {
    Unchanged,
    Transition(Box<SessionRecord>),
    Action(OperatorAction),
    Remove,
}

impl SessionRecord {
    pub(in crate::ledger) fn summary(&self, now: Moment) -> RecordSummary {
        let Times { holds_until, ends_at, since, call_ends_at, extending_until, .. } = self.times;
        let poll_at = self.times.poll_interval.map(|interval| now + interval);
        // Exponential backoff: each interval is as long as the time since the start.
        let retry_at = |start: Moment| now + now.since(start).clamp(CALL_GRACE, RETRY_INTERVAL_MAX);
        let due = match (self.state, extending_until) {
            (SessionState::Releasing, _) => ends_at.min(retry_at(since)),
            // After the grace period the operator no longer executes the create.
            (SessionState::InDoubt, _) => {
                ends_at.min(retry_at(call_ends_at).max(call_ends_at + CALL_GRACE))
            }
            (SessionState::Available, Some(until)) => ends_at.min(retry_at(until).max(until)),
            (SessionState::Requested | SessionState::Available, None) => {
                ends_at.min(poll_at.unwrap_or(ends_at))
            }
            _ => ends_at,
        };
        RecordSummary {
            id: self.session.id,
            generation: self.generation,
            state: self.state,
            holds_until,
            due,
        }
    }

    /// The record as a reader sees it at this time: expiry is visible before the sweep runs.
    pub(in crate::ledger) fn as_of(&self, now: Moment) -> Option<Self> {
        let hold_expired = self.hold_expired(now);
        let current = match self.state {
            SessionState::Requested | SessionState::Available if hold_expired => {
                self.expired(self.generation)
            }
            SessionState::Pending | SessionState::InDoubt if hold_expired => return None,
            SessionState::Releasing if hold_expired => {
                let mut released = self.clone();
                released.times.holds_until = None;
                released
            }
            _ => self.clone(),
        };
        let removable = matches!(current.state, SessionState::Releasing | SessionState::Expired);
        (!removable || now < current.times.ends_at).then_some(current)
    }

    pub(super) fn hold_expired(&self, now: Moment) -> bool {
        self.times.holds_until.is_some_and(|until| until <= now)
    }

    /// The summary after a restart of the process: actions are due as early as allowed, without the
    /// backoff of the previous process.
    pub(in crate::ledger) fn summary_after_restart(&self, now: Moment) -> RecordSummary {
        let Times { ends_at, call_ends_at, extending_until, poll_interval, .. } = self.times;
        let due = match (self.state, extending_until) {
            (SessionState::Releasing, _) => now,
            (SessionState::InDoubt, _) => call_ends_at + CALL_GRACE,
            (SessionState::Available, Some(until)) => until,
            (SessionState::Requested | SessionState::Available, None)
                if poll_interval.is_some() =>
            {
                now
            }
            _ => ends_at,
        };
        RecordSummary { due: due.min(ends_at), ..self.summary(now) }
    }

    /// The step that is due at this time.
    pub(in crate::ledger) fn lifecycle_step(&self, now: Moment) -> LifecycleStep {
        let Some(current) = self.as_of(now) else {
            return if self.is_removed_by_timeouts() {
                LifecycleStep::Remove
            } else {
                LifecycleStep::Unchanged
            };
        };
        if current.state != self.state && self.next_state(Transition::Expire) == Ok(current.state) {
            let mut expired = self.expired(self.generation.saturating_add(1));
            if let Some(usage) = &mut expired.usage {
                usage.apply(self.state, Transition::Expire, expired.state, expired.generation);
            }
            return LifecycleStep::Transition(Box::new(expired));
        }
        let Times { ends_at, call_ends_at, extending_until, poll_interval, .. } = self.times;
        let next = match self.state {
            SessionState::Releasing => return LifecycleStep::Action(OperatorAction::Delete),
            SessionState::InDoubt if call_ends_at + CALL_GRACE <= now => {
                return LifecycleStep::Action(OperatorAction::Lookup);
            }
            SessionState::Available if extending_until.is_some_and(|until| until <= now) => {
                return LifecycleStep::Action(OperatorAction::Poll);
            }
            SessionState::Requested | SessionState::Available
                if poll_interval.is_some() && now < ends_at =>
            {
                return LifecycleStep::Action(OperatorAction::Poll);
            }
            _ if now < ends_at => return LifecycleStep::Unchanged,
            SessionState::Pending => self.move_to_in_doubt(Transition::Deadline),
            SessionState::Requested | SessionState::Terminated => {
                self.move_to_releasing(Transition::Deadline, now)
            }
            SessionState::InDoubt | SessionState::Available | SessionState::Expired => {
                return LifecycleStep::Unchanged;
            }
        };
        next.map_or(LifecycleStep::Unchanged, |next| LifecycleStep::Transition(Box::new(next)))
    }

    /// The action that is required immediately after a transition to the current state.
    pub(in crate::ledger) const fn immediate_action(&self) -> Option<OperatorAction> {
        match self.state {
            SessionState::Releasing => Some(OperatorAction::Delete),
            SessionState::InDoubt => Some(OperatorAction::Lookup),
            _ => None,
        }
    }

    // Whether timeouts alone remove the record. If no sweep ran for long, two transitions may be due
    // at once.
    fn is_removed_by_timeouts(&self) -> bool {
        let timeout = |state| {
            if state == SessionState::Pending { Transition::Deadline } else { Transition::Expire }
        };
        match self.state.apply(timeout(self.state)) {
            Some(TransitionResult::State(next)) => {
                next.apply(timeout(next)) == Some(TransitionResult::Removed)
            }
            result => result == Some(TransitionResult::Removed),
        }
    }

    fn expired(&self, generation: u64) -> Self {
        let mut expired = self.clone();
        expired.state = SessionState::Expired;
        expired.generation = generation;
        let times = &mut expired.times;
        times.ends_at = times.holds_until.unwrap_or(times.lifetime_ends_at) + RETENTION;
        times.holds_until = None;
        expired.session.granted.status = QosStatus::Unavailable;
        expired.session.granted.status_info = Some(StatusInfo::DurationExpired);
        expired
    }
}
