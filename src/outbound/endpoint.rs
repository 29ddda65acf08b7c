//! Where a call goes: a URL taken apart once, its host resolved now and then, and never blocking.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{Uri, uri::Scheme};
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Semaphore;

use crate::clock::{Clock, Tick};

const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// An `http` or `https` URL that calls go to, and how many at one time.
pub struct Endpoint {
    tls: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    base_path: Box<str>,
    connections: Semaphore,
    // Keeps one endpoint's pooled connections from serving another: pingora's own key leaves some
    // TLS settings out.
    group: u64,
    clock: Clock,
    resolved: ArcSwapOption<Resolved>,
}

struct Resolved {
    peer: Arc<HttpPeer>,
    at: Tick,
}

/// A text is not a URL that calls can go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEndpoint {
    /// It cannot be read at all.
    #[error("not a URL")]
    NotAUrl,
    /// Another scheme, or none.
    #[error("the scheme must be http or https")]
    Scheme,
    /// There is no host, or a user name before it.
    #[error("expected a host, and no user name or password")]
    Host,
    /// It has a query.
    #[error("a query has no place here")]
    Query,
}

impl Endpoint {
    /// Reads a URL; at most `connections_max` calls go there at one time.
    pub fn parse(url: &str, connections_max: usize) -> Result<Self, NotAnEndpoint> {
        static GROUPS: AtomicU64 = AtomicU64::new(1);
        let uri: Uri = url.parse().map_err(|_| NotAnEndpoint::NotAUrl)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) | None => return Err(NotAnEndpoint::Scheme),
        };
        let authority = uri.authority().ok_or(NotAnEndpoint::Host)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(NotAnEndpoint::Host);
        }
        if uri.query().is_some() {
            return Err(NotAnEndpoint::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            tls,
            host: host.into(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().into(),
            base_path: uri.path().trim_end_matches('/').into(),
            connections: Semaphore::new(connections_max),
            group: GROUPS.fetch_add(1, Ordering::Relaxed),
            clock: Clock::system(),
            resolved: ArcSwapOption::empty(),
        })
    }

    /// Is what is sent there encrypted?
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Is it this machine itself, by address?
    pub fn is_loopback(&self) -> bool {
        &*self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn base_path(&self) -> &str {
        &self.base_path
    }

    pub(super) fn connections(&self) -> &Semaphore {
        &self.connections
    }

    pub(super) async fn peer(&self) -> Result<Arc<HttpPeer>, String> {
        if let Some(resolved) = &*self.resolved.load()
            && self.clock.elapsed(resolved.at) < RESOLVED_FOR
        {
            return Ok(Arc::clone(&resolved.peer));
        }
        let mut addresses = tokio::net::lookup_host((&*self.host, self.port))
            .await
            .map_err(|_| "the host name does not resolve".to_owned())?;
        let address: SocketAddr =
            addresses.next().ok_or_else(|| "the host name has no address".to_owned())?;
        // The host is never empty: an empty server name would switch verification off.
        let mut peer = HttpPeer::new(address, self.tls, self.host.to_string());
        peer.group_key = self.group;
        let peer = Arc::new(peer);
        let resolved = Resolved { peer: Arc::clone(&peer), at: self.clock.tick() };
        self.resolved.store(Some(Arc::new(resolved)));
        Ok(peer)
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({}{})", self.authority, self.base_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_endpoints() {
        let fault = |url| Endpoint::parse(url, 1).map(|_| ()).unwrap_err();
        assert_eq!(fault("ftp://a.example/"), NotAnEndpoint::Scheme);
        assert_eq!(fault("/qod/v0"), NotAnEndpoint::Scheme);
        assert_eq!(fault("http://me:secret@a.example/"), NotAnEndpoint::Host);
        assert_eq!(fault("http://a.example/?x=1"), NotAnEndpoint::Query);
        assert_eq!(fault("http://a example/"), NotAnEndpoint::NotAUrl);
        let endpoint = Endpoint::parse("https://[::1]:8443/qod/v0/", 1).unwrap();
        assert!(endpoint.is_loopback() && endpoint.is_tls());
        assert_eq!((endpoint.authority(), endpoint.base_path()), ("[::1]:8443", "/qod/v0"));
    }
}
