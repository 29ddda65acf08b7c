//! The command line. The only place that speaks to a person at a terminal.

use std::{fs::File, net::SocketAddr, os::fd::AsFd, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    clock::Clock,
    dialect::{Descriptors, Dialects},
    gateway::unread,
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
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients, as the policies say
    Serve {
        /// The folder of policies
        #[arg(long, value_name = "DIR", default_value = "policies")]
        policies: PathBuf,
        /// Take the listeners over from the process that is running
        #[arg(long)]
        upgrade: bool,
        /// Where a running process hands its listeners over
        #[arg(long, value_name = "PATH", default_value = "/tmp/qod-gateway-upgrade.sock")]
        upgrade_socket: PathBuf,
    },
    /// Read a folder of policies and say all that is wrong with it, and what is hardly meant; run the
    /// tests beside it
    Check(check::Arguments),
    /// Say what would become of a request, step by step; nothing is touched, and no operator called
    Explain(explain::Arguments),
    /// Have a running gateway read its policies anew; what cannot be followed changes nothing
    Reload {
        /// The folder of the gateway's policies
        #[arg(value_name = "DIR", default_value = "policies")]
        policies: PathBuf,
    },
    /// Show the JSON Schema of a policy file, for editors
    Schema {
        /// The file: gateway, operators, routes, clients, profiles, dialects or tests
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// Make one table of routes out of CSV files, for `tables` in routes.yaml
    CompileRoutes(compile_routes::Arguments),
    /// Look at the sessions that a gateway holds
    Sessions(sessions::Arguments),
    /// Look at what clients have not heard yet of their sessions
    Notifications(notifications::Arguments),
    /// Be an operator, for trying things out: real sessions, real expiry, no network behind them
    SimulateOperator(simulate::Arguments),
    /// Show all of it at once: three simulated operators, the gateway, and a tour with real HTTP
    Demo(demo::Arguments),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return terminal::fail("a TLS library was chosen already");
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
    // What pingora's connectors say of a connection is an outcome of the call that wanted it.
    start_log(if quiet {
        "error,pingora_core::connectors=off"
    } else {
        "info,pingora=warn,pingora_core=warn,pingora_core::connectors=off"
    });
    let done = match arguments.command {
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
    done.unwrap_or_else(|message| terminal::fail(&message))
}

/// Structured lines on standard error; `RUST_LOG` says which.
fn start_log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    // A line is one write, which the system does not mix with others; the library's own handle would
    // let one thread write at a time, and the others sleep. A second start would fail; there is none.
    let _ = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(own) => log.with_writer(Arc::new(File::from(own))).try_init(),
        Err(_) => log.with_writer(std::io::stderr).try_init(),
    };
}

fn caller() -> Result<Caller, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    Ok(Caller { outbound: Outbound::new(), clock: Clock::system(), metrics })
}

fn load_dialects(schemas: &std::path::Path, of: &Descriptors) -> Result<Arc<Dialects>, String> {
    Dialects::load_all(schemas, of).map(Arc::new).map_err(|faults| unread(schemas, &faults))
}

/// Is the address free? Pingora would end the process over one that is not, with less to say.
fn probe(address: SocketAddr) -> Result<(), String> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .map_err(|error| format!("{address} cannot be listened on: {error}"))
}
