//! Reads the outbox into the delivery queue: first the stored notifications, then each new one.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::sleep};

use super::{
    DeliveryQueue, DispatcherInner, OutboxSelector, acknowledgement::CompletedNotification,
    delivery_result::DropReason, sink_url::SinkUrl,
};
use crate::{
    ledger::{Error, OutboxEntry, TakenNotifications},
    qod::Moment,
};

// Notifications per read. A page is small, so that other tasks are not delayed.
const PAGE: usize = 256;
// A notification takes about 300 bytes of memory. The ledger limits the number per client, so this
// limit is reached only if about a hundred clients receive nothing.
const QUEUE_MAX: usize = 1_000_000;
const POLL_INTERVAL: Duration = Duration::from_secs(1);
// New notifications are read together, so that not each one wakes the thread that delivers them.
const BATCH_INTERVAL: Duration = Duration::from_millis(2);

impl DispatcherInner {
    /// Reads the outbox until shutdown.
    pub(super) async fn run_intake(self: Arc<Self>) {
        // Notifications that are not read before shutdown are read at the next start.
        _ = self.stopping.run_until_cancelled(self.read_pages()).await;
    }

    async fn read_pages(&self) {
        let mut after = None;
        loop {
            if !self.queue().has_capacity() {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            match self.read_page(after).await {
                Ok(Some(last)) => {
                    after = Some(last);
                    yield_now().await;
                }
                Ok(None) => {
                    self.ledger.wait_for_notifications().await;
                    sleep(BATCH_INTERVAL).await;
                }
                Err(error) => {
                    tracing::warn!(event = "outbox_read_failed", %error, "failed to read the outbox; retrying");
                    sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    // Returns the last number that was read, if any.
    async fn read_page(&self, after: Option<u64>) -> Result<Option<u64>, Error> {
        let TakenNotifications { entries, retry } =
            self.ledger.take_notifications(after, PAGE).await?;
        let last = entries.last().map(|last| last.number);
        let now = self.ledger.now();
        // The replicas share the calls to a host.
        let calls_max = self.settings.calls_per_host_max.div_ceil(self.ledger.live_replicas());
        let mut queue = self.queue();
        queue.schedule.set_calls_per_host_max(calls_max);
        for queued in entries {
            queue.accept(queued, now);
        }
        for session in retry {
            queue.schedule.retry(&OutboxSelector::Session(session));
        }
        drop(queue);
        self.delivery_due.notify_one();
        self.completion_ready.notify_one();
        Ok(last)
    }
}

impl DeliveryQueue {
    fn has_capacity(&self) -> bool {
        self.schedule.len() + self.completed.len() < QUEUE_MAX
    }

    pub(super) fn accept(&mut self, queued: OutboxEntry, now: Moment) {
        if let Some(reason) = self.dead_sinks.reason(&queued.session) {
            self.completed.push(CompletedNotification::dropped(queued.number, reason));
        } else if let Some(sink_url) = SinkUrl::parse(&queued.sink_url) {
            self.schedule.add(queued, sink_url.host, now);
        } else {
            self.completed
                .push(CompletedNotification::dropped(queued.number, DropReason::NotCallable));
        }
    }
}
