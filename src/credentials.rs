//! Credentials for outgoing calls: how the gateway authenticates to operators, finders and imports.
//!
//! An access token is fixed or fetched from the peer's token endpoint. A proof of possession is
//! fixed or signed for each call. Additional header fields can be configured for an operator's API
//! gateway. All secrets are reloaded when their files change.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, header};

use crate::{
    metrics::Metrics,
    outbound::{Caller, sensitive_header},
    qod::{FinderId, OperatorId, Secret},
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
};

mod key;
mod oauth2;
mod peer_client;
mod proof_of_possession;
#[cfg(test)]
mod tests;
mod tokens;

pub use self::{
    key::SigningKey,
    oauth2::{Assertion, OAuth2Client, TokenAuthMethod},
    peer_client::{NotCalled, PeerClient},
    tokens::FETCH_BACKOFF,
};
use self::{
    proof_of_possession::{SignedParts, sign_proof},
    tokens::{AccessToken, TokenSource},
};

/// Identifies the called peer.
#[derive(Clone, Debug)]
pub enum PeerId {
    /// An operator.
    Operator(OperatorId),
    /// A finder, which returns the operator of a device.
    Finder(FinderId),
    /// A server of routing rules. It has its own metrics.
    Import,
}

/// The credentials sent to a peer.
#[derive(Debug, Default)]
pub struct Settings {
    /// Value of the `Authorization` header.
    pub authorization: Authorization,
    /// Value of the dialect's proof header (`X-Authorization`), if the dialect has one.
    pub proof: ProofSource,
    /// Additional header fields. None of them is a field that a call sets itself.
    pub headers: Vec<(HeaderName, Reloadable<HeaderValue>)>,
}

/// The source of the `Authorization` header.
#[derive(Debug, Default)]
pub enum Authorization {
    /// No header.
    #[default]
    Nothing,
    /// A fixed header value.
    Fixed(Reloadable<HeaderValue>),
    /// An access token fetched on demand.
    OAuth2(Box<OAuth2Client>),
}

/// The source of the proof header.
#[derive(Debug, Default)]
pub enum ProofSource {
    /// No header.
    #[default]
    Nothing,
    /// A fixed header value.
    Fixed(Reloadable<HeaderValue>),
    /// A proof of possession signed for each call, including calls to the token endpoint.
    Signed(Arc<Reloadable<SigningKey>>),
}

/// Why no access token is available. The peer is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenUnavailable {
    /// The token endpoint rejected the gateway's credentials.
    #[error("the token endpoint rejected the gateway's credentials")]
    Rejected,
    /// The token endpoint is unreachable or its response is invalid.
    #[error("failed to fetch an access token")]
    Failed,
    /// The fetch did not complete in time.
    #[error("timed out waiting for an access token")]
    Timeout,
}

impl PeerId {
    fn operator(&self) -> Option<&str> {
        match self {
            Self::Operator(id) => Some(&id.0),
            Self::Finder(_) | Self::Import => None,
        }
    }

    fn finder(&self) -> Option<&str> {
        match self {
            Self::Finder(id) => Some(&id.0),
            Self::Operator(_) | Self::Import => None,
        }
    }

    fn count_token(&self, metrics: &Metrics, outcome: &'static str) {
        match self {
            Self::Operator(id) => metrics.record_operator_token_fetch(&id.0, outcome),
            Self::Finder(id) => metrics.record_finder_token_fetch(&id.0, outcome),
            // Counted as a failed poll of the import.
            Self::Import => {}
        }
    }
}

impl TokenUnavailable {
    /// Returns the `outcome` label value for metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Timeout => "late",
        }
    }
}

/// Builds an `Authorization` value from a bearer token.
///
/// # Errors
/// If the secret is not a single line or is not a valid header value.
pub fn bearer(secret: &Secret) -> Result<HeaderValue, String> {
    header_value("Bearer ", secret)
}

/// Builds a header value from the secret without changes.
///
/// # Errors
/// If the secret is not a single line or is not a valid header value.
pub fn verbatim(secret: &Secret) -> Result<HeaderValue, String> {
    header_value("", secret)
}

fn header_value(scheme: &str, secret: &Secret) -> Result<HeaderValue, String> {
    let text = Secret::new(format!("{scheme}{}", secret.single_line()?.reveal()));
    sensitive_header(text.reveal())
        .ok_or_else(|| "the secret is not a valid header value".to_owned())
}

/// The credentials of one peer, with valid access tokens.
struct Credentials {
    authorization: AuthorizationSource,
    proof: Option<(HeaderName, ProofSource)>,
    headers: Vec<(HeaderName, Reloadable<HeaderValue>)>,
}

enum AuthorizationSource {
    Nothing,
    Fixed(Reloadable<HeaderValue>),
    Fetched(Arc<TokenSource>),
}

/// The `Authorization` value of one call.
pub struct CallAuthorization(AuthorizationValue);

enum AuthorizationValue {
    Nothing,
    Fixed(Arc<HeaderValue>),
    Fetched(Arc<AccessToken>),
}

impl Credentials {
    fn new(
        settings: Settings,
        peer: PeerId,
        proof_header: Option<&'static str>,
        timeout: Duration,
    ) -> Self {
        let Settings { authorization, proof, headers } = settings;
        let proof_header = proof_header.map(HeaderName::from_static);
        let authorization = match authorization {
            Authorization::Nothing => AuthorizationSource::Nothing,
            Authorization::Fixed(value) => AuthorizationSource::Fixed(value),
            Authorization::OAuth2(oauth2) => {
                let key = match &proof {
                    ProofSource::Signed(key) => proof_header.clone().zip(Some(Arc::clone(key))),
                    ProofSource::Nothing | ProofSource::Fixed(_) => None,
                };
                AuthorizationSource::Fetched(Arc::new(TokenSource::new(
                    peer, *oauth2, key, timeout,
                )))
            }
        };
        Self { authorization, proof: proof_header.map(|name| (name, proof)), headers }
    }

    async fn authorize(
        &self,
        caller: &Caller,
        within: Duration,
    ) -> Result<CallAuthorization, TokenUnavailable> {
        match &self.authorization {
            AuthorizationSource::Nothing => Ok(AuthorizationValue::Nothing),
            AuthorizationSource::Fixed(value) => Ok(AuthorizationValue::Fixed(
                value.current(&caller.clock, FILE_CHECK_INTERVAL).await,
            )),
            AuthorizationSource::Fetched(tokens) => {
                tokens.token(caller, within).await.map(AuthorizationValue::Fetched)
            }
        }
        .map(CallAuthorization)
    }

    /// Appends all credentials of a call to its header fields.
    async fn append_headers(
        &self,
        authorization: &CallAuthorization,
        signed: &SignedParts<'_>,
        caller: &Caller,
        header: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<(), TokenUnavailable> {
        let (clock, authorization) = (&caller.clock, authorization.value());
        if let Some(value) = authorization {
            header.push((header::AUTHORIZATION, value.clone()));
        }
        for (name, value) in &self.headers {
            let value = value.current(clock, FILE_CHECK_INTERVAL).await;
            header.push((name.clone(), HeaderValue::clone(&value)));
        }
        let Some((name, proof)) = &self.proof else { return Ok(()) };
        let value = match proof {
            ProofSource::Nothing => return Ok(()),
            ProofSource::Fixed(value) => {
                HeaderValue::clone(&*value.current(clock, FILE_CHECK_INTERVAL).await)
            }
            ProofSource::Signed(key) => {
                let key = key.current(clock, FILE_CHECK_INTERVAL).await;
                sign_proof(signed, authorization, &key, clock).ok_or(TokenUnavailable::Failed)?
            }
        };
        header.push((name.clone(), value));
        Ok(())
    }

    /// Invalidates the token that a call used, because the peer rejected it. Returns whether to
    /// send the request again with another token.
    fn invalidate(&self, authorization: &CallAuthorization, caller: &Caller) -> bool {
        match (&self.authorization, &authorization.0) {
            (AuthorizationSource::Fetched(tokens), AuthorizationValue::Fetched(token)) => {
                tokens.invalidate(token, &caller.clock)
            }
            _ => false,
        }
    }
}

impl CallAuthorization {
    fn value(&self) -> Option<&HeaderValue> {
        match &self.0 {
            AuthorizationValue::Nothing => None,
            AuthorizationValue::Fixed(value) => Some(value),
            AuthorizationValue::Fetched(token) => Some(&token.authorization),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
