//! The checklist for a new release in `CONTRIBUTING.md` names the files that describe a release, and
//! these files describe each release.

use std::fs;

use super::*;

const FILES: [&str; 6] = [
    "schemas/",
    "src/dialect/descriptor/released.rs",
    "tests/golden/",
    "src/refusal/tests/documented.txt",
    "tests/it/world.rs",
    "README.md",
];

// The shipped policies serve every release as an example. They need not serve a new one.
const EXAMPLES: &str = "policies/gateway.yaml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

// The files that people maintain, relative to the root.
fn maintained_files(folder: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            maintained_files(&path, found);
        } else if [".rs", ".md", ".yaml", ".txt", ".json"].iter().any(|kind| path.ends_with(kind)) {
            found.push(path);
        }
    }
}

#[test]
fn checklist_names_the_files_that_describe_a_release() {
    let text = read("CONTRIBUTING.md");
    let (_, section) = text.split_once("\n## Add a release").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let listed: Vec<_> = section
        .lines()
        .filter_map(|line| {
            let (number, item) = line.split_once(". `")?;
            number.parse::<u32>().ok()?;
            item.split('`').next()
        })
        .collect();
    assert_eq!(listed, FILES);
}

#[test]
fn every_file_of_the_checklist_describes_every_release() {
    let [_, _, _, documented, world, readme] =
        FILES.map(|file| if file.ends_with('/') { String::new() } else { read(file) });
    for descriptor in Descriptors::released().all() {
        let Descriptor { name, schema, profiles, .. } = &**descriptor;
        for schema in [schema].into_iter().chain(&profiles.schema) {
            assert!(schemas().join(format!("{schema}.yaml")).is_file(), "{name}: {schema}");
        }
        let mut golden = vec!["request", "response", "event-available", "event-unavailable"];
        golden.extend(descriptor.has(Operation::GetQosProfile).then_some("profile"));
        for direction in golden {
            let file = root().join(format!("tests/golden/{name}.{direction}.json"));
            assert!(file.is_file(), "{}", file.display());
        }
        assert!(documented.contains(&format!("\n{name} createSession: ")), "{name}");
        assert!(world.contains(&format!("\n    \"{name}\",")), "{name}");
        let is_row = |line: &str| line.starts_with('|') && line.contains(&format!("(`{name}`) |"));
        assert!(readme.lines().any(is_row), "{name}");
    }
}

// A file that names all of them is a list that a new release would have to be added to.
#[test]
fn only_files_of_the_checklist_name_every_release() {
    let mut files: Vec<_> = ["ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned).into();
    for folder in ["src", "docs", "policies", "examples", "tests/it"] {
        maintained_files(folder, &mut files);
    }
    let released = Descriptors::released();
    files.retain(|file| !FILES.contains(&&**file) && file != EXAMPLES);
    files.retain(|file| {
        let text = read(file);
        released.names().iter().all(|name| text.contains(name))
    });
    assert_eq!(files, [""; 0]);
}
