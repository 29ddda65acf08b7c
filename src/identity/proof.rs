//! The result of verifying a proof of possession, common to DPoP and DevEdge proofs.

use crate::qod::Moment;

/// A verified proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedProof {
    /// Its id (`jti`). The caller must reject an id that was used before.
    pub id: Box<str>,
    /// Expiry: the id must be remembered until then.
    pub until: Moment,
}

/// Why a proof of possession is missing or not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProofError {
    /// There is none, or there are several.
    #[error("expected exactly one proof")]
    Missing,
    /// It is not a signed JWT of the expected type and algorithm.
    #[error("not a JWT of the expected type and algorithm")]
    Malformed,
    /// Its key is missing, unsupported, or a private key.
    #[error("the key is not a supported public key")]
    Key,
    /// The token is bound to another key.
    #[error("the key is not the key that the token is bound to")]
    KeyMismatch,
    /// The signature is not valid for the key.
    #[error("the signature is not valid")]
    Signature,
    /// A claim is missing or of another type.
    #[error("a claim is missing or not valid")]
    Claims,
    /// It has expired, is not valid yet, or its lifetime is too long.
    #[error("`iat` or `exp` is outside the accepted window")]
    Expired,
    /// It does not cover all required parts, or it lists a part that the request does not have.
    #[error("it does not cover all required parts of the request")]
    Incomplete,
    /// The request or token differs from the signed one.
    #[error("it does not match the request or the token")]
    Mismatch,
    /// It was used before.
    #[error("it was used before")]
    Replayed,
    /// DPoP is not configured, so no token that is bound to a key can be used.
    #[error("DPoP is not configured")]
    NotConfigured,
    /// The replay cache is full, so the proof cannot be accepted.
    #[error("the replay cache is full")]
    ReplayCacheFull,
    /// The database of used proofs does not answer.
    #[error("the database of used proofs does not answer")]
    ReplayCheckUnavailable,
}

/// A method to prove possession of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProofMethod {
    /// DPoP (RFC 9449), with the key that the token is bound to.
    Dpop,
    /// T-Mobile DevEdge, with the client's configured public key.
    Pop,
}

impl ProofError {
    /// Returns the text for the client, which follows "the proof of possession".
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::Missing => "is missing, or there are several",
            Self::Expired => "is outside its validity period",
            Self::Mismatch => "does not match the request or the token",
            Self::Incomplete => "does not cover all required parts of the request",
            Self::Replayed => "was used before",
            Self::NotConfigured => "cannot be verified: DPoP is not configured",
            Self::ReplayCacheFull | Self::ReplayCheckUnavailable => {
                "cannot be accepted temporarily"
            }
            Self::Malformed | Self::Key | Self::KeyMismatch | Self::Signature | Self::Claims => {
                "is not valid"
            }
        }
    }

    /// Returns the name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Key => "key",
            Self::KeyMismatch => "key_mismatch",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::Incomplete => "incomplete",
            Self::Mismatch => "mismatch",
            Self::Replayed => "replayed",
            Self::NotConfigured => "not_configured",
            Self::ReplayCacheFull => "replay_cache_full",
            Self::ReplayCheckUnavailable => "replay_check_unavailable",
        }
    }
}

impl ProofMethod {
    /// Returns the name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dpop => "dpop",
            Self::Pop => "pop",
        }
    }
}
