//! Metrics of the process: `process_*` of the operating system, and its log.

use prometheus::{IntCounterVec, Registry, process_collector::ProcessCollector};

use super::{Metrics, counter};

/// The metric families of the process.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    log_lines_dropped: IntCounterVec,
}

impl ProcessMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let log_lines_dropped = counter(
            registry,
            "qod_log_lines_dropped_total",
            "Log lines that could not be written to standard error",
            &["reason"],
        )?;
        for reason in ["full", "failed"] {
            log_lines_dropped.with_label_values(&[reason]);
        }
        Ok(Self { log_lines_dropped })
    }
}

impl Metrics {
    /// Sets the total of dropped log lines, by reason. It never decreases.
    pub fn set_log_lines_dropped(&self, reason: &'static str, total: u64) {
        let counter = self.0.process.log_lines_dropped.with_label_values(&[reason]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}
