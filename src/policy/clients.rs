//! `clients.yaml`: whose tokens are believed, what each client may do, and how often.

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
    fault::{Fault, shown},
    known::Known,
    source::Spot,
    words::{BearerToken, FilePath, Part, PerTime, Said, ScopeToken, Seconds},
};
use crate::{
    access::{Access, Catalogue, ScopeForm, ScopeRule, Terms},
    identity::{self, MockToken, Proofs},
    limit::Rate,
    qod::{ClientId, Secret},
};

mod introspection;
mod issuers;
mod proofs;

use self::{issuers::IssuerEntry, proofs::DpopEntry};

/// Clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["clients"]))]
pub(super) struct File {
    /// Whose access tokens are believed.
    issuers: Vec<Part<IssuerEntry>>,
    /// Fixed tokens, for trying things out.
    mock_tokens: Vec<Part<MockEntry>>,
    /// How many verified tokens are remembered.
    #[schemars(range(max = 10_000_000))]
    tokens_cached_max: Option<usize>,
    /// How proofs by RFC 9449 are judged; without, none holds.
    dpop: Option<Part<DpopEntry>>,
    /// What a token must be good for.
    scope: Part<ScopeEntry>,
    /// How often one device may be asked for.
    device_limit: Option<Part<DeviceLimit>>,
    /// What holds for a client that says nothing else.
    defaults: Part<TermsEntry>,
    /// Each by its `client_id`.
    #[schemars(extend("minProperties" = 1))]
    clients: BTreeMap<String, Part<TermsEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MockEntry {
    /// The token.
    token: Said<BearerToken>,
    /// Whom it stands for.
    client: String,
    /// Its scopes.
    #[schemars(length(min = 1))]
    scopes: Vec<Said<ScopeToken>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ScopeEntry {
    /// How a scope may be written.
    #[schemars(length(min = 1))]
    forms: Option<Vec<Form>>,
    /// The purposes that count.
    #[schemars(length(min = 1))]
    purposes: Option<Vec<Said<ScopeToken>>>,
    /// The API's names.
    #[schemars(length(min = 1))]
    api_names: Option<Vec<Said<ScopeToken>>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Form {
    PurposeApi,
    PurposeOperation,
    PurposeAndOperation,
    Operation,
    QodSessions,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeviceLimit {
    /// How often one device may be asked for.
    rate: Said<PerTime>,
    /// So many of these at once.
    burst: Option<NonZeroU32>,
    /// How many devices are told apart.
    #[schemars(range(min = 1, max = 100_000_000))]
    devices_max: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct TermsEntry {
    /// Requests.
    rate: Option<Said<PerTime>>,
    /// So many of these at once.
    burst: Option<NonZeroU32>,
    /// Sessions held at one time.
    sessions_max: Option<u32>,
    /// The longest session.
    duration_max: Option<Said<Seconds>>,
    /// The operators that it may reach; any without.
    #[schemars(length(min = 1))]
    operators: Option<Vec<String>>,
    /// The profiles that it may ask for; any without.
    #[schemars(length(min = 1))]
    qos_profiles: Option<Vec<String>>,
    /// The dialect it speaks, where a path leaves that open.
    dialect: Option<String>,
    /// The dialects that it may speak; any without.
    #[schemars(length(min = 1))]
    dialects: Option<Vec<String>>,
    /// Where it may call from; anywhere without.
    #[schemars(length(min = 1))]
    source_networks: Option<Vec<Said<IpNet>>>,
    /// The purposes that its tokens may be for; all that count without.
    #[schemars(length(min = 1))]
    purposes: Option<Vec<Said<ScopeToken>>>,
    /// Creates in a calendar day of UTC; no limit without.
    creates_per_day: Option<u32>,
    /// Is it for trying things out, and reaches simulated operators only?
    mock: Option<bool>,
    /// The file of its public key, in PEM, that it proves its requests with as by DevEdge.
    proof_key_file: Option<Said<FilePath>>,
    /// Has it to do so on the paths of all dialects?
    proof_everywhere: Option<bool>,
}

/// What the file says.
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
    /// Who may do what, with these profiles.
    pub(super) fn access(&self, catalogue: &Arc<Catalogue>) -> Access {
        let terms = self.terms.iter().map(|(name, entry)| {
            (ClientId::from(name.as_str()), Arc::new(entry.terms(Arc::clone(catalogue))))
        });
        Access::new(&self.rule, terms.collect())
    }
}

impl File {
    pub(super) fn judge(
        self,
        root: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Clients> {
        let at = root.key("defaults");
        let defaults = at.read(self.defaults, faults).unwrap_or_default();
        defaults.judge(at, known, faults);
        proofs::refuse_for_all(&defaults, at, faults);
        let mut proofs = match self.dpop {
            Some(dpop) => root.key("dpop").read(dpop, faults)?.judge(root.key("dpop"), faults),
            None => Proofs::default(),
        };
        let mut terms = BTreeMap::new();
        for (name, entry) in self.clients {
            let at = root.key("clients").key(&name);
            if !is_name(&name) {
                let message = format!(
                    "{} is no client's id: expected 1 to 255 visible ASCII characters",
                    shown(&name)
                );
                faults.push(root.key("clients").name(&name).fault(message));
            }
            let Some(entry) = at.read(entry, faults) else { continue };
            entry.judge(at, known, faults);
            if let Some(proof) = proofs::of_client(&entry, at, known, faults) {
                proofs.clients.insert(name.as_str().into(), proof);
            }
            let entry = entry.over(&defaults);
            entry.judge_whole(at, known, faults);
            terms.insert(name, entry);
        }
        if self.issuers.is_empty() && self.mock_tokens.is_empty() {
            faults.push(root.fault("nobody can call: expected `issuers` or `mock_tokens`"));
        }
        let identity = identity::Settings {
            issuers: issuers::judge(self.issuers, root.key("issuers"), known, faults),
            mock_tokens: mock_tokens(
                self.mock_tokens,
                root.key("mock_tokens"),
                &terms,
                known,
                faults,
            ),
            cache_entries_max: self.tokens_cached_max.unwrap_or(100_000),
            proofs,
        };
        let rule = root.key("scope").read(self.scope, faults)?.rule();
        let device = match self.device_limit {
            Some(limit) => Some(root.key("device_limit").read(limit, faults)?),
            None => None,
        };
        let rates = terms
            .iter()
            .filter_map(|(name, entry)| Some((ClientId::from(name.as_str()), entry.pace()?)));
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

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// A mock token must lead nowhere but to simulated operators: anybody may know it.
fn mock_tokens(
    entries: Vec<Part<MockEntry>>,
    at: Spot<'_>,
    terms: &BTreeMap<String, TermsEntry>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<MockToken> {
    let mut tokens: Vec<MockToken> = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let at = at.item(index);
        let Some(MockEntry { token, client, scopes }) = at.read(entry, faults) else { continue };
        let token = Secret::new(token.0.0);
        if tokens.iter().any(|other| other.token == token) {
            faults.push(at.key("token").fault("this token stands for a client already"));
        }
        known.client(&client, at.key("client"), faults);
        if let Some(real) = terms.get(&client).and_then(|terms| terms.real_operator(known)) {
            let message =
                format!("a mock token's client may reach simulated operators only, {real}");
            faults.push(at.key("client").fault(message));
        }
        let scopes = scopes.into_iter().map(|scope| scope.0.0).collect();
        tokens.push(MockToken { token, client: client.as_str().into(), scopes });
    }
    tokens
}

impl TermsEntry {
    fn judge(&self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) {
        for (index, name) in self.operators.iter().flatten().enumerate() {
            known.operator(name, at.key("operators").item(index), faults);
        }
        for (index, name) in self.qos_profiles.iter().flatten().enumerate() {
            known.profile(name, at.key("qos_profiles").item(index), faults);
        }
        if let Some(name) = &self.dialect {
            known.dialect(name, at.key("dialect"), faults);
        }
        for (index, name) in self.dialects.iter().flatten().enumerate() {
            known.dialect(name, at.key("dialects").item(index), faults);
        }
        if self.burst.is_some() && self.rate.is_none() {
            faults.push(at.name("burst").fault("a `burst` needs a `rate`"));
        }
    }

    // What holds for a client, with what the defaults say.
    fn judge_whole(&self, at: Spot<'_>, known: &Known<'_>, faults: &mut Vec<Fault>) {
        if let (Some(name), Some(all)) = (&self.dialect, &self.dialects)
            && !all.contains(name)
        {
            let message = format!("its `dialects` do not name {}", shown(name));
            faults.push(at.name("dialect").fault(message));
        }
        if self.mock == Some(true)
            && let Some(real) = self.real_operator(known)
        {
            let message = format!("a mock client may reach simulated operators only, {real}");
            faults.push(at.name("mock").fault(message));
        }
    }

    // Who of those that it may reach is not simulated?
    fn real_operator(&self, known: &Known<'_>) -> Option<String> {
        match &self.operators {
            None => Some("but its terms name no operators".to_owned()),
            Some(names) => names
                .iter()
                .find(|name| !known.is_simulated(name))
                .map(|name| format!("but its terms name {}", shown(name))),
        }
    }

    /// What it says, and where it says nothing what the defaults say.
    fn over(self, defaults: &Self) -> Self {
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
            proof_everywhere: self.proof_everywhere,
        }
    }

    /// Nobody is without a limit: ten a second, and twenty at once.
    fn pace(&self) -> Option<Rate> {
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
            duration_s_max: self.duration_max.as_ref().map_or(24 * 3600, |time| time.0.0),
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
        let texts = |words: Vec<Said<ScopeToken>>| words.into_iter().map(|word| word.0.0).collect();
        let ScopeRule { forms, purposes, api_names } = ScopeRule::default();
        let form = |form| match form {
            Form::PurposeApi => ScopeForm::PurposeApi,
            Form::PurposeOperation => ScopeForm::PurposeOperation,
            Form::PurposeAndOperation => ScopeForm::PurposeAndOperation,
            Form::Operation => ScopeForm::Operation,
            Form::QodSessions => ScopeForm::QodSessions,
        };
        ScopeRule {
            forms: self.forms.map_or(forms, |said| said.into_iter().map(form).collect()),
            purposes: self.purposes.map_or(purposes, texts),
            api_names: self.api_names.map_or(api_names, texts),
        }
    }
}
