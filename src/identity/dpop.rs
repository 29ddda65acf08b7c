//! The proof of RFC 9449: a JWT that brings its public key along, signed anew for each request. It
//! shows that who sends a token has the key that the token is bound to.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use sha2::{Digest as _, Sha256};

use super::{
    Algorithm, Reason,
    binding::Thumbprint,
    cache::Digest,
    claims::Claims,
    jwks::Key,
    jws::Jws,
    proof::{NotProved, Proof},
};
use crate::{json::Json, qod::Moment};

mod target;
#[cfg(test)]
mod tests;

pub(super) use self::target::Target;

/// The header field of a proof.
pub(super) const FIELD: &str = "dpop";

const PROOF_BYTES_MAX: usize = 8 * 1024;
const ID_BYTES_MAX: usize = 256;

/// How far a client's clock may be ahead.
const AHEAD_MAX: Duration = Duration::from_secs(5);

const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

/// What a JWK has of a key that nobody else may know (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// CAMARA's own claims, by either of their names: the hash of the body, and that of the query.
const BODY_HASH: [&str; 2] = ["x-camara:bh", "camara:bh"];
const QUERY_HASH: [&str; 2] = ["x-camara:qh", "camara:qh"];

/// What a proof must be.
pub(super) struct Rules {
    /// Where clients reach the gateway.
    pub(super) targets: Vec<Target>,
    /// How old it may be.
    pub(super) age_max: Duration,
    /// Must it cover body and query?
    pub(super) cover_all: bool,
}

/// What a proof is shown for.
pub(super) struct Shown<'r> {
    /// The token that it goes with.
    pub(super) token: &'r Digest,
    /// The key that the token is bound to.
    pub(super) key: &'r Thumbprint,
    /// The request.
    pub(super) request: &'r Request<Bytes>,
}

impl Rules {
    /// Judges a proof.
    pub(super) fn verify(
        &self,
        proof: &str,
        shown: &Shown<'_>,
        now: Moment,
    ) -> Result<Proof, NotProved> {
        if proof.len() > PROOF_BYTES_MAX {
            return Err(NotProved::Form);
        }
        let (jws, (key, thumbprint)) = Jws::parse_dpop(proof, key_of).map_err(|reason| {
            if reason == Reason::Key { NotProved::Key } else { NotProved::Form }
        })?;
        if thumbprint != *shown.key {
            return Err(NotProved::OtherKey);
        }
        key.verify(&jws).map_err(|_| NotProved::Signature)?;
        let payload = jws.payload().map_err(|_| NotProved::Form)?;
        let claims = Claims::parse(&payload).map_err(|_| NotProved::Claims)?;
        let until = self.check_time(&claims, now)?;
        self.check_request(&claims, shown)?;
        let id = text(&claims, "jti")?.ok_or(NotProved::Claims)?;
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(NotProved::Claims);
        }
        Ok(Proof { id: id.into(), until })
    }

    /// Until when it is good.
    fn check_time(&self, claims: &Claims<'_>, now: Moment) -> Result<Moment, NotProved> {
        let issued = claims.moment("iat").ok().flatten().ok_or(NotProved::Claims)?;
        let until = issued + self.age_max;
        if until < now || issued > now + AHEAD_MAX { Err(NotProved::Time) } else { Ok(until) }
    }

    fn check_request(&self, claims: &Claims<'_>, shown: &Shown<'_>) -> Result<(), NotProved> {
        let needed = |name: &str| text(claims, name)?.ok_or(NotProved::Claims);
        let (method, uri) = (shown.request.method(), shown.request.uri());
        let named = Target::parse(needed("htu")?).ok_or(NotProved::Claims)?;
        let ours = |target: &Target| target.below(uri.path()).as_ref() == Some(&named);
        let same = needed("htm")? == method.as_str()
            && self.targets.iter().any(ours)
            && needed("ath")? == shown.token.encoded();
        if !same {
            return Err(NotProved::Changed);
        }
        let (body, query) = (shown.request.body(), uri.query());
        self.check_hash(claims, BODY_HASH, body, !body.is_empty())?;
        self.check_hash(claims, QUERY_HASH, query.unwrap_or("").as_bytes(), query.is_some())
    }

    fn check_hash(
        &self,
        claims: &Claims<'_>,
        names: [&str; 2],
        value: &[u8],
        is_there: bool,
    ) -> Result<(), NotProved> {
        let mut covered = false;
        for name in names {
            let Some(hash) = text(claims, name)? else { continue };
            if hash != URL_SAFE_NO_PAD.encode(Sha256::digest(value)) {
                return Err(NotProved::Changed);
            }
            covered = true;
        }
        if self.cover_all && is_there && !covered { Err(NotProved::Parts) } else { Ok(()) }
    }
}

fn text<'c>(claims: &'c Claims<'_>, name: &str) -> Result<Option<&'c str>, NotProved> {
    claims.text(name).map_err(|_| NotProved::Claims)
}

fn key_of(jwk: &Json<'_>) -> Option<(Key, Thumbprint)> {
    if PRIVATE_MEMBERS.iter().any(|name| jwk.member(name).is_some()) {
        return None;
    }
    Some((Key::read(jwk, &ALGORITHMS).ok()?, Thumbprint::of(jwk)?))
}
