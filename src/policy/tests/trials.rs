//! Tests that stand beside the policies, as they are read.

use super::*;
use crate::qod::IdentifierKind;

const TEST: &str = "tests:\n  - name: a test\n    client: sandbox\n    dialect: camara-1.1.0\n";

fn folder_with(rest: &str) -> Folder {
    let folder = Folder::new();
    fs::create_dir_all(folder.at("tests")).unwrap();
    fs::write(folder.at("tests/some.yaml"), format!("{TEST}{rest}")).unwrap();
    folder
}

fn load_of(folder: &Folder) -> Result<Vec<Trial>, Vec<String>> {
    load_trials(&folder.0.join("policies")).map_err(|faults| {
        let told = |fault: &Fault| {
            let file = fault.file.file_name().unwrap().to_string_lossy().into_owned();
            format!("{file}:{}:{}: {}", fault.line, fault.column, fault.message)
        };
        faults.iter().map(told).collect()
    })
}

/// The fault that stands where `§` does.
#[track_caller]
fn assert_unread(rest: &str, expected: &str) {
    let (before, after) = rest.split_once('§').unwrap();
    let line = (TEST.to_owned() + before).matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let faults = load_of(&folder_with(&[before, after].concat())).expect_err("it is a fault");
    let expected = format!("some.yaml:{line}:{column}: {expected}");
    assert!(faults[0].starts_with(&expected), "expected {expected}\n     got {faults:#?}");
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn a_test_is_read_to_its_last_word() {
    let folder = folder_with(
        "    from: 203.0.113.7\n    body: { qosProfile: QOS_E }\n    expect:\n      operator: magenta-de\n      \
         by: phoneNumber\n      dialect: camara-0.8.0\n      profile: QOS_E\n      duration: 1h\n",
    );
    let trials = load_of(&folder).unwrap();
    let [Trial { line: 2, name, question, expected, .. }] = &*trials else { panic!("{trials:?}") };
    assert_eq!(name, "a test");
    assert_eq!((&*question.client.0, question.dialect.as_str()), ("sandbox", "camara-1.1.0"));
    assert_eq!(question.from, Some("203.0.113.7".parse().unwrap()));
    assert!(matches!(&question.about, About::Create(body) if body == br#"{"qosProfile":"QOS_E"}"#));
    let Expected::Asked(asked) = expected else { panic!("{expected:?}") };
    assert_eq!(&*asked.operator.0, "magenta-de");
    assert_eq!(asked.by, Some(IdentifierKind::PhoneNumber));
    assert_eq!(asked.dialect.as_deref(), Some("camara-0.8.0"));
    assert_eq!((asked.profile.as_deref(), asked.duration_s), (Some("QOS_E"), Some(3600)));
}

#[test]
fn a_body_may_stand_in_a_file_as_it_is() {
    let folder =
        folder_with("    body_file: tests/some.json\n    expect: { refused: { status: 400 } }\n");
    let faults = load_of(&folder).unwrap_err();
    assert!(faults[0].starts_with("some.yaml:5:16: `"), "{faults:?}");
    fs::write(folder.at("tests/some.json"), "{ no json").unwrap();
    let trials = load_of(&folder).unwrap();
    assert!(matches!(&trials[0].question.about, About::Create(body) if body == b"{ no json"));
    fs::write(folder.at("tests/some.json"), " ".repeat((1 << 20) + 1)).unwrap();
    let faults = load_of(&folder).unwrap_err();
    assert!(faults[0].contains("is larger than 1 MiB"), "{faults:?}");
}

#[test]
fn what_is_wrong_with_a_test_is_told_where_it_stands() {
    let asked = "expect: { operator: magenta-de }";
    for (rest, expected) in [
        (
            "    device: \"+4930123456\"\n    expect: { operator: §magenta-d }\n",
            "no operator is called `magenta-d`: did you mean `magenta-de`?",
        ),
        (
            "    device: \"+4930123456\"\n    expect: { operator: magenta-de, dialect: §devedg }\n",
            "no dialect is called `devedg`: did you mean `devedge`?",
        ),
        ("    device: §4930123456\n    ", "expected a phone number in quotes"),
        ("    device: §\"4930123456\"\n    ", "expected a phone number in quotes"),
        ("    from: §here\n    device: \"::1\"\n    ", "expected an IP address"),
        ("    §nubmer: 1\n    device: \"::1\"\n    ", "unknown key `nubmer`: expected "),
        (
            "    device: \"::1\"\n    expect: { operator: magenta-de, by: §number }\n",
            "expected `phoneNumber`, ",
        ),
        (
            "    device: \"::1\"\n    expect: { operator: magenta-de, §profile: QOS_E }\n",
            "a device alone has no session: give a `body`",
        ),
        (
            "    device: \"::1\"\n    expect: { §by: phoneNumber, refused: { status: 404 } }\n",
            "`by` is of an operator that is asked",
        ),
        (
            "    device: \"::1\"\n    expect: { refused: { reason: §confict } }\n",
            "did you mean `conflict`?",
        ),
        ("    device: \"::1\"\n    expect: { refused: §{} }\n", "expected one at least"),
        ("    device: \"::1\"\n    expect: §{}\n", "expected either `operator` or `refused`"),
    ] {
        let rest =
            if rest.contains("expect") { rest.to_owned() } else { format!("{rest}{asked}\n") };
        assert_unread(&rest, expected);
    }
    let faults = load_of(&folder_with(&format!("    {asked}\n"))).unwrap_err();
    assert_eq!(
        faults,
        ["some.yaml:2:5: expected one of `device`, `body` and `body_file`, and only one"]
    );
}

#[test]
fn a_client_that_is_not_there_may_be_refused_but_not_served() {
    let folder = folder_with("    device: \"::1\"\n    expect: { refused: { status: 403 } }\n");
    let change = |from: &str, to: &str| folder.change("tests/some.yaml", from, to);
    change("client: sandbox", "client: sandbax");
    load_of(&folder).unwrap();
    change("refused: { status: 403 }", "operator: magenta-de");
    let faults = load_of(&folder).unwrap_err();
    let expected = "some.yaml:3:13: no client is called `sandbax`: did you mean `sandbox`?";
    assert_eq!(faults, [expected]);
}

#[test]
fn all_faults_of_all_tests_are_told_at_once() {
    let folder = folder_with("    device: none\n    expect: { operator: nobody }\n");
    fs::write(folder.at("tests/empty.yaml"), "").unwrap();
    fs::write(folder.at("tests/more.yaml"), format!("{TEST}    expect: {{ }}}}\n")).unwrap();
    let faults = load_of(&folder).unwrap_err();
    let files: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(files, ["empty.yaml", "more.yaml", "some.yaml"], "{faults:#?}");
}

#[test]
fn tests_are_no_part_of_what_is_served() {
    let folder = Folder::new();
    let before = folder.load().unwrap().written.version;
    assert!(load_of(&folder).unwrap().is_empty());
    fs::create_dir_all(folder.at("tests")).unwrap();
    fs::write(folder.at("tests/some.yaml"), "tests: [").unwrap();
    assert_eq!(folder.load().unwrap().written.version, before);
    assert!(load_of(&folder).is_err());
    let place = folder.at("tests");
    let policies = folder.0.join("policies");
    let mut watched = policy_files(&policies);
    assert!(watched.all(|file| !file.starts_with(&place)));
}

/// `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_schema_of_tests_is_that_of_the_type_and_in_the_documents_and_named_in_the_shipped_file() {
    let path = shipped().join("schema/tests.json");
    let text = trials_schema_text() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let shown = fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == text, "{}: run the tests with UPDATE_GOLDEN=1", path.display());
    let tests = fs::read_to_string(shipped().join("tests/shipped.yaml")).unwrap();
    assert!(tests.starts_with("# yaml-language-server: $schema=../schema/tests.json\n"));
    let documents = fs::read_to_string(shipped().join("../docs/policies.md")).unwrap();
    let (_, documents) = documents.split_once("## Tests").expect("a part of its own");
    for key in keys(&serde_json::from_str(&text).unwrap()) {
        assert!(documents.contains(&format!("`{key}`")), "docs/policies.md lacks `{key}`");
    }
}
