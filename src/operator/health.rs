//! How an operator's endpoints are, asked of each now and then: one that is not well stands behind the
//! others before a request finds out.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::Operator;
use crate::{
    clock::Tick,
    outbound::{Call, Caller, Endpoint, Sent},
};

/// How endpoints are asked how they are.
#[derive(Debug)]
pub struct Settings {
    /// Where, in the order of the operator's endpoints.
    pub endpoints: Vec<Endpoint>,
    /// How often.
    pub every: Duration,
}

/// After so many checks in a row that fail, an endpoint is not well; after one that does not, it is.
pub(super) const FAILURES: u32 = 2;
const WITHIN_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// When the next checks are due.
#[derive(Debug)]
pub(super) struct Health {
    settings: Settings,
    due: Mutex<Option<Tick>>,
}

impl Health {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, due: Mutex::new(None) }
    }

    // Are checks due? Then the next ones are so a while after now.
    fn begin(&self, now: Tick) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = due.is_none_or(|due| due <= now);
        if begins {
            *due = Some(now + self.settings.every);
        }
        begins
    }

    // A check has ended when the next one begins.
    fn within(&self) -> Duration {
        WITHIN_MAX.min(self.settings.every)
    }
}

impl Operator {
    /// The checks of its endpoints that are due, to be carried out apart; to be called now and then.
    pub fn checks(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> impl Iterator<Item = impl Future<Output = ()> + Send + 'static + use<>> + use<> {
        let due = self.health.as_ref().is_some_and(|health| health.begin(caller.clock.tick()));
        let places = if due { self.endpoints.places() } else { 0..0 };
        let (operator, caller) = (Arc::clone(self), caller.clone());
        places.map(move |place| {
            let (operator, caller) = (Arc::clone(&operator), caller.clone());
            async move { operator.check(place, &caller).await }
        })
    }

    async fn check(&self, place: usize, caller: &Caller) {
        let Some(health) = &self.health else { return };
        let Some(endpoint) = health.settings.endpoints.get(place) else { return };
        let call = Call {
            method: Method::GET,
            path: "",
            headers: &[(header::ACCEPT, HeaderValue::from_static("*/*"))],
            body: Bytes::new(),
            reach_within: health.within(),
            within: health.within(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let failed = match Box::pin(caller.outbound.send(endpoint, &call)).await {
            Sent::Answered(answer) if answer.status.is_success() => None,
            Sent::Answered(answer) => Some(format!("it answered {}", answer.status.as_u16())),
            Sent::NotSent(reason) | Sent::NoRoom(reason) | Sent::Unknown(reason) => Some(reason),
        };
        if !self.endpoints.checked(place, failed.is_none()) {
            return;
        }
        let endpoint = place + 1;
        if let Some(reason) = failed {
            tracing::warn!(operator = %self.id(), endpoint, reason, "an endpoint is not well");
        } else {
            tracing::info!(operator = %self.id(), endpoint, "an endpoint is well again");
        }
        self.measure(caller);
    }
}
