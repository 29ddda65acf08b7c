//! The log lines at the start and at the end of a process: what it is and where it listens, and how it
//! ended.

use super::{ServeOptions, ServerEnd};
use crate::{
    clock::{Clock, Tick},
    metrics::Metrics,
    service::Application,
};

/// What the line at the start says about the storage of the process.
#[derive(Clone, Debug)]
pub struct StoreDescription {
    /// The kind of the store.
    pub kind: &'static str,
    /// The id of this replica, if several share the store.
    pub replica: Option<String>,
}

/// Logs the start and the end. Describes the process as of its creation.
#[derive(Clone)]
pub(super) struct LifecycleLog {
    listeners: String,
    callbacks: Option<String>,
    admin: Option<String>,
    metrics_listener: Option<String>,
    upgrade_socket: Option<String>,
    store: Option<StoreDescription>,
    metrics: Metrics,
    clock: Clock,
    started: Tick,
}

impl LifecycleLog {
    pub(super) fn new(options: &ServeOptions) -> Self {
        let listeners = options.listeners.iter().map(|one| one.address.to_string());
        let callbacks = options.callbacks.as_ref();
        let admin = options.admin.as_ref();
        Self {
            listeners: listeners.collect::<Vec<_>>().join(" "),
            callbacks: callbacks.map(|(listener, _)| listener.address.to_string()),
            admin: admin.map(|admin| admin.endpoint.to_string()),
            metrics_listener: admin.and_then(|admin| Some(admin.metrics?.to_string())),
            upgrade_socket: options.upgrade_socket.as_ref().map(|path| path.display().to_string()),
            store: options.store.clone(),
            metrics: options.metrics.clone(),
            clock: options.clock.clone(),
            started: options.clock.tick(),
        }
    }

    /// Logs that all listeners are open.
    pub(super) fn log_started(&self, application: &dyn Application) {
        let store = self.store.as_ref();
        tracing::info!(
            event = "server_started",
            version = env!("CARGO_PKG_VERSION"),
            policy = application.policy_version().as_deref(),
            listeners = self.listeners,
            callbacks = self.callbacks,
            admin = self.admin,
            metrics = self.metrics_listener,
            store = store.map(|store| store.kind),
            replica = store.and_then(|store| store.replica.as_deref()),
            upgrade_socket = self.upgrade_socket,
            "listening"
        );
    }

    /// Logs that the process ends.
    pub(super) fn log_stopped(&self, end: &ServerEnd) {
        let requests_in_flight = self.metrics.requests_in_flight();
        let (reason, signal, is_drained) = match end {
            ServerEnd::Terminated { is_drained } => ("terminated", Some("TERM"), *is_drained),
            ServerEnd::HandedOver { is_drained } => {
                ("handed over to the new process", Some("QUIT"), *is_drained)
            }
            ServerEnd::Interrupted => ("interrupted", Some("INT"), requests_in_flight == 0),
            ServerEnd::Failed(_) => ("failed", None, false),
        };
        tracing::info!(
            event = "server_stopped",
            reason,
            signal,
            clean = is_drained,
            uptime_s = self.clock.elapsed(self.started).as_secs(),
            requests = self.metrics.requests_served(),
            requests_in_flight,
            "stopped"
        );
    }
}
