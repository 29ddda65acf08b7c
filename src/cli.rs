//! The command line: subcommands, options and the log setup. Only this module writes to the terminal.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};

use crate::{
    audit::LineFormat,
    clock::Clock,
    dialect::{Descriptors, Dialects, SchemaError},
    gateway::describe_schema_errors,
    log_writer::{self, LogBuffer, LogFlush},
    metrics::Metrics,
    outbound::{Caller, Outbound, check_public_authorities},
};

mod admin;
mod check;
mod compile_routes;
mod demo;
mod explain;
mod ledger_source;
mod log_filter;
mod notifications;
mod policy;
mod reload;
mod replicas;
mod schema;
mod serve;
mod sessions;
mod simulate;
mod store;
mod terminal;
mod usage;

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
        #[command(flatten)]
        admin: admin::AdminArgs,
    },
    /// Show what changes between two policy folders
    Policy(policy::PolicyArgs),
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
    /// Create, update or inspect the tables of the database that several replicas share
    Store(store::StoreArgs),
    /// List, retry or drop undelivered notifications
    Notifications(notifications::NotificationsArgs),
    /// Export or sum the usage records of sessions that have ended
    Usage(usage::UsageArgs),
    /// List the replicas that share the ledger
    Replicas(replicas::ReplicasArgs),
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
            | Command::Policy(_)
            | Command::Schema { .. }
            | Command::CompileRoutes(_)
            | Command::Sessions(_)
            | Command::Store(_)
            | Command::Notifications(_)
            | Command::Usage(_)
            | Command::Replicas(_)
    );
    let calls_peers =
        !matches!(arguments.command, Command::Schema { .. } | Command::CompileRoutes(_));
    let authorities = if calls_peers { check_public_authorities() } else { Ok(0) };
    let authorities = match authorities {
        Ok(authorities) => authorities,
        Err(message) => return terminal::fail(&message),
    };
    // Errors of pingora's connectors are also returned to the code that made the call.
    let connects = matches!(&arguments.command, Command::Check(arguments) if arguments.connects());
    let (log, _flush) = match start_log(if connects {
        "warn,pingora=off,pingora_core=off"
    } else if quiet {
        "error,pingora_core::connectors=off"
    } else {
        "info,pingora=warn,pingora_core=warn,pingora_core::connectors=off"
    }) {
        Ok(started) => started,
        Err(error) => return terminal::fail(&format!("failed to start the log: {error}")),
    };
    let result = match arguments.command {
        Command::Serve { policies, upgrade, upgrade_socket } => {
            if authorities == 0 {
                tracing::warn!(
                    event = "no_public_authorities",
                    "the system has no public certificate authorities: calls to https peers without \
                     `ca_file` will fail"
                );
            }
            let mode = if upgrade {
                serve::StartMode::Upgrade(upgrade_socket)
            } else {
                serve::StartMode::New(Some(upgrade_socket))
            };
            serve::run(&policies, &mode, log)
        }
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Reload { policies, admin } => reload::run(&policies, &admin),
        Command::Policy(arguments) => Ok(policy::run(&arguments)),
        Command::Schema { file } => schema::run(&file),
        Command::CompileRoutes(arguments) => compile_routes::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Store(arguments) => store::run(&arguments),
        Command::Notifications(arguments) => notifications::run(&arguments),
        Command::Usage(arguments) => usage::run(&arguments),
        Command::Replicas(arguments) => replicas::run(&arguments),
        Command::SimulateOperator(arguments) => simulate::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments, log),
    };
    terminal::finish(result)
}

/// Writes JSON log lines to standard error. `RUST_LOG` selects levels and modules.
fn start_log(default: &str) -> std::io::Result<(Arc<LogBuffer>, LogFlush)> {
    let (filter, ignored) = log_filter::from_environment(default);
    let (buffer, flush) = log_writer::start()?;
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    let log = log.map_event_format(|others| LineFormat { others });
    // Fails only on a second call, and there is none.
    _ = log.with_writer(Arc::clone(&buffer)).try_init();
    if let Some(error) = ignored {
        tracing::error!(event = "log_filter_ignored", error, "RUST_LOG is invalid and is ignored");
    }
    Ok((buffer, flush))
}

fn caller() -> Result<Caller, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    Ok(Caller { outbound: Outbound::new(), clock: Clock::system(), metrics })
}

fn load_dialects(
    schemas: &std::path::Path,
    descriptors: &Descriptors,
) -> Result<Arc<Dialects>, String> {
    Dialects::load(schemas, descriptors)
        .map(Arc::new)
        .map_err(|errors| schemas_error(schemas, &errors))
}

/// Describes the errors of the folder that `--schemas` names.
fn schemas_error(schemas: &std::path::Path, errors: &[SchemaError]) -> String {
    if schemas.is_dir() {
        return describe_schema_errors(errors);
    }
    format!(
        "there is no folder `{}`; name the folder of the OpenAPI documents with `--schemas DIR`",
        schemas.display()
    )
}
