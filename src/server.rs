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
mod admin_services;
mod failure_log;
mod listen_address;
mod socket_file;
mod connection;
mod readiness;
mod drain;
mod accept;
mod activity;
mod exchange;
mod framing;
mod handover;
mod in_flight;
mod lifecycle;
mod listening;
mod maintenance;
mod message;
mod peer_address;
mod signals;
mod unread_bodies;

#[cfg(any(fuzzing, test))]
pub(crate) use self::message::fuzz::check_http_framing;
use self::{
    accept::TlsAcceptors,
    admin::ProcessEndpoints,
    admin_services::AdminServices,
    connection::ListenerApp,
    drain::DrainState,
    handover::InheritedListeners,
    lifecycle::LifecycleLog,
    listen_address::ListenAddress,
    listening::{GatedService, ListenerGate},
    maintenance::MaintenanceService,
    readiness::ListenerProbe,
    signals::SignalWatch,
    socket_file::OwnedSocketFile,
};
pub use self::{
    handover::{Takeover, UpgradeSocket, check_socket_path},
    lifecycle::StoreDescription,
    readiness::reachable,
    socket_file::check_socket_file,
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
    /// The storage, for the log; `None` if there is none.
    pub store: Option<StoreDescription>,
    /// The metrics.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
}

impl ServeOptions {
    // What the process listens on.
    fn addresses(&self) -> impl Iterator<Item = ListenAddress> {
        let callbacks = self.callbacks.iter().map(|(listener, _)| listener.address);
        let listeners = self.listeners.iter().map(|listener| listener.address);
        let metrics = self.admin.iter().filter_map(|admin| admin.metrics);
        let admin = self.admin.iter().map(|admin| ListenAddress::from(&admin.endpoint));
        listeners.chain(callbacks).chain(metrics).map(ListenAddress::Tcp).chain(admin)
    }
}

/// Why a server has ended.
enum ServerEnd {
    /// `is_drained`: all requests were completed.
    Terminated {
        is_drained: bool,
    },
    /// As `Terminated`, and a successor has the listeners.
    HandedOver {
        is_drained: bool,
    },
    Interrupted,
    Failed(String),
}

// Added to the grace period for pingora, which sleeps for all of it; the process exits earlier, once it is
// idle.
const FINAL_SLEEP_SLACK: Duration = Duration::from_secs(5);

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
        inherited: Arc::new(match &mut takeover {
            Some(takeover) => takeover.claim(options.addresses())?,
            None => InheritedListeners::default(),
        }),
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
    let probe = Arc::new(ListenerProbe::new(options.addresses()));
    let mut tls_listeners = Vec::new();
    for (name, handler, listeners) in groups {
        let acceptors = TlsAcceptors::new(name, &listeners, &options)?;
        tls_listeners.extend(acceptors.tls_listeners().cloned());
        let (drain_state, bounds) = (Arc::clone(&drain_state), &options.bounds);
        let app = ListenerApp::new(Some(name), &options, bounds, handler, drain_state, acceptors);
        let addresses = listeners.iter().map(|listener| ListenAddress::Tcp(listener.address));
        server.add_service(GatedService::new(Service::new(name.to_owned(), app), addresses, &gate));
    }
    let endpoints = Arc::new(ProcessEndpoints {
        metrics: options.metrics.clone(),
        application: Arc::clone(&application),
        drain_state: Arc::clone(&drain_state),
        probe: Arc::clone(&probe),
    });
    let admin = AdminServices::new(&endpoints, &options, &gate)?;
    tls_listeners.extend(admin.tls_listeners);
    admin.all.into_iter().for_each(|service| _ = server.add_service(service));
    let (end, ended) = mpsc::channel();
    let lifecycle = LifecycleLog::new(&options);
    let maintenance = MaintenanceService {
        application,
        probe,
        tls_listeners,
        drain_state: Arc::clone(&drain_state),
        grace: options.drain.grace,
        takeover: Mutex::new(takeover),
        listening: gate_opener,
        lifecycle: lifecycle.clone(),
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
    let end = ended
        .recv()
        .unwrap_or_else(|mpsc::RecvError| ServerEnd::Failed("the server thread ended".to_owned()));
    lifecycle.log_stopped(&end);
    end.finish(admin.socket_file.as_ref())
}

impl ServerEnd {
    fn finish(self, socket_file: Option<&OwnedSocketFile>) -> Result<ExitCode, String> {
        // A successor uses the same file.
        if !matches!(self, Self::HandedOver { .. })
            && let Some(file) = socket_file
        {
            file.remove();
        }
        match self {
            Self::Failed(error) => Err(error),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
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

/// Checks that an address can be listened on. Pingora would panic without naming it.
///
/// # Errors
/// The reason why it cannot.
pub fn probe_address(address: SocketAddr) -> Result<(), String> {
    std::net::TcpListener::bind(address)
        .map(drop)
        .map_err(|error| format!("failed to listen on {address}: {error}"))
}
