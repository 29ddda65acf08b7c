//! An issuer's JWK Set (RFC 7517), of which only keys are kept that may verify a token. One odd
//! key does not spoil its neighbours.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, crypto};

use super::{Algorithm, Reason, jws::Jws};
use crate::json::{Bounds, Json};

#[cfg(test)]
mod tests;

/// The largest set that is read.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

const KEYS_MAX: usize = 64;
const KID_BYTES_MAX: usize = 256;
const BOUNDS: Bounds = Bounds { depth_max: 8, members_max: 64, elements_max: 16 * 1024 };
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA_EXPONENT_BYTES_MAX: usize = 4;
const COORDINATE_BYTES: usize = 32;

/// The keys that may verify.
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    /// The place and fault of every key that may not.
    pub(super) ignored: Vec<(usize, Ignored)>,
}

/// A key that may verify, and what with.
pub(super) struct Key {
    kid: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    material: DecodingKey,
}

/// A text is no JWK Set with a key in it that may verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKeys {
    #[error("more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not a JWK Set: expected an object with an array `keys`")]
    NotASet,
    #[error("no key can be used{0}")]
    NoneUsable(String),
}

/// Why a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ignored {
    #[error("a member is missing or of the wrong type")]
    Member,
    #[error("its use is not sig")]
    Use,
    #[error("its key_ops are without verify")]
    KeyOps,
    #[error("its kty is not RSA, EC or OKP")]
    KeyType,
    #[error("its curve is not P-256 or Ed25519")]
    Curve,
    #[error("its algorithm is not allowed, or not its type's")]
    Algorithm,
    #[error("its modulus is even, or not of 2048 to 8192 bits")]
    Modulus,
    #[error("its exponent is even, less than 3 or of more than 32 bits")]
    Exponent,
    #[error("its coordinates are not of 32 bytes")]
    Coordinate,
    #[error("it is a private key, and no secret any more")]
    Private,
    #[error("another key has its kid")]
    DuplicateKid,
    #[error("it comes after {KEYS_MAX} others")]
    TooMany,
}

/// No key in a set verifies a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None is named so, or none is of the kind: a newer set may have it.
    Unknown,
    /// No set can make it good.
    Unfit(Reason),
}

impl KeySet {
    /// Reads a set, for an issuer that may sign with these algorithms.
    pub(super) fn read(body: &[u8], allowed: &[Algorithm]) -> Result<Self, NoKeys> {
        if body.len() > BODY_BYTES_MAX {
            return Err(NoKeys::TooLarge);
        }
        let set = Json::parse(body, &BOUNDS).map_err(|fault| NoKeys::NotJson(fault.reason))?;
        let Some(Json::Array(entries)) = set.member("keys") else { return Err(NoKeys::NotASet) };
        let mut keys = Vec::new();
        let mut ignored = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            match Key::read(entry, allowed) {
                Ok(_) if keys.len() == KEYS_MAX => ignored.push((place, Ignored::TooMany)),
                Ok(key) => keys.push((place, Arc::new(key))),
                Err(reason) => ignored.push((place, reason)),
            }
        }
        // A name that two keys share names neither. Were the first taken, the order of the set
        // would decide; were both tried, one of them would be believed under the other's name.
        let kids: Vec<_> = keys.iter().map(|(_, key)| key.kid.clone()).collect();
        keys.retain(|(place, key)| {
            let alone =
                key.kid.is_none() || kids.iter().filter(|&kid| *kid == key.kid).count() == 1;
            if !alone {
                ignored.push((*place, Ignored::DuplicateKid));
            }
            alone
        });
        if keys.is_empty() {
            return Err(NoKeys::NoneUsable(
                ignored.first().map(|(_, reason)| format!(": {reason}")).unwrap_or_default(),
            ));
        }
        Ok(Self { keys: keys.into_iter().map(|(_, key)| key).collect(), ignored })
    }

    /// The one key that has to verify this token.
    pub(super) fn find(&self, jws: &Jws<'_>) -> Result<&Arc<Key>, NoKey> {
        let fits = |key: &&Arc<Key>| key.algorithms.contains(&jws.algorithm);
        if jws.kid.is_some() {
            let named = self.keys.iter().find(|key| key.kid == jws.kid).ok_or(NoKey::Unknown)?;
            return Some(named).filter(fits).ok_or(NoKey::Unfit(Reason::Algorithm));
        }
        let mut fitting = self.keys.iter().filter(fits);
        let key = fitting.next().ok_or(NoKey::Unknown)?;
        if fitting.next().is_some() { Err(NoKey::Unfit(Reason::Key)) } else { Ok(key) }
    }
}

impl Key {
    /// Reads a key that may sign with these algorithms.
    pub(super) fn read(jwk: &Json<'_>, allowed: &[Algorithm]) -> Result<Self, Ignored> {
        if jwk.member("d").is_some() || jwk.member("k").is_some() {
            return Err(Ignored::Private);
        }
        if optional_text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(Ignored::Use);
        }
        if let Some(operations) = jwk.member("key_ops") {
            let verifies = |operation: &Json<'_>| operation.as_str() == Some("verify");
            if !operations.elements().iter().any(verifies) {
                return Err(Ignored::KeyOps);
            }
        }
        let (possible, material): (&[Algorithm], _) = match text(jwk, "kty")? {
            "RSA" => (&[Algorithm::RS256, Algorithm::PS256], read_rsa(jwk)?),
            "EC" => (&[Algorithm::ES256], read_p256(jwk)?),
            "OKP" => (&[Algorithm::EdDSA], read_ed25519(jwk)?),
            _ => return Err(Ignored::KeyType),
        };
        let pinned = optional_text(jwk, "alg")?;
        let algorithms: Vec<_> = possible
            .iter()
            .filter(|algorithm| allowed.contains(algorithm))
            .filter(|algorithm| pinned.is_none_or(|pinned| pinned == algorithm.name()))
            .copied()
            .collect();
        if algorithms.is_empty() {
            return Err(Ignored::Algorithm);
        }
        let kid = optional_text(jwk, "kid")?;
        if kid.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(Ignored::Member);
        }
        Ok(Self { kid: kid.map(Into::into), algorithms, material })
    }

    /// Checks a token's signature, with an algorithm that is this key's.
    pub(super) fn verify(&self, jws: &Jws<'_>) -> Result<(), Reason> {
        if !self.algorithms.contains(&jws.algorithm) {
            return Err(Reason::Algorithm);
        }
        let algorithm = jws.algorithm.of_crate();
        match crypto::verify(jws.signature(), jws.signed(), &self.material, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Reason::Signature),
        }
    }
}

fn read_rsa(jwk: &Json<'_>) -> Result<DecodingKey, Ignored> {
    let modulus = bytes(jwk, "n")?;
    let modulus = without_leading_zeros(&modulus);
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - zeros_before(*first));
    if !RSA_BITS.contains(&bits) || !is_odd(modulus) {
        return Err(Ignored::Modulus);
    }
    let exponent = bytes(jwk, "e")?;
    let exponent = without_leading_zeros(&exponent);
    if exponent.len() > RSA_EXPONENT_BYTES_MAX || !is_odd(exponent) || exponent == [1] {
        return Err(Ignored::Exponent);
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// Whether the point is on the curve is seen when it verifies: off it, nothing does.
fn read_p256(jwk: &Json<'_>) -> Result<DecodingKey, Ignored> {
    if text(jwk, "crv")? != "P-256" {
        return Err(Ignored::Curve);
    }
    let (x, y) = (coordinate(jwk, "x")?, coordinate(jwk, "y")?);
    DecodingKey::from_ec_components(x, y).map_err(|_| Ignored::Coordinate)
}

fn read_ed25519(jwk: &Json<'_>) -> Result<DecodingKey, Ignored> {
    if text(jwk, "crv")? != "Ed25519" {
        return Err(Ignored::Curve);
    }
    DecodingKey::from_ed_components(coordinate(jwk, "x")?).map_err(|_| Ignored::Coordinate)
}

fn coordinate<'a>(jwk: &'a Json<'_>, name: &str) -> Result<&'a str, Ignored> {
    if bytes(jwk, name)?.len() == COORDINATE_BYTES {
        text(jwk, name)
    } else {
        Err(Ignored::Coordinate)
    }
}

fn bytes(jwk: &Json<'_>, name: &str) -> Result<Vec<u8>, Ignored> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| Ignored::Member)
}

fn text<'a>(jwk: &'a Json<'_>, name: &str) -> Result<&'a str, Ignored> {
    optional_text(jwk, name)?.ok_or(Ignored::Member)
}

fn optional_text<'a>(jwk: &'a Json<'_>, name: &str) -> Result<Option<&'a str>, Ignored> {
    jwk.member(name).map(|member| member.as_str().ok_or(Ignored::Member)).transpose()
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn zeros_before(byte: u8) -> usize {
    usize::try_from(byte.leading_zeros()).unwrap_or_default()
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}
