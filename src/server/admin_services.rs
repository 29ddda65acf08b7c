//! The listener services of the process's own endpoints: the admin listener, and the one with metrics and
//! health only.

use std::sync::{Arc, Mutex};

use pingora::services::listening::Service;

use super::{
    ServeOptions,
    accept::{TlsAcceptors, TlsListener},
    admin::{AdminAuthentication, AdminListener, MetricsListener, ProcessEndpoints},
    connection::ListenerApp,
    listen_address::ListenAddress,
    listening::{GatedService, GatedSocket, ListenerGate},
    socket_file::{OwnedSocketFile, PreparedSocket},
};
use crate::{
    policy::{AdminEndpoint, Listener, ServerBounds, SocketFile},
    service::Handler,
};

/// The services, and what must be done for them. Empty without an admin listener.
#[derive(Default)]
pub(super) struct AdminServices {
    pub(super) all: Vec<GatedService<ListenerApp>>,
    /// The listeners whose certificates must be polled.
    pub(super) tls_listeners: Vec<Arc<TlsListener>>,
    /// The file to remove at the end.
    pub(super) socket_file: Option<OwnedSocketFile>,
}

// The time limit of an administrator's request, which is not a client's: a reload may load large tables.
const ADMIN_DEADLINE: std::time::Duration = std::time::Duration::from_mins(10);

impl AdminServices {
    /// Loads the tokens and certificates, and prepares the Unix socket.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub(super) fn new(
        endpoints: &Arc<ProcessEndpoints>,
        options: &ServeOptions,
        gate: &ListenerGate,
    ) -> Result<Self, String> {
        let Some(settings) = &options.admin else { return Ok(Self::default()) };
        let authentication =
            AdminAuthentication::new(settings, options.metrics.clone(), options.clock.clone());
        let handler = AdminListener {
            settings: settings.clone(),
            authentication: authentication
                .map_err(|error| format!("`admin.token_file`: {error}"))?,
            endpoints: Arc::clone(endpoints),
        };
        let (listeners, socket) = match &settings.endpoint {
            AdminEndpoint::Tcp(listener) => (vec![listener], None),
            AdminEndpoint::Unix(file) => (Vec::new(), Some(gated_socket(file, gate)?)),
        };
        let socket_file = socket.as_ref().map(|socket| socket.file.clone());
        let acceptors = TlsAcceptors::new("admin", &listeners, options)?;
        let tls_listeners = acceptors.tls_listeners().cloned().collect();
        let service = new_service("admin", Arc::new(handler), acceptors, endpoints, options);
        let address = ListenAddress::from(&settings.endpoint);
        let mut all = vec![GatedService::new(service, [address], gate).with_socket(socket)];
        if let Some(address) = settings.metrics {
            let listener = Listener { address, tls: None };
            let acceptors = TlsAcceptors::new("metrics", &[&listener], options)?;
            let handler = Arc::new(MetricsListener(Arc::clone(endpoints)));
            let service = new_service("metrics", handler, acceptors, endpoints, options);
            all.push(GatedService::new(service, [ListenAddress::Tcp(address)], gate));
        }
        Ok(Self { all, tls_listeners, socket_file })
    }
}

fn new_service(
    name: &str,
    handler: Arc<dyn Handler>,
    acceptors: TlsAcceptors,
    endpoints: &ProcessEndpoints,
    options: &ServeOptions,
) -> Service<ListenerApp> {
    let bounds = ServerBounds { exchange_deadline: ADMIN_DEADLINE, ..options.bounds.clone() };
    let drain_state = Arc::clone(&endpoints.drain_state);
    let app = ListenerApp::new(None, options, &bounds, handler, drain_state, acceptors);
    let mut service = Service::new(name.to_owned(), app);
    service.threads = Some(1);
    service
}

fn gated_socket(file: &SocketFile, gate: &ListenerGate) -> Result<GatedSocket, String> {
    let is_inherited = gate.inherited.get(&ListenAddress::Unix(file.clone()).to_string()).is_some();
    let prepared = if is_inherited { None } else { Some(PreparedSocket::bind(file)?) };
    Ok(GatedSocket {
        prepared: Mutex::new(prepared),
        file: OwnedSocketFile::new(file.path.clone()),
    })
}
