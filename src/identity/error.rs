//! Why a request is not authenticated: details for logs and metrics, little for callers.

use super::{ProofError, ProofMethod};

/// Why a request is not authenticated. The `Display` text is safe for callers: it states only
/// whether the token was missing, malformed, expired or invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// The request has no access token.
    #[error("no access token; expected Authorization: Bearer <token>")]
    Missing,
    /// The request does not have exactly one well-formed access token.
    #[error("the access token is malformed")]
    Malformed,
    /// The token is not valid.
    #[error("the access token {}", .0.describe())]
    Invalid(InvalidToken),
    /// The proof of possession is missing or not valid.
    #[error("the proof of possession {}", .1.describe())]
    InvalidProof(ProofMethod, ProofError),
    /// The issuer's keys are unavailable or outdated, or introspection failed.
    #[error("access tokens cannot be verified temporarily")]
    KeysUnavailable,
}

/// Why a token is not valid. For logs and metrics only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InvalidToken {
    /// It is not a signed JWT.
    Format,
    /// Its header has an unsupported critical field, or declares a nested token.
    CriticalHeader,
    /// It is not an access token.
    Type,
    /// Its algorithm is not allowed for the issuer or for the key.
    Algorithm,
    /// None or several of the issuer's keys match.
    Key,
    /// Its issuer is not trusted.
    Issuer,
    /// Its signature is wrong.
    Signature,
    /// This required claim is missing.
    ClaimMissing(&'static str),
    /// This claim is of the wrong type or has an invalid value.
    ClaimInvalid(&'static str),
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// Its audience is not this gateway.
    Audience,
    /// It is sender-constrained (`cnf`), but the request does not match the confirmation, or the
    /// confirmation method is not supported.
    Bound,
    /// It is not sender-constrained, but must be, or the request has a proof for it.
    Unbound,
    /// It has no valid client id.
    Client,
    /// Its issuer reports it as inactive.
    Inactive,
}

impl Unauthenticated {
    /// Returns the name for logs and metrics. It is more detailed than what callers may see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Invalid(reason) => reason.name(),
            Self::InvalidProof(..) => "invalid_proof",
            Self::KeysUnavailable => "keys_unavailable",
        }
    }
}

impl InvalidToken {
    const fn describe(self) -> &'static str {
        match self {
            Self::Expired => "has expired",
            Self::Bound => {
                "is sender-constrained, but no matching proof of possession was presented"
            }
            Self::Unbound => "is not sender-constrained",
            _ => "is not valid",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::CriticalHeader => "critical",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::ClaimMissing(_) => "claim_missing",
            Self::ClaimInvalid(_) => "claim_invalid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Audience => "audience",
            Self::Bound => "bound",
            Self::Unbound => "unbound",
            Self::Client => "client",
            Self::Inactive => "inactive",
        }
    }
}

impl From<InvalidToken> for Unauthenticated {
    fn from(reason: InvalidToken) -> Self {
        Self::Invalid(reason)
    }
}
