//! Runs the policy tests of a valid policy folder for `check`.

use std::path::Path;

use crate::{
    cli::terminal,
    gateway::{PolicySnapshot, PolicyTestResult},
    policy::{self, Diagnostic},
    qod::Moment,
};

/// Loads the policy tests of a folder and runs them.
pub(super) fn run(
    folder: &Path,
    rules: &PolicySnapshot,
    now: Moment,
) -> Result<Vec<PolicyTestResult>, Vec<Diagnostic>> {
    let trials = policy::load_policy_tests(folder)?;
    Ok(trials.into_iter().map(|trial| rules.run_policy_test(trial, now)).collect())
}

/// Prints the result of each test and a summary.
pub(super) fn print(tried: &[PolicyTestResult]) {
    for result in tried {
        result.lines().iter().for_each(|line| terminal::print_line(line));
    }
    if !tried.is_empty() {
        let passed = tried.iter().filter(|result| result.passed()).count();
        terminal::print_line(&format!("{passed} of {} tests passed", tried.len()));
    }
}
