//! Every fault and every warning, by small folders: one file that is odd in a folder that is sound, and
//! what is told of it, letter by letter. `UPDATE_GOLDEN=1` writes anew what is told.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rcgen::{CertificateParams, KeyPair};

use crate::{
    policy::{Rule, lint, load, load_trials},
    qod::Moment,
};

// The certificates of the base folder are made for this day: 2026-01-01.
const NOW: Moment = Moment::from_unix_s(1_767_225_600);

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policies")
}

/// The odd files: `<policy file>.<what is odd>.yaml`, also of `tests`; or a folder, where it takes several.
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

/// What is not to lie in a repository, or depends on how it lies there.
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
        let good = certificate((2025, 1), (2099, 1));
        let over = certificate((2020, 1), (2021, 1));
        let pem = key.serialize_pem();
        vec![
            ("good.crt", good.clone()),
            ("over.crt", over.clone()),
            ("soon.crt", certificate((2025, 1), (2026, 1))),
            ("later.crt", certificate((2026, 6), (2099, 1))),
            ("chain.crt", good + &over),
            ("secret.key", pem.clone()),
            ("readable.key", pem),
            ("secret.token", "a-secret-of-32-characters-or-more".to_owned()),
            ("readable.token", "another-secret-of-32-characters-at-least".to_owned()),
            ("writable.token", "another-secret".to_owned()),
            ("open.token", "another-secret".to_owned()),
        ]
    })
}

/// What is told of a folder with this file in the place of the sound one.
fn told(case: Option<&Path>) -> String {
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
            fs::copy(case, folder.join("tests/odd.yaml")).unwrap();
        }
        (Some(case), Some((file, _))) => {
            fs::copy(case, folder.join(format!("{file}.yaml"))).unwrap();
        }
        (Some(case), None) => copy(case, &folder),
        (None, _) => {}
    }
    let lines: Vec<String> = match load(&folder) {
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
        Ok(policy) => {
            let warnings = lint(&folder, &policy, NOW).unwrap();
            let faults = load_trials(&folder).err().unwrap_or_default();
            let faults = faults.iter().map(ToString::to_string);
            warnings.iter().map(ToString::to_string).chain(faults).collect()
        }
    };
    let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    let text = text.replace(&format!("{}/", folder.display()), "");
    fs::remove_dir_all(&folder).unwrap();
    text
}

#[test]
fn nothing_is_told_of_the_sound_folder() {
    assert_eq!(told(None), "");
}

#[test]
fn every_odd_file_is_told_of_as_written_down() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (told, path) = (told(Some(&case)), case.with_extension("txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &told).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if told.is_empty() || told != expected {
            wrong.push(format!("{}\nexpected\n{expected}got\n{told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn all_told() -> String {
    let texts = cases().into_iter().map(|case| fs::read_to_string(case.with_extension("txt")));
    texts.map(Result::unwrap).collect()
}

#[test]
fn every_rule_is_met_by_an_odd_file_and_is_in_the_documents() {
    let told = all_told();
    let documents = golden().join("../../../docs/policies.md");
    let documents = fs::read_to_string(documents).unwrap();
    let names: BTreeSet<&str> = Rule::ALL.map(Rule::name).into();
    assert_eq!(names.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        let (name, level) = (rule.name(), rule.level().name());
        assert!(told.contains(&format!(" [{name}]\n")), "no odd file is told of by {name}");
        assert!(documents.contains(&format!("| `{name}` | {level} |")), "docs lack {name}");
    }
}

/// A message is what stands in quotes behind one of these.
const TOLD_BY: [&str; 4] = ["let message =", ".fault(", "Err(", "one("];

/// What no folder can show: a file too large to lie here, and changes at the wrong time.
const NOT_HERE: [&str; 4] = [
    "the file is larger than",
    "`{}` is larger than {} MiB",
    "the files are being changed while they are read",
    "cannot be changed while the gateway runs",
];

#[test]
fn every_fault_that_stands_in_the_sources_is_met_by_an_odd_file() {
    let told = all_told();
    let mut unmet = Vec::new();
    for file in sources() {
        // Whatever lines a text is broken into.
        let text = fs::read_to_string(&file).unwrap();
        let text: String = text.split("\\\n").map(str::trim_start).collect();
        let messages = TOLD_BY.iter().flat_map(|marker| text.split(marker).skip(1));
        let mut messages: Vec<&str> = messages.filter_map(quoted).collect();
        messages.retain(|message| !NOT_HERE.iter().any(|part| message.contains(part)));
        messages.retain(|message| !told.lines().any(|line| is_of(line, message)));
        unmet.extend(messages.iter().map(|message| format!("{}: {message}", file.display())));
    }
    assert!(unmet.is_empty(), "{unmet:#?}");
    for (_, expected, _) in crate::policy::words::ALL {
        assert!(told.contains(expected), "no odd file is told: {expected}");
    }
}

/// What is read beside the policies: all that is said there is told of a file.
const READERS: [&str; 4] = [
    "src/route/import.rs",
    "src/route/import/rules.rs",
    "src/route/table/csv.rs",
    "src/route/table/gather.rs",
];

#[test]
fn every_fault_of_tables_and_imports_is_met_by_an_odd_file() {
    // It is told when all is well, of what is too large to lie here, or of a disk that fails.
    const ELSEWHERE: [&str; 6] = [
        "it cannot be read: {error}",
        "it has more than a million prefixes",
        "another route for {same} goes before",
        "with bits behind their length",
        "that stand there for another operator before",
        "mobile networks, which are taken from",
    ];
    let told = all_told();
    for file in READERS {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text: String = lines.map(|line| line.trim_start().trim_end_matches('\\')).collect();
        // Texts are what stands in quotes; those without two spaces are names.
        let texts = text.split('"').skip(1).step_by(2);
        let mut messages = texts.filter(|text| text.matches(' ').count() > 1);
        let unmet = messages.find(|message| {
            let elsewhere = ELSEWHERE.iter().any(|part| message.contains(part));
            !elsewhere && !told.lines().any(|line| is_of(line, message))
        });
        assert_eq!(unmet, None, "{file}");
    }
}

/// The text that begins here, be it one that is filled in.
fn quoted(source: &str) -> Option<&str> {
    let source = source.trim_start();
    let source = source.strip_prefix("format!(").unwrap_or(source).trim_start();
    source.strip_prefix('"')?.split('"').next()
}

/// Is this line the message, with whatever is filled in for its braces?
fn is_of(line: &str, message: &str) -> bool {
    let parts = message.split('{').filter_map(|part| part.split('}').next_back());
    let mut rest = Some(line);
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// Those of policies, without their tests.
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
