//! Parses an issuer's JWK Set (RFC 7517). Only keys that may verify a token are used; an unusable
//! key does not invalidate the set.

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{InvalidToken, SignatureAlgorithm, jws::Jws};
use crate::json::{Json, JsonLimits};

#[cfg(test)]
mod tests;

/// Maximum size of a JWK Set.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

const KEYS_MAX: usize = 512;
/// Maximum number of ignored keys that are reported.
const IGNORED_MAX: usize = 20;
const KID_BYTES_MAX: usize = 256;
const BOUNDS: JsonLimits = JsonLimits { depth_max: 8, members_max: 64, elements_max: 64 * 1024 };
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA_EXPONENT_BYTES_MAX: usize = 4;
const COORDINATE_BYTES: usize = 32;

/// The usable keys of a JWK Set.
pub(super) struct KeySet {
    keys: Vec<Arc<VerificationKey>>,
    /// Index and reason of the first ignored keys.
    pub(super) ignored: Vec<(usize, IgnoredKey)>,
}

/// A key, parsed once for each of its allowed algorithms: parsing costs as much as half a verification.
pub(super) struct VerificationKey {
    kid: Option<Box<str>>,
    algorithms: Vec<(SignatureAlgorithm, ParsedPublicKey)>,
}

// A public key before its algorithms are known.
enum KeyMaterial {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    // An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A document is not a JWK Set with at least one usable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not JSON: {0}")]
    NotJson(String),
    #[error("not a JWK Set: expected an object with an array `keys`")]
    NotASet,
    #[error("more than {KEYS_MAX} usable keys")]
    TooManyKeys,
    #[error("no usable key{0}")]
    NoneUsable(String),
}

/// Why a key is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IgnoredKey {
    #[error("a member is missing or of the wrong type")]
    Member,
    #[error("`use` is not `sig`")]
    Use,
    #[error("`key_ops` does not include `verify`")]
    KeyOps,
    #[error("`kty` is not RSA, EC or OKP")]
    KeyType,
    #[error("`crv` is not P-256 or Ed25519")]
    Curve,
    #[error("`alg` is not allowed or does not match `kty`")]
    Algorithm,
    #[error("the modulus is even, or not of 2048 to 8192 bits")]
    Modulus,
    #[error("the exponent is even, less than 3 or longer than 32 bits")]
    Exponent,
    #[error("a coordinate is not 32 bytes long")]
    Coordinate,
    #[error("the key is private or symmetric and has been published")]
    Private,
    #[error("another key has the same `kid`")]
    DuplicateKid,
}

/// No key in the set can verify a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyLookupError {
    /// No key has this `kid` or type. A newer set may include it.
    Unknown,
    /// The token cannot be verified by any set.
    Unusable(InvalidToken),
}

impl KeySet {
    /// Parses a set for an issuer with these allowed algorithms.
    pub(super) fn parse(body: &[u8], allowed: &[SignatureAlgorithm]) -> Result<Self, KeySetError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let set = Json::parse_case_sensitive(body, &BOUNDS)
            .map_err(|error| KeySetError::NotJson(error.reason))?;
        let Some(Json::Array(entries)) = set.member("keys") else {
            return Err(KeySetError::NotASet);
        };
        let mut keys = Vec::new();
        let mut ignored = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match VerificationKey::parse(entry, allowed) {
                // Rejected as a whole: otherwise, the order would decide which keys are used.
                Ok(_) if keys.len() == KEYS_MAX => return Err(KeySetError::TooManyKeys),
                Ok(key) => keys.push((index, Arc::new(key))),
                Err(reason) => ignored.push((index, reason)),
            }
        }
        // Two keys with the same `kid` are both ignored. Using the first would depend on the order
        // of the set; trying both would let one key verify tokens of the other.
        let kids: Vec<_> = keys.iter().map(|(_, key)| key.kid.clone()).collect();
        keys.retain(|(index, key)| {
            let is_unique =
                key.kid.is_none() || kids.iter().filter(|&kid| *kid == key.kid).count() == 1;
            if !is_unique {
                ignored.push((*index, IgnoredKey::DuplicateKid));
            }
            is_unique
        });
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(
                ignored.first().map(|(_, reason)| format!(": {reason}")).unwrap_or_default(),
            ));
        }
        ignored.truncate(IGNORED_MAX);
        Ok(Self { keys: keys.into_iter().map(|(_, key)| key).collect(), ignored })
    }

    /// Returns the key that must verify this token.
    /// The number of usable keys.
    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn find(&self, jws: &Jws<'_>) -> Result<&Arc<VerificationKey>, KeyLookupError> {
        let fits = |key: &&Arc<VerificationKey>| key.key_for(jws.algorithm).is_some();
        if jws.kid.is_some() {
            let named =
                self.keys.iter().find(|key| key.kid == jws.kid).ok_or(KeyLookupError::Unknown)?;
            return Some(named)
                .filter(fits)
                .ok_or(KeyLookupError::Unusable(InvalidToken::Algorithm));
        }
        let mut fitting = self.keys.iter().filter(fits);
        let key = fitting.next().ok_or(KeyLookupError::Unknown)?;
        if fitting.next().is_some() {
            Err(KeyLookupError::Unusable(InvalidToken::Key))
        } else {
            Ok(key)
        }
    }
}

impl VerificationKey {
    /// Parses a key for an issuer with these allowed algorithms.
    pub(super) fn parse(
        jwk: &Json<'_>,
        allowed: &[SignatureAlgorithm],
    ) -> Result<Self, IgnoredKey> {
        if jwk.member("d").is_some() || jwk.member("k").is_some() {
            return Err(IgnoredKey::Private);
        }
        if optional_text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(IgnoredKey::Use);
        }
        if let Some(operations) = jwk.member("key_ops") {
            let verifies = |operation: &Json<'_>| operation.as_str() == Some("verify");
            if !operations.elements().iter().any(verifies) {
                return Err(IgnoredKey::KeyOps);
            }
        }
        let material = match text(jwk, "kty")? {
            "RSA" => read_rsa(jwk)?,
            "EC" => read_p256(jwk)?,
            "OKP" => read_ed25519(jwk)?,
            _ => return Err(IgnoredKey::KeyType),
        };
        let pinned = optional_text(jwk, "alg")?;
        let algorithms: Vec<_> = allowed
            .iter()
            .filter(|algorithm| pinned.is_none_or(|pinned| pinned == algorithm.name()))
            .filter_map(|algorithm| Some((*algorithm, material.key_for(*algorithm)?)))
            .map(|(algorithm, key)| key.map(|key| (algorithm, key)))
            .collect::<Result<_, _>>()?;
        if algorithms.is_empty() {
            return Err(IgnoredKey::Algorithm);
        }
        let kid = optional_text(jwk, "kid")?;
        if kid.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(IgnoredKey::Member);
        }
        Ok(Self { kid: kid.map(Into::into), algorithms })
    }

    /// Verifies a token's signature. The token's algorithm must be allowed for this key.
    pub(super) fn verify(&self, jws: &Jws<'_>) -> Result<(), InvalidToken> {
        let key = self.key_for(jws.algorithm).ok_or(InvalidToken::Algorithm)?;
        let signature = URL_SAFE_NO_PAD.decode(jws.signature());
        let signature = signature.map_err(|_| InvalidToken::Signature)?;
        key.verify_sig(jws.signing_input(), &signature).map_err(|_| InvalidToken::Signature)
    }

    fn key_for(&self, algorithm: SignatureAlgorithm) -> Option<&ParsedPublicKey> {
        self.algorithms.iter().find(|(allowed, _)| *allowed == algorithm).map(|(_, key)| key)
    }
}

impl KeyMaterial {
    // The key for an algorithm; `None` if the key is not of its type. A point must be on its curve.
    fn key_for(
        &self,
        algorithm: SignatureAlgorithm,
    ) -> Option<Result<ParsedPublicKey, IgnoredKey>> {
        Some(match (self, algorithm) {
            (Self::Rsa(components), SignatureAlgorithm::RS256) => {
                parse_rsa(components, &RSA_PKCS1_2048_8192_SHA256)
            }
            (Self::Rsa(components), SignatureAlgorithm::PS256) => {
                parse_rsa(components, &RSA_PSS_2048_8192_SHA256)
            }
            (Self::P256(point), SignatureAlgorithm::ES256) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .map_err(|_| IgnoredKey::Coordinate)
            }
            (Self::Ed25519(point), SignatureAlgorithm::EdDSA) => {
                ParsedPublicKey::new(&ED25519, point).map_err(|_| IgnoredKey::Coordinate)
            }
            _ => return None,
        })
    }
}

fn parse_rsa(
    components: &RsaPublicKeyComponents<Vec<u8>>,
    padding: &'static RsaParameters,
) -> Result<ParsedPublicKey, IgnoredKey> {
    components.to_parsed_public_key(padding).map_err(|_| IgnoredKey::Modulus)
}

fn read_rsa(jwk: &Json<'_>) -> Result<KeyMaterial, IgnoredKey> {
    let modulus = bytes(jwk, "n")?;
    let modulus = without_leading_zeros(&modulus);
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - leading_zeros(*first));
    if !RSA_BITS.contains(&bits) || !is_odd(modulus) {
        return Err(IgnoredKey::Modulus);
    }
    let exponent = bytes(jwk, "e")?;
    let exponent = without_leading_zeros(&exponent);
    if exponent.len() > RSA_EXPONENT_BYTES_MAX || !is_odd(exponent) || exponent == [1] {
        return Err(IgnoredKey::Exponent);
    }
    Ok(KeyMaterial::Rsa(RsaPublicKeyComponents { n: modulus.to_vec(), e: exponent.to_vec() }))
}

fn read_p256(jwk: &Json<'_>) -> Result<KeyMaterial, IgnoredKey> {
    if text(jwk, "crv")? != "P-256" {
        return Err(IgnoredKey::Curve);
    }
    Ok(KeyMaterial::P256([&[4], &*coordinate(jwk, "x")?, &*coordinate(jwk, "y")?].concat()))
}

fn read_ed25519(jwk: &Json<'_>) -> Result<KeyMaterial, IgnoredKey> {
    if text(jwk, "crv")? != "Ed25519" {
        return Err(IgnoredKey::Curve);
    }
    Ok(KeyMaterial::Ed25519(coordinate(jwk, "x")?))
}

fn coordinate(jwk: &Json<'_>, name: &str) -> Result<Vec<u8>, IgnoredKey> {
    let coordinate = bytes(jwk, name)?;
    if coordinate.len() == COORDINATE_BYTES { Ok(coordinate) } else { Err(IgnoredKey::Coordinate) }
}

fn bytes(jwk: &Json<'_>, name: &str) -> Result<Vec<u8>, IgnoredKey> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).map_err(|_| IgnoredKey::Member)
}

fn text<'a>(jwk: &'a Json<'_>, name: &str) -> Result<&'a str, IgnoredKey> {
    optional_text(jwk, name)?.ok_or(IgnoredKey::Member)
}

fn optional_text<'a>(jwk: &'a Json<'_>, name: &str) -> Result<Option<&'a str>, IgnoredKey> {
    jwk.member(name).map(|member| member.as_str().ok_or(IgnoredKey::Member)).transpose()
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn leading_zeros(byte: u8) -> usize {
    usize::try_from(byte.leading_zeros()).unwrap_or_default()
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}
