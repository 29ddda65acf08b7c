//! Metrics of the availability of operators.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{Metrics, counter, gauge};

#[derive(Debug)]
pub(super) struct OperatorMetrics {
    token_fetches: IntCounterVec,
    failovers: IntCounterVec,
    calls_blocked: IntCounterVec,
    session_ids_repeated: IntCounterVec,
    pub(super) breaker: IntGaugeVec,
    pub(super) endpoints: IntGaugeVec,
}

impl OperatorMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            token_fetches: counter(
                registry,
                "qod_operator_token_fetches_total",
                "Attempts to fetch an access token for an operator",
                &["operator", "outcome"],
            )?,
            failovers: counter(
                registry,
                "qod_operator_failovers_total",
                "Calls that were retried at another endpoint of the operator",
                &["operator"],
            )?,
            calls_blocked: counter(
                registry,
                "qod_operator_calls_blocked_total",
                "Calls that were not sent because of the circuit breaker or a call limit",
                &["operator", "reason"],
            )?,
            session_ids_repeated: counter(
                registry,
                "qod_operator_session_ids_repeated_total",
                "Creates that the operator answered with the id of another session",
                &["operator"],
            )?,
            breaker: gauge(
                registry,
                "qod_operator_breaker_state",
                "State of the circuit breaker: 0 closed, 1 half-open, 2 open",
                &["operator"],
            )?,
            endpoints: gauge(
                registry,
                "qod_operator_endpoint_up",
                "1 while an endpoint is preferred, 0 after a failed connection or health check",
                &["operator", "endpoint"],
            )?,
        })
    }
}

impl Metrics {
    /// Counts an attempt to fetch an access token for an operator.
    pub fn record_operator_token_fetch(&self, operator: &str, outcome: &'static str) {
        self.0.operators.token_fetches.with_label_values(&[operator, outcome]).inc();
    }

    /// Counts a call that is retried at another endpoint.
    pub fn record_operator_failover(&self, operator: &str) {
        self.0.operators.failovers.with_label_values(&[operator]).inc();
    }

    /// Counts a call that is not sent.
    pub fn record_operator_call_blocked(&self, operator: &str, reason: &'static str) {
        self.0.operators.calls_blocked.with_label_values(&[operator, reason]).inc();
    }

    /// Counts a create that the operator answered with the id of another session.
    pub fn record_operator_session_id_repeated(&self, operator: &str) {
        self.0.operators.session_ids_repeated.with_label_values(&[operator]).inc();
    }

    /// Sets the state of an operator's circuit breaker: 0 closed, 1 half-open, 2 open.
    pub fn set_operator_breaker_state(&self, operator: &str, level: i64) {
        self.0.operators.breaker.with_label_values(&[operator]).set(level);
    }

    /// Sets whether an endpoint is available. `index` starts at 0; the label starts at 1.
    pub fn set_operator_endpoint_up(&self, operator: &str, index: usize, up: bool) {
        let number = (index + 1).to_string();
        self.0.operators.endpoints.with_label_values(&[operator, &number]).set(i64::from(up));
    }
}
