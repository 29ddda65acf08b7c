//! `compile-routes`: compiles CSV files into one routing table that a gateway loads quickly.

use std::{path::PathBuf, process::ExitCode};

use super::terminal;
use crate::route::{self, TableError};

#[derive(clap::Args)]
pub(super) struct CompileRoutesArgs {
    /// CSV files, each with a header: `number`, `number_prefix`, `network`, `operator`
    #[arg(required = true, value_name = "CSV")]
    sources: Vec<PathBuf>,
    /// Output file; an existing file is replaced atomically
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(arguments: &CompileRoutesArgs) -> Result<ExitCode, String> {
    let CompileRoutesArgs { sources, output } = arguments;
    let lines = |errors: Vec<TableError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let compiled = route::compile(sources, output).map_err(lines)?;
    let route::CompileSummary { numbers, prefixes, ipv4, ipv6, operators } = compiled;
    terminal::print_line(&format!(
        "{}: {numbers} numbers, {prefixes} number prefixes, {ipv4} IPv4 and {ipv6} IPv6 networks, \
         {operators} operators",
        output.display()
    ));
    Ok(ExitCode::SUCCESS)
}
