//! The ledger's interface for what several replicas share: the replicas themselves, and notifications that
//! other replicas deliver. A ledger that is not shared has none of it.

use std::sync::Arc;

use super::{
    Error, Ledger, OpenError, StoreConfig,
    notification::{OutboxEntry, OutboxSelector},
    postgres::Opening,
    store::{Replica, SharedStore},
};
use crate::{clock::Clock, metrics::Metrics};

impl Ledger {
    /// Opens a shared ledger to read and change records while replicas may serve requests. `None` if the
    /// ledger is not shared.
    ///
    /// # Errors
    /// If the database cannot be used.
    pub fn open_shared(
        config: &StoreConfig,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Option<Self>, OpenError> {
        let StoreConfig::Postgres(settings) = config else { return Ok(None) };
        let (store, hasher) = settings.open(Opening::Administration, &clock, metrics)?;
        Ok(Some(Self::with_store(Arc::new(store), hasher, clock)))
    }

    /// Whether several replicas share the ledger.
    pub fn is_shared(&self) -> bool {
        self.store.shared().is_some()
    }

    /// The id of this process among the replicas, as of now; `None` if the ledger is not shared.
    pub fn replica_id(&self) -> Option<String> {
        self.store.shared().map(|store| store.replica_id().to_string())
    }

    /// The number of replicas that use the ledger, as last known.
    pub fn live_replicas(&self) -> usize {
        self.store.shared().map_or(1, SharedStore::live_replicas)
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
