//! What operators' entries say of where they are called.

use super::*;

/// Magenta is no longer simulated, nor the sandbox's, and has these lines of its endpoints.
fn with(lines: &str) -> Result<Vec<String>, Vec<String>> {
    let folder = Folder::new();
    let before =
        "endpoint: http://127.0.0.1:9103/qod/v0\n    speaks: camara-0.8.0\n    simulated: true";
    folder.change("operators.yaml", before, &format!("{lines}\n    speaks: camara-0.8.0"));
    folder.change("clients.yaml", "tmobile-us, magenta-de]", "tmobile-us]");
    let operators = folder.load()?.operators;
    let magenta = operators.into_iter().find(|operator| &*operator.id.0 == "magenta-de");
    Ok(magenta.unwrap().endpoints)
}

#[test]
fn one_endpoint_or_several_are_taken_in_their_order() {
    let endpoints = |lines: &str| with(lines).unwrap();
    assert_eq!(endpoints("endpoint: https://b.example/qod"), ["https://b.example/qod"]);
    let two = ["https://b.example/qod", "https://a.example:8443"];
    assert_eq!(endpoints(&format!("endpoints: [{}]", two.join(", "))), two);
    // On this machine nothing is overheard; elsewhere it has to be said.
    assert_eq!(endpoints("endpoint: http://127.0.0.1:1").len(), 1);
    assert_eq!(endpoints("plaintext: allow\n    endpoint: http://10.0.0.1:1").len(), 1);
}

#[test]
fn endpoints_that_cannot_be_are_told_with_their_place() {
    const EITHER: &str = "expected either `endpoint` or `endpoints`";
    const ENCRYPTED: &str =
        "expected https: `plaintext: allow` makes an exception for this operator";
    const TWICE: &str = "this endpoint is named twice";
    let (a, b) = ("https://a.example/qod", "https://b.example/qod");
    let nine: Vec<String> = (1..=9).map(|number| format!("https://a{number}.example")).collect();
    let shipped = fs::read_to_string(shipped().join("operators.yaml")).unwrap();
    let entry = 1 + shipped.lines().position(|line| line == "  magenta-de:").unwrap();
    for (lines, expected) in [
        (format!("endpoint: {a}\n    §endpoints: [{b}]"), EITHER),
        ("§timeout: 5s".to_owned(), EITHER),
        (format!("endpoints: [{a}, {b}, §{a}]"), TWICE),
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
        let faults = with(&lines.replace('§', "")).unwrap_err();
        let expected = format!("operators.yaml:{line}:{column}: {expected}");
        assert!(faults[0].starts_with(&expected), "{faults:#?} instead of {expected}");
        assert_eq!(faults.len(), 1, "{faults:#?}");
    }
}

#[test]
fn all_that_is_wrong_with_an_operators_endpoints_is_told_at_once() {
    let lines = "endpoint: http://a.example\n    endpoints: [http://b.example, http://b.example]";
    let faults = with(lines).unwrap_err();
    let count = |message: &str| faults.iter().filter(|fault| fault.contains(message)).count();
    assert_eq!(
        (count("expected https"), count("twice"), count("either")),
        (3, 1, 1),
        "{faults:#?}"
    );
    assert_eq!(faults.len(), 5);
}
