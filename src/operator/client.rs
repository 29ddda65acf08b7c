//! One call to an operator: gets valid credentials, sends the request to the first reachable
//! endpoint and classifies the response.
//!
//! Another endpoint is tried only if the request was not sent, or if the operation is read-only.
//! One timeout covers all attempts.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    Operator, OperatorRejection, Outcome, UnknownCause,
    breaker::{Backoff, BackoffReason, BreakerStatus, CallClass, CallPermit, PeerHealth},
    endpoints::{DEPRIORITIZED_FOR, TriedEndpoints},
};
use crate::{
    clock::Tick,
    credentials::{CallAuthorization, NotCalled},
    outbound::{CallDeadlines, CallResult, Caller, PeerRequest, PeerResponse, retry_after},
    qod::{Operation, ProblemKind},
    trace::{CallTarget, Peer},
};

const ANSWER_BYTES_MAX: usize = 256 * 1024;
const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

/// A request to an operator.
pub(super) struct OperatorRequest<'a> {
    pub(super) operation: Operation,
    pub(super) session: Option<&'a str>,
    pub(super) body: Bytes,
    pub(super) correlator: &'a HeaderValue,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

impl Operator {
    /// Calls the operator about an existing session. Occasional calls are permitted while the
    /// breaker is open.
    pub(super) async fn call_for_existing<T>(
        &self,
        caller: &Caller,
        subject: u64,
        request: OperatorRequest<'_>,
        read: impl FnOnce(&PeerResponse) -> Outcome<T>,
    ) -> Outcome<T> {
        let class =
            if is_read_only(request.operation) { CallClass::Read } else { CallClass::Cleanup };
        match self.acquire_permit_for(class, subject, caller) {
            Ok(permit) => self.call(caller, request, &permit, read).await,
            Err(rejection) => Outcome::Rejected(rejection),
        }
    }

    pub(super) fn acquire_permit_for(
        &self,
        class: CallClass,
        subject: u64,
        caller: &Caller,
    ) -> Result<CallPermit, OperatorRejection> {
        let now = caller.clock.tick();
        let limited = match class {
            CallClass::New | CallClass::Read => self.rate_limited.check(subject, now),
            // It frees resources.
            CallClass::Cleanup => Ok(()),
        };
        let permit = limited.and_then(|()| self.breaker.acquire(class, now));
        permit.map(|permit| permit.about(subject)).map_err(|backoff| {
            caller.metrics.record_operator_call_blocked(&self.id().0, backoff.reason.name());
            OperatorRejection::Backoff(backoff)
        })
    }

    /// Reports the result of a call to the breaker. Logs the breaker's change of state, if any.
    pub(super) fn report_health(&self, health: PeerHealth, permit: &CallPermit, caller: &Caller) {
        match permit.report(health, caller.clock.tick()) {
            Some(BreakerStatus::Closed) => {
                tracing::info!(
                    event = "breaker_closed",
                    operator = %self.id(),
                    "operator recovered; circuit breaker closed"
                );
            }
            Some(BreakerStatus::Open | BreakerStatus::HalfOpen) => {
                tracing::warn!(
                    event = "breaker_opened",
                    operator = %self.id(),
                    "operator failed repeatedly; circuit breaker opened"
                );
            }
            None => return,
        }
        self.update_gauges(caller);
    }

    /// Updates the gauges of the breaker and the endpoints.
    pub fn update_gauges(&self, caller: &Caller) {
        let now = caller.clock.tick();
        caller.metrics.set_operator_breaker_state(&self.id().0, self.breaker.status(now).level());
        for index in self.endpoints.indexes() {
            caller.metrics.set_operator_endpoint_up(
                &self.id().0,
                index,
                self.endpoints.is_up(index, now),
            );
        }
    }

    /// Calls the operator and reads the response of a call that it accepted.
    pub(super) async fn call<T>(
        &self,
        caller: &Caller,
        request: OperatorRequest<'_>,
        permit: &CallPermit,
        read: impl FnOnce(&PeerResponse) -> Outcome<T>,
    ) -> Outcome<T> {
        let operation = request.operation;
        let Some(path) = self.dialect().operation_path(operation, request.session) else {
            return Outcome::Rejected(OperatorRejection::UnsupportedOperation);
        };
        let started = caller.clock.tick();
        let attempts = Attempts { caller, request: &request, path: &path, started, permit };
        // Half of the time is reserved for the call itself.
        let (outcome, health) =
            match self.client.authorize(caller, request.connect_timeout / 2).await {
                Ok(authorization) => self.try_endpoints(&attempts, authorization).await,
                Err(error) => (Outcome::Rejected(OperatorRejection::NoToken(error)), None),
            };
        if let Some(health) = health {
            self.report_health(health, permit, caller);
        }
        if operation == Operation::CreateSession {
            self.check_path(&outcome);
        }
        let outcome = match outcome {
            Outcome::Accepted(response) => read(&response),
            Outcome::Rejected(mut rejection) => {
                if let OperatorRejection::Problem(problem) = &mut rejection {
                    let limited = self.rate_limited.check(permit.subject(), caller.clock.tick());
                    problem.retry_after = limited.err().map(|backoff| backoff.retry_after);
                }
                Outcome::Rejected(rejection)
            }
            Outcome::Unknown(cause) => Outcome::Unknown(cause),
        };
        if matches!(outcome, Outcome::Rejected(OperatorRejection::Backoff(_))) {
            caller.metrics.record_operator_call_blocked(&self.id().0, BackoffReason::Busy.name());
        }
        let elapsed = caller.clock.elapsed(started);
        caller.metrics.record_operator_call(
            &self.id().0,
            operation.name(),
            outcome.name(),
            elapsed,
        );
        outcome
    }

    /// Logs the first create of a series for which the operator has no path.
    fn check_path(&self, outcome: &Outcome<PeerResponse>) {
        match outcome {
            Outcome::Rejected(OperatorRejection::PathNotFound(status)) => {
                if !self.path_missing.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        event = "operator_path_not_found",
                        operator = %self.id(),
                        status,
                        "operator has no path for new sessions; check its endpoint and dialect"
                    );
                }
            }
            Outcome::Accepted(_) => self.path_missing.store(false, Ordering::Relaxed),
            Outcome::Rejected(_) | Outcome::Unknown(_) => {}
        }
    }

    async fn try_endpoints(
        &self,
        attempts: &Attempts<'_>,
        mut authorization: CallAuthorization,
    ) -> (Outcome<PeerResponse>, Option<PeerHealth>) {
        let Attempts { caller, request, path, started, permit } = *attempts;
        let mut tried = TriedEndpoints::default();
        let mut outcome = Outcome::Rejected(OperatorRejection::Unreachable(
            "the operator has no endpoint".to_owned(),
        ));
        let mut health = None;
        loop {
            // The endpoints that have not been tried yet share the remaining time equally.
            let shares = self.endpoints.remaining(&tried);
            let next = self.endpoints.next(permit.class(), &mut tried, caller.clock.tick());
            let Some((index, endpoint)) = next else { break (outcome, health) };
            let elapsed = caller.clock.elapsed(started);
            let reach_within = request.connect_timeout.saturating_sub(elapsed);
            if reach_within.is_zero() && shares < self.endpoints.count() {
                break (outcome, health);
            }
            if shares < self.endpoints.count() {
                caller.metrics.record_operator_failover(&self.id().0);
            }
            let deadlines = CallDeadlines {
                started,
                connect_timeout: request.connect_timeout,
                attempt_connect_timeout: reach_within / shares.max(1),
                timeout: request.timeout,
            };
            let peer_request = self.peer_request(request, path);
            let call =
                self.client.call_as(caller, endpoint, peer_request, deadlines, &mut authorization);
            let result = match call.await {
                Ok(result) => result,
                Err(error) => break (Outcome::Rejected(error.into()), health),
            };
            if matches!(result, CallResult::NotSent(_)) {
                self.endpoints.deprioritize(index, caller.clock.tick() + DEPRIORITIZED_FOR);
            }
            health = health_of(&result);
            self.apply_retry_after(&result, permit, caller);
            let may_fail_over = may_fail_over(request.operation, &result);
            outcome = self.classify(request.operation, result);
            if !may_fail_over {
                break (outcome, health);
            }
        }
    }

    fn peer_request<'a>(&'a self, request: &OperatorRequest<'_>, path: &'a str) -> PeerRequest<'a> {
        PeerRequest {
            target: CallTarget {
                peer: Peer::Operator(&self.id().0),
                route: request.operation.route(),
            },
            method: method_of(request.operation),
            path,
            headers: self.headers(request.correlator),
            body: request.body.clone(),
            response_bytes_max: ANSWER_BYTES_MAX,
            is_repeatable: false,
        }
    }

    /// A 503 with `Retry-After` blocks all calls, a 429 those about the same device, until it repeats
    /// across devices.
    fn apply_retry_after(&self, result: &CallResult, permit: &CallPermit, caller: &Caller) {
        let CallResult::Answered(response) = result else { return };
        let now = caller.clock.tick();
        let is_new = permit.class() == CallClass::New;
        if is_new && response.status.is_success() {
            self.rate_limited.record_accepted();
        }
        let (429 | 503) = response.status.as_u16() else { return };
        let Some(wait) = retry_after(&response.headers, caller.clock.now()) else { return };
        let of_device = response.status == StatusCode::TOO_MANY_REQUESTS;
        if of_device && !self.rate_limited.record(permit.subject(), wait, now) {
            return;
        }
        permit.set_retry_after(wait, now);
    }

    /// Classifies the result of a call.
    pub(super) fn classify(
        &self,
        operation: Operation,
        result: CallResult,
    ) -> Outcome<PeerResponse> {
        let response = match result {
            CallResult::Answered(response) => response,
            CallResult::NotSent(reason) => {
                return Outcome::Rejected(OperatorRejection::Unreachable(reason));
            }
            CallResult::PoolExhausted(_) => {
                return Outcome::Rejected(OperatorRejection::Backoff(Backoff::BUSY));
            }
            CallResult::Unknown(reason) => {
                return Outcome::Unknown(UnknownCause::NoResponse(reason));
            }
        };
        let status = response.status.as_u16();
        match status {
            200..=299 => Outcome::Accepted(response),
            300..=399 => Outcome::Rejected(OperatorRejection::Redirected(status)),
            401 | 403 => Outcome::Rejected(OperatorRejection::Unauthorized(status)),
            404 | 410 if targets_one_session(operation) => {
                Outcome::Rejected(OperatorRejection::NotFound)
            }
            // The operator may still carry out a request after this timeout.
            408 => Outcome::Unknown(UnknownCause::ServerError(status)),
            400..=499 | 501 => {
                let problem = self.dialect().read_problem(status, &response.body);
                // A create names no session, so this one is about the path, unless the code says
                // that it is about the device.
                let no_path = match problem.kind {
                    ProblemKind::SessionNotFound | ProblemKind::PathNotFound => true,
                    _ => status == 405,
                };
                Outcome::Rejected(if no_path && operation == Operation::CreateSession {
                    OperatorRejection::PathNotFound(status)
                } else {
                    OperatorRejection::Problem(problem)
                })
            }
            _ => Outcome::Unknown(UnknownCause::ServerError(status)),
        }
    }

    pub(super) fn headers(&self, correlator: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![(header::ACCEPT, HeaderValue::from_static("application/json"))];
        let descriptor = self.dialect().descriptor();
        // The operator would reject the whole request for a correlator that its release does not
        // allow.
        if descriptor.correlator.matches(correlator.as_bytes()) {
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

fn targets_one_session(operation: Operation) -> bool {
    match operation {
        Operation::GetSession | Operation::DeleteSession | Operation::ExtendSession => true,
        Operation::CreateSession
        | Operation::RetrieveSessions
        | Operation::GetQosProfile
        | Operation::ListQosProfiles
        | Operation::RetrieveQosProfiles => false,
    }
}

/// What all attempts of one call have in common.
#[derive(Clone, Copy)]
struct Attempts<'a> {
    caller: &'a Caller,
    request: &'a OperatorRequest<'a>,
    path: &'a str,
    started: Tick,
    permit: &'a CallPermit,
}

impl From<NotCalled> for OperatorRejection {
    fn from(error: NotCalled) -> Self {
        match error {
            NotCalled::NoToken(error) => Self::NoToken(error),
            NotCalled::DeadlinePassed(error) => Self::Unreachable(error.to_string()),
        }
    }
}

/// The operator's health according to a call. `None` if the result depends only on the gateway.
fn health_of(result: &CallResult) -> Option<PeerHealth> {
    match result {
        CallResult::PoolExhausted(_) => None,
        CallResult::NotSent(_) | CallResult::Unknown(_) => Some(PeerHealth::Unhealthy),
        CallResult::Answered(response) => match response.status.as_u16() {
            408 | 500 | 502..=599 => Some(PeerHealth::Unhealthy),
            _ => Some(PeerHealth::Healthy),
        },
    }
}

fn may_fail_over(operation: Operation, result: &CallResult) -> bool {
    match result {
        CallResult::NotSent(_) | CallResult::PoolExhausted(_) => true,
        CallResult::Unknown(_) => is_read_only(operation),
        CallResult::Answered(response) => {
            let status = response.status.as_u16();
            is_read_only(operation) && status >= 500 && status != 501
        }
    }
}

fn is_read_only(operation: Operation) -> bool {
    match operation {
        Operation::GetSession
        | Operation::RetrieveSessions
        | Operation::GetQosProfile
        | Operation::ListQosProfiles
        | Operation::RetrieveQosProfiles => true,
        Operation::CreateSession | Operation::DeleteSession | Operation::ExtendSession => false,
    }
}
