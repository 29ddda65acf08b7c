//! Checks the proof of possession that a request requires, after its token was verified or found in
//! the cache.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

use super::{
    AuthenticatedClient, InvalidToken, TokenDigest, Unauthenticated,
    bearer::Scheme,
    dpop::{self, TargetUri},
    pop::{self, ProofKey},
    proof::{ProofError, ProofMethod, VerifiedProof},
    replay::{ReplayCache, ReplayFallback, SharedReplays},
};
use crate::{
    clock::Clock,
    qod::ClientId,
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
};

#[cfg(test)]
mod tests;

/// Maximum configurable age of a DPoP proof.
pub const PROOF_AGE_MAX: Duration = Duration::from_mins(5);

const DEFAULT_PROOF_HEADER: HeaderName = HeaderName::from_static("x-authorization");

/// Proof-of-possession settings.
#[derive(Clone, Debug)]
pub struct ProofSettings {
    /// The gateway's public base URLs, without the request paths. If empty, DPoP is disabled.
    pub public_urls: Vec<String>,
    /// Maximum age of a DPoP proof, at most [`PROOF_AGE_MAX`].
    pub age_max: Duration,
    /// Whether a DPoP proof must include the hashes of body and query.
    pub require_hashes: bool,
    /// What happens while the database that replicas share is away.
    pub replay_fallback: ReplayFallback,
    /// The clients that must send DevEdge proofs.
    pub clients: HashMap<ClientId, ClientProof>,
}

/// DevEdge proof settings of a client.
#[derive(Clone, Debug)]
pub struct ClientProof {
    /// The client's public key.
    pub key: Arc<Reloadable<ProofKey>>,
    /// Whether a proof is required on all paths, not only where a dialect requires it.
    pub on_all_paths: bool,
}

impl Default for ProofSettings {
    fn default() -> Self {
        Self {
            public_urls: Vec::new(),
            age_max: Duration::from_mins(1),
            require_hashes: false,
            replay_fallback: ReplayFallback::default(),
            clients: HashMap::new(),
        }
    }
}

/// A request with a verified token.
pub(super) struct ProofCheck<'r> {
    pub(super) request: &'r Request<Bytes>,
    pub(super) scheme: Scheme,
    pub(super) token: &'r TokenDigest,
    pub(super) client: &'r AuthenticatedClient,
    /// The header of the DevEdge proof, if a dialect on the path has one.
    pub(super) proof_field: Option<&'static str>,
}

/// Verifies proofs and rejects replayed ones.
pub(super) struct ProofVerifier {
    dpop: dpop::DpopRules,
    clients: HashMap<ClientId, ClientProof>,
    replays: Arc<ReplayCache>,
    replay_fallback: ReplayFallback,
    clock: Clock,
}

impl ProofVerifier {
    pub(super) fn new(settings: ProofSettings, clock: Clock) -> Result<Self, String> {
        let ProofSettings { public_urls, age_max, require_hashes, replay_fallback, clients } =
            settings;
        if age_max > PROOF_AGE_MAX {
            let max = PROOF_AGE_MAX;
            return Err(format!("expected a proof age of at most {max:?}, found {age_max:?}"));
        }
        let target = |url: &String| {
            TargetUri::parse(url)
                .ok_or_else(|| format!("expected an http or https URL, found {url}"))
        };
        let targets = public_urls.iter().map(target).collect::<Result<_, _>>()?;
        let dpop = dpop::DpopRules { targets, age_max, require_hashes };
        Ok(Self { dpop, clients, replays: Arc::default(), replay_fallback, clock })
    }

    /// Shares the replay cache of another verifier.
    pub(super) fn share_replays(&mut self, other: &Self) {
        self.replays = Arc::clone(&other.replays);
    }

    /// Rejects proofs that another replica has accepted, from now on.
    pub(super) fn share_with_replicas(&self, shared: SharedReplays) {
        self.replays.share(shared);
    }

    /// Returns whether DPoP is enabled.
    pub(super) fn dpop_enabled(&self) -> bool {
        !self.dpop.targets.is_empty()
    }

    /// Checks that the request has the required proofs.
    pub(super) async fn check(&self, check: &ProofCheck<'_>) -> Result<(), Unauthenticated> {
        self.check_binding(check).await?;
        self.check_pop(check)
            .await
            .map_err(|error| Unauthenticated::InvalidProof(ProofMethod::Pop, error))
    }

    async fn check_binding(&self, check: &ProofCheck<'_>) -> Result<(), Unauthenticated> {
        // The server adds the client certificate's thumbprint as a request extension.
        if !check.client.binding().accepts_certificate(check.request.extensions().get()) {
            return Err(InvalidToken::Bound.into());
        }
        let key = &check.client.binding().key;
        if !self.dpop_enabled() && (check.scheme == Scheme::Dpop || key.is_some()) {
            let error = ProofError::NotConfigured;
            return Err(Unauthenticated::InvalidProof(ProofMethod::Dpop, error));
        }
        let key = match (check.scheme, key) {
            (Scheme::Dpop, Some(key)) => key,
            (Scheme::Bearer, Some(_)) => return Err(InvalidToken::Bound.into()),
            (Scheme::Dpop, None) => return Err(InvalidToken::Unbound.into()),
            // A client that sends a proof expects the token to be bound.
            (Scheme::Bearer, None) if check.request.headers().contains_key(dpop::HEADER) => {
                return Err(InvalidToken::Unbound.into());
            }
            (Scheme::Bearer, None) => return Ok(()),
        };
        let context = dpop::DpopContext { token: check.token, key, request: check.request };
        let proof = single_header(check.request, &HeaderName::from_static(dpop::HEADER))
            .and_then(|proof| self.dpop.verify(proof, &context, self.clock.now()));
        let accepted = match proof {
            Ok(proof) => self.accept(check, &proof).await,
            Err(error) => Err(error),
        };
        accepted.map_err(|error| Unauthenticated::InvalidProof(ProofMethod::Dpop, error))
    }

    async fn accept(
        &self,
        check: &ProofCheck<'_>,
        proof: &VerifiedProof,
    ) -> Result<(), ProofError> {
        self.replays.accept(check.client.id(), proof, self.replay_fallback, &self.clock).await
    }

    async fn check_pop(&self, check: &ProofCheck<'_>) -> Result<(), ProofError> {
        let Some(client) = self.clients.get(check.client.id()) else { return Ok(()) };
        let field = match check.proof_field {
            Some(field) => HeaderName::from_static(field),
            None if client.on_all_paths => DEFAULT_PROOF_HEADER,
            None => return Ok(()),
        };
        let key = client.key.current(&self.clock, FILE_CHECK_INTERVAL).await;
        let request = check.request;
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let (method, headers, body) = (request.method(), request.headers(), request.body());
        let parts = pop::PopRequest { method, target, headers, body };
        let proof = pop::verify(single_header(request, &field)?, &key, &parts, self.clock.now())?;
        self.accept(check, &proof).await
    }
}

fn single_header<'r>(
    request: &'r Request<Bytes>,
    field: &HeaderName,
) -> Result<&'r str, ProofError> {
    let mut values = request.headers().get_all(field).iter();
    let value = values.next().filter(|_| values.next().is_none()).ok_or(ProofError::Missing)?;
    HeaderValue::to_str(value).map_err(|_| ProofError::Malformed)
}
