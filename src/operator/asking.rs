//! One call to an operator: with credentials that are good, at the first endpoint that can be reached,
//! and what its answer means.
//!
//! It is tried at another endpoint only if it surely was not sent, or if it changes nothing; and all of
//! it within the one time that it has.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::{
    No, Operator, Outcome, Silence,
    breaker::{Need, Resting, Stands, Turn, Verdict, Why},
    endpoints::{BEHIND_FOR, Tried},
};
use crate::{
    clock::Tick,
    credentials::{Shown, Signed},
    outbound::{Answered, Call, Caller, Endpoint, Sent, retry_after},
    qod::Operation,
};

const ANSWER_BYTES_MAX: usize = 256 * 1024;
const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

/// What an operator is asked.
pub(super) struct Ask<'a> {
    pub(super) operation: Operation,
    pub(super) session: Option<&'a str>,
    pub(super) body: Bytes,
    pub(super) correlator: &'a HeaderValue,
    pub(super) reach_within: Duration,
    pub(super) within: Duration,
}

impl Operator {
    /// Asks for the sake of what there is: now and then also when it is left alone otherwise.
    pub(super) async fn ask_with_care(&self, caller: &Caller, ask: Ask<'_>) -> Outcome<Answered> {
        let need = if changes_nothing(ask.operation) { Need::Look } else { Need::Care };
        match self.turn_for(need, caller) {
            Ok(turn) => self.ask(caller, ask, &turn).await,
            Err(no) => Outcome::Refused(no),
        }
    }

    pub(super) fn turn_for(&self, need: Need, caller: &Caller) -> Result<Turn, No> {
        let turn = self.breaker.turn(need, caller.clock.tick());
        turn.map_err(|resting| {
            caller.metrics.operator_left_alone(&self.id().0, resting.why.name());
            No::Resting(resting)
        })
    }

    /// Heeds what a call tells of how the operator is.
    pub(super) fn heard(&self, verdict: Verdict, turn: &Turn, caller: &Caller) {
        match turn.tell(verdict, caller.clock.tick()) {
            Some(Stands::Closed) => {
                tracing::info!(operator = %self.id(), "the operator is well again");
            }
            Some(Stands::Open | Stands::HalfOpen) => {
                tracing::warn!(operator = %self.id(), "the operator fails, and is left alone");
            }
            None => return,
        }
        self.measure(caller);
    }

    /// Tells the metrics how it stands with the operator.
    pub fn measure(&self, caller: &Caller) {
        let now = caller.clock.tick();
        caller.metrics.operator_breaker(&self.id().0, self.breaker.stands(now).level());
        for place in self.endpoints.places() {
            caller.metrics.operator_endpoint(&self.id().0, place, self.endpoints.is_up(place, now));
        }
    }

    pub(super) async fn ask(
        &self,
        caller: &Caller,
        ask: Ask<'_>,
        turn: &Turn,
    ) -> Outcome<Answered> {
        let operation = ask.operation;
        let Some(path) = self.dialect().path_of(operation, ask.session) else {
            return Outcome::Refused(No::NoSuchOperation);
        };
        let started = caller.clock.tick();
        let (mut again, mut verdict) = (true, None);
        let outcome = loop {
            let left = ask.reach_within.saturating_sub(caller.clock.elapsed(started));
            // Half of the time is left to the call itself.
            let shown = match self.credentials.authorize(caller, left / 2).await {
                Ok(shown) => shown,
                Err(no) => break Outcome::Refused(No::NoToken(no)),
            };
            let (outcome, told) = self.try_each(caller, &ask, (&path, started), &shown, turn).await;
            // Of two attempts the second tells how it is.
            verdict = told.or(verdict);
            // What was answered 401 surely was not done: it may be asked once more with another token.
            let rejected = matches!(outcome, Outcome::Refused(No::OurCredentials(401)));
            if !(again && rejected && self.credentials.reject(&shown, caller)) {
                break outcome;
            }
            again = false;
        };
        if let Some(verdict) = verdict {
            self.heard(verdict, turn, caller);
        }
        if matches!(outcome, Outcome::Refused(No::Resting(_))) {
            caller.metrics.operator_left_alone(&self.id().0, Why::Busy.name());
        }
        let elapsed = caller.clock.elapsed(started);
        caller.metrics.operator_called(&self.id().0, operation.name(), outcome.name(), elapsed);
        outcome
    }

    async fn try_each(
        &self,
        caller: &Caller,
        ask: &Ask<'_>,
        (path, started): (&str, Tick),
        shown: &Shown,
        turn: &Turn,
    ) -> (Outcome<Answered>, Option<Verdict>) {
        let mut tried = Tried::default();
        let mut outcome = Outcome::Refused(No::NotReached("it has no endpoint".to_owned()));
        let mut verdict = None;
        loop {
            // Those that it has not been tried at yet get as much time each to be reached in.
            let shares = self.endpoints.left(&tried);
            let next = self.endpoints.next(&mut tried, caller.clock.tick());
            let Some((place, endpoint)) = next else { break (outcome, verdict) };
            let elapsed = caller.clock.elapsed(started);
            let reach_within = ask.reach_within.saturating_sub(elapsed);
            if reach_within.is_zero() && shares < self.endpoints.count() {
                break (outcome, verdict);
            }
            if shares < self.endpoints.count() {
                caller.metrics.operator_failed_over(&self.id().0);
            }
            let time = Time { reach_within: reach_within / shares.max(1), started };
            let sent = match self.send(caller, ask, (endpoint, path), shown, &time).await {
                Ok(sent) => sent,
                Err(no) => break (Outcome::Refused(no), verdict),
            };
            if matches!(sent, Sent::NotSent(_)) {
                self.endpoints.put_behind(place, caller.clock.tick() + BEHIND_FOR);
            }
            verdict = verdict_of(&sent);
            if let Some(wait) = asks_for_rest(&sent, caller) {
                turn.told(wait, caller.clock.tick());
            }
            let elsewhere = may_be_tried_elsewhere(ask.operation, &sent);
            outcome = self.judge(ask.operation, sent);
            if !elsewhere {
                break (outcome, verdict);
            }
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        ask: &Ask<'_>,
        (endpoint, path): (&Endpoint, &str),
        shown: &Shown,
        time: &Time,
    ) -> Result<Sent, No> {
        let method = method_of(ask.operation);
        let target = endpoint.target(path);
        let mut headers = self.headers(ask.correlator);
        let signed = Signed { method: &method, target: &target, body: &ask.body };
        let put = self.credentials.put(shown, &signed, caller, &mut headers).await;
        put.map_err(No::NoToken)?;
        let elapsed = caller.clock.elapsed(time.started);
        let left = ask.reach_within.saturating_sub(elapsed);
        if left.is_zero() {
            return Err(No::NotReached("its time is over".to_owned()));
        }
        let call = Call {
            method,
            path,
            headers: &headers,
            body: ask.body.clone(),
            reach_within: time.reach_within.min(left),
            within: ask.within.saturating_sub(elapsed),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        // On the heap: it is large, and would be copied with every future that it is part of.
        Ok(Box::pin(caller.outbound.send(endpoint, &call)).await)
    }

    pub(super) fn judge(&self, operation: Operation, sent: Sent) -> Outcome<Answered> {
        let answer = match sent {
            Sent::Answered(answer) => answer,
            Sent::NotSent(reason) => return Outcome::Refused(No::NotReached(reason)),
            Sent::NoRoom(_) => return Outcome::Refused(No::Resting(Resting::BUSY)),
            Sent::Unknown(reason) => return Outcome::Unknown(Silence::Lost(reason)),
        };
        let status = answer.status.as_u16();
        match status {
            200..=299 => Outcome::Accepted(answer),
            300..=399 => Outcome::Refused(No::Redirected(status)),
            401 | 403 => Outcome::Refused(No::OurCredentials(status)),
            404 | 410 if is_of_one_session(operation) => Outcome::Refused(No::Gone),
            // A request that the operator timed out on may still be carried out.
            408 => Outcome::Unknown(Silence::Failed(status)),
            400..=499 | 501 => {
                Outcome::Refused(No::Said(self.dialect().read_problem(status, &answer.body)))
            }
            _ => Outcome::Unknown(Silence::Failed(status)),
        }
    }

    pub(super) fn headers(&self, correlator: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        let descriptor = self.dialect().descriptor();
        // One that its release does not let be is refused there, and what it goes with.
        let rule = descriptor.correlator.as_ref();
        if rule.is_none_or(|rule| rule.admits(correlator.as_bytes())) {
            headers.push((X_CORRELATOR, correlator.clone()));
        }
        if let Some(name) = descriptor.transaction_header {
            headers.push((HeaderName::from_static(name), correlator.clone()));
        }
        headers
    }
}

fn method_of(operation: Operation) -> Method {
    match operation {
        Operation::CreateSession
        | Operation::ExtendSession
        | Operation::RetrieveSessions
        | Operation::RetrieveQosProfiles => Method::POST,
        Operation::GetSession | Operation::GetQosProfile | Operation::ListQosProfiles => {
            Method::GET
        }
        Operation::DeleteSession => Method::DELETE,
    }
}

fn is_of_one_session(operation: Operation) -> bool {
    match operation {
        Operation::GetSession | Operation::DeleteSession | Operation::ExtendSession => true,
        Operation::CreateSession
        | Operation::RetrieveSessions
        | Operation::GetQosProfile
        | Operation::ListQosProfiles
        | Operation::RetrieveQosProfiles => false,
    }
}

struct Time {
    reach_within: Duration,
    started: Tick,
}

/// How long an operator asks to be left alone for.
fn asks_for_rest(sent: &Sent, caller: &Caller) -> Option<Duration> {
    match sent {
        Sent::Answered(answer) if matches!(answer.status.as_u16(), 429 | 503) => {
            retry_after(&answer.headers, caller.clock.now())
        }
        Sent::Answered(_) | Sent::NotSent(_) | Sent::NoRoom(_) | Sent::Unknown(_) => None,
    }
}

/// What speaks of the operator, and not of what it was asked, nor of us.
fn verdict_of(sent: &Sent) -> Option<Verdict> {
    match sent {
        Sent::NoRoom(_) => None,
        Sent::NotSent(_) | Sent::Unknown(_) => Some(Verdict::Sick),
        Sent::Answered(answer) => match answer.status.as_u16() {
            408 | 500 | 502..=599 => Some(Verdict::Sick),
            _ => Some(Verdict::Well),
        },
    }
}

fn may_be_tried_elsewhere(operation: Operation, sent: &Sent) -> bool {
    match sent {
        Sent::NotSent(_) | Sent::NoRoom(_) => true,
        Sent::Unknown(_) => changes_nothing(operation),
        Sent::Answered(answer) => {
            let status = answer.status.as_u16();
            changes_nothing(operation) && status >= 500 && status != 501
        }
    }
}

fn changes_nothing(operation: Operation) -> bool {
    match operation {
        Operation::GetSession
        | Operation::RetrieveSessions
        | Operation::GetQosProfile
        | Operation::ListQosProfiles
        | Operation::RetrieveQosProfiles => true,
        Operation::CreateSession | Operation::DeleteSession | Operation::ExtendSession => false,
    }
}
