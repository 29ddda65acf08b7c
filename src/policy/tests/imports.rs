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

#[test]
fn an_operator_is_asked_for_rules_over_an_encrypted_connection_only() {
    let to = "imports: [{ url: §http://operator.example/routing }]";
    assert_fault("routes.yaml", DISAGREEMENT, to, "expected https");
    let to = "imports: [{ url: \"https://operator.example/routing\", every: §10ms }]";
    assert_fault("routes.yaml", DISAGREEMENT, to, "expected a second at least");
    let twice = "imports: [{ url: \"https://a.example\" }, { url: §\"https://a.example\" }]";
    assert_fault("routes.yaml", DISAGREEMENT, twice, "it is asked already");
    assert_fault(
        "routes.yaml",
        DISAGREEMENT,
        "imports: [§{ operator: tmobile-us }]",
        "expected either",
    );
    let faults = folder("[]", ", every: 1m").load().unwrap_err();
    assert!(faults[0].contains("this is of use with a `url` only"), "{faults:?}");
}

#[test]
fn what_is_not_known_yet_is_not_said_to_be_nowhere() {
    let folder = Folder::new();
    folder.change("routes.yaml", DISAGREEMENT, "imports: [{ url: \"https://a.example\" }]");
    let device = |number: &str| crate::qod::Device {
        phone: Some(crate::qod::Written::plain(number.parse().unwrap())),
        ..crate::qod::Device::default()
    };
    let policy = folder.load().unwrap();
    let no = policy.routes.find(&device("+447900000000")).unwrap_err();
    assert_eq!(no, crate::route::NoOperator::NotYet);
    assert!(policy.routes.find(&device("+347900000000")).is_ok());
}
