//! A refusal with what its `WWW-Authenticate` field says: how else one may ask (RFC 6750 §3,
//! RFC 9449 §7.1).

use http::HeaderMap;

use super::{
    Reason, Unauthenticated,
    bearer::{self, Scheme},
    proof::Means,
};

/// Why a request has no client, and what to try instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Why.
    pub why: Unauthenticated,
    /// The field's value.
    pub challenge: &'static str,
}

const BEARER: &str = "Bearer";
const EITHER: &str = r#"Bearer, DPoP algs="RS256 PS256 ES256 EdDSA""#;
const BAD_TOKEN: &str = r#"DPoP error="invalid_token", algs="RS256 PS256 ES256 EdDSA""#;
const BAD_PROOF: &str = r#"DPoP error="invalid_dpop_proof", algs="RS256 PS256 ES256 EdDSA""#;

impl Refused {
    pub(super) fn new(why: Unauthenticated, headers: &HeaderMap, takes_dpop: bool) -> Self {
        let as_bound = || matches!(bearer::token(headers), Ok((Scheme::Dpop, _)));
        let challenge = match why {
            _ if !takes_dpop => BEARER,
            Unauthenticated::NotProved(Means::Dpop, _) => BAD_PROOF,
            Unauthenticated::Invalid(Reason::Bound | Reason::Unbound) => BAD_TOKEN,
            Unauthenticated::Invalid(_) if as_bound() => BAD_TOKEN,
            Unauthenticated::Invalid(_) | Unauthenticated::NotProved(Means::Pop, _) => BEARER,
            Unauthenticated::Missing
            | Unauthenticated::Malformed
            | Unauthenticated::KeysUnavailable => EITHER,
        };
        Self { why, challenge }
    }
}
