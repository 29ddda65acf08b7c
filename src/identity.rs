//! Authentication: turns an access token into an [`AuthenticatedClient`] or rejects it. A
//! sender-constrained token also requires a proof of possession.
//!
//! The JWT crate verifies signatures only. This module checks everything else: which keys may
//! verify which algorithms, critical header fields, and missing or mistyped claims. A token is
//! never logged and never included in a response.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;

use crate::{
    clock::Clock,
    metrics::{Metrics, NONE},
    outbound::{Caller, ConnectionCheck, Outbound, Trust},
    qod::{ClientId, Secret, SourceAddress},
};

mod algorithm;
mod bearer;
mod binding;
mod cache;
mod claims;
mod client;
mod discovery;
mod dpop;
mod error;
mod introspection;
mod jwks;
mod jws;
mod keyring;
mod mock;
pub mod pop;
mod proof_of_possession;
mod proof;
mod rejection;
mod replay;
mod standing;
mod users;
#[cfg(test)]
mod tests;

#[cfg(any(fuzzing, test))]
pub(crate) use self::jws::fuzz::check_jws;
pub use self::{
    algorithm::SignatureAlgorithm,
    claims::RequiredClaim,
    client::AuthenticatedClient,
    discovery::Discovery,
    error::{InvalidToken, Unauthenticated},
    introspection::{CACHE_TTL_MAX, IntrospectionAuthMethod, IntrospectionSettings},
    proof::{ProofError, ProofMethod},
    proof_of_possession::{ClientProof, PROOF_AGE_MAX, ProofSettings},
    rejection::{AuthRejection, insufficient_scope_challenge},
    replay::{ReplayFallback, SharedReplays},
    users::{UserClaims, UserDetection},
};
use self::{
    cache::{TokenCache, TokenDigest, VerifiedBy, VerifiedToken},
    claims::{ClaimRules, Claims},
    introspection::Introspector,
    jws::Jws,
    keyring::Keyring,
    mock::MockTokens,
    proof_of_possession::{ProofCheck, ProofVerifier},
};

/// Maximum configurable clock leeway of an issuer.
pub const LEEWAY_MAX: Duration = Duration::from_mins(2);

/// The trusted issuers and how callers authenticate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The authorization servers. Each name must be unique.
    pub issuers: Vec<IssuerSettings>,
    /// Fixed tokens for mock clients, which may use simulated operators only.
    pub mock_tokens: Vec<MockToken>,
    /// Maximum number of cached verified tokens. 0 disables the cache.
    pub cache_entries_max: usize,
    /// Proof-of-possession settings.
    pub proofs: ProofSettings,
}

/// A trusted authorization server.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The `iss` of its tokens. Compared byte by byte.
    pub issuer: String,
    /// The `aud` values that name this gateway. One must match.
    pub audiences: Vec<String>,
    /// How its tokens are verified.
    pub keys: IssuerKeys,
    /// TLS trust anchors and client certificate for calls to it.
    pub trust: Trust,
    /// Allowed signature algorithms.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Allowed clock difference, at most [`LEEWAY_MAX`].
    pub leeway: Duration,
    /// Whether to reject tokens without `nbf`, which is optional (RFC 7519 §4.1.5).
    pub require_nbf: bool,
    /// Whether to reject tokens whose `typ` is not `at+jwt` (RFC 9068 §4).
    pub require_at_jwt: bool,
    /// Whether to reject tokens that are not sender-constrained.
    pub require_binding: bool,
    /// The claim with the client id. `None` means `client_id`, or `azp` if there is none.
    pub client_claim: Option<String>,
    /// The claim with the scopes. Without it, they are read from `scope`, or `scp` if there is none.
    pub scope_claim: Option<String>,
    /// How end users are read from its tokens.
    pub users: UserClaims,
}

/// How an issuer's tokens are verified: with a JWK Set or by introspection.
#[derive(Clone, Debug)]
pub enum IssuerKeys {
    /// A JWK Set file, reloaded when it changes.
    File(PathBuf),
    /// A JWK Set URL: `https`, or `http` to a loopback address.
    Url {
        /// The URL.
        url: String,
        /// Refresh interval, from 10 s to 12 h.
        refresh: Duration,
    },
    /// A JWK Set URL from the issuer's metadata document.
    Discovered {
        /// The metadata document.
        by: Discovery,
        /// Refresh interval, from 10 s to 12 h.
        refresh: Duration,
    },
    /// No keys: each token is introspected at the issuer (RFC 7662). Allowed for one issuer only,
    /// because an opaque token does not identify its issuer.
    Introspection(IntrospectionSettings),
}

/// A fixed token that authenticates its bearer as a mock client.
#[derive(Clone, Debug)]
pub struct MockToken {
    /// The token.
    pub token: Secret,
    /// The client that it authenticates.
    pub client: ClientId,
    /// The granted scopes.
    pub scopes: Vec<String>,
}

/// An invalid setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{issuer}: {message}")]
pub struct IssuerError {
    /// The issuer's name, `mock_tokens` or `proofs`.
    pub issuer: String,
    /// The error message.
    pub message: String,
}

/// Authenticates requests by their access tokens.
pub struct Authenticator {
    trusted: Box<[TrustedIssuer]>,
    introspector: Option<Arc<Introspector>>,
    mock_tokens: MockTokens,
    token_cache: TokenCache,
    proof_verifier: ProofVerifier,
    clock: Clock,
    metrics: Metrics,
}

/// A trusted issuer with a JWK Set.
struct TrustedIssuer {
    rules: ClaimRules,
    keyring: Arc<Keyring>,
}

impl TrustedIssuer {
    fn is_available(&self) -> bool {
        self.keyring.generation().is_some()
    }
}

impl Authenticator {
    /// Validates the settings and reads key files.
    ///
    /// # Errors
    /// All invalid settings.
    pub fn new(
        settings: Settings,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, Vec<IssuerError>> {
        let caller = Caller { outbound, clock, metrics };
        let mut errors = Vec::new();
        let token_cache = TokenCache::new(settings.cache_entries_max);
        let mut trusted: Vec<TrustedIssuer> = Vec::with_capacity(settings.issuers.len());
        let mut introspector: Option<Arc<Introspector>> = None;
        for issuer in settings.issuers {
            let name = issuer.issuer.clone();
            let mut report = |message: String| {
                errors.push(IssuerError { issuer: name.clone(), message });
            };
            issuer.validate().into_iter().for_each(&mut report);
            if trusted.iter().any(|other| other.rules.issuer() == name)
                || introspector.as_ref().is_some_and(|other| other.issuer() == name)
            {
                report("duplicate issuer".to_owned());
            }
            if let IssuerKeys::Introspection(settings) = &issuer.keys {
                if introspector.is_some() {
                    report("another issuer already uses introspection".to_owned());
                }
                let (settings, token_cache) = (settings.clone(), token_cache.clone());
                let trust = issuer.trust.clone();
                match Introspector::new(settings, issuer.into(), trust, token_cache, caller.clone())
                {
                    Ok(created) => introspector = Some(Arc::new(created)),
                    Err(message) => report(message),
                }
                continue;
            }
            match Keyring::new(&issuer, caller.clone()) {
                Ok(keyring) => {
                    let keyring = Arc::new(keyring);
                    trusted.push(TrustedIssuer { rules: ClaimRules::from(issuer), keyring });
                }
                Err(message) => report(message),
            }
        }
        let mock_tokens = MockTokens::new(settings.mock_tokens).map_err(|message| {
            errors.push(IssuerError { issuer: "mock_tokens".to_owned(), message });
        });
        let proof_verifier =
            ProofVerifier::new(settings.proofs, caller.clock.clone()).map_err(|message| {
                errors.push(IssuerError { issuer: "proofs".to_owned(), message });
            });
        match (mock_tokens, proof_verifier) {
            (Ok(mock_tokens), Ok(proof_verifier)) if errors.is_empty() => Ok(Self {
                trusted: trusted.into(),
                introspector,
                mock_tokens,
                token_cache,
                proof_verifier,
                clock: caller.clock,
                metrics: caller.metrics,
            }),
            _ => Err(errors),
        }
    }

    /// Takes over the replay cache of the instance that this one replaces, and the keys of issuers
    /// whose keys have the same source.
    #[must_use]
    pub fn replacing(mut self, previous: Option<&Self>) -> Self {
        let Some(previous) = previous else { return self };
        self.proof_verifier.share_replays(&previous.proof_verifier);
        for trusted in &self.trusted {
            let same = |other: &&TrustedIssuer| trusted.keyring.has_source_of(&other.keyring);
            if let Some(other) = previous.trusted.iter().find(same) {
                trusted.keyring.adopt(&other.keyring);
            }
        }
        self
    }

    /// Rejects proofs of possession that another replica has accepted, from now on, also after a reload.
    pub fn share_proofs(&self, shared: SharedReplays) {
        self.proof_verifier.share_with_replicas(shared);
    }

    /// Tries each issuer, for `check --connect`: reads its keys, or introspects a text that is no token.
    /// Returns the issuers with the results.
    pub async fn check_connections(&self) -> Vec<(String, ConnectionCheck)> {
        let keyrings = self.trusted.iter().map(|trusted| async {
            (trusted.rules.issuer().to_owned(), trusted.keyring.check_connection().await)
        });
        let mut checks = join_all(keyrings).await;
        if let Some(introspector) = &self.introspector {
            let issuer = introspector.issuer().to_owned();
            checks.push((issuer, introspector.check_connection().await));
        }
        checks
    }

    /// Fetches the keys of every issuer before the first request. [`Authenticator::refresh`]
    /// retries failed fetches.
    pub async fn warm_up(&self) {
        self.for_each_keyring(|keyring| async move { keyring.warm_up().await }).await;
    }

    /// Fetches the keys that are due for refresh. Must be called every few seconds; a call does not
    /// fetch keys that an earlier call is still fetching.
    pub async fn refresh(&self) {
        self.for_each_keyring(|keyring| async move { keyring.refresh().await }).await;
    }

    async fn for_each_keyring<F>(&self, work: impl Fn(Arc<Keyring>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = Vec::with_capacity(self.trusted.len());
        for trusted in &self.trusted {
            tasks.push(tokio::spawn(work(Arc::clone(&trusted.keyring))));
        }
        for task in tasks {
            // A task fails only if the runtime is shutting down.
            let _: Result<(), _> = task.await;
        }
    }

    /// Returns whether the issuer is trusted.
    pub fn trusts(&self, issuer: &str) -> bool {
        self.trusted.iter().any(|trusted| trusted.rules.issuer() == issuer)
            || self.introspector.as_ref().is_some_and(|other| other.issuer() == issuer)
    }

    /// Returns whether tokens can be verified: at least one issuer has usable keys or is
    /// introspected, or there are mock tokens only. Tokens of the [unavailable
    /// issuers](Self::unavailable_issuers) are rejected with
    /// [`Unauthenticated::KeysUnavailable`].
    pub fn ready(&self) -> bool {
        self.introspector.is_some()
            || self.trusted.is_empty()
            || self.trusted.iter().any(TrustedIssuer::is_available)
    }

    /// Returns the issuers that have no usable keys: none were fetched yet, or they are too old.
    pub fn unavailable_issuers(&self) -> Vec<&str> {
        let unavailable = self.trusted.iter().filter(|trusted| !trusted.is_available());
        unavailable.map(|trusted| trusted.rules.issuer()).collect()
    }

    /// Authenticates a request by its `Authorization` header and, if required, its proof of
    /// possession. `proof_field` is the header of the DevEdge proof, if a dialect on this path has
    /// one.
    pub async fn authenticate(
        &self,
        request: &Request<Bytes>,
        proof_field: Option<&'static str>,
    ) -> Result<AuthenticatedClient, AuthRejection> {
        let (outcome, reason, result) = match self.identify(request, proof_field).await {
            Ok((client, outcome)) => (outcome, NONE, Ok(client)),
            Err(error @ Unauthenticated::KeysUnavailable) => {
                ("unavailable", error.name(), Err(error))
            }
            Err(error) => ("rejected", error.name(), Err(error)),
        };
        self.metrics.record_token_verification(outcome, reason);
        match &result {
            Ok(client) => tracing::debug!(
                event = "token_verified",
                client = &*client.id().0,
                outcome,
                "access token accepted"
            ),
            Err(_) => {
                tracing::debug!(event = "token_rejected", outcome, reason, "access token rejected");
            }
        }
        if let Err(Unauthenticated::InvalidProof(method, reason)) = &result {
            self.metrics.record_proof_rejected(method.name(), reason.name());
        }
        result.map_err(|why| {
            AuthRejection::new(why, request.headers(), self.proof_verifier.dpop_enabled())
        })
    }

    async fn identify(
        &self,
        request: &Request<Bytes>,
        proof_field: Option<&'static str>,
    ) -> Result<(AuthenticatedClient, &'static str), Unauthenticated> {
        let (scheme, token) = bearer::token(request.headers())?;
        let digest = TokenDigest::from_token(token);
        let source = request.extensions().get().map(|SourceAddress(address)| *address);
        let (client, outcome) = self.resolve_token(token, digest, source).await?;
        let check = ProofCheck { request, scheme, token: &digest, client: &client, proof_field };
        self.proof_verifier.check(&check).await?;
        Ok((client, outcome))
    }

    /// Returns the token's client and the `outcome` label: `mock`, `cached` or `verified`.
    async fn resolve_token(
        &self,
        token: &str,
        digest: TokenDigest,
        source: Option<IpAddr>,
    ) -> Result<(AuthenticatedClient, &'static str), Unauthenticated> {
        if let Some(client) = self.mock_tokens.find(&digest) {
            return Ok((client, "mock"));
        }
        if let Some(client) = self.cached_client(&digest) {
            return Ok((client, "cached"));
        }
        Ok((self.verify(token, digest, source).await?, "verified"))
    }

    fn cached_client(&self, digest: &TokenDigest) -> Option<AuthenticatedClient> {
        let verified = self.token_cache.get(digest)?;
        let is_valid = match verified.by {
            VerifiedBy::Keys { issuer, generation } => {
                self.trusted.get(issuer)?.keyring.generation() == Some(generation)
            }
            VerifiedBy::Introspection { until } => self.clock.tick() < until,
        };
        if is_valid && verified.expires.is_none_or(|expires| self.clock.now() < expires) {
            return Some(verified.client);
        }
        self.token_cache.remove(digest);
        None
    }

    async fn verify(
        &self,
        token: &str,
        digest: TokenDigest,
        source: Option<IpAddr>,
    ) -> Result<AuthenticatedClient, Unauthenticated> {
        if let Some(introspector) = self.introspector.as_ref().filter(|other| other.accepts(token))
        {
            return introspector.introspect(token, digest, source).await;
        }
        let jws = Jws::parse(token)?;
        let payload = jws.payload()?;
        let claims = Claims::parse(&payload)?;
        // No claim is trusted before the signature is verified. The claimed issuer only selects the
        // keys for the verification.
        let claimed = claims.issuer()?;
        let (issuer, trusted) = self
            .trusted
            .iter()
            .enumerate()
            .find(|(_, trusted)| trusted.rules.issuer() == claimed)
            .ok_or(InvalidToken::Issuer)?;
        trusted.rules.check_type(&jws)?;
        let (key, generation) = trusted.keyring.key_for(&jws).await?;
        key.verify(&jws)?;
        let now = self.clock.now();
        let (client, expires) = claims.check(&trusted.rules, now)?;
        if expires.is_none_or(|expires| now < expires) {
            let (client, by) = (client.clone(), VerifiedBy::Keys { issuer, generation });
            self.token_cache.insert(digest, VerifiedToken { client, expires, by });
        }
        Ok(client)
    }
}

impl IssuerSettings {
    fn validate(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let mut expect = |holds: bool, message: String| {
            if !holds {
                errors.push(message);
            }
        };
        expect(!self.issuer.is_empty(), "expected a non-empty issuer".to_owned());
        expect(
            !self.audiences.is_empty() && !self.audiences.iter().any(String::is_empty),
            "expected at least one audience, and no empty audience".to_owned(),
        );
        expect(!self.algorithms.is_empty(), "expected at least one algorithm".to_owned());
        expect(
            self.leeway <= LEEWAY_MAX,
            format!("the leeway is {:?}, expected at most {LEEWAY_MAX:?}", self.leeway),
        );
        errors
    }
}
