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
const INVALID_BEARER: &str = r#"Bearer error="invalid_token""#;
const INVALID_BEARER_OR_DPOP: &str =
    r#"Bearer error="invalid_token", DPoP algs="RS256 PS256 ES256 EdDSA""#;
const INVALID_DPOP: &str = r#"DPoP error="invalid_token", algs="RS256 PS256 ES256 EdDSA""#;
const INVALID_PROOF: &str = r#"DPoP error="invalid_dpop_proof", algs="RS256 PS256 ES256 EdDSA""#;

impl AuthRejection {
    pub(super) fn new(why: Unauthenticated, headers: &HeaderMap, takes_dpop: bool) -> Self {
        let is_dpop = takes_dpop && bearer::scheme(headers) == Some(Scheme::Dpop);
        let invalid_bearer = if takes_dpop { INVALID_BEARER_OR_DPOP } else { INVALID_BEARER };
        let challenge = match why {
            Unauthenticated::InvalidProof(ProofMethod::Dpop, _) if takes_dpop => INVALID_PROOF,
            Unauthenticated::Invalid(InvalidToken::Bound | InvalidToken::Unbound) if takes_dpop => {
                INVALID_DPOP
            }
            Unauthenticated::Malformed | Unauthenticated::Invalid(_) if is_dpop => INVALID_DPOP,
            Unauthenticated::Malformed | Unauthenticated::Invalid(_) => invalid_bearer,
            // Without an access token, a challenge has no error code (RFC 6750 §3.1).
            Unauthenticated::Missing | Unauthenticated::KeysUnavailable if takes_dpop => {
                BEARER_OR_DPOP
            }
            // The token itself is valid if only its proof is not.
            Unauthenticated::Missing
            | Unauthenticated::KeysUnavailable
            | Unauthenticated::InvalidProof(..) => BEARER,
        };
        Self { why, challenge }
    }
}

/// Returns the challenge for a token without the required scope (RFC 6750 §3.1, RFC 9449 §7.1).
pub fn insufficient_scope_challenge(scheme: &str, scope: &str) -> String {
    // Scope tokens have no characters that a quoted string escapes (RFC 6749 §3.3).
    format!(r#"{scheme} error="insufficient_scope", scope="{scope}""#)
}
