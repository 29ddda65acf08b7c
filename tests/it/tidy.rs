//! Rules for the source tree that the compiler does not check: import order, import cycles, unique type
//! names, plain language, documented log events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The top-level modules, from the foundation up. A module may import only modules before it.
const IMPORT_ORDER: &[&str] = &[
    // foundation
    "qod",
    "clock",
    "trace",
    "faults",
    "service",
    "reloadable",
    "json",
    "metrics",
    "log_writer",
    "audit",
    "tls",
    "outbound",
    "telemetry",
    "postgres",
    // request path
    "dialect",
    "identity",
    "credentials",
    "access",
    "limit",
    "route",
    "finder",
    "ledger",
    "operator",
    "notification",
    // above the request path
    "refusal",
    "policy",
    "simulator",
    "gateway",
    "server",
    "cli",
    "fuzzing",
];

/// The modules that may name pingora.
const PINGORA: &[&str] = &["outbound", "server"];

const FILE_LINES_MAX: usize = 500;

/// The types that prove that a stage has succeeded: the file of each, and whether a proof may be copied.
const PROOFS: &[(&str, &str, bool)] = &[
    ("src/identity/client.rs", "AuthenticatedClient", true),
    ("src/access.rs", "Grant", false),
    ("src/limit.rs", "Admission", false),
    ("src/ledger/reservation.rs", "Reservation", false),
];

/// Type names that may exist in several modules. They are used qualified by their module.
const SHARED_TYPE_NAMES: &[&str] = &["Settings", "Error", "Kind"];

/// Words that may not be used in comments, texts and documentation, each with the reason.
const BANNED: &[(&str, &str)] = &[
    ("told", "say: reported, returned, notified, described"),
    ("tell", "say: report, return, notify, describe"),
    ("tells", "say: reports, returns, notifies, describes"),
    ("heard", "say: received"),
    ("hears", "say: receives"),
    ("kept", "say: stored, cached, retained"),
    ("stands", "say: is, is stored, is located"),
    ("whoever", "name the actor: the caller, the client, the operator"),
    ("whomever", "name the actor"),
    ("nobody", "name the actor: no client, no operator"),
    ("somebody", "name the actor"),
    ("anybody", "name the actor"),
    ("wish", "say: request, create request"),
    ("wishes", "say: requests"),
    ("he", "no gendered pronouns"),
    ("his", "no gendered pronouns"),
    ("him", "no gendered pronouns"),
    ("she", "no gendered pronouns"),
    ("her", "no gendered pronouns"),
    ("desk", "say: handler, queue"),
    ("lap", "say: stage"),
    ("legs", "say: two-legged or three-legged token, subject"),
    ("stamp", "say: proof type"),
    ("stamps", "say: proof types"),
    ("anew", "say: again"),
    ("letter by letter", "say: exactly"),
    ("is over", "say: has expired, has ended"),
    ("says no", "say: rejects"),
    ("what is told", "no inversions"),
    ("of which it is", "no inversions"),
];

/// Places where a banned word is right: the file's path ends with the first, the line contains the second.
const BANNED_EXCEPT: &[(&str, &str)] = &[("tests/it/tidy.rs", "")];

#[test]
fn imports_follow_the_request_path() {
    let order: BTreeMap<&str, usize> =
        IMPORT_ORDER.iter().enumerate().map(|(index, name)| (*name, index)).collect();
    let mut violations = Vec::new();
    for (path, text) in sources() {
        let Some(&own) = order.get(top_level_module(&path)) else { continue };
        for import in imports(&path, &text) {
            match order.get(import[0].as_str()) {
                Some(&other) if other > own => {
                    violations.push(format!("{path} imports {}", import[0]));
                }
                Some(_) => (),
                None => violations.push(format!("{path} imports {}: not in the order", import[0])),
            }
        }
        if text.contains("pingora::") && !PINGORA.contains(&top_level_module(&path)) {
            violations.push(format!("{path} names pingora"));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_top_level_module_is_in_the_import_order() {
    for (path, _) in sources() {
        let name = top_level_module(&path);
        assert!(IMPORT_ORDER.contains(&name) || ["lib", "main"].contains(&name), "{path}");
    }
}

/// An import between a module and its own ancestor is not counted: they are one unit.
#[test]
fn files_do_not_import_each_other_in_cycles() {
    let sources = sources();
    let modules: BTreeMap<String, &str> =
        sources.iter().map(|(path, _)| (module_path(path).join("::"), path.as_str())).collect();
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in &sources {
        if is_test(path) {
            continue;
        }
        for import in imports(path, text) {
            let target = (1..=import.len())
                .rev()
                .find_map(|length| modules.get(&import[..length].join("::")).copied());
            let Some(target) = target else { continue };
            let (from, to) = (module_path(path), module_path(target));
            if !from.starts_with(&to) && !to.starts_with(&from) && !is_test(target) {
                edges.entry(path).or_default().insert(target);
            }
        }
    }
    let mut cycles = Vec::new();
    for &start in edges.keys() {
        let (mut reached, mut pending) = (BTreeSet::new(), vec![start]);
        while let Some(file) = pending.pop() {
            for &next in edges.get(file).into_iter().flatten() {
                if reached.insert(next) {
                    pending.push(next);
                }
            }
        }
        if reached.contains(start) {
            cycles.push(start);
        }
    }
    assert!(cycles.is_empty(), "these files are parts of import cycles: {cycles:#?}");
}

#[test]
fn every_file_is_short_and_states_its_purpose() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
        assert!(is_test(&path) || text.starts_with("//!"), "{path} has no `//!` line");
    }
}

#[test]
fn a_type_name_exists_once() {
    let mut files_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources() {
        if is_test(&path) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code.lines() {
            // Private types and associated types are indented or have no `pub`.
            let Some(rest) = line.strip_prefix("pub") else { continue };
            let rest = match rest.strip_prefix('(') {
                Some(restricted) => restricted.split_once(')').map_or("", |(_, rest)| rest),
                None => rest,
            };
            let mut words = rest.split_whitespace();
            if !matches!(words.next(), Some("struct" | "enum" | "trait" | "type")) {
                continue;
            }
            let name: String = words
                .next()
                .unwrap_or_default()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !SHARED_TYPE_NAMES.contains(&name.as_str()) {
                files_of.entry(name).or_default().push(path.clone());
            }
        }
    }
    files_of.retain(|_, files| files.len() > 1);
    assert!(files_of.is_empty(), "types with the same name: {files_of:#?}");
}

#[test]
fn comments_texts_and_documentation_use_plain_words() {
    let mut texts = Vec::new();
    for (path, text) in sources().into_iter().chain(integration_tests()) {
        for (index, line) in prose_of(&text) {
            texts.push((path.clone(), index, line));
        }
    }
    for (path, text) in documents() {
        for (index, line) in text.lines().enumerate() {
            texts.push((path.clone(), index + 1, line.to_owned()));
        }
    }
    let mut found = Vec::new();
    for (path, line_number, line) in &texts {
        if BANNED_EXCEPT.iter().any(|(file, part)| path.ends_with(file) && line.contains(part)) {
            continue;
        }
        let lower = line.to_lowercase();
        for (word, reason) in BANNED {
            if contains_word(&lower, word) {
                found.push(format!("{path}:{line_number}: `{word}` ({reason}): {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{} uses of banned words:\n{}", found.len(), found.join("\n"));
}

/// Each log line has an `event`; each event is described in the documentation, and exists.
#[test]
fn every_log_event_is_documented() {
    let documentation = fs::read_to_string("docs/reference/logs.md").unwrap();
    let documented: BTreeSet<String> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let (mut events, mut problems) = (BTreeMap::<String, String>::new(), Vec::new());
    for (path, text) in sources() {
        if is_test(&path) {
            continue;
        }
        for (line_number, call) in log_calls(&text) {
            let Some(event) = event_of(&call) else {
                problems.push(format!("{path}:{line_number}: a log line without an event"));
                continue;
            };
            if call.contains(":?}") || call.contains(" ?") {
                problems.push(format!("{path}:{line_number}: a log line with Debug output"));
            }
            if !documented.contains(&event) {
                problems.push(format!("{path}:{line_number}: `{event}` is not documented"));
            }
            events.entry(event).or_insert_with(|| path.clone());
        }
    }
    let listed: Vec<&str> = documentation
        .split("\n## ")
        .find(|section| section.starts_with("Events"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for name in listed {
        if !events.contains_key(name) {
            problems.push(format!("docs/reference/logs.md lists `{name}`, which no code logs"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// A release is data. Code reads the properties of a descriptor, outside of `dialect` and within.
/// The compiler then rejects every other module that would create a proof.
#[test]
fn only_its_own_stage_creates_a_proof() {
    let mut violations = Vec::new();
    for (path, name, may_copy) in PROOFS {
        let text = without_comments(&fs::read_to_string(path).unwrap());
        let (before, after) = text.split_once(&format!("pub struct {name}")).unwrap();
        let fields = &after[..after.find([';', '}']).unwrap()];
        if fields.contains("pub") {
            violations.push(format!("{name} has a field that others can set"));
        }
        let attributes = before.rsplit(['}', ';']).next().unwrap();
        let traits = ["Clone", "Default", "Deserialize"].into_iter().filter(|of| {
            let is_derived = attributes.contains(of);
            let is_implemented = text.contains(&format!("{of} for {name}"));
            (is_derived || is_implemented) && !(*may_copy && *of == "Clone")
        });
        violations.extend(traits.map(|of| format!("{name} implements {of}")));
        if text.contains("> for ") && text.contains(&format!("> for {name} ")) {
            violations.push(format!("{name} is converted from another type"));
        }
        let is_visible = |line: &str| line.starts_with("pub ") || line.starts_with("pub(crate)");
        let mut implements_it = false;
        for (at, line) in text.match_indices('\n').map(|(at, _)| (at + 1, &text[at + 1..])) {
            if line.starts_with("impl") {
                implements_it = contains_word(&line[..line.find('{').unwrap()], name);
            }
            let line = line.trim_start();
            let Some(signature) = line.split('{').next().filter(|_| is_visible(line)) else {
                continue;
            };
            let Some((function, result)) = signature.split_once("->") else { continue };
            let is_proof =
                contains_word(result, name) || implements_it && contains_word(result, "Self");
            // The stages themselves.
            let is_stage = ["authorize", "authorize_scope", "admit"]
                .iter()
                .any(|stage| function.contains(&format!("fn {stage}(")));
            if is_proof && !is_stage && !function.contains(';') {
                let line = text[..at].lines().count();
                violations.push(format!("{name} is returned by a function near line {line}"));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn no_code_asks_which_release_it_serves() {
    let comparisons = ["==", "!=", "=>", "matches!", "starts_with(", "ends_with(", "contains("];
    let mut found = Vec::new();
    for (path, text) in sources() {
        if is_test(&path) || path == "src/dialect/descriptor/released.rs" {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (index, line) in without_comments(code).lines().enumerate() {
            let names_release = ["\"camara-", "\"telefonica-", "\"devedge\""]
                .iter()
                .any(|name| line.contains(name));
            let compares = comparisons.iter().any(|comparison| line.contains(comparison));
            let mut families = line.match_indices("Family::");
            let names_family =
                families.any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric()));
            if (names_release && compares) || names_family {
                found.push(format!("{path}: line {index} without comments: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

fn top_level_module(path: &str) -> &str {
    let name = path.trim_start_matches("src/");
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

/// `src/a/b.rs` is the module `a::b`.
fn module_path(path: &str) -> Vec<String> {
    let name = path.trim_start_matches("src/").trim_end_matches(".rs");
    name.split('/').map(str::to_owned).collect()
}

/// The paths that a file names from `crate`, `super` or `self`, as paths from the crate's root.
fn imports(path: &str, text: &str) -> Vec<Vec<String>> {
    let code = without_comments(text);
    let own = module_path(path);
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let mut base = match root {
                "crate::" => Vec::new(),
                "self::" => own.clone(),
                _ => own[..own.len() - 1].to_vec(),
            };
            let mut rest = &code[at + root.len()..];
            while let Some(shorter) = rest.strip_prefix("super::") {
                base.pop();
                rest = shorter;
            }
            expand(&base, rest, &mut found);
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// Expands a use tree such as `a::{b, c::d}` into its paths. Returns the rest behind it.
fn expand<'a>(base: &[String], tree: &'a str, found: &mut Vec<Vec<String>>) -> &'a str {
    let mut path = base.to_vec();
    let mut rest = tree.trim_start();
    loop {
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let before = rest.len();
                rest = expand(&path, rest, found).trim_start();
                rest = rest.trim_start_matches([',', '*']).trim_start();
                if rest.len() == before {
                    return rest;
                }
            }
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if length == 0 {
            found.push(path);
            return rest;
        }
        let name = &rest[..length];
        rest = &rest[length..];
        if name != "self" {
            path.push(name.to_owned());
        }
        let Some(deeper) = rest.strip_prefix("::") else {
            found.push(path);
            let renamed = rest.trim_start().strip_prefix("as ");
            return renamed.map_or(rest, |alias| {
                alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            });
        };
        rest = deeper;
    }
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The comments and string literals of a source file, with their line numbers.
fn prose_of(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            found.push((index + 1, trimmed.to_owned()));
            continue;
        }
        let mut parts = line.split('"');
        parts.next();
        for literal in parts.step_by(2).filter(|literal| literal.contains(' ')) {
            found.push((index + 1, literal.to_owned()));
        }
        if let Some((_, comment)) = line.split_once("; // ") {
            found.push((index + 1, comment.to_owned()));
        }
    }
    found
}

fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        !text[..at].chars().next_back().is_some_and(letter)
            && !text[at + word.len()..].chars().next().is_some_and(letter)
    })
}

/// The calls of log macros, with their line numbers.
fn log_calls(text: &str) -> Vec<(usize, String)> {
    let mut calls = Vec::new();
    for name in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
        for (at, _) in text.match_indices(name) {
            if text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let mut depth = 0_u32;
            let mut end = text.len();
            for (offset, c) in text[at..].char_indices() {
                match c {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => continue,
                }
                if depth == 0 {
                    end = at + offset;
                    break;
                }
            }
            calls.push((text[..at].lines().count(), text[at..end].to_owned()));
        }
    }
    calls
}

fn event_of(call: &str) -> Option<String> {
    let (_, rest) = call.split_once("event = \"")?;
    rest.split('"').next().map(str::to_owned)
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(Path::new("src"), "rs", &mut found);
    found
}

fn integration_tests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(Path::new("tests/it"), "rs", &mut found);
    found
}

/// Documentation, policies and everything else that people read.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(Path::new("docs"), "md", &mut found);
    for folder in ["policies", "examples"] {
        for extension in ["yaml", "md", "json"] {
            collect(Path::new(folder), extension, &mut found);
        }
    }
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        found.push((name.to_owned(), fs::read_to_string(name).unwrap()));
    }
    found
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}
