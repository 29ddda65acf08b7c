//! Whom a peer must be known by, and what the gateway proves itself with there, as the files have it
//! now. That a peer is verified, and by its host's name, cannot be switched off.

use std::{fmt, path::PathBuf, sync::Arc};

use pingora::{
    protocols::{Stream, l4, tls::client},
    tls::{TlsConnector, load_platform_certs_incl_env_into_store},
};
use rustls::{ClientConfig, RootCertStore, sign::SingleCertAndKey};

use super::endpoint::NotConnected;
use crate::{
    clock::Clock,
    kept::{Kept, LOOK_EVERY},
    qod::{Moment, Secret},
    tls::{self, Files},
};

/// Whom a peer must be known by. The default: a public authority, as the system has them. Cheap to
/// clone.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<Known>>);

struct Known {
    authorities: Authorities,
    shown: Option<Files>,
    kept: Kept<Client>,
}

/// Who must have signed a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// A public one.
    Public,
    /// One of this file, and no other.
    Only(PathBuf),
    /// One of this file, or a public one.
    Also(PathBuf),
}

/// How peers are met.
pub(super) struct Client {
    connector: TlsConnector,
    expires: Option<Moment>,
}

/// How it stands with the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When our own certificate is over, if there is one.
    pub expires: Option<Moment>,
    /// Is there something in the files that cannot be used?
    pub stale: bool,
}

impl Trust {
    /// Reads whom to believe, and what to show, if anything.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub fn read(authorities: &Authorities, shown: Option<&Files>) -> Result<Self, String> {
        let (public, own) = match authorities {
            Authorities::Public => (public_authorities()?, None),
            Authorities::Only(path) => (RootCertStore::empty(), Some(path.clone())),
            Authorities::Also(path) => (public_authorities()?, Some(path.clone())),
        };
        let shown = shown.cloned();
        let said = (authorities.clone(), shown.clone());
        let mut paths: Vec<PathBuf> = own.iter().cloned().collect();
        paths.extend(shown.iter().flat_map(|files| [files.certificate.clone(), files.key.clone()]));
        let kept = Kept::of_files(paths, move |texts| {
            let mut roots = public.clone();
            let rest = match (&own, texts) {
                (Some(path), [text, rest @ ..]) => {
                    roots.extend(tls::roots(path, text)?.roots);
                    rest
                }
                _ => texts,
            };
            client_of(roots, shown.as_ref(), rest)
        });
        let (authorities, shown) = said;
        Ok(Self(Some(Arc::new(Known { authorities, shown, kept: kept? }))))
    }

    /// How it stands with the files; nothing, if there are none. They are looked at, if that is due.
    pub async fn standing(&self, clock: &Clock) -> Option<Standing> {
        let kept = &self.0.as_ref()?.kept;
        let expires = kept.current(clock, LOOK_EVERY).await.expires;
        Some(Standing { expires, stale: kept.is_stale() })
    }

    fn said(&self) -> Option<(&Authorities, Option<&Files>)> {
        self.0.as_ref().map(|known| (&known.authorities, known.shown.as_ref()))
    }

    /// How peers are met now; nothing for pingora's own way, by public authorities.
    pub(super) async fn current(&self, clock: &Clock) -> Option<Arc<Client>> {
        Some(self.0.as_ref()?.kept.current(clock, LOOK_EVERY).await)
    }
}

impl Client {
    /// Shakes hands with the peer of this name.
    pub(super) async fn secure(&self, stream: Stream, host: &str) -> Result<Stream, NotConnected> {
        let because = |reason: String| NotConnected::Because(reason);
        let socket = stream.into_any().downcast::<l4::stream::Stream>();
        let socket = socket.map_err(|_| because("not a plain connection".to_owned()))?;
        let secured = client::handshake(&self.connector, host, *socket).await;
        match secured {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let (kind, root) = (error.etype().as_str(), error.root_cause());
                Err(because(format!("{kind}: {root}")))
            }
        }
    }
}

fn client_of(
    roots: RootCertStore,
    shown: Option<&Files>,
    texts: &[Secret],
) -> Result<Client, String> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(tls::VERSIONS)
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let (mut config, expires) = match (shown, texts) {
        (Some(files), [chain, key]) => {
            let (certified, expires) = files.certified(chain, key)?;
            let resolver = Arc::new(SingleCertAndKey::from(certified));
            (builder.with_client_cert_resolver(resolver), Some(expires))
        }
        (Some(_), _) => return Err("expected a certificate and a key".to_owned()),
        (None, _) => (builder.with_no_client_auth(), None),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Client { connector: TlsConnector::from(Arc::new(config)), expires })
}

fn public_authorities() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let loaded = load_platform_certs_incl_env_into_store(&mut roots);
    loaded.map(|()| roots).map_err(|error| format!("the system's authorities: {error}"))
}

/// The files that it is about; what is in them may change, and is not compared.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.said()).finish()
    }
}
