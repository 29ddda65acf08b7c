//! `compile-routes`: makes one table of CSV files, that a gateway reads in a moment.

use std::{path::PathBuf, process::ExitCode};

use super::terminal;
use crate::route::{self, TableFault};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// CSV files, each with a header: `number`, `number_prefix`, `network`, `operator`
    #[arg(required = true, value_name = "CSV")]
    sources: Vec<PathBuf>,
    /// The table to make; one that is there is replaced at once
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    let Arguments { sources, output } = arguments;
    let lines = |faults: Vec<TableFault>| {
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let made = route::compile(sources, output).map_err(lines)?;
    let route::Compiled { numbers, prefixes, ipv4, ipv6, operators } = made;
    terminal::line(&format!(
        "{}: {numbers} numbers, {prefixes} number prefixes, {ipv4} IPv4 and {ipv6} IPv6 networks, \
         {operators} operators",
        output.display()
    ));
    Ok(ExitCode::SUCCESS)
}
