//! Runs the policy tests of a valid policy folder for `check`.

use crate::{
    cli::terminal,
    gateway::{PolicySnapshot, PolicyTestResult},
    policy::PolicyTest,
    qod::Moment,
};

/// Runs policy tests.
pub(super) fn run(
    tests: Vec<PolicyTest>,
    snapshot: &PolicySnapshot,
    now: Moment,
) -> Vec<PolicyTestResult> {
    tests.into_iter().map(|test| snapshot.run_policy_test(test, now)).collect()
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
