//! Which proof a request owes, and whether it shows it: after the token held, whether that was
//! remembered or not.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

use super::{
    Client, Digest, Reason, Unauthenticated,
    bearer::Scheme,
    dpop::{self, Target},
    pop::{self, ProofKey},
    proof::{Means, NotProved},
    replay::Replays,
};
use crate::{
    clock::Clock,
    kept::{Kept, LOOK_EVERY},
    qod::ClientId,
};

#[cfg(test)]
mod tests;

/// How old a DPoP proof may be let be.
pub const AGE_MAX: Duration = Duration::from_mins(5);

const DEFAULT_PROOF_FIELD: HeaderName = HeaderName::from_static("x-authorization");

/// How callers show that a token is theirs.
#[derive(Clone, Debug)]
pub struct Proofs {
    /// The URLs that clients know the gateway by, each without what stands in a request's own path.
    /// Without one no DPoP proof holds.
    pub public_urls: Vec<String>,
    /// How old a DPoP proof may be, at most [`AGE_MAX`].
    pub age_max: Duration,
    /// Must a DPoP proof cover the body and the query?
    pub cover_all: bool,
    /// The clients whose requests are proved as by DevEdge.
    pub clients: HashMap<ClientId, ClientProof>,
}

/// How a client proves its requests, as by DevEdge.
#[derive(Clone, Debug)]
pub struct ClientProof {
    /// Its public key.
    pub key: Arc<Kept<ProofKey>>,
    /// Has it to do so where no dialect asks for it?
    pub everywhere: bool,
}

impl Default for Proofs {
    fn default() -> Self {
        Self {
            public_urls: Vec::new(),
            age_max: Duration::from_mins(1),
            cover_all: false,
            clients: HashMap::new(),
        }
    }
}

/// A request with a token that held.
pub(super) struct Asked<'r> {
    pub(super) request: &'r Request<Bytes>,
    pub(super) scheme: Scheme,
    pub(super) token: &'r Digest,
    pub(super) client: &'r Client,
    /// Where DevEdge's proof is, if the path may speak it.
    pub(super) proof_field: Option<&'static str>,
}

/// Judges proofs, and takes each once.
pub(super) struct Possession {
    dpop: dpop::Rules,
    clients: HashMap<ClientId, ClientProof>,
    replays: Arc<Replays>,
    clock: Clock,
}

impl Possession {
    pub(super) fn new(settings: Proofs, clock: Clock) -> Result<Self, String> {
        let Proofs { public_urls, age_max, cover_all, clients } = settings;
        if age_max > AGE_MAX {
            return Err(format!("a proof may be {age_max:?} old, expected at most {AGE_MAX:?}"));
        }
        let target = |url: &String| Target::parse(url).ok_or_else(|| format!("{url} is no URL"));
        let targets = public_urls.iter().map(target).collect::<Result<_, _>>()?;
        let dpop = dpop::Rules { targets, age_max, cover_all };
        Ok(Self { dpop, clients, replays: Arc::default(), clock })
    }

    /// Shares the memory of another.
    pub(super) fn remember_as(&mut self, other: &Self) {
        self.replays = Arc::clone(&other.replays);
    }

    /// Can a DPoP proof hold here at all?
    pub(super) fn takes_dpop(&self) -> bool {
        !self.dpop.targets.is_empty()
    }

    /// Has the request shown what it must?
    pub(super) async fn check(&self, asked: &Asked<'_>) -> Result<(), Unauthenticated> {
        self.check_binding(asked)?;
        self.check_pop(asked).await.map_err(|why| Unauthenticated::NotProved(Means::Pop, why))
    }

    fn check_binding(&self, asked: &Asked<'_>) -> Result<(), Unauthenticated> {
        // By what the handshake has shown, and the server has put there.
        if !asked.client.binding().admits(asked.request.extensions().get()) {
            return Err(Reason::Bound.into());
        }
        let key = match (asked.scheme, &asked.client.binding().key) {
            (Scheme::Dpop, Some(key)) => key,
            (Scheme::Bearer, Some(_)) => return Err(Reason::Bound.into()),
            (Scheme::Dpop, None) => return Err(Reason::Unbound.into()),
            // Whoever shows a proof takes the token for bound.
            (Scheme::Bearer, None) if asked.request.headers().contains_key(dpop::FIELD) => {
                return Err(Reason::Unbound.into());
            }
            (Scheme::Bearer, None) => return Ok(()),
        };
        let shown = dpop::Shown { token: asked.token, key, request: asked.request };
        let proof = the_one(asked.request, &HeaderName::from_static(dpop::FIELD));
        proof
            .and_then(|proof| self.dpop.verify(proof, &shown, self.clock.now()))
            .and_then(|proof| self.replays.take(asked.client.id(), &proof, &self.clock))
            .map_err(|why| Unauthenticated::NotProved(Means::Dpop, why))
    }

    async fn check_pop(&self, asked: &Asked<'_>) -> Result<(), NotProved> {
        let Some(known) = self.clients.get(asked.client.id()) else { return Ok(()) };
        let field = match asked.proof_field {
            Some(field) => HeaderName::from_static(field),
            None if known.everywhere => DEFAULT_PROOF_FIELD,
            None => return Ok(()),
        };
        let key = known.key.current(&self.clock, LOOK_EVERY).await;
        let request = asked.request;
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let (method, headers, body) = (request.method(), request.headers(), request.body());
        let sent = pop::Request { method, target, headers, body };
        let proof = pop::verify(the_one(request, &field)?, &key, &sent, self.clock.now())?;
        self.replays.take(asked.client.id(), &proof, &self.clock)
    }
}

fn the_one<'r>(request: &'r Request<Bytes>, field: &HeaderName) -> Result<&'r str, NotProved> {
    let mut values = request.headers().get_all(field).iter();
    let value = values.next().filter(|_| values.next().is_none()).ok_or(NotProved::Missing)?;
    HeaderValue::to_str(value).map_err(|_| NotProved::Form)
}
