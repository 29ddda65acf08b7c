//! Metrics of the process: `process_*` of the operating system, its log, its admin listener, and totals for
//! the log line at its end.

use prometheus::{
    IntCounterVec, Registry, core::Collector, process_collector::ProcessCollector,
    proto::MetricFamily,
};

use super::{Metrics, counter};

/// The metric families of the process.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    log_lines_dropped: IntCounterVec,
    admin_failures: IntCounterVec,
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
        let admin_failures = counter(
            registry,
            "qod_admin_authentication_failures_total",
            "Requests to the admin listener without a valid token",
            &["reason"],
        )?;
        Ok(Self { log_lines_dropped, admin_failures })
    }
}

impl Metrics {
    /// Sets the total of dropped log lines, by reason. It never decreases.
    pub fn set_log_lines_dropped(&self, reason: &'static str, total: u64) {
        let counter = self.0.process.log_lines_dropped.with_label_values(&[reason]);
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Counts a request to the admin listener without a valid token.
    pub fn record_admin_authentication_failure(&self, reason: &'static str) {
        self.0.process.admin_failures.with_label_values(&[reason]).inc();
    }

    /// The number of requests with a response so far.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is a count below 2^53"
    )]
    pub fn requests_served(&self) -> u64 {
        let families = self.0.requests.collect();
        let counters = families.iter().flat_map(MetricFamily::get_metric);
        counters.map(|metric| metric.get_counter().get_value()).sum::<f64>() as u64
    }

    /// The number of requests in flight at all listeners.
    #[expect(clippy::cast_possible_truncation, reason = "the value is a count below 2^53")]
    pub fn requests_in_flight(&self) -> i64 {
        let families = self.0.in_flight.collect();
        let gauges = families.iter().flat_map(MetricFamily::get_metric);
        gauges.map(|metric| metric.get_gauge().get_value()).sum::<f64>() as i64
    }
}
