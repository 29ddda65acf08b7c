//! The proof type of an authenticated caller.

use std::{fmt, sync::Arc};

use super::{bearer::Scheme, binding::Binding, users::User};
use crate::qod::{ClientId, Device, OperatorId, TokenSubject};

/// Proof that a caller has a valid token. Cheap to clone.
///
/// Only [`Authenticator`](super::Authenticator) creates one.
#[derive(Clone)]
pub struct AuthenticatedClient(Arc<ClientData>);

struct ClientData {
    id: ClientId,
    scopes: Vec<Box<str>>,
    user: Option<User>,
    is_mock: bool,
    binding: Binding,
}

impl AuthenticatedClient {
    pub(super) fn new(
        id: ClientId,
        scopes: Vec<Box<str>>,
        user: Option<User>,
        is_mock: bool,
        binding: Binding,
    ) -> Self {
        Self(Arc::new(ClientData { id, scopes, user, is_mock, binding }))
    }

    /// Returns the OAuth2 client that the token was issued to.
    pub fn id(&self) -> &ClientId {
        &self.0.id
    }

    /// Returns the token's scopes, unchanged.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.0.scopes
    }

    /// Returns the end user of a three-legged token.
    pub fn subject(&self) -> Option<&TokenSubject> {
        self.0.user.as_ref().map(|user| &user.subject)
    }

    /// Returns the end user's device, if the token identifies it.
    pub fn device(&self) -> Option<&Device> {
        self.0.user.as_ref().and_then(|user| user.device.as_ref())
    }

    /// Returns the end user's operator, if the issuer serves the subscribers of one operator only.
    pub fn home_operator(&self) -> Option<&OperatorId> {
        self.0.user.as_ref().and_then(|user| user.operator.as_ref())
    }

    /// Returns whether a mock token was used. A mock client must never use a real operator.
    pub fn is_mock(&self) -> bool {
        self.0.is_mock
    }

    /// Returns the authentication scheme of the token: `DPoP` if it is bound to a key.
    pub fn scheme(&self) -> &'static str {
        if self.0.binding.key.is_some() { Scheme::Dpop.name() } else { Scheme::Bearer.name() }
    }

    /// Returns the sender constraints of the token.
    pub(super) fn binding(&self) -> &Binding {
        &self.0.binding
    }
}

/// Omits the subject, which is personal data.
impl fmt::Debug for AuthenticatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.id)
    }
}
