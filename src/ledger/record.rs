//! The record of a session and its transitions, one method each.
//!
//! This module reads no clock and no store. A transition returns the record of the next generation;
//! the store accepts or rejects it. The table of `state_machine.rs` determines which transitions are
//! allowed.
//!
//! All times are those of the ledger clock. Times of an operator are never compared with them: only
//! the difference of two times of the operator is used, and the distance that one moves.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

mod hold;
mod lifecycle;
mod operator_time;
mod reply;
mod usage;

#[cfg(test)]
pub(super) use self::hold::{Hold, HoldReason};
pub use self::lifecycle::OperatorAction;
use self::usage::UsageTrace;
pub(super) use self::{
    lifecycle::{FAILED_TRANSITION_DELAY, LifecycleStep, RecordSummary},
    reply::CreateReply,
};
use super::{
    Claim, Error, Requester, ReservationRequest, SessionState,
    claim::DeviceKeys,
    idempotency::IdempotencyKeyHash,
    state_machine::{OperatorReport, Transition, TransitionResult},
};
use crate::{
    qod::{
        ClientId, CreateRequest, Device, Flow, GrantedSession, Moment, OperatorId, QosStatus,
        Session, SessionId, StatusInfo, TokenSubject,
    },
    trace::SpanReference,
};

// CAMARA: a session remains readable at least this long after the network ended it.
const RETENTION: Duration = Duration::from_mins(6);
// No proxy of an operator forwards a request this long after its connection was closed.
const CALL_GRACE: Duration = Duration::from_secs(30);
const NO_EXPIRY: Moment = Moment::from_unix_ms(u64::MAX);

/// A session and its ledger data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session. Until it is confirmed, its status is `REQUESTED`, without times.
    pub session: Session,
    /// The client that owns the session.
    pub client: ClientId,
    /// The end user, if the token was three-legged.
    pub subject: Option<TokenSubject>,
    /// The operator that grants the session.
    pub operator: OperatorId,
    /// The dialect of the client's create request.
    pub dialect: Arc<str>,
    /// The operator's id of the session, if known.
    pub operator_session: Option<String>,
    /// The operator's id of the session, from an event that arrived before the answer to the create:
    /// only in the result of the change that follows.
    #[serde(skip)]
    pub early_event: Option<String>,
    // The device of the token, if the client did not name a device.
    device: Option<Device>,
    keys: DeviceKeys,
    flow: Flow,
    idempotency_key: Option<IdempotencyKeyHash>,
    state: SessionState,
    generation: u64,
    /// Whether the client is notified when the delete is finished.
    notify_on_delete: bool,
    /// The span of the create request.
    pub(super) trace: Option<SpanReference>,
    times: Times,
    // `None` if the session gets no usage record.
    usage: Option<Box<UsageTrace>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    requested_at: Moment,
    clock_skew: Duration,
    call_timeout: Duration,
    call_ends_at: Moment,
    /// The end of the hold; `None` if the flow is not held.
    holds_until: Option<Moment>,
    /// The end of the maximum lifetime at the operator, without a delete or another extension.
    lifetime_ends_at: Moment,
    /// The end that the operator reported last, with clock skew, without a pending extension.
    reported_end: Option<Moment>,
    /// The start of the delete; before a delete, the time of the reservation.
    since: Moment,
    /// The timeout of the state.
    ends_at: Moment,
    /// The time until which an extension may be in progress.
    extending_until: Option<Moment>,
    /// The interval at which the operator is polled, if it sends no notifications.
    poll_interval: Option<Duration>,
}

impl SessionRecord {
    pub(super) fn new_pending(
        requester: &Requester,
        request: &ReservationRequest,
        claim: Claim,
        idempotency_key: Option<IdempotencyKeyHash>,
        now: Moment,
    ) -> Self {
        let granted = GrantedSession {
            duration_s: request.client_request.duration_s,
            started_at: None,
            expires_at: None,
            status: QosStatus::Requested,
            status_info: None,
            messages: Vec::new(),
        };
        let clock_skew = request.rules.clock_skew;
        let call_ends_at = now + request.call_timeout;
        // The operator may create the session at the end of the call.
        let lifetime_ends_at =
            call_ends_at + seconds(request.operator_request.duration_s) + RETENTION + clock_skew;
        Self {
            session: Session {
                id: SessionId::time_ordered(now),
                wanted: Arc::clone(&request.client_request),
                granted,
            },
            client: requester.client.clone(),
            subject: requester.subject.clone(),
            operator: request.operator.clone(),
            dialect: Arc::clone(&request.dialect),
            operator_session: None,
            early_event: None,
            device: if request.client_request.device.is_some() {
                None
            } else {
                request.operator_request.device.clone()
            },
            keys: claim.keys,
            flow: claim.flow,
            idempotency_key,
            state: SessionState::Pending,
            generation: 0,
            notify_on_delete: false,
            trace: request.trace,
            times: Times {
                requested_at: now,
                clock_skew,
                call_timeout: request.call_timeout,
                call_ends_at,
                holds_until: Some(lifetime_ends_at),
                lifetime_ends_at,
                reported_end: None,
                since: now,
                ends_at: call_ends_at + CALL_GRACE,
                extending_until: None,
                poll_interval: request.poll_interval,
            },
            usage: request.usage.as_ref().map(|usage| {
                Box::new(UsageTrace::new(usage, &request.operator_request.qos_profile))
            }),
        }
    }

    /// Shifts all times of a reservation that waited in a queue.
    pub(super) fn shift_times(&mut self, by: Duration) {
        let Times {
            requested_at, call_ends_at, holds_until, lifetime_ends_at, since, ends_at, ..
        } = &mut self.times;
        for time in [requested_at, call_ends_at, lifetime_ends_at, since, ends_at] {
            *time = *time + by;
        }
        *holds_until = holds_until.map(|until| until + by);
    }

    /// The state.
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// The time of the create request.
    pub const fn requested_at(&self) -> Moment {
        self.times.requested_at
    }

    /// The number of changes of the record.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The end of the hold; `None` if the flow is not held.
    pub const fn holds_until(&self) -> Option<Moment> {
        self.times.holds_until
    }

    /// Whether an extension is in progress or its outcome is unknown.
    pub const fn is_being_extended(&self) -> bool {
        self.times.extending_until.is_some()
    }

    /// Whether a session of the operator has the same flow. The gateway has at most one session with
    /// this flow of the device at the operator, because this record holds the flow; except if the
    /// operator decides about conflicts, or the device has incomparable identifiers.
    pub fn has_flow(&self, reported: &CreateRequest) -> bool {
        Claim::normalized_flow(reported) == self.flow
    }

    /// The device of the session, as the client named it or as its token identifies it.
    pub fn device(&self) -> Option<&Device> {
        self.session.wanted.device.as_ref().or(self.device.as_ref())
    }

    /// The flow of the session.
    pub const fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(super) const fn keys(&self) -> &DeviceKeys {
        &self.keys
    }

    pub(super) const fn call_timeout(&self) -> Duration {
        self.times.call_timeout
    }

    pub(super) const fn idempotency_key(&self) -> Option<&IdempotencyKeyHash> {
        self.idempotency_key.as_ref()
    }

    pub(super) const fn notify_on_delete(&self) -> bool {
        self.notify_on_delete
    }

    /// Whether the client has not received a successful response for the session.
    pub(super) const fn is_unconfirmed(&self) -> bool {
        matches!(self.state, SessionState::Pending | SessionState::InDoubt)
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
        granted: GrantedSession,
        now: Moment,
    ) -> Result<Self, Error> {
        let transition = Transition::Confirm(report_of(&granted));
        self.next_state(transition)?;
        // Another request may have reserved the flow.
        if self.hold_expired(now) {
            return Err(Error::Superseded);
        }
        let confirmed = self.reported(transition, granted, now)?;
        Ok(Self { operator_session: Some(operator_session), ..confirmed })
    }

    pub(super) fn in_doubt(&self) -> Result<Self, Error> {
        self.move_to_in_doubt(Transition::MarkInDoubt)
    }

    /// The record of a session that exists at its operator and must be deleted.
    pub(super) fn found(&self, operator_session: String, now: Moment) -> Result<Self, Error> {
        self.next_state(Transition::MarkFound)?;
        if self.hold_expired(now) {
            return Err(Error::Superseded);
        }
        let found = self.move_to_releasing(Transition::MarkFound, now)?;
        Ok(Self { operator_session: Some(operator_session), ..found })
    }

    /// The record after a report. Has the same generation if the report contains no change.
    pub(super) fn observed(
        &self,
        granted: GrantedSession,
        asked_at: Moment,
        now: Moment,
    ) -> Result<Self, Error> {
        let current = self.as_of(now).ok_or(Error::NotFound)?;
        match current.state {
            SessionState::Pending | SessionState::InDoubt => Err(Error::InvalidState),
            // These states never return to an active one: the report is outdated.
            SessionState::Terminated | SessionState::Releasing | SessionState::Expired => {
                Ok(current)
            }
            SessionState::Requested | SessionState::Available => {
                let extending = self.times.extending_until.is_some_and(|until| asked_at < until);
                if extending && granted.status != QosStatus::Unavailable {
                    let mut current = current;
                    current.session.granted = granted;
                    return Ok(current);
                }
                let transition = Transition::Observe(report_of(&granted));
                let next = self.clone().reported(transition, granted, now)?;
                Ok(if next.is_unchanged_from(self) { current } else { next })
            }
        }
    }

    /// The record after the operator reported that it does not have the session any more; the flow
    /// is free. Has the same generation if the session had ended before.
    pub(super) fn absent(&self, ended: GrantedSession, now: Moment) -> Result<Self, Error> {
        let current = self.as_of(now).ok_or(Error::NotFound)?;
        if matches!(current.state, SessionState::Releasing | SessionState::Expired) {
            return Ok(current);
        }
        let state = current.state;
        let mut next = current.transition(Transition::ObserveAbsent, |times| {
            times.holds_until = None;
            times.ends_at = now + RETENTION;
            times.extending_until = None;
        })?;
        if state != SessionState::Terminated {
            next.session.granted = ended;
        }
        Ok(next)
    }

    pub(super) fn extending(&self, additional_s: u32, now: Moment) -> Result<Self, Error> {
        let current = self.as_of(now).ok_or(Error::NotFound)?;
        current.next_state(Transition::BeginExtend)?;
        if self.times.extending_until.is_some_and(|until| now < until) {
            return Err(Error::Superseded);
        }
        let mut extending = current.transition(Transition::BeginExtend, |times| {
            let prolonged = times.lifetime_ends_at + seconds(additional_s);
            times.holds_until = Some(prolonged);
            times.lifetime_ends_at = prolonged;
            times.ends_at = prolonged;
            times.extending_until = Some(now + times.call_timeout + CALL_GRACE);
        })?;
        if let Some(usage) = &mut extending.usage {
            usage.begin_extend(additional_s);
        }
        Ok(extending)
    }

    pub(super) fn extended(&self, granted: GrantedSession, now: Moment) -> Result<Self, Error> {
        let current = self.as_of(now).ok_or(Error::NotFound)?;
        if current.times.extending_until.is_none() {
            return Err(Error::InvalidState);
        }
        current.reported(Transition::FinishExtend(report_of(&granted)), granted, now)
    }

    /// The record during its delete. Has the same generation if it is already being deleted.
    pub(super) fn deleting(&self, now: Moment) -> Result<Self, Error> {
        let current = self.as_of(now).ok_or(Error::NotFound)?;
        match current.state {
            SessionState::Releasing => Ok(current),
            // Another request may have reserved the flow.
            SessionState::Expired => {
                current.transition(Transition::BeginDelete, |times| times.since = now)
            }
            state => Ok(Self {
                notify_on_delete: state == SessionState::Available,
                ..current.move_to_releasing(Transition::BeginDelete, now)?
            }),
        }
    }

    /// Checks that this transition removes the record.
    pub(super) fn ensure_removes(&self, transition: Transition) -> Result<(), Error> {
        match self.state.apply(transition) {
            Some(TransitionResult::Removed) => Ok(()),
            Some(TransitionResult::State(_)) | None => Err(Error::InvalidState),
        }
    }

    // The end of the hold is unchanged.
    fn move_to_in_doubt(&self, transition: Transition) -> Result<Self, Error> {
        self.clone().transition(transition, |times| times.ends_at = times.lifetime_ends_at)
    }

    // A delete without an answer never makes the hold longer than the session can exist.
    fn move_to_releasing(&self, transition: Transition, now: Moment) -> Result<Self, Error> {
        let lifetime_ends_at = self.times.lifetime_ends_at;
        let end = match (self.state, self.times.holds_until) {
            (SessionState::Terminated, _) => {
                lifetime_ends_at.max(self.times.ends_at).max(now + CALL_GRACE)
            }
            // It may start until it is deleted.
            (SessionState::Requested, Some(NO_EXPIRY)) => lifetime_ends_at.max(now + RETENTION),
            (_, until) => until.unwrap_or(lifetime_ends_at),
        };
        self.clone().transition(transition, |times| {
            times.holds_until = Some(end);
            times.ends_at = end.max(now) + RETENTION;
            times.since = now;
        })
    }

    // Applies a report of the operator about a session.
    fn reported(
        self,
        transition: Transition,
        granted: GrantedSession,
        now: Moment,
    ) -> Result<Self, Error> {
        let latest_end = now + seconds(granted.duration_s) + self.times.clock_skew;
        let reported_end = self.reported_end(&granted, now);
        let until = |times: &mut Times, end| {
            times.holds_until = Some(end);
            times.lifetime_ends_at = end;
            times.ends_at = end;
        };
        let mut next =
            self.transition(transition, |times| match (report_of(&granted), reported_end) {
                (OperatorReport::Requested, None) => {
                    // The session may start at any time, so only a delete certainly ends it.
                    times.lifetime_ends_at = latest_end + RETENTION;
                    times.ends_at = times.lifetime_ends_at;
                    times.holds_until = Some(NO_EXPIRY);
                }
                (OperatorReport::Requested, Some(end)) => until(times, end),
                (OperatorReport::Available, end) => until(times, end.unwrap_or(latest_end)),
                (OperatorReport::Expired, _) => {
                    times.holds_until = None;
                    times.ends_at = now + RETENTION;
                }
                (OperatorReport::Terminated, _) => {
                    times.ends_at = now + RETENTION;
                    times.holds_until = Some(NO_EXPIRY);
                }
            })?;
        next.session.granted = granted;
        next.times.reported_end = reported_end;
        next.times.extending_until = None;
        Ok(next)
    }

    fn is_unchanged_from(&self, other: &Self) -> bool {
        self.state == other.state
            && self.session.granted == other.session.granted
            && (self.times.holds_until, self.times.extending_until)
                == (other.times.holds_until, other.times.extending_until)
    }

    fn next_state(&self, transition: Transition) -> Result<SessionState, Error> {
        match self.state.apply(transition) {
            Some(TransitionResult::State(state)) => Ok(state),
            Some(TransitionResult::Removed) | None => Err(Error::InvalidState),
        }
    }

    fn transition(
        mut self,
        transition: Transition,
        change: impl FnOnce(&mut Times),
    ) -> Result<Self, Error> {
        let before = self.state;
        self.state = self.next_state(transition)?;
        self.generation = self.generation.saturating_add(1);
        change(&mut self.times);
        if let Some(usage) = &mut self.usage {
            usage.apply(before, transition, self.state, self.generation);
        }
        Ok(self)
    }
}

fn report_of(granted: &GrantedSession) -> OperatorReport {
    match (granted.status, granted.status_info) {
        (QosStatus::Requested, _) => OperatorReport::Requested,
        (QosStatus::Available, _) => OperatorReport::Available,
        (QosStatus::Unavailable, Some(StatusInfo::DurationExpired)) => OperatorReport::Expired,
        (QosStatus::Unavailable, _) => OperatorReport::Terminated,
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
mod tests;
