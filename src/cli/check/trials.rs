//! The tests that stand beside the policies: `check` runs them, once the folder is sound.

use std::path::Path;

use crate::{
    cli::terminal,
    gateway::{Rules, Tried},
    policy::{self, Fault},
    qod::Moment,
};

/// Reads the tests of a folder and runs them all.
pub(super) fn run(folder: &Path, rules: &Rules, now: Moment) -> Result<Vec<Tried>, Vec<Fault>> {
    let trials = policy::load_trials(folder)?;
    Ok(trials.into_iter().map(|trial| rules.try_out(trial, now)).collect())
}

/// Tells what came of them.
pub(super) fn tell(tried: &[Tried]) {
    for one in tried {
        one.lines().iter().for_each(|line| terminal::line(line));
    }
    if !tried.is_empty() {
        let passed = tried.iter().filter(|one| one.passed()).count();
        terminal::line(&format!("{passed} of {} tests passed", tried.len()));
    }
}
