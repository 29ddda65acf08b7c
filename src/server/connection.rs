//! Connections: the connection limits and the idle timeout.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};

use super::{
    Handler, ServeOptions, accept::TlsAcceptors, activity::ConnectionActivity, drain::DrainState,
    exchange::ExchangeService,
};
use crate::{clock::Clock, metrics::Metrics, policy::ServerBounds};

/// Accepts the connections of a group of listeners.
pub(super) struct ListenerApp {
    exchanges: Arc<ExchangeService>,
    limits: Arc<ConnectionLimits>,
    acceptors: TlsAcceptors,
    options: HttpServerOptions,
    bounds: ServerBounds,
    clock: Clock,
}

/// Counts the connections, in total and for each source address, against the limits.
struct ConnectionLimits {
    total: AtomicUsize,
    by_source: Mutex<HashMap<IpAddr, usize>>,
    listener: &'static str,
    metrics: Metrics,
}

/// A permit for one connection; dropping it releases the permit.
struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    source: Option<IpAddr>,
}

/// A connection with an idle timeout.
pub(super) struct MonitoredConnection {
    exchanges: Arc<ExchangeService>,
    options: HttpServerOptions,
    activity: ConnectionActivity,
}

impl ListenerApp {
    pub(super) fn new(
        listener: &'static str,
        serve_options: &ServeOptions,
        handler: Arc<dyn Handler>,
        drain_state: Arc<DrainState>,
        acceptors: TlsAcceptors,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(serve_options.bounds.idle_timeout);
        let limits = ConnectionLimits {
            total: AtomicUsize::new(0),
            by_source: Mutex::default(),
            listener,
            metrics: serve_options.metrics.clone(),
        };
        Self {
            exchanges: Arc::new(ExchangeService::new(
                listener,
                serve_options,
                handler,
                drain_state,
            )),
            limits: Arc::new(limits),
            acceptors,
            options,
            bounds: serve_options.bounds.clone(),
            clock: serve_options.clock.clone(),
        }
    }
}

#[async_trait]
impl ServerApp for ListenerApp {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let source = stream
            .get_socket_digest()
            .and_then(|digest| digest.peer_addr().and_then(|peer| Some(peer.as_inet()?.ip())));
        let _permit = self.limits.acquire(source, &self.bounds)?;
        let stream = self.acceptors.handshake(stream).await?;
        let connection = Arc::new(MonitoredConnection {
            exchanges: Arc::clone(&self.exchanges),
            options: self.options.clone(),
            activity: ConnectionActivity::new(source, self.clock.clone()),
        });
        // The longest time without a complete request header, however slowly bytes arrive.
        let idle_max = self.bounds.idle_timeout + self.bounds.header_deadline;
        tokio::select! {
            _ = connection.process_new(stream, shutdown) => {}
            () = connection.activity.idle_for(idle_max) => {
                self.limits.metrics.record_http_rejection("idle_timeout");
            }
        }
        None
    }
}

#[async_trait]
impl HttpServerApp for MonitoredConnection {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.exchanges.exchange(session, shutdown, &self.activity).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl ConnectionLimits {
    fn acquire(
        self: &Arc<Self>,
        source: Option<IpAddr>,
        bounds: &ServerBounds,
    ) -> Option<ConnectionPermit> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        self.metrics.add_connections(self.listener, 1);
        let of_source = source.map_or(0, |source| {
            let mut counts = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(source).or_default();
            *count += 1;
            *count
        });
        let permit = ConnectionPermit { limits: Arc::clone(self), source };
        if before >= bounds.connections_max {
            self.metrics.record_connection_refused("all");
            return None;
        }
        if of_source > bounds.connections_per_source_max {
            self.metrics.record_connection_refused("source");
            return None;
        }
        Some(permit)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limits.total.fetch_sub(1, Ordering::Relaxed);
        self.limits.metrics.add_connections(self.limits.listener, -1);
        let Some(source) = self.source else { return };
        let mut counts = self.limits.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}
