//! The background service: prepares the application, opens the listeners, runs the periodic work every
//! second, reloads on HUP, and drains the application at the end.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use pingora::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{interval, timeout},
};

use super::{
    Application, ServerEnd, accept::TlsListener, drain::DrainState, handover::Takeover,
    lifecycle::LifecycleLog, readiness::ListenerProbe,
};

/// The background service of a server.
pub(super) struct MaintenanceService {
    pub(super) application: Arc<dyn Application>,
    pub(super) probe: Arc<ListenerProbe>,
    pub(super) tls_listeners: Vec<Arc<TlsListener>>,
    pub(super) drain_state: Arc<DrainState>,
    pub(super) grace: Duration,
    /// The process whose listeners this one takes over; taken when the service starts.
    pub(super) takeover: Mutex<Option<Takeover>>,
    /// Opens the listeners.
    pub(super) listening: watch::Sender<bool>,
    pub(super) lifecycle: LifecycleLog,
    pub(super) end: mpsc::Sender<ServerEnd>,
}

impl MaintenanceService {
    async fn start_listening(&self) -> Result<(), String> {
        let takeover = self.takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(takeover) = takeover {
            // The previous process serves until this one can.
            self.application.warm_up().await;
            takeover.complete(&*self.application).await?;
            self.probe.set_ready();
            self.listening.send_replace(true);
        } else {
            self.listening.send_replace(true);
            tokio::join!(self.application.warm_up(), self.probe.wait_ready());
        }
        self.lifecycle.log_started(&*self.application);
        Ok(())
    }

    // Whether all requests were completed.
    async fn drain(&self) -> bool {
        let drained = async {
            self.drain_state.until_idle().await;
            self.application.drain().await;
        };
        let is_drained = timeout(self.grace, drained).await.is_ok();
        if !is_drained {
            tracing::warn!(
                event = "drain_timed_out",
                "grace period has ended; aborting the requests in flight"
            );
        }
        is_drained
    }
}

#[async_trait]
impl BackgroundService for MaintenanceService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // Installed first: without a handler, HUP would end the process.
        let mut hang_up = signal(SignalKind::hangup()).ok();
        let started = tokio::select! {
            started = self.start_listening() => started,
            // An error means that the server has ended.
            _ = async { shutdown.wait_for(|shutdown| *shutdown).await.map(drop) } => Ok(()),
        };
        if let Err(error) = started {
            _ = self.end.send(ServerEnd::Failed(error));
            return;
        }
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
        let is_drained = self.drain().await;
        let end = if self.drain_state.is_ending() {
            ServerEnd::Terminated { is_drained }
        } else {
            ServerEnd::HandedOver { is_drained }
        };
        // An error means that the process is ending already.
        _ = self.end.send(end);
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}
