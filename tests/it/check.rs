//! `check`: its text output, its JSON output and its exit code.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;

use crate::world::{Setup, World, program};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The exit code, standard output and standard error.
fn check(arguments: &[&str]) -> (i32, String, String) {
    let done = program()
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
fn shipped_policies_have_no_warnings() {
    let (code, out, err) = check(&["--strict", "policies"]);
    assert!(code == 0 && err.is_empty(), "{out}{err}");
    assert!(!out.contains(": warning: "), "{out}");
    assert!(out.lines().rev().nth(1).unwrap().starts_with("policies: valid, 3 operators"), "{out}");
}

#[test]
fn warning_has_a_position_and_fails_with_strict() {
    let simulated = &["camara-0.8.0", "devedge"];
    let world = World::unstarted(&Setup { simulated, ..Setup::default() });
    let folder = world.folder.display().to_string();
    let routes = world.folder.join("routes.yaml");
    assert_eq!(check(&["--strict", &folder]).0, 0, "{:?}", check(&[&folder]));
    add(&routes, "  - { number_prefix: \"+999\", operator: op-devedge }\n");
    add(&routes, "  - { number_prefix: \"+9991\", operator: op-devedge }\n");
    let line = fs::read_to_string(&routes).unwrap().lines().count();
    let expected = format!(
        "{folder}/routes.yaml:{line}:5: warning: this route has no effect: the route in line {} also selects \
         `op-devedge` [redundant-route]\n",
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
            (&document["valid"], &document["errors"]),
            (&true.into(), &Value::Array(vec![]))
        );
        let warnings = document["warnings"].as_array().unwrap();
        let warning = warnings.iter().find(|one| one["level"] == "warning").unwrap();
        assert_eq!(warning["rule"], "redundant-route");
        assert_eq!((&warning["line"], &warning["column"]), (&line.into(), &5.into()));
        assert_eq!(PathBuf::from(warning["file"].as_str().unwrap()), routes);
        assert!(warning["message"].as_str().unwrap().ends_with("also selects `op-devedge`"));
    }
}

#[test]
fn a_note_never_fails() {
    let simulated = &["camara-0.8.0", "devedge"];
    let world = World::unstarted(&Setup { simulated, ..Setup::default() });
    let folder = world.folder.display().to_string();
    let routes = world.folder.join("routes.yaml");
    add(&routes, "  - { number_prefix: \"+999\", operator: op-devedge }\n");
    add(&routes, "  - { number_prefix: \"+9991\", operator: op-camara-0-8-0 }\n");
    let (code, out, _) = check(&["--strict", &folder]);
    assert!(code == 0 && out.contains("[overlapping-routes]"), "{out}");
}

#[test]
fn errors_are_reported_as_text_and_as_json() {
    let world = World::unstarted(&Setup::default());
    let folder = world.folder.display().to_string();
    add(&world.folder.join("routes.yaml"), "  - { number_prefix: \"+999\", operator: absent }\n");
    let (code, out, err) = check(&[&folder]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("unknown operator `absent`"), "{err}");
    let (code, document) = document(&[&folder]);
    assert_eq!((code, &document["valid"]), (1, &false.into()));
    let [error] = document["errors"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&error["level"], &error["rule"]), (&"error".into(), &Value::Null));
    assert!(error["message"].as_str().unwrap().starts_with("unknown operator `absent`"));
    assert_eq!(document["warnings"], Value::Array(vec![]));
}

#[test]
fn missing_folder_is_an_error() {
    let (code, document) = document(&["no-such-folder"]);
    assert_eq!((code, &document["valid"]), (1, &false.into()));
    let [error] = document["errors"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&error["file"], &error["line"]), (&"no-such-folder".into(), &Value::Null));
    assert!(error["message"].as_str().unwrap().starts_with("there is no such folder"));
}
