//! `telemetry` in `gateway.yaml`: the export of traces to an OpenTelemetry collector.

use std::collections::BTreeMap;

use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    outbound::Endpoint,
    policy::{
        headers::{HeaderEntries, SecretHeaderEntry},
        scalars::{FilePath, PeerUrl, Plaintext, Scalar, TextLine},
        tls::PeerTlsFiles,
        validation::Validation,
    },
    telemetry::Settings,
};

/// The export of traces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryEntry {
    /// The collector.
    otlp: OtlpEntry,
    /// The share of requests whose spans are exported, from 0 to 1.
    #[serde(default = "default_sample")]
    #[schemars(range(min = 0.0, max = 1.0))]
    sample: f64,
}

/// An OpenTelemetry collector that accepts OTLP over HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OtlpEntry {
    /// The base URL; `/v1/traces` is appended.
    endpoint: Scalar<PeerUrl>,
    /// Whether it may be called without encryption over a network.
    plaintext: Option<Plaintext>,
    /// The file of the CA certificates (PEM) that its certificate must chain to. Default: the public CAs.
    ca_file: Option<Scalar<FilePath>>,
    /// The file of the client certificate with its chain (PEM).
    client_certificate_file: Option<Scalar<FilePath>>,
    /// The file of the private key of the client certificate (PEM).
    client_key_file: Option<Scalar<FilePath>>,
    /// Additional header fields of each request.
    #[serde(default)]
    headers: BTreeMap<String, Scalar<TextLine>>,
    /// Additional header fields whose values are secret.
    #[serde(default)]
    secret_headers: BTreeMap<String, SecretHeaderEntry>,
}

/// Header fields of the export that are not configurable.
const RESERVED_HEADERS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

// Exports are sent one at a time.
const CONNECTIONS_MAX: usize = 1;

const fn default_sample() -> f64 {
    0.1
}

impl TelemetryEntry {
    pub(super) fn settings(self, at: Validation<'_>) -> Option<Settings> {
        let Self { otlp, sample } = self;
        let at = at.key("otlp");
        let url = &otlp.endpoint.0;
        if url.exposed && otlp.plaintext.is_none() {
            at.key("endpoint").report("expected https, or `plaintext: allow`");
        }
        let peers = PeerTlsFiles::new(
            otlp.ca_file.as_ref(),
            otlp.client_certificate_file.as_ref(),
            otlp.client_key_file.as_ref(),
        );
        let trust = peers.trust(url.encrypted, at).unwrap_or_default();
        let endpoint = at.key("endpoint").ok(Endpoint::parse(&url.text, CONNECTIONS_MAX));
        let headers = HeaderEntries { plain: otlp.headers, secret: otlp.secret_headers };
        let headers = headers.validate(RESERVED_HEADERS.to_vec(), at);
        Some(Settings { endpoint: endpoint?.with_trust(trust), headers, sample })
    }
}
