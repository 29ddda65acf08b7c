//! The command line: subcommands, options and the log setup. Only this module writes to the terminal.

use std::{fs::File, net::SocketAddr, os::fd::AsFd, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    clock::Clock,
    dialect::{Descriptors, Dialects},
    gateway::describe_schema_errors,
    metrics::Metrics,
    outbound::{Caller, Outbound},
};

mod admin;
mod check;
mod compile_routes;
mod demo;
mod explain;
mod notifications;
mod reload;
mod schema;
mod serve;
mod sessions;
mod simulate;
mod terminal;

/// A policy-enforcing gateway in front of operators' CAMARA Quality on Demand APIs.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    Serve {
        /// Policy folder
        #[arg(long, value_name = "DIR", default_value = "policies")]
        policies: PathBuf,
        /// Take over the listeners of the running process (upgrade without downtime)
        #[arg(long)]
        upgrade: bool,
        /// Unix socket through which the running process passes its listeners
        #[arg(long, value_name = "PATH", default_value = "/tmp/qod-gateway-upgrade.sock")]
        upgrade_socket: PathBuf,
    },
    /// Validate a policy folder: report errors and warnings, run its tests
    Check(check::CheckArgs),
    /// Show step by step how a request would be handled, without sending it
    Explain(explain::ExplainArgs),
    /// Reload the policies of a running gateway; invalid policies are not applied
    Reload {
        /// Policy folder of the gateway
        #[arg(value_name = "DIR", default_value = "policies")]
        policies: PathBuf,
    },
    /// Print the JSON Schema of a policy file, for use in an editor
    Schema {
        /// Policy file: gateway, operators, routes, clients, profiles, dialects or tests
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// Compile CSV files into one routing table, for `tables` in routes.yaml
    CompileRoutes(compile_routes::CompileRoutesArgs),
    /// List, show, export or release the sessions in the ledger
    Sessions(sessions::SessionsArgs),
    /// List, retry or drop undelivered notifications
    Notifications(notifications::NotificationsArgs),
    /// Run a simulated operator: sessions are created and expire, but no network is behind them
    SimulateOperator(simulate::SimulateArgs),
    /// Run a demo: the gateway, three simulated operators and a tour over HTTP
    Demo(demo::DemoArgs),
}

/// Runs the subcommand given on the command line.
pub fn run() -> ExitCode {
    let arguments = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return terminal::fail(
            "failed to install the TLS provider: another one is already installed",
        );
    }
    let quiet = matches!(
        arguments.command,
        Command::Demo(_)
            | Command::Check(_)
            | Command::Explain(_)
            | Command::Reload { .. }
            | Command::Schema { .. }
            | Command::CompileRoutes(_)
            | Command::Sessions(_)
            | Command::Notifications(_)
    );
    // Errors of pingora's connectors are also returned to the code that made the call.
    start_log(if quiet {
        "error,pingora_core::connectors=off"
    } else {
        "info,pingora=warn,pingora_core=warn,pingora_core::connectors=off"
    });
    let result = match arguments.command {
        Command::Serve { policies, upgrade, upgrade_socket } => {
            serve::run(&policies, upgrade, upgrade_socket)
        }
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Reload { policies } => reload::run(&policies),
        Command::Schema { file } => schema::run(&file),
        Command::CompileRoutes(arguments) => compile_routes::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Notifications(arguments) => notifications::run(&arguments),
        Command::SimulateOperator(arguments) => simulate::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    };
    result.unwrap_or_else(|message| terminal::fail(&message))
}

/// Writes JSON log lines to standard error. `RUST_LOG` selects levels and modules.
fn start_log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    // Each line is one `write`, which the system does not interleave with others. The standard
    // library's handle has a lock, on which other threads would block. `try_init` fails only on a
    // second call, and there is none.
    let _ = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(file) => log.with_writer(Arc::new(File::from(file))).try_init(),
        Err(_) => log.with_writer(std::io::stderr).try_init(),
    };
}

fn caller() -> Result<Caller, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    Ok(Caller { outbound: Outbound::new(), clock: Clock::system(), metrics })
}

fn load_dialects(
    schemas: &std::path::Path,
    descriptors: &Descriptors,
) -> Result<Arc<Dialects>, String> {
    Dialects::load_all(schemas, descriptors)
        .map(Arc::new)
        .map_err(|errors| describe_schema_errors(schemas, &errors))
}

/// Returns an error if the address cannot be bound. Pingora would exit without naming the cause.
fn probe(address: SocketAddr) -> Result<(), String> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .map_err(|error| format!("failed to listen on {address}: {error}"))
}
