//! Are the listeners open? Pingora does not tell, so one knocks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};

const KNOCK_EVERY: Duration = Duration::from_millis(5);

/// The addresses that clients come in by.
pub(super) struct Doors {
    addresses: Vec<SocketAddr>,
    open: AtomicBool,
}

impl Doors {
    pub(super) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let addresses = addresses.into_iter().map(reachable).collect();
        Self { addresses, open: AtomicBool::new(false) }
    }

    /// Has every one of them been found open?
    pub(super) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Knocks until every one of them is open.
    pub(super) async fn wait_open(&self) {
        for address in &self.addresses {
            while TcpStream::connect(address).await.is_err() {
                sleep(KNOCK_EVERY).await;
            }
        }
        self.open.store(true, Ordering::Relaxed);
    }
}

/// Where to knock at a listener for all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}
