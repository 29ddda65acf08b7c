//! Estimates from the header of a request whether its token is valid, without verifying it.

use http::HeaderMap;

use super::{Authenticator, InvalidToken, bearer, cache::TokenDigest, claims::Claims, jws::Jws};
use crate::service::CallerStanding;

impl Authenticator {
    /// Estimates whether the token of a request is valid. Neither verifies a signature nor calls an issuer.
    pub fn standing(&self, headers: &HeaderMap) -> CallerStanding {
        let Ok((_, token)) = bearer::token(headers) else { return CallerStanding::Unknown };
        let digest = TokenDigest::from_token(token);
        if self.cached_client(&digest).is_some() {
            return CallerStanding::Verified;
        }
        // Mock tokens are no secrets.
        let is_plausible = self.mock_tokens.find(&digest).is_some()
            || self.introspector.as_ref().is_some_and(|issuer| issuer.accepts(token))
            || self.claims_trusted_issuer(token).unwrap_or(false);
        if is_plausible { CallerStanding::Claimed } else { CallerStanding::Unknown }
    }

    fn claims_trusted_issuer(&self, token: &str) -> Result<bool, InvalidToken> {
        let payload = Jws::parse(token)?.payload()?;
        let claims = Claims::parse(&payload)?;
        Ok(self.trusts(claims.issuer()?))
    }
}
