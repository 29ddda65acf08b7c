//! The commands of the README and of the guides work: each document's `sh` blocks run in one shell.
//!
//! A block after the comment `<!-- not run: reason -->` is skipped. The documents use 127.0.0.1; the
//! test replaces it with a loopback address of its own.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::world::{TestFolder, unused_loopback};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The runnable blocks of a document, as one script, and the number of skipped blocks.
fn script_of(document: &str) -> (String, usize) {
    let (mut script, mut skipped, mut is_skipped) = (String::new(), 0, false);
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("<!-- not run: ") {
            is_skipped = true;
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let block: Vec<&str> =
                lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            match (language, is_skipped) {
                ("sh", false) => script.extend(block.iter().flat_map(|line| [line, "\n"])),
                ("sh", true) => skipped += 1,
                _ => (),
            }
            is_skipped = false;
        }
    }
    (script, skipped)
}

fn copy_with_address(from: &Path, to: &Path, address: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_with_address(&path, &target, address);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(target, text.replace("127.0.0.1", address)).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Runs a document's commands in a copy of the repository's folders, and ends what they started.
/// Returns the output.
fn run(document: &Path) -> String {
    let (address, folder) = unused_loopback();
    let _removed = TestFolder(&folder);
    let address = address.to_string();
    for part in ["policies", "schemas", "examples"] {
        copy_with_address(&Path::new(ROOT).join(part), &folder.join(part), &address);
    }
    let text = fs::read_to_string(document).unwrap();
    let (script, _) = script_of(&text);
    // Connections come from 127.0.0.1 whatever loopback address they go to, so a network stays.
    let script = script
        .replace("127.0.0.1/32", "FROM_LOOPBACK")
        .replace("127.0.0.1", &address)
        .replace("localhost", &address)
        .replace("FROM_LOOPBACK", "127.0.0.1/32");
    fs::write(folder.join("script"), &script).unwrap();
    let output = fs::File::create(folder.join("output")).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_qod-gateway")).parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("bash")
        .args(["-xeuo", "pipefail", "script"])
        .current_dir(&folder)
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("TMPDIR", &folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .process_group(0)
        .spawn()
        .unwrap();
    let succeeded = shell.wait().unwrap().success();
    // A script that failed may leave processes of its group.
    let group = format!("-{}", shell.id());
    let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
    let output = fs::read_to_string(folder.join("output")).unwrap();
    let tail: Vec<&str> = output.lines().rev().take(40).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    assert!(succeeded, "{}:\n{}", document.display(), tail.join("\n"));
    output
}

fn documents() -> Vec<PathBuf> {
    let guides = fs::read_dir(Path::new(ROOT).join("docs/guides")).unwrap();
    let mut documents: Vec<PathBuf> = guides.map(|entry| entry.unwrap().path()).collect();
    documents.push(Path::new(ROOT).join("README.md"));
    documents.sort();
    documents
}

#[test]
fn every_command_of_the_readme_and_the_guides_works() {
    for program in ["curl", "openssl"] {
        if Command::new(program).arg("--version").output().is_err() {
            eprintln!("{program} is not installed; the commands of the guides are not tested");
            return;
        }
    }
    // One after another: some use the same paths in the temporary directory.
    for document in documents() {
        let output = run(&document);
        if document.ends_with("README.md") {
            let mut rest = output.as_str();
            for expected in ["  201\n", "  409\n", "  400\n", "example-uk"] {
                let (_, after) = rest.split_once(expected).expect(expected);
                rest = after;
            }
        }
    }
}

#[test]
fn every_command_block_is_run_or_says_why_not() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let (script, skipped) = script_of(&text);
        assert!(!script.is_empty() || skipped > 0, "{} has no commands", document.display());
        let reasons = text.matches("<!-- not run: ").count();
        assert_eq!(skipped, reasons, "{}: reasons without a block", document.display());
    }
}
