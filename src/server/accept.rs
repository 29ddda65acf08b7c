//! The TLS handshake of accepted connections, with certificates that are reloaded from their files.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pingora::{
    Error,
    listeners::tls::Acceptor,
    protocols::{Peek, Stream, l4},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{ServeOptions, failure_log::FailureLog};
use crate::{
    clock::Clock,
    metrics::Metrics,
    policy::Listener,
    reloadable::{FILE_CHECK_INTERVAL, Reloadable},
    tls::{self, ServerTls},
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
    failures: FailureLog,
}

// Why a handshake failed.
enum Failure {
    Tls(Box<Error>),
    PlainHttp(Box<l4::stream::Stream>),
}

const PLAIN_HTTP_RESPONSE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\nContent-Length: 50\r\nConnection: close\r\n\r\n\
    this port serves HTTPS: use a URL with `https://`\n";
const UNREAD_BYTES_MAX: u64 = 256 << 10;
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

impl TlsAcceptors {
    /// Loads the certificates and keys of these listeners.
    pub(super) fn new(
        name: &'static str,
        listeners: &[&Listener],
        options: &ServeOptions,
    ) -> Result<Self, String> {
        let all = listeners.iter().map(|listener| {
            let address = listener.address.to_string();
            let secured = match &listener.tls {
                None => None,
                Some(settings) => {
                    let loaded = settings.read();
                    let loaded = loaded.map_err(|error| format!("listener {address}: {error}"))?;
                    let (clock, metrics) = (options.clock.clone(), options.metrics.clone());
                    Some(Arc::new(TlsListener {
                        acceptance: loaded,
                        listener: name,
                        address,
                        failures: FailureLog::new(clock.clone()),
                        clock,
                        metrics,
                    }))
                }
            };
            Ok((listener.address, secured))
        });
        let all = all.collect::<Result<_, String>>()?;
        Ok(Self {
            listeners: all,
            handshake_timeout: options.bounds.header_deadline,
            metrics: options.metrics.clone(),
        })
    }

    /// The listeners with TLS, whose files must be polled.
    pub(super) fn tls_listeners(&self) -> impl Iterator<Item = &Arc<TlsListener>> {
        self.listeners.iter().filter_map(|(_, secured)| secured.as_ref())
    }

    /// Performs the TLS handshake, if the listener has TLS; `None` if it fails.
    pub(super) async fn handshake(&self, stream: Stream) -> Option<Stream> {
        let digest = stream.get_socket_digest()?;
        // A Unix socket has no TLS.
        let Some(local) = digest.local_addr()?.as_inet().copied() else { return Some(stream) };
        let peer = digest.peer_addr().and_then(|peer| peer.as_inet().map(SocketAddr::ip));
        let Some(secured) = self.listener_at(local)? else { return Some(stream) };
        let mut stream = stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        let handshake = async {
            // A connection without data, such as a load balancer's probe, is not an error.
            let mut first = [0];
            stream.try_peek(&mut first).await.ok()?;
            // TLS begins with a byte that is no letter, a request with its method.
            if first.iter().all(u8::is_ascii_uppercase) {
                return Some(Err(Failure::PlainHttp(stream)));
            }
            let acceptor =
                Acceptor::from_server_config(Arc::clone(&secured.acceptance.load().config));
            Some(acceptor.tls_handshake(*stream).await.map_err(Failure::Tls))
        };
        let record = |reason: &str| {
            secured.log_failure(peer, reason);
            self.metrics.record_http_rejection("tls_handshake");
        };
        match timeout(self.handshake_timeout, handshake).await {
            Ok(None) => {}
            Ok(Some(Ok(stream))) => return Some(Box::new(stream)),
            Ok(Some(Err(Failure::Tls(error)))) => {
                record(tls::handshake_failure(&error.to_string()));
            }
            Ok(Some(Err(Failure::PlainHttp(stream)))) => {
                // Counted before the response, so that a client that has it finds it counted.
                record("the client speaks plain HTTP");
                let _ = timeout(self.handshake_timeout, reject_plain_http(*stream)).await;
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

// Answers a plain HTTP request in words, reads what the client still sends, within bounds, and closes.
async fn reject_plain_http(mut stream: l4::stream::Stream) {
    // The caller has a time limit. Errors are ignored: the connection is closed anyway.
    if stream.write_all(PLAIN_HTTP_RESPONSE).await.is_ok() && stream.shutdown().await.is_ok() {
        // Unread data would reset the connection, and the client might not see the response.
        let (mut unread, mut sink) = (stream.take(UNREAD_BYTES_MAX), tokio::io::sink());
        let _ = timeout(UNREAD_TIMEOUT, tokio::io::copy(&mut unread, &mut sink)).await;
    }
}

impl TlsListener {
    // Logs a failed handshake, and how many were not logged before it.
    fn log_failure(&self, source: Option<IpAddr>, reason: &str) {
        let Some(not_logged) = self.failures.permit() else { return };
        tracing::info!(
            event = "tls_handshake_failed",
            listener = self.address,
            source = source.map(tracing::field::display),
            error = reason,
            not_logged,
            "TLS handshake failed"
        );
    }

    /// Reloads the files if they have changed. Invalid files leave the certificate unchanged.
    pub(super) async fn reload(&self) {
        let current = self.acceptance.current(&self.clock, FILE_CHECK_INTERVAL).await;
        let name = (self.listener, &*self.address);
        self.metrics.set_certificate_expiry(name, current.expires.unix_s());
        self.metrics.set_certificate_stale(name, self.acceptance.is_stale());
    }
}
