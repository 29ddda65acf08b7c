//! Tests of the route tables of `routes.yaml`.

use std::fs;

use super::{PolicyFolder, assert_error};
use crate::policy::{load, reload};

const ORDER: &str = "order: [ip, realm, number]";

fn folder_with(csv: &str) -> PolicyFolder {
    let folder = PolicyFolder::new();
    fs::write(folder.path("ported.csv"), csv).unwrap();
    folder.change("routes.yaml", ORDER, "tables: [{ file: ported.csv }]");
    folder
}

#[test]
fn unchanged_table_is_reused_on_reload() {
    let folder = folder_with("number,operator\n+4915188888888,tmobile-us\n");
    let policy = folder.load().unwrap();
    let [table] = policy.routes.tables() else { panic!("one table") };
    let reloaded = reload(&folder.0.join("policies"), policy.routes.tables()).unwrap();
    assert!(std::sync::Arc::ptr_eq(table, &reloaded.routes.tables()[0]));
    let loaded = load(&folder.0.join("policies")).unwrap();
    assert!(!std::sync::Arc::ptr_eq(table, &loaded.routes.tables()[0]));
}

#[test]
fn unknown_operator_in_a_table_is_reported_with_its_position() {
    let folder = folder_with("number,operator\n+4915188888888,tmobile-uk\n");
    let errors = folder.load().unwrap_err();
    let expected = "ported.csv:2:16: unknown operator `tmobile-uk`; did you mean `tmobile-us`?";
    assert_eq!(errors, [expected]);
}

#[test]
fn conflicting_table_is_reported() {
    let folder = folder_with("number,operator\n+4915199999999,tmobile-us\n");
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("`routes` has another operator for the same number +49…99"));
    assert!(errors[0].starts_with("routes.yaml:") && errors[0].contains(":18: "), "{errors:?}");
}

#[test]
fn missing_table_is_reported() {
    assert_error("routes.yaml", ORDER, "tables: [{ file: §nowhere.csv }]", "failed to read `");
}

#[test]
fn version_does_not_depend_on_the_location() {
    let version = |csv: &str| folder_with(csv).load().unwrap().fingerprint.version;
    let one = version("number,operator\n+4915188888888,tmobile-us\n");
    assert_eq!(one, version("number,operator\n+4915188888888,tmobile-us\n"));
    assert_ne!(one, version("number,operator\n+4915188888889,tmobile-us\n"));
}
