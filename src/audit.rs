//! One line for each decision: who asked what, what was decided, and why. No line ever carries a
//! phone number, an address or a token.

use std::sync::Arc;

use crate::qod::{ClientId, Kind, OperatorId, SessionId};

/// What is told of one request.
#[derive(Debug, Default)]
pub struct Entry {
    /// Who asked, once that is known.
    pub client: Option<ClientId>,
    /// In which dialect.
    pub dialect: Option<&'static str>,
    /// What.
    pub operation: Option<&'static str>,
    /// Of which operator, once that is known.
    pub operator: Option<OperatorId>,
    /// Of which session.
    pub session: Option<SessionId>,
    /// The status that was answered.
    pub status: u16,
    /// Why not.
    pub refused: Option<Kind>,
    /// What the log is told, and the caller is not.
    pub cause: Option<String>,
    /// Which reading of the policies was followed.
    pub policy: Option<Arc<str>>,
    /// The request's `x-correlator`.
    pub correlator: Option<String>,
}

impl Entry {
    /// Writes the line.
    pub fn write(&self) {
        tracing::info!(
            target: "audit",
            client = self.client.as_ref().map(|client| &*client.0),
            dialect = self.dialect,
            operation = self.operation,
            operator = self.operator.as_ref().map(|operator| &*operator.0),
            session = self.session.map(|id| id.to_string()),
            status = self.status,
            refused = self.refused.map(Kind::name),
            cause = self.cause,
            policy = self.policy.as_deref(),
            correlator = self.correlator,
            "decided"
        );
    }
}

/// Writes down that a person has released a session of which nobody knows whether it exists.
pub fn forgotten(client: &ClientId, operator: &OperatorId, session: SessionId) {
    tracing::warn!(
        target: "audit",
        client = &*client.0,
        operator = &*operator.0,
        session = session.to_string(),
        "forgotten by hand"
    );
}
