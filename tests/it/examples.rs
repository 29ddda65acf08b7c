//! The examples are sound, and their decisions are those that their tests expect.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::world::World;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// An example with secrets of its own, in a place of its own.
struct Example {
    top: PathBuf,
    folder: PathBuf,
}

impl Example {
    /// Nothing, if the secrets cannot be made on this machine.
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
        let made = Command::new(folder.join("make-secrets")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { top, folder })
    }

    fn check(&self) -> (bool, String) {
        World::run(&["check", &self.folder.display().to_string()])
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

// All pass, and there are as many as were counted.
#[track_caller]
fn assert_passed(said: &str, at_least: usize) {
    let told = said.lines().last().unwrap();
    let (passed, all) = told.strip_suffix(" tests passed").unwrap().split_once(" of ").unwrap();
    assert_eq!(passed, all, "{said}");
    assert!(passed.parse::<usize>().unwrap() >= at_least, "{said}");
}

#[test]
fn the_aggregator_decides_as_its_tests_expect() {
    let Some(example) = Example::new("aggregator") else { return };
    let (well, said) = example.check();
    assert!(well, "{said}");
    assert_passed(&said, 20);
    // They notice what they are there for.
    example.change("tables/ported.csv", "+34600000111,costa-es\n", "");
    let (well, said) = example.check();
    assert!(!well && said.contains("the number next to it was ported"), "{said}");
}

#[test]
fn the_operators_own_gateway_decides_as_its_tests_expect() {
    let Some(example) = Example::new("operator") else { return };
    let (well, said) = example.check();
    assert!(well, "{said}");
    assert_passed(&said, 20);
    example.change("operators.yaml", "duration_max: 8h", "duration_max: 9h");
    let (well, said) = example.check();
    assert!(!well && said.contains("one of nine hours"), "{said}");
}

#[test]
fn the_examples_name_their_schemas_and_nothing_secret_is_with_them() {
    for name in ["aggregator", "operator"] {
        let folder = Path::new(ROOT).join("examples").join(name);
        for entry in
            fs::read_dir(&folder).unwrap().chain(fs::read_dir(folder.join("tests")).unwrap())
        {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let schema = text.lines().next().and_then(|line| line.split_once("$schema="));
                let (_, schema) = schema.unwrap_or_else(|| panic!("{} names none", path.display()));
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
