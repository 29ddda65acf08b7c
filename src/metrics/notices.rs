//! What is counted of telling clients what happens to their sessions.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, NO_LABELS, counter, gauge, histogram, real_gauge};

// From a sink that is there to one that comes back after a day.
const DELIVERY_BUCKETS_S: &[f64] =
    &[0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0];

#[derive(Debug)]
pub(super) struct Notices {
    delivered: IntCounterVec,
    dropped: IntCounterVec,
    failed: IntCounterVec,
    queued: IntGaugeVec,
    oldest_seconds: GaugeVec,
    delivery_seconds: HistogramVec,
}

impl Notices {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            delivered: counter(
                registry,
                "qod_notifications_delivered_total",
                "Notices that a client has heard",
                &["dialect"],
            )?,
            dropped: counter(
                registry,
                "qod_notifications_dropped_total",
                "Notices that no client will hear",
                &["dialect", "reason"],
            )?,
            failed: counter(
                registry,
                "qod_notification_attempts_failed_total",
                "Calls to a sink that did not deliver, and are made again",
                &["reason"],
            )?,
            queued: gauge(registry, "qod_notifications_queued", "Notices that wait", NO_LABELS)?,
            oldest_seconds: real_gauge(
                registry,
                "qod_notification_oldest_seconds",
                "How long the oldest notice has waited",
                NO_LABELS,
            )?,
            delivery_seconds: histogram(
                registry,
                "qod_notification_delivery_seconds",
                "Time from what happened being written down to its client having heard",
                NO_LABELS,
                DELIVERY_BUCKETS_S,
            )?,
        })
    }
}

impl Metrics {
    /// Counts a notice that was heard after it had waited for so long.
    pub fn notice_delivered(&self, dialect: &str, waited: Duration) {
        let notices = &self.0.notices;
        notices.delivered.with_label_values(&[dialect]).inc();
        notices.delivery_seconds.with_label_values(NO_LABELS).observe(waited.as_secs_f64());
    }

    /// Counts notices that nobody will hear.
    pub fn notices_dropped(&self, dialect: &str, reason: &'static str, count: u64) {
        self.0.notices.dropped.with_label_values(&[dialect, reason]).inc_by(count);
    }

    /// Counts a call that did not deliver.
    pub fn notice_failed(&self, reason: &'static str) {
        self.0.notices.failed.with_label_values(&[reason]).inc();
    }

    /// Sets how many notices wait, and how long the oldest has.
    pub fn notices(&self, queued: usize, oldest: Duration) {
        let queued = i64::try_from(queued).unwrap_or(i64::MAX);
        self.0.notices.queued.with_label_values(NO_LABELS).set(queued);
        let oldest = oldest.as_secs_f64();
        self.0.notices.oldest_seconds.with_label_values(NO_LABELS).set(oldest);
    }
}
