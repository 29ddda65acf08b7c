//! Metrics of the notifications that are delivered to clients.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, NO_LABELS, counter, float_gauge, gauge, histogram};

// From an available sink to one that is unavailable for a day.
const DELIVERY_BUCKETS_S: &[f64] =
    &[0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0];

#[derive(Debug)]
pub(super) struct NotificationMetrics {
    delivered: IntCounterVec,
    dropped: IntCounterVec,
    failed: IntCounterVec,
    queued: IntGaugeVec,
    oldest_age_seconds: GaugeVec,
    delivery_seconds: HistogramVec,
}

impl NotificationMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            delivered: counter(
                registry,
                "qod_notifications_delivered_total",
                "Notifications that a sink accepted",
                &["dialect"],
            )?,
            dropped: counter(
                registry,
                "qod_notifications_dropped_total",
                "Notifications that were dropped without delivery",
                &["dialect", "reason"],
            )?,
            failed: counter(
                registry,
                "qod_notification_attempts_failed_total",
                "Delivery attempts that failed and are retried",
                &["reason"],
            )?,
            queued: gauge(
                registry,
                "qod_notifications_queued",
                "Notifications that wait for delivery",
                NO_LABELS,
            )?,
            oldest_age_seconds: float_gauge(
                registry,
                "qod_notification_oldest_age_seconds",
                "Age of the oldest notification that waits for delivery",
                NO_LABELS,
            )?,
            delivery_seconds: histogram(
                registry,
                "qod_notification_delivery_seconds",
                "Time from the status change in the ledger to the delivery of its notification",
                NO_LABELS,
                DELIVERY_BUCKETS_S,
            )?,
        })
    }
}

impl Metrics {
    /// Counts a delivered notification and records the time since its status change.
    pub fn record_notification_delivered(&self, dialect: &str, waited: Duration) {
        let families = &self.0.notifications;
        families.delivered.with_label_values(&[dialect]).inc();
        families.delivery_seconds.with_label_values(NO_LABELS).observe(waited.as_secs_f64());
    }

    /// Counts notifications that were dropped.
    pub fn record_notifications_dropped(&self, dialect: &str, reason: &'static str, count: u64) {
        self.0.notifications.dropped.with_label_values(&[dialect, reason]).inc_by(count);
    }

    /// Counts a failed delivery attempt.
    pub fn record_notification_attempt_failed(&self, reason: &'static str) {
        self.0.notifications.failed.with_label_values(&[reason]).inc();
    }

    /// Sets the number of queued notifications and the age of the oldest.
    pub fn set_notification_queue(&self, queued: usize, oldest: Duration) {
        let queued = i64::try_from(queued).unwrap_or(i64::MAX);
        self.0.notifications.queued.with_label_values(NO_LABELS).set(queued);
        let oldest = oldest.as_secs_f64();
        self.0.notifications.oldest_age_seconds.with_label_values(NO_LABELS).set(oldest);
    }
}
