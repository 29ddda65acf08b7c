//! The activity of a connection, for its idle timeout.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use crate::clock::{Clock, Tick};

/// Whether a connection is busy, and since when it is idle.
pub(super) struct ConnectionActivity {
    source: Option<IpAddr>,
    busy: AtomicUsize,
    requested: Notify,
    last_active_ms: AtomicU64,
    started: Tick,
    clock: Clock,
}

impl ConnectionActivity {
    pub(super) fn new(source: Option<IpAddr>, clock: Clock) -> Self {
        Self {
            source,
            busy: AtomicUsize::new(0),
            requested: Notify::new(),
            last_active_ms: AtomicU64::new(0),
            started: clock.tick(),
            clock,
        }
    }

    /// The address of the peer.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Marks the connection as busy until the guard is dropped.
    pub(super) fn busy(&self) -> BusyGuard<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.requested.notify_one();
        BusyGuard(self)
    }

    /// Returns when a request has been received. For one waiter.
    pub(super) async fn first_request(&self) {
        self.requested.notified().await;
    }

    /// Returns when the connection has been idle for this time.
    pub(super) async fn idle_for(&self, idle_max: Duration) {
        loop {
            let last_active = Duration::from_millis(self.last_active_ms.load(Ordering::Relaxed));
            let idle = self.clock.elapsed(self.started).saturating_sub(last_active);
            if self.busy.load(Ordering::Relaxed) > 0 {
                sleep(idle_max).await;
            } else if idle >= idle_max {
                return;
            } else {
                sleep(idle_max.saturating_sub(idle)).await;
            }
        }
    }
}

/// A guard that suspends the idle timeout while a request is handled.
pub(super) struct BusyGuard<'a>(&'a ConnectionActivity);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        let since = self.0.clock.elapsed(self.0.started).as_millis();
        self.0.last_active_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
