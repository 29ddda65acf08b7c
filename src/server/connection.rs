//! One connection: whether there is room for it, and how long it may keep silent.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp},
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};
use tokio::time::sleep;

use super::{Desk, Serving, drain::Leaving, entrance::Entrances, exchange::Exchanges};
use crate::{
    clock::{Clock, Tick},
    metrics::Metrics,
    policy::Bounds,
};

/// Takes connections in.
pub(super) struct Front {
    exchanges: Arc<Exchanges>,
    room: Arc<Room>,
    entrances: Entrances,
    options: HttpServerOptions,
    bounds: Bounds,
    clock: Clock,
}

/// How many connections there are, in all and of each address.
struct Room {
    total: AtomicUsize,
    by_source: Mutex<HashMap<IpAddr, usize>>,
    listener: &'static str,
    metrics: Metrics,
}

/// One connection's place.
struct Place {
    room: Arc<Room>,
    source: Option<IpAddr>,
}

/// A connection with a watch on its silence.
pub(super) struct Watched {
    exchanges: Arc<Exchanges>,
    options: HttpServerOptions,
    source: Option<IpAddr>,
    busy: AtomicUsize,
    heard_ms: AtomicU64,
    started: Tick,
    clock: Clock,
}

impl Front {
    pub(super) fn new(
        listener: &'static str,
        serving: &Serving,
        desk: Arc<dyn Desk>,
        leaving: Arc<Leaving>,
        entrances: Entrances,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(serving.bounds.idle);
        let room = Room {
            total: AtomicUsize::new(0),
            by_source: Mutex::default(),
            listener,
            metrics: serving.metrics.clone(),
        };
        Self {
            exchanges: Arc::new(Exchanges::new(listener, serving, desk, leaving)),
            room: Arc::new(room),
            entrances,
            options,
            bounds: serving.bounds.clone(),
            clock: serving.clock.clone(),
        }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let source = stream
            .get_socket_digest()
            .and_then(|digest| digest.peer_addr().and_then(|peer| Some(peer.as_inet()?.ip())));
        let _place = self.room.enter(source, &self.bounds)?;
        let stream = self.entrances.admit(stream).await?;
        let connection = Arc::new(Watched {
            exchanges: Arc::clone(&self.exchanges),
            options: self.options.clone(),
            source,
            busy: AtomicUsize::new(0),
            heard_ms: AtomicU64::new(0),
            started: self.clock.tick(),
            clock: self.clock.clone(),
        });
        // A connection may be without a request for so long, whatever it trickles meanwhile.
        let silence_max = self.bounds.idle + self.bounds.header_deadline;
        tokio::select! {
            _ = connection.process_new(stream, shutdown) => {}
            () = connection.silent_for(silence_max) => {
                self.room.metrics.malformed("silent");
            }
        }
        None
    }
}

#[async_trait]
impl HttpServerApp for Watched {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.exchanges.exchange(session, shutdown, &**self).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl Watched {
    /// Who is at its other end.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// A header has been read.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    async fn silent_for(&self, silence_max: Duration) {
        loop {
            let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
            let silence = self.clock.elapsed(self.started).saturating_sub(heard);
            if self.busy.load(Ordering::Relaxed) > 0 {
                sleep(silence_max).await;
            } else if silence >= silence_max {
                return;
            } else {
                sleep(silence_max.saturating_sub(silence)).await;
            }
        }
    }
}

/// While a request of the connection is being answered, its silence does not count.
pub(super) struct Busy<'a>(&'a Watched);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let since = self.0.clock.elapsed(self.0.started).as_millis();
        self.0.heard_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    fn enter(self: &Arc<Self>, source: Option<IpAddr>, bounds: &Bounds) -> Option<Place> {
        let before = self.total.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections(self.listener, 1);
        let of_source = source.map_or(0, |source| {
            let mut counts = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(source).or_default();
            *count += 1;
            *count
        });
        let place = Place { room: Arc::clone(self), source };
        if before >= bounds.connections_max {
            self.metrics.connection_refused("all");
            return None;
        }
        if of_source > bounds.connections_per_source_max {
            self.metrics.connection_refused("source");
            return None;
        }
        Some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.total.fetch_sub(1, Ordering::Relaxed);
        self.room.metrics.connections(self.room.listener, -1);
        let Some(source) = self.source else { return };
        let mut counts = self.room.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}
