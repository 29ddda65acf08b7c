//! Lint: policies that are valid but probably unintended, such as unreachable routes, limits that are
//! never reached and expired certificates. Every warning is certain from the policies and their files.

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    LoadedPolicy, Policy,
    diagnostic::{Diagnostic, sort_key},
    routes::RoutesFile,
    source::{PolicyRoots, YamlCursor},
};
use crate::{
    access::Terms,
    qod::{ClientId, Moment},
    route::Route,
};

mod callbacks;
mod clients;
mod dialects;
mod files;
mod limits;
mod operators;
mod profiles;
mod routes;
mod unread;

/// A finding in valid policies that is probably unintended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LintWarning {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u64,
    /// The column in characters, counted from 1.
    pub column: u64,
    /// The rule that reports it.
    pub rule: LintRule,
    /// The finding.
    pub message: String,
}

/// The level of a lint rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintLevel {
    /// The policies should be changed.
    Warning,
    /// The policies may be intended.
    Note,
}

/// A lint rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintRule {
    /// A route that matches no device.
    UnreachableRoute,
    /// A route with the same target as the next wider one.
    RedundantRoute,
    /// A route within a wider route with another target.
    OverlappingRoutes,
    /// An operator that no route, issuer, import or finder selects.
    OperatorWithoutRoutes,
    /// An operator that no client may use.
    OperatorWithoutClients,
    /// A profile that clients may request at an operator that does not offer it.
    ProfileLacking,
    /// A profile that no client can be granted.
    ProfileWithoutClients,
    /// A profile in a client's terms that can never be granted.
    ProfileNeverGranted,
    /// A client that cannot be granted any profile.
    ClientWithoutProfiles,
    /// A client that cannot get a token.
    ClientWithoutToken,
    /// A client whose dialects are not served.
    ClientWithoutDialect,
    /// A client's `dialect` that has no effect.
    IdleDialect,
    /// A client's proof key that is never used.
    IdleProofKey,
    /// An issuer whose tokens are always rejected.
    IssuerWithoutValidTokens,
    /// A custom dialect that is not used.
    UnusedDialect,
    /// A limit that cannot be reached because another one is lower.
    LimitNeverReached,
    /// A callback URL that an operator cannot reach.
    DeadCallbacks,
    /// Callbacks that no operator uses.
    IdleCallbacks,
    /// An operator with neither callbacks nor polling.
    OperatorWithoutEvents,
    /// A public network in `private_networks`.
    IdlePrivateNetwork,
    /// An expired certificate.
    CertificateExpired,
    /// A certificate that expires within 30 days.
    CertificateExpiresSoon,
    /// A certificate that is not valid yet.
    CertificateNotYetValid,
    /// An expired CA certificate.
    AuthorityExpired,
    /// A secret file that all local users can read or change.
    SecretReadable,
    /// A ledger directory that the user of this process cannot write to.
    LedgerNotWritable,
    /// A YAML file of the policy folder that is not read.
    UnreadFile,
}

impl LintRule {
    /// All rules.
    #[cfg(test)]
    pub const ALL: [Self; 27] = [
        Self::UnreachableRoute,
        Self::RedundantRoute,
        Self::OverlappingRoutes,
        Self::OperatorWithoutRoutes,
        Self::OperatorWithoutClients,
        Self::ProfileLacking,
        Self::ProfileWithoutClients,
        Self::ProfileNeverGranted,
        Self::ClientWithoutProfiles,
        Self::ClientWithoutToken,
        Self::ClientWithoutDialect,
        Self::IdleDialect,
        Self::IdleProofKey,
        Self::IssuerWithoutValidTokens,
        Self::UnusedDialect,
        Self::LimitNeverReached,
        Self::DeadCallbacks,
        Self::IdleCallbacks,
        Self::OperatorWithoutEvents,
        Self::IdlePrivateNetwork,
        Self::CertificateExpired,
        Self::CertificateExpiresSoon,
        Self::CertificateNotYetValid,
        Self::AuthorityExpired,
        Self::SecretReadable,
        Self::LedgerNotWritable,
        Self::UnreadFile,
    ];

    /// The name of the rule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnreachableRoute => "unreachable-route",
            Self::RedundantRoute => "redundant-route",
            Self::OverlappingRoutes => "overlapping-routes",
            Self::OperatorWithoutRoutes => "operator-without-routes",
            Self::OperatorWithoutClients => "operator-without-clients",
            Self::ProfileLacking => "profile-lacking",
            Self::ProfileWithoutClients => "profile-without-clients",
            Self::ProfileNeverGranted => "profile-never-granted",
            Self::ClientWithoutProfiles => "client-without-profiles",
            Self::ClientWithoutToken => "client-without-token",
            Self::ClientWithoutDialect => "client-without-dialect",
            Self::IdleDialect => "idle-dialect",
            Self::IdleProofKey => "idle-proof-key",
            Self::IssuerWithoutValidTokens => "issuer-without-valid-tokens",
            Self::UnusedDialect => "unused-dialect",
            Self::LimitNeverReached => "limit-never-reached",
            Self::DeadCallbacks => "dead-callbacks",
            Self::IdleCallbacks => "idle-callbacks",
            Self::OperatorWithoutEvents => "operator-without-events",
            Self::IdlePrivateNetwork => "idle-private-network",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateExpiresSoon => "certificate-expires-soon",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::AuthorityExpired => "authority-expired",
            Self::SecretReadable => "secret-readable",
            Self::LedgerNotWritable => "ledger-not-writable",
            Self::UnreadFile => "unread-file",
        }
    }

    /// The level of the rule.
    pub const fn level(self) -> LintLevel {
        match self {
            Self::OverlappingRoutes
            | Self::ProfileLacking
            | Self::UnusedDialect
            | Self::OperatorWithoutEvents
            | Self::IdlePrivateNetwork
            | Self::AuthorityExpired
            | Self::LedgerNotWritable
            | Self::UnreadFile => LintLevel::Note,
            _ => LintLevel::Warning,
        }
    }
}

impl LintLevel {
    /// The name of the level.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for LintWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, rule, message } = self;
        let (level, name) = (rule.level().name(), rule.name());
        write!(f, "{}:{line}:{column}: {level}: {message} [{name}]", file.display())
    }
}

/// Lints the valid policies of a folder. Returns the warnings, sorted by position.
pub fn lint(loaded: &LoadedPolicy, now: Moment) -> Vec<LintWarning> {
    let LoadedPolicy { policy, folder, sources } = loaded;
    // All files of a valid policy were read.
    let Some(roots) = sources.roots() else { return Vec::new() };
    let client_entries = roots.clients.key("clients").entries().filter_map(|(name, at)| {
        let id = ClientId::from(name);
        Some(ClientEntry { terms: policy.access.terms(&id)?, id, at })
    });
    let client_entries = client_entries.collect();
    let file: RoutesFile = roots.routes.source().deserialize().unwrap_or_default();
    let routes = file.rules_with_position(roots.routes).collect();
    let warnings = RefCell::default();
    let context = LintContext { folder, policy, now, roots, routes, client_entries, warnings };
    for lint_rules in [
        routes::lint,
        operators::lint,
        profiles::lint,
        clients::lint,
        dialects::lint,
        limits::lint,
        callbacks::lint,
        files::lint,
        unread::lint,
    ] {
        lint_rules(&context);
    }
    let mut warnings = context.warnings.into_inner();
    warnings.sort_by_cached_key(|warning| {
        (sort_key(&warning.file), warning.line, warning.column, warning.rule)
    });
    warnings.dedup();
    warnings
}

/// The policies that are linted, and the warnings found so far.
struct LintContext<'a> {
    folder: &'a Path,
    policy: &'a Policy,
    now: Moment,
    roots: PolicyRoots<'a>,
    /// The routes of `routes.yaml`.
    routes: Vec<(Route, YamlCursor<'a>)>,
    client_entries: Vec<ClientEntry<'a>>,
    warnings: RefCell<Vec<LintWarning>>,
}

/// A client, with its terms and its entry.
struct ClientEntry<'a> {
    id: ClientId,
    terms: &'a Terms,
    at: YamlCursor<'a>,
}

impl LintContext<'_> {
    /// Reports a warning at a position.
    fn report(&self, at: YamlCursor<'_>, rule: LintRule, message: impl Into<String>) {
        let Diagnostic { file, line, column, message } = at.error(message);
        self.warnings.borrow_mut().push(LintWarning { file, line, column, rule, message });
    }
}

impl YamlCursor<'_> {
    /// Moves to the value of a key, if the key is present.
    fn get(self, key: &str) -> Option<Self> {
        self.entries().find_map(|(name, at)| (name == key).then_some(at))
    }

    /// Moves to the item of this list with this text. Returns the list itself if there is none.
    fn find_item(self, text: &str) -> Self {
        self.items().find(|item| item.text() == Some(text)).unwrap_or(self)
    }
}
