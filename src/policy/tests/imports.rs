//! Rules that are imported into the routes.

use std::fs;

use super::{Folder, assert_fault};

const DISAGREEMENT: &str = "disagreement: first";

fn folder(rules: &str, more: &str) -> Folder {
    let folder = Folder::new();
    fs::write(folder.at("operator.json"), rules).unwrap();
    let entry = format!("imports: [{{ file: operator.json{more} }}]");
    folder.change("routes.yaml", DISAGREEMENT, &entry);
    folder
}

fn said(operator_id: &str) -> String {
    format!(
        r#"[{{ "msisdnPrefix": ["+4479"],
               "static": {{ "operatorId": "{operator_id}", "apiRoot": "https://api.example" }} }}]"#
    )
}

#[test]
fn rules_of_a_file_are_routes_and_another_file_is_another_reading() {
    let folder = folder(&said("tmobile-us"), "");
    let policy = folder.load().unwrap();
    let device = crate::qod::Device {
        phone: Some(crate::qod::Written::plain("+447900000000".parse().unwrap())),
        ..crate::qod::Device::default()
    };
    assert_eq!(&*policy.routes.find(&device).unwrap().operator().0, "tmobile-us");
    fs::write(folder.at("operator.json"), said("magenta-de")).unwrap();
    let next = folder.load().unwrap();
    assert_eq!(&*next.routes.find(&device).unwrap().operator().0, "magenta-de");
    assert_ne!(policy.written.version, next.written.version);
}

#[test]
fn operators_are_named_as_they_are_called_in_the_open_gateway() {
    let folder = folder(&said("TMO"), "");
    let faults = folder.load().unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with("routes.yaml:8:19: "), "{faults:?}");
    let expected =
        "operator.json`: /0/static/operatorId: no operator of operators.yaml is called so";
    assert!(faults[0].ends_with(expected), "{faults:?}");
    folder.change(
        "operators.yaml",
        "speaks: devedge",
        "speaks: devedge\n    gsma: { operator_id: TMO }",
    );
    folder.load().unwrap();
}

#[test]
fn an_import_may_speak_for_one_operator_only() {
    folder(&said("tmobile-us"), ", operator: tmobile-us").load().unwrap();
    let faults = folder(&said("tmobile-us"), ", operator: magenta-de").load().unwrap_err();
    assert!(faults[0].contains("/0/static/operatorId: rules from here may name one"), "{faults:?}");
}

#[test]
fn what_is_no_import_is_told_where_it_stands() {
    let to = "imports: [{ file: §none.json }]";
    assert_fault("routes.yaml", DISAGREEMENT, to, "`");
    let faults = folder("[]", ", operator: nobody").load().unwrap_err();
    assert!(faults[0].contains("no operator is called `nobody`"), "{faults:?}");
}
