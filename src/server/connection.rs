//! Connections: the connection limits, the HTTP version and the idle timeout.

use std::{
    collections::HashMap,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::FutureExt;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};

use super::{
    Handler, ServeOptions,
    accept::TlsAcceptors,
    activity::ConnectionActivity,
    drain::{ConnectionGuard, DrainState},
    exchange::{ExchangeConnection, ExchangeService},
    message::MessageStream,
};
use crate::{clock::Clock, metrics::Metrics, policy::ServerBounds, qod::SourceNetwork};

/// Accepts the connections of a group of listeners.
pub(super) struct ListenerApp {
    exchanges: Arc<ExchangeService>,
    limits: Arc<ConnectionLimits>,
    acceptors: TlsAcceptors,
    drain_state: Arc<DrainState>,
    options: HttpServerOptions,
    bounds: ServerBounds,
    clock: Clock,
}

/// Counts the connections, in total and for each source, against the limits.
struct ConnectionLimits {
    total: AtomicUsize,
    by_source: Mutex<HashMap<SourceNetwork, usize>>,
    label: Option<&'static str>,
    metrics: Metrics,
}

/// A permit for one connection; dropping it releases the permit.
struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    source: Option<SourceNetwork>,
}

/// A connection with an idle timeout.
pub(super) struct MonitoredConnection {
    exchanges: Arc<ExchangeService>,
    options: HttpServerOptions,
    activity: Arc<ConnectionActivity>,
    stream: MessageStream,
    // The tasks of HTTP/2 streams own the connection, so that it counts until the last one has ended.
    _guard: ConnectionGuard,
}

impl ListenerApp {
    /// Connections and requests are shown in the metrics with this label.
    pub(super) fn new(
        label: Option<&'static str>,
        serve_options: &ServeOptions,
        bounds: &ServerBounds,
        handler: Arc<dyn Handler>,
        drain_state: Arc<DrainState>,
        acceptors: TlsAcceptors,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        // Pingora gets HTTP/2 connections only.
        options.h2c = true;
        options.h2_idle_timeout = Some(bounds.idle_timeout);
        let limits = ConnectionLimits {
            total: AtomicUsize::new(0),
            by_source: Mutex::default(),
            label,
            metrics: serve_options.metrics.clone(),
        };
        Self {
            exchanges: Arc::new(ExchangeService::new(
                label,
                serve_options,
                bounds,
                handler,
                Arc::clone(&drain_state),
            )),
            limits: Arc::new(limits),
            acceptors,
            drain_state,
            options,
            bounds: bounds.clone(),
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
        let permit = self.limits.acquire(source.map(SourceNetwork::from), &self.bounds)?;
        let guard = self.drain_state.enter_connection();
        // A task of its own, because pingora's has room for a TLS handshake as long as it runs.
        let (app, shutdown) = (Arc::clone(self), shutdown.clone());
        tokio::spawn(async move {
            app.serve(stream, source, guard, &shutdown).await;
            drop(permit);
        });
        None
    }
}

impl ListenerApp {
    async fn serve(
        &self,
        stream: Stream,
        source: Option<IpAddr>,
        guard: ConnectionGuard,
        shutdown: &ShutdownWatch,
    ) {
        let activity = Arc::new(ConnectionActivity::new(source, self.clock.clone()));
        let (closing, drain) = self.drain_state.connection(shutdown);
        let serving = async {
            // Boxed, so that it occupies no memory of an open connection.
            let Some(stream) = Box::pin(self.acceptors.handshake(stream)).await else { return };
            let connection = Arc::new(MonitoredConnection {
                exchanges: Arc::clone(&self.exchanges),
                options: self.options.clone(),
                activity: Arc::clone(&activity),
                stream: MessageStream::new(stream),
                _guard: guard,
            });
            connection.serve(&closing).await;
        };
        // The longest time without a complete request header, however slowly bytes arrive.
        let idle_max = self.bounds.idle_timeout + self.bounds.header_deadline;
        tokio::select! {
            () = serving => {}
            () = drain.run(&activity) => {}
            () = activity.idle_for(idle_max) => {
                self.limits.metrics.record_http_rejection("idle_timeout");
            }
        }
    }
}

impl MonitoredConnection {
    async fn serve(self: &Arc<Self>, shutdown: &ShutdownWatch) {
        let stream = Box::new(self.stream.clone());
        if self.stream.detect_http2().await {
            // Boxed, so that it occupies no memory of an HTTP/1 connection.
            Box::pin(self.process_new(stream, shutdown)).await;
            return;
        }
        let mut session = Box::new(ServerSession::new_http1(stream));
        // The exchange has its own time limit for the first header.
        session.set_keepalive(Some(0));
        while let Some(reused) = self.exchange(session, shutdown).await {
            let (stream, settings) = reused.consume();
            session = Box::new(ServerSession::new_http1(stream));
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
        }
    }

    async fn exchange(
        &self,
        session: Box<ServerSession>,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let connection = ExchangeConnection { activity: &self.activity, stream: &self.stream };
        let exchange = self.exchanges.exchange(session, shutdown, connection);
        // A panic inside pingora ends this exchange only.
        AssertUnwindSafe(exchange).catch_unwind().await.unwrap_or_else(|_panic| {
            self.exchanges.record_panic();
            None
        })
    }
}

#[async_trait]
impl HttpServerApp for MonitoredConnection {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.exchange(Box::new(session), shutdown).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl ConnectionLimits {
    fn acquire(
        self: &Arc<Self>,
        source: Option<SourceNetwork>,
        bounds: &ServerBounds,
    ) -> Option<ConnectionPermit> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        self.show(1);
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

    fn show(&self, change: i64) {
        if let Some(label) = self.label {
            self.metrics.add_connections(label, change);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limits.total.fetch_sub(1, Ordering::Relaxed);
        self.limits.show(-1);
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
