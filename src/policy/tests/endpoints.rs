//! Tests of the endpoints of operator entries.

use super::*;
use crate::outbound::Endpoint;

/// Loads magenta-de with these endpoint lines, as a real operator that the sandbox client cannot use.
fn with(lines: &str) -> Result<Vec<String>, Vec<String>> {
    let folder = PolicyFolder::new();
    let before =
        "endpoint: http://127.0.0.1:9103/qod/v0\n    dialect: camara-0.8.0\n    simulated: true";
    folder.change("operators.yaml", before, &format!("{lines}\n    dialect: camara-0.8.0"));
    folder.change("clients.yaml", "tmobile-us, magenta-de]", "tmobile-us]");
    let operators = folder.load()?.operators;
    let magenta = operators.into_iter().find(|operator| &*operator.id.0 == "magenta-de");
    Ok(magenta.unwrap().endpoints.iter().map(Endpoint::url).collect())
}

#[test]
fn endpoints_are_read_in_order() {
    let endpoints = |lines: &str| with(lines).unwrap();
    assert_eq!(endpoints("endpoint: https://b.example/qod"), ["https://b.example/qod"]);
    let two = ["https://b.example/qod", "https://a.example:8443"];
    assert_eq!(endpoints(&format!("endpoints: [{}]", two.join(", "))), two);
    // Loopback connections may be unencrypted; others require permission.
    assert_eq!(endpoints("endpoint: http://127.0.0.1:1").len(), 1);
    assert_eq!(endpoints("plaintext: allow\n    endpoint: http://10.0.0.1:1").len(), 1);
}

#[test]
fn invalid_endpoints_are_reported_with_their_position() {
    const EITHER: &str = "expected either `endpoint` or `endpoints`";
    const ENCRYPTED: &str = "expected https, or `plaintext: allow` for this operator";
    const DUPLICATE: &str = "duplicate endpoint";
    let (a, b) = ("https://a.example/qod", "https://b.example/qod");
    let nine: Vec<String> = (1..=9).map(|number| format!("https://a{number}.example")).collect();
    let shipped = fs::read_to_string(shipped().join("operators.yaml")).unwrap();
    let entry = 1 + shipped.lines().position(|line| line == "  magenta-de:").unwrap();
    for (lines, expected) in [
        (format!("endpoint: {a}\n    §endpoints: [{b}]"), EITHER),
        ("§timeout: 5s".to_owned(), EITHER),
        (format!("endpoints: [{a}, {b}, §{a}]"), DUPLICATE),
        ("endpoint: §http://a.example/qod".to_owned(), ENCRYPTED),
        ("endpoint: §http://10.0.0.1/qod".to_owned(), ENCRYPTED),
        (format!("endpoints: [{a}, §http://b.example/qod]"), ENCRYPTED),
        ("endpoints: §[]".to_owned(), ""),
        (format!("endpoints: §[{}]", nine.join(", ")), ""),
        ("endpoint: §ftp://a.example".to_owned(), ""),
        ("endpoint: §https://a.example/?x=1".to_owned(), ""),
    ] {
        let (before, _) = lines.split_once('§').unwrap();
        let line = entry + 1 + before.matches('\n').count();
        let column = 5 + before.rsplit('\n').next().unwrap().trim_start().chars().count();
        let errors = with(&lines.replace('§', "")).unwrap_err();
        let expected = format!("operators.yaml:{line}:{column}: {expected}");
        assert!(errors[0].starts_with(&expected), "{errors:#?} instead of {expected}");
        assert_eq!(errors.len(), 1, "{errors:#?}");
    }
}

#[test]
fn all_errors_of_endpoints_are_reported_in_one_run() {
    let lines = "endpoint: http://a.example\n    endpoints: [http://b.example, http://b.example]";
    let errors = with(lines).unwrap_err();
    let count = |message: &str| errors.iter().filter(|error| error.contains(message)).count();
    assert_eq!(
        (count("expected https"), count("duplicate"), count("either")),
        (3, 1, 1),
        "{errors:#?}"
    );
    assert_eq!(errors.len(), 5);
}
