//! Metrics of clients. Only clients that the policies name have a label, so that tokens cannot add any.

use prometheus::{IntCounterVec, Registry};

use super::{Metrics, counter};

#[derive(Debug)]
pub(super) struct ClientMetrics {
    requests: IntCounterVec,
}

impl ClientMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: counter(
                registry,
                "qod_client_requests_total",
                "Requests of authenticated clients that the policies name, by response",
                &["client", "reason"],
            )?,
        })
    }
}

impl Metrics {
    /// Records a request of a client that the policies name. `reason` is the kind of the rejection.
    pub fn record_client_request(&self, client: &str, reason: &str) {
        self.0.clients.requests.with_label_values(&[client, reason]).inc();
    }
}
