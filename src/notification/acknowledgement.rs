//! Acknowledges completed notifications: removes those that were delivered or dropped from the
//! outbox, in batches.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{DeliveryQueue, DispatcherInner, delivery_result::DropReason};
use crate::ledger::Error;

const BATCH_MAX: usize = 1000;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A notification that was delivered or dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompletedNotification {
    number: u64,
    dropped: Option<DropReason>,
}

impl CompletedNotification {
    pub(super) const fn delivered(number: u64) -> Self {
        Self { number, dropped: None }
    }

    pub(super) const fn dropped(number: u64, reason: DropReason) -> Self {
        Self { number, dropped: Some(reason) }
    }

    pub(super) const fn dropped_by_admin(number: u64) -> Self {
        Self::dropped(number, DropReason::DroppedByAdmin)
    }
}

impl DispatcherInner {
    /// Acknowledges until shutdown, then acknowledges the rest.
    pub(super) async fn acknowledge(self: Arc<Self>) {
        loop {
            let batch = self.queue().take_completed();
            if batch.is_empty() {
                if self.acknowledgement_stopping.is_cancelled() {
                    return;
                }
                _ = self
                    .acknowledgement_stopping
                    .run_until_cancelled(self.completion_ready.notified())
                    .await;
                continue;
            }
            while let Err(error) = self.acknowledge_batch(&batch).await {
                tracing::warn!(
                    event = "notification_acknowledge_failed",
                    %error,
                    "failed to remove completed notifications from the outbox; retrying"
                );
                // They are delivered again after the next start.
                if self
                    .acknowledgement_stopping
                    .run_until_cancelled(sleep(RETRY_INTERVAL))
                    .await
                    .is_none()
                {
                    return;
                }
            }
        }
    }

    async fn acknowledge_batch(&self, batch: &[CompletedNotification]) -> Result<(), Error> {
        let mut dropped = Vec::new();
        for completed in batch {
            if let Some(reason) = completed.dropped
                && let Some(entry) = self.ledger.notification(completed.number).await?
            {
                dropped.push((entry.dialect, reason));
            }
        }
        self.ledger.acknowledge(batch.iter().map(|completed| completed.number).collect()).await?;
        for (dialect, reason) in dropped {
            self.metrics.record_notifications_dropped(&dialect, reason.name(), 1);
        }
        Ok(())
    }
}

impl DeliveryQueue {
    fn take_completed(&mut self) -> Vec<CompletedNotification> {
        let count = self.completed.len().min(BATCH_MAX);
        self.completed.drain(..count).collect()
    }
}
