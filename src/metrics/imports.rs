//! What is counted of asking operators for their rules.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, counter, gauge, real_gauge};

#[derive(Debug)]
pub(super) struct Imports {
    polls: IntCounterVec,
    pub(super) age_seconds: GaugeVec,
    pub(super) prefixes: IntGaugeVec,
}

impl Imports {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            polls: counter(
                registry,
                "qod_import_polls_total",
                "Attempts to get an operator's rules",
                &["import", "outcome"],
            )?,
            age_seconds: real_gauge(
                registry,
                "qod_import_age_seconds",
                "Age of an operator's rules that are in force",
                &["import"],
            )?,
            prefixes: gauge(
                registry,
                "qod_import_prefixes",
                "Prefixes in an operator's rules",
                &["import"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts an attempt to get rules; they are known by their URL.
    pub fn import_polled(&self, import: &str, outcome: &'static str) {
        self.0.imports.polls.with_label_values(&[import, outcome]).inc();
    }

    /// Sets the age of rules.
    pub fn import_age(&self, import: &str, age: Duration) {
        self.0.imports.age_seconds.with_label_values(&[import]).set(age.as_secs_f64());
    }

    /// Sets how many prefixes are in rules.
    pub fn import_holds(&self, import: &str, prefixes: usize) {
        let prefixes = i64::try_from(prefixes).unwrap_or(i64::MAX);
        self.0.imports.prefixes.with_label_values(&[import]).set(prefixes);
    }
}
