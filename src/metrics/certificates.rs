//! Metrics of certificates: the expiry, and whether the files could be reloaded.

use prometheus::{IntGaugeVec, Registry};

use super::{Metrics, gauge};

/// The metric families of certificates.
#[derive(Debug)]
pub(super) struct CertificateMetrics {
    expires: IntGaugeVec,
    stale: IntGaugeVec,
}

impl CertificateMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["use", "name"];
        Ok(Self {
            expires: gauge(
                registry,
                "qod_certificate_expires_timestamp_seconds",
                "Expiry of a certificate of the gateway, as a Unix time",
                labels,
            )?,
            stale: gauge(
                registry,
                "qod_certificate_stale",
                "1 while the files of a certificate are invalid and the previous version is in use",
                labels,
            )?,
        })
    }

    pub(super) fn families(&self) -> [&IntGaugeVec; 2] {
        [&self.expires, &self.stale]
    }
}

impl Metrics {
    /// Sets the expiry of a certificate, by its use and name.
    pub fn set_certificate_expiry(&self, (purpose, name): (&'static str, &str), at_unix_s: u64) {
        let at = i64::try_from(at_unix_s).unwrap_or(i64::MAX);
        self.0.certificates.expires.with_label_values(&[purpose, name]).set(at);
    }

    /// Sets whether the files of a certificate are invalid, by its use and name.
    pub fn set_certificate_stale(&self, (purpose, name): (&'static str, &str), stale: bool) {
        self.0.certificates.stale.with_label_values(&[purpose, name]).set(i64::from(stale));
    }
}
