//! What the policies say of certificates: those that the gateway shows, and whose it believes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::Fault,
    known::Known,
    source::Spot,
    words::{FilePath, Said},
};
use crate::{
    outbound::{Authorities, Trust},
    tls::{self, ClientCertificates, Files, Settings},
};

/// How a listener is reached by HTTPS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsEntry {
    /// The certificate, then its chain, in PEM.
    certificate_file: Said<FilePath>,
    /// Its private key, in PEM.
    key_file: Said<FilePath>,
    /// The authorities of which one must have signed the certificate of whoever calls, in PEM.
    client_ca_file: Option<Said<FilePath>>,
    /// Must whoever calls show a certificate? Default: yes, with a `client_ca_file`.
    client_certificate: Option<ClientCertificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClientCertificate {
    /// Who shows none, or a foreign one, is not let in.
    Required,
    /// Who shows none is let in; who shows a foreign one is not.
    Optional,
}

/// The keys of an entry that are about those whom the gateway calls.
#[derive(Clone, Copy, Default)]
pub(super) struct Peers<'a> {
    /// `ca_file`: whom alone they must be known by.
    pub(super) only: Option<&'a Said<FilePath>>,
    /// `extra_ca_file`: whom they may be known by as well.
    pub(super) also: Option<&'a Said<FilePath>>,
    /// `client_certificate_file`: what is shown to them.
    pub(super) certificate: Option<&'a Said<FilePath>>,
    /// `client_key_file`: its key.
    pub(super) key: Option<&'a Said<FilePath>>,
}

impl TlsEntry {
    pub(super) fn settings(
        &self,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Settings> {
        let certificate = known.file(&self.certificate_file.0, at.key("certificate_file"), faults);
        let key = known.file(&self.key_file.0, at.key("key_file"), faults);
        let clients = match (&self.client_ca_file, self.client_certificate) {
            (Some(file), asked) => {
                let authorities = known.file(&file.0, at.key("client_ca_file"), faults)?;
                let required = asked != Some(ClientCertificate::Optional);
                Some(ClientCertificates { authorities, required })
            }
            (None, Some(_)) => {
                let message = "a client's certificate is good by a `client_ca_file` only";
                faults.push(at.name("client_certificate").fault(message));
                None
            }
            (None, None) => None,
        };
        let files = Files { certificate: certificate?, key: key? };
        tls::warn_of_readers(&files.key);
        let settings = Settings { files, clients };
        settings.read().map_err(|message| faults.push(at.fault(message))).ok()?;
        Some(settings)
    }
}

impl<'a> Peers<'a> {
    /// Those of a `ca_file`, a `client_certificate_file` and a `client_key_file`.
    pub(super) fn of(
        only: Option<&'a Said<FilePath>>,
        certificate: Option<&'a Said<FilePath>>,
        key: Option<&'a Said<FilePath>>,
    ) -> Self {
        Self { only, certificate, key, also: None }
    }

    /// Reads the files; nothing, if there is a fault. `encrypted`: is any of them called by `https`?
    pub(super) fn trust(
        self,
        encrypted: bool,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Trust> {
        let said = [
            ("ca_file", self.only),
            ("extra_ca_file", self.also),
            ("client_certificate_file", self.certificate),
            ("client_key_file", self.key),
        ];
        let said: Vec<&str> = said.iter().filter_map(|(key, file)| file.map(|_| *key)).collect();
        let Some(first) = said.first().copied() else { return Some(Trust::default()) };
        if !encrypted {
            faults.push(at.name(first).fault("this is of use with https only"));
            return None;
        }
        let mut file = |said: Option<&Said<FilePath>>, key: &str| {
            said.and_then(|said| known.file(&said.0, at.key(key), faults))
        };
        let only = file(self.only, "ca_file").map(Authorities::Only);
        let also = file(self.also, "extra_ca_file").map(Authorities::Also);
        let shown = match (
            file(self.certificate, "client_certificate_file"),
            file(self.key, "client_key_file"),
        ) {
            (Some(certificate), Some(key)) => Some(Files { certificate, key }),
            _ => None,
        };
        if self.certificate.is_some() != self.key.is_some() {
            let message = "expected `client_certificate_file` and `client_key_file`, or neither";
            faults.push(at.name(said.last().copied().unwrap_or(first)).fault(message));
        }
        if let Some(files) = &shown {
            tls::warn_of_readers(&files.key);
        }
        let authorities = only.or(also).unwrap_or(Authorities::Public);
        let trust = Trust::read(&authorities, shown.as_ref());
        trust.map_err(|message| faults.push(at.name(first).fault(message))).ok()
    }
}
