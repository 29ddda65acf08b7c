//! The laws of the house, kept by a test.

use std::{collections::BTreeMap, fs, path::Path};

/// The rooms, from the ground up. A room may import only what stands before it.
const FLOORS: &[&str] = &[
    "qod",
    "clock",
    "faults",
    "kept",
    "json",
    "metrics",
    "audit",
    "tls",
    "outbound", // the ground
    "dialect",
    "identity",
    "credentials",
    "access",
    "limit",
    "route",
    "finder",
    "ledger",
    "operator", // the way
    "notification",
    "refusal",
    "policy",
    "simulator",
    "gateway",
    "server",
    "cli",
];

/// Where pingora may be named.
const PINGORA: &[&str] = &["outbound", "server"];

const FILE_LINES_MAX: usize = 500;

#[test]
fn a_room_imports_only_rooms_that_the_request_has_passed() {
    let floor: BTreeMap<&str, usize> = FLOORS.iter().enumerate().map(|(i, r)| (*r, i)).collect();
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let Some(&own) = floor.get(room(&path)) else { continue };
        for name in imports(&text) {
            match floor.get(name.as_str()) {
                Some(&other) if other > own => broken.push(format!("{path} imports {name}")),
                Some(_) => (),
                None => broken.push(format!("{path} imports {name}, which stands on no floor")),
            }
        }
        if text.contains("pingora::") && !PINGORA.contains(&room(&path)) {
            broken.push(format!("{path} knows pingora"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_room_has_a_floor() {
    for (path, _) in sources() {
        let name = room(&path);
        assert!(FLOORS.contains(&name) || ["lib", "main"].contains(&name), "{path}");
    }
}

#[test]
fn every_file_is_short_and_says_what_it_is() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
        let test = path.ends_with("tests.rs") || path.contains("/tests/");
        assert!(test || text.starts_with("//!"), "{path} says nothing of itself");
    }
}

/// The names after `crate::`, also those in braces.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            continue;
        };
        // The first name of each path is a room; what follows it is not.
        let (mut depth, mut word, mut in_path) = (1, String::new(), false);
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 1 && (c.is_alphanumeric() || c == '_') {
                word.push(c);
            } else if depth <= 1 {
                if !word.is_empty() && !in_path {
                    names.push(word.clone());
                }
                in_path = c == ':' || (in_path && c != ',');
                word.clear();
            }
            if depth == 0 {
                break;
            }
        }
    }
    names
}

fn room(path: &str) -> &str {
    let name = path.trim_start_matches("src/");
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    found
}
