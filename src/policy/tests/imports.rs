//! Tests of the imports section of `routes.yaml`.

use std::fs;

use super::{PolicyFolder, assert_error};

const DISAGREEMENT: &str = "disagreement: first";

fn folder(rules: &str, more: &str) -> PolicyFolder {
    let folder = PolicyFolder::new();
    fs::write(folder.path("operator.json"), rules).unwrap();
    let entry = format!("imports: [{{ file: operator.json{more} }}]");
    folder.change("routes.yaml", DISAGREEMENT, &entry);
    folder
}

fn rule_for(operator_id: &str) -> String {
    format!(
        r#"[{{ "msisdnPrefix": ["+4479"],
               "static": {{ "operatorId": "{operator_id}", "apiRoot": "https://api.example" }} }}]"#
    )
}

#[test]
fn changed_import_file_changes_routes_and_version() {
    let folder = folder(&rule_for("tmobile-us"), "");
    let policy = folder.load().unwrap();
    let device = crate::qod::Device {
        phone: Some(crate::qod::Verbatim::from_value("+447900000000".parse().unwrap())),
        ..crate::qod::Device::default()
    };
    assert_eq!(&*policy.routes.find(&device).unwrap().operator().0, "tmobile-us");
    fs::write(folder.path("operator.json"), rule_for("magenta-de")).unwrap();
    let next = folder.load().unwrap();
    assert_eq!(&*next.routes.find(&device).unwrap().operator().0, "magenta-de");
    assert_ne!(policy.fingerprint.version, next.fingerprint.version);
}

#[test]
fn imported_rules_refer_to_gsma_operator_ids() {
    let folder = folder(&rule_for("TMO"), "");
    let errors = folder.load().unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("routes.yaml:") && errors[0].contains(":19: "), "{errors:?}");
    let expected =
        "operator.json`: /0/static/operatorId: no operator in operators.yaml has this `operatorId`";
    assert!(errors[0].ends_with(expected), "{errors:?}");
    folder.change(
        "operators.yaml",
        "dialect: devedge",
        "dialect: devedge\n    gsma: { operator_id: TMO }",
    );
    folder.load().unwrap();
}

#[test]
fn import_can_be_limited_to_one_operator() {
    folder(&rule_for("tmobile-us"), ", operator: tmobile-us").load().unwrap();
    let errors = folder(&rule_for("tmobile-us"), ", operator: magenta-de").load().unwrap_err();
    assert!(errors[0].contains("/0/static/operatorId: this import may name one"), "{errors:?}");
}

#[test]
fn invalid_imports_are_reported_with_their_position() {
    let to = "imports: [{ file: §none.json }]";
    assert_error("routes.yaml", DISAGREEMENT, to, "failed to read `");
    let errors = folder("[]", ", operator: missing").load().unwrap_err();
    assert!(errors[0].contains("unknown operator `missing`"), "{errors:?}");
}

#[test]
fn polled_imports_require_https_and_a_valid_interval() {
    let to = "imports: [{ url: §http://operator.example/routing }]";
    assert_error("routes.yaml", DISAGREEMENT, to, "expected https");
    let to = "imports: [{ url: \"https://operator.example/routing\", poll_interval: §10ms }]";
    assert_error("routes.yaml", DISAGREEMENT, to, "expected at least `1s`");
    let duplicate = "imports: [{ url: \"https://a.example\" }, { url: §\"https://a.example\" }]";
    assert_error("routes.yaml", DISAGREEMENT, duplicate, "duplicate URL");
    assert_error(
        "routes.yaml",
        DISAGREEMENT,
        "imports: [§{ operator: tmobile-us }]",
        "expected either",
    );
    let errors = folder("[]", ", poll_interval: 1m").load().unwrap_err();
    assert!(errors[0].contains("this key requires `url`"), "{errors:?}");
}

#[test]
fn lookup_is_pending_until_the_first_poll() {
    let folder = PolicyFolder::new();
    folder.change("routes.yaml", DISAGREEMENT, "imports: [{ url: \"https://a.example\" }]");
    let device = |number: &str| crate::qod::Device {
        phone: Some(crate::qod::Verbatim::from_value(number.parse().unwrap())),
        ..crate::qod::Device::default()
    };
    let policy = folder.load().unwrap();
    let error = policy.routes.find(&device("+447900000000")).unwrap_err();
    assert_eq!(error, crate::route::NoOperator::RoutesIncomplete);
    assert!(policy.routes.find(&device("+347900000000")).is_ok());
}
