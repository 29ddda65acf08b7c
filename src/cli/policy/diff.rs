//! `policy diff`: shows what changes for whom between two policy folders.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{
    report::DiffReport,
    test_changes::{self, TestedFolder},
};
use crate::{
    cli::{caller, serve, terminal},
    gateway::PolicySnapshot,
    outbound::Caller,
    policy::{self, Diagnostic, LoadedPolicy, PolicyTest},
};

#[derive(Args)]
pub(super) struct DiffArgs {
    /// Policy folder before the change
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Policy folder after the change
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

// As `diff` of POSIX: the status 1 is not an error.
const DIFFERENT: u8 = 1;
const FAILED: u8 = 2;

pub(super) fn run(arguments: &DiffArgs) -> ExitCode {
    let report = match diff(arguments) {
        Ok(report) => report,
        Err(message) => {
            terminal::fail(&message);
            return ExitCode::from(FAILED);
        }
    };
    if arguments.json {
        terminal::print_line(&format!("{:#}", report.to_json()));
    } else {
        report.print();
    }
    if report.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) }
}

fn diff(DiffArgs { old, new, .. }: &DiffArgs) -> Result<DiffReport, String> {
    let caller = caller()?;
    let (old, old_tests) = load(old)?;
    let (new, new_tests) = load(new)?;
    let versions = [&old, &new].map(|loaded| loaded.policy.fingerprint.version.to_string());
    let comparison = policy::compare(&old, &new);
    let (old, new) = (tested(old, old_tests, &caller)?, tested(new, new_tests, &caller)?);
    let tests = test_changes::compare(&old, &new, caller.clock.now());
    Ok(DiffReport { versions, comparison, tests })
}

/// Loads a folder and its policy tests. The error text has one line for each error, as that of `check`.
fn load(folder: &Path) -> Result<(LoadedPolicy, Vec<PolicyTest>), String> {
    let in_words = |errors: Vec<Diagnostic>| serve::format_diagnostics(&errors);
    let loaded = policy::load_with_sources(folder).map_err(in_words)?;
    let tests = policy::load_policy_tests(&loaded).map_err(in_words)?;
    Ok((loaded, tests))
}

fn tested(
    loaded: LoadedPolicy,
    tests: Vec<PolicyTest>,
    caller: &Caller,
) -> Result<TestedFolder, String> {
    Ok(TestedFolder { tests, snapshot: PolicySnapshot::new(loaded.policy, caller, None)? })
}
