//! `check`, as it is used by hand and by programs: what it says, and what it ends with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::world::{Setup, World};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The exit code, standard output and standard error.
fn check(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_qod-gateway"))
        .arg("check")
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn document(arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = check(&[arguments, &["--json"]].concat());
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).unwrap())
}

fn add(file: &Path, text: &str) {
    let before = fs::read_to_string(file).unwrap();
    fs::write(file, before + text).unwrap();
}

#[test]
fn the_shipped_policies_have_no_warning() {
    let (code, out, err) = check(&["--strict", "policies"]);
    assert!(code == 0 && err.is_empty(), "{out}{err}");
    assert!(!out.contains(": warning: "), "{out}");
    assert!(out.lines().rev().nth(1).unwrap().starts_with("policies: sound, 3 operators"), "{out}");
}

#[test]
fn a_warning_is_told_where_it_stands_and_fails_if_that_is_wished() {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    let routes = world.folder.join("routes.yaml");
    assert_eq!(check(&["--strict", &folder]).0, 0, "{:?}", check(&[&folder]));
    add(&routes, "  - { number_prefix: \"+999\", operator: op-devedge }\n");
    add(&routes, "  - { number_prefix: \"+9991\", operator: op-devedge }\n");
    let line = fs::read_to_string(&routes).unwrap().lines().count();
    let expected = format!(
        "{folder}/routes.yaml:{line}:5: warning: the route of line {} leads to `op-devedge` as well: \
         this one changes nothing [redundant-route]\n",
        line - 1
    );
    for (strict, expected_code) in [(false, 0), (true, 1)] {
        let strict: &[&str] = if strict { &["--strict"] } else { &[] };
        let arguments = [strict, &[&folder]].concat();
        let (code, out, err) = check(&arguments);
        assert_eq!((code, err.as_str()), (expected_code, ""));
        assert!(out.contains(&expected), "{expected} in {out}");
        assert!(out.lines().last().unwrap().contains(" operators, 1 warning"), "{out}");
        let (code, document) = document(&arguments);
        assert_eq!(code, expected_code);
        assert_eq!(document["folder"], *folder);
        assert_eq!(
            (&document["sound"], &document["faults"]),
            (&true.into(), &Value::Array(vec![]))
        );
        let warnings = document["warnings"].as_array().unwrap();
        let warning = warnings.iter().find(|one| one["level"] == "warning").unwrap();
        assert_eq!(warning["rule"], "redundant-route");
        assert_eq!((&warning["line"], &warning["column"]), (&line.into(), &5.into()));
        assert_eq!(PathBuf::from(warning["file"].as_str().unwrap()), routes);
        assert!(warning["message"].as_str().unwrap().ends_with("this one changes nothing"));
    }
}

#[test]
fn a_note_never_fails() {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    let routes = world.folder.join("routes.yaml");
    add(&routes, "  - { number_prefix: \"+999\", operator: op-devedge }\n");
    add(&routes, "  - { number_prefix: \"+9991\", operator: op-camara-0-8-0 }\n");
    let (code, out, _) = check(&["--strict", &folder]);
    assert!(code == 0 && out.contains("[overlapping-routes]"), "{out}");
}

#[test]
fn faults_are_told_for_people_and_for_programs() {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    add(&world.folder.join("routes.yaml"), "  - { number_prefix: \"+999\", operator: nobody }\n");
    let (code, out, err) = check(&[&folder]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("no operator is called `nobody`"), "{err}");
    let (code, document) = document(&[&folder]);
    assert_eq!((code, &document["sound"]), (1, &false.into()));
    let [fault] = document["faults"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&fault["level"], &fault["rule"]), (&"fault".into(), &Value::Null));
    assert!(fault["message"].as_str().unwrap().starts_with("no operator is called `nobody`"));
    assert_eq!(document["warnings"], Value::Array(vec![]));
}

#[test]
fn a_folder_that_is_not_there_is_a_fault_too() {
    let (code, document) = document(&["no-such-folder"]);
    assert_eq!((code, &document["sound"]), (1, &false.into()));
    assert!(document["faults"].as_array().unwrap().len() >= 5, "{document}");
}
