//! Tables of routes, as `routes.yaml` names them.

use std::fs;

use super::{Folder, assert_fault};
use crate::policy::{load, load_after};

const ORDER: &str = "order: [ip, realm, number]";

fn folder_with(csv: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.at("ported.csv"), csv).unwrap();
    folder.change("routes.yaml", ORDER, "tables: [{ file: ported.csv }]");
    folder
}

#[test]
fn a_table_is_taken_and_carried_over_while_its_file_is_the_same() {
    let folder = folder_with("number,operator\n+4915188888888,tmobile-us\n");
    let policy = folder.load().unwrap();
    let [table] = policy.routes.tables() else { panic!("one table") };
    let again = load_after(&folder.0.join("policies"), policy.routes.tables()).unwrap();
    assert!(std::sync::Arc::ptr_eq(table, &again.routes.tables()[0]));
    let anew = load(&folder.0.join("policies")).unwrap();
    assert!(!std::sync::Arc::ptr_eq(table, &anew.routes.tables()[0]));
}

#[test]
fn an_operator_that_is_not_there_is_told_where_the_table_names_it() {
    let folder = folder_with("number,operator\n+4915188888888,tmobile-uk\n");
    let faults = folder.load().unwrap_err();
    let expected =
        "ported.csv:2:16: no operator is called `tmobile-uk`: did you mean `tmobile-us`?";
    assert_eq!(faults, [expected]);
}

#[test]
fn a_table_that_contradicts_the_routes_is_told() {
    let folder = folder_with("number,operator\n+4915199999999,tmobile-us\n");
    let faults = folder.load().unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("`routes` has another operator for the same number +49…99"));
    assert!(faults[0].starts_with("routes.yaml:5:18: "), "{faults:?}");
}

#[test]
fn a_table_that_is_not_there_is_told() {
    let told = "`";
    assert_fault("routes.yaml", ORDER, "tables: [{ file: §nowhere.csv }]", told);
}

#[test]
fn the_same_policies_are_the_same_version_wherever_they_stand() {
    let version = |csv: &str| folder_with(csv).load().unwrap().written.version;
    let one = version("number,operator\n+4915188888888,tmobile-us\n");
    assert_eq!(one, version("number,operator\n+4915188888888,tmobile-us\n"));
    assert_ne!(one, version("number,operator\n+4915188888889,tmobile-us\n"));
}
