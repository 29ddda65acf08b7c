//! `serve`: runs the gateway until a signal stops it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::caller;
use crate::{
    gateway::{CallbackService, Gateway, GatewayService, PolicySnapshot},
    identity::SharedReplays,
    ledger::{Ledger, OpenMode, StoreConfig},
    limit::SharedLimits,
    log_writer::LogBuffer,
    notification::Dispatcher,
    outbound::Caller,
    policy::{self, AdminEndpoint, AdminTarget, Policy},
    postgres::{self, Database},
    server::{self, ServeOptions, StoreDescription, UpgradeSocket, probe_address},
    service::Handler,
    telemetry::Telemetry,
};

pub(super) fn run(
    folder: &Path,
    mode: &StartMode,
    log: Arc<LogBuffer>,
) -> Result<ExitCode, String> {
    let policy = load(folder)?;
    if let Some(path) = mode.upgrade_socket() {
        server::check_socket_path(path)?;
    }
    if !mode.is_upgrade() {
        let settings = &policy.server;
        let listeners = settings.listeners.iter().map(|listener| listener.address);
        let callbacks = settings.callbacks.iter().map(|callbacks| callbacks.listener.address);
        let admin = settings.admin.address().into_iter().chain(settings.admin.metrics);
        { listeners.chain(admin).chain(callbacks) }
            .try_for_each(|address| probe_listener(folder, address))?;
        if let AdminEndpoint::Unix(file) = &settings.admin.endpoint {
            server::check_socket_file(&file.path)?;
        }
    }
    serve(folder, policy, mode, log)
}

/// How a gateway gets its listeners.
pub(super) enum StartMode {
    /// It opens them. A successor gets them over this socket; `None` disables that.
    New(Option<PathBuf>),
    /// It takes them over from the running process, over this socket.
    Upgrade(PathBuf),
}

impl StartMode {
    fn is_upgrade(&self) -> bool {
        matches!(self, Self::Upgrade(_))
    }

    /// The socket of this process and of the running one.
    fn upgrade_socket(&self) -> Option<&Path> {
        match self {
            Self::New(path) => path.as_deref(),
            Self::Upgrade(path) => Some(path),
        }
    }
}

// The error contains the place of the address in the policies.
fn probe_listener(folder: &Path, address: SocketAddr) -> Result<(), String> {
    probe_address(address).map_err(|error| match policy::locate_listener(folder, address) {
        Some(place) => format!("{place}: {error}"),
        None => error,
    })
}

/// Loads a policy folder. The error text has one line for each diagnostic.
pub(super) fn load(folder: &Path) -> Result<Policy, String> {
    policy::load(folder).map_err(|errors| format_diagnostics(&errors))
}

/// Reads the admin address and the ledger settings from a policy folder.
pub(super) fn load_admin_target(folder: &Path) -> Result<AdminTarget, String> {
    policy::load_admin_target(folder).map_err(|errors| format_diagnostics(&errors))
}

/// Formats diagnostics of a policy folder, one a line.
pub(super) fn format_diagnostics(errors: &[policy::Diagnostic]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!("invalid policies\n{}", lines.join("\n"))
}

/// Runs the gateway with a loaded policy.
pub(super) fn serve(
    folder: &Path,
    policy: Policy,
    mode: &StartMode,
    log: Arc<LogBuffer>,
) -> Result<ExitCode, String> {
    // Created first, so that the running process finds it while this one prepares itself.
    let takeover = match mode {
        StartMode::New(_) => None,
        StartMode::Upgrade(path) => Some(UpgradeSocket::bind(path)?),
    };
    let caller = caller()?;
    let settings = policy.server.clone();
    log_start(folder, &policy, mode);
    let ledger = open_ledger(&policy.store, mode, &caller)?;
    let (metrics, clock) = (caller.metrics.clone(), caller.clock.clone());
    let notifications = policy.notifications.settings.clone();
    let store = policy.store.clone();
    let mut rules = PolicySnapshot::new(policy, &caller, None)?;
    share_with_replicas(&mut rules, &store, &ledger, &caller)?;
    let description = StoreDescription { kind: store.kind(), replica: ledger.replica_id() };
    let telemetry = Telemetry::new(clock.clone(), metrics.clone());
    let courier = Dispatcher::new(
        notifications,
        ledger.clone(),
        Arc::clone(&rules.dialects),
        clock.clone(),
        metrics.clone(),
        telemetry.clone(),
    );
    let gateway = Gateway::new(folder.to_owned(), rules, ledger, caller, courier, telemetry);
    let gateway = Arc::new(gateway);
    let callbacks: Arc<dyn Handler> = Arc::new(CallbackService(Arc::clone(&gateway)));
    let serving = ServeOptions {
        listeners: settings.listeners,
        callbacks: settings.callbacks.map(|settings| (settings.listener, callbacks)),
        admin: Some(settings.admin),
        trusted_proxies: settings.trusted_proxies,
        bounds: settings.bounds,
        drain: settings.drain,
        takeover: takeover.map(UpgradeSocket::wait).transpose()?,
        upgrade_socket: mode.upgrade_socket().map(Path::to_owned),
        store: Some(description),
        metrics,
        clock,
    };
    let service = GatewayService { gateway, log, lost_log_lines: settings.log };
    server::serve(serving, Arc::new(service))
}

/// Connects the rate limits and the replay protection of all replicas.
fn share_with_replicas(
    rules: &mut PolicySnapshot,
    store: &StoreConfig,
    ledger: &Ledger,
    caller: &Caller,
) -> Result<(), String> {
    let StoreConfig::Postgres(settings) = store else { return Ok(()) };
    let Caller { clock, metrics, .. } = caller.clone();
    // Connections of their own: these statements do not wait for those of sessions. Each has at most one
    // statement in flight, and the limits remove old rows, too.
    let settings = postgres::Settings { connections_max: 3, ..settings.database.clone() };
    let database = Database::new(settings, metrics.clone(), clock.clone());
    let database = database.map_err(|error| error.to_string())?;
    let replays =
        SharedReplays::new(database.clone(), ledger.keyed_hash("proofs"), metrics.clone());
    let limits = SharedLimits::new(database, ledger.keyed_hash("limits"), clock, metrics);
    rules.share(limits, replays);
    Ok(())
}

fn log_start(folder: &Path, policy: &Policy, mode: &StartMode) {
    tracing::info!(
        event = "gateway_starting",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        folder = %folder.display(),
        policy = %policy.fingerprint.version.digits(),
        ledger = policy.store.location(),
        upgrade = mode.is_upgrade(),
        "starting"
    );
}

fn open_ledger(store: &StoreConfig, mode: &StartMode, caller: &Caller) -> Result<Ledger, String> {
    let Caller { clock, metrics, .. } = caller.clone();
    // The previous process has the ledger until it exits.
    let opening = if mode.is_upgrade() { OpenMode::WaitForLock } else { OpenMode::FailIfLocked };
    let key = match store {
        StoreConfig::Postgres(_) => "store.postgres",
        _ => "store.directory",
    };
    Ledger::open(store, opening, clock, metrics)
        .map_err(|error| format!("failed to open the ledger of sessions (`{key}`): {error}"))
}
