//! `schema`: prints the JSON Schema of a policy file, for completion and validation in editors.

use std::process::ExitCode;

use super::terminal;
use crate::policy::{PolicyFile, policy_tests_schema_text};

const TESTS: &str = "tests";

pub(super) fn run(name: &str) -> Result<ExitCode, String> {
    if name == TESTS {
        terminal::print_line(&policy_tests_schema_text());
        return Ok(ExitCode::SUCCESS);
    }
    let file = PolicyFile::ALL
        .into_iter()
        .find(|file| file.name() == name || file.name().strip_suffix(".yaml") == Some(name));
    let Some(file) = file else {
        let names = PolicyFile::ALL.map(PolicyFile::name).join(", ");
        return Err(format!("unknown policy file `{name}`: expected {names} or {TESTS}"));
    };
    terminal::print_line(&file.json_schema_text());
    Ok(ExitCode::SUCCESS)
}
