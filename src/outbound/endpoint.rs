//! The target of a call: a URL that is parsed once, and whose host is resolved periodically without
//! blocking.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{Uri, uri::Scheme};
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::sync::Semaphore;

use super::{
    guard::{ForbiddenAddress, Guard},
    idle_pool::PoolKey,
    trust::{TlsClient, Trust},
};
use crate::{
    clock::{Clock, Tick},
    trace::CallAddress,
};

const DNS_TTL: Duration = Duration::from_secs(30);
// How long an address is reused while the DNS lookup limit is reached.
const DNS_TTL_MAX: Duration = Duration::from_mins(10);

/// An `http` or `https` URL, with a limit of concurrent connections.
pub struct Endpoint {
    tls: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    base_path: Box<str>,
    // The path of a Unix socket, which is connected to instead of the host.
    socket: Option<Box<str>>,
    connections_max: usize,
    connections: Semaphore,
    guard: Option<Arc<Guard>>,
    trust: Trust,
    clock: Clock,
    resolved: ArcSwapOption<ResolvedPeer>,
    // Did the last TLS handshake fail?
    tls_failing: AtomicBool,
}

/// The address of an endpoint.
pub(super) struct ResolvedPeer {
    pub(super) peer: HttpPeer,
    /// The TLS client, if it is not pingora's default.
    pub(super) client: Option<Arc<TlsClient>>,
    pub(super) pool_key: PoolKey,
    resolved_at: Tick,
}

/// Why a connection was not made.
pub(super) enum ConnectError {
    Forbidden,
    Failed(String),
}

/// A text is not a valid endpoint URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a URL.
    #[error("not a URL")]
    NotAUrl,
    /// The scheme is missing, or not `http` or `https`.
    #[error("the scheme must be http or https")]
    Scheme,
    /// The host is missing, or it has a user name before it.
    #[error("expected a host, and no user name or password")]
    Host,
    /// It has a query.
    #[error("the URL must not have a query")]
    Query,
}

impl Endpoint {
    /// Parses a URL. At most `connections_max` calls to it are made concurrently.
    pub fn parse(url: &str, connections_max: usize) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::NotAUrl)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(_) | None => return Err(EndpointError::Scheme),
        };
        let authority = uri.authority().ok_or(EndpointError::Host)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(EndpointError::Host);
        }
        if uri.query().is_some() {
            return Err(EndpointError::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            tls,
            host: host.into(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().into(),
            base_path: uri.path().trim_end_matches('/').into(),
            socket: None,
            connections_max,
            connections: Semaphore::new(connections_max),
            guard: None,
            trust: Trust::default(),
            clock: Clock::system(),
            resolved: ArcSwapOption::empty(),
            tls_failing: AtomicBool::new(false),
        })
    }

    /// A server that listens on a Unix socket. One call to it is made at a time.
    pub fn unix(path: &str) -> Result<Self, EndpointError> {
        Ok(Self { socket: Some(path.into()), ..Self::parse("http://localhost", 1)? })
    }

    /// Parses a URL from an untrusted source. It is called only if the guard permits every address
    /// that the host resolves to at that time.
    pub fn guarded(
        url: &str,
        connections_max: usize,
        guard: Arc<Guard>,
    ) -> Result<Self, EndpointError> {
        Ok(Self { guard: Some(guard), ..Self::parse(url, connections_max)? })
    }

    /// The same URL with connections of its own: as many, and none is shared.
    #[must_use]
    pub fn with_separate_connections(&self) -> Self {
        Self {
            tls: self.tls,
            host: self.host.clone(),
            port: self.port,
            authority: self.authority.clone(),
            base_path: self.base_path.clone(),
            socket: self.socket.clone(),
            connections_max: self.connections_max,
            connections: Semaphore::new(self.connections_max),
            guard: self.guard.clone(),
            trust: self.trust.clone(),
            clock: self.clock.clone(),
            resolved: ArcSwapOption::empty(),
            tls_failing: AtomicBool::new(false),
        }
    }

    /// Sets the trust anchors and the client certificate. The default is public authorities and no
    /// client certificate.
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Replaces the base path.
    #[must_use]
    pub fn with_path(self, path: &str) -> Self {
        Self { base_path: path.into(), ..self }
    }

    /// The trust anchors and the client certificate.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Is the connection encrypted (`https`)?
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Is the host `localhost` or a loopback address?
    pub fn is_loopback(&self) -> bool {
        &*self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// The request target: the base path followed by this path.
    pub fn target(&self, path: &str) -> String {
        let root = if self.base_path.is_empty() && !path.starts_with('/') { "/" } else { "" };
        [&self.base_path, root, path].concat()
    }

    /// The URL, with the base path.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.base_path)
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn address(&self) -> CallAddress<'_> {
        let scheme = if self.tls { "https" } else { "http" };
        CallAddress { scheme, host: &self.host, port: self.port }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Records a failed TLS handshake. Logs only the first one of a series.
    pub(super) fn record_tls_failure(&self, reason: &str) {
        if !self.tls_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "outbound_tls_failed",
                host = self.authority(),
                error = reason,
                "TLS handshake with a peer failed"
            );
        }
    }

    /// Records a new connection.
    pub(super) fn record_connected(&self) {
        self.tls_failing.store(false, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> &Semaphore {
        &self.connections
    }

    /// The address to connect to.
    pub(super) async fn resolve(&self) -> Result<Arc<ResolvedPeer>, ConnectError> {
        let client = if self.tls { self.trust.current(&self.clock).await } else { None };
        let previous = self.resolved.load_full();
        let previous =
            previous.filter(|previous| is_same_client(previous.client.as_ref(), client.as_ref()));
        if let Some(resolved) = &previous
            && self.clock.elapsed(resolved.resolved_at) < self.dns_ttl()
        {
            return Ok(Arc::clone(resolved));
        }
        if let Some(path) = &self.socket {
            let peer = HttpPeer::new_uds(path, false, String::new());
            let peer = peer.map_err(|_| ConnectError::Failed("invalid socket path".to_owned()))?;
            return Ok(self.set_resolved(peer, client, previous));
        }
        let addresses = self.lookup().await?;
        if let Some(guard) = &self.guard {
            guard.permits_all(&addresses).map_err(|ForbiddenAddress| ConnectError::Forbidden)?;
        }
        let address = *addresses.first().ok_or_else(|| {
            ConnectError::Failed("the host name resolves to no address".to_owned())
        })?;
        // The host is never empty: an empty server name would disable verification.
        let peer = HttpPeer::new(address, self.tls && client.is_none(), self.host.to_string());
        Ok(self.set_resolved(peer, client, previous))
    }

    fn set_resolved(
        &self,
        peer: HttpPeer,
        client: Option<Arc<TlsClient>>,
        previous: Option<Arc<ResolvedPeer>>,
    ) -> Arc<ResolvedPeer> {
        // A connection to another address, or before the certificates changed, is not reused.
        let pool_key = previous
            .filter(|previous| previous.peer.address() == peer.address())
            .map_or_else(PoolKey::unique, |previous| previous.pool_key);
        let resolved_at = self.clock.tick();
        let resolved = Arc::new(ResolvedPeer { peer, client, pool_key, resolved_at });
        self.resolved.store(Some(Arc::clone(&resolved)));
        resolved
    }

    fn dns_ttl(&self) -> Duration {
        let saturated = self.guard.as_ref().is_some_and(|guard| guard.is_saturated());
        if saturated { DNS_TTL_MAX } else { DNS_TTL }
    }

    async fn lookup(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let (host, port) = (self.host.to_string(), self.port);
        let lookup = async move { tokio::net::lookup_host((host, port)).await.map(Vec::from_iter) };
        let addresses = match &self.guard {
            None => lookup.await,
            Some(guard) => {
                let permit = guard.lookup_permit().await;
                // A separate task: the lookup holds its permit until it ends, even if the call is
                // cancelled.
                let lookup = tokio::spawn(async move {
                    let _permit = permit;
                    lookup.await
                });
                lookup.await.unwrap_or_else(|error| Err(error.into()))
            }
        };
        addresses.map_err(|_| ConnectError::Failed("the host name does not resolve".to_owned()))
    }
}

fn is_same_client(one: Option<&Arc<TlsClient>>, other: Option<&Arc<TlsClient>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
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
    use crate::{
        outbound::Authorities, qod::Moment, reloadable::FILE_CHECK_INTERVAL, tls::CertificateFiles,
    };

    #[test]
    fn endpoint_urls_are_validated() {
        let error = |url| Endpoint::parse(url, 1).map(|_| ()).unwrap_err();
        assert_eq!(error("ftp://a.example/"), EndpointError::Scheme);
        assert_eq!(error("/qod/v0"), EndpointError::Scheme);
        assert_eq!(error("http://me:secret@a.example/"), EndpointError::Host);
        assert_eq!(error("http://a.example/?x=1"), EndpointError::Query);
        assert_eq!(error("http://a example/"), EndpointError::NotAUrl);
        let endpoint = Endpoint::parse("https://[::1]:8443/qod/v0/", 1).unwrap();
        assert!(endpoint.is_loopback() && endpoint.is_tls());
        assert_eq!((endpoint.authority(), &*endpoint.target("")), ("[::1]:8443", "/qod/v0"));
    }

    #[tokio::test]
    async fn connections_are_not_reused_after_a_certificate_change() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&folder).unwrap();
        let files =
            CertificateFiles { certificate: folder.join("own.pem"), key: folder.join("own.key") };
        let write = || {
            let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&files.certificate, own.cert.pem()).unwrap();
            std::fs::write(&files.key, own.key_pair.serialize_pem()).unwrap();
        };
        write();
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let trust = Trust::read(&Authorities::Public, Some(&files)).unwrap();
        let endpoint = || {
            let endpoint = Endpoint::parse("https://127.0.0.1:1", 1).unwrap();
            Endpoint { clock: clock.clone(), ..endpoint }.with_trust(trust.clone())
        };
        let (one, other) = (endpoint(), endpoint());
        let key = async |of: &Endpoint| of.resolve().await.ok().unwrap().pool_key;
        let first = key(&one).await;
        assert_ne!(first, key(&other).await);
        clock.advance(FILE_CHECK_INTERVAL);
        assert_eq!(first, key(&one).await);
        clock.advance(DNS_TTL);
        assert_eq!(first, key(&one).await);
        write();
        clock.advance(FILE_CHECK_INTERVAL);
        assert_ne!(first, key(&one).await);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn resolved_address_is_reused_longer_while_dns_lookups_are_saturated() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let guard = Arc::new(Guard::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let guarded = Endpoint::guarded("http://127.0.0.1:1", 1, Arc::clone(&guard)).unwrap();
        let endpoint = Endpoint { clock: clock.clone(), ..guarded };
        let peer = async || endpoint.resolve().await.ok().unwrap();
        let first = peer().await;
        assert!(Arc::ptr_eq(&first, &peer().await));
        clock.advance(DNS_TTL);
        let second = peer().await;
        assert!(!Arc::ptr_eq(&first, &second));

        let mut others = Vec::new();
        while !guard.is_saturated() {
            others.push(guard.lookup_permit().await);
        }
        clock.advance(DNS_TTL);
        assert!(Arc::ptr_eq(&second, &peer().await));
        clock.advance(DNS_TTL_MAX);
        let (third, ()) = tokio::join!(peer(), async { others.clear() });
        assert!(!Arc::ptr_eq(&second, &third));
    }
}
