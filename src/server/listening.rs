//! Pingora's listener services, with listeners of a previous process and with a gate: no connection is
//! accepted before the process can serve.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use pingora::{
    apps::ServerApp,
    listeners::{L4BufferSettings, ListenerConfig},
    server::{ListenFds, ShutdownWatch},
    services::{Service as PingoraService, listening::Service},
};
use tokio::sync::watch;

use super::handover::{InheritedListeners, ListenFdsCell};

/// A listener service that waits until it may accept connections.
pub(super) struct GatedService<A> {
    inner: Service<A>,
    addresses: Vec<String>,
    gate: ListenerGate,
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
        addresses: impl IntoIterator<Item = SocketAddr>,
        gate: &ListenerGate,
    ) -> Self {
        let addresses: Vec<_> = addresses.into_iter().map(|one| one.to_string()).collect();
        // The parsers have buffers of their own; pingora's would occupy 64 KiB of each idle connection.
        let buffers = L4BufferSettings::default().read(0);
        for address in &addresses {
            // TCP only: the app performs the TLS handshake, so that it counts against the connection limits.
            inner.add_listener(ListenerConfig::tcp(address.clone()).l4_buffer(buffers));
        }
        Self { inner, addresses, gate: gate.clone() }
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
