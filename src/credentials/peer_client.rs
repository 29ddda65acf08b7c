//! Calls with credentials: to operators, finders and servers of routing rules. This is the one place where a
//! request is sent once more with another access token.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{CallAuthorization, Credentials, PeerId, Settings, SignedParts, TokenUnavailable};
use crate::{
    clock::Tick,
    outbound::{CallResult, Caller, Endpoint, OutboundCall},
};

/// A peer that is called with credentials.
pub struct PeerClient(Credentials);

/// A request to a peer.
#[derive(Clone, Debug)]
pub struct PeerRequest<'a> {
    /// The method.
    pub method: Method,
    /// The path, appended to the endpoint's base path.
    pub path: &'a str,
    /// The header fields, without credentials.
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

/// Why a request was not sent. The peer is not responsible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCalled {
    /// There is no access token.
    #[error("{0}")]
    NoToken(#[from] TokenUnavailable),
    /// The time limit for sending has passed.
    #[error("the deadline has passed")]
    DeadlinePassed,
}

impl PeerClient {
    /// Creates a client. `proof_header` is the dialect's; `token_timeout` applies to a token request.
    pub fn new(
        settings: Settings,
        peer: PeerId,
        proof_header: Option<&'static str>,
        token_timeout: Duration,
    ) -> Self {
        Self(Credentials::new(settings, peer, proof_header, token_timeout))
    }

    /// Returns the authorization for a call, waiting at most `within` for a token request.
    ///
    /// # Errors
    /// If there is no access token.
    pub async fn authorize(
        &self,
        caller: &Caller,
        within: Duration,
    ) -> Result<CallAuthorization, TokenUnavailable> {
        self.0.authorize(caller, within).await
    }

    /// Calls an endpoint. A token request may use half of the time, so that half is left for the call.
    ///
    /// # Errors
    /// If nothing was sent for a reason that is not the peer's.
    pub async fn call(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        request: PeerRequest<'_>,
        deadlines: CallDeadlines,
    ) -> Result<CallResult, NotCalled> {
        let mut authorization = self.authorize(caller, deadlines.connect_timeout / 2).await?;
        self.call_as(caller, endpoint, request, deadlines, &mut authorization).await
    }

    /// Calls an endpoint with this authorization. If the peer rejects its token with 401, the request was not
    /// carried out: it is sent once more with another token, which replaces the authorization.
    ///
    /// # Errors
    /// If nothing was sent for a reason that is not the peer's.
    pub async fn call_as(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        mut request: PeerRequest<'_>,
        deadlines: CallDeadlines,
        authorization: &mut CallAuthorization,
    ) -> Result<CallResult, NotCalled> {
        let header_count = request.headers.len();
        let mut may_repeat = true;
        loop {
            let result =
                self.send(caller, endpoint, &mut request, deadlines, authorization).await?;
            let is_rejected = matches!(
                &result,
                CallResult::Answered(response) if response.status == StatusCode::UNAUTHORIZED
            );
            if !(may_repeat && is_rejected && self.0.invalidate(authorization, caller)) {
                return Ok(result);
            }
            may_repeat = false;
            request.headers.truncate(header_count);
            let left =
                deadlines.connect_timeout.saturating_sub(caller.clock.elapsed(deadlines.started));
            *authorization = self.authorize(caller, left / 2).await?;
        }
    }

    async fn send(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        request: &mut PeerRequest<'_>,
        deadlines: CallDeadlines,
        authorization: &CallAuthorization,
    ) -> Result<CallResult, NotCalled> {
        let target = endpoint.target(request.path);
        let signed = SignedParts { method: &request.method, target: &target, body: &request.body };
        self.0.append_headers(authorization, &signed, caller, &mut request.headers).await?;
        let elapsed = caller.clock.elapsed(deadlines.started);
        let left = deadlines.connect_timeout.saturating_sub(elapsed);
        if left.is_zero() {
            return Err(NotCalled::DeadlinePassed);
        }
        let call = OutboundCall {
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
            Box::pin(caller.outbound.send_repeatable(endpoint, &call)).await
        } else {
            Box::pin(caller.outbound.send(endpoint, &call)).await
        })
    }
}

impl CallDeadlines {
    /// One time limit for the whole call.
    pub fn within(timeout: Duration, started: Tick) -> Self {
        Self { started, connect_timeout: timeout, attempt_connect_timeout: timeout, timeout }
    }
}

/// Omits the credentials.
impl fmt::Debug for PeerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerClient(***)")
    }
}
