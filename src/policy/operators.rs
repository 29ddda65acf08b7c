//! `operators.yaml`: who the operators are, how each is reached and what it can do.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::JsonSchema;
use serde::Deserialize;

mod breaker;
mod credentials;
mod gsma;
mod health;

use self::{
    breaker::Breaker,
    credentials::{Beside, SecretField, Written},
    health::Health,
};
use super::{
    fault::{Fault, shown},
    known::Known,
    oauth2::OAuth2Entry,
    secrets::Whereabouts,
    settings::OperatorSettings,
    source::Spot,
    tls::Peers,
    words::{
        FilePath, Line, Part, PerTime, Plaintext, Said, Seconds, Span, SpanOrZero, Url,
        VariableName,
    },
};
use crate::{
    dialect::{self, Fitting},
    ledger,
    qod::IdentifierKind,
};

/// Operators.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["operators"]))]
pub(super) struct File {
    /// Each by the name that the other files, metrics and logs have for it.
    #[schemars(extend("minProperties" = 1))]
    operators: BTreeMap<String, Part<Entry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The URL that `/sessions` is appended to.
    endpoint: Option<Said<Url>>,
    /// Or several such: the first that can be reached is called.
    #[schemars(length(min = 1, max = 8))]
    endpoints: Option<Vec<Said<Url>>>,
    /// The dialect of its API.
    speaks: String,
    /// Is it one of our own making, for trying things out?
    #[serde(default)]
    simulated: bool,
    /// May it be called without encryption, over a network?
    plaintext: Option<Plaintext>,
    /// The file of the authorities, in PEM, of which one must have signed its certificate, and that of
    /// its token endpoint. Default: the public ones.
    ca_file: Option<Said<FilePath>>,
    /// The file of the certificate, with its chain, that we show to both.
    client_certificate_file: Option<Said<FilePath>>,
    /// And of its private key.
    client_key_file: Option<Said<FilePath>>,
    /// The file of the token that we show in `Authorization`.
    bearer_token_file: Option<Said<FilePath>>,
    /// Or the environment variable.
    bearer_token_env: Option<Said<VariableName>>,
    /// Or where and how such tokens are got.
    oauth2: Option<OAuth2Entry>,
    /// The file of what we show in `X-Authorization`.
    x_authorization_file: Option<Said<FilePath>>,
    /// Or the environment variable.
    x_authorization_env: Option<Said<VariableName>>,
    /// Or the file of the RSA key, in PEM, that a proof of each call is signed with there.
    proof_key_file: Option<Said<FilePath>>,
    /// Further header fields of each call.
    #[serde(default)]
    headers: BTreeMap<String, Said<Line>>,
    /// And such as are secret.
    #[serde(default)]
    secret_headers: BTreeMap<String, SecretField>,
    /// Is it given a URL where it tells what happens to sessions? Default: yes, if there is one.
    callbacks: Option<bool>,
    /// How often it is asked how each session stands, if it does not tell by itself.
    poll_every: Option<Said<Span>>,
    /// How long a call may take.
    timeout: Option<Said<Span>>,
    /// Connections to it.
    #[schemars(range(min = 1, max = 65535))]
    connections_max: Option<usize>,
    /// And calls that wait for one.
    #[schemars(range(max = 65535))]
    waiting_max: Option<usize>,
    /// When it is left alone because it fails.
    #[serde(default)]
    breaker: Breaker,
    /// How its endpoints are asked how they are; not at all without.
    health: Option<Health>,
    /// How often it may be called.
    rate: Option<Said<PerTime>>,
    /// So many of these at once.
    burst: Option<NonZeroU32>,
    /// What it is called in GSMA's Open Gateway.
    #[serde(default)]
    gsma: gsma::Entry,
    /// The longest session that it grants.
    duration_max: Option<Said<Seconds>>,
    /// Is a longer wish cut down to it, or refused?
    #[serde(default)]
    duration_cap: bool,
    /// What it can look a device up by.
    #[schemars(length(min = 1))]
    identifiers: Option<Vec<Identifier>>,
    /// How devices are told to it.
    #[serde(default)]
    devices: Devices,
    /// When two of its sessions conflict.
    #[serde(default)]
    conflicts: Conflicts,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "CAMARA's own names")]
pub(super) enum Identifier {
    PhoneNumber,
    NetworkAccessIdentifier,
    ExternalId,
    Ipv4Address,
    Ipv6Address,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the file")]
struct Devices {
    /// Are external ids and network access identifiers the same there?
    external_id_as_nai: bool,
    /// What a lone IPv4 address, as before 0.9, means to an operator of a newer dialect.
    legacy_ipv4: LegacyIpv4,
    /// May a private IPv4 address stand alone, to an operator of an older dialect?
    private_ipv4_as_legacy: bool,
    /// May a device be a whole network?
    masks: bool,
    /// Is a /64 told by its network's address, to an operator that takes addresses only?
    ipv6_prefix_as_address: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LegacyIpv4 {
    #[default]
    Refuse,
    PublicIsPrivate,
    PublicWithDevicePort,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Conflicts {
    /// Which sessions of one device exclude each other.
    mode: Mode,
    /// What if nobody can tell whether two devices are the same?
    unknown: Unknown,
    /// How much longer than told a session is taken to live.
    skew: Option<Said<SpanOrZero>>,
    /// The shortest IPv4 prefix of a device that is a network.
    #[schemars(range(min = 8, max = 32))]
    ipv4_prefix_min: Option<u8>,
    /// The shortest IPv6 prefix of a device that is a network.
    #[schemars(range(min = 16, max = 128))]
    ipv6_prefix_min: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    FlowOverlap,
    ExactFlow,
    Device,
    UpstreamOnly,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unknown {
    #[default]
    Forward,
    Refuse,
}

impl File {
    /// Judges the file. The names of profiles are filled in by whoever has read the catalogue.
    pub(super) fn judge(
        self,
        root: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Vec<OperatorSettings> {
        let all = root.key("operators");
        let mut operators = Vec::new();
        for (name, entry) in self.operators {
            if !is_name(&name) {
                let message = format!(
                    "{} is no operator's name: expected 1 to 40 small letters, digits and `-`",
                    shown(&name)
                );
                faults.push(all.name(&name).fault(message));
            }
            let at = all.key(&name);
            if let Some(entry) = at.read(entry, faults) {
                operators.push(entry.judge(&name, at, known, faults));
            }
        }
        gsma::judge(&operators, all, faults);
        operators
    }
}

/// A label in metrics and logs.
pub(super) fn is_name(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(sound)
}

impl Entry {
    fn judge(
        self,
        name: &str,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> OperatorSettings {
        known.dialect(&self.speaks, at.key("speaks"), faults);
        let plaintext = self.simulated || self.plaintext.is_some();
        let endpoints = self.endpoints(plaintext, at, faults);
        if self.burst.is_some() && self.rate.is_none() {
            faults.push(at.name("burst").fault("a `burst` needs a `rate`"));
        }
        if let Some(every) = &self.poll_every {
            at.key("poll_every").judge_every(every.0.0, faults);
        }
        let fitting = self.fitting();
        let rules = self.conflicts.rules();
        let trust = self.peers().trust(self.is_encrypted(), at, known, faults).unwrap_or_default();
        let written = Written {
            bearer: Whereabouts { file: self.bearer_token_file, variable: self.bearer_token_env },
            oauth2: self.oauth2,
            x_authorization: Whereabouts {
                file: self.x_authorization_file,
                variable: self.x_authorization_env,
            },
            proof_key_file: self.proof_key_file,
            headers: self.headers,
            secret_headers: self.secret_headers,
        };
        let beside = Beside { dialect: &self.speaks, plaintext, trust: &trust };
        let credentials = written.judge(beside, at, known, faults);
        let connections_max = self.connections_max.unwrap_or(200);
        OperatorSettings {
            id: name.into(),
            dialect: self.speaks,
            endpoints,
            trust,
            simulated: self.simulated,
            credentials,
            callbacks: self.callbacks.unwrap_or(true),
            poll_every: self.poll_every.map(|time| time.0.0),
            timeout: self.timeout.map_or(std::time::Duration::from_secs(5), |time| time.0.0),
            connections_max,
            breaker: self.breaker.settings(connections_max + self.waiting_max.unwrap_or(200)),
            health: self.health.map(|health| health.settings(at.key("health"), faults)),
            fitting,
            rules,
            rate: self.rate.and_then(|rate| rate.0.rate(self.burst)),
            gsma: self.gsma.settings(name),
        }
    }

    fn peers(&self) -> Peers<'_> {
        Peers::of(
            self.ca_file.as_ref(),
            self.client_certificate_file.as_ref(),
            self.client_key_file.as_ref(),
        )
    }

    fn is_encrypted(&self) -> bool {
        let granted_by = self.oauth2.as_ref().map(OAuth2Entry::token_url);
        let mut own = self.endpoint.iter().chain(self.endpoints.iter().flatten());
        own.any(|url| url.0.encrypted) || granted_by.is_some_and(|url| url.encrypted)
    }

    fn endpoints(&self, plaintext: bool, at: Spot<'_>, faults: &mut Vec<Fault>) -> Vec<String> {
        let one = self.endpoint.iter().map(|url| (url, at.key("endpoint")));
        let several = self.endpoints.iter().flatten().enumerate();
        let several = several.map(|(place, url)| (url, at.key("endpoints").item(place)));
        let mut urls: Vec<String> = Vec::new();
        for (Said(url), spot) in one.chain(several) {
            if url.exposed && !plaintext {
                let message =
                    "expected https: `plaintext: allow` makes an exception for this operator";
                faults.push(spot.fault(message));
            }
            if urls.contains(&url.text) {
                faults.push(spot.fault("this endpoint is named twice"));
            }
            urls.push(url.text.clone());
        }
        if self.endpoint.is_some() == self.endpoints.is_some() {
            let message = "expected either `endpoint` or `endpoints`";
            faults.push(at.name("endpoints").fault(message));
        }
        urls
    }

    fn fitting(&self) -> Fitting {
        let Devices {
            external_id_as_nai,
            legacy_ipv4,
            private_ipv4_as_legacy,
            masks,
            ipv6_prefix_as_address,
        } = self.devices;
        let kinds = self.identifiers.iter().flatten().map(|kind| kind.setting());
        Fitting {
            identifiers: kinds.collect(),
            external_id_as_nai,
            legacy_ipv4: match legacy_ipv4 {
                LegacyIpv4::Refuse => dialect::LegacyIpv4::Refuse,
                LegacyIpv4::PublicIsPrivate => dialect::LegacyIpv4::PublicIsPrivate,
                LegacyIpv4::PublicWithDevicePort => dialect::LegacyIpv4::PublicWithDevicePort,
            },
            private_ipv4_as_legacy,
            device_masks: masks,
            ipv6_prefix_as_address,
            qos_profiles: BTreeMap::new(),
            duration_s_max: self.duration_max.as_ref().map_or(24 * 3600, |time| time.0.0),
            duration_cap: self.duration_cap,
        }
    }
}

impl Identifier {
    pub(super) const fn setting(self) -> IdentifierKind {
        match self {
            Self::PhoneNumber => IdentifierKind::PhoneNumber,
            Self::NetworkAccessIdentifier => IdentifierKind::NetworkAccessIdentifier,
            Self::ExternalId => IdentifierKind::ExternalId,
            Self::Ipv4Address => IdentifierKind::Ipv4Address,
            Self::Ipv6Address => IdentifierKind::Ipv6Address,
        }
    }
}

impl Conflicts {
    fn rules(&self) -> ledger::Rules {
        ledger::Rules {
            mode: match self.mode {
                Mode::FlowOverlap => ledger::ConflictMode::FlowOverlap,
                Mode::ExactFlow => ledger::ConflictMode::ExactFlow,
                Mode::Device => ledger::ConflictMode::Device,
                Mode::UpstreamOnly => ledger::ConflictMode::UpstreamOnly,
            },
            unknown: match self.unknown {
                Unknown::Forward => ledger::OnUnknown::Forward,
                Unknown::Refuse => ledger::OnUnknown::Refuse,
            },
            skew: self.skew.as_ref().map_or(std::time::Duration::from_secs(5), |time| time.0.0),
            device_prefix_v4_min: self.ipv4_prefix_min.unwrap_or(24),
            device_prefix_v6_min: self.ipv6_prefix_min.unwrap_or(48),
        }
    }
}
