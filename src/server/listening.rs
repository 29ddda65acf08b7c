//! Pingora's listener services, with listeners of a previous process and with a gate: no connection is
//! accepted before the process can serve.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    listeners::{L4BufferSettings, ListenerConfig},
    server::{ListenFds, ShutdownWatch},
    services::{Service as PingoraService, listening::Service},
};
use tokio::sync::watch;

use super::{
    handover::{InheritedListeners, ListenFdsCell},
    listen_address::ListenAddress,
    socket_file::{OwnedSocketFile, PreparedSocket},
};

/// A listener service that waits until it may accept connections.
pub(super) struct GatedService<A> {
    inner: Service<A>,
    addresses: Vec<String>,
    gate: ListenerGate,
    socket: Option<GatedSocket>,
}

/// The Unix socket of a service.
pub(super) struct GatedSocket {
    /// `None` if it is inherited.
    pub(super) prepared: Mutex<Option<PreparedSocket>>,
    pub(super) file: OwnedSocketFile,
}

/// What all listener services of a process share.
#[derive(Clone)]
pub(super) struct ListenerGate {
    /// Whether connections may be accepted.
    pub(super) open: watch::Receiver<bool>,
    /// The listeners of the previous process.
    pub(super) inherited: Arc<InheritedListeners>,
    /// Receives the listeners of this process, for a successor.
    pub(super) listen_fds: ListenFdsCell,
}

impl<A> GatedService<A> {
    pub(super) fn new(
        mut inner: Service<A>,
        addresses: impl IntoIterator<Item = ListenAddress>,
        gate: &ListenerGate,
    ) -> Self {
        let addresses: Vec<_> = addresses.into_iter().collect();
        // The parsers have buffers of their own; pingora's would occupy 64 KiB of each idle connection.
        let buffers = L4BufferSettings::default().read(0);
        for address in &addresses {
            // Without TLS: the app performs the handshake, so that it counts against the connection limits.
            let listener = match address {
                ListenAddress::Tcp(address) => ListenerConfig::tcp(address.to_string()),
                ListenAddress::Unix(file) => ListenerConfig::uds(address.to_string())
                    .permissions(Permissions::from_mode(file.mode)),
            };
            inner.add_listener(listener.l4_buffer(buffers));
        }
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Self { inner, addresses, gate: gate.clone(), socket: None }
    }

    /// Adds the Unix socket of the service.
    pub(super) fn with_socket(self, socket: Option<GatedSocket>) -> Self {
        Self { socket, ..self }
    }
}

impl GatedSocket {
    // Pingora would replace any file, and restrict the permissions after the fact.
    fn publish(&self, address: &str, fds: &ListenFds) {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        match prepared.map(PreparedSocket::publish) {
            Some(Ok(descriptor)) => fds.lock().add(address.to_owned(), descriptor),
            Some(Err(error)) => tracing::error!(
                event = "admin_socket_failed",
                socket = address,
                %error,
                "the admin socket cannot be created"
            ),
            None => {}
        }
        self.file.record();
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> PingoraService for GatedService<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let opened = tokio::select! {
            opened = self.gate.open.wait_for(|open| *open) => opened.is_ok(),
            _ = async { shutdown.wait_for(|shutdown| *shutdown).await.map(drop) } => false,
        };
        if !opened {
            return;
        }
        if let Some(fds) = &fds {
            for address in &self.addresses {
                if let Some(descriptor) = self.gate.inherited.get(address) {
                    fds.lock().add(address.clone(), descriptor);
                }
            }
            if let (Some(socket), Some(address)) = (&self.socket, self.addresses.first()) {
                socket.publish(address, fds);
            }
            // All services get the same table.
            _ = self.gate.listen_fds.set(Arc::clone(fds));
        }
        self.inner.start_service(fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn threads(&self) -> Option<usize> {
        self.inner.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(self.addresses.clone())
    }
}
