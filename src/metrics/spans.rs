//! Metrics of the export of spans.

use prometheus::{IntCounterVec, Registry};

use super::{Metrics, NO_LABELS, counter};

/// The metric families of the export.
#[derive(Debug)]
pub(super) struct SpanMetrics {
    exported: IntCounterVec,
    dropped: IntCounterVec,
}

const REASONS: [&str; 5] = ["queue_full", "rejected", "unavailable", "disabled", "shutdown"];

impl SpanMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let exported = counter(
            registry,
            "qod_spans_exported_total",
            "Spans accepted by the collector",
            NO_LABELS,
        )?;
        let dropped = counter(
            registry,
            "qod_spans_dropped_total",
            "Spans that were not exported",
            &["reason"],
        )?;
        exported.with_label_values(NO_LABELS);
        for reason in REASONS {
            dropped.with_label_values(&[reason]);
        }
        Ok(Self { exported, dropped })
    }
}

impl Metrics {
    /// Counts spans that the collector accepted.
    pub fn record_spans_exported(&self, count: u64) {
        self.0.spans.exported.with_label_values(NO_LABELS).inc_by(count);
    }

    /// Counts spans that were not exported.
    pub fn record_spans_dropped(&self, reason: &'static str, count: u64) {
        self.0.spans.dropped.with_label_values(&[reason]).inc_by(count);
    }

    /// Sets the total of spans that were not exported for this reason. It never decreases.
    pub fn set_spans_dropped(&self, reason: &'static str, total: u64) {
        let counter = self.0.spans.dropped.with_label_values(&[reason]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}
