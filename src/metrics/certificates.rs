//! What is told of certificates: when they are over, and whether a change of them was of use.

use prometheus::{IntGaugeVec, Registry};

use super::{Metrics, gauge};

/// The families.
#[derive(Debug)]
pub(super) struct Certificates {
    expires: IntGaugeVec,
    stale: IntGaugeVec,
}

impl Certificates {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["use", "name"];
        Ok(Self {
            expires: gauge(
                registry,
                "qod_certificate_expires_timestamp_seconds",
                "When a certificate of the gateway's own is over, as a Unix time",
                labels,
            )?,
            stale: gauge(
                registry,
                "qod_certificate_stale",
                "1 while what is in a certificate's files cannot be used, and what was read before is",
                labels,
            )?,
        })
    }

    pub(super) fn families(&self) -> [&IntGaugeVec; 2] {
        [&self.expires, &self.stale]
    }
}

impl Metrics {
    /// Says of a certificate, by what it is for and whose it is, when it is over.
    pub fn certificate_expires(&self, (what, name): (&'static str, &str), at_unix_s: u64) {
        let at = i64::try_from(at_unix_s).unwrap_or(i64::MAX);
        self.0.certificates.expires.with_label_values(&[what, name]).set(at);
    }

    /// Says whether what is in the files of certificates, by what they are for and whose they are,
    /// cannot be used.
    pub fn certificate_stale(&self, (what, name): (&'static str, &str), stale: bool) {
        self.0.certificates.stale.with_label_values(&[what, name]).set(i64::from(stale));
    }
}
