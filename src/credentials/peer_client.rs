//! Calls with credentials: to operators, finders and servers of routing rules. This is the one place where a
//! request is sent once more with another access token.

use std::{fmt, time::Duration};

use http::StatusCode;

use super::{CallAuthorization, Credentials, PeerId, Settings, SignedParts, TokenUnavailable};
use crate::outbound::{CallDeadlines, CallResult, Caller, DeadlinePassed, Endpoint, PeerRequest};

/// A peer that is called with credentials.
pub struct PeerClient(Credentials);

/// Why a request was not sent. The peer is not responsible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCalled {
    /// There is no access token.
    #[error("{0}")]
    NoToken(#[from] TokenUnavailable),
    /// The time limit for sending has passed.
    #[error("{0}")]
    DeadlinePassed(#[from] DeadlinePassed),
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
        Ok(caller.send(endpoint, request, deadlines).await?)
    }
}

/// Omits the credentials.
impl fmt::Debug for PeerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerClient(***)")
    }
}
