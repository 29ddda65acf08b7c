//! Active health checks of an operator's endpoints. An unhealthy endpoint is tried after the others
//! before a request fails on it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::Operator;
use crate::{
    clock::Tick,
    outbound::{CallResult, Caller, Endpoint, OutboundCall},
    trace::{CallTarget, Peer},
};

/// The settings of the health checks of an operator.
#[derive(Debug)]
pub struct Settings {
    /// The URLs to check, in the order of the operator's endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The interval of the checks.
    pub interval: Duration,
}

/// An endpoint is unhealthy after this many consecutive failed checks, and healthy after one
/// success.
pub(super) const UNHEALTHY_AFTER: u32 = 2;
const TIMEOUT_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Schedules the health checks of an operator.
#[derive(Debug)]
pub(super) struct HealthChecker {
    settings: Settings,
    due: Mutex<Option<Tick>>,
}

impl HealthChecker {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, due: Mutex::new(None) }
    }

    // Are checks due? If so, schedules the next ones.
    fn start_if_due(&self, now: Tick) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = due.is_none_or(|due| due <= now);
        if is_due {
            *due = Some(now + self.settings.interval);
        }
        is_due
    }

    // At most the interval, so that a check ends before the next one starts.
    fn timeout(&self) -> Duration {
        TIMEOUT_MAX.min(self.settings.interval)
    }
}

impl Operator {
    /// The health checks of the endpoints that are due. The caller calls this periodically and
    /// spawns the returned futures.
    pub fn due_health_checks(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> impl Iterator<Item = impl Future<Output = ()> + Send + 'static + use<>> + use<> {
        let due =
            self.health.as_ref().is_some_and(|health| health.start_if_due(caller.clock.tick()));
        let indexes = if due { self.endpoints.indexes() } else { 0..0 };
        let (operator, caller) = (Arc::clone(self), caller.clone());
        indexes.map(move |index| {
            let (operator, caller) = (Arc::clone(&operator), caller.clone());
            async move { operator.check_endpoint(index, &caller).await }
        })
    }

    async fn check_endpoint(&self, index: usize, caller: &Caller) {
        let Some(health) = &self.health else { return };
        let Some(endpoint) = health.settings.endpoints.get(index) else { return };
        let call = OutboundCall {
            target: CallTarget::of(Peer::Operator(&self.id().0)),
            method: Method::GET,
            path: "",
            headers: &[(header::ACCEPT, HeaderValue::from_static("*/*"))],
            body: Bytes::new(),
            connect_timeout: health.timeout(),
            timeout: health.timeout(),
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        let error = match Box::pin(caller.outbound.send(endpoint, &call)).await {
            CallResult::Answered(response) if response.status.is_success() => None,
            CallResult::Answered(response) => {
                Some(format!("the response status is {}", response.status.as_u16()))
            }
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => Some(reason),
        };
        if !self.endpoints.record_check(index, error.is_none()) {
            return;
        }
        let (operator, endpoint) = (self.id(), index + 1);
        if let Some(error) = error {
            tracing::warn!(
                event = "endpoint_marked_unhealthy",
                %operator,
                endpoint,
                error,
                "endpoint is unhealthy"
            );
        } else {
            tracing::info!(
                event = "endpoint_recovered",
                %operator,
                endpoint,
                "endpoint is healthy again"
            );
        }
        self.update_gauges(caller);
    }
}
