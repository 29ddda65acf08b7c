//! The proof of possession of T-Mobile's DevEdge: a JWT, signed anew for each request, over some of
//! its parts. It shows that who sends the request has the key, and that those parts are as he sent
//! them.
//!
//! Their values are hashed one after the other with nothing between them, so the hash by itself does
//! not say where one ends. What must be covered is therefore asked for here, each part once.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, header};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use sha2::{Digest as _, Sha256};

pub use super::proof::{NotProved, Proof};
use super::{Algorithm, jws::Jws};
use crate::{
    json::{Bounds, Json},
    qod::Moment,
};

/// The path and query, as they stand in the request line.
pub const URI: &str = "uri";
/// The method.
pub const METHOD: &str = "http-method";
/// The body.
pub const BODY: &str = "body";
/// The one version that there is.
pub const VERSION: &str = "1";
/// How long a proof is good for.
pub const LIFETIME_S: u64 = 120;

const LEEWAY_S: u64 = 10;
const PARTS_MAX: usize = 100;
const ID_BYTES_MAX: usize = 128;
const CLAIMS_BOUNDS: Bounds = Bounds { depth_max: 4, members_max: 32, elements_max: 64 };

/// A request, as far as a proof may cover it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path and query, as they came.
    pub target: &'a str,
    /// Its header.
    pub headers: &'a HeaderMap,
    /// Its body, whole.
    pub body: &'a [u8],
}

/// The public key that proofs must be signed with: RSA of 2048 to 8192 bits.
#[derive(Clone, Debug)]
pub struct ProofKey(Vec<u8>);

impl ProofKey {
    /// Reads a public key in PEM (`SubjectPublicKeyInfo`).
    ///
    /// # Errors
    /// What was expected.
    pub fn read(pem: &[u8]) -> Result<Self, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem);
        let key = der.map_err(|_| "expected a public key in PEM")?.as_ref().to_vec();
        let parsed = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key).parse();
        parsed.map_err(|_| "expected an RSA key of 2048 to 8192 bits")?;
        Ok(Self(key))
    }
}

/// The hash of a request's parts, in this order (`edts`).
pub fn digest_of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    values.into_iter().for_each(|value| hash.update(value));
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// Judges a proof.
///
/// # Errors
/// Why it does not hold. A proof is never told back.
pub fn verify(
    token: &str,
    key: &ProofKey,
    request: &Request<'_>,
    now: Moment,
) -> Result<Proof, NotProved> {
    let jws = Jws::parse(token).map_err(|_| NotProved::Form)?;
    if jws.algorithm != Algorithm::RS256 {
        return Err(NotProved::Form);
    }
    let signature = URL_SAFE_NO_PAD.decode(jws.signature()).map_err(|_| NotProved::Signature)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.0)
        .verify(jws.signed(), &signature)
        .map_err(|_| NotProved::Signature)?;
    let payload = jws.payload().map_err(|_| NotProved::Form)?;
    let claims = Json::parse(&payload, &CLAIMS_BOUNDS).map_err(|_| NotProved::Claims)?;
    let text = |name: &str| claims.member(name).and_then(Json::as_str).ok_or(NotProved::Claims);
    let id = text("jti")?;
    if text("v")? != VERSION || id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(NotProved::Claims);
    }
    let until = check_time(&claims, now)?;
    if digest_of(covered(text("ehts")?, request)?) != text("edts")? {
        return Err(NotProved::Changed);
    }
    Ok(Proof { id: id.into(), until })
}

fn check_time(claims: &Json<'_>, now: Moment) -> Result<Moment, NotProved> {
    let time = |name: &str| claims.member(name).and_then(Json::as_u64).ok_or(NotProved::Claims);
    let (issued, expires, now) = (time("iat")?, time("exp")?, now.unix_s());
    let until = expires.saturating_add(LEEWAY_S);
    let sound = issued <= now.saturating_add(LEEWAY_S)
        && now < until
        && issued < expires
        && expires - issued <= LIFETIME_S;
    if sound { Ok(Moment::from_unix_s(until)) } else { Err(NotProved::Time) }
}

/// The values of the parts that a proof names, if those are all that it must name.
fn covered<'a>(names: &str, request: &Request<'a>) -> Result<Vec<&'a [u8]>, NotProved> {
    let names: Vec<String> = names.split(';').map(str::to_ascii_lowercase).collect();
    let has = |name: &str| names.iter().filter(|known| *known == name).count() == 1;
    let authorization = header::AUTHORIZATION.as_str();
    let complete = names.len() <= PARTS_MAX
        && has(URI)
        && has(METHOD)
        && (request.body.is_empty() || has(BODY))
        && (!request.headers.contains_key(authorization) || has(authorization));
    if !complete {
        return Err(NotProved::Parts);
    }
    names.iter().map(|name| value_of(name, request).ok_or(NotProved::Parts)).collect()
}

fn value_of<'a>(name: &str, request: &Request<'a>) -> Option<&'a [u8]> {
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
