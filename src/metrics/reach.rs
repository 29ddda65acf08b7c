//! How operators can be reached, as it is counted.

use std::collections::HashMap;

use prometheus::{IntCounterVec, IntGaugeVec, Registry, core::Collector, proto::MetricFamily};

use super::{Metrics, counter, gauge};

#[derive(Debug)]
pub(super) struct Reach {
    tokens: IntCounterVec,
    failovers: IntCounterVec,
    left_alone: IntCounterVec,
    breaker: IntGaugeVec,
    endpoints: IntGaugeVec,
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

    /// Forgets how it stands with operators that there are no more, and with endpoints that one has
    /// no more: of each name, how many it has, if there is such an operator.
    pub fn operators_are(&self, endpoints: impl Fn(&str) -> Option<usize>) {
        let count_of = |name: Option<&&str>| name.and_then(|name| endpoints(name));
        let is_one = |name: Option<&&str>| count_of(name).is_some();
        retain(&self.0.reach.breaker, |labels| is_one(labels.get("operator")));
        retain(&self.0.reach.endpoints, |labels| {
            let place = labels.get("endpoint").and_then(|place| place.parse::<usize>().ok());
            place <= count_of(labels.get("operator")) && place.is_some()
        });
        for family in self.0.certificates.families() {
            retain(family, |labels| {
                labels.get("use") != Some(&"operator") || is_one(labels.get("name"))
            });
        }
    }

    /// Sets whether an endpoint can be reached; the first is 1.
    pub fn operator_endpoint(&self, operator: &str, place: usize, up: bool) {
        let place = (place + 1).to_string();
        self.0.reach.endpoints.with_label_values(&[operator, &place]).set(i64::from(up));
    }
}

/// Keeps those of a family whose labels are to be kept.
fn retain(family: &IntGaugeVec, keep: impl Fn(&HashMap<&str, &str>) -> bool) {
    let told = family.collect();
    for metric in told.iter().flat_map(MetricFamily::get_metric) {
        let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
        let labels: HashMap<&str, &str> = labels.collect();
        if !keep(&labels) {
            // It may be gone already.
            _ = family.remove(&labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_an_operator_goes_with_it_and_nothing_else() {
        let metrics = Metrics::new().unwrap();
        for operator in ["stays", "goes"] {
            metrics.operator_breaker(operator, 2);
            metrics.certificate_stale(("operator", operator), true);
            metrics.certificate_expires(("operator", operator), 1);
            metrics.certificate_stale(("issuer", operator), true);
            for place in 0..3 {
                metrics.operator_endpoint(operator, place, true);
            }
        }
        metrics.operators_are(|name| (name == "stays").then_some(2));
        let text = metrics.text();
        let told: Vec<&str> = text.lines().filter(|line| line.contains("goes")).collect();
        assert_eq!(told, [r#"qod_certificate_stale{name="goes",use="issuer"} 1"#]);
        // Its breaker, two endpoints, and three certificates.
        assert_eq!(text.matches("\"stays\"").count(), 6, "{text}");
        assert!(!text.contains(r#"endpoint="3""#), "{text}");
    }
}
