//! Calls to peers within a deadline: to operators, finders, servers of routing rules, token endpoints and
//! introspection endpoints.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};

use super::{CallResult, Caller, Endpoint, OutboundCall};
use crate::{
    clock::{Clock, Tick},
    trace::CallTarget,
};

/// A request to a peer.
#[derive(Clone, Debug)]
pub struct PeerRequest<'a> {
    /// What the request is for.
    pub target: CallTarget<'a>,
    /// The method.
    pub method: Method,
    /// The path, appended to the endpoint's base path.
    pub path: &'a str,
    /// The header fields, as in [`OutboundCall`].
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; empty for none.
    pub body: Bytes,
    /// The maximum size of the response body, in bytes.
    pub response_bytes_max: usize,
    /// Whether the request may arrive twice although its method is neither GET nor DELETE.
    pub is_repeatable: bool,
}

/// The time limits of a call, counted from its start. Token fetches and repetitions are part of the call.
#[derive(Clone, Copy, Debug)]
pub struct CallDeadlines {
    /// The start of the call.
    pub started: Tick,
    /// The time limit for sending the request.
    pub connect_timeout: Duration,
    /// The time limit for getting one connection, within that for sending.
    pub attempt_connect_timeout: Duration,
    /// The time limit for the response.
    pub timeout: Duration,
}

/// The time limit for sending has passed; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct DeadlinePassed;

impl CallDeadlines {
    /// One time limit for the whole call.
    pub fn within(timeout: Duration, started: Tick) -> Self {
        Self { started, connect_timeout: timeout, attempt_connect_timeout: timeout, timeout }
    }

    /// Has the time limit for the response passed?
    pub fn have_passed(&self, clock: &Clock) -> bool {
        clock.elapsed(self.started) >= self.timeout
    }
}

impl Caller {
    /// Sends a request within what remains of its time.
    ///
    /// # Errors
    /// If nothing was sent, because the time limit for sending has passed.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        request: &PeerRequest<'_>,
        deadlines: CallDeadlines,
    ) -> Result<CallResult, DeadlinePassed> {
        let elapsed = self.clock.elapsed(deadlines.started);
        let left = deadlines.connect_timeout.saturating_sub(elapsed);
        if left.is_zero() {
            return Err(DeadlinePassed);
        }
        let call = OutboundCall {
            target: request.target,
            method: request.method.clone(),
            path: request.path,
            headers: &request.headers,
            body: request.body.clone(),
            connect_timeout: deadlines.attempt_connect_timeout.min(left),
            timeout: deadlines.timeout.saturating_sub(elapsed),
            response_bytes_max: request.response_bytes_max,
        };
        // Boxed: the futures are large, and would be copied with every future that contains them.
        Ok(if request.is_repeatable {
            Box::pin(self.outbound.send_repeatable(endpoint, &call)).await
        } else {
            Box::pin(self.outbound.send(endpoint, &call)).await
        })
    }
}
