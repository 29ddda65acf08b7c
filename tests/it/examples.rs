//! The examples are valid, and their policy tests pass.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::world::World;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A copy of an example with generated secrets.
struct Example {
    top: PathBuf,
    folder: PathBuf,
}

impl Example {
    /// `None` if the secrets cannot be generated on this machine.
    fn new(name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("openssl is not installed; whether `examples/{name}` is sound is not known");
            return None;
        }
        let top =
            std::env::temp_dir().join(format!("qod-gateway-example-{name}-{}", std::process::id()));
        let folder = top.join("examples").join(name);
        copy(&Path::new(ROOT).join("examples").join(name), &folder);
        symlink(Path::new(ROOT).join("schemas"), top.join("schemas")).unwrap();
        let result = Command::new(folder.join("make-secrets")).output().unwrap();
        assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
        Some(Self { top, folder })
    }

    fn check(&self) -> (bool, String) {
        World::run(&["check", "--strict", &self.folder.display().to_string()])
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        fs::write(self.folder.join(file), text.replacen(from, to, 1)).unwrap();
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.top);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.file_name().is_some_and(|name| name == "secrets" || name == "ledger") {
            continue;
        }
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

// All pass, and their number is as expected.
#[track_caller]
fn assert_passed(output: &str, at_least: usize) {
    let counts = output.lines().last().unwrap();
    let (passed, all) = counts.strip_suffix(" tests passed").unwrap().split_once(" of ").unwrap();
    assert_eq!(passed, all, "{output}");
    assert!(passed.parse::<usize>().unwrap() >= at_least, "{output}");
}

#[test]
fn aggregator_example_passes_its_policy_tests() {
    let Some(example) = Example::new("aggregator") else { return };
    let (succeeded, output) = example.check();
    assert!(succeeded, "{output}");
    assert_passed(&output, 20);
    // The policy tests detect a wrong policy.
    example.change("tables/ported.csv", "+34600000111,costa-es\n", "");
    let (succeeded, output) = example.check();
    assert!(
        !succeeded && output.contains("a ported Spanish number leads to its new operator"),
        "{output}"
    );
}

#[test]
fn operator_example_passes_its_policy_tests() {
    let Some(example) = Example::new("operator") else { return };
    let (succeeded, output) = example.check();
    assert!(succeeded, "{output}");
    assert_passed(&output, 20);
    example.change("operators.yaml", "duration_max: 8h", "duration_max: 9h");
    let (succeeded, output) = example.check();
    assert!(
        !succeeded && output.contains("a request above the operator's maximum of eight hours"),
        "{output}"
    );
}

#[test]
fn examples_name_their_schemas_and_contain_no_secrets() {
    for name in ["aggregator", "operator"] {
        let folder = Path::new(ROOT).join("examples").join(name);
        for entry in
            fs::read_dir(&folder).unwrap().chain(fs::read_dir(folder.join("tests")).unwrap())
        {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let schema = text.lines().next().and_then(|line| line.split_once("$schema="));
                let (_, schema) =
                    schema.unwrap_or_else(|| panic!("{} names no schema", path.display()));
                assert!(
                    path.parent().unwrap().join(schema).is_file(),
                    "{}: {schema}",
                    path.display()
                );
            }
        }
    }
    let ignored = fs::read_to_string(Path::new(ROOT).join(".gitignore")).unwrap();
    assert!(ignored.contains("/examples/*/secrets\n"), "no key is committed");
}
