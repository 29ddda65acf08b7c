//! Fixed tokens for tests against simulated operators.

use super::{AuthenticatedClient, MockToken, TokenDigest, bearer, binding::Binding};

pub(super) struct MockTokens(Vec<(TokenDigest, AuthenticatedClient)>);

impl MockTokens {
    /// Validates the tokens. Error messages never contain a token.
    pub(super) fn new(settings: Vec<MockToken>) -> Result<Self, String> {
        let mut tokens: Vec<(TokenDigest, AuthenticatedClient)> =
            Vec::with_capacity(settings.len());
        for MockToken { token, client, scopes } in settings {
            if !bearer::is_token68(token.reveal()) {
                return Err(format!("the token of {client} is not a valid bearer token"));
            }
            let digest = TokenDigest::from_token(token.reveal());
            if tokens.iter().any(|(other, _)| other.constant_time_eq(&digest)) {
                return Err(format!("the token of {client} is also the token of another client"));
            }
            let scopes = scopes.into_iter().map(String::into_boxed_str).collect();
            tokens.push((
                digest,
                AuthenticatedClient::new(client, scopes, None, true, Binding::default()),
            ));
        }
        Ok(Self(tokens))
    }

    /// Returns the client of a token. All tokens are compared, so that the time does not depend on
    /// the match.
    pub(super) fn find(&self, digest: &TokenDigest) -> Option<AuthenticatedClient> {
        let mut found = None;
        for (token, client) in &self.0 {
            if token.constant_time_eq(digest) {
                found = Some(client);
            }
        }
        found.cloned()
    }
}
