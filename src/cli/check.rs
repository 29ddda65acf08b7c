//! `check`: reads a folder of policies as `serve` would, and says all that is wrong with it; then runs
//! the tests that stand beside them.

use std::{path::Path, process::ExitCode};

use super::{caller, serve, terminal};
use crate::gateway::Rules;

mod trials;

pub(super) fn run(folder: &Path) -> Result<ExitCode, String> {
    let policy = serve::load(folder)?;
    let operators = policy.operators.len();
    let caller = caller()?;
    let rules = Rules::new(policy, &caller, None)?;
    terminal::line(&format!("{}: sound, {operators} operators", folder.display()));
    let trials = trials::load(folder)?;
    let passed = trials::tell(&trials::run(&rules, &trials, caller.clock.now()));
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
