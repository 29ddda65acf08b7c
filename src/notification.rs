//! Delivers session notifications to clients. Each notification in the ledger's outbox is posted to
//! its sink until the sink accepts it: at least once, and in order for each session.
//!
//! ```text
//!   outbox ──intake──▶ schedule ──delivery──▶ sink ──delivery_result──▶ schedule, or completed ──acknowledgement──▶ outbox
//! ```
//!
//! The state in memory may be lost: a notification leaves the outbox only after it was delivered or
//! dropped, and a restarted gateway delivers all that the outbox still contains. Clients choose the
//! sinks, so every call passes a [`Guard`], and a slow sink does not delay the others
//! (`schedule.rs`). Only the host of a sink URL is ever shown.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use quick_cache::sync::Cache;
use rand::Rng;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    dialect::Dialects,
    ledger::{self, Ledger},
    metrics::{Metrics, NONE},
    outbound::{Endpoint, Guard, Outbound, Trust},
    qod::Moment,
    telemetry::Telemetry,
};

mod dead_sinks;
mod sink_url;
mod intake;
mod schedule;
mod acknowledgement;
mod delivery;
mod delivery_result;

pub use self::schedule::PendingNotification;
use self::{
    acknowledgement::CompletedNotification,
    dead_sinks::DeadSinks,
    schedule::{CallLimits, Schedule},
};
pub use crate::ledger::OutboxSelector;

// Maximum number of hosts whose addresses and connections are cached.
const ENDPOINT_CACHE_MAX: usize = 10_000;

/// How notifications are delivered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Non-public networks that sinks may be in.
    pub private_networks: Vec<IpNet>,
    /// The trust anchors that sink certificates are verified against.
    pub trust: Trust,
    /// How long delivery of a notification is retried before it is dropped.
    pub delivery_ttl: Duration,
    /// Timeout of one delivery call.
    pub timeout: Duration,
    /// Maximum number of concurrent calls.
    pub calls_max: usize,
    /// Maximum number of concurrent calls to one host.
    pub calls_per_host_max: usize,
}

/// Delivers notifications to clients. Clones share one dispatcher.
#[derive(Clone)]
pub struct Dispatcher(Arc<DispatcherInner>);

struct DispatcherInner {
    settings: Settings,
    ledger: Ledger,
    dialects: ArcSwap<Dialects>,
    clock: Clock,
    metrics: Metrics,
    outbound: Outbound,
    telemetry: Telemetry,
    guard: Arc<Guard>,
    endpoints: Cache<Arc<str>, Arc<Endpoint>>,
    queue: Mutex<DeliveryQueue>,
    // Signalled when a notification may be due for delivery.
    delivery_due: Notify,
    // Signalled when a notification was completed.
    completion_ready: Notify,
    overflow_count: AtomicU64,
    started: AtomicBool,
    // Shutdown order: first no new call starts; after the last call ended, no more acknowledgements
    // are written.
    stopping: CancellationToken,
    deliveries: TaskTracker,
    acknowledgement_stopping: CancellationToken,
    acknowledgements: TaskTracker,
}

// The in-memory state of the outbox.
struct DeliveryQueue {
    schedule: Schedule,
    dead_sinks: DeadSinks,
    completed: Vec<CompletedNotification>,
    // Delivery is paused until then because the outbox could not be read.
    paused_until: Moment,
}

impl Dispatcher {
    /// Creates a dispatcher for the outbox of this ledger. It has its own connection pool, so sinks
    /// use none of the operators' connections.
    pub fn new(
        settings: Settings,
        ledger: Ledger,
        dialects: Arc<Dialects>,
        clock: Clock,
        metrics: Metrics,
        telemetry: Telemetry,
    ) -> Self {
        let Settings { calls_max, calls_per_host_max, .. } = settings;
        let bounds = CallLimits { calls_max, calls_per_host_max };
        let queue = DeliveryQueue {
            schedule: Schedule::new(bounds, rand::rng().random()),
            dead_sinks: DeadSinks::default(),
            completed: Vec::new(),
            paused_until: Moment::default(),
        };
        Self(Arc::new(DispatcherInner {
            guard: Arc::new(Guard::new(settings.private_networks.clone())),
            settings,
            ledger,
            dialects: ArcSwap::new(dialects),
            clock,
            metrics,
            outbound: Outbound::new(),
            telemetry,
            endpoints: Cache::new(ENDPOINT_CACHE_MAX),
            queue: Mutex::new(queue),
            delivery_due: Notify::new(),
            completion_ready: Notify::new(),
            overflow_count: AtomicU64::new(0),
            started: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            deliveries: TaskTracker::new(),
            acknowledgement_stopping: CancellationToken::new(),
            acknowledgements: TaskTracker::new(),
        }))
    }

    /// Replaces the dialects; later deliveries use the new ones.
    pub fn set_dialects(&self, dialects: &Arc<Dialects>) {
        self.0.dialects.store(Arc::clone(dialects));
    }

    /// Starts delivery on the current Tokio runtime; it runs until [`Self::stop`].
    pub fn start(&self) {
        let inner = &self.0;
        if inner.started.swap(true, Ordering::SeqCst) {
            return;
        }
        inner.deliveries.spawn(Arc::clone(inner).run_intake());
        inner.deliveries.spawn(Arc::clone(inner).dispatch());
        inner.acknowledgements.spawn(Arc::clone(inner).acknowledge());
    }

    /// Stops delivery and waits until the calls in progress have ended and their results are
    /// written: at most the timeout of one call. Call this before closing the ledger.
    pub async fn stop(&self) {
        let inner = &self.0;
        inner.stopping.cancel();
        inner.deliveries.close();
        inner.deliveries.wait().await;
        inner.acknowledgement_stopping.cancel();
        inner.acknowledgements.close();
        inner.acknowledgements.wait().await;
    }

    /// Lists the notifications of all replicas after number `after`, oldest first, for the admin
    /// interface. Attempts and failures are known for those that this replica delivers.
    pub async fn list(
        &self,
        which: &OutboxSelector,
        after: Option<u64>,
        max: usize,
    ) -> Result<Vec<PendingNotification>, ledger::Error> {
        let Some(entries) = self.0.ledger.list_shared_notifications(which, after, max).await?
        else {
            return Ok(self.status(which, after, max));
        };
        let queue = self.0.queue();
        let described = entries.into_iter().map(|entry| {
            queue
                .schedule
                .find(entry.number)
                .unwrap_or_else(|| PendingNotification::delivered_elsewhere(entry))
        });
        Ok(described.collect())
    }

    /// Retries these notifications immediately, without waiting for a backoff, whichever replica
    /// delivers them. Returns the number of affected sessions.
    pub async fn retry_all(&self, which: &OutboxSelector) -> Result<u64, ledger::Error> {
        let shared = self.0.ledger.retry_shared_notifications(which).await?;
        let own = self.retry(which);
        Ok(shared.unwrap_or(own as u64))
    }

    /// Drops these notifications of all replicas; they are never delivered. Returns the number of
    /// dropped notifications.
    pub async fn drop_all(&self, which: &OutboxSelector) -> Result<u64, ledger::Error> {
        match self.0.ledger.drop_shared_notifications(which).await? {
            // Other replicas find out before they deliver them.
            Some(dropped) => {
                self.0.metrics.record_notifications_dropped(NONE, "dropped_by_admin", dropped);
                self.0.queue().schedule.remove(which);
                Ok(dropped)
            }
            None => Ok(self.drop_notifications(which) as u64),
        }
    }

    /// Lists the notifications that this process delivers.
    fn status(
        &self,
        which: &OutboxSelector,
        after: Option<u64>,
        max: usize,
    ) -> Vec<PendingNotification> {
        self.0.queue().schedule.page(which, after, max)
    }

    /// Retries these notifications of this process immediately. Returns the number of affected
    /// sessions.
    fn retry(&self, which: &OutboxSelector) -> usize {
        let sessions = self.0.queue().schedule.retry(which);
        self.0.delivery_due.notify_one();
        sessions
    }

    /// Drops these notifications of this process. Returns the number of dropped notifications.
    fn drop_notifications(&self, which: &OutboxSelector) -> usize {
        let mut queue = self.0.queue();
        let numbers = queue.schedule.remove(which);
        let dropped = numbers.len();
        queue.completed.extend(numbers.into_iter().map(CompletedNotification::dropped_by_admin));
        drop(queue);
        self.0.completion_ready.notify_one();
        dropped
    }

    /// Updates the gauges of the outbox; called before the metrics are rendered.
    pub async fn measure(&self) {
        let inner = &self.0;
        if let Some(status) = inner.settings.trust.status(&inner.clock).await {
            inner.metrics.set_certificate_stale(("notifications", "sinks"), status.stale);
        }
        let now = inner.ledger.now();
        let (queued, oldest) = {
            let queue = inner.queue();
            (queue.schedule.len(), queue.schedule.oldest())
        };
        let oldest = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        inner.metrics.set_notification_queue(queued, oldest);
        let overflown = inner.ledger.dropped_notifications();
        let before = inner.overflow_count.swap(overflown, Ordering::Relaxed);
        inner.metrics.record_notifications_dropped(
            NONE,
            "too_many",
            overflown.saturating_sub(before),
        );
    }
}

impl DispatcherInner {
    fn queue(&self) -> MutexGuard<'_, DeliveryQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            private_networks: Vec::new(),
            trust: Trust::default(),
            delivery_ttl: Duration::from_hours(24),
            timeout: Duration::from_secs(10),
            calls_max: 512,
            calls_per_host_max: 8,
        }
    }
}

#[cfg(test)]
mod tests;
