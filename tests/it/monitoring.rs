//! Dashboards and alerting rules use only metrics, labels and values that exist; each alert is tested and has
//! a runbook.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const RULES: &str = "deploy/prometheus/qod-gateway.rules.yaml";
const RULE_TESTS: &str = "deploy/prometheus/qod-gateway.rules.test.yaml";

/// Labels that Prometheus adds to each series.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// Metrics that Prometheus itself records.
const TARGET_METRICS: [&str; 1] = ["up"];

fn read(path: &str) -> String {
    fs::read_to_string(PathBuf::from(ROOT).join(path)).unwrap()
}

/// A metric in an expression, with its matchers: label and value.
struct Selector {
    metric: String,
    matchers: Vec<(String, String)>,
}

/// The selectors of an expression. All metrics of the project have one of these prefixes.
fn selectors(expression: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| is_name(c)) {
        let name_on = &rest[start..];
        let end = name_on.find(|c: char| !is_name(c)).unwrap_or(name_on.len());
        let (name, after) = name_on.split_at(end);
        rest = after;
        let is_metric = name.starts_with("qod_") || name.starts_with("process_") || name == "up";
        let labels = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((inner, after)) = labels {
            rest = after;
            let matchers = inner.split("\",").map(|matcher| {
                let (label, value) = matcher.split_once(['=', '!']).unwrap();
                let value = value.trim_start_matches(['~', '=']).trim_matches('"');
                (label.trim().to_owned(), value.to_owned())
            });
            found.push(Selector { metric: name.to_owned(), matchers: matchers.collect() });
        } else if is_metric {
            found.push(Selector { metric: name.to_owned(), matchers: Vec::new() });
        }
    }
    found
}

/// The labels by which an expression aggregates or matches.
fn grouping_labels(expression: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for keyword in ["by (", "on ("] {
        for part in expression.split(keyword).skip(1) {
            let list = part.split(')').next().unwrap();
            labels.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels
}

/// All expressions with the place where they are: of the rules and of the dashboards.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    let rules = read(RULES);
    for part in rules.split("expr: |-\n").skip(1) {
        let lines = part.lines().take_while(|line| line.starts_with("            "));
        all.push((RULES.to_owned(), lines.map(str::trim).collect::<Vec<_>>().join(" ")));
    }
    for (file, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
                let expression = target["expr"].as_str().unwrap();
                all.push((format!("{file}: {title}"), expression.to_owned()));
            }
        }
        let annotations = dashboard["annotations"]["list"].as_array().unwrap();
        for annotation in annotations {
            all.push((file.clone(), annotation["expr"].as_str().unwrap().to_owned()));
        }
    }
    all
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = PathBuf::from(ROOT).join("deploy/grafana");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = files.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    });
    read.collect()
}

#[test]
fn rules_and_dashboards_use_documented_metrics_labels_and_values() {
    // `metrics::every_metric_is_documented_and_promtool_accepts_them` compares this page with a gateway.
    let documentation = read("docs/reference/metrics.md");
    let recorded = read(RULES);
    let expressions = expressions();
    assert!(expressions.len() > 100, "{}", expressions.len());
    for (place, expression) in &expressions {
        let mut labels_of_all: BTreeSet<String> = TARGET_LABELS.map(str::to_owned).into();
        for Selector { metric, matchers } in selectors(expression) {
            if metric.starts_with("qod:") {
                assert!(recorded.contains(&format!("record: {metric}\n")), "{place}: {metric}");
                continue;
            }
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
            let names = [Some(metric.as_str()), base];
            let row = documentation.lines().find(|line| {
                names.iter().flatten().any(|name| line.starts_with(&format!("| `{name}` |")))
            });
            let row = row.unwrap_or_else(|| {
                let is_listed = TARGET_METRICS.contains(&metric.as_str())
                    || metric.starts_with("process_")
                        && documentation.contains(&format!("`{metric}`"));
                assert!(is_listed, "{place}: `{metric}` does not exist");
                ""
            });
            let labels = row.split('|').nth(3).unwrap_or_default();
            let labels: Vec<&str> = labels.split('`').skip(1).step_by(2).collect();
            labels_of_all.extend(labels.iter().map(|label| (*label).to_owned()));
            if base.is_some() {
                labels_of_all.insert("le".to_owned());
            }
            for (label, value) in matchers {
                let exists =
                    labels.contains(&label.as_str()) || TARGET_LABELS.contains(&label.as_str());
                assert!(exists, "{place}: `{metric}` has no label `{label}`");
                for value in value.split('|').filter(|value| !value.starts_with('$')) {
                    let is_listed = documentation.contains(&format!("`{value}`"))
                        || label == "status"
                        || label == "job";
                    assert!(is_listed, "{place}: `{label}` has no value `{value}`");
                }
            }
        }
        for label in grouping_labels(expression) {
            assert!(labels_of_all.contains(&label), "{place}: no metric has a label `{label}`");
        }
    }
}

#[test]
fn legends_use_labels_of_their_expression() {
    for (file, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: duplicate id");
            for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
                let expression = target["expr"].as_str().unwrap();
                let grouped = grouping_labels(expression);
                for part in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                    let label = part.split("}}").next().unwrap();
                    let is_raw = grouped.is_empty();
                    assert!(is_raw || grouped.contains(label), "{file}: {label} in {expression}");
                }
            }
        }
    }
}

#[test]
fn each_alert_has_a_runbook_and_tests() {
    let (rules, tests, runbooks) =
        (read(RULES), read(RULE_TESTS), read("docs/reference/runbooks.md"));
    let alerts: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20);
    for alert in &alerts {
        assert!(runbooks.contains(&format!("\n## {alert}\n")), "no runbook for {alert}");
        let anchor = format!("runbook: \"docs/reference/runbooks.md#{}\"", alert.to_lowercase());
        assert!(rules.contains(&anchor), "{alert} does not name its runbook");
        // One case in which it fires, and one in which it does not.
        let cases: Vec<&str> = tests
            .split("\n  - name: ")
            .filter(|case| case.contains(&format!("alertname: {alert}\n")) || case.ends_with(alert))
            .collect();
        let firing = cases.iter().filter(|case| case.contains("exp_alerts:")).count();
        assert!(firing > 0 && firing < cases.len(), "{alert}: {firing} of {}", cases.len());
    }
    for line in runbooks.lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(alerts.contains(&line), "the runbook {line} has no alert");
    }
}

/// Runs promtool. Returns false if it is not installed.
fn promtool(args: &[&str]) -> bool {
    let Ok(done) = Command::new("promtool").args(args).current_dir(ROOT).output() else {
        eprintln!("promtool is not installed; rules and dashboards are not checked by it");
        return false;
    };
    let text = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&text));
    true
}

#[test]
fn promtool_accepts_rules_and_dashboards_and_the_tests_of_the_alerts_pass() {
    if !promtool(&["check", "rules", RULES]) {
        return;
    }
    promtool(&["test", "rules", RULE_TESTS]);
    // As rules, so that promtool parses the expressions of the dashboards.
    let rules = expressions().into_iter().enumerate().map(|(n, (_, expression))| {
        let expression = expression.replace("$__rate_interval", "5m");
        serde_json::json!({ "record": format!("dashboard:{n}"), "expr": expression })
    });
    let rules: Vec<Value> = rules.collect();
    let file = serde_json::json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    let path = std::env::temp_dir().join(format!("dashboards-{}.yaml", std::process::id()));
    fs::write(&path, file.to_string()).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
    fs::remove_file(path).unwrap();
}
