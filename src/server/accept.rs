//! The TLS handshake of accepted connections, with certificates that are reloaded from their files.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pingora::{
    listeners::tls::Acceptor,
    protocols::{Peek, Stream, l4},
};
use tokio::time::timeout;

use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::Listener,
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
    tls::ServerTls,
};

/// The TLS acceptors of a group of listeners.
pub(super) struct TlsAcceptors {
    listeners: Vec<(SocketAddr, Option<Arc<TlsListener>>)>,
    handshake_timeout: Duration,
    metrics: Metrics,
}

/// A listener with TLS: its certificate, and its requirements for client certificates.
pub(super) struct TlsListener {
    acceptance: Reloadable<ServerTls>,
    listener: &'static str,
    address: String,
    clock: Clock,
    metrics: Metrics,
}

impl TlsAcceptors {
    /// Loads the certificates and keys of these listeners.
    pub(super) fn new(
        name: &'static str,
        listeners: &[&Listener],
        (handshake_timeout, clock, metrics): (Duration, &Clock, &Metrics),
    ) -> Result<Self, String> {
        let all = listeners.iter().map(|listener| {
            let address = listener.address.to_string();
            let secured = match &listener.tls {
                None => None,
                Some(settings) => {
                    let loaded = settings.read();
                    let loaded = loaded.map_err(|error| format!("listener {address}: {error}"))?;
                    let (clock, metrics) = (clock.clone(), metrics.clone());
                    Some(Arc::new(TlsListener {
                        acceptance: loaded,
                        listener: name,
                        address,
                        clock,
                        metrics,
                    }))
                }
            };
            Ok((listener.address, secured))
        });
        let all = all.collect::<Result<_, String>>()?;
        Ok(Self { listeners: all, handshake_timeout, metrics: metrics.clone() })
    }

    /// The listeners with TLS, whose files must be polled.
    pub(super) fn tls_listeners(&self) -> impl Iterator<Item = &Arc<TlsListener>> {
        self.listeners.iter().filter_map(|(_, secured)| secured.as_ref())
    }

    /// Performs the TLS handshake, if the listener has TLS; `None` if it fails.
    pub(super) async fn handshake(&self, stream: Stream) -> Option<Stream> {
        let local = stream.get_socket_digest()?.local_addr()?.as_inet().copied()?;
        let Some(secured) = self.listener_at(local)? else { return Some(stream) };
        let mut stream = stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        let handshake = async {
            // A connection without data, such as a load balancer's probe, is not an error.
            stream.try_peek(&mut [0]).await.ok()?;
            let acceptor =
                Acceptor::from_server_config(Arc::clone(&secured.acceptance.load().config));
            Some(acceptor.tls_handshake(*stream).await)
        };
        match timeout(self.handshake_timeout, handshake).await {
            Ok(None) => {}
            Ok(Some(Ok(stream))) => return Some(Box::new(stream)),
            Ok(Some(Err(error))) => {
                tracing::debug!(
                    event = "tls_handshake_failed",
                    listener = secured.address,
                    %error,
                    "TLS handshake failed"
                );
                self.metrics.record_http_rejection("tls_handshake");
            }
            Err(_) => self.metrics.record_http_rejection("tls_timeout"),
        }
        None
    }

    // The listener with this local address. An exact address takes precedence over an unspecified one.
    fn listener_at(&self, local: SocketAddr) -> Option<&Option<Arc<TlsListener>>> {
        let (ip, port) = (local.ip().to_canonical(), local.port());
        let with_port = || self.listeners.iter().filter(|(address, _)| address.port() == port);
        let exact = with_port().find(|(address, _)| address.ip().to_canonical() == ip);
        let any = || {
            with_port().find(|(address, _)| match address.ip() {
                IpAddr::V6(all) => all == Ipv6Addr::UNSPECIFIED,
                IpAddr::V4(all) => all.is_unspecified() && ip.is_ipv4(),
            })
        };
        exact.or_else(any).map(|(_, secured)| secured)
    }
}

impl TlsListener {
    /// Reloads the files if they have changed. Invalid files leave the certificate unchanged.
    pub(super) async fn reload(&self) {
        let current = self.acceptance.current(&self.clock, FILE_CHECK_INTERVAL).await;
        let name = (self.listener, &*self.address);
        self.metrics.set_certificate_expiry(name, current.expires.unix_s());
        self.metrics.set_certificate_stale(name, self.acceptance.is_stale());
    }
}
