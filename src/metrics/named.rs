//! Gauges of whom the policies name no more: they go, for an old figure is none.

use std::collections::HashMap;

use prometheus::{
    core::{Collector, MetricVec, MetricVecBuilder},
    proto::MetricFamily,
};

use super::Metrics;

/// Whom the policies name.
pub trait Named {
    /// How many endpoints an operator has, if there is one of this name.
    fn endpoints(&self, operator: &str) -> Option<usize>;
    /// Is there such an issuer?
    fn has_issuer(&self, issuer: &str) -> bool;
    /// Is there such a finder?
    fn has_finder(&self, finder: &str) -> bool;
    /// Are rules asked for at this URL?
    fn has_import(&self, url: &str) -> bool;
}

impl Metrics {
    /// Forgets how it stands with everybody else.
    pub fn forget_all_but(&self, named: &impl Named) {
        let all = &self.0;
        let has_operator = |name: &str| named.endpoints(name).is_some();
        retain(&all.reach.breaker, |labels| labels.are("operator", has_operator));
        retain(&all.reach.endpoints, |labels| {
            let place = labels.get("endpoint").and_then(|place| place.parse::<usize>().ok());
            let count = labels.get("operator").and_then(|name| named.endpoints(name));
            place.is_some() && place <= count
        });
        retain(&all.jwks_age_seconds, |labels| labels.are("issuer", |name| named.has_issuer(name)));
        let finders = &all.finders.answers;
        retain(finders, |labels| labels.are("finder", |name| named.has_finder(name)));
        let has_import = |url: &str| named.has_import(url);
        retain(&all.imports.age_seconds, |labels| labels.are("import", has_import));
        retain(&all.imports.prefixes, |labels| labels.are("import", has_import));
        for family in all.certificates.families() {
            retain(family, |labels| match labels.get("use") {
                Some("operator") => labels.are("name", has_operator),
                Some("issuer") => labels.are("name", |name| named.has_issuer(name)),
                Some("finder") => labels.are("name", |name| named.has_finder(name)),
                Some("import") => labels.are("name", has_import),
                Some(_) | None => true,
            });
        }
    }
}

struct Labels<'a>(HashMap<&'a str, &'a str>);

impl Labels<'_> {
    fn get(&self, label: &str) -> Option<&str> {
        self.0.get(label).copied()
    }

    fn are(&self, label: &str, what: impl Fn(&str) -> bool) -> bool {
        self.get(label).is_some_and(what)
    }
}

/// Keeps those of a family whose labels are to be kept.
fn retain<T: MetricVecBuilder>(family: &MetricVec<T>, keep: impl Fn(&Labels<'_>) -> bool) {
    let told = family.collect();
    for metric in told.iter().flat_map(MetricFamily::get_metric) {
        let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
        let labels = Labels(labels.collect());
        if !keep(&labels) {
            // It may be gone already.
            _ = family.remove(&labels.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct One;

    impl Named for One {
        fn endpoints(&self, operator: &str) -> Option<usize> {
            (operator == "stays").then_some(2)
        }

        fn has_issuer(&self, issuer: &str) -> bool {
            issuer == "stays"
        }

        fn has_finder(&self, finder: &str) -> bool {
            finder == "stays"
        }

        fn has_import(&self, url: &str) -> bool {
            url == "stays"
        }
    }

    #[test]
    fn what_is_told_of_somebody_goes_with_him_and_nothing_else() {
        let metrics = Metrics::new().unwrap();
        for name in ["stays", "goes"] {
            metrics.operator_breaker(name, 2);
            for of in ["operator", "issuer", "finder", "import", "listener"] {
                metrics.certificate_stale((of, name), true);
                metrics.certificate_expires((of, name), 1);
            }
            for place in 0..3 {
                metrics.operator_endpoint(name, place, true);
            }
            metrics.jwks_age(name, Duration::from_secs(1));
            metrics.finder_remembers(name, 1);
            metrics.import_age(name, Duration::from_secs(1));
            metrics.import_holds(name, 1);
        }
        metrics.forget_all_but(&One);
        let text = metrics.text();
        let told: Vec<&str> = text.lines().filter(|line| line.contains("goes")).collect();
        let listener = [
            r#"qod_certificate_expires_timestamp_seconds{name="goes",use="listener"} 1"#,
            r#"qod_certificate_stale{name="goes",use="listener"} 1"#,
        ];
        assert_eq!(told, listener);
        // A breaker, ten of certificates, two endpoints, and one each of the last four.
        assert_eq!(text.matches("\"stays\"").count(), 17, "{text}");
        assert!(!text.contains(r#"endpoint="3""#), "{text}");
    }
}
