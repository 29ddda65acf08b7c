//! Removes gauges of operators, issuers, finders and imports that are no longer configured, because their
//! last values would be misleading.

use std::collections::HashMap;

use prometheus::{
    core::{Collector, MetricVec, MetricVecBuilder},
    proto::MetricFamily,
};

use super::Metrics;

/// The entities that the policies configure.
pub trait ConfiguredEntities {
    /// The number of endpoints of an operator; `None` if it is not configured.
    fn endpoints(&self, operator: &str) -> Option<usize>;
    /// Whether the issuer is configured.
    fn has_issuer(&self, issuer: &str) -> bool;
    /// Whether the finder is configured.
    fn has_finder(&self, finder: &str) -> bool;
    /// Whether an import with this URL is configured.
    fn has_import(&self, url: &str) -> bool;
    /// Whether spans are exported to a collector.
    fn has_collector(&self) -> bool;
}

impl Metrics {
    /// Removes the gauges of all entities that are not configured.
    pub fn remove_unconfigured(&self, configured: &impl ConfiguredEntities) {
        let all = &self.0;
        let has_operator = |name: &str| configured.endpoints(name).is_some();
        retain(&all.operators.breaker, |labels| labels.matches("operator", has_operator));
        retain(&all.operators.endpoints, |labels| {
            let number = labels.get("endpoint").and_then(|number| number.parse::<usize>().ok());
            let count = labels.get("operator").and_then(|name| configured.endpoints(name));
            number.is_some() && number <= count
        });
        retain(&all.jwks_age_seconds, |labels| {
            labels.matches("issuer", |name| configured.has_issuer(name))
        });
        let finders = &all.finders.cache_entries;
        retain(finders, |labels| labels.matches("finder", |name| configured.has_finder(name)));
        let has_import = |url: &str| configured.has_import(url);
        retain(&all.imports.age_seconds, |labels| labels.matches("import", has_import));
        retain(&all.imports.prefixes, |labels| labels.matches("import", has_import));
        for family in all.certificates.families() {
            retain(family, |labels| match labels.get("use") {
                Some("operator") => labels.matches("name", has_operator),
                Some("issuer") => labels.matches("name", |name| configured.has_issuer(name)),
                Some("finder") => labels.matches("name", |name| configured.has_finder(name)),
                Some("import") => labels.matches("name", has_import),
                Some("telemetry") => configured.has_collector(),
                Some(_) | None => true,
            });
        }
    }
}

struct MetricLabels<'a>(HashMap<&'a str, &'a str>);

impl MetricLabels<'_> {
    fn get(&self, label: &str) -> Option<&str> {
        self.0.get(label).copied()
    }

    fn matches(&self, label: &str, condition: impl Fn(&str) -> bool) -> bool {
        self.get(label).is_some_and(condition)
    }
}

/// Removes the metrics of a family whose labels `keep` rejects.
fn retain<T: MetricVecBuilder>(family: &MetricVec<T>, keep: impl Fn(&MetricLabels<'_>) -> bool) {
    let collected = family.collect();
    for metric in collected.iter().flat_map(MetricFamily::get_metric) {
        let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
        let labels = MetricLabels(labels.collect());
        if !keep(&labels) {
            // An error means that it was removed already.
            _ = family.remove(&labels.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct OneConfigured;

    impl ConfiguredEntities for OneConfigured {
        fn endpoints(&self, operator: &str) -> Option<usize> {
            (operator == "configured").then_some(2)
        }

        fn has_issuer(&self, issuer: &str) -> bool {
            issuer == "configured"
        }

        fn has_finder(&self, finder: &str) -> bool {
            finder == "configured"
        }

        fn has_import(&self, url: &str) -> bool {
            url == "configured"
        }

        fn has_collector(&self) -> bool {
            true
        }
    }

    #[test]
    fn gauges_of_removed_entities_are_dropped() {
        let metrics = Metrics::new().unwrap();
        for name in ["configured", "removed"] {
            metrics.set_operator_breaker_state(name, 2);
            for purpose in ["operator", "issuer", "finder", "import", "listener"] {
                metrics.set_certificate_stale((purpose, name), true);
                metrics.set_certificate_expiry((purpose, name), 1);
            }
            for index in 0..3 {
                metrics.set_operator_endpoint_up(name, index, true);
            }
            metrics.set_jwks_age(name, Duration::from_secs(1));
            metrics.set_finder_cache_entries(name, 1);
            metrics.set_import_age(name, Duration::from_secs(1));
            metrics.set_import_prefixes(name, 1);
        }
        metrics.remove_unconfigured(&OneConfigured);
        let text = metrics.text();
        let remaining: Vec<&str> = text.lines().filter(|line| line.contains("removed")).collect();
        let listener = [
            r#"qod_certificate_expires_timestamp_seconds{name="removed",use="listener"} 1"#,
            r#"qod_certificate_stale{name="removed",use="listener"} 1"#,
        ];
        assert_eq!(remaining, listener);
        // One breaker, ten certificate gauges, two endpoints, and one of each of the last four.
        assert_eq!(text.matches("\"configured\"").count(), 17, "{text}");
        assert!(!text.contains(r#"endpoint="3""#), "{text}");
    }
}
