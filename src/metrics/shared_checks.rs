//! Metrics of rate limits and used proofs that several replicas share.

use prometheus::{IntCounterVec, Registry};

use super::{Metrics, counter};

#[derive(Debug)]
pub(super) struct SharedCheckMetrics {
    limits: IntCounterVec,
    proofs: IntCounterVec,
}

impl SharedCheckMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            limits: counter(
                registry,
                "qod_shared_limit_checks_total",
                "Checks of rate limits that replicas share",
                &["answer"],
            )?,
            proofs: counter(
                registry,
                "qod_shared_proof_checks_total",
                "Checks whether another replica has accepted a proof of possession",
                &["answer"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts a check of a shared rate limit. `answer` is the source of its result.
    pub fn record_shared_limit(&self, answer: &'static str) {
        self.0.shared_checks.limits.with_label_values(&[answer]).inc();
    }

    /// Counts a check of a proof of possession at the database.
    pub fn record_shared_proof(&self, answer: &'static str) {
        self.0.shared_checks.proofs.with_label_values(&[answer]).inc();
    }
}
