//! The way of sessions that nobody is asking about: those that end by themselves, and deletes that
//! an operator has not confirmed yet.

use std::sync::Arc;

use http::HeaderValue;

use super::Gateway;
use crate::ledger::Record;

impl Gateway {
    /// What must be done now and then; called every second.
    pub async fn upkeep(self: &Arc<Self>) {
        let rules = self.rules.load_full();
        match self.ledger.sweep().await {
            Ok(releasing) => {
                for record in releasing {
                    let gateway = Arc::clone(self);
                    self.running.spawn(async move { gateway.delete_again(record).await });
                }
            }
            Err(error) => tracing::error!(%error, "sessions whose time is up stay as they are"),
        }
        rules.limits.shrink();
        rules.identity.refresh().await;
    }

    /// Counts what the ledger holds.
    pub fn measure(&self) {
        for (operator, state, count) in self.ledger.counts() {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.metrics.sessions(&operator.0, state.name(), count);
        }
    }

    /// Fetches what the first requests will need.
    pub async fn warm_up(&self) {
        self.rules.load_full().identity.warm_up().await;
    }

    /// Is all there that requests will need?
    pub fn ready(&self) -> Result<(), String> {
        if self.rules.load().identity.ready() {
            Ok(())
        } else {
            Err("no keys of a token issuer yet".to_owned())
        }
    }

    /// Waits until no operator is being asked any more.
    pub async fn settled(&self) {
        self.running.close();
        self.running.wait().await;
    }

    async fn delete_again(&self, record: Record) {
        let rules = self.rules.load_full();
        let Ok(operator) = rules.operator(&record.operator) else { return };
        let correlator = HeaderValue::from_static("recovery");
        if let Err(refusal) = self.delete_at(operator, &record, &correlator).await {
            tracing::warn!(
                operator = %record.operator,
                session = %record.session.id,
                cause = refusal.cause(),
                "a session is not deleted at its operator yet"
            );
        }
    }
}
