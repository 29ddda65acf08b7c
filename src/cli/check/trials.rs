//! The tests that stand beside the policies: `check` runs them, once the folder is sound.

use std::path::Path;

use crate::{
    cli::terminal,
    gateway::{Rules, Tried},
    policy::{self, Trial},
    qod::Moment,
};

/// Reads the tests of a folder; what is wrong with them comes one fault a line.
pub(super) fn load(folder: &Path) -> Result<Vec<Trial>, String> {
    policy::load_trials(folder).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        format!("the tests cannot be read\n{}", lines.join("\n"))
    })
}

/// Runs them all.
pub(super) fn run<'t>(rules: &Rules, trials: &'t [Trial], now: Moment) -> Vec<Tried<'t>> {
    trials.iter().map(|trial| rules.try_out(trial, now)).collect()
}

/// Tells what came of them. Did all pass?
pub(super) fn tell(tried: &[Tried<'_>]) -> bool {
    for one in tried {
        one.lines().iter().for_each(|line| terminal::line(line));
    }
    let passed = tried.iter().filter(|one| one.passed()).count();
    if !tried.is_empty() {
        terminal::line(&format!("{passed} of {} tests passed", tried.len()));
    }
    passed == tried.len()
}
