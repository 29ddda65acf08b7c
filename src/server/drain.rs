//! Graceful shutdown: first the readiness check fails so that load balancers stop sending requests, then the
//! listeners close, then the requests in flight complete.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::{
    server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch},
    services::background::BackgroundService,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::{interval, sleep, timeout},
};

use super::{Application, accept::TlsListener, readiness::ListenerProbe};
use crate::metrics::Metrics;

/// Whether the process is draining, and the number of requests in flight.
pub(super) struct DrainState {
    draining: AtomicBool,
    exchanges: AtomicUsize,
    idle: Notify,
    metrics: Metrics,
}

/// A guard that counts a request as in flight until it is dropped.
pub(super) struct InFlightGuard {
    drain_state: Arc<DrainState>,
    listener_count: Arc<AtomicUsize>,
    listener: &'static str,
}

impl DrainState {
    pub(super) fn new(metrics: Metrics) -> Self {
        let (lame, exchanges) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { draining: lame, exchanges, idle: Notify::new(), metrics }
    }

    /// Whether the process is draining: the readiness check fails, and connections are closed after their
    /// next response.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts a request of a listener as in flight; `None` if the limit of the listener is reached.
    pub(super) fn try_enter(
        self: &Arc<Self>,
        listener: &'static str,
        listener_count: &Arc<AtomicUsize>,
        in_flight_max: usize,
    ) -> Option<InFlightGuard> {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        let before = listener_count.fetch_add(1, Ordering::Relaxed);
        let guard = InFlightGuard {
            drain_state: Arc::clone(self),
            listener_count: Arc::clone(listener_count),
            listener,
        };
        self.metrics.add_in_flight(listener, 1);
        (before < in_flight_max).then_some(guard)
    }

    async fn until_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.exchanges.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.drain_state.metrics.add_in_flight(self.listener, -1);
        self.listener_count.fetch_sub(1, Ordering::Relaxed);
        if self.drain_state.exchanges.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.drain_state.idle.notify_waiters();
        }
    }
}

/// Maps Unix signals to pingora's shutdown signals, after a lame-duck phase: TERM shuts down gracefully,
/// QUIT passes the listeners to the process that was started with `--upgrade`, INT shuts down at once.
pub(super) struct LameDuck {
    drain_state: Arc<DrainState>,
    phase: Duration,
}

impl LameDuck {
    pub(super) fn new(drain_state: Arc<DrainState>, phase: Duration) -> Self {
        Self { drain_state, phase }
    }

    fn begin(&self) {
        self.drain_state.draining.store(true, Ordering::Relaxed);
        self.drain_state.metrics.set_draining();
        tracing::info!(event = "drain_started", "draining: not ready, still serving requests");
    }
}

#[async_trait]
impl ShutdownSignalWatch for LameDuck {
    async fn recv(&self) -> ShutdownSignal {
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::quit()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(mut term), Ok(mut quit), Ok(mut int)) = signals else {
            tracing::error!(
                event = "signal_handlers_failed",
                "failed to install signal handlers; the process can only be killed"
            );
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {
                self.begin();
                tokio::select! {
                    () = sleep(self.phase) => ShutdownSignal::GracefulTerminate,
                    _ = int.recv() => ShutdownSignal::FastShutdown,
                }
            }
            _ = quit.recv() => {
                // Pingora passes the listeners first, and continues to serve for 5 s.
                self.begin();
                ShutdownSignal::GracefulUpgrade
            }
            _ = int.recv() => ShutdownSignal::FastShutdown,
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// The background service: runs the periodic work every second, reloads on HUP, and signals the end of the
/// drain.
pub(super) struct MaintenanceService {
    pub(super) application: Arc<dyn Application>,
    pub(super) probe: Arc<ListenerProbe>,
    pub(super) tls_listeners: Vec<Arc<TlsListener>>,
    pub(super) drain_state: Arc<DrainState>,
    pub(super) grace: Duration,
    pub(super) done: mpsc::Sender<()>,
}

#[async_trait]
impl BackgroundService for MaintenanceService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Installed first: without a handler, HUP would end the process.
        let mut hang_up = signal(SignalKind::hangup()).ok();
        tokio::join!(self.application.warm_up(), self.probe.wait_ready());
        let mut every_second = interval(Duration::from_secs(1));
        while !*shutdown.borrow() {
            tokio::select! {
                _ = every_second.tick() => {
                    let reloads = self.tls_listeners.iter().map(|listener| listener.reload());
                    tokio::join!(self.application.run_maintenance(), join_all(reloads));
                }
                () = received(hang_up.as_mut()) => self.application.reload().await,
                changed = shutdown.changed() => if changed.is_err() { break },
            }
        }
        let drained = async {
            self.drain_state.until_idle().await;
            self.application.drain().await;
        };
        if timeout(self.grace, drained).await.is_err() {
            tracing::warn!(
                event = "drain_timed_out",
                "grace period has ended; aborting the requests in flight"
            );
        }
        // An error means that the process is ending already.
        let _ = self.done.send(());
    }
}
