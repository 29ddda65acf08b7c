//! Who is calling: a token becomes a [`Client`], or is refused; and so is one whose sender does not
//! show what it is bound to.
//!
//! The JWT crate verifies signatures and nothing else. What it leaves open is closed here: which
//! keys may verify at all and for which algorithm, header fields that must be understood, claims
//! that are missing or of the wrong type. A token is never logged and never told back.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;

use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::{Outbound, Trust},
    qod::{ClientId, Secret},
};

mod algorithm;
mod bearer;
mod binding;
mod cache;
mod claims;
mod client;
mod discovery;
mod dpop;
mod introspection;
mod jwks;
mod jws;
mod keyring;
mod mock;
pub mod pop;
mod possession;
mod proof;
mod refused;
mod replay;
mod users;
#[cfg(test)]
mod tests;

pub use self::{
    algorithm::{Algorithm, NotAnAlgorithm},
    client::Client,
    discovery::Discovery,
    introspection::{CACHED_FOR_MAX, Introspection, ShownIn},
    possession::{AGE_MAX, ClientProof, Proofs},
    proof::{Means, NotProved},
    refused::Refused,
    users::{ToldBy, Users},
};
use self::{
    cache::{By, Cache, Digest, Verified},
    claims::{Claims, Rules},
    introspection::Introspector,
    jws::Jws,
    keyring::Keyring,
    mock::MockTokens,
    possession::{Asked, Possession},
};

/// The longest leeway an issuer's clock may be given.
pub const LEEWAY_MAX: Duration = Duration::from_mins(2);

/// Whose tokens are believed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The authorization servers; each name once.
    pub issuers: Vec<Issuer>,
    /// Fixed tokens for clients of simulated operators.
    pub mock_tokens: Vec<MockToken>,
    /// How many verified tokens are remembered; 0 for none.
    pub cache_entries_max: usize,
    /// How callers show that a token is theirs.
    pub proofs: Proofs,
}

/// An authorization server that is trusted.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The `iss` of its tokens, compared byte by byte.
    pub issuer: String,
    /// What names this gateway in `aud`; one must match.
    pub audiences: Vec<String>,
    /// Where its keys are, or who knows without.
    pub keys: Keys,
    /// Whom it must be known by where it is called.
    pub trust: Trust,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock may be off, at most [`LEEWAY_MAX`].
    pub leeway: Duration,
    /// Is a token without `nbf` refused? RFC 9068 does not ask for one.
    pub require_nbf: bool,
    /// Is a token refused whose `typ` does not say that it is an access token (RFC 9068 §4)?
    pub require_at_jwt: bool,
    /// Is a token refused that is good for whoever has it?
    pub require_binding: bool,
    /// What its tokens say of users.
    pub users: Users,
}

/// What an issuer's tokens are verified by: a JWK Set, or the issuer itself.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A file, read anew when it changes.
    File(PathBuf),
    /// A URL: `https`, or `http` on this machine itself.
    Url {
        /// The URL.
        url: String,
        /// How often it is fetched anew: from 10 s to 12 h.
        refresh: Duration,
    },
    /// Wherever the issuer publishes that they are.
    Discovered {
        /// How.
        by: Discovery,
        /// How often they are fetched anew: from 10 s to 12 h.
        refresh: Duration,
    },
    /// No keys: the issuer is asked about each token. One issuer at most, for what is not a JWT
    /// does not tell whose it is.
    Introspection(Introspection),
}

/// A fixed token that makes its bearer a mock client.
#[derive(Clone, Debug)]
pub struct MockToken {
    /// The token.
    pub token: Secret,
    /// Whom it stands for.
    pub client: ClientId,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{issuer}: {message}")]
pub struct IssuerFault {
    /// The issuer, `mock_tokens` or `proofs`.
    pub issuer: String,
    /// What is wrong.
    pub message: String,
}

/// Why a request has no client. What it says of itself may be told to the caller: no more than
/// whether the token was missing, malformed, expired or invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// No access token came.
    #[error("no access token")]
    Missing,
    /// What came is not one access token.
    #[error("the access token is malformed")]
    Malformed,
    /// The token does not hold.
    #[error("the access token {}", .0.told())]
    Invalid(Reason),
    /// It is not shown that the token is its sender's.
    #[error("the proof of possession {}", .1.told())]
    NotProved(Means, NotProved),
    /// No key of the issuer's has been seen for too long, or it cannot be asked: nobody can tell.
    #[error("access tokens cannot be verified at the moment")]
    KeysUnavailable,
}

/// Why a token does not hold; for logs and metrics only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is not a signed JWT.
    Form,
    /// Its header asks for what is not understood, or brings a key along.
    Critical,
    /// It is a JWT of another type.
    Type,
    /// Its algorithm is not allowed, or not the key's.
    Algorithm,
    /// No key of the issuer's fits, or several do.
    Key,
    /// Nobody trusts its issuer.
    Issuer,
    /// Its signature is wrong.
    Signature,
    /// A claim is missing or of the wrong type.
    Claims,
    /// It is too old.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// It was not made for this gateway.
    Audience,
    /// It is bound (`cnf`), and came as if it were not, or by what is not understood.
    Bound,
    /// It is good for whoever has it, where it must not be, or came as if it were bound.
    Unbound,
    /// It names no client.
    Client,
    /// Its issuer says that it is none, or none any more.
    Inactive,
}

impl Unauthenticated {
    /// Its name in logs and metrics: all that is known, so not for callers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Invalid(reason) => reason.name(),
            Self::NotProved(..) => "not_proved",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl Reason {
    const fn told(self) -> &'static str {
        match self {
            Self::Expired => "has expired",
            Self::Bound => "is bound, and nothing shows that it is its sender's",
            Self::Unbound => "is not bound to a key",
            _ => "is not valid",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Critical => "critical",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Audience => "audience",
            Self::Bound => "bound",
            Self::Unbound => "unbound",
            Self::Client => "client",
            Self::Inactive => "inactive",
        }
    }
}

impl From<Reason> for Unauthenticated {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}

/// Knows callers by their tokens.
pub struct Identity {
    trusted: Box<[Trusted]>,
    introspector: Option<Arc<Introspector>>,
    mock_tokens: MockTokens,
    verified: Cache,
    possession: Possession,
    clock: Clock,
    metrics: Metrics,
}

/// One with keys.
struct Trusted {
    rules: Rules,
    keyring: Arc<Keyring>,
}

impl Identity {
    /// Takes the settings and reads the keys that are in files. All faults are told at once.
    #[expect(clippy::needless_pass_by_value, reason = "it takes all that it lives on")]
    pub fn new(
        settings: Settings,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, Vec<IssuerFault>> {
        let mut faults = Vec::new();
        let verified = Cache::new(settings.cache_entries_max);
        let mut trusted: Vec<Trusted> = Vec::with_capacity(settings.issuers.len());
        let mut introspector: Option<Arc<Introspector>> = None;
        for issuer in settings.issuers {
            let name = issuer.issuer.clone();
            let mut fault = |message: String| {
                faults.push(IssuerFault { issuer: name.clone(), message });
            };
            issuer.faults().into_iter().for_each(&mut fault);
            if trusted.iter().any(|other| other.rules.issuer() == name)
                || introspector.as_ref().is_some_and(|other| other.issuer() == name)
            {
                fault("named twice".to_owned());
            }
            let (outbound, clock, metrics) = (outbound.clone(), clock.clone(), metrics.clone());
            if let Keys::Introspection(how) = &issuer.keys {
                if introspector.is_some() {
                    fault("another issuer is asked about its tokens already".to_owned());
                }
                let (how, verified) = (how.clone(), verified.clone());
                let trust = issuer.trust.clone();
                match Introspector::new(
                    how,
                    (issuer.into(), trust),
                    verified,
                    outbound,
                    clock,
                    metrics,
                ) {
                    Ok(made) => introspector = Some(Arc::new(made)),
                    Err(message) => fault(message),
                }
                continue;
            }
            match Keyring::new(&issuer, outbound, clock, metrics) {
                Ok(keyring) => {
                    let keyring = Arc::new(keyring);
                    trusted.push(Trusted { rules: Rules::from(issuer), keyring });
                }
                Err(message) => fault(message),
            }
        }
        let mock_tokens = MockTokens::new(settings.mock_tokens).map_err(|message| {
            faults.push(IssuerFault { issuer: "mock_tokens".to_owned(), message });
        });
        let possession = Possession::new(settings.proofs, clock.clone()).map_err(|message| {
            faults.push(IssuerFault { issuer: "proofs".to_owned(), message });
        });
        match (mock_tokens, possession) {
            (Ok(mock_tokens), Ok(possession)) if faults.is_empty() => Ok(Self {
                trusted: trusted.into(),
                introspector,
                mock_tokens,
                verified,
                possession,
                clock,
                metrics,
            }),
            _ => Err(faults),
        }
    }

    /// Takes the place of another, and knows the proofs that were shown to it.
    #[must_use]
    pub fn following(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before {
            self.possession.remember_as(&before.possession);
        }
        self
    }

    /// Fetches the keys of every issuer before the first request needs them. What fails now is
    /// tried again by [`Identity::refresh`].
    pub async fn warm_up(&self) {
        self.refresh().await;
    }

    /// Fetches the keys that are due. To be called every few seconds.
    pub async fn refresh(&self) {
        let mut running = Vec::with_capacity(self.trusted.len());
        for trusted in &self.trusted {
            let keyring = Arc::clone(&trusted.keyring);
            running.push(tokio::spawn(async move { keyring.refresh().await }));
        }
        for one in running {
            // It ends badly only when the runtime itself is going down.
            let _: Result<(), _> = one.await;
        }
    }

    /// Is this one whose tokens are believed?
    pub fn trusts(&self, issuer: &str) -> bool {
        self.trusted.iter().any(|trusted| trusted.rules.issuer() == issuer)
            || self.introspector.as_ref().is_some_and(|other| other.issuer() == issuer)
    }

    /// Has every issuer keys to verify with?
    pub fn ready(&self) -> bool {
        self.trusted.iter().all(|trusted| trusted.keyring.generation().is_some())
    }

    /// Who sent this request, by its `Authorization` field and what else it has to show. A client
    /// that proves its requests as by DevEdge does so in `proof_field`, if the path may speak a
    /// dialect that has one.
    pub async fn authenticate(
        &self,
        request: &Request<Bytes>,
        proof_field: Option<&'static str>,
    ) -> Result<Client, Refused> {
        let (outcome, answer) = match self.recognise(request, proof_field).await {
            Ok((client, outcome)) => (outcome, Ok(client)),
            Err(Unauthenticated::KeysUnavailable) => {
                ("unavailable", Err(Unauthenticated::KeysUnavailable))
            }
            Err(refused) => ("refused", Err(refused)),
        };
        self.metrics.token_verified(outcome);
        if let Err(Unauthenticated::NotProved(means, why)) = &answer {
            self.metrics.proof_refused(means.name(), why.name());
        }
        answer.map_err(|why| Refused::new(why, request.headers(), self.possession.takes_dpop()))
    }

    async fn recognise(
        &self,
        request: &Request<Bytes>,
        proof_field: Option<&'static str>,
    ) -> Result<(Client, &'static str), Unauthenticated> {
        let (scheme, token) = bearer::token(request.headers())?;
        let digest = Digest::of(token);
        let (client, outcome) = self.known(token, digest).await?;
        let asked = Asked { request, scheme, token: &digest, client: &client, proof_field };
        self.possession.check(&asked).await?;
        Ok((client, outcome))
    }

    /// Whose token it is, if he may have it.
    async fn known(
        &self,
        token: &str,
        digest: Digest,
    ) -> Result<(Client, &'static str), Unauthenticated> {
        if let Some(client) = self.mock_tokens.find(&digest) {
            return Ok((client, "mock"));
        }
        if let Some(client) = self.remembered(&digest) {
            return Ok((client, "hit"));
        }
        Ok((self.verify(token, digest).await?, "verified"))
    }

    fn remembered(&self, digest: &Digest) -> Option<Client> {
        let verified = self.verified.find(digest)?;
        let stands = match verified.by {
            By::Keys { issuer, generation } => {
                self.trusted.get(issuer)?.keyring.generation() == Some(generation)
            }
            By::Word { until } => self.clock.tick() < until,
        };
        if stands && self.clock.now() < verified.expires {
            return Some(verified.client);
        }
        self.verified.forget(digest);
        None
    }

    async fn verify(&self, token: &str, digest: Digest) -> Result<Client, Unauthenticated> {
        if let Some(introspector) = self.introspector.as_ref().filter(|it| it.is_for(token)) {
            return introspector.ask(token, digest).await;
        }
        let jws = Jws::parse(token)?;
        let payload = jws.payload()?;
        let claims = Claims::parse(&payload)?;
        // Nothing is believed before the signature holds. The claimed issuer only chooses whose
        // keys it has to hold with.
        let claimed = claims.issuer()?;
        let (issuer, trusted) = self
            .trusted
            .iter()
            .enumerate()
            .find(|(_, trusted)| trusted.rules.issuer() == claimed)
            .ok_or(Reason::Issuer)?;
        trusted.rules.check_type(&jws)?;
        let (key, generation) = trusted.keyring.key_for(&jws).await?;
        key.verify(&jws)?;
        let now = self.clock.now();
        let (client, expires) = claims.check(&trusted.rules, now)?;
        if now < expires {
            let (client, by) = (client.clone(), By::Keys { issuer, generation });
            self.verified.keep(digest, Verified { client, expires, by });
        }
        Ok(client)
    }
}

impl Issuer {
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |holds: bool, message: String| {
            if !holds {
                faults.push(message);
            }
        };
        expect(!self.issuer.is_empty(), "expected a name for the issuer".to_owned());
        expect(
            !self.audiences.is_empty() && !self.audiences.iter().any(String::is_empty),
            "expected at least one audience, and none empty".to_owned(),
        );
        expect(!self.algorithms.is_empty(), "expected at least one algorithm".to_owned());
        expect(
            self.leeway <= LEEWAY_MAX,
            format!("the leeway is {:?}, expected at most {LEEWAY_MAX:?}", self.leeway),
        );
        faults
    }
}
