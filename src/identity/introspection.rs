//! Token introspection (RFC 7662): verifies opaque tokens at their issuer. Concurrent requests with
//! the same token share one call, and responses are cached for a short time.
//!
//! Anyone can send invalid tokens, so all costs are bounded: calls in flight, calls per second, the
//! call's timeout and the response size. Sources share the calls fairly. An error about one token
//! concerns that token only; a failure of the issuer pauses the calls for a moment.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use form_urlencoded::Serializer;
use http::{HeaderValue, Method, StatusCode, header};
use quick_cache::sync;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::{error, info, warn};

use super::{
    AuthenticatedClient, InvalidToken, RequiredClaim, Unauthenticated,
    cache::{TokenCache, TokenDigest, VerifiedBy, VerifiedToken},
    claims::{ClaimRules, Claims},
    jws,
};
use crate::{
    clock::Tick,
    outbound::{
        CallDeadlines, CallResult, Caller, ConnectionCheck, Endpoint, PeerRequest, PeerResponse,
        SharedCalls, Trust, basic_auth_header,
    },
    qod::{Moment, Secret, SourceNetwork},
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
    trace::{CallTarget, Peer},
};

mod rate_limit;
#[cfg(test)]
mod tests;

use self::rate_limit::{FairShares, IntrospectionRateLimit};

/// Introspection settings of an issuer.
#[derive(Clone, Debug)]
pub struct IntrospectionSettings {
    /// The introspection endpoint: `https`, or `http` to a loopback address.
    pub url: String,
    /// The gateway's client id at the issuer.
    pub client_id: String,
    /// The gateway's client secret.
    pub secret: Arc<Reloadable<Secret>>,
    /// How the secret is sent.
    pub auth_method: IntrospectionAuthMethod,
    /// How long a response is cached, at most [`CACHE_TTL_MAX`] and never past the token's `exp`.
    pub cache_ttl: Duration,
    /// Maximum number of introspection requests per second.
    pub requests_per_s_max: NonZeroU32,
    /// The members that a response for an active token must have.
    pub required_claims: Vec<RequiredClaim>,
}

/// How the client secret is sent (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntrospectionAuthMethod {
    /// `client_secret_basic`: in the `Authorization` header.
    #[default]
    ClientSecretBasic,
    /// `client_secret_post`: in the form body.
    ClientSecretPost,
}

/// Maximum cache TTL of a response. A revoked token may be accepted for this long.
pub const CACHE_TTL_MAX: Duration = Duration::from_hours(1);

// An issuer that accepts no connection is down; one that does not answer may only be slow to process
// one token.
// Not a token of any issuer.
const NO_TOKEN: &str = "qod-gateway-check";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const IN_FLIGHT_MAX: usize = 256;
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// How long a rejected token is cached. An invalid token does not become valid, but a new token may
/// reach the issuer's replicas with a short delay.
const REJECTED_TTL: Duration = Duration::from_secs(5);
const REJECTED_MAX: usize = 10_000;
/// How long a token is not introspected again after an error about it.
const FAILED_TTL: Duration = Duration::from_secs(1);
/// Minimum time between two log lines about errors that concern one token.
const TOKEN_ERROR_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Introspects tokens at one issuer.
pub(super) struct Introspector {
    settings: IntrospectionSettings,
    endpoint: Endpoint,
    rules: ClaimRules,
    verified: TokenCache,
    rejected: sync::Cache<TokenDigest, (Tick, Unauthenticated)>,
    in_flight: SharedCalls<TokenDigest, IntrospectionReply>,
    state: Mutex<IntrospectionState>,
    caller: Caller,
}

type IntrospectionReply = Result<AuthenticatedClient, Unauthenticated>;

struct IntrospectionState {
    sources: FairShares,
    rate_limit: IntrospectionRateLimit,
    token_error_logged: Option<Tick>,
}

/// Why an introspection has no result.
enum IntrospectionError {
    /// The issuer cannot be reached or reports an error of its own (5xx).
    Outage(String),
    /// The issuer did not answer in time, or with an unexpected response. This may concern the token
    /// only.
    Token(String),
}

type IntrospectionResult =
    Result<Result<(AuthenticatedClient, Option<Moment>), InvalidToken>, IntrospectionError>;

impl IntrospectionSettings {
    fn request(&self, token: &Secret, secret: &Secret) -> Result<PeerRequest<'static>, String> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = vec![
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::CONTENT_TYPE, form_type),
        ];
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token.reveal()).append_pair("token_type_hint", "access_token");
        match self.auth_method {
            IntrospectionAuthMethod::ClientSecretBasic => {
                let invalid = || "the client credentials are not a valid header value".to_owned();
                let authorization =
                    basic_auth_header(&self.client_id, secret).ok_or_else(invalid)?;
                headers.push((header::AUTHORIZATION, authorization));
            }
            IntrospectionAuthMethod::ClientSecretPost => {
                form.append_pair("client_id", &self.client_id);
                form.append_pair("client_secret", secret.reveal());
            }
        }
        Ok(PeerRequest {
            target: CallTarget::of(Peer::Introspection),
            method: Method::POST,
            path: "",
            headers,
            body: form.finish().into(),
            response_bytes_max: RESPONSE_BYTES_MAX,
            is_repeatable: true,
        })
    }
}

impl IntrospectionState {
    fn try_acquire(&mut self, source: Option<SourceNetwork>, now: Tick) -> bool {
        if !self.sources.try_acquire(source, IN_FLIGHT_MAX, 0) {
            return false;
        }
        let is_within_rate = self.rate_limit.try_acquire(source, now);
        if !is_within_rate {
            self.sources.release(source);
        }
        is_within_rate
    }
}

impl Introspector {
    /// Creates an introspector that validates responses with `rules` and caches them in `verified`.
    pub(super) fn new(
        settings: IntrospectionSettings,
        rules: ClaimRules,
        trust: Trust,
        verified: TokenCache,
        caller: Caller,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&settings.url, IN_FLIGHT_MAX)
            .map_err(|error| format!("introspection URL: {error}"))?
            .with_trust(trust);
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            return Err(
                "introspection URL: expected https, or http to a loopback address".to_owned()
            );
        }
        if settings.cache_ttl > CACHE_TTL_MAX {
            let max = CACHE_TTL_MAX;
            return Err(format!("expected a cache TTL of at most {max:?}"));
        }
        let state = IntrospectionState {
            sources: FairShares::default(),
            rate_limit: IntrospectionRateLimit::new(settings.requests_per_s_max),
            token_error_logged: None,
        };
        Ok(Self {
            settings,
            endpoint,
            rules,
            verified,
            rejected: sync::Cache::new(REJECTED_MAX),
            in_flight: SharedCalls::default(),
            state: Mutex::new(state),
            caller,
        })
    }

    /// Returns the issuer.
    pub(super) fn issuer(&self) -> &str {
        self.rules.issuer()
    }

    /// Returns whether to introspect a token here: a JWT with this `iss`, or any opaque token.
    pub(super) fn accepts(&self, token: &str) -> bool {
        jws::payload_if_jwt(token).is_none_or(|payload| {
            Claims::parse(&payload).is_ok_and(|claims| claims.issuer() == Ok(self.issuer()))
        })
    }

    /// Introspects a token from this address and returns its client.
    pub(super) async fn introspect(
        self: &Arc<Self>,
        token: &str,
        digest: TokenDigest,
        source: Option<IpAddr>,
    ) -> IntrospectionReply {
        let start = |_| self.start(token, digest, source.map(SourceNetwork::from));
        let reply = self.in_flight.get(digest, start).await;
        reply.unwrap_or(Err(Unauthenticated::KeysUnavailable))
    }

    /// Introspects a text that is no token, for `check --connect`. No limit and no cache is used.
    pub(super) async fn check_connection(&self) -> ConnectionCheck {
        let url = self.endpoint.url();
        let response = match self.send(&Secret::new(NO_TOKEN)).await {
            Ok(response) => response,
            Err(IntrospectionError::Outage(error) | IntrospectionError::Token(error)) => {
                return ConnectionCheck { url, result: Err(error) };
            }
        };
        let result = match self.classify(&response) {
            Ok(Err(InvalidToken::Inactive)) => Ok("the endpoint answers".to_owned()),
            Ok(_) => Err("the endpoint calls a text active that is no token".to_owned()),
            Err(IntrospectionError::Outage(error) | IntrospectionError::Token(error)) => Err(error),
        };
        ConnectionCheck::answered(url, result, &response, self.caller.clock.now())
    }

    fn state(&self) -> MutexGuard<'_, IntrospectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the call of an introspection, or its reply if there are too many requests.
    fn start(
        self: &Arc<Self>,
        token: &str,
        digest: TokenDigest,
        source: Option<SourceNetwork>,
    ) -> Result<impl Future<Output = IntrospectionReply> + use<>, IntrospectionReply> {
        // A concurrent introspection may just have completed.
        if let Some(reply) = self.cached(&digest) {
            return Err(reply);
        }
        if !self.state().try_acquire(source, self.caller.clock.tick()) {
            self.caller.metrics.record_introspection(self.issuer(), "suppressed");
            return Err(Err(Unauthenticated::KeysUnavailable));
        }
        let place = SourcePlace { introspector: Arc::clone(self), source };
        let token = Secret::new(token);
        Ok(async move { place.introspector.fetch(&token, digest).await })
    }

    fn cached(&self, digest: &TokenDigest) -> Option<IntrospectionReply> {
        if let Some((until, reason)) = self.rejected.get(digest) {
            if self.caller.clock.tick() < until {
                return Some(Err(reason));
            }
            self.rejected.remove(digest);
        }
        let verified = self.verified.get(digest)?;
        let VerifiedBy::Introspection { until } = verified.by else { return None };
        let is_valid = self.caller.clock.tick() < until
            && verified.expires.is_none_or(|expires| self.caller.clock.now() < expires);
        is_valid.then_some(Ok(verified.client))
    }

    async fn fetch(&self, token: &Secret, digest: TokenDigest) -> IntrospectionReply {
        let started = self.caller.clock.tick();
        let response = self.send(token).await;
        let result = response.and_then(|response| self.classify(&response));
        self.record_result(&result);
        let (reason, ttl) = match result {
            Ok(Ok((client, expires))) => {
                // Counted from before the request, so that the cache TTL is never exceeded.
                let until = started + self.settings.cache_ttl;
                let unexpired = expires.is_none_or(|expires| self.caller.clock.now() < expires);
                if unexpired && self.caller.clock.tick() < until {
                    let (client, by) = (client.clone(), VerifiedBy::Introspection { until });
                    self.verified.insert(digest, VerifiedToken { client, expires, by });
                }
                return Ok(client);
            }
            Ok(Err(reason)) => (reason.into(), REJECTED_TTL),
            Err(IntrospectionError::Token(_)) => (Unauthenticated::KeysUnavailable, FAILED_TTL),
            Err(IntrospectionError::Outage(_)) => return Err(Unauthenticated::KeysUnavailable),
        };
        self.rejected.insert(digest, (self.caller.clock.tick() + ttl, reason));
        Err(reason)
    }

    async fn send(&self, token: &Secret) -> Result<PeerResponse, IntrospectionError> {
        let secret = self.settings.secret.current(&self.caller.clock, FILE_CHECK_INTERVAL).await;
        let request = self.settings.request(token, &secret);
        let request = request.map_err(IntrospectionError::Outage)?;
        let deadlines = CallDeadlines {
            started: self.caller.clock.tick(),
            connect_timeout: CONNECT_TIMEOUT,
            attempt_connect_timeout: CONNECT_TIMEOUT,
            timeout: REQUEST_TIMEOUT,
        };
        match self.caller.send(&self.endpoint, &request, deadlines).await {
            Ok(CallResult::Answered(response)) => Ok(response),
            Ok(CallResult::PoolExhausted(reason)) => Err(IntrospectionError::Token(reason)),
            Ok(CallResult::NotSent(reason) | CallResult::Unknown(reason)) => {
                let is_late = deadlines.have_passed(&self.caller.clock);
                let error =
                    if is_late { IntrospectionError::Token } else { IntrospectionError::Outage };
                Err(error(reason))
            }
            Err(error) => Err(IntrospectionError::Token(error.to_string())),
        }
    }

    /// Parses and validates a response. The outer error means that introspection failed; the inner
    /// error means that the token is rejected.
    fn classify(&self, response: &PeerResponse) -> IntrospectionResult {
        let unexpected = |what: &str| IntrospectionError::Token(what.to_owned());
        if response.status != StatusCode::OK {
            let reason = format!("unexpected status {}", response.status);
            let is_outage = response.status.is_server_error();
            let error =
                if is_outage { IntrospectionError::Outage } else { IntrospectionError::Token };
            return Err(error(reason));
        }
        let claims =
            Claims::parse(&response.body).map_err(|_| unexpected("expected a JSON object"))?;
        match claims.boolean("active") {
            Some(true) => Ok(claims.check_introspected(&self.rules, self.caller.clock.now())),
            Some(false) => Ok(Err(InvalidToken::Inactive)),
            None => Err(unexpected("expected a boolean `active`")),
        }
    }

    // Logs only the first failure of a series and the recovery, and errors about single tokens once
    // in a while.
    fn record_result(&self, result: &IntrospectionResult) {
        let issuer = self.issuer();
        let outcome = match result {
            Ok(Ok(_)) => "active",
            Ok(Err(InvalidToken::Inactive)) => "inactive",
            Ok(Err(_)) => "rejected",
            Err(_) => "error",
        };
        self.caller.metrics.record_introspection(issuer, outcome);
        let (mut state, now) = (self.state(), self.caller.clock.tick());
        match result {
            Ok(_) if state.rate_limit.record_answer(now) => {
                info!(event = "introspection_recovered", issuer, "introspection has recovered");
            }
            Ok(_) => {}
            Err(IntrospectionError::Outage(error)) => {
                if state.rate_limit.record_outage(now) {
                    error!(
                        event = "introspection_failed",
                        issuer, error, "failed to introspect token"
                    );
                }
            }
            Err(IntrospectionError::Token(error)) => {
                let logged = state.token_error_logged;
                if logged.is_none_or(|at| now.since(at) >= TOKEN_ERROR_LOG_INTERVAL) {
                    state.token_error_logged = Some(now);
                    warn!(
                        event = "introspection_token_failed",
                        issuer, error, "issuer could not process the introspection of a token"
                    );
                }
            }
        }
    }
}

/// The place of a source among the introspections in flight. Dropping it gives it to others.
struct SourcePlace {
    introspector: Arc<Introspector>,
    source: Option<SourceNetwork>,
}

impl Drop for SourcePlace {
    fn drop(&mut self) {
        self.introspector.state().sources.release(self.source);
    }
}
