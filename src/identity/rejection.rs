//! An authentication failure with its `WWW-Authenticate` challenge (RFC 6750 §3, RFC 9449 §7.1).

use http::HeaderMap;

use super::{
    InvalidToken, Unauthenticated,
    bearer::{self, Scheme},
    proof::ProofMethod,
};

/// A failed authentication and the challenge for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct AuthRejection {
    /// The reason.
    pub why: Unauthenticated,
    /// The value of `WWW-Authenticate`.
    pub challenge: &'static str,
}

const BEARER: &str = "Bearer";
const BEARER_OR_DPOP: &str = r#"Bearer, DPoP algs="RS256 PS256 ES256 EdDSA""#;
const INVALID_TOKEN: &str = r#"DPoP error="invalid_token", algs="RS256 PS256 ES256 EdDSA""#;
const INVALID_PROOF: &str = r#"DPoP error="invalid_dpop_proof", algs="RS256 PS256 ES256 EdDSA""#;

impl AuthRejection {
    pub(super) fn new(why: Unauthenticated, headers: &HeaderMap, takes_dpop: bool) -> Self {
        let is_dpop = || matches!(bearer::token(headers), Ok((Scheme::Dpop, _)));
        let challenge = match why {
            _ if !takes_dpop => BEARER,
            Unauthenticated::InvalidProof(ProofMethod::Dpop, _) => INVALID_PROOF,
            Unauthenticated::Invalid(InvalidToken::Bound | InvalidToken::Unbound) => INVALID_TOKEN,
            Unauthenticated::Invalid(_) if is_dpop() => INVALID_TOKEN,
            Unauthenticated::Invalid(_) | Unauthenticated::InvalidProof(ProofMethod::Pop, _) => {
                BEARER
            }
            Unauthenticated::Missing
            | Unauthenticated::Malformed
            | Unauthenticated::KeysUnavailable => BEARER_OR_DPOP,
        };
        Self { why, challenge }
    }
}
