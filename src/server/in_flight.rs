//! Limits the requests that are handled at the same time. A request counts from the end of its body.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::metrics::Metrics;

/// The requests of a group of listeners that are being handled.
pub(super) struct InFlight {
    count: AtomicUsize,
    max: usize,
    // The value of the label `listener`; `None` if the requests are not shown in the metrics.
    label: Option<&'static str>,
    metrics: Metrics,
}

/// A guard that counts a request as in flight until it is dropped.
pub(super) struct InFlightGuard(Arc<InFlight>);

impl InFlight {
    pub(super) fn new(label: Option<&'static str>, max: usize, metrics: Metrics) -> Self {
        Self { count: AtomicUsize::new(0), max, label, metrics }
    }

    /// Counts a request as in flight; `None` if the limit is reached.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<InFlightGuard> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        self.show(1);
        let guard = InFlightGuard(Arc::clone(self));
        (before < self.max).then_some(guard)
    }

    fn show(&self, change: i64) {
        if let Some(label) = self.label {
            self.metrics.add_in_flight(label, change);
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.show(-1);
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}
