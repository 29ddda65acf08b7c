//! `check`: reads a folder of policies as `serve` would, and says all that is wrong with it; then runs
//! the tests that stand beside them.

use std::{path::Path, process::ExitCode};

use super::{caller, serve, terminal};
use crate::gateway::{Rules, Tried};

mod trials;

pub(super) fn run(folder: &Path) -> Result<ExitCode, String> {
    let policy = serve::load(folder)?;
    let operators = policy.operators.len();
    let caller = caller()?;
    let rules = Rules::new(policy, &caller, None)?;
    let tried = trials::run(folder, &rules, caller.clock.now());
    let tried = tried.map_err(|faults| trials::unread(&faults))?;
    terminal::line(&format!("{}: sound, {operators} operators", folder.display()));
    trials::tell(&tried);
    let passed = tried.iter().all(Tried::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
