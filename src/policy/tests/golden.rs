//! Golden tests of all errors and warnings: each case replaces one file of a valid folder, and the exact
//! diagnostics are compared. `UPDATE_GOLDEN=1` regenerates the expected diagnostics.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rcgen::{CertificateParams, KeyPair};

use crate::{
    policy::{lint, lint::LintRule, load_policy_tests, load_with_sources},
    qod::Moment,
};

// The certificates of the base folder are generated relative to this day: 2026-01-01.
const NOW: Moment = Moment::from_unix_s(1_767_225_600);

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policies")
}

/// The cases: files named `<policy file>.<case>.yaml`, also for `tests`; or a folder for several files.
fn cases() -> Vec<PathBuf> {
    let mut cases = files(&golden());
    cases.retain(|path| path.extension().is_none_or(|of| of != "txt") && !path.ends_with("base"));
    cases
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

fn copy(folder: &Path, into: &Path) {
    for file in files(folder) {
        fs::copy(&file, into.join(file.file_name().unwrap())).unwrap();
    }
}

/// Files that must not be in a repository, or that depend on file permissions.
fn secrets() -> &'static [(&'static str, String)] {
    static SECRETS: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let certificate = |from: (i32, u8), end: (i32, u8)| {
            let mut parameters = CertificateParams::new(["qod.example".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(from.0, from.1, 2);
            parameters.not_after = rcgen::date_time_ymd(end.0, end.1, 20);
            parameters.self_signed(&key).unwrap().pem()
        };
        let valid = certificate((2025, 1), (2099, 1));
        let expired = certificate((2020, 1), (2021, 1));
        let pem = key.serialize_pem();
        vec![
            ("good.crt", valid.clone()),
            ("over.crt", expired.clone()),
            ("soon.crt", certificate((2025, 1), (2026, 1))),
            ("later.crt", certificate((2026, 6), (2099, 1))),
            ("chain.crt", valid + &expired),
            ("secret.key", pem.clone()),
            ("readable.key", pem),
            ("secret.token", "a-secret-of-32-characters-or-more".to_owned()),
            ("readable.token", "another-secret-of-32-characters-at-least".to_owned()),
            ("database.url", "postgresql://qod:password@db.example/qod".to_owned()),
            ("plain.url", "postgresql://qod@127.0.0.1/qod?sslmode=disable".to_owned()),
            ("writable.token", "another-secret".to_owned()),
            ("empty.token", "\n".to_owned()),
            ("many.token", "a-secret-of-32-characters-or-more\n".repeat(17)),
            ("open.token", "another-secret".to_owned()),
        ]
    })
}

/// Returns the diagnostics of the base folder with the file of a case.
fn diagnostics(case: Option<&Path>) -> String {
    let name = case.map_or("base", |case| case.file_stem().unwrap().to_str().unwrap());
    let folder = format!("qod-gateway-golden-{}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    fs::create_dir_all(&folder).unwrap();
    copy(&golden().join("base"), &folder);
    for (name, text) in secrets() {
        fs::write(folder.join(name), text).unwrap();
        let mode = match name.split('.').next() {
            Some("readable") => 0o604,
            Some("writable") => 0o602,
            Some("open") => 0o606,
            _ => 0o600,
        };
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    match (case, name.split_once('.')) {
        (Some(case), Some(("tests", _))) => {
            fs::create_dir(folder.join("tests")).unwrap();
            fs::copy(case, folder.join("tests/case.yaml")).unwrap();
        }
        (Some(case), Some((file, _))) => {
            fs::copy(case, folder.join(format!("{file}.yaml"))).unwrap();
        }
        (Some(case), None) => copy(case, &folder),
        (None, _) => {}
    }
    let lines: Vec<String> = match load_with_sources(&folder) {
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
        Ok(loaded) => {
            let warnings = lint(&loaded, NOW);
            let errors = load_policy_tests(&loaded).err().unwrap_or_default();
            let errors = errors.iter().map(ToString::to_string);
            warnings.iter().map(ToString::to_string).chain(errors).collect()
        }
    };
    let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    let text = text.replace(&format!("{}/", folder.display()), "");
    fs::remove_dir_all(&folder).unwrap();
    text
}

#[test]
fn valid_folder_has_no_diagnostics() {
    assert_eq!(diagnostics(None), "");
}

#[test]
fn every_case_has_the_expected_diagnostics() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (actual, path) = (diagnostics(Some(&case)), case.with_extension("txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &actual).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if actual.is_empty() || actual != expected {
            wrong.push(format!("{}\nexpected\n{expected}got\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn all_diagnostics() -> String {
    let texts = cases().into_iter().map(|case| fs::read_to_string(case.with_extension("txt")));
    texts.map(Result::unwrap).collect()
}

#[test]
fn every_rule_has_a_case_and_is_documented() {
    let all = all_diagnostics();
    let documents = golden().join("../../../docs/reference/policies/check.md");
    let documents = fs::read_to_string(documents).unwrap();
    let names: BTreeSet<&str> = LintRule::ALL.map(LintRule::name).into();
    assert_eq!(names.len(), LintRule::ALL.len());
    for rule in LintRule::ALL {
        let (name, level) = (rule.name(), rule.level().name());
        assert!(all.contains(&format!(" [{name}]\n")), "no case for {name}");
        assert!(documents.contains(&format!("| `{name}` | {level} |")), "docs lack {name}");
    }
}

/// A message is a string literal after one of these markers.
const MESSAGE_MARKERS: [&str; 6] =
    ["let message =", ".error(", ".report(", "Err(", "one(", "|name: &str| {"];

/// Messages without a case: they need a large file, or a concurrent change.
const WITHOUT_CASE: [&str; 4] = [
    "the file is larger than",
    "`{}` is larger than {} MiB",
    "policy files changed while they were being read",
    "cannot change at runtime",
];

#[test]
fn every_message_in_the_sources_has_a_case() {
    let all = all_diagnostics();
    let mut missing = Vec::new();
    for file in sources() {
        // Joins literals that are split over several lines.
        let text = fs::read_to_string(&file).unwrap();
        let text: String = text.split("\\\n").map(str::trim_start).collect();
        let messages = MESSAGE_MARKERS.iter().flat_map(|marker| text.split(marker).skip(1));
        let mut messages: Vec<&str> = messages.filter_map(quoted).collect();
        messages.retain(|message| !WITHOUT_CASE.iter().any(|part| message.contains(part)));
        messages.retain(|message| !all.lines().any(|line| matches(line, message)));
        missing.extend(messages.iter().map(|message| format!("{}: {message}", file.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
    for expected in crate::policy::scalars::ALL.map(|scalar| scalar.expected) {
        assert!(all.contains(expected), "no case for: {expected}");
    }
}

/// The sources that parse other files. All texts in them are error messages.
const READERS: [&str; 4] = [
    "src/route/import.rs",
    "src/route/import/rules.rs",
    "src/route/table/csv.rs",
    "src/route/table/builder.rs",
];

#[test]
fn every_message_of_tables_and_imports_has_a_case() {
    // Texts of valid files, or errors that need a large file or a failing disk.
    const EXEMPT: [&str; 6] = [
        "the file cannot be read: {error}",
        "expected at most a million prefixes",
        "an existing route takes precedence over the import",
        "with host bits set, which are ignored",
        "already assigned to another operator",
        "mobile networks, which are ignored in favour of",
    ];
    let all = all_diagnostics();
    for file in READERS {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text: String = lines.map(|line| line.trim_start().trim_end_matches('\\')).collect();
        // Literals with fewer than two spaces are names.
        let texts = text.split('"').skip(1).step_by(2);
        let mut messages = texts.filter(|text| text.matches(' ').count() > 1);
        let missing = messages.find(|message| {
            let exempt = EXEMPT.iter().any(|part| message.contains(part));
            !exempt && !all.lines().any(|line| matches(line, message))
        });
        assert_eq!(missing, None, "{file}");
    }
}

/// Returns the string literal at the start, which may be a format string.
fn quoted(source: &str) -> Option<&str> {
    let source = source.trim_start();
    let source = source.strip_prefix("format!(").unwrap_or(source).trim_start();
    source.strip_prefix('"')?.split('"').next()
}

/// Returns whether the line matches the format string of a message.
fn matches(line: &str, message: &str) -> bool {
    let parts = message.split('{').filter_map(|part| part.split('}').next_back());
    let mut rest = Some(line);
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// The sources of the policy module, without tests.
fn sources() -> Vec<PathBuf> {
    let folder = Path::new("src");
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    let all = [folder.join("policy.rs"), folder.join("policy")].into_iter().flat_map(below);
    let mut all: Vec<_> = all.collect();
    all.retain(|path| !path.components().any(|part| part.as_os_str() == "tests"));
    all.retain(|path| !path.ends_with("tests.rs"));
    all
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| if path.is_dir() { files_below(&path) } else { vec![path] };
    files(folder).into_iter().flat_map(below).collect()
}
