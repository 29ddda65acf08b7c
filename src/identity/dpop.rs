//! Verifies DPoP proofs (RFC 9449): a JWT with its public key, signed for each request. It proves
//! that the sender of a token has the key that the token is bound to.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use sha2::{Digest as _, Sha256};

use super::{
    InvalidToken, SignatureAlgorithm,
    binding::KeyThumbprint,
    cache::TokenDigest,
    claims::Claims,
    jwks::VerificationKey,
    jws::Jws,
    proof::{ProofError, VerifiedProof},
};
use crate::{json::Json, qod::Moment};

mod target;
#[cfg(test)]
mod tests;

pub(super) use self::target::TargetUri;

/// The header field of a proof.
pub(super) const HEADER: &str = "dpop";

const PROOF_BYTES_MAX: usize = 8 * 1024;
const ID_BYTES_MAX: usize = 256;

/// How far a client's clock may be ahead of the gateway's.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5);

const ALGORITHMS: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::RS256,
    SignatureAlgorithm::PS256,
    SignatureAlgorithm::ES256,
    SignatureAlgorithm::EdDSA,
];

/// Members of a JWK that are part of a private key (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// CAMARA claims with the hashes of the body and the query, each with two accepted names.
const BODY_HASH: [&str; 2] = ["x-camara:bh", "camara:bh"];
const QUERY_HASH: [&str; 2] = ["x-camara:qh", "camara:qh"];

/// The verification rules for DPoP proofs.
pub(super) struct DpopRules {
    /// Public URLs of the gateway.
    pub(super) targets: Vec<TargetUri>,
    /// Maximum age of a proof.
    pub(super) age_max: Duration,
    /// Whether a proof must include the hashes of body and query.
    pub(super) require_hashes: bool,
}

/// The request and token that a proof must match.
pub(super) struct DpopContext<'r> {
    /// Digest of the access token.
    pub(super) token: &'r TokenDigest,
    /// The key that the token is bound to.
    pub(super) key: &'r KeyThumbprint,
    /// The request.
    pub(super) request: &'r Request<Bytes>,
}

impl DpopRules {
    /// Verifies a proof.
    pub(super) fn verify(
        &self,
        proof: &str,
        context: &DpopContext<'_>,
        now: Moment,
    ) -> Result<VerifiedProof, ProofError> {
        if proof.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Malformed);
        }
        let (jws, (key, thumbprint)) = Jws::parse_dpop(proof, read_key).map_err(|reason| {
            if reason == InvalidToken::Key { ProofError::Key } else { ProofError::Malformed }
        })?;
        if thumbprint != *context.key {
            return Err(ProofError::KeyMismatch);
        }
        key.verify(&jws).map_err(|_| ProofError::Signature)?;
        let payload = jws.payload().map_err(|_| ProofError::Malformed)?;
        let claims = Claims::parse(&payload).map_err(|_| ProofError::Claims)?;
        let until = self.check_time(&claims, now)?;
        self.check_request(&claims, context)?;
        let id = text(&claims, "jti")?.ok_or(ProofError::Claims)?;
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(ProofError::Claims);
        }
        Ok(VerifiedProof { id: id.into(), until })
    }

    /// Checks the age of the proof and returns its expiry.
    fn check_time(&self, claims: &Claims<'_>, now: Moment) -> Result<Moment, ProofError> {
        let issued = claims.numeric_date("iat").ok().flatten().ok_or(ProofError::Claims)?;
        let until = issued + self.age_max;
        if until < now || issued > now + CLOCK_AHEAD_MAX {
            Err(ProofError::Expired)
        } else {
            Ok(until)
        }
    }

    fn check_request(
        &self,
        claims: &Claims<'_>,
        context: &DpopContext<'_>,
    ) -> Result<(), ProofError> {
        let required = |name: &'static str| text(claims, name)?.ok_or(ProofError::Claims);
        let (method, uri) = (context.request.method(), context.request.uri());
        let named = TargetUri::parse(required("htu")?).ok_or(ProofError::Claims)?;
        let matches = |target: &TargetUri| target.join(uri.path()).as_ref() == Some(&named);
        let is_match = required("htm")? == method.as_str()
            && self.targets.iter().any(matches)
            && required("ath")? == context.token.to_base64url();
        if !is_match {
            return Err(ProofError::Mismatch);
        }
        let (body, query) = (context.request.body(), uri.query());
        self.check_hash(claims, BODY_HASH, body, !body.is_empty())?;
        self.check_hash(claims, QUERY_HASH, query.unwrap_or("").as_bytes(), query.is_some())
    }

    fn check_hash(
        &self,
        claims: &Claims<'_>,
        names: [&'static str; 2],
        value: &[u8],
        is_present: bool,
    ) -> Result<(), ProofError> {
        let mut covered = false;
        for name in names {
            let Some(hash) = text(claims, name)? else { continue };
            if hash != URL_SAFE_NO_PAD.encode(Sha256::digest(value)) {
                return Err(ProofError::Mismatch);
            }
            covered = true;
        }
        if self.require_hashes && is_present && !covered {
            Err(ProofError::Incomplete)
        } else {
            Ok(())
        }
    }
}

fn text<'c>(claims: &'c Claims<'_>, name: &'static str) -> Result<Option<&'c str>, ProofError> {
    claims.text(name).map_err(|_| ProofError::Claims)
}

fn read_key(jwk: &Json<'_>) -> Option<(VerificationKey, KeyThumbprint)> {
    if PRIVATE_MEMBERS.iter().any(|name| jwk.member(name).is_some()) {
        return None;
    }
    Some((VerificationKey::parse(jwk, &ALGORITHMS).ok()?, KeyThumbprint::from_jwk(jwk)?))
}
