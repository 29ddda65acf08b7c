//! Tests of malicious input: error output stays safe and short, and loading does not block.

use std::process::Command;

use super::{PolicyFolder, assert_error};

#[test]
fn names_in_messages_are_escaped_and_limited() {
    let folder = PolicyFolder::new();
    let many: String =
        (0..200).map(|n| ["  operator-", &n.to_string(), ": {}\n"].concat()).collect();
    folder.change(
        "operators.yaml",
        "operators:\n",
        &format!("operators:\n  \"x\\e[31m\": {{}}\n{many}"),
    );
    folder.change("routes.yaml", "operator: magenta-de", "operator: missing");
    let errors = folder.load().unwrap_err();
    let message = errors.iter().find(|error| error.contains("`missing`")).unwrap();
    assert!(message.contains(r"expected `x\u{1b}[31m`, `operator-0`"), "{message}");
    assert!(message.ends_with("or another name"), "{message}");
    assert!(errors.iter().all(|error| !error.contains('\u{1b}')), "{errors:?}");
}

#[test]
fn overlong_names_are_not_compared() {
    let key = "k".repeat(1 << 20);
    let folder = PolicyFolder::new();
    folder.change("routes.yaml", "disagreement: first", &format!("? {key}\n: first"));
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].len() < 500 && errors[0].contains("kkk…`; expected"), "{:.500}", errors[0]);
}

#[test]
fn control_characters_in_paths_are_rejected() {
    let changed = "schemas: §\"../sche\\nmas\"\n";
    assert_error("gateway.yaml", "schemas: ../schemas\n", changed, "expected the path of a file");
}

#[test]
fn named_pipe_does_not_block() {
    let folder = PolicyFolder::new();
    assert!(Command::new("mkfifo").arg(folder.path("pipe")).status().unwrap().success());
    folder.change("routes.yaml", "order:", "tables: [{ file: pipe }]\norder:");
    let errors = folder.load().unwrap_err();
    assert!(
        errors[0].starts_with("routes.yaml:") && errors[0].contains("it is not a regular file"),
        "{errors:?}"
    );
}
