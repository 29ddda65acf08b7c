//! How the gateway proves itself to those that it calls: what each call shows, and where that comes
//! from.
//!
//! An access token is fixed, or fetched from the peer's own token endpoint; a proof of possession
//! is fixed, or signed anew over each call; further fields are whatever an operator's API gateway wants. All of
//! it can be changed in its files while the gateway runs.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, header};

use crate::{
    kept::{Kept, LOOK_EVERY},
    metrics::Metrics,
    outbound::{Caller, sensitive},
    qod::{FinderId, OperatorId, Secret},
};

mod key;
mod oauth2;
mod proof;
#[cfg(test)]
mod tests;
mod tokens;

pub use self::{
    key::SigningKey,
    oauth2::{Assertion, Method, OAuth2},
    proof::Signed,
};
use self::{
    proof::proof_of,
    tokens::{Token, Tokens},
};

/// Who is called.
#[derive(Clone, Debug)]
pub enum Peer {
    /// An operator.
    Operator(OperatorId),
    /// One who knows which operator serves a device.
    Finder(FinderId),
    /// One whose rules are imported, by the URL of these.
    Import(Arc<str>),
}

/// What is shown to a peer.
#[derive(Debug, Default)]
pub struct Settings {
    /// In `Authorization`.
    pub authorization: Authorization,
    /// In the dialect's proof header (`X-Authorization`), where it has one.
    pub proof: Proof,
    /// In further fields, none of which is one that a call has anyway.
    pub headers: Vec<(HeaderName, Kept<HeaderValue>)>,
}

/// What is shown in `Authorization`.
#[derive(Debug, Default)]
pub enum Authorization {
    /// Nothing.
    #[default]
    Nothing,
    /// This, whole.
    Fixed(Kept<HeaderValue>),
    /// A token that is fetched when it is needed.
    OAuth2(Box<OAuth2>),
}

/// What is shown in the proof header.
#[derive(Debug, Default)]
pub enum Proof {
    /// Nothing.
    #[default]
    Nothing,
    /// This, each time.
    Fixed(Kept<HeaderValue>),
    /// A proof of possession over each call, and over the call to the token endpoint.
    Signed(Arc<Kept<SigningKey>>),
}

/// Why there is no access token, so that a peer is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// Its token endpoint said no.
    #[error("the token endpoint does not take the gateway's credentials")]
    Refused,
    /// It cannot be reached, or its answer is of no use.
    #[error("the token endpoint grants no token")]
    Failed,
    /// None came in time.
    #[error("no access token came in time")]
    Late,
}

impl Peer {
    fn operator(&self) -> Option<&str> {
        match self {
            Self::Operator(id) => Some(&id.0),
            Self::Finder(_) | Self::Import(_) => None,
        }
    }

    fn finder(&self) -> Option<&str> {
        match self {
            Self::Finder(id) => Some(&id.0),
            Self::Operator(_) | Self::Import(_) => None,
        }
    }

    fn count_token(&self, metrics: &Metrics, outcome: &'static str) {
        match self {
            Self::Operator(id) => metrics.operator_token_fetched(&id.0, outcome),
            Self::Finder(id) => metrics.finder_token_fetched(&id.0, outcome),
            // That there is none is counted where the rules are asked for.
            Self::Import(_) => {}
        }
    }
}

impl NoToken {
    /// Its name in the metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
}

/// Reads what is shown in `Authorization` as a bearer token.
///
/// # Errors
/// If it is not one line.
pub fn bearer(secret: &Secret) -> Result<HeaderValue, String> {
    header_value("Bearer ", secret)
}

/// Reads what is shown as it stands.
///
/// # Errors
/// If it is not one line.
pub fn as_it_stands(secret: &Secret) -> Result<HeaderValue, String> {
    header_value("", secret)
}

fn header_value(scheme: &str, secret: &Secret) -> Result<HeaderValue, String> {
    let text = Secret::new(format!("{scheme}{}", secret.line()?.reveal()));
    sensitive(text.reveal()).ok_or_else(|| "the secret cannot stand in a header".to_owned())
}

/// What is shown to a peer, kept good.
pub struct Credentials {
    authorization: Source,
    proof: Option<(HeaderName, Proof)>,
    headers: Vec<(HeaderName, Kept<HeaderValue>)>,
}

enum Source {
    Nothing,
    Fixed(Kept<HeaderValue>),
    Fetched(Arc<Tokens>),
}

/// What one call shows in `Authorization`.
pub struct Shown(Value);

enum Value {
    Nothing,
    Fixed(Arc<HeaderValue>),
    Fetched(Arc<Token>),
}

impl Credentials {
    /// `proof_header` is the dialect's; a fetch of a token may take as long as a call.
    pub fn new(
        settings: Settings,
        peer: Peer,
        proof_header: Option<&'static str>,
        timeout: Duration,
    ) -> Self {
        let Settings { authorization, proof, headers } = settings;
        let proof_header = proof_header.map(HeaderName::from_static);
        let authorization = match authorization {
            Authorization::Nothing => Source::Nothing,
            Authorization::Fixed(value) => Source::Fixed(value),
            Authorization::OAuth2(oauth2) => {
                let key = match &proof {
                    Proof::Signed(key) => proof_header.clone().zip(Some(Arc::clone(key))),
                    Proof::Nothing | Proof::Fixed(_) => None,
                };
                Source::Fetched(Arc::new(Tokens::new(peer, *oauth2, key, timeout)))
            }
        };
        Self { authorization, proof: proof_header.map(|name| (name, proof)), headers }
    }

    /// What a call is to show in `Authorization`, waited for no longer than so long.
    pub async fn authorize(&self, caller: &Caller, within: Duration) -> Result<Shown, NoToken> {
        match &self.authorization {
            Source::Nothing => Ok(Value::Nothing),
            Source::Fixed(value) => {
                Ok(Value::Fixed(value.current(&caller.clock, LOOK_EVERY).await))
            }
            Source::Fetched(tokens) => tokens.token(caller, within).await.map(Value::Fetched),
        }
        .map(Shown)
    }

    /// Puts all that a call shows into its header.
    pub async fn put(
        &self,
        shown: &Shown,
        signed: &Signed<'_>,
        caller: &Caller,
        header: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<(), NoToken> {
        let (clock, authorization) = (&caller.clock, shown.value());
        if let Some(value) = authorization {
            header.push((header::AUTHORIZATION, value.clone()));
        }
        for (name, value) in &self.headers {
            let value = value.current(clock, LOOK_EVERY).await;
            header.push((name.clone(), HeaderValue::clone(&value)));
        }
        let Some((name, proof)) = &self.proof else { return Ok(()) };
        let value = match proof {
            Proof::Nothing => return Ok(()),
            Proof::Fixed(value) => HeaderValue::clone(&*value.current(clock, LOOK_EVERY).await),
            Proof::Signed(key) => {
                let key = key.current(clock, LOOK_EVERY).await;
                proof_of(signed, authorization, &key, clock).ok_or(NoToken::Failed)?
            }
        };
        header.push((name.clone(), value));
        Ok(())
    }

    /// The peer does not take what a call showed. Is it worth calling once more, with another
    /// token?
    pub fn reject(&self, shown: &Shown, caller: &Caller) -> bool {
        match (&self.authorization, &shown.0) {
            (Source::Fetched(tokens), Value::Fetched(token)) => tokens.reject(token, &caller.clock),
            _ => false,
        }
    }
}

impl Shown {
    fn value(&self) -> Option<&HeaderValue> {
        match &self.0 {
            Value::Nothing => None,
            Value::Fixed(value) => Some(value),
            Value::Fetched(token) => Some(&token.authorization),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
