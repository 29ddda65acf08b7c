//! The ledger's interface for what several replicas share: the replicas themselves, and notifications that
//! other replicas deliver. A ledger that is not shared has none of it.

use super::{
    Error, Ledger,
    notification::{OutboxEntry, OutboxSelector},
    store::Replica,
};

impl Ledger {
    /// Whether several replicas share the ledger.
    pub fn is_shared(&self) -> bool {
        self.store.shared().is_some()
    }

    /// The replicas that use the ledger or used it lately, the latest first.
    pub async fn replicas(&self) -> Result<Vec<Replica>, Error> {
        match self.store.shared() {
            Some(store) => store.replicas().await,
            None => Ok(Vec::new()),
        }
    }

    /// The selected notifications of all replicas after this number, in order. `None` if the ledger is
    /// not shared: this process delivers all notifications itself.
    pub async fn list_shared_notifications(
        &self,
        selection: &OutboxSelector,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Option<Vec<OutboxEntry>>, Error> {
        let Some(store) = self.store.shared() else { return Ok(None) };
        store.list_notifications(selection, after, entries_max).await.map(Some)
    }

    /// Asks the replicas that deliver these notifications to retry at once. Returns the number of
    /// sessions; `None` if the ledger is not shared.
    pub async fn retry_shared_notifications(
        &self,
        selection: &OutboxSelector,
    ) -> Result<Option<u64>, Error> {
        let Some(store) = self.store.shared() else { return Ok(None) };
        let sessions = store.retry_notifications(selection).await?;
        self.outbox.wake();
        Ok(Some(sessions))
    }

    /// Drops notifications of all replicas. Returns their number; `None` if the ledger is not shared.
    pub async fn drop_shared_notifications(
        &self,
        selection: &OutboxSelector,
    ) -> Result<Option<u64>, Error> {
        let Some(store) = self.store.shared() else { return Ok(None) };
        store.drop_notifications(selection).await.map(Some)
    }
}
