//! Verifies the proof of possession of T-Mobile's DevEdge: a JWT, signed for each request, over
//! some of its parts. It proves that the sender has the key and that those parts are unchanged.
//!
//! The values are concatenated without separators before hashing, so the hash alone does not define
//! their boundaries. Therefore each required part must be listed exactly once.

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, header};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use sha2::{Digest as _, Sha256};

pub use super::proof::{ProofError, VerifiedProof};
use super::{SignatureAlgorithm, jws::Jws};
use crate::{
    json::{Json, JsonLimits},
    qod::Moment,
};

/// Name of the request target: path and query, as in the request line.
pub const URI: &str = "uri";
/// Name of the method.
pub const METHOD: &str = "http-method";
/// Name of the body.
pub const BODY: &str = "body";
/// The only supported version.
pub const VERSION: &str = "1";
/// Maximum lifetime of a proof, in seconds.
pub const LIFETIME_S: u64 = 120;

const LEEWAY_S: u64 = 10;
const PARTS_MAX: usize = 100;
const ID_BYTES_MAX: usize = 128;
const CLAIMS_BOUNDS: JsonLimits = JsonLimits { depth_max: 4, members_max: 32, elements_max: 64 };

/// The parts of a request that a proof can cover.
#[derive(Clone, Copy, Debug)]
pub struct PopRequest<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path and query, as received.
    pub target: &'a str,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its complete body.
    pub body: &'a [u8],
}

/// The public key that verifies proofs: RSA of 2048 to 8192 bits.
#[derive(Clone, Debug)]
pub struct ProofKey(ParsedPublicKey);

impl ProofKey {
    /// Parses a PEM public key (`SubjectPublicKeyInfo`).
    ///
    /// # Errors
    /// A message with the expected format.
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem);
        let key = der.map_err(|_| "expected a public key in PEM")?;
        let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key);
        parsed.map(Self).map_err(|_| "expected an RSA key of 2048 to 8192 bits")
    }
}

/// Returns the hash of a request's parts in this order (`edts`).
pub fn digest<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    values.into_iter().for_each(|value| hash.update(value));
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// Verifies a proof.
///
/// # Errors
/// Why the proof is not valid. The error never contains the proof.
pub fn verify(
    token: &str,
    key: &ProofKey,
    request: &PopRequest<'_>,
    now: Moment,
) -> Result<VerifiedProof, ProofError> {
    let jws = Jws::parse(token).map_err(|_| ProofError::Malformed)?;
    if jws.algorithm != SignatureAlgorithm::RS256 {
        return Err(ProofError::Malformed);
    }
    let signature = URL_SAFE_NO_PAD.decode(jws.signature()).map_err(|_| ProofError::Signature)?;
    key.0.verify_sig(jws.signing_input(), &signature).map_err(|_| ProofError::Signature)?;
    let payload = jws.payload().map_err(|_| ProofError::Malformed)?;
    let claims =
        Json::parse_case_sensitive(&payload, &CLAIMS_BOUNDS).map_err(|_| ProofError::Claims)?;
    let text = |name: &str| claims.member(name).and_then(Json::as_str).ok_or(ProofError::Claims);
    let id = text("jti")?;
    if text("v")? != VERSION || id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(ProofError::Claims);
    }
    let until = check_time(&claims, now)?;
    if digest(covered_values(text("ehts")?, request)?) != text("edts")? {
        return Err(ProofError::Mismatch);
    }
    Ok(VerifiedProof { id: id.into(), until })
}

fn check_time(claims: &Json<'_>, now: Moment) -> Result<Moment, ProofError> {
    let time = |name: &str| claims.member(name).and_then(Json::as_u64).ok_or(ProofError::Claims);
    let (issued, expires, now) = (time("iat")?, time("exp")?, now.unix_s());
    let until = expires.saturating_add(LEEWAY_S);
    let is_valid = issued <= now.saturating_add(LEEWAY_S)
        && now < until
        && issued < expires
        && expires - issued <= LIFETIME_S;
    if is_valid { Ok(Moment::from_unix_s(until)) } else { Err(ProofError::Expired) }
}

/// Returns the values of the parts that a proof lists, if it lists all required parts.
fn covered_values<'a>(names: &str, request: &PopRequest<'a>) -> Result<Vec<&'a [u8]>, ProofError> {
    let names: Vec<String> = names.split(';').map(str::to_ascii_lowercase).collect();
    let has = |name: &str| names.iter().filter(|known| *known == name).count() == 1;
    let authorization = header::AUTHORIZATION.as_str();
    let complete = names.len() <= PARTS_MAX
        && has(URI)
        && has(METHOD)
        && (request.body.is_empty() || has(BODY))
        && (!request.headers.contains_key(authorization) || has(authorization));
    if !complete {
        return Err(ProofError::Incomplete);
    }
    names.iter().map(|name| value_of(name, request).ok_or(ProofError::Incomplete)).collect()
}

fn value_of<'a>(name: &str, request: &PopRequest<'a>) -> Option<&'a [u8]> {
    match name {
        URI => Some(request.target.as_bytes()),
        METHOD => Some(request.method.as_str().as_bytes()),
        BODY => Some(request.body),
        name => {
            let mut values = request.headers.get_all(name).iter();
            let value = values.next().filter(|_| values.next().is_none());
            value.map(HeaderValue::as_bytes)
        }
    }
}

#[cfg(test)]
mod tests;
