//! Metrics, labels and label values exist as the documentation describes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
};

use crate::world::{World, create_request, number_at};

const DOCUMENTATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");

/// Labels whose values are names from policies, from CAMARA or of SQL functions, or numbers.
const FREE_LABELS: &[&str] = &[
    "client",
    "dialect",
    "endpoint",
    "finder",
    "import",
    "issuer",
    "le",
    "name",
    "operation",
    "profile",
    "operator",
    "statement",
    "status",
    "version",
];

/// Asserts that the documentation lists each metric, with its labels, and each label value. Every test
/// that starts a gateway calls this at its end.
pub(crate) fn assert_documented(metrics: &str) {
    let documentation = fs::read_to_string(DOCUMENTATION).unwrap();
    let rows: BTreeMap<&str, &str> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .collect();
    for line in metrics.lines().filter(|line| line.starts_with("qod_")) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let row = rows.get(name).or_else(|| rows.get(base?));
        let row = row.unwrap_or_else(|| panic!("metrics.md does not list `{name}`"));
        for (label, value) in labels_of(labels.trim_end_matches('}')) {
            assert!(
                label == "le" || row.contains(&format!("`{label}`")),
                "{name}: label `{label}`"
            );
            let listed = documentation.contains(&format!("`{value}`"));
            assert!(
                FREE_LABELS.contains(&label) || listed,
                "metrics.md does not list the value `{value}` of `{label}`: {line}"
            );
        }
    }
}

fn labels_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.split("\",").filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (label, value) = pair.split_once("=\"").unwrap();
        (label, value.trim_end_matches('"'))
    })
}

#[test]
fn every_metric_is_documented_and_promtool_accepts_them() {
    let world = World::simulating(&["camara-0.8.0"]);
    let number = number_at("camara-0.8.0", 1);
    world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number)).expect(201);
    world.create("camara-0.10.1", "app", &create_request("camara-0.10.1", &number)).expect(409);
    // A client that the policies do not name.
    world
        .create("camara-0.10.1", "stranger", &create_request("camara-0.10.1", &number))
        .expect(403);
    let text = world.admin("/metrics").unwrap().expect(200).body;
    for reason in ["none", "conflict"] {
        let series = format!(r#"qod_client_requests_total{{client="app",reason="{reason}"}} 1"#);
        assert!(text.contains(&series), "{text}");
    }
    assert!(!text.contains("stranger"), "{text}");
    let documents = fs::read_to_string(DOCUMENTATION).unwrap();
    let reply: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in &reply {
        assert!(documents.contains(&format!("`{name}`")), "docs/reference/metrics.md lacks {name}");
    }
    let mut source =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics.rs")).unwrap();
    for part in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics")).unwrap() {
        source += &fs::read_to_string(part.unwrap().path()).unwrap();
    }
    for name in documents.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        assert!(source.contains(&format!("\"{name}\"")), "docs/reference/metrics.md has {name}");
    }
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let names: BTreeSet<&str> =
        source.split('"').filter(|part| part.starts_with("qod_") && is_name(part)).collect();
    for name in names {
        assert!(documents.contains(&format!("`{name}`")), "docs/reference/metrics.md lacks {name}");
    }
    let mut series =
        text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(series, _)| series));
    assert!(series.all(|series| !series.contains("4910")), "no phone number in a label");

    let Ok(mut promtool) =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn()
    else {
        eprintln!("promtool is not installed; what it would say is not known");
        return;
    };
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success());
}
