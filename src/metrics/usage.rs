//! Metrics of sessions that have ended: what was sold. Operators and profiles are those of the policies.

use prometheus::{IntCounterVec, Registry};

use super::{Metrics, counter};

#[derive(Debug)]
pub(super) struct UsageMetrics {
    records: IntCounterVec,
    seconds: IntCounterVec,
}

impl UsageMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            records: counter(
                registry,
                "qod_usage_records_total",
                "Usage records written: sessions that have ended",
                &["operator", "ending"],
            )?,
            seconds: counter(
                registry,
                "qod_usage_seconds_total",
                "Seconds for which sessions that have ended were used",
                &["operator", "profile"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a usage record. `profile` is the client's name of the profile.
    pub fn record_usage(&self, operator: &str, profile: &str, ending: &'static str, used_s: u32) {
        let Self(families) = self;
        families.usage.records.with_label_values(&[operator, ending]).inc();
        families.usage.seconds.with_label_values(&[operator, profile]).inc_by(used_s.into());
    }
}
