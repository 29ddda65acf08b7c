//! Token introspection (RFC 7662): verifies opaque tokens at their issuer. Concurrent requests with
//! the same token share one call, and responses are cached for a short time.
//!
//! Anyone can send invalid tokens, so all costs are bounded: calls in flight, calls per second, the
//! call's timeout and the response size. Sources share the calls fairly. An error about one token
//! concerns that token only; a failure of the issuer pauses the calls for a moment.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use quick_cache::sync;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    AuthenticatedClient, InvalidToken, RequiredClaim, Unauthenticated,
    cache::{TokenCache, TokenDigest, VerifiedBy, VerifiedToken},
    claims::{ClaimRules, Claims},
    jws,
};
use crate::{
    clock::{Clock, Tick},
    metrics::Metrics,
    outbound::{
        CallResult, Endpoint, Outbound, OutboundCall, PeerResponse, Trust, basic_auth_header,
    },
    qod::{Moment, Secret, SourceNetwork},
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
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
    state: Mutex<IntrospectionState>,
    outbound: Outbound,
    clock: Clock,
    metrics: Metrics,
}

type IntrospectionReply = Result<AuthenticatedClient, Unauthenticated>;

struct IntrospectionState {
    in_flight: HashMap<TokenDigest, watch::Receiver<Option<IntrospectionReply>>>,
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

/// How an introspection continues.
enum IntrospectionStart {
    Cached(IntrospectionReply),
    InFlight(watch::Receiver<Option<IntrospectionReply>>),
    /// Too many requests.
    Suppressed,
}

type IntrospectionRequest = (Vec<(HeaderName, HeaderValue)>, Bytes);

impl IntrospectionSettings {
    fn request(&self, token: &Secret, secret: &Secret) -> Result<IntrospectionRequest, String> {
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
        Ok((headers, form.finish().into()))
    }
}

impl Introspector {
    /// Creates an introspector that validates responses with `rules` and caches them in `verified`.
    pub(super) fn new(
        settings: IntrospectionSettings,
        (rules, trust): (ClaimRules, Trust),
        verified: TokenCache,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
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
            in_flight: HashMap::new(),
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
            state: Mutex::new(state),
            outbound,
            clock,
            metrics,
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
        let mut reply = match self.start(token, digest, source.map(SourceNetwork::from)) {
            IntrospectionStart::Cached(reply) => return reply,
            IntrospectionStart::InFlight(receiver) => receiver,
            IntrospectionStart::Suppressed => {
                self.metrics.record_introspection(self.issuer(), "suppressed");
                return Err(Unauthenticated::KeysUnavailable);
            }
        };
        let reply = reply.wait_for(Option::is_some).await.ok().and_then(|reply| reply.clone());
        // Without a reply, the task was cancelled, because the runtime is shutting down.
        reply.unwrap_or(Err(Unauthenticated::KeysUnavailable))
    }

    fn state(&self) -> MutexGuard<'_, IntrospectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(
        self: &Arc<Self>,
        token: &str,
        digest: TokenDigest,
        source: Option<SourceNetwork>,
    ) -> IntrospectionStart {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(receiver) = state.in_flight.get(&digest) {
            return IntrospectionStart::InFlight(receiver.clone());
        }
        // A concurrent introspection may just have completed.
        if let Some(reply) = self.cached(&digest) {
            return IntrospectionStart::Cached(reply);
        }
        if !state.sources.try_acquire(source, IN_FLIGHT_MAX, 0) {
            return IntrospectionStart::Suppressed;
        }
        if !state.rate_limit.try_acquire(source, self.clock.tick()) {
            state.sources.release(source);
            return IntrospectionStart::Suppressed;
        }
        let (sender, receiver) = watch::channel(None);
        state.in_flight.insert(digest, receiver.clone());
        let in_flight = InFlight { introspector: Arc::clone(self), digest, source };
        let token = Secret::new(token);
        // On a separate task, so that a cancelled request does not cancel the call that others wait
        // for.
        tokio::spawn(async move {
            let reply = in_flight.introspector.fetch(&token, digest).await;
            drop(in_flight);
            sender.send_replace(Some(reply));
        });
        IntrospectionStart::InFlight(receiver)
    }

    fn cached(&self, digest: &TokenDigest) -> Option<IntrospectionReply> {
        if let Some((until, reason)) = self.rejected.get(digest) {
            if self.clock.tick() < until {
                return Some(Err(reason));
            }
            self.rejected.remove(digest);
        }
        let verified = self.verified.get(digest)?;
        let VerifiedBy::Introspection { until } = verified.by else { return None };
        let is_valid = self.clock.tick() < until
            && verified.expires.is_none_or(|expires| self.clock.now() < expires);
        is_valid.then_some(Ok(verified.client))
    }

    async fn fetch(&self, token: &Secret, digest: TokenDigest) -> IntrospectionReply {
        let started = self.clock.tick();
        let response = self.send(token).await;
        let result = response.and_then(|response| self.classify(&response));
        self.record_result(&result);
        let (reason, ttl) = match result {
            Ok(Ok((client, expires))) => {
                // Counted from before the request, so that the cache TTL is never exceeded.
                let until = started + self.settings.cache_ttl;
                let unexpired = expires.is_none_or(|expires| self.clock.now() < expires);
                if unexpired && self.clock.tick() < until {
                    let (client, by) = (client.clone(), VerifiedBy::Introspection { until });
                    self.verified.insert(digest, VerifiedToken { client, expires, by });
                }
                return Ok(client);
            }
            Ok(Err(reason)) => (reason.into(), REJECTED_TTL),
            Err(IntrospectionError::Token(_)) => (Unauthenticated::KeysUnavailable, FAILED_TTL),
            Err(IntrospectionError::Outage(_)) => return Err(Unauthenticated::KeysUnavailable),
        };
        self.rejected.insert(digest, (self.clock.tick() + ttl, reason));
        Err(reason)
    }

    async fn send(&self, token: &Secret) -> Result<PeerResponse, IntrospectionError> {
        let secret = self.settings.secret.current(&self.clock, FILE_CHECK_INTERVAL).await;
        let request = self.settings.request(token, &secret);
        let (headers, body) = request.map_err(IntrospectionError::Outage)?;
        let call = OutboundCall {
            method: Method::POST,
            path: "",
            headers: &headers,
            body,
            connect_timeout: CONNECT_TIMEOUT,
            // The timeout below is shorter.
            timeout: REQUEST_TIMEOUT * 2,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        let sent = self.outbound.send_repeatable(&self.endpoint, &call);
        match tokio::time::timeout(REQUEST_TIMEOUT, sent).await {
            Ok(CallResult::Answered(response)) => Ok(response),
            Ok(CallResult::NotSent(reason) | CallResult::Unknown(reason)) => {
                Err(IntrospectionError::Outage(reason))
            }
            Ok(CallResult::PoolExhausted(reason)) => Err(IntrospectionError::Token(reason)),
            Err(_) => {
                let reason = format!("no response within {REQUEST_TIMEOUT:?}");
                Err(IntrospectionError::Token(reason))
            }
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
            Some(true) => Ok(claims.check_introspected(&self.rules, self.clock.now())),
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
        self.metrics.record_introspection(issuer, outcome);
        let (mut state, now) = (self.state(), self.clock.tick());
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

/// An introspection in flight. Dropping it gives its place to others.
struct InFlight {
    introspector: Arc<Introspector>,
    digest: TokenDigest,
    source: Option<SourceNetwork>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.introspector.state();
        state.in_flight.remove(&self.digest);
        state.sources.release(self.source);
    }
}
