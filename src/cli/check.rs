//! `check`: reads a folder of policies as `serve` would, and says all that is wrong with it.

use std::{path::Path, process::ExitCode};

use super::{caller, load_dialects, serve, terminal};
use crate::gateway::Rules;

pub(super) fn run(folder: &Path) -> Result<ExitCode, String> {
    let policy = serve::load(folder)?;
    let dialects = load_dialects(&policy.schemas, &policy.dialects)?;
    let operators = policy.operators.len();
    Rules::new(policy, &dialects, &caller()?)?;
    terminal::line(&format!("{}: sound, {operators} operators", folder.display()));
    Ok(ExitCode::SUCCESS)
}
