//! The proof that a caller is known.

use std::{fmt, sync::Arc};

use super::{binding::Binding, users::User};
use crate::qod::{ClientId, Device, OperatorId, Subject};

/// A caller whose token held. Cheap to clone.
///
/// Only [`Identity`](super::Identity) makes one:
///
/// ```compile_fail
/// use qod_gateway::{identity::Client, qod::ClientId};
///
/// let forged = Client::new(ClientId::from("app"), Vec::new(), None, false, Default::default());
/// ```
#[derive(Clone)]
pub struct Client(Arc<Known>);

struct Known {
    id: ClientId,
    scopes: Vec<Box<str>>,
    user: Option<User>,
    is_mock: bool,
    binding: Binding,
}

impl Client {
    pub(super) fn new(
        id: ClientId,
        scopes: Vec<Box<str>>,
        user: Option<User>,
        is_mock: bool,
        binding: Binding,
    ) -> Self {
        Self(Arc::new(Known { id, scopes, user, is_mock, binding }))
    }

    /// The OAuth2 client that the token was issued to.
    pub fn id(&self) -> &ClientId {
        &self.0.id
    }

    /// The token's scopes, each as it was written.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.0.scopes
    }

    /// The end user the token speaks for, if it is not the client itself.
    pub fn subject(&self) -> Option<&Subject> {
        self.0.user.as_ref().map(|user| &user.subject)
    }

    /// The end user's device, as far as the token names it.
    pub fn device(&self) -> Option<&Device> {
        self.0.user.as_ref().and_then(|user| user.device.as_ref())
    }

    /// Whose subscriber the end user is, if the token's issuer knows those of one operator only.
    pub fn home(&self) -> Option<&OperatorId> {
        self.0.user.as_ref().and_then(|user| user.operator.as_ref())
    }

    /// Was it known by a mock token? It must never come near a real operator.
    pub fn is_mock(&self) -> bool {
        self.0.is_mock
    }

    /// What has to be shown with its token.
    pub(super) fn binding(&self) -> &Binding {
        &self.0.binding
    }
}

/// Without the subject, who is nobody's business.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.id)
    }
}
