//! Loads certificates, private keys and trust anchors from PEM files for rustls, for listeners and
//! for outbound connections.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ::aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use crate::{
    qod::{Moment, Secret},
    reloadable::Reloadable,
};

mod failure;
#[cfg(test)]
mod tests;

pub use self::failure::handshake_failure;

/// The TLS versions of listeners and outbound connections. rustls supports no others.
pub const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// The paths of a certificate and its private key, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server certificate and its private key.
    pub files: CertificateFiles,
    /// Client certificate verification; off if `None`.
    pub clients: Option<ClientCertificates>,
}

/// Client certificate verification at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The path of the trust anchors for client certificates, in PEM.
    pub authorities: PathBuf,
    /// Is a client certificate required?
    pub required: bool,
}

/// The TLS configuration of a listener for rustls.
pub struct ServerTls {
    /// The rustls configuration.
    pub config: Arc<ServerConfig>,
    /// When the server certificate expires.
    pub expires: Moment,
}

/// A certificate's SHA-256 (RFC 8705 §3.1).
#[derive(Clone, Copy)]
pub struct CertificateThumbprint([u8; 32]);

/// A private key with its certificate chain, and when the certificate expires.
pub type CertifiedKeyPair = (Arc<CertifiedKey>, Moment);

impl Settings {
    /// Loads the files. The result is reloadable.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn read(&self) -> Result<Reloadable<ServerTls>, String> {
        let mut paths = vec![self.files.certificate.clone(), self.files.key.clone()];
        paths.extend(self.clients.iter().map(|clients| clients.authorities.clone()));
        let Self { files, clients } = self.clone();
        Reloadable::from_files(paths, move |texts| {
            let [chain, key, authorities @ ..] = texts else {
                return Err("expected a certificate and a key".to_owned());
            };
            let certified = files.certified_key(chain, key)?;
            let authorities = clients.as_ref().zip(authorities.first());
            build_server_tls(certified, authorities)
        })
    }
}

impl CertificateFiles {
    /// Parses the certificate chain and the key, and checks that they match.
    ///
    /// # Errors
    /// Which file cannot be used, and why, without the content of the files.
    pub fn certified_key(&self, chain: &Secret, key: &Secret) -> Result<CertifiedKeyPair, String> {
        let (at, key_at) = (self.certificate.display(), self.key.display());
        let chain = certificates(chain).map_err(|error| format!("`{at}` {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
            .map_err(|_| format!("`{key_at}` contains no private key in PEM"))?;
        let expires = chain.first().and_then(not_after_of);
        let expires = expires.ok_or_else(|| format!("`{at}` is not a valid X.509 certificate"))?;
        let certified =
            CertifiedKey::from_der(chain, key, &crypto_provider()).map_err(|error| {
                format!("`{key_at}` is not the key of the certificate in `{at}`: {error}")
            })?;
        Ok((Arc::new(certified), expires))
    }
}

fn build_server_tls(
    (certified, expires): CertifiedKeyPair,
    clients: Option<(&ClientCertificates, &Secret)>,
) -> Result<ServerTls, String> {
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|error| error.to_string())?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut config = match clients {
        None => builder.with_no_client_auth().with_cert_resolver(resolver),
        Some((clients, authorities)) => {
            let roots = Arc::new(read_roots(&clients.authorities, authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto_provider());
            let verifier =
                if clients.required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver)
        }
    };
    if clients.is_some() {
        // A resumed session is not verified again: a certificate that has expired, or whose
        // authority is no longer trusted, would still be accepted.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
    Ok(ServerTls { config: Arc::new(config), expires })
}

/// Parses the trust anchors of a file.
///
/// # Errors
/// If the file contains no certificate, or one that is not a valid trust anchor.
pub fn read_roots(path: &Path, pem: &Secret) -> Result<RootCertStore, String> {
    let at = path.display();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|error| format!("`{at}` {error}"))? {
        roots
            .add(certificate)
            .map_err(|error| format!("`{at}` contains an invalid CA certificate: {error}"))?;
    }
    Ok(roots)
}

/// The validity period of each certificate of a file: not before, not after.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn validities(path: &Path) -> Result<Vec<(Moment, Moment)>, String> {
    let at = path.display().to_string();
    let validities = Reloadable::from_files(vec![path.to_owned()], move |texts| {
        let certificates = texts.iter().map(certificates).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| format!("`{at}` {error}"))?;
        let validities = certificates.iter().flatten().map(validity_of).collect::<Option<Vec<_>>>();
        validities.ok_or_else(|| format!("`{at}` is not a valid X.509 certificate"))
    });
    Ok(validities?.load().to_vec())
}

/// The cryptography provider of all TLS connections.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The permissions of all other users of this machine on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherPermissions {
    /// May others read the file?
    pub read: bool,
    /// May others write to the file?
    pub write: bool,
}

/// Reads the permissions of all other users of this machine on a file.
///
/// # Errors
/// If the file does not exist, or its metadata cannot be read.
pub fn other_permissions(file: &Path) -> std::io::Result<OtherPermissions> {
    let mode = std::fs::metadata(file)?.permissions().mode();
    Ok(OtherPermissions { read: mode & 0o004 != 0, write: mode & 0o002 != 0 })
}

/// Logs a warning if a private key file is world-readable.
pub fn warn_if_world_readable(key: &Path) {
    if other_permissions(key).is_ok_and(|others| others.read) {
        let file = key.display();
        tracing::warn!(event = "private_key_readable", %file, "private key file is world-readable");
    }
}

fn certificates(pem: &Secret) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let read = CertificateDer::pem_slice_iter(pem.reveal().as_bytes());
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|_| "is not valid PEM")?;
    if certificates.is_empty() { Err("contains no certificate in PEM") } else { Ok(certificates) }
}

fn not_after_of(certificate: &CertificateDer<'_>) -> Option<Moment> {
    validity_of(certificate).map(|(_, end)| end)
}

fn validity_of(certificate: &CertificateDer<'_>) -> Option<(Moment, Moment)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    let [from, end] = [validity.not_before, validity.not_after]
        .map(|time| Moment::from_unix_s(u64::try_from(time.timestamp()).unwrap_or_default()));
    Some((from, end))
}

impl CertificateThumbprint {
    /// The thumbprint of a certificate in DER.
    #[cfg(test)]
    pub fn from_der(der: &[u8]) -> Self {
        Self(<sha2::Sha256 as sha2::Digest>::digest(der).into())
    }

    /// Compares in constant time.
    pub fn equals(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl From<[u8; 32]> for CertificateThumbprint {
    fn from(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

/// A thumbprint identifies a certificate and is not a secret.
impl std::fmt::Debug for CertificateThumbprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Thumbprint(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
