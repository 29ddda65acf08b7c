//! `schema`: the JSON Schema of a policy file, for editors that complete and check by it.

use std::process::ExitCode;

use super::terminal;
use crate::policy::{PolicyFile, trials_schema_text};

const TESTS: &str = "tests";

pub(super) fn run(name: &str) -> Result<ExitCode, String> {
    if name == TESTS {
        terminal::line(&trials_schema_text());
        return Ok(ExitCode::SUCCESS);
    }
    let file = PolicyFile::ALL
        .into_iter()
        .find(|file| file.name() == name || file.name().strip_suffix(".yaml") == Some(name));
    let Some(file) = file else {
        let names = PolicyFile::ALL.map(PolicyFile::name).join(", ");
        return Err(format!("no policy file is called `{name}`; there are {names} and {TESTS}"));
    };
    terminal::line(&file.json_schema_text());
    Ok(ExitCode::SUCCESS)
}
