//! Who is asked which operator serves a device, as `routes.yaml` says it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    credentials::{self, Authorization, bearer},
    finder::{CONNECTIONS_MAX, Kind, Mode, Settings},
    outbound::{Endpoint, Trust},
    policy::{
        fault::{Fault, expected_one_of, shown},
        known::Known,
        oauth2::OAuth2Entry,
        operators::is_name,
        secrets::Whereabouts,
        source::Spot,
        tls::Peers,
        words::{FilePath, Part, Said, Span, Url},
    },
    qod::FinderId,
    route::{LastResort, Match, NumberPrefix, Target},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// What routes, metrics and logs call it.
    name: String,
    /// What it speaks.
    kind: KindName,
    /// The URL that `/resolve-network-id` or `/search` is appended to.
    url: Said<Url>,
    /// The file of the token that we show in `Authorization`.
    bearer_token_file: Option<Said<FilePath>>,
    /// Or where and how such tokens are got.
    oauth2: Option<OAuth2Entry>,
    /// The authorities, in PEM, that it and its token endpoint must be known by.
    ca_file: Option<Said<FilePath>>,
    /// The certificate, in PEM, that we show them.
    client_certificate_file: Option<Said<FilePath>>,
    /// Its private key, in PEM.
    client_key_file: Option<Said<FilePath>>,
    /// When no route matches it is asked about numbers that start so, and about nothing else.
    numbers: Option<Vec<Said<NumberPrefix>>>,
    /// How long a question may take.
    timeout: Option<Said<Span>>,
    /// How long an answer is good.
    remember: Option<Said<Span>>,
    /// How long it is good that nobody serves a device.
    remember_nothing: Option<Said<Span>>,
    /// As many answers are remembered.
    #[schemars(range(min = 1, max = 10_000_000))]
    entries_max: Option<usize>,
    /// How a Telco Finder searches where numbers are ported.
    mode: Option<ModeName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum KindName {
    NetworkId,
    TelcoFinder,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ModeName {
    Shallow,
    Deep,
}

/// Those who can be asked, and what for.
#[derive(Debug, Default)]
pub(super) struct Finders {
    pub(super) settings: Vec<Settings>,
    pub(super) last: Vec<LastResort>,
    /// Telco Finders, by where they are asked.
    pub(super) telco: HashMap<String, FinderId>,
    names: BTreeMap<String, Kind>,
}

impl Finders {
    pub(super) fn judge(
        entries: Vec<Part<Entry>>,
        all: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut finders = Self::default();
        for (index, entry) in entries.into_iter().enumerate() {
            let at = all.item(index);
            let Some(entry) = at.read(entry, faults) else { continue };
            if !is_name(&entry.name) {
                let name = shown(&entry.name);
                let message = format!(
                    "{name} is no finder's name: expected 1 to 40 small letters, digits and `-`"
                );
                faults.push(at.key("name").fault(message));
            }
            let kind = entry.kind(at, faults);
            if finders.names.insert(entry.name.clone(), kind).is_some() {
                faults.push(at.key("name").fault("another finder is called so already"));
            }
            let numbers = entry.numbers.as_ref();
            let numbers = numbers.map(|numbers| numbers.iter().map(|number| number.0).collect());
            let finder = FinderId::from(entry.name.as_str());
            let kinds = kind.identifiers();
            if matches!(kind, Kind::TelcoFinder(_)) {
                finders.telco.insert(entry.url.0.text.clone(), finder.clone());
            }
            finders.last.push(LastResort { finder: finder.clone(), kinds, numbers });
            finders.settings.extend(entry.settings(finder, kind, at, known, faults));
        }
        finders
    }

    /// Where a route leads that names a finder.
    pub(super) fn target(
        &self,
        name: &str,
        matching: &Match,
        at: Spot<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Target> {
        let Some(kind) = self.names.get(name) else {
            let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
            let message = format!(
                "no finder is called {}: {}",
                shown(name),
                expected_one_of(Some(name), &names)
            );
            faults.push(at.fault(message));
            return None;
        };
        let of_numbers = matches!(matching, Match::Number(_) | Match::NumberPrefix(_));
        if *kind == Kind::NetworkId && !of_numbers {
            faults.push(at.fault("a finder of `kind: network_id` knows numbers only"));
        }
        Some(Target::Finder(name.into()))
    }
}

impl Entry {
    fn kind(&self, at: Spot<'_>, faults: &mut Vec<Fault>) -> Kind {
        match (self.kind, self.mode) {
            (KindName::NetworkId, None) => Kind::NetworkId,
            (KindName::NetworkId, Some(_)) => {
                faults.push(at.name("mode").fault("only `kind: telco_finder` has a mode"));
                Kind::NetworkId
            }
            (KindName::TelcoFinder, None | Some(ModeName::Shallow)) => {
                Kind::TelcoFinder(Mode::Shallow)
            }
            (KindName::TelcoFinder, Some(ModeName::Deep)) => Kind::TelcoFinder(Mode::Deep),
        }
    }

    fn settings(
        self,
        id: FinderId,
        kind: Kind,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<Settings> {
        if self.url.0.exposed {
            faults.push(at.key("url").fault("expected https: a question tells whose device it is"));
        }
        let endpoint = Endpoint::parse(&self.url.0.text, CONNECTIONS_MAX)
            .map_err(|error| faults.push(at.key("url").fault(error.to_string())))
            .ok();
        let span = |time: Option<Said<Span>>, otherwise| time.map_or(otherwise, |time| time.0.0);
        let shows = Shows {
            bearer_token_file: self.bearer_token_file,
            oauth2: self.oauth2,
            peers: Peers::of(
                self.ca_file.as_ref(),
                self.client_certificate_file.as_ref(),
                self.client_key_file.as_ref(),
            ),
        };
        let (credentials, trust) = shows.judge(&self.url.0, at, known, faults);
        Some(Settings {
            id,
            kind,
            timeout: span(self.timeout, Duration::from_secs(1)),
            remember: span(self.remember, Duration::from_hours(1)),
            remember_nothing: span(self.remember_nothing, Duration::from_mins(1)),
            entries_max: self.entries_max.unwrap_or(100_000),
            credentials,
            endpoint: endpoint?.trusting(trust),
        })
    }
}

/// What is shown to one who is asked, and whom he must be known by.
pub(super) struct Shows<'a> {
    pub(super) bearer_token_file: Option<Said<FilePath>>,
    pub(super) oauth2: Option<OAuth2Entry>,
    pub(super) peers: Peers<'a>,
}

impl Shows<'_> {
    pub(super) fn judge(
        self,
        url: &Url,
        at: Spot<'_>,
        known: &Known<'_>,
        faults: &mut Vec<Fault>,
    ) -> (credentials::Settings, Trust) {
        let Self { bearer_token_file, oauth2, peers } = self;
        let fixed = Whereabouts { file: bearer_token_file, variable: None };
        if fixed.is_somewhere() && oauth2.is_some() {
            let message = "expected a bearer token or `oauth2`, not both";
            faults.push(at.name("oauth2").fault(message));
        }
        let granted_by = oauth2.as_ref().map(OAuth2Entry::token_url);
        let encrypted = url.encrypted || granted_by.is_some_and(|url| url.encrypted);
        let trust = peers.trust(encrypted, at, known, faults).unwrap_or_default();
        let fixed = fixed.keep("bearer_token", bearer, at, known.folder, faults);
        let fetched = oauth2.and_then(|oauth2| {
            let at = at.key("oauth2");
            if oauth2.token_url().exposed {
                faults.push(at.key("token_url").fault("expected https"));
            }
            oauth2.judge(&trust, at, known, faults)
        });
        let authorization = match (fetched, fixed) {
            (Some(oauth2), _) => Authorization::OAuth2(Box::new(oauth2)),
            (None, Some(fixed)) => Authorization::Fixed(fixed),
            (None, None) => Authorization::Nothing,
        };
        let credentials =
            credentials::Settings { authorization, ..credentials::Settings::default() };
        (credentials, trust)
    }
}
