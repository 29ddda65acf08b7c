//! Graceful shutdown: connections are closed after their next response, the listeners close, and the
//! exchanges on accepted connections complete. After that the application is drained.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use pingora::server::ShutdownWatch;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use super::activity::ConnectionActivity;
use crate::metrics::Metrics;

// The listeners have closed, and a connection without a request for this time is closed as well.
const IDLE_MAX: Duration = Duration::from_secs(1);
// From the acceptance of a connection until the server knows about it.
const ACCEPT_DELAY_MAX: Duration = Duration::from_millis(100);

/// The stage of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DrainPhase {
    /// No shutdown has begun.
    Serving,
    /// Connections are closed after their next response. The readiness check succeeds, because a
    /// successor takes over the listeners.
    HandingOver,
    /// Connections are closed after their next response, and the readiness check fails.
    Ending,
}

/// The stage of the shutdown, and the number of open connections.
pub(super) struct DrainState {
    phase: watch::Sender<DrainPhase>,
    // Whether the phase is not `Serving`; read with each response.
    draining: AtomicBool,
    active: AtomicUsize,
    idle: Notify,
    metrics: Metrics,
}

/// A guard that counts a connection until it is dropped.
pub(super) struct ConnectionGuard(Arc<DrainState>);

/// Decides when one connection is closed because of a shutdown.
pub(super) struct ConnectionDrain {
    phase: watch::Receiver<DrainPhase>,
    shutdown: ShutdownWatch,
    closing: watch::Sender<bool>,
}

impl DrainState {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            phase: watch::Sender::new(DrainPhase::Serving),
            draining: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            idle: Notify::new(),
            metrics,
        }
    }

    /// Whether connections are closed after their next response.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the process ends without a successor.
    pub(super) fn is_ending(&self) -> bool {
        *self.phase.borrow() == DrainPhase::Ending
    }

    /// Enters a phase.
    pub(super) fn enter(&self, phase: DrainPhase) {
        let is_draining = phase != DrainPhase::Serving;
        self.draining.store(is_draining, Ordering::Relaxed);
        self.metrics.set_draining(is_draining);
        self.phase.send_replace(phase);
    }

    /// Counts a connection.
    pub(super) fn enter_connection(self: &Arc<Self>) -> ConnectionGuard {
        self.active.fetch_add(1, Ordering::SeqCst);
        ConnectionGuard(Arc::clone(self))
    }

    /// Returns the watch that pingora gets for a new connection, and the value that controls it.
    pub(super) fn connection(&self, shutdown: &ShutdownWatch) -> (ShutdownWatch, ConnectionDrain) {
        let (closing, is_closing) = watch::channel(false);
        let phase = self.phase.subscribe();
        (is_closing, ConnectionDrain { phase, shutdown: shutdown.clone(), closing })
    }

    /// Waits until all accepted connections are closed. Call this after the listeners have closed.
    pub(super) async fn until_idle(&self) {
        sleep(ACCEPT_DELAY_MAX).await;
        loop {
            let idle = self.idle.notified();
            if self.active.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl ConnectionDrain {
    /// Returns when the connection must be closed although its peer has not closed it.
    ///
    /// A shutdown asks the peer to close it (HTTP/2: GOAWAY, HTTP/1.1: `Connection: close`), once it
    /// has sent a request: a connection that was opened during the shutdown serves its first one.
    /// When the listeners have closed, it may stay idle for one second.
    pub(super) async fn run(mut self, activity: &ConnectionActivity) {
        // An error means that the server has ended, and this connection with it.
        tokio::select! {
            _ = self.phase.wait_for(|phase| *phase != DrainPhase::Serving) => {}
            _ = self.shutdown.wait_for(|shutdown| *shutdown) => {}
        }
        tokio::select! {
            () = activity.first_request() => {}
            _ = self.shutdown.wait_for(|shutdown| *shutdown) => {}
        }
        self.closing.send_replace(true);
        _ = self.shutdown.wait_for(|shutdown| *shutdown).await;
        activity.idle_for(IDLE_MAX).await;
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
