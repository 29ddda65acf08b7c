//! Listeners, TLS, deadlines, and an end that cuts nobody off.
//!
//! **Invariant:** pingora is known here and in `outbound`, and nowhere else. What passes inward is
//! an `http::Request<Bytes>`, read whole and judged to be sound HTTP; what comes back is an
//! `http::Response<Bytes>`. So what stands behind a listener is a [`Desk`], and behind all of a
//! process a [`Site`]: the gateway, or a simulated operator.

use std::{
    net::SocketAddr,
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
    policy::{Bounds, Drain, Listener},
};

mod admin;
mod connection;
mod doors;
mod drain;
mod entrance;
mod exchange;
mod framing;
mod source;

use self::{
    admin::Admin,
    connection::Front,
    doors::Doors,
    drain::{LameDuck, Leaving, Upkeep},
    entrance::Entrances,
};

/// What answers those who come in by a listener.
#[async_trait]
pub trait Desk: Send + Sync + 'static {
    /// Answers a request.
    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes>;

    /// Says no to a request that was not read whole, in the words of the API that it was for.
    fn reject(&self, to: &Addressed<'_>, rejection: Rejection) -> Response<Bytes>;
}

/// What a process serves: the desk of its clients, and what whoever runs it must know.
#[async_trait]
pub trait Site: Desk {
    /// Is all there that requests will need? What else whoever asks should know.
    fn ready(&self) -> Result<Option<String>, String>;

    /// Brings up to date what is counted only when somebody looks; called before metrics are told.
    async fn measure(&self);

    /// Gets what the first requests will need; called once, before readiness is asked.
    async fn warm_up(&self);

    /// Does once what must be done now and then; called every second.
    async fn upkeep(&self);

    /// Answers whoever runs the gateway, on the admin listener; nothing, if the path is none.
    async fn look_inside(&self, request: &Inside<'_>) -> Option<Response<Vec<u8>>>;

    /// Reads anew what it was told when it was started, if it can.
    async fn reread(&self) {}

    /// By which reading of that it serves; told in the header of every answer on the admin listener.
    fn version(&self) -> Option<Arc<str>> {
        None
    }

    /// Waits until nothing runs on that an answered request has left behind.
    async fn settled(&self);
}

/// What is known of a request that was not read whole.
#[derive(Clone, Copy, Debug)]
pub struct Addressed<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a str,
    /// Its header.
    pub headers: &'a HeaderMap,
}

/// A request to the admin listener.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a str,
    /// What stands after the `?`.
    pub query: &'a str,
    /// Its header.
    pub headers: &'a HeaderMap,
}

/// Why a request is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Where it ends, or whom it is for, can be read in two ways.
    Framing(&'static str),
    /// Its header is too large.
    HeaderTooLarge,
    /// Its body is too large.
    BodyTooLarge,
    /// There are too many already.
    Busy,
    /// The answer was not ready in time.
    Late,
    /// The site fell over it.
    Broken,
}

/// All that serving takes.
pub struct Serving {
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// Where operators call, and who answers them; clients have no part in that, nor they in clients'.
    pub callbacks: Option<(Listener, Arc<dyn Desk>)>,
    /// Where `/metrics`, `/healthz` and `/readyz` are asked; a site without has nothing to watch.
    pub admin: Option<SocketAddr>,
    /// Proxies in front of it that are believed whom they serve.
    pub trusted_proxies: Vec<IpNet>,
    /// How much of anything.
    pub bounds: Bounds,
    /// How it ends.
    pub drain: Drain,
    /// Does it take its listeners over from a running process?
    pub upgrade: bool,
    /// Where running processes hand their listeners over.
    pub upgrade_socket: PathBuf,
    /// Where things are counted.
    pub metrics: Metrics,
    /// What time it is.
    pub clock: Clock,
}

// Pingora's own sleep after the listeners have closed; the process ends before, when it is idle.
const FINAL_SLEEP_SLACK: Duration = Duration::from_secs(5);

/// Serves a site until a signal ends it.
///
/// # Errors
/// If the certificate or key of a listener cannot be used.
pub fn serve(serving: &Serving, site: Arc<dyn Site>) -> Result<ExitCode, String> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let drain = serving.drain.clone();
    let conf = ServerConf {
        threads,
        // A request stays on the thread that its connection is of: to hand it to another one costs
        // two wakings of a thread.
        work_stealing: false,
        upgrade_sock: serving.upgrade_socket.display().to_string(),
        grace_period_seconds: Some((drain.grace + FINAL_SLEEP_SLACK).as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let options = Opt { upgrade: serving.upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(Some(options), conf);
    server.bootstrap();

    let leaving = Arc::new(Leaving::new(serving.metrics.clone()));
    let own_desk: Arc<dyn Desk> = Arc::<dyn Site>::clone(&site);
    let mut fronts: Vec<(&'static str, Arc<dyn Desk>, Vec<&Listener>)> =
        vec![("edge", own_desk, serving.listeners.iter().collect())];
    if let Some((listener, desk)) = &serving.callbacks {
        fronts.push(("callbacks", Arc::clone(desk), vec![listener]));
    }
    let addresses = fronts.iter().flat_map(|(_, _, all)| all.iter().map(|one| one.address));
    let doors = Arc::new(Doors::new(addresses));
    let mut secured = Vec::new();
    let within = serving.bounds.header_deadline;
    for (name, desk, listeners) in fronts {
        let limits = (within, &serving.clock, &serving.metrics);
        let entrances = Entrances::new(name, &listeners, limits)?;
        secured.extend(entrances.secured().cloned());
        let front = Front::new(name, serving, desk, Arc::clone(&leaving), entrances);
        let mut service = Service::new(name.to_owned(), front);
        // The handshake is the front's own affair, so that it counts as a connection.
        for listener in listeners {
            service.add_tcp(&listener.address.to_string());
        }
        server.add_service(service);
    }
    if let Some(address) = serving.admin {
        let admin = Admin {
            metrics: serving.metrics.clone(),
            site: Arc::clone(&site),
            leaving: Arc::clone(&leaving),
            doors: Arc::clone(&doors),
        };
        let mut service = Service::new("admin".to_owned(), admin);
        service.threads = Some(1);
        service.add_tcp(&address.to_string());
        server.add_service(service);
    }
    let (gone, is_gone) = mpsc::channel();
    let (leaves, grace) = (Arc::clone(&leaving), drain.grace);
    let upkeep = Upkeep { site, doors, secured, leaving: leaves, grace, gone };
    let mut background = background_service("upkeep", upkeep);
    background.threads = Some(1);
    server.add_service(background);

    let signal = Box::new(LameDuck::new(leaving, drain.lame_duck));
    // Pingora sleeps out its whole grace period; this process ends as soon as nothing runs.
    std::thread::spawn(move || server.run(RunArgs { shutdown_signal: signal }));
    // An error means that the sender fell with the server: the end as well.
    let _ = is_gone.recv();
    Ok(ExitCode::SUCCESS)
}
