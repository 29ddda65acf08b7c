//! `clients.yaml`: the accepted issuers, and the terms and rate limits of each client.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    diagnostic::quoted,
    scalars::{BearerToken, EventRate, FilePath, Scalar, ScopeToken, Section, WholeSeconds},
    validation::{References, Validation},
};
use crate::{
    access::{Access, Catalogue, ScopeForm, ScopeRule, Terms},
    identity::{self, MockToken, ProofSettings},
    limit::Rate,
    qod::{ClientId, Secret},
};

mod introspection;
mod issuers;
mod proofs;

use self::{
    issuers::IssuerEntry,
    proofs::{DpopEntry, ReplayFallbackName},
};

/// Issuers of access tokens, and the terms of each client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["clients"]))]
pub(super) struct ClientsFile {
    /// The issuers whose access tokens are accepted.
    issuers: Vec<Section<IssuerEntry>>,
    /// Fixed access tokens, for testing.
    mock_tokens: Vec<Section<MockTokenEntry>>,
    /// The maximum number of verified tokens in the cache.
    #[schemars(range(max = 10_000_000))]
    token_cache_max: Option<usize>,
    /// Validation of DPoP proofs (RFC 9449). Without it, DPoP proofs are rejected.
    dpop: Option<Section<DpopEntry>>,
    /// What happens to proofs of possession while the database that replicas share does not answer.
    proof_replay_unavailable: ReplayFallbackName,
    /// The scopes that a token must contain.
    scope: Section<ScopeEntry>,
    /// The rate limit per device.
    device_limit: Option<Section<DeviceLimitEntry>>,
    /// The default terms of a client.
    defaults: Section<TermsEntry>,
    /// The clients by `client_id`.
    #[schemars(extend("minProperties" = 1))]
    clients: BTreeMap<String, Section<TermsEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MockTokenEntry {
    /// The access token.
    token: Scalar<BearerToken>,
    /// The `client_id` of the token.
    client: String,
    /// The scopes of the token.
    #[schemars(length(min = 1))]
    scopes: Vec<Scalar<ScopeToken>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ScopeEntry {
    /// The accepted scope formats.
    #[schemars(length(min = 1))]
    forms: Option<Vec<ScopeForm>>,
    /// The accepted purposes.
    #[schemars(length(min = 1))]
    purposes: Option<Vec<Scalar<ScopeToken>>>,
    /// The accepted API names.
    #[schemars(length(min = 1))]
    api_names: Option<Vec<Scalar<ScopeToken>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeviceLimitEntry {
    /// The rate of requests per device.
    rate: Scalar<EventRate>,
    /// The maximum burst of requests.
    burst: Option<NonZeroU32>,
    /// The maximum number of devices that are tracked.
    #[schemars(range(min = 1, max = 100_000_000))]
    devices_max: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TermsEntry {
    /// The rate of requests.
    rate: Option<Scalar<EventRate>>,
    /// The maximum burst of requests.
    burst: Option<NonZeroU32>,
    /// The maximum number of concurrent sessions.
    sessions_max: Option<u32>,
    /// The maximum session duration.
    duration_max: Option<Scalar<WholeSeconds>>,
    /// The operators that the client may use. Default: all.
    #[schemars(length(min = 1))]
    operators: Option<Vec<String>>,
    /// The `QoS` profiles that the client may request. Default: all.
    #[schemars(length(min = 1))]
    qos_profiles: Option<Vec<String>>,
    /// The dialect of the client on paths with several candidates.
    dialect: Option<String>,
    /// The dialects that the client may use. Default: all.
    #[schemars(length(min = 1))]
    dialects: Option<Vec<String>>,
    /// The networks that the client may call from. Default: all.
    #[schemars(length(min = 1))]
    source_networks: Option<Vec<Scalar<IpNet>>>,
    /// The purposes that tokens of the client may have. Default: all accepted purposes.
    #[schemars(length(min = 1))]
    purposes: Option<Vec<Scalar<ScopeToken>>>,
    /// The maximum number of creates per UTC calendar day. Default: no limit.
    creates_per_day: Option<u32>,
    /// Whether the client is for testing, and may use simulated operators only.
    mock: Option<bool>,
    /// The file of the client's public key (PEM) for proof of possession as in DevEdge.
    proof_key_file: Option<Scalar<FilePath>>,
    /// Whether the proof is required on all paths, not only those of dialects that define it.
    proof_on_all_paths: Option<bool>,
}

/// The validated settings of the file.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) identity: identity::Settings,
    pub(super) rates: HashMap<ClientId, Rate>,
    pub(super) device: Option<Rate>,
    pub(super) device_keys_max: usize,
    rule: ScopeRule,
    terms: BTreeMap<String, TermsEntry>,
}

impl Clients {
    /// Builds the access rules for this profile catalogue.
    pub(super) fn access(&self, catalogue: &Arc<Catalogue>) -> Access {
        let terms = self.terms.iter().map(|(name, entry)| {
            (ClientId::from(name.as_str()), Arc::new(entry.terms(Arc::clone(catalogue))))
        });
        Access::new(&self.rule, terms.collect())
    }
}

impl ClientsFile {
    pub(super) fn validate(self, root: Validation<'_>) -> Option<Clients> {
        let at = root.key("defaults");
        let defaults = at.section(self.defaults).unwrap_or_default();
        defaults.validate(at);
        proofs::reject_defaults(at);
        let mut proofs = match self.dpop {
            Some(dpop) => root.key("dpop").section(dpop)?.validate(root.key("dpop")),
            None => ProofSettings::default(),
        };
        proofs.replay_fallback = self.proof_replay_unavailable.into();
        let mut terms = BTreeMap::new();
        for (at, name, entry) in
            root.key("clients").entries(self.clients, is_client_id, |name: &str| {
                format!("invalid client id {name}; expected 1 to 255 printable ASCII characters")
            })
        {
            entry.validate(at);
            if let Some(proof) = proofs::client_proof(&entry, at) {
                proofs.clients.insert(name.as_str().into(), proof);
            }
            let entry = entry.with_defaults(&defaults);
            entry.validate_merged(at);
            terms.insert(name, entry);
        }
        if self.issuers.is_empty() && self.mock_tokens.is_empty() {
            root.report("no client can authenticate; expected `issuers` or `mock_tokens`");
        }
        let identity = identity::Settings {
            issuers: issuers::validate(self.issuers, root.key("issuers")),
            mock_tokens: mock_tokens(self.mock_tokens, root.key("mock_tokens"), &terms),
            cache_entries_max: self.token_cache_max.unwrap_or(100_000),
            proofs,
        };
        let rule = root.key("scope").section(self.scope)?.rule();
        let device = match self.device_limit {
            Some(limit) => Some(root.key("device_limit").section(limit)?),
            None => None,
        };
        let rates = terms
            .iter()
            .filter_map(|(name, entry)| Some((ClientId::from(name.as_str()), entry.rate_limit()?)));
        Some(Clients {
            identity,
            rates: rates.collect(),
            device: device.as_ref().and_then(|limit| limit.rate.0.rate(limit.burst)),
            device_keys_max: device.and_then(|limit| limit.devices_max).unwrap_or(1_000_000),
            rule,
            terms,
        })
    }
}

fn is_client_id(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Anyone may know a mock token, so its client may use simulated operators only.
fn mock_tokens(
    entries: Vec<Section<MockTokenEntry>>,
    at: Validation<'_>,
    terms: &BTreeMap<String, TermsEntry>,
) -> Vec<MockToken> {
    let mut tokens: Vec<MockToken> = Vec::new();
    for (at, MockTokenEntry { token, client, scopes }) in at.items(entries) {
        let token = Secret::new(token.0.0);
        if tokens.iter().any(|other| other.token == token) {
            at.key("token").report("duplicate token");
        }
        at.key("client").check_client(&client);
        if let Some(real) = terms.get(&client).and_then(|terms| terms.real_operator(at.references))
        {
            let message =
                format!("the client of a mock token may use simulated operators only, {real}");
            at.key("client").report(message);
        }
        let scopes = scopes.into_iter().map(|scope| scope.0.0).collect();
        tokens.push(MockToken { token, client: client.as_str().into(), scopes });
    }
    tokens
}

impl TermsEntry {
    fn validate(&self, at: Validation<'_>) {
        for (index, name) in self.operators.iter().flatten().enumerate() {
            at.key("operators").item(index).check_operator(name);
        }
        for (index, name) in self.qos_profiles.iter().flatten().enumerate() {
            at.key("qos_profiles").item(index).check_profile(name);
        }
        if let Some(name) = &self.dialect {
            at.key("dialect").check_dialect(name);
        }
        for (index, name) in self.dialects.iter().flatten().enumerate() {
            at.key("dialects").item(index).check_dialect(name);
        }
        if self.burst.is_some() && self.rate.is_none() {
            at.key_name("burst").report("`burst` requires `rate`");
        }
    }

    // Validates the terms of a client, with the defaults applied.
    fn validate_merged(&self, at: Validation<'_>) {
        if let (Some(name), Some(all)) = (&self.dialect, &self.dialects)
            && !all.contains(name)
        {
            let message = format!("{} is not listed in `dialects`", quoted(name));
            at.key_name("dialect").report(message);
        }
        if self.mock == Some(true)
            && let Some(real) = self.real_operator(at.references)
        {
            let message = format!("a mock client may use simulated operators only, {real}");
            at.key_name("mock").report(message);
        }
    }

    // Describes an operator of these terms that is not simulated, if there is one.
    fn real_operator(&self, references: &References<'_>) -> Option<String> {
        match &self.operators {
            None => Some("but its terms do not list `operators`".to_owned()),
            Some(names) => names
                .iter()
                .find(|name| !references.is_simulated(name))
                .map(|name| format!("but its terms list {}", quoted(name))),
        }
    }

    /// Applies the defaults to keys that are not set.
    fn with_defaults(self, defaults: &Self) -> Self {
        let (rate, burst) = match self.rate {
            Some(rate) => (Some(rate), self.burst),
            None => (defaults.rate.clone(), defaults.burst),
        };
        Self {
            rate,
            burst,
            sessions_max: self.sessions_max.or(defaults.sessions_max),
            duration_max: self.duration_max.or_else(|| defaults.duration_max.clone()),
            operators: self.operators.or_else(|| defaults.operators.clone()),
            qos_profiles: self.qos_profiles.or_else(|| defaults.qos_profiles.clone()),
            dialect: self.dialect.or_else(|| defaults.dialect.clone()),
            dialects: self.dialects.or_else(|| defaults.dialects.clone()),
            source_networks: self.source_networks.or_else(|| defaults.source_networks.clone()),
            purposes: self.purposes.or_else(|| defaults.purposes.clone()),
            creates_per_day: self.creates_per_day.or(defaults.creates_per_day),
            mock: self.mock.or(defaults.mock),
            proof_key_file: self.proof_key_file,
            proof_on_all_paths: self.proof_on_all_paths,
        }
    }

    /// Every client has a rate limit. Default: 10 per second with a burst of 20.
    fn rate_limit(&self) -> Option<Rate> {
        match &self.rate {
            Some(rate) => rate.0.rate(self.burst),
            None => NonZeroU32::new(10)
                .zip(NonZeroU32::new(20))
                .and_then(|(count, burst)| Rate::new(count, Duration::from_secs(1), burst)),
        }
    }

    fn terms(&self, catalogue: Arc<Catalogue>) -> Terms {
        let operators = self.operators.as_ref();
        Terms {
            operators: operators
                .map(|names| names.iter().map(|name| name.as_str().into()).collect()),
            qos_profiles: self.qos_profiles.clone().map(BTreeSet::from_iter),
            duration_s_max: self.duration_max.as_ref().map_or(24 * 3600, |duration| duration.0.0),
            sessions_max: self.sessions_max.unwrap_or(100),
            creates_per_day: self.creates_per_day,
            dialect: self.dialect.clone(),
            dialects: self.dialects.clone().map(BTreeSet::from_iter),
            source_networks: self
                .source_networks
                .as_ref()
                .map(|networks| networks.iter().map(|network| network.0).collect()),
            purposes: self
                .purposes
                .as_ref()
                .map(|purposes| purposes.iter().map(|purpose| purpose.0.0.clone()).collect()),
            mock: self.mock.unwrap_or(false),
            catalogue,
        }
    }
}

impl ScopeEntry {
    fn rule(self) -> ScopeRule {
        let texts =
            |tokens: Vec<Scalar<ScopeToken>>| tokens.into_iter().map(|token| token.0.0).collect();
        let ScopeRule { forms, purposes, api_names } = ScopeRule::default();
        ScopeRule {
            forms: self.forms.unwrap_or(forms),
            purposes: self.purposes.map_or(purposes, texts),
            api_names: self.api_names.map_or(api_names, texts),
        }
    }
}
