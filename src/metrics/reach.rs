//! How operators can be reached, as it is counted.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, counter, gauge};

#[derive(Debug)]
pub(super) struct Reach {
    tokens: IntCounterVec,
    failovers: IntCounterVec,
    left_alone: IntCounterVec,
    pub(super) breaker: IntGaugeVec,
    pub(super) endpoints: IntGaugeVec,
}

impl Reach {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            tokens: counter(
                registry,
                "qod_operator_token_fetches_total",
                "Attempts to fetch an access token of ours for an operator",
                &["operator", "outcome"],
            )?,
            failovers: counter(
                registry,
                "qod_operator_failovers_total",
                "Calls that were tried at another endpoint of their operator",
                &["operator"],
            )?,
            left_alone: counter(
                registry,
                "qod_operator_calls_not_made_total",
                "Calls that were not made because the operator is left alone",
                &["operator", "reason"],
            )?,
            breaker: gauge(
                registry,
                "qod_operator_breaker_state",
                "0 while an operator is called, 1 while it is tried, 2 while it is left alone",
                &["operator"],
            )?,
            endpoints: gauge(
                registry,
                "qod_operator_endpoint_up",
                "1, or 0 while an endpoint stands behind the others",
                &["operator", "endpoint"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts an attempt to fetch an access token of ours.
    pub fn operator_token_fetched(&self, operator: &str, outcome: &'static str) {
        self.0.reach.tokens.with_label_values(&[operator, outcome]).inc();
    }

    /// Counts a call that is tried at another endpoint.
    pub fn operator_failed_over(&self, operator: &str) {
        self.0.reach.failovers.with_label_values(&[operator]).inc();
    }

    /// Counts a call that is not made.
    pub fn operator_left_alone(&self, operator: &str, reason: &'static str) {
        self.0.reach.left_alone.with_label_values(&[operator, reason]).inc();
    }

    /// Sets how an operator's breaker stands.
    pub fn operator_breaker(&self, operator: &str, level: i64) {
        self.0.reach.breaker.with_label_values(&[operator]).set(level);
    }

    /// Sets whether an endpoint can be reached; the first is 1.
    pub fn operator_endpoint(&self, operator: &str, place: usize, up: bool) {
        let place = (place + 1).to_string();
        self.0.reach.endpoints.with_label_values(&[operator, &place]).set(i64::from(up));
    }
}
