//! Where a connection comes in, and the handshake there: plain, or by TLS as the files have it now.

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
    kept::{Kept, LOOK_EVERY},
    metrics::Metrics,
    policy::Listener,
    tls::Acceptance,
};

/// The listeners of one front.
pub(super) struct Entrances {
    all: Vec<(SocketAddr, Option<Arc<Secured>>)>,
    handshake_within: Duration,
    metrics: Metrics,
}

/// What a listener proves itself with, and asks for.
pub(super) struct Secured {
    kept: Kept<Acceptance>,
    listener: &'static str,
    address: String,
    clock: Clock,
    metrics: Metrics,
}

impl Entrances {
    /// Reads the certificates and keys of these listeners.
    pub(super) fn new(
        name: &'static str,
        listeners: &[&Listener],
        (handshake_within, clock, metrics): (Duration, &Clock, &Metrics),
    ) -> Result<Self, String> {
        let all = listeners.iter().map(|listener| {
            let address = listener.address.to_string();
            let secured = match &listener.tls {
                None => None,
                Some(settings) => {
                    let kept = settings.read();
                    let kept = kept.map_err(|fault| format!("listener {address}: {fault}"))?;
                    let (clock, metrics) = (clock.clone(), metrics.clone());
                    Some(Arc::new(Secured { kept, listener: name, address, clock, metrics }))
                }
            };
            Ok((listener.address, secured))
        });
        let all = all.collect::<Result<_, String>>()?;
        Ok(Self { all, handshake_within, metrics: metrics.clone() })
    }

    /// What has to be looked at now and then.
    pub(super) fn secured(&self) -> impl Iterator<Item = &Arc<Secured>> {
        self.all.iter().filter_map(|(_, secured)| secured.as_ref())
    }

    /// Shakes hands with whoever has come in; nothing, if that fails.
    pub(super) async fn admit(&self, stream: Stream) -> Option<Stream> {
        let local = stream.get_socket_digest()?.local_addr()?.as_inet().copied()?;
        let Some(secured) = self.of(local)? else { return Some(stream) };
        let mut stream = stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        let handshake = async {
            // Who only knocks, as balancers do, has done nothing wrong.
            stream.try_peek(&mut [0]).await.ok()?;
            let acceptor = Acceptor::from_server_config(Arc::clone(&secured.kept.held().config));
            Some(acceptor.tls_handshake(*stream).await)
        };
        match timeout(self.handshake_within, handshake).await {
            Ok(None) => {}
            Ok(Some(Ok(stream))) => return Some(Box::new(stream)),
            Ok(Some(Err(error))) => {
                tracing::debug!(listener = secured.address, %error, "a handshake has failed");
                self.metrics.malformed("tls");
            }
            Err(_) => self.metrics.malformed("slow_tls"),
        }
        None
    }

    // The listener that has this address; of two, the one that has no other.
    fn of(&self, local: SocketAddr) -> Option<&Option<Arc<Secured>>> {
        let (ip, port) = (local.ip().to_canonical(), local.port());
        let of_port = || self.all.iter().filter(|(address, _)| address.port() == port);
        let exact = of_port().find(|(address, _)| address.ip().to_canonical() == ip);
        let any = || {
            of_port().find(|(address, _)| match address.ip() {
                IpAddr::V6(all) => all == Ipv6Addr::UNSPECIFIED,
                IpAddr::V4(all) => all.is_unspecified() && ip.is_ipv4(),
            })
        };
        exact.or_else(any).map(|(_, secured)| secured)
    }
}

impl Secured {
    /// Reads the files again, if that is due; what cannot be used changes nothing.
    pub(super) async fn look(&self) {
        let current = self.kept.current(&self.clock, LOOK_EVERY).await;
        let name = (self.listener, &*self.address);
        self.metrics.certificate_expires(name, current.expires.unix_s());
        self.metrics.certificate_stale(name, self.kept.is_stale());
    }
}
