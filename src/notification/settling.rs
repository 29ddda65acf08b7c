//! From the desk to the outbox: what was heard, or will not be, is forgotten, many at once.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Desk, Office, verdict::Reason};
use crate::ledger::Error;

const AT_ONCE_MAX: usize = 1000;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A notice that need not be told any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    number: u64,
    dropped: Option<Reason>,
}

impl Done {
    pub(super) const fn heard(number: u64) -> Self {
        Self { number, dropped: None }
    }

    pub(super) const fn dropped(number: u64, reason: Reason) -> Self {
        Self { number, dropped: Some(reason) }
    }

    pub(super) const fn dropped_by_hand(number: u64) -> Self {
        Self::dropped(number, Reason::ByHand)
    }
}

impl Office {
    /// Settles until the end, and then what is left.
    pub(super) async fn settle(self: Arc<Self>) {
        loop {
            let batch = self.desk().take_done();
            if batch.is_empty() {
                if self.finishing.is_cancelled() {
                    return;
                }
                _ = self.finishing.run_until_cancelled(self.more_done.notified()).await;
                continue;
            }
            while let Err(error) = self.settle_batch(&batch).await {
                tracing::warn!(%error, "what clients have heard cannot be written down now");
                // They hear it again after the next start.
                if self.finishing.run_until_cancelled(sleep(TRY_AGAIN)).await.is_none() {
                    return;
                }
            }
        }
    }

    async fn settle_batch(&self, batch: &[Done]) -> Result<(), Error> {
        let mut dropped = Vec::new();
        for done in batch {
            if let Some(reason) = done.dropped
                && let Some(notice) = self.ledger.notice(done.number).await?
            {
                dropped.push((notice.dialect, reason));
            }
        }
        self.ledger.settle(batch.iter().map(|done| done.number).collect()).await?;
        for (dialect, reason) in dropped {
            self.metrics.notices_dropped(&dialect, reason.name(), 1);
        }
        Ok(())
    }
}

impl Desk {
    fn take_done(&mut self) -> Vec<Done> {
        let count = self.done.len().min(AT_ONCE_MAX);
        self.done.drain(..count).collect()
    }
}
