//! Metrics of finders, which resolve the operator of a device.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, counter, gauge};

#[derive(Debug)]
pub(super) struct FinderMetrics {
    lookups: IntCounterVec,
    pub(super) cache_entries: IntGaugeVec,
    token_fetches: IntCounterVec,
}

impl FinderMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["finder", "outcome"];
        Ok(Self {
            lookups: counter(
                registry,
                "qod_finder_lookups_total",
                "Lookups of a device's operator at a finder",
                labels,
            )?,
            cache_entries: gauge(
                registry,
                "qod_finder_cache_entries",
                "Cached replies of a finder",
                &["finder"],
            )?,
            token_fetches: counter(
                registry,
                "qod_finder_token_fetches_total",
                "Attempts to fetch an access token for a finder",
                labels,
            )?,
        })
    }
}

impl Metrics {
    /// Counts a lookup at a finder.
    pub fn record_finder_lookup(&self, finder: &str, outcome: &'static str) {
        self.0.finders.lookups.with_label_values(&[finder, outcome]).inc();
    }

    /// Sets the number of cached replies of a finder.
    pub fn set_finder_cache_entries(&self, finder: &str, entries: usize) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.0.finders.cache_entries.with_label_values(&[finder]).set(entries);
    }

    /// Counts an attempt to fetch an access token for a finder.
    pub fn record_finder_token_fetch(&self, finder: &str, outcome: &'static str) {
        self.0.finders.token_fetches.with_label_values(&[finder, outcome]).inc();
    }
}
