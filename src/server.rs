//! The HTTP server: listeners, TLS, deadlines, and graceful shutdown.
//!
//! **Invariant:** only this module and `outbound` use pingora. A handler receives a complete, validated
//! `http::Request<Bytes>` and returns an `http::Response<Bytes>`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use ipnet::IpNet;
use pingora::{
    server::{RunArgs, Server, configuration::ServerConf},
    services::{background::background_service, listening::Service},
};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::{AdminSettings, DrainSettings, Listener, ServerBounds},
    service::{Application, Handler},
};

mod admin;
mod connection;
mod readiness;
mod drain;
mod accept;
mod activity;
mod exchange;
mod framing;
mod handover;
mod in_flight;
mod listening;
mod maintenance;
mod message;
mod peer_address;
mod signals;
mod unread_bodies;

pub use self::handover::{Takeover, UpgradeSocket, check_socket_path};
#[cfg(any(fuzzing, test))]
pub(crate) use self::message::fuzz::check_http_framing;
use self::{
    accept::TlsAcceptors,
    admin::AdminListener,
    connection::ListenerApp,
    drain::DrainState,
    handover::InheritedListeners,
    listening::{GatedService, ListenerGate},
    maintenance::MaintenanceService,
    readiness::ListenerProbe,
    signals::SignalWatch,
};

/// The parameters of [`serve`].
pub struct ServeOptions {
    /// The listeners for clients.
    pub listeners: Vec<Listener>,
    /// The listener for callback events of operators, and its handler. Its limits are separate from those
    /// of the listeners for clients.
    pub callbacks: Option<(Listener, Arc<dyn Handler>)>,
    /// The admin listener, with `/metrics`, `/healthz` and `/readyz`; `None` disables it.
    pub admin: Option<AdminSettings>,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The limits and timeouts.
    pub bounds: ServerBounds,
    /// The durations of the shutdown phases.
    pub drain: DrainSettings,
    /// The running process whose listeners are taken over; `None` to open them.
    pub takeover: Option<Takeover>,
    /// The socket on which a successor waits for the listeners of this process. `None` disables it.
    pub upgrade_socket: Option<PathBuf>,
    /// The metrics.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
}

/// Why a server has ended.
enum ServerEnd {
    Terminated,
    HandedOver,
    Interrupted,
    Failed(String),
}

// Added to the grace period for pingora, which sleeps for all of it; the process exits earlier, once it is
// idle.
const FINAL_SLEEP_SLACK: Duration = Duration::from_secs(5);

// The time limit of an administrator's request, which is not a client's: a reload may load large tables.
const ADMIN_DEADLINE: Duration = Duration::from_mins(10);

/// Runs the server until a signal ends it.
///
/// # Errors
/// If an address, the certificate or the key of a listener is invalid, or an upgrade fails.
pub fn serve(
    mut options: ServeOptions,
    application: Arc<dyn Application>,
) -> Result<ExitCode, String> {
    let mut takeover = options.takeover.take();
    let gate_opener = watch::Sender::new(false);
    let gate = ListenerGate {
        open: gate_opener.subscribe(),
        inherited: Arc::new(claim_listeners(takeover.as_mut(), &options)?),
        listen_fds: Arc::default(),
    };
    let drain_state = Arc::new(DrainState::new(options.metrics.clone()));
    let mut server = new_server(&options.drain);
    let edge: Arc<dyn Handler> = Arc::<dyn Application>::clone(&application);
    let mut groups: Vec<(&'static str, Arc<dyn Handler>, Vec<&Listener>)> =
        vec![("edge", edge, options.listeners.iter().collect())];
    if let Some((listener, handler)) = &options.callbacks {
        groups.push(("callbacks", Arc::clone(handler), vec![listener]));
    }
    let addresses = groups.iter().flat_map(|(_, _, all)| all.iter().map(|one| one.address));
    let probe = Arc::new(ListenerProbe::new(addresses));
    let mut tls_listeners = Vec::new();
    for (name, handler, listeners) in groups {
        let acceptors = TlsAcceptors::new(name, &listeners, &options)?;
        tls_listeners.extend(acceptors.tls_listeners().cloned());
        let (drain_state, bounds) = (Arc::clone(&drain_state), &options.bounds);
        let app = ListenerApp::new(Some(name), &options, bounds, handler, drain_state, acceptors);
        let addresses = listeners.iter().map(|listener| listener.address);
        server.add_service(GatedService::new(Service::new(name.to_owned(), app), addresses, &gate));
    }
    if let Some(settings) = &options.admin {
        let admin = AdminListener {
            settings: settings.clone(),
            metrics: options.metrics.clone(),
            application: Arc::clone(&application),
            drain_state: Arc::clone(&drain_state),
            probe: Arc::clone(&probe),
        };
        let service = admin_service(admin, &options)?;
        server.add_service(GatedService::new(service, [settings.address], &gate));
    }
    let (end, ended) = mpsc::channel();
    let maintenance = MaintenanceService {
        application,
        probe,
        tls_listeners,
        drain_state: Arc::clone(&drain_state),
        grace: options.drain.grace,
        takeover: Mutex::new(takeover),
        listening: gate_opener,
        end: end.clone(),
    };
    let mut background = background_service("maintenance", maintenance);
    background.threads = Some(1);
    server.add_service(background);

    let signal = Box::new(SignalWatch {
        drain_state,
        lame_duck: options.drain.lame_duck,
        listen_fds: gate.listen_fds,
        upgrade_socket: options.upgrade_socket,
        end,
    });
    // Pingora sleeps for its whole grace period; this process exits as soon as it is idle.
    std::thread::spawn(move || server.run(RunArgs { shutdown_signal: signal }));
    let reason = match ended.recv() {
        Ok(ServerEnd::Terminated) => "terminated",
        Ok(ServerEnd::HandedOver) => "handed over to the new process",
        Ok(ServerEnd::Interrupted) => "interrupted",
        Ok(ServerEnd::Failed(error)) => return Err(error),
        Err(mpsc::RecvError) => "the server thread ended",
    };
    tracing::info!(event = "server_stopped", reason, "stopped");
    Ok(ExitCode::SUCCESS)
}

fn admin_service(
    admin: AdminListener,
    options: &ServeOptions,
) -> Result<Service<ListenerApp>, String> {
    // An administrator's request, such as a reload, may take longer than a client's.
    let bounds = ServerBounds { exchange_deadline: ADMIN_DEADLINE, ..options.bounds.clone() };
    let listener = Listener { address: admin.settings.address, tls: None };
    let acceptors = TlsAcceptors::new("admin", &[&listener], options)?;
    let drain_state = Arc::clone(&admin.drain_state);
    let app = ListenerApp::new(None, options, &bounds, Arc::new(admin), drain_state, acceptors);
    let mut service = Service::new("admin".to_owned(), app);
    service.threads = Some(1);
    Ok(service)
}

fn new_server(drain: &DrainSettings) -> Server {
    let conf = ServerConf {
        threads: std::thread::available_parallelism().map_or(1, Into::into),
        // A request stays on the thread of its connection: moving it costs two thread wake-ups.
        work_stealing: false,
        grace_period_seconds: Some((drain.grace + FINAL_SLEEP_SLACK).as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server
}

// Checks the addresses that the previous process does not listen on.
fn claim_listeners(
    takeover: Option<&mut Takeover>,
    options: &ServeOptions,
) -> Result<InheritedListeners, String> {
    let admin = options.admin.iter().map(|admin| admin.address);
    let callbacks = options.callbacks.iter().map(|(listener, _)| listener.address);
    let listeners = options.listeners.iter().map(|listener| listener.address);
    let addresses = listeners.chain(admin).chain(callbacks);
    match takeover {
        Some(takeover) => takeover.claim(addresses, probe_address),
        None => Ok(InheritedListeners::default()),
    }
}

/// Checks that an address can be listened on. Pingora would panic without naming it.
///
/// # Errors
/// The reason why it cannot.
pub fn probe_address(address: SocketAddr) -> Result<(), String> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .map_err(|error| format!("failed to listen on {address}: {error}"))
}
