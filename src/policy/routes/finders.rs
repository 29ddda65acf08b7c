//! The finders section of `routes.yaml`: APIs that find the operator of a device.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    credentials::{self, Authorization, bearer},
    finder::{CONNECTIONS_MAX, Kind, PortabilitySearchMode, Settings},
    outbound::{Endpoint, Trust},
    policy::{
        diagnostic::{expected_one_of, quoted},
        oauth2::OAuth2Entry,
        operators::is_valid_name,
        scalars::{FilePath, PeerUrl, PositiveDuration, Scalar, Section},
        secrets::SecretReference,
        tls::PeerTlsFiles,
        validation::Validation,
    },
    qod::FinderId,
    route::{FallbackFinder, Match, NumberPrefix, Target},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FinderEntry {
    /// The name that routes, metrics and logs use.
    name: String,
    /// The API that it implements.
    kind: FinderKindName,
    /// The base URL; `/resolve-network-id` or `/search` is appended.
    url: Scalar<PeerUrl>,
    /// The file of the bearer token for `Authorization`.
    bearer_token_file: Option<Scalar<FilePath>>,
    /// OAuth 2.0 client settings, instead of a fixed bearer token.
    oauth2: Option<OAuth2Entry>,
    /// The file of the CA certificates (PEM) that its certificate and that of its token endpoint must
    /// chain to. Default: the public CAs.
    ca_file: Option<Scalar<FilePath>>,
    /// The file of the client certificate with its chain (PEM), for both.
    client_certificate_file: Option<Scalar<FilePath>>,
    /// The file of the private key of the client certificate (PEM).
    client_key_file: Option<Scalar<FilePath>>,
    /// If no route matches, query it only for phone numbers with one of these prefixes.
    number_prefixes: Option<Vec<Scalar<NumberPrefix>>>,
    /// The time limit of a lookup.
    timeout: Option<Scalar<PositiveDuration>>,
    /// How long a result is cached.
    cache_ttl: Option<Scalar<PositiveDuration>>,
    /// How long it is cached that no operator was found.
    negative_cache_ttl: Option<Scalar<PositiveDuration>>,
    /// The maximum number of cached results.
    #[schemars(range(min = 1, max = 10_000_000))]
    cache_entries_max: Option<usize>,
    /// The search mode of a Telco Finder for ported numbers.
    mode: Option<PortabilitySearchMode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FinderKindName {
    NetworkId,
    TelcoFinder,
}

/// The validated finders.
#[derive(Debug, Default)]
pub(super) struct ValidatedFinders {
    pub(super) settings: Vec<Settings>,
    pub(super) fallbacks: Vec<FallbackFinder>,
    /// The Telco Finders by URL.
    pub(super) telco_finders: HashMap<String, FinderId>,
    names: BTreeMap<String, Kind>,
}

impl ValidatedFinders {
    pub(super) fn validate(entries: Vec<Section<FinderEntry>>, all: Validation<'_>) -> Self {
        let mut finders = Self::default();
        for (at, entry) in all.items(entries) {
            if !is_valid_name(&entry.name) {
                let name = quoted(&entry.name);
                let message = format!(
                    "invalid finder name {name}; expected 1 to 40 lower-case letters, digits and `-`"
                );
                at.key("name").report(message);
            }
            let kind = entry.kind(at);
            if finders.names.insert(entry.name.clone(), kind).is_some() {
                at.key("name").report("duplicate finder name");
            }
            let prefixes = entry.number_prefixes.as_ref();
            let prefixes =
                prefixes.map(|prefixes| prefixes.iter().map(|prefix| prefix.0).collect());
            let finder = FinderId::from(entry.name.as_str());
            let kinds = kind.identifiers();
            if matches!(kind, Kind::TelcoFinder(_)) {
                finders.telco_finders.insert(entry.url.0.text.clone(), finder.clone());
            }
            finders.fallbacks.push(FallbackFinder {
                finder: finder.clone(),
                identifiers: kinds,
                number_prefixes: prefixes,
            });
            finders.settings.extend(entry.settings(finder, kind, at));
        }
        finders
    }

    /// Returns the target of a route that names a finder.
    pub(super) fn target(
        &self,
        name: &str,
        matching: &Match,
        at: Validation<'_>,
    ) -> Option<Target> {
        let Some(kind) = self.names.get(name) else {
            let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
            let message =
                format!("unknown finder {}; {}", quoted(name), expected_one_of(Some(name), &names));
            at.report(message);
            return None;
        };
        let matches_numbers = matches!(matching, Match::Number(_) | Match::NumberPrefix(_));
        if *kind == Kind::NetworkId && !matches_numbers {
            at.report("a finder of `kind: network_id` supports phone numbers only");
        }
        Some(Target::Finder(name.into()))
    }
}

impl FinderEntry {
    fn kind(&self, at: Validation<'_>) -> Kind {
        match (self.kind, self.mode) {
            (FinderKindName::NetworkId, None) => Kind::NetworkId,
            (FinderKindName::NetworkId, Some(_)) => {
                at.key_name("mode").report("`mode` requires `kind: telco_finder`");
                Kind::NetworkId
            }
            (FinderKindName::TelcoFinder, mode) => {
                Kind::TelcoFinder(mode.unwrap_or(PortabilitySearchMode::Shallow))
            }
        }
    }

    fn settings(self, id: FinderId, kind: Kind, at: Validation<'_>) -> Option<Settings> {
        if self.url.0.exposed {
            at.key("url").report("expected https; a lookup contains the identifier of a device");
        }
        let endpoint = at.key("url").ok(Endpoint::parse(&self.url.0.text, CONNECTIONS_MAX));
        let duration = |value: Option<Scalar<PositiveDuration>>, default| {
            value.map_or(default, |value| value.0.0)
        };
        let peer = PeerCredentials {
            bearer_token_file: self.bearer_token_file,
            oauth2: self.oauth2,
            peers: PeerTlsFiles::new(
                self.ca_file.as_ref(),
                self.client_certificate_file.as_ref(),
                self.client_key_file.as_ref(),
            ),
        };
        let (credentials, trust) = peer.validate(&self.url.0, at);
        Some(Settings {
            id,
            kind,
            timeout: duration(self.timeout, Duration::from_secs(1)),
            cache_ttl: duration(self.cache_ttl, Duration::from_hours(1)),
            negative_cache_ttl: duration(self.negative_cache_ttl, Duration::from_mins(1)),
            cache_entries_max: self.cache_entries_max.unwrap_or(100_000),
            credentials,
            endpoint: endpoint?.with_trust(trust),
        })
    }
}

/// The credentials for a peer, and its TLS trust settings.
pub(super) struct PeerCredentials<'a> {
    pub(super) bearer_token_file: Option<Scalar<FilePath>>,
    pub(super) oauth2: Option<OAuth2Entry>,
    pub(super) peers: PeerTlsFiles<'a>,
}

impl PeerCredentials<'_> {
    pub(super) fn validate(
        self,
        url: &PeerUrl,
        at: Validation<'_>,
    ) -> (credentials::Settings, Trust) {
        let Self { bearer_token_file, oauth2, peers } = self;
        let fixed = SecretReference { file: bearer_token_file, variable: None };
        if fixed.is_present() && oauth2.is_some() {
            let message = "expected either a bearer token or `oauth2`, not both";
            at.key_name("oauth2").report(message);
        }
        let token_url = oauth2.as_ref().map(OAuth2Entry::token_url);
        let encrypted = url.encrypted || token_url.is_some_and(|url| url.encrypted);
        let trust = peers.trust(encrypted, at).unwrap_or_default();
        let fixed = fixed.load_reloadable("bearer_token", bearer, at);
        let fetched = oauth2.and_then(|oauth2| {
            let at = at.key("oauth2");
            if oauth2.token_url().exposed {
                at.key("token_url").report("expected https");
            }
            oauth2.validate(&trust, at)
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
