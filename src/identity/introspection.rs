//! Token introspection (RFC 7662): verifies opaque tokens at their issuer. Concurrent requests with
//! the same token share one call, and responses are cached for a short time.
//!
//! Anyone can send invalid tokens, so all costs are bounded: calls in flight, calls per second, the
//! call's timeout and the response size.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use quick_cache::sync;
use tokio::sync::watch;
use tracing::{error, info};

use super::{
    AuthenticatedClient, InvalidToken, Unauthenticated,
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
    qod::{Moment, Secret},
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
};

mod rate_limit;
#[cfg(test)]
mod tests;

use self::rate_limit::IntrospectionRateLimit;

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
}

/// How the client secret is sent (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntrospectionAuthMethod {
    /// `client_secret_basic`: in the `Authorization` header.
    ClientSecretBasic,
    /// `client_secret_post`: in the form body.
    ClientSecretPost,
}

/// Maximum cache TTL of a response. A revoked token may be accepted for this long.
pub const CACHE_TTL_MAX: Duration = Duration::from_hours(1);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECTIONS_MAX: usize = 16;
const IN_FLIGHT_MAX: usize = 256;
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// How long a rejected token is cached. An invalid token does not become valid, but a new token may
/// reach the issuer's replicas with a short delay.
const REJECTED_TTL: Duration = Duration::from_secs(5);
const REJECTED_MAX: usize = 10_000;

/// Introspects tokens at one issuer.
pub(super) struct Introspector {
    settings: IntrospectionSettings,
    endpoint: Endpoint,
    rules: ClaimRules,
    verified: TokenCache,
    rejected: sync::Cache<TokenDigest, (Tick, InvalidToken)>,
    state: Mutex<IntrospectionState>,
    outbound: Outbound,
    clock: Clock,
    metrics: Metrics,
}

type IntrospectionReply = Result<AuthenticatedClient, Unauthenticated>;

struct IntrospectionState {
    in_flight: HashMap<TokenDigest, watch::Receiver<Option<IntrospectionReply>>>,
    rate_limit: IntrospectionRateLimit,
}

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
        let endpoint = Endpoint::parse(&settings.url, CONNECTIONS_MAX)
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
            rate_limit: IntrospectionRateLimit::new(settings.requests_per_s_max),
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

    /// Introspects a token and returns its client.
    pub(super) async fn introspect(
        self: &Arc<Self>,
        token: &str,
        digest: TokenDigest,
    ) -> IntrospectionReply {
        let mut reply = match self.start(token, digest) {
            IntrospectionStart::Cached(reply) => return reply,
            IntrospectionStart::InFlight(receiver) => receiver,
            IntrospectionStart::Suppressed => {
                self.metrics.record_introspection(self.issuer(), "suppressed");
                return Err(Unauthenticated::KeysUnavailable);
            }
        };
        let reply = reply.wait_for(Option::is_some).await.ok().and_then(|reply| reply.clone());
        reply.unwrap_or_else(|| {
            // The task was cancelled, because the runtime is shutting down.
            self.state().in_flight.remove(&digest);
            Err(Unauthenticated::KeysUnavailable)
        })
    }

    fn state(&self) -> MutexGuard<'_, IntrospectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, token: &str, digest: TokenDigest) -> IntrospectionStart {
        let mut state = self.state();
        if let Some(receiver) = state.in_flight.get(&digest) {
            return IntrospectionStart::InFlight(receiver.clone());
        }
        // A concurrent introspection may just have completed.
        if let Some(reply) = self.cached(&digest) {
            return IntrospectionStart::Cached(reply);
        }
        if state.in_flight.len() >= IN_FLIGHT_MAX
            || !state.rate_limit.try_acquire(self.clock.tick())
        {
            return IntrospectionStart::Suppressed;
        }
        let (sender, receiver) = watch::channel(None);
        state.in_flight.insert(digest, receiver.clone());
        let (introspector, token) = (Arc::clone(self), Secret::new(token));
        // On a separate task, so that a cancelled request does not cancel the call that others wait
        // for.
        tokio::spawn(async move {
            let reply = introspector.fetch(&token, digest).await;
            introspector.state().in_flight.remove(&digest);
            sender.send_replace(Some(reply));
        });
        IntrospectionStart::InFlight(receiver)
    }

    fn cached(&self, digest: &TokenDigest) -> Option<IntrospectionReply> {
        if let Some((until, reason)) = self.rejected.get(digest) {
            if self.clock.tick() < until {
                return Some(Err(reason.into()));
            }
            self.rejected.remove(digest);
        }
        let verified = self.verified.get(digest)?;
        let VerifiedBy::Introspection { until } = verified.by else { return None };
        let is_valid = self.clock.tick() < until && self.clock.now() < verified.expires;
        is_valid.then_some(Ok(verified.client))
    }

    async fn fetch(&self, token: &Secret, digest: TokenDigest) -> IntrospectionReply {
        let started = self.clock.tick();
        let response = self.send(token, started).await;
        let result = response.and_then(|response| self.classify(&response));
        self.record_result(&result);
        match result.map_err(|_| Unauthenticated::KeysUnavailable)? {
            Ok((client, expires)) => {
                // Counted from before the request, so that the cache TTL is never exceeded.
                let until = started + self.settings.cache_ttl;
                if self.clock.now() < expires && self.clock.tick() < until {
                    let (client, by) = (client.clone(), VerifiedBy::Introspection { until });
                    self.verified.insert(digest, VerifiedToken { client, expires, by });
                }
                Ok(client)
            }
            Err(reason) => {
                self.rejected.insert(digest, (self.clock.tick() + REJECTED_TTL, reason));
                Err(reason.into())
            }
        }
    }

    async fn send(&self, token: &Secret, started: Tick) -> Result<PeerResponse, String> {
        let secret = self.settings.secret.current(&self.clock, FILE_CHECK_INTERVAL).await;
        let (headers, body) = self.settings.request(token, &secret)?;
        let within = REQUEST_TIMEOUT.saturating_sub(self.clock.elapsed(started));
        let call = OutboundCall {
            method: Method::POST,
            path: "",
            headers: &headers,
            body,
            connect_timeout: within,
            timeout: within,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        match self.outbound.send_repeatable(&self.endpoint, &call).await {
            CallResult::Answered(response) => Ok(response),
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => Err(reason),
        }
    }

    /// Parses and validates a response. The outer error means that introspection failed; the inner
    /// error means that the token is rejected.
    fn classify(
        &self,
        response: &PeerResponse,
    ) -> Result<Result<(AuthenticatedClient, Moment), InvalidToken>, String> {
        if response.status != StatusCode::OK {
            return Err(format!("unexpected status {}", response.status));
        }
        let claims = Claims::parse(&response.body).map_err(|_| "expected a JSON object")?;
        match claims.boolean("active") {
            Some(true) => Ok(claims.check_introspected(&self.rules, self.clock.now())),
            Some(false) => Ok(Err(InvalidToken::Inactive)),
            None => Err("expected a boolean `active`".to_owned()),
        }
    }

    // Logs only the first failure of a series, and the recovery.
    fn record_result(
        &self,
        result: &Result<Result<(AuthenticatedClient, Moment), InvalidToken>, String>,
    ) {
        let issuer = self.issuer();
        let outcome = match result {
            Ok(Ok(_)) => "active",
            Ok(Err(InvalidToken::Inactive)) => "inactive",
            Ok(Err(_)) => "rejected",
            Err(_) => "error",
        };
        self.metrics.record_introspection(issuer, outcome);
        let changed = self.state().rate_limit.record_result(result.is_ok(), self.clock.tick());
        match result {
            Err(error) if changed => {
                error!(event = "introspection_failed", issuer, error, "failed to introspect token");
            }
            Ok(_) if changed => {
                info!(event = "introspection_recovered", issuer, "introspection has recovered");
            }
            Ok(_) | Err(_) => {}
        }
    }
}
