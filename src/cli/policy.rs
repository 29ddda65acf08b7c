//! `policy`: reviews changes of policy folders.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod diff;
mod report;
mod test_changes;

#[derive(Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Show what changes for whom between two policy folders
    Diff(diff::DiffArgs),
}

pub(super) fn run(arguments: &PolicyArgs) -> ExitCode {
    match &arguments.command {
        PolicyCommand::Diff(arguments) => diff::run(arguments),
    }
}
