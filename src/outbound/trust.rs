//! The TLS trust anchors and the client certificate of outbound connections, reloaded from files.
//! Peer and host name verification cannot be disabled.

use std::{fmt, path::PathBuf, sync::Arc};

use pingora::{
    protocols::{Stream, l4, tls::client},
    tls::{TlsConnector, load_native_certs},
};
use rustls::{ClientConfig, RootCertStore, sign::SingleCertAndKey};

use crate::{
    clock::Clock,
    qod::{Moment, Secret},
    reloadable::{FILE_CHECK_INTERVAL, Reloadable, open_regular},
    tls::{self, CertificateFiles},
};

/// The trust anchors for a peer, and the client certificate. The default is the public authorities
/// of the system, without a client certificate. Cheap to clone.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<TrustSource>>);

struct TrustSource {
    authorities: Authorities,
    client_certificate: Option<CertificateFiles>,
    tls_client: Reloadable<TlsClient>,
}

/// The trust anchors for a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorities {
    /// The public authorities of the system.
    Public,
    /// The authorities of this file only.
    Only(PathBuf),
    /// The authorities of this file, and the public ones.
    Also(PathBuf),
}

/// The TLS client configuration.
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    connector: TlsConnector,
    expires: Option<Moment>,
}

/// The status of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustStatus {
    /// When the client certificate expires, if there is one.
    pub expires: Option<Moment>,
    /// Do the files contain a change that cannot be used?
    pub stale: bool,
}

impl Trust {
    /// Loads the trust anchors, and the client certificate if there is one.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn read(
        authorities: &Authorities,
        shown: Option<&CertificateFiles>,
    ) -> Result<Self, String> {
        let (public, own) = match authorities {
            Authorities::Public => (public_authorities()?, None),
            Authorities::Only(path) => (RootCertStore::empty(), Some(path.clone())),
            Authorities::Also(path) => (public_authorities()?, Some(path.clone())),
        };
        let shown = shown.cloned();
        let source = (authorities.clone(), shown.clone());
        let mut paths: Vec<PathBuf> = own.iter().cloned().collect();
        paths.extend(shown.iter().flat_map(|files| [files.certificate.clone(), files.key.clone()]));
        let tls_client = Reloadable::from_files(paths, move |texts| {
            let mut roots = public.clone();
            let rest = match (&own, texts) {
                (Some(path), [text, rest @ ..]) => {
                    roots.extend(tls::read_roots(path, text)?.roots);
                    rest
                }
                _ => texts,
            };
            build_client(roots, shown.as_ref(), rest)
        });
        let (authorities, shown) = source;
        Ok(Self(Some(Arc::new(TrustSource {
            authorities,
            client_certificate: shown,
            tls_client: tls_client?,
        }))))
    }

    /// The status of the files; `None` if there are none. The files are checked first if that is
    /// due.
    pub async fn status(&self, clock: &Clock) -> Option<TrustStatus> {
        let tls_client = &self.0.as_ref()?.tls_client;
        let expires = tls_client.current(clock, FILE_CHECK_INTERVAL).await.expires;
        Some(TrustStatus { expires, stale: tls_client.is_stale() })
    }

    /// The current TLS configuration for a protocol other than HTTP. The files are checked first if
    /// that is due. The default trust has none.
    pub async fn client_config(&self, protocol: &[u8], clock: &Clock) -> Option<ClientConfig> {
        let mut config = ClientConfig::clone(&self.current(clock).await?.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        Some(config)
    }

    fn source(&self) -> Option<(&Authorities, Option<&CertificateFiles>)> {
        self.0.as_ref().map(|known| (&known.authorities, known.client_certificate.as_ref()))
    }

    /// The current TLS client; `None` for pingora's default, which trusts the public authorities.
    pub(super) async fn current(&self, clock: &Clock) -> Option<Arc<TlsClient>> {
        Some(self.0.as_ref()?.tls_client.current(clock, FILE_CHECK_INTERVAL).await)
    }
}

impl TlsClient {
    /// Performs the TLS handshake and verifies the host name.
    ///
    /// # Errors
    /// Why the connection is not secure, in words.
    pub(super) async fn handshake(
        &self,
        stream: Stream,
        host: &str,
    ) -> Result<Stream, &'static str> {
        let socket = stream.into_any().downcast::<l4::stream::Stream>();
        let socket = socket.map_err(|_| "not a plain connection")?;
        match client::handshake(&self.connector, host, *socket).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(tls::handshake_failure(&error.to_string())),
        }
    }
}

fn build_client(
    roots: RootCertStore,
    shown: Option<&CertificateFiles>,
    texts: &[Secret],
) -> Result<TlsClient, String> {
    let builder = ClientConfig::builder_with_provider(tls::crypto_provider())
        .with_protocol_versions(tls::VERSIONS)
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let (mut config, expires) = match (shown, texts) {
        (Some(files), [chain, key]) => {
            let (certified, expires) = files.certified_key(chain, key)?;
            let resolver = Arc::new(SingleCertAndKey::from(certified));
            (builder.with_client_cert_resolver(resolver), Some(expires))
        }
        (Some(_), _) => return Err("expected a certificate and a key".to_owned()),
        (None, _) => (builder.with_no_client_auth(), None),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    Ok(TlsClient { connector: TlsConnector::from(Arc::clone(&config)), config, expires })
}

/// Loads the public authorities of the system as [`Outbound::new`](super::Outbound::new) does, which
/// panics if they cannot be loaded. Returns their number.
///
/// # Errors
/// Why they cannot be loaded, in words.
pub fn check_public_authorities() -> Result<usize, String> {
    public_authorities().map(|roots| roots.len())
}

fn public_authorities() -> Result<RootCertStore, String> {
    let failed = |error: &dyn fmt::Display| {
        format!(
            "failed to load the public certificate authorities of the system: {error}; check the \
             environment variables SSL_CERT_FILE and SSL_CERT_DIR"
        )
    };
    // A variable of the TLS library, not a setting of the gateway.
    let file = std::env::var_os("SSL_CERT_FILE");
    // The library would wait for the writer of a named pipe.
    if let Some(file) = file.map(PathBuf::from) {
        open_regular(&file).map_err(|error| failed(&format!("`{}`: {error}", file.display())))?;
    }
    // The library ignores a folder that cannot be read if it can read the file.
    if let Some(folder) = std::env::var_os("SSL_CERT_DIR").map(PathBuf::from) {
        let listed = std::fs::read_dir(&folder);
        listed.map_err(|error| failed(&format!("`{}`: {error}", folder.display())))?;
    }
    let mut roots = RootCertStore::empty();
    for certificate in load_native_certs().map_err(|error| failed(&error))? {
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    Ok(roots)
}

/// Compares the settings and paths, not the content of the files.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.source()).finish()
    }
}
