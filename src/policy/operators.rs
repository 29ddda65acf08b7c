//! `operators.yaml`: the operators, how each is called, and its capabilities.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU32,
};

use schemars::JsonSchema;
use serde::Deserialize;

mod breaker;
mod credentials;
mod gsma;
mod health;

use self::{
    breaker::BreakerEntry,
    credentials::{CredentialsEntry, OperatorContext},
    health::HealthEntry,
};
use super::{
    headers::{HeaderEntries, SecretHeaderEntry},
    oauth2::OAuth2Entry,
    scalars::{
        DurationOrZero, EventRate, FilePath, PeerUrl, Plaintext, PositiveDuration, Scalar, Section,
        TextLine, VariableName, WholeSeconds,
    },
    secrets::SecretReference,
    tls::PeerTlsFiles,
    validation::Validation,
};
use crate::{
    dialect::{LegacyIpv4, TimesWithoutOffset, TranslationSettings},
    ledger::{ConflictMode, ConflictRules, OnUnknown},
    operator,
    outbound::{Endpoint, Trust},
    qod::IdentifierKind,
};

/// The operators.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["operators"]))]
pub(super) struct OperatorsFile {
    /// The operators by the name that other files, metrics and logs use.
    #[schemars(extend("minProperties" = 1))]
    operators: BTreeMap<String, Section<OperatorEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OperatorEntry {
    /// The base URL of its API; `/sessions` is appended.
    endpoint: Option<Scalar<PeerUrl>>,
    /// Several base URLs instead: the first reachable one is called.
    #[schemars(length(min = 1, max = 8))]
    endpoints: Option<Vec<Scalar<PeerUrl>>>,
    /// The dialect of its API.
    dialect: String,
    /// Whether it is a simulated operator, for testing.
    #[serde(default)]
    simulated: bool,
    /// Whether it may be called without encryption over a network.
    plaintext: Option<Plaintext>,
    /// The file of the CA certificates (PEM) that its certificate and that of its token endpoint must
    /// chain to. Default: the public CAs.
    ca_file: Option<Scalar<FilePath>>,
    /// The file of the client certificate with its chain (PEM), for both.
    client_certificate_file: Option<Scalar<FilePath>>,
    /// The file of the private key of the client certificate (PEM).
    client_key_file: Option<Scalar<FilePath>>,
    /// The file of the bearer token for `Authorization`.
    bearer_token_file: Option<Scalar<FilePath>>,
    /// The environment variable of the bearer token, instead of a file.
    bearer_token_env: Option<Scalar<VariableName>>,
    /// OAuth 2.0 client settings, instead of a fixed bearer token.
    oauth2: Option<OAuth2Entry>,
    /// The file of the value for `X-Authorization`.
    x_authorization_file: Option<Scalar<FilePath>>,
    /// The environment variable of the value for `X-Authorization`, instead of a file.
    x_authorization_env: Option<Scalar<VariableName>>,
    /// The file of the RSA private key (PEM) that signs a proof of possession for `X-Authorization`.
    proof_key_file: Option<Scalar<FilePath>>,
    /// Additional header fields of each request.
    #[serde(default)]
    headers: BTreeMap<String, Scalar<TextLine>>,
    /// Additional header fields whose values are secret.
    #[serde(default)]
    secret_headers: BTreeMap<String, SecretHeaderEntry>,
    /// Whether it gets a callback URL for session events. Default: yes, if `callbacks` is configured.
    callbacks: Option<bool>,
    /// How often the status of each session is polled. Default: no polling.
    poll_interval: Option<Scalar<PositiveDuration>>,
    /// How times without an offset from UTC in its answers are read. Default: they are invalid.
    #[serde(default)]
    times_without_offset: TimesWithoutOffset,
    /// The time limit of a call.
    timeout: Option<Scalar<PositiveDuration>>,
    /// The maximum number of connections.
    #[schemars(range(min = 1, max = 65535))]
    connections_max: Option<usize>,
    /// The maximum number of calls that wait for a connection.
    #[schemars(range(max = 65535))]
    queue_max: Option<usize>,
    /// The circuit breaker.
    #[serde(default)]
    breaker: BreakerEntry,
    /// Health checks of its endpoints. Default: none.
    health: Option<HealthEntry>,
    /// The rate limit of create requests.
    rate: Option<Scalar<EventRate>>,
    /// The maximum burst of create requests.
    burst: Option<NonZeroU32>,
    /// Its identity in GSMA Open Gateway.
    #[serde(default)]
    gsma: gsma::GsmaEntry,
    /// The maximum session duration.
    duration_max: Option<Scalar<WholeSeconds>>,
    /// Whether a longer requested duration is clamped to `duration_max` instead of rejected.
    #[serde(default)]
    clamp_duration: bool,
    /// The device identifiers that it accepts. Default: all.
    #[schemars(length(min = 1))]
    identifiers: Option<Vec<IdentifierKind>>,
    /// The translation of devices.
    #[serde(default)]
    devices: DevicesEntry,
    /// The conflict rules of its sessions.
    #[serde(default)]
    conflicts: ConflictsEntry,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate key in the file")]
struct DevicesEntry {
    /// Whether external ids and network access identifiers are equivalent.
    external_id_as_nai: bool,
    /// The meaning of a single IPv4 address (before 0.9) for an operator with a newer dialect.
    legacy_ipv4: LegacyIpv4,
    /// Whether a private IPv4 address may be sent alone to an operator with an older dialect.
    private_ipv4_as_legacy: bool,
    /// Whether a device may be a network prefix.
    allow_prefixes: bool,
    /// Whether a /64 prefix is sent as its network address to an operator that accepts addresses only.
    ipv6_prefix_as_address: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ConflictsEntry {
    /// Which sessions of one device conflict.
    mode: ConflictMode,
    /// The decision if it is unknown whether two devices are the same.
    unknown: OnUnknown,
    /// How long a session counts as active after its end, to allow for clock differences.
    clock_skew: Option<Scalar<DurationOrZero>>,
    /// The minimum length of an IPv4 prefix of a device.
    #[schemars(range(min = 8, max = 32))]
    ipv4_prefix_min: Option<u8>,
    /// The minimum length of an IPv6 prefix of a device.
    #[schemars(range(min = 16, max = 128))]
    ipv6_prefix_min: Option<u8>,
}

impl OperatorsFile {
    /// Validates the file. The caller fills in the profile names from the catalogue.
    pub(super) fn validate(self, root: Validation<'_>) -> Vec<operator::Settings> {
        let all = root.key("operators");
        let mut operators = Vec::new();
        let describe = |name: &str| {
            format!(
                "invalid operator name {name}; expected 1 to 40 lower-case letters, digits and `-`"
            )
        };
        for (at, name, entry) in all.entries(self.operators, is_valid_name, describe) {
            operators.push(entry.validate(&name, at));
        }
        gsma::validate(&operators, all);
        operators
    }
}

/// An operator name is a label in metrics and logs.
pub(super) fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(allowed)
}

impl OperatorEntry {
    fn validate(self, name: &str, at: Validation<'_>) -> operator::Settings {
        at.key("dialect").check_dialect(&self.dialect);
        let plaintext = self.simulated || self.plaintext.is_some();
        self.check_endpoints(plaintext, at);
        if self.burst.is_some() && self.rate.is_none() {
            at.key_name("burst").report("`burst` requires `rate`");
        }
        if let Some(interval) = &self.poll_interval {
            at.key("poll_interval").check_interval(interval.0.0);
        }
        let translation = self.translation();
        let conflict_rules = self.conflicts.rules();
        let trust = self.peers().trust(self.is_encrypted(), at).unwrap_or_default();
        let connections_max = self.connections_max.unwrap_or(200);
        let endpoints = self.endpoints(connections_max, &trust, at);
        let health = self.health.as_ref().map(|health| {
            // A separate connection pool: the calls may use all connections of theirs.
            let endpoints = self.endpoints(1, &trust, at);
            health.settings(endpoints, at.key("health"))
        });
        let entry = CredentialsEntry {
            bearer: SecretReference {
                file: self.bearer_token_file,
                variable: self.bearer_token_env,
            },
            oauth2: self.oauth2,
            x_authorization: SecretReference {
                file: self.x_authorization_file,
                variable: self.x_authorization_env,
            },
            proof_key_file: self.proof_key_file,
            headers: HeaderEntries { plain: self.headers, secret: self.secret_headers },
        };
        let context = OperatorContext { dialect: &self.dialect, plaintext, trust: &trust };
        let credentials = entry.validate(context, at);
        operator::Settings {
            id: name.into(),
            dialect: self.dialect,
            endpoints,
            simulated: self.simulated,
            credentials,
            callbacks: self.callbacks.unwrap_or(true),
            poll_interval: self.poll_interval.map(|time| time.0.0),
            timeout: self.timeout.map_or(std::time::Duration::from_secs(5), |time| time.0.0),
            breaker: self.breaker.settings(connections_max + self.queue_max.unwrap_or(200)),
            health,
            translation,
            times: self.times_without_offset,
            conflict_rules,
            rate: self.rate.and_then(|rate| rate.0.rate(self.burst)),
            gsma: self.gsma.settings(name),
        }
    }

    fn peers(&self) -> PeerTlsFiles<'_> {
        PeerTlsFiles::new(
            self.ca_file.as_ref(),
            self.client_certificate_file.as_ref(),
            self.client_key_file.as_ref(),
        )
    }

    fn is_encrypted(&self) -> bool {
        let token_url = self.oauth2.as_ref().map(OAuth2Entry::token_url);
        let mut urls = self.endpoint.iter().chain(self.endpoints.iter().flatten());
        urls.any(|url| url.0.encrypted) || token_url.is_some_and(|url| url.encrypted)
    }

    /// The URLs, each with its position.
    fn urls<'a>(&self, at: Validation<'a>) -> impl Iterator<Item = (&PeerUrl, Validation<'a>)> {
        let one = self.endpoint.iter().map(move |url| (&url.0, at.key("endpoint")));
        let several = self.endpoints.iter().flatten().enumerate();
        one.chain(several.map(move |(index, url)| (&url.0, at.key("endpoints").item(index))))
    }

    fn endpoints(
        &self,
        connections_max: usize,
        trust: &Trust,
        at: Validation<'_>,
    ) -> Vec<Endpoint> {
        let endpoints = self
            .urls(at)
            .filter_map(|(url, at)| at.ok(Endpoint::parse(&url.text, connections_max)));
        endpoints.map(|endpoint| endpoint.with_trust(trust.clone())).collect()
    }

    fn check_endpoints(&self, plaintext: bool, at: Validation<'_>) {
        let mut texts = HashSet::new();
        for (url, at) in self.urls(at) {
            if url.exposed && !plaintext {
                at.report("expected https, or `plaintext: allow` for this operator");
            }
            if !texts.insert(&url.text) {
                at.report("duplicate endpoint");
            }
        }
        if self.endpoint.is_some() == self.endpoints.is_some() {
            at.key_name("endpoints").report("expected either `endpoint` or `endpoints`");
        }
    }

    fn translation(&self) -> TranslationSettings {
        let DevicesEntry {
            external_id_as_nai,
            legacy_ipv4,
            private_ipv4_as_legacy,
            allow_prefixes,
            ipv6_prefix_as_address,
        } = self.devices;
        TranslationSettings {
            identifiers: self.identifiers.iter().flatten().copied().collect(),
            external_id_as_nai,
            legacy_ipv4,
            private_ipv4_as_legacy,
            allow_prefixes,
            ipv6_prefix_as_address,
            qos_profiles: BTreeMap::new(),
            duration_s_max: self.duration_max.as_ref().map_or(24 * 3600, |time| time.0.0),
            clamp_duration: self.clamp_duration,
        }
    }
}

impl ConflictsEntry {
    fn rules(&self) -> ConflictRules {
        ConflictRules {
            mode: self.mode,
            unknown: self.unknown,
            clock_skew: self
                .clock_skew
                .as_ref()
                .map_or(std::time::Duration::from_secs(5), |time| time.0.0),
            device_prefix_v4_min: self.ipv4_prefix_min.unwrap_or(24),
            device_prefix_v6_min: self.ipv6_prefix_min.unwrap_or(48),
        }
    }
}
