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

use super::{
    guard::{Forbidden, Guard},
    trust::{Client, Trust},
};
use crate::clock::{Clock, Tick};

const RESOLVED_FOR: Duration = Duration::from_secs(30);
// For how much longer, while too many other names are being looked up.
const RESOLVED_FOR_MAX: Duration = Duration::from_mins(10);

/// An `http` or `https` URL that calls go to, and how many at one time.
pub struct Endpoint {
    tls: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    base_path: Box<str>,
    connections: Semaphore,
    guard: Option<Arc<Guard>>,
    trust: Trust,
    clock: Clock,
    resolved: ArcSwapOption<Resolved>,
}

struct Resolved {
    // Its group keeps pooled connections from serving another endpoint, or this one when its
    // certificates have changed: pingora's own key leaves some TLS settings out.
    peer: Arc<HttpPeer>,
    client: Option<Arc<Client>>,
    at: Tick,
}

/// Why there is no connection.
pub(super) enum NotConnected {
    Forbidden,
    Because(String),
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
            guard: None,
            trust: Trust::default(),
            clock: Clock::system(),
            resolved: ArcSwapOption::empty(),
        })
    }

    /// The same for a URL that is not our own choice: an address is called only if the guard
    /// permits all that its name leads to at that time.
    pub fn guarded(
        url: &str,
        connections_max: usize,
        guard: Arc<Guard>,
    ) -> Result<Self, NotAnEndpoint> {
        Ok(Self { guard: Some(guard), ..Self::parse(url, connections_max)? })
    }

    /// The same, with others to believe than public authorities, or something to show.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Another path of the same host.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        Self { base_path: path.into(), ..self }
    }

    /// Whom it must be known by.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Is what is sent there encrypted?
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Is it this machine itself, by address?
    pub fn is_loopback(&self) -> bool {
        &*self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// What a request asks for there: the endpoint's own path, and this one below it.
    pub fn target(&self, path: &str) -> String {
        let root = if self.base_path.is_empty() && !path.starts_with('/') { "/" } else { "" };
        [&self.base_path, root, path].concat()
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn connections(&self) -> &Semaphore {
        &self.connections
    }

    /// Where to connect to, and how to shake hands there, if not in pingora's own way.
    pub(super) async fn peer(&self) -> Result<(Arc<HttpPeer>, Option<Arc<Client>>), NotConnected> {
        let client = if self.tls { self.trust.current(&self.clock).await } else { None };
        let before = self.resolved.load_full();
        let before = before.filter(|before| is_same(before.client.as_ref(), client.as_ref()));
        if let Some(resolved) = &before
            && self.clock.elapsed(resolved.at) < self.resolved_for()
        {
            return Ok((Arc::clone(&resolved.peer), client));
        }
        let addresses = self.lookup().await?;
        if let Some(guard) = &self.guard {
            guard.permits_all(&addresses).map_err(|Forbidden| NotConnected::Forbidden)?;
        }
        let address = *addresses
            .first()
            .ok_or_else(|| NotConnected::Because("the host name has no address".to_owned()))?;
        // The host is never empty: an empty server name would switch verification off.
        let mut peer = HttpPeer::new(address, self.tls && client.is_none(), self.host.to_string());
        peer.group_key = before.map_or_else(another_group, |before| before.peer.group_key);
        let peer = Arc::new(peer);
        let resolved =
            Resolved { peer: Arc::clone(&peer), client: client.clone(), at: self.clock.tick() };
        self.resolved.store(Some(Arc::new(resolved)));
        Ok((peer, client))
    }

    fn resolved_for(&self) -> Duration {
        let crowded = self.guard.as_ref().is_some_and(|guard| guard.is_crowded());
        if crowded { RESOLVED_FOR_MAX } else { RESOLVED_FOR }
    }

    async fn lookup(&self) -> Result<Vec<SocketAddr>, NotConnected> {
        let (host, port) = (self.host.to_string(), self.port);
        let lookup = async move { tokio::net::lookup_host((host, port)).await.map(Vec::from_iter) };
        let found = match &self.guard {
            None => lookup.await,
            Some(guard) => {
                let permit = guard.lookup().await;
                // It goes on when nobody waits for it any more, and has its permit until then.
                let lookup = tokio::spawn(async move {
                    let _permit = permit;
                    lookup.await
                });
                lookup.await.unwrap_or_else(|ended| Err(ended.into()))
            }
        };
        found.map_err(|_| NotConnected::Because("the host name does not resolve".to_owned()))
    }
}

fn another_group() -> u64 {
    static GROUPS: AtomicU64 = AtomicU64::new(1);
    GROUPS.fetch_add(1, Ordering::Relaxed)
}

fn is_same(one: Option<&Arc<Client>>, other: Option<&Arc<Client>>) -> bool {
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
    use pingora::upstreams::peer::Peer;

    use super::*;
    use crate::{kept::LOOK_EVERY, outbound::Authorities, qod::Moment, tls::Files};

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
        assert_eq!((endpoint.authority(), &*endpoint.target("")), ("[::1]:8443", "/qod/v0"));
    }

    #[tokio::test]
    async fn connections_of_another_certificate_are_not_used_again() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::create_dir(&folder).unwrap();
        let files = Files { certificate: folder.join("own.pem"), key: folder.join("own.key") };
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
            Endpoint { clock: clock.clone(), ..endpoint }.trusting(trust.clone())
        };
        let (one, other) = (endpoint(), endpoint());
        let hash = async |of: &Endpoint| of.peer().await.ok().unwrap().0.reuse_hash();
        let first = hash(&one).await;
        assert_ne!(first, hash(&other).await);
        clock.advance(LOOK_EVERY);
        assert_eq!(first, hash(&one).await);
        clock.advance(RESOLVED_FOR);
        assert_eq!(first, hash(&one).await);
        write();
        clock.advance(LOOK_EVERY);
        assert_ne!(first, hash(&one).await);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_known_address_serves_for_longer_while_too_many_names_are_looked_up() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let guard = Arc::new(Guard::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let guarded = Endpoint::guarded("http://127.0.0.1:1", 1, Arc::clone(&guard)).unwrap();
        let endpoint = Endpoint { clock: clock.clone(), ..guarded };
        let peer = async || endpoint.peer().await.ok().unwrap().0;
        let first = peer().await;
        assert!(Arc::ptr_eq(&first, &peer().await));
        clock.advance(RESOLVED_FOR);
        let second = peer().await;
        assert!(!Arc::ptr_eq(&first, &second));

        let mut others = Vec::new();
        while !guard.is_crowded() {
            others.push(guard.lookup().await);
        }
        clock.advance(RESOLVED_FOR);
        assert!(Arc::ptr_eq(&second, &peer().await));
        clock.advance(RESOLVED_FOR_MAX);
        let looks = tokio::join!(peer(), async { others.clear() });
        assert!(!Arc::ptr_eq(&second, &looks.0));
    }
}
