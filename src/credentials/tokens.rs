//! Fetches and caches a peer's access token. All calls share one token. The token is replaced
//! shortly before it expires or when the peer rejects it. A failed fetch is followed by a backoff.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{HeaderName, HeaderValue, header};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    PeerId, Reloadable, SigningKey, TokenUnavailable,
    oauth2::{self, OAuth2Client, TokenResponse},
    proof_of_possession::{SignedParts, sign_proof},
};
use crate::{
    clock::{Clock, Tick},
    outbound::{CallDeadlines, CallResult, Caller, PeerRequest},
    trace,
};

/// Supplies the access token of one peer.
pub(super) struct TokenSource {
    peer: PeerId,
    oauth2: OAuth2Client,
    proof: Option<(HeaderName, Arc<Reloadable<SigningKey>>)>,
    // Timeout of one fetch.
    fetch_timeout: Duration,
    current: ArcSwapOption<AccessToken>,
    // Locked during a fetch, so that only one fetch runs at a time.
    fetch_lock: tokio::sync::Mutex<()>,
    last_failure: Mutex<Option<(Tick, TokenUnavailable)>>,
    last_rejection: Mutex<Option<Tick>>,
}

/// A granted access token.
pub(super) struct AccessToken {
    pub(super) authorization: HeaderValue,
    refresh_at: Tick,
    expires_at: Tick,
}

/// Backoff after a failed fetch, and the minimum interval between replacements of rejected tokens.
/// It limits the load on a failing peer.
pub const FETCH_BACKOFF: Duration = Duration::from_secs(5);
const REFRESH_MARGIN_MAX: Duration = Duration::from_secs(30);

impl TokenSource {
    pub(super) fn new(
        peer: PeerId,
        oauth2: OAuth2Client,
        proof: Option<(HeaderName, Arc<Reloadable<SigningKey>>)>,
        fetch_timeout: Duration,
    ) -> Self {
        Self {
            peer,
            oauth2,
            proof,
            fetch_timeout,
            current: ArcSwapOption::empty(),
            fetch_lock: tokio::sync::Mutex::new(()),
            last_failure: Mutex::new(None),
            last_rejection: Mutex::new(None),
        }
    }

    /// Returns a valid token. If the token is due for refresh, it is returned and a fetch starts in
    /// the background. If there is none, the call waits for a fetch, at most `within`.
    pub(super) async fn token(
        self: &Arc<Self>,
        caller: &Caller,
        within: Duration,
    ) -> Result<Arc<AccessToken>, TokenUnavailable> {
        let now = caller.clock.tick();
        let current = self.current.load_full().filter(|token| now < token.expires_at);
        if let Some(token) = current.as_ref().filter(|token| now < token.refresh_at) {
            return Ok(Arc::clone(token));
        }
        if let Some(error) = self.recent_failure(&caller.clock) {
            return current.ok_or(error);
        }
        match current {
            Some(token) => {
                // Skip if a fetch is already running.
                if self.fetch_lock.try_lock().is_ok() {
                    drop(self.spawn_fetch(caller));
                }
                Ok(token)
            }
            None => match timeout(within, self.spawn_fetch(caller)).await {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_)) | Err(_) => Err(TokenUnavailable::Timeout),
            },
        }
    }

    /// Invalidates a token that the peer rejected. Returns whether to retry with another token.
    pub(super) fn invalidate(&self, token: &Arc<AccessToken>, clock: &Clock) -> bool {
        let mut rejected = self.last_rejection.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load();
        if current.as_ref().is_none_or(|current| !Arc::ptr_eq(current, token)) {
            // It has already been replaced or invalidated.
            return true;
        }
        if rejected.is_some_and(|at| clock.elapsed(at) < FETCH_BACKOFF) {
            return false;
        }
        *rejected = Some(clock.tick());
        self.current.store(None);
        let (operator, finder) = (self.peer.operator(), self.peer.finder());
        tracing::info!(
            event = "access_token_rejected",
            operator,
            finder,
            "access token rejected by peer; requesting a new one"
        );
        true
    }

    fn recent_failure(&self, clock: &Clock) -> Option<TokenUnavailable> {
        let last = *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| clock.elapsed(*at) < FETCH_BACKOFF).map(|(_, error)| error)
    }

    /// Fetches on a separate task, so that a cancelled call does not cancel the fetch that others
    /// wait for.
    fn spawn_fetch(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> JoinHandle<Result<Arc<AccessToken>, TokenUnavailable>> {
        let (tokens, caller) = (Arc::clone(self), caller.clone());
        tokio::spawn(trace::inherit(async move { tokens.fetch(&caller).await }))
    }

    async fn fetch(&self, caller: &Caller) -> Result<Arc<AccessToken>, TokenUnavailable> {
        let _guard = self.fetch_lock.lock().await;
        let started = caller.clock.tick();
        if let Some(token) = self.current.load_full().filter(|token| started < token.refresh_at) {
            return Ok(token);
        }
        if let Some(error) = self.recent_failure(&caller.clock) {
            return Err(error);
        }
        let outcome = self.request_token(caller, started).await.map(
            |TokenResponse { authorization, lifetime }| {
                // Counted from before the request, so that it expires here before it does at the peer.
                let (refresh_at, expires_at) =
                    (started + refresh_after(lifetime), started + lifetime);
                let token = Arc::new(AccessToken { authorization, refresh_at, expires_at });
                self.current.store(Some(Arc::clone(&token)));
                token
            },
        );
        self.record_result(caller, outcome)
    }

    async fn request_token(
        &self,
        caller: &Caller,
        started: Tick,
    ) -> Result<TokenResponse, (TokenUnavailable, String)> {
        let failed = |reason: String| (TokenUnavailable::Failed, reason);
        let unsigned = || failed("failed to sign a JWT".to_owned());
        let request = self.build_request(&caller.clock).await.ok_or_else(unsigned)?;
        let deadlines = CallDeadlines::within(self.fetch_timeout, started);
        match caller.send(&self.oauth2.token_endpoint, &request, deadlines).await {
            Ok(CallResult::Answered(answer)) => oauth2::parse_response(&answer),
            Ok(
                CallResult::NotSent(reason)
                | CallResult::PoolExhausted(reason)
                | CallResult::Unknown(reason),
            ) => Err(failed(reason)),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    async fn build_request(&self, clock: &Clock) -> Option<PeerRequest<'static>> {
        let mut request = self.oauth2.request(clock).await?;
        if let Some((name, key)) = &self.proof {
            let target = self.oauth2.token_endpoint.target(request.path);
            let signed =
                SignedParts { method: &request.method, target: &target, body: &request.body };
            let authorization =
                request.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION);
            let key = key.current(clock, Duration::ZERO).await;
            let proof = sign_proof(&signed, authorization.map(|(_, value)| value), &key, clock)?;
            request.headers.push((name.clone(), proof));
        }
        Some(request)
    }

    // Logs only the first failure of a series, and the recovery.
    fn record_result(
        &self,
        caller: &Caller,
        outcome: Result<Arc<AccessToken>, (TokenUnavailable, String)>,
    ) -> Result<Arc<AccessToken>, TokenUnavailable> {
        let (operator, finder) = (self.peer.operator(), self.peer.finder());
        let label = outcome.as_ref().map_or_else(|(error, _)| error.name(), |_| "ok");
        self.peer.count_token(&caller.metrics, label);
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = last.map(|(_, error)| error);
        match outcome {
            Ok(token) => {
                *last = None;
                if previous.is_some() {
                    tracing::info!(
                        event = "access_token_fetch_recovered",
                        operator,
                        finder,
                        "token endpoint has recovered"
                    );
                }
                Ok(token)
            }
            Err((error, reason)) => {
                *last = Some((caller.clock.tick(), error));
                if previous != Some(error) {
                    tracing::error!(
                        event = "access_token_fetch_failed",
                        operator,
                        finder,
                        error = reason,
                        outcome = error.name(),
                        "failed to fetch access token"
                    );
                }
                Err(error)
            }
        }
    }
}

/// Returns the age at which a token is due for refresh: a tenth of its lifetime before it expires,
/// at most 30 s before.
pub(super) fn refresh_after(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(REFRESH_MARGIN_MAX.min(lifetime / 10))
}
