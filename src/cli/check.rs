//! `check`: reads a folder of policies as `serve` would, and says all that is wrong with it.

use std::{path::Path, process::ExitCode};

use super::{caller, serve, terminal};
use crate::gateway::Rules;

pub(super) fn run(folder: &Path) -> Result<ExitCode, String> {
    let policy = serve::load(folder)?;
    let operators = policy.operators.len();
    Rules::new(policy, &caller()?, None)?;
    terminal::line(&format!("{}: sound, {operators} operators", folder.display()));
    Ok(ExitCode::SUCCESS)
}
