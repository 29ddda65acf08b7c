//! `policy diff`: its text and JSON output, and its exit status.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::world::{TestFolder, program, unused_loopback};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Two copies of the shipped policies: `old` and `new`.
struct Folders(PathBuf);

impl Folders {
    fn new() -> Self {
        let (_, folder) = unused_loopback();
        for name in ["old", "new"] {
            copy(&Path::new(ROOT).join("policies"), &folder.join(name));
        }
        std::os::unix::fs::symlink(Path::new(ROOT).join("schemas"), folder.join("schemas"))
            .unwrap();
        Self(folder)
    }

    #[track_caller]
    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join("new").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// The exit status, standard output and standard error.
    fn diff(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = program();
        command.args(["policy", "diff"]).args(arguments).current_dir(&self.0);
        let done = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        drop(TestFolder(&self.0));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_folder_does_not_differ_from_itself_or_from_another_notation_of_it() {
    let folders = Folders::new();
    assert_eq!(folders.diff(&["old", "old"]), (0, "no difference\n".to_owned(), String::new()));
    folders.change("clients.yaml", "rate: 5/s", "rate:   \"5/s\" # per second");
    folders.change("clients.yaml", "duration_max: 24h", "duration_max: 1d");
    folders.change("routes.yaml", "  - { number_prefix: \"+34\", operator: telefonica-es }\n", "");
    let routes = fs::read_to_string(folders.0.join("new/routes.yaml")).unwrap();
    let split: Vec<String> = (0..10)
        .map(|digit| format!("  - {{ number_prefix: \"+34{digit}\", operator: telefonica-es }}\n"))
        .collect();
    fs::write(folders.0.join("new/routes.yaml"), routes + &split.concat()).unwrap();
    assert_eq!(folders.diff(&["old", "new"]), (0, "no difference\n".to_owned(), String::new()));
    let (status, text, _) = folders.diff(&["old", "new", "--json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &document["different"]), (0, &Value::Bool(false)));
    assert_ne!(document["old_version"], document["new_version"], "the content differs");
}

/// A contract with a new client, an operator's network that moves, and a larger request limit.
fn change_everything(folders: &Folders) {
    folders.change("clients.yaml", "sessions_max: 100 ", "sessions_max: 200 ");
    folders.change(
        "clients.yaml",
        "  sandbox:\n    rate: 5/s\n    burst: 20\n    sessions_max: 20\n    operators: [telefonica-es, tmobile-us, magenta-de]",
        "  sandbox:\n    rate: 8/s\n    burst: 20\n    operators: [magenta-de, telefonica-es]\n  \
         acme:\n    operators: [magenta-de]",
    );
    folders.change("clients.yaml", "mock_sandbox_access_token", "another_token");
    folders.change("operators.yaml", "9103/qod/v0", "9103/qod/v1");
    folders.change(
        "operators.yaml",
        "bearer_token_file: simulated.token",
        "bearer_token_env: PATH",
    );
    folders.change("profiles.yaml", "magenta-de: QOS_L", "magenta-de: QOS_LARGE");
    folders.change("profiles.yaml", "duration_max: 4h", "duration_max: 3h");
    let route = "  - { number_prefix: \"+1\", operator: tmobile-us }\n";
    let routes = "  - { number_prefix: \"+491\", operator: telefonica-es }\n  \
                  - { number_prefix: \"+492\", operator: telefonica-es }\n  \
                  - { realm: iot.magenta.example, operator: telefonica-es }\n";
    folders.change("routes.yaml", route, routes);
    folders.change("routes.yaml", "198.51.100.128/25", "198.51.100.192/26");
    folders.change("gateway.yaml", "body_max: 64KiB", "body_max: 128KiB");
    folders.change("tests/shipped.yaml", "an unknown client is rejected", "no client is unknown");
}

#[test]
fn a_change_is_described_in_words() {
    let folders = Folders::new();
    change_everything(&folders);
    let (status, text, error) = folders.diff(&["old", "new"]);
    assert_eq!((status, error.as_str()), (1, ""));
    let golden = Path::new(ROOT).join("tests/golden/policy-diff.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap());
}

#[test]
fn json_has_the_same_facts() {
    let folders = Folders::new();
    change_everything(&folders);
    let (status, text, _) = folders.diff(&["old", "new", "--json"]);
    assert_eq!(status, 1);
    let document: Value = serde_json::from_str(&text).unwrap();
    let has = |list: &str, members: &Value| {
        let members = members.as_object().unwrap();
        document[list]
            .as_array()
            .unwrap()
            .iter()
            .any(|item| members.iter().all(|(key, value)| item.get(key) == Some(value)))
    };
    for (list, members) in [
        (
            "settings",
            serde_json::json!({ "file": "clients.yaml", "kind": "client", "name": "sandbox",
                "key": "sessions_max", "change": "changed", "old": 20, "new": 200 }),
        ),
        (
            "settings",
            serde_json::json!({ "kind": "client", "name": "acme", "key": null, "change": "added" }),
        ),
        (
            "settings",
            serde_json::json!({ "file": "gateway.yaml", "key": "bounds.body_max", "needs_restart": true }),
        ),
        (
            "routes",
            serde_json::json!({ "kind": "number_prefix", "count": 1, "first": ["+491 to +492"],
                "from": { "kind": "operator", "name": "magenta-de" },
                "to": { "kind": "operator", "name": "telefonica-es" } }),
        ),
        (
            "tests",
            serde_json::json!({ "name": "no client is unknown", "change": "added", "old_test": null }),
        ),
    ] {
        assert!(has(list, &members), "{members} is not in {document:#}");
    }
    assert!(!text.contains("another_token"), "{text}");
}

#[test]
fn an_invalid_folder_is_an_error() {
    let folders = Folders::new();
    folders.change("clients.yaml", "rate: 5/s", "rate: 5");
    for arguments in [["old", "new"], ["new", "old"]] {
        let (status, text, error) = folders.diff(&arguments);
        assert_eq!((status, text.as_str()), (2, ""));
        assert!(error.contains("new/clients.yaml:") && error.contains("missing unit"), "{error}");
    }
    let (status, _, error) = folders.diff(&["old", "absent"]);
    assert_eq!(status, 2, "{error}");
}
