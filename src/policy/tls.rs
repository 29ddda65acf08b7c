//! TLS sections of the policies: server and client certificates, and trusted CA certificates.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    scalars::{FilePath, Scalar},
    validation::Validation,
};
use crate::{
    outbound::{Authorities, Trust},
    tls::{self, CertificateFiles, ClientCertificates, Settings},
};

/// The TLS settings of a listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsEntry {
    /// The file of the server certificate with its chain (PEM).
    certificate_file: Scalar<FilePath>,
    /// The file of the private key (PEM).
    key_file: Scalar<FilePath>,
    /// The file of the CA certificates (PEM) that client certificates must chain to.
    client_ca_file: Option<Scalar<FilePath>>,
    /// Whether a client certificate is required. Default: required, with a `client_ca_file`.
    client_certificate: Option<ClientCertificateMode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClientCertificateMode {
    /// Connections without a valid client certificate are rejected.
    Required,
    /// Connections without a client certificate are accepted; those with an invalid one are rejected.
    Optional,
}

/// The keys of an entry for TLS connections to a peer.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the policy keys")]
pub(super) struct PeerTlsFiles<'a> {
    /// `ca_file`: the only trusted CA certificates.
    pub(super) ca_file: Option<&'a Scalar<FilePath>>,
    /// `extra_ca_file`: trusted CA certificates in addition to the public CAs.
    pub(super) extra_ca_file: Option<&'a Scalar<FilePath>>,
    /// `client_certificate_file`: the client certificate.
    pub(super) client_certificate_file: Option<&'a Scalar<FilePath>>,
    /// `client_key_file`: the private key of the client certificate.
    pub(super) client_key_file: Option<&'a Scalar<FilePath>>,
}

impl TlsEntry {
    /// Whether every connection has a verified client certificate.
    pub(super) fn requires_certificate(&self) -> bool {
        self.client_ca_file.is_some()
            && self.client_certificate != Some(ClientCertificateMode::Optional)
    }

    pub(super) fn settings(&self, at: Validation<'_>) -> Option<Settings> {
        let certificate = at.key("certificate_file").check_file(&self.certificate_file.0);
        let key = at.key("key_file").check_file(&self.key_file.0);
        let clients = match (&self.client_ca_file, self.client_certificate) {
            (Some(file), mode) => {
                let authorities = at.key("client_ca_file").check_file(&file.0)?;
                let required = mode != Some(ClientCertificateMode::Optional);
                Some(ClientCertificates { authorities, required })
            }
            (None, Some(_)) => {
                let message = "`client_certificate` requires `client_ca_file`";
                at.key_name("client_certificate").report(message);
                None
            }
            (None, None) => None,
        };
        let files = CertificateFiles { certificate: certificate?, key: key? };
        tls::warn_if_world_readable(&files.key);
        let settings = Settings { files, clients };
        at.ok(settings.read()).map(|_| settings)
    }
}

impl<'a> PeerTlsFiles<'a> {
    /// Creates the keys from `ca_file`, `client_certificate_file` and `client_key_file`.
    pub(super) fn new(
        ca_file: Option<&'a Scalar<FilePath>>,
        client_certificate_file: Option<&'a Scalar<FilePath>>,
        client_key_file: Option<&'a Scalar<FilePath>>,
    ) -> Self {
        Self { ca_file, extra_ca_file: None, client_certificate_file, client_key_file }
    }

    /// Reads the files. Returns `None` on an error. `encrypted`: whether any URL of the peer uses https.
    pub(super) fn trust(self, encrypted: bool, at: Validation<'_>) -> Option<Trust> {
        let Some(first) = self.keys().next() else { return Some(Trust::default()) };
        if !encrypted {
            at.key_name(first).report("this key requires an https URL");
            return None;
        }
        self.read(at)
    }

    /// The keys that are present.
    fn keys(self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("ca_file", self.ca_file.is_some()),
            ("extra_ca_file", self.extra_ca_file.is_some()),
            ("client_certificate_file", self.client_certificate_file.is_some()),
            ("client_key_file", self.client_key_file.is_some()),
        ];
        keys.into_iter().filter_map(|(key, is_present)| is_present.then_some(key))
    }

    /// Reads the files, or the public CAs if there are none. Returns `None` on an error.
    pub(super) fn read(self, at: Validation<'_>) -> Option<Trust> {
        let mut keys = self.keys();
        let (first, last) = (keys.next(), keys.last());
        let check = |path: Option<&Scalar<FilePath>>, key: &str| {
            path.and_then(|path| at.key(key).check_file(&path.0))
        };
        let ca_file = check(self.ca_file, "ca_file").map(Authorities::Only);
        let extra_ca_file = check(self.extra_ca_file, "extra_ca_file").map(Authorities::Also);
        let certificate_files = match (
            check(self.client_certificate_file, "client_certificate_file"),
            check(self.client_key_file, "client_key_file"),
        ) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            _ => None,
        };
        if self.client_certificate_file.is_some() != self.client_key_file.is_some() {
            let message =
                "expected both `client_certificate_file` and `client_key_file`, or neither";
            last.or(first).map_or(at, |key| at.key_name(key)).report(message);
        }
        if let Some(files) = &certificate_files {
            tls::warn_if_world_readable(&files.key);
        }
        let authorities = ca_file.or(extra_ca_file).unwrap_or(Authorities::Public);
        let at = first.map_or(at, |key| at.key_name(key));
        at.ok(Trust::read(&authorities, certificate_files.as_ref()))
    }
}
