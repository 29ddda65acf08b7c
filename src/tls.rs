//! Certificates, private keys and authorities, from PEM to what rustls takes: for those who come in,
//! and for those whom the gateway calls.

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
use sha2::{Digest as _, Sha256};

use crate::{
    kept::Kept,
    qod::{Moment, Secret},
};

#[cfg(test)]
mod tests;

/// The versions that are spoken, on either side. There are no others in rustls.
pub const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Where a certificate and its private key are, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, then its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How those who come in are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the gateway proves itself with.
    pub files: Files,
    /// What it asks of them; nothing without.
    pub clients: Option<ClientCertificates>,
}

/// What is asked of those who come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities of which one must have signed their certificate, in PEM.
    pub authorities: PathBuf,
    /// Must they show one?
    pub required: bool,
}

/// How those who come in are met, as rustls takes it.
pub struct Acceptance {
    /// The settings of their connections.
    pub config: Arc<ServerConfig>,
    /// When the gateway's certificate is over.
    pub expires: Moment,
}

/// A certificate's SHA-256 (RFC 8705 §3.1).
#[derive(Clone, Copy)]
pub struct Thumbprint([u8; 32]);

/// A private key with its certificate, and when that is over.
pub type Certified = (Arc<CertifiedKey>, Moment);

impl Settings {
    /// Reads the files, and keeps what is in them.
    ///
    /// # Errors
    /// What cannot be used, and why.
    pub fn read(&self) -> Result<Kept<Acceptance>, String> {
        let mut paths = vec![self.files.certificate.clone(), self.files.key.clone()];
        paths.extend(self.clients.iter().map(|clients| clients.authorities.clone()));
        let Self { files, clients } = self.clone();
        Kept::of_files(paths, move |texts| {
            let [chain, key, authorities @ ..] = texts else {
                return Err("expected a certificate and a key".to_owned());
            };
            let certified = files.certified(chain, key)?;
            let authorities = clients.as_ref().zip(authorities.first());
            acceptance(certified, authorities)
        })
    }
}

impl Files {
    /// Puts a certificate and a key together.
    ///
    /// # Errors
    /// What cannot be used, and why, with nothing of what is in the files.
    pub fn certified(&self, chain: &Secret, key: &Secret) -> Result<Certified, String> {
        let (at, key_at) = (self.certificate.display(), self.key.display());
        let chain = certificates(chain).map_err(|fault| format!("`{at}` {fault}"))?;
        let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
            .map_err(|_| format!("`{key_at}` has no private key in PEM"))?;
        let expires = chain.first().and_then(end_of);
        let expires = expires.ok_or_else(|| format!("`{at}` cannot be understood"))?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            format!("`{key_at}` is not the key of the certificate in `{at}`: {error}")
        })?;
        Ok((Arc::new(certified), expires))
    }
}

fn acceptance(
    (certified, expires): Certified,
    clients: Option<(&ClientCertificates, &Secret)>,
) -> Result<Acceptance, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(|error| error.to_string())?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    let mut config = match clients {
        None => builder.with_no_client_auth().with_cert_resolver(resolver),
        Some((clients, authorities)) => {
            let roots = Arc::new(roots(&clients.authorities, authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier =
                if clients.required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver)
        }
    };
    if clients.is_some() {
        // Who resumes is not looked at again: a certificate that is over, or whose authority is no
        // longer trusted, would go on being good.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Acceptance { config: Arc::new(config), expires })
}

/// The authorities of a file.
///
/// # Errors
/// If there is none in it, or one that cannot be used.
pub fn roots(path: &Path, pem: &Secret) -> Result<RootCertStore, String> {
    let at = path.display();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|fault| format!("`{at}` {fault}"))? {
        roots
            .add(certificate)
            .map_err(|error| format!("`{at}` has what is no authority's certificate: {error}"))?;
    }
    Ok(roots)
}

/// From when until when each certificate of a file is good.
///
/// # Errors
/// What cannot be used, and why.
pub fn validities(path: &Path) -> Result<Vec<(Moment, Moment)>, String> {
    let at = path.display().to_string();
    let kept = Kept::of_files(vec![path.to_owned()], move |texts| {
        let certificates = texts.iter().map(certificates).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|fault| format!("`{at}` {fault}"))?;
        let validities = certificates.iter().flatten().map(validity_of).collect::<Option<Vec<_>>>();
        validities.ok_or_else(|| format!("`{at}` cannot be understood"))
    });
    Ok(kept?.held().to_vec())
}

/// The one cryptography library.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What everybody on this machine may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OthersMay {
    /// Read it.
    pub read: bool,
    /// Write to it.
    pub write: bool,
}

/// What everybody on this machine may do with a file.
///
/// # Errors
/// If there is no such file, or it cannot be looked at.
pub fn others_may(file: &Path) -> std::io::Result<OthersMay> {
    let mode = std::fs::metadata(file)?.permissions().mode();
    Ok(OthersMay { read: mode & 0o004 != 0, write: mode & 0o002 != 0 })
}

/// Warns of a private key that others on this machine can read.
pub fn warn_of_readers(key: &Path) {
    if others_may(key).is_ok_and(|may| may.read) {
        tracing::warn!(file = %key.display(), "everybody on this machine can read a private key");
    }
}

fn certificates(pem: &Secret) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let read = CertificateDer::pem_slice_iter(pem.reveal().as_bytes());
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(|_| "is broken PEM")?;
    if certificates.is_empty() { Err("has no certificate in PEM") } else { Ok(certificates) }
}

fn end_of(certificate: &CertificateDer<'_>) -> Option<Moment> {
    validity_of(certificate).map(|(_, end)| end)
}

fn validity_of(certificate: &CertificateDer<'_>) -> Option<(Moment, Moment)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    let [from, end] = [validity.not_before, validity.not_after]
        .map(|time| Moment::from_unix_s(u64::try_from(time.timestamp()).unwrap_or_default()));
    Some((from, end))
}

impl Thumbprint {
    /// A certificate's, by its DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Equality in a time that does not tell how much is equal.
    pub fn equals(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl From<[u8; 32]> for Thumbprint {
    fn from(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

/// It tells two certificates apart, and nothing of a secret.
impl std::fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Thumbprint(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
