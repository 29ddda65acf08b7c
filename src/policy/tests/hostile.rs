//! What nobody writes by mistake: it must neither harm who reads the faults nor keep the reader waiting.

use std::process::Command;

use super::{Folder, assert_fault};

#[test]
fn names_that_are_told_move_no_terminal_and_are_few() {
    let folder = Folder::new();
    let many: String =
        (0..200).map(|n| ["  operator-", &n.to_string(), ": {}\n"].concat()).collect();
    folder.change(
        "operators.yaml",
        "operators:\n",
        &format!("operators:\n  \"x\\e[31m\": {{}}\n{many}"),
    );
    folder.change("routes.yaml", "operator: magenta-de", "operator: nobody");
    let faults = folder.load().unwrap_err();
    let told = faults.iter().find(|fault| fault.contains("`nobody`")).unwrap();
    assert!(told.contains(r"expected `x\u{1b}[31m`, `operator-0`"), "{told}");
    assert!(told.ends_with("or another"), "{told}");
    assert!(faults.iter().all(|fault| !fault.contains('\u{1b}')), "{faults:?}");
}

#[test]
fn a_name_too_long_to_be_a_slip_is_not_compared() {
    let key = "k".repeat(1 << 20);
    let folder = Folder::new();
    folder.change("routes.yaml", "disagreement: first", &format!("? {key}\n: first"));
    let faults = folder.load().unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].len() < 500 && faults[0].contains("kkk…`: expected"), "{:.500}", faults[0]);
}

#[test]
fn a_path_has_no_control_characters() {
    let spoilt = "schemas: §\"../sche\\nmas\"\n";
    assert_fault("gateway.yaml", "schemas: ../schemas\n", spoilt, "expected the path of a file");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = Folder::new();
    assert!(Command::new("mkfifo").arg(folder.at("pipe")).status().unwrap().success());
    folder.change("routes.yaml", "order:", "tables: [{ file: pipe }]\norder:");
    let faults = folder.load().unwrap_err();
    assert!(
        faults[0].starts_with("routes.yaml:") && faults[0].contains("is not a file"),
        "{faults:?}"
    );
}
