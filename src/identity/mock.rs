//! Fixed tokens, for trying things out against simulated operators.

use super::{Client, Digest, MockToken, bearer, binding::Binding};

pub(super) struct MockTokens(Vec<(Digest, Client)>);

impl MockTokens {
    /// Takes the tokens, or says what is wrong with one (and never which text it has).
    pub(super) fn new(settings: Vec<MockToken>) -> Result<Self, String> {
        let mut tokens: Vec<(Digest, Client)> = Vec::with_capacity(settings.len());
        for MockToken { token, client, scopes } in settings {
            if !bearer::is_token68(token.reveal()) {
                return Err(format!("the token of {client} cannot be sent as a bearer token"));
            }
            let digest = Digest::of(token.reveal());
            if tokens.iter().any(|(other, _)| other.equals(&digest)) {
                return Err(format!("the token of {client} is another client's too"));
            }
            let scopes = scopes.into_iter().map(String::into_boxed_str).collect();
            tokens.push((digest, Client::new(client, scopes, None, true, Binding::default())));
        }
        Ok(Self(tokens))
    }

    /// The client of this token. All tokens are compared, whichever it is.
    pub(super) fn find(&self, digest: &Digest) -> Option<Client> {
        let mut found = None;
        for (token, client) in &self.0 {
            if token.equals(digest) {
                found = Some(client);
            }
        }
        found.cloned()
    }
}
