//! Probes the listeners, because pingora does not report when they are ready.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::sleep,
};

use super::listen_address::ListenAddress;

const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// The addresses of the listeners, and whether all of them accept connections.
pub(super) struct ListenerProbe {
    addresses: Vec<ListenAddress>,
    ready: AtomicBool,
}

impl ListenerProbe {
    pub(super) fn new(addresses: impl IntoIterator<Item = ListenAddress>) -> Self {
        Self { addresses: addresses.into_iter().collect(), ready: AtomicBool::new(false) }
    }

    /// Whether all listeners accept connections.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Sets that all listeners accept connections, or will do so soon.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Waits until all listeners accept connections.
    pub(super) async fn wait_ready(&self) {
        for address in &self.addresses {
            while !accepts_connections(address).await {
                sleep(PROBE_INTERVAL).await;
            }
        }
        self.set_ready();
    }
}

async fn accepts_connections(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Tcp(address) => TcpStream::connect(reachable(*address)).await.is_ok(),
        ListenAddress::Unix(file) => UnixStream::connect(&file.path).await.is_ok(),
    }
}

/// The address by which to connect to a listener; loopback if it listens on all addresses.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}
