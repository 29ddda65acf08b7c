//! Tests of reading policy tests.

use super::{documents::keys, *};
use crate::qod::IdentifierKind;

const TEST: &str = "tests:\n  - name: a test\n    client: sandbox\n    dialect: camara-1.1.0\n";

fn folder_with(rest: &str) -> PolicyFolder {
    let folder = PolicyFolder::new();
    fs::create_dir_all(folder.path("tests")).unwrap();
    fs::write(folder.path("tests/some.yaml"), format!("{TEST}{rest}")).unwrap();
    folder
}

fn load_tests_of(folder: &PolicyFolder) -> Result<Vec<PolicyTest>, Vec<String>> {
    load_policy_tests(&folder.load_with_sources()).map_err(|errors| {
        let describe = |error: &Diagnostic| {
            let file = error.file.file_name().unwrap().to_string_lossy().into_owned();
            format!("{file}:{}:{}: {}", error.line, error.column, error.message)
        };
        errors.iter().map(describe).collect()
    })
}

/// Asserts one error at the position of `§`.
#[track_caller]
fn assert_test_error(rest: &str, expected: &str) {
    let (before, after) = rest.split_once('§').unwrap();
    let line = (TEST.to_owned() + before).matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let errors =
        load_tests_of(&folder_with(&[before, after].concat())).expect_err("the test is invalid");
    let expected = format!("some.yaml:{line}:{column}: {expected}");
    assert!(errors[0].starts_with(&expected), "expected {expected}\n     got {errors:#?}");
    assert_eq!(errors.len(), 1, "{errors:#?}");
}

#[test]
fn all_values_of_a_test_are_read() {
    let folder = folder_with(
        "    source_address: 203.0.113.7\n    body: { qosProfile: QOS_E }\n    expect:\n      operator: magenta-de\n      \
         matched_by: phoneNumber\n      dialect: camara-0.8.0\n      profile: QOS_E\n      duration: 1h\n",
    );
    let tests = load_tests_of(&folder).unwrap();
    let [PolicyTest { line: 2, name, request, expected, .. }] = &*tests else {
        panic!("{tests:?}")
    };
    assert_eq!(name, "a test");
    assert_eq!((&*request.client.0, request.dialect.as_str()), ("sandbox", "camara-1.1.0"));
    assert_eq!(request.source_address, Some("203.0.113.7".parse().unwrap()));
    assert!(
        matches!(&request.subject, ExplainSubject::Create(body) if body == br#"{"qosProfile":"QOS_E"}"#)
    );
    let TestExpectation::Forwarded(call) = expected else { panic!("{expected:?}") };
    assert_eq!(&*call.operator.0, "magenta-de");
    assert_eq!(call.matched_by, Some(IdentifierKind::PhoneNumber));
    assert_eq!(call.dialect.as_deref(), Some("camara-0.8.0"));
    assert_eq!((call.profile.as_deref(), call.duration_s), (Some("QOS_E"), Some(3600)));
}

#[test]
fn body_can_be_read_from_a_file() {
    let folder =
        folder_with("    body_file: tests/some.json\n    expect: { rejected: { status: 400 } }\n");
    let errors = load_tests_of(&folder).unwrap_err();
    assert!(errors[0].starts_with("some.yaml:5:16: failed to read `"), "{errors:?}");
    fs::write(folder.path("tests/some.json"), "{ no json").unwrap();
    let tests = load_tests_of(&folder).unwrap();
    assert!(
        matches!(&tests[0].request.subject, ExplainSubject::Create(body) if body == b"{ no json")
    );
    fs::write(folder.path("tests/some.json"), " ".repeat((1 << 20) + 1)).unwrap();
    let errors = load_tests_of(&folder).unwrap_err();
    assert!(errors[0].contains("is larger than 1 MiB"), "{errors:?}");
}

#[test]
fn invalid_tests_are_reported_with_their_position() {
    let expectation = "expect: { operator: magenta-de }";
    for (rest, expected) in [
        (
            "    device: \"+4930123456\"\n    expect: { operator: §magenta-d }\n",
            "unknown operator `magenta-d`; did you mean `magenta-de`?",
        ),
        (
            "    device: \"+4930123456\"\n    expect: { operator: magenta-de, dialect: §devedg }\n",
            "unknown dialect `devedg`; did you mean `devedge`?",
        ),
        ("    device: §4930123456\n    ", "expected a phone number in quotes"),
        ("    device: §\"4930123456\"\n    ", "expected a phone number in quotes"),
        ("    source_address: §here\n    device: \"::1\"\n    ", "expected an IP address"),
        ("    §nubmer: 1\n    device: \"::1\"\n    ", "unknown key `nubmer`; expected "),
        (
            "    device: \"::1\"\n    expect: { operator: magenta-de, matched_by: §number }\n",
            "unknown value `number`; expected `phoneNumber`, ",
        ),
        (
            "    device: \"::1\"\n    expect: { operator: magenta-de, §profile: QOS_E }\n",
            "this key requires `body` or `body_file`",
        ),
        (
            "    device: \"::1\"\n    expect: { §matched_by: phoneNumber, rejected: { status: 404 } }\n",
            "`matched_by` cannot be combined with `rejected`",
        ),
        (
            "    device: \"::1\"\n    expect: { rejected: { reason: §confict } }\n",
            "unknown rejection reason `confict`; did you mean `conflict`?",
        ),
        ("    device: \"::1\"\n    expect: { rejected: §{} }\n", "expected at least one entry"),
        ("    device: \"::1\"\n    expect: §{}\n", "expected either `operator` or `rejected`"),
    ] {
        let rest = if rest.contains("expect") {
            rest.to_owned()
        } else {
            format!("{rest}{expectation}\n")
        };
        assert_test_error(&rest, expected);
    }
    let errors = load_tests_of(&folder_with(&format!("    {expectation}\n"))).unwrap_err();
    assert_eq!(errors, ["some.yaml:2:5: expected exactly one of `device`, `body` and `body_file`"]);
}

#[test]
fn unknown_client_can_be_expected_to_be_rejected_only() {
    let folder = folder_with("    device: \"::1\"\n    expect: { rejected: { status: 403 } }\n");
    let change = |from: &str, to: &str| folder.change("tests/some.yaml", from, to);
    change("client: sandbox", "client: sandbax");
    load_tests_of(&folder).unwrap();
    change("rejected: { status: 403 }", "operator: magenta-de");
    let errors = load_tests_of(&folder).unwrap_err();
    let expected = "some.yaml:3:13: unknown client `sandbax`; did you mean `sandbox`?";
    assert_eq!(errors, [expected]);
}

#[test]
fn all_errors_of_all_test_files_are_reported_in_one_run() {
    let folder = folder_with("    device: none\n    expect: { operator: missing }\n");
    fs::write(folder.path("tests/empty.yaml"), "").unwrap();
    fs::write(folder.path("tests/more.yaml"), format!("{TEST}    expect: {{ }}}}\n")).unwrap();
    let errors = load_tests_of(&folder).unwrap_err();
    let files: Vec<&str> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(files, ["empty.yaml", "more.yaml", "some.yaml"], "{errors:#?}");
}

#[test]
fn policy_tests_do_not_change_the_version() {
    let folder = PolicyFolder::new();
    let before = folder.load().unwrap().fingerprint.version;
    assert!(load_tests_of(&folder).unwrap().is_empty());
    fs::create_dir_all(folder.path("tests")).unwrap();
    fs::write(folder.path("tests/some.yaml"), "tests: [").unwrap();
    assert_eq!(folder.load().unwrap().fingerprint.version, before);
    assert!(load_tests_of(&folder).is_err());
    let tests = folder.path("tests");
    let policies = folder.0.join("policies");
    let mut watched = policy_files(&policies);
    assert!(watched.all(|file| !file.starts_with(&tests)));
}

/// `UPDATE_GOLDEN=1` regenerates the schema.
#[test]
fn schema_of_tests_matches_the_type_and_is_documented() {
    let path = shipped().join("schema/tests.json");
    let text = policy_tests_schema_text() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{}: run the tests with UPDATE_GOLDEN=1", path.display());
    let tests = fs::read_to_string(shipped().join("tests/shipped.yaml")).unwrap();
    assert!(tests.starts_with("# yaml-language-server: $schema=../schema/tests.json\n"));
    let page = "../docs/reference/policies/tests.md";
    let page = fs::read_to_string(shipped().join(page)).unwrap();
    for key in keys(&serde_json::from_str(&text).unwrap()) {
        assert!(page.contains(&format!("`{key}`")), "tests.md lacks `{key}`");
    }
}
