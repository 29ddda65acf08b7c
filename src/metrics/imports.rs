//! Metrics of route imports: rules that are polled from operators.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, counter, float_gauge, gauge};

#[derive(Debug)]
pub(super) struct ImportMetrics {
    polls: IntCounterVec,
    pub(super) age_seconds: GaugeVec,
    pub(super) prefixes: IntGaugeVec,
}

impl ImportMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            polls: counter(
                registry,
                "qod_import_polls_total",
                "Polls of an operator's rules",
                &["import", "outcome"],
            )?,
            age_seconds: float_gauge(
                registry,
                "qod_import_age_seconds",
                "Age of the rules of an operator that are in force",
                &["import"],
            )?,
            prefixes: gauge(
                registry,
                "qod_import_prefixes",
                "Prefixes in the rules of an operator",
                &["import"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a poll of rules. An import is identified by its URL.
    pub fn record_import_poll(&self, import: &str, outcome: &'static str) {
        self.0.imports.polls.with_label_values(&[import, outcome]).inc();
    }

    /// Sets the age of the rules in force.
    pub fn set_import_age(&self, import: &str, age: Duration) {
        self.0.imports.age_seconds.with_label_values(&[import]).set(age.as_secs_f64());
    }

    /// Sets the number of prefixes in the rules.
    pub fn set_import_prefixes(&self, import: &str, prefixes: usize) {
        let prefixes = i64::try_from(prefixes).unwrap_or(i64::MAX);
        self.0.imports.prefixes.with_label_values(&[import]).set(prefixes);
    }
}
