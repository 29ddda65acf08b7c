//! The HTTP server: listeners, TLS, deadlines, and graceful shutdown.
//!
//! **Invariant:** only this module and `outbound` use pingora. A handler receives a complete, validated
//! `http::Request<Bytes>` and returns an `http::Response<Bytes>`. Each listener has a [`Handler`]; a process
//! has one [`Application`]: the gateway, or a simulated operator.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use ipnet::IpNet;
use pingora::{
    server::{
        RunArgs, Server,
        configuration::{Opt, ServerConf},
    },
    services::{background::background_service, listening::Service},
};

use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::{DrainSettings, Listener, ServerBounds},
};

mod admin;
mod connection;
mod readiness;
mod drain;
mod accept;
mod activity;
mod exchange;
mod framing;
mod peer_address;

use self::{
    accept::TlsAcceptors,
    admin::AdminListener,
    connection::ListenerApp,
    drain::{DrainState, LameDuck, MaintenanceService},
    readiness::ListenerProbe,
};

/// Handles the requests of a listener.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles a request.
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes>;

    /// The error response, in the dialect of the addressed API, to a request that was not read completely.
    fn reject(&self, request: &UnreadRequest<'_>, rejection: HttpRejection) -> Response<Bytes>;
}

/// The application of a process: handles the requests of its clients and of its administrators.
#[async_trait]
pub trait Application: Handler {
    /// Whether requests can be served. `Ok` may contain a message for `/readyz`.
    ///
    /// # Errors
    /// The reason why requests cannot be served.
    fn ready(&self) -> Result<Option<String>, String>;

    /// Updates the gauges that are computed on demand. Called before each response to `/metrics`.
    async fn update_gauges(&self);

    /// Prepares for the first requests, such as by fetching keys. Called once at start.
    async fn warm_up(&self);

    /// Runs the periodic work. Called every second.
    async fn run_maintenance(&self);

    /// Handles a request to the admin listener; `None` if the path is unknown.
    async fn handle_admin(&self, request: &AdminRequest<'_>) -> Option<Response<Vec<u8>>>;

    /// Reloads the configuration, if the application supports that.
    async fn reload(&self) {}

    /// The version of the configuration, for the header of each response of the admin listener.
    fn policy_version(&self) -> Option<Arc<str>> {
        None
    }

    /// Waits for the work that outlives its request.
    async fn drain(&self);
}

/// A request that was not read completely.
#[derive(Clone, Copy, Debug)]
pub struct UnreadRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The caller's IP address, if the connection has one.
    pub source: Option<IpAddr>,
}

/// A request to the admin listener.
#[derive(Clone, Copy, Debug)]
pub struct AdminRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// The query, without the `?`.
    pub query: &'a str,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

/// The reason why the server rejects a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRejection {
    /// The framing or the target host is invalid or ambiguous.
    Framing(&'static str),
    /// The header exceeds the size limit.
    HeaderTooLarge,
    /// The body exceeds the size limit.
    BodyTooLarge,
    /// Too many requests are in flight.
    Overloaded,
    /// The response was not ready in time.
    ResponseTimeout,
    /// The handler panicked.
    HandlerPanicked,
}

/// The parameters of [`serve`].
pub struct ServeOptions {
    /// The listeners for clients.
    pub listeners: Vec<Listener>,
    /// The listener for callback events of operators, and its handler. Its limits are separate from those
    /// of the listeners for clients.
    pub callbacks: Option<(Listener, Arc<dyn Handler>)>,
    /// The address of the admin listener, with `/metrics`, `/healthz` and `/readyz`; `None` disables it.
    pub admin: Option<SocketAddr>,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The limits and timeouts.
    pub bounds: ServerBounds,
    /// The durations of the shutdown phases.
    pub drain: DrainSettings,
    /// Whether to take over the listeners of a running process.
    pub upgrade: bool,
    /// The socket over which a running process passes its listeners.
    pub upgrade_socket: PathBuf,
    /// The metrics.
    pub metrics: Metrics,
    /// The clock.
    pub clock: Clock,
}

// Added to the grace period for pingora, which sleeps for all of it; the process exits earlier, once it is
// idle.
const FINAL_SLEEP_SLACK: Duration = Duration::from_secs(5);

/// Runs the server until a signal ends it.
///
/// # Errors
/// If the certificate or key of a listener is invalid.
pub fn serve(
    options: &ServeOptions,
    application: Arc<dyn Application>,
) -> Result<ExitCode, String> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let drain = options.drain.clone();
    let conf = ServerConf {
        threads,
        // A request stays on the thread of its connection: moving it costs two thread wake-ups.
        work_stealing: false,
        upgrade_sock: options.upgrade_socket.display().to_string(),
        grace_period_seconds: Some((drain.grace + FINAL_SLEEP_SLACK).as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let opt = Opt { upgrade: options.upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(Some(opt), conf);
    server.bootstrap();

    let drain_state = Arc::new(DrainState::new(options.metrics.clone()));
    let edge: Arc<dyn Handler> = Arc::<dyn Application>::clone(&application);
    let mut groups: Vec<(&'static str, Arc<dyn Handler>, Vec<&Listener>)> =
        vec![("edge", edge, options.listeners.iter().collect())];
    if let Some((listener, handler)) = &options.callbacks {
        groups.push(("callbacks", Arc::clone(handler), vec![listener]));
    }
    let addresses = groups.iter().flat_map(|(_, _, all)| all.iter().map(|one| one.address));
    let probe = Arc::new(ListenerProbe::new(addresses));
    let mut tls_listeners = Vec::new();
    let handshake_timeout = options.bounds.header_deadline;
    for (name, handler, listeners) in groups {
        let context = (handshake_timeout, &options.clock, &options.metrics);
        let acceptors = TlsAcceptors::new(name, &listeners, context)?;
        tls_listeners.extend(acceptors.tls_listeners().cloned());
        let app = ListenerApp::new(name, options, handler, Arc::clone(&drain_state), acceptors);
        let mut service = Service::new(name.to_owned(), app);
        // TCP only: the app performs the TLS handshake, so that it counts against the connection limits.
        for listener in listeners {
            service.add_tcp(&listener.address.to_string());
        }
        server.add_service(service);
    }
    if let Some(address) = options.admin {
        let admin = AdminListener {
            metrics: options.metrics.clone(),
            application: Arc::clone(&application),
            drain_state: Arc::clone(&drain_state),
            probe: Arc::clone(&probe),
        };
        let mut service = Service::new("admin".to_owned(), admin);
        service.threads = Some(1);
        service.add_tcp(&address.to_string());
        server.add_service(service);
    }
    let (done, is_done) = mpsc::channel();
    let maintenance = MaintenanceService {
        application,
        probe,
        tls_listeners,
        drain_state: Arc::clone(&drain_state),
        grace: drain.grace,
        done,
    };
    let mut background = background_service("maintenance", maintenance);
    background.threads = Some(1);
    server.add_service(background);

    let signal = Box::new(LameDuck::new(drain_state, drain.lame_duck));
    // Pingora sleeps for its whole grace period; this process exits as soon as it is idle.
    std::thread::spawn(move || server.run(RunArgs { shutdown_signal: signal }));
    // An error means that the server dropped the sender: it has ended too.
    let _ = is_done.recv();
    Ok(ExitCode::SUCCESS)
}
