//! What is sound and yet hardly meant: routes that are never taken, limits that are never reached,
//! certificates that are over. Only what is certain by the policies and their files is told.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Policy, PolicyFile,
    fault::Fault,
    place_of,
    source::{Source, Spot},
};
use crate::{
    access::Terms,
    qod::{ClientId, Moment},
};

mod callbacks;
mod clients;
mod dialects;
mod files;
mod limits;
mod operators;
mod profiles;
mod routes;

/// Something in the policies that can be followed, but is hardly what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u64,
    /// Its column in characters, from 1.
    pub column: u64,
    /// Which rule it is by.
    pub rule: Rule,
    /// What was found.
    pub message: String,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something ought to be changed.
    Warning,
    /// It may well be meant.
    Note,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A route that no device takes.
    UnreachableRoute,
    /// A route that says what a wider one says anyway.
    RedundantRoute,
    /// A route within another one, to another operator.
    OverlappingRoutes,
    /// An operator that nothing leads to.
    OperatorWithoutRoutes,
    /// An operator that no client may reach.
    OperatorWithoutClients,
    /// A profile that an operator does not have, and that may be asked for there.
    ProfileLacking,
    /// A profile that nobody can be granted.
    ProfileWithoutClients,
    /// A profile in a client's terms that it can never be granted.
    ProfileNeverGranted,
    /// A client that can be granted no profile at all.
    ClientWithoutProfiles,
    /// A client that no token is of.
    ClientWithoutToken,
    /// A client that speaks nothing that is served.
    ClientWithoutDialect,
    /// A dialect of a client's that decides nothing.
    IdleDialect,
    /// A key of a client's that no proof is asked by.
    IdleProofKey,
    /// An issuer none of whose tokens can hold.
    IssuerNeverBelieved,
    /// A dialect of one's own that nobody speaks.
    UnusedDialect,
    /// A limit that another one is below.
    LimitNeverReached,
    /// A URL that an operator is told to call, and cannot reach.
    DeadCallbacks,
    /// Callbacks that no operator is asked for.
    IdleCallbacks,
    /// An operator of which nothing is heard between a session's start and end.
    OperatorTellsNothing,
    /// A network that is let through as private, and is public.
    IdlePrivateNetwork,
    /// A certificate that is over.
    CertificateExpired,
    /// A certificate that is over within thirty days.
    CertificateExpiresSoon,
    /// A certificate that is not good yet.
    CertificateNotYetGood,
    /// An authority whose own certificate is over.
    AuthorityExpired,
    /// A secret that everybody can read, or change.
    SecretReadable,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 25] = [
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
        Self::IssuerNeverBelieved,
        Self::UnusedDialect,
        Self::LimitNeverReached,
        Self::DeadCallbacks,
        Self::IdleCallbacks,
        Self::OperatorTellsNothing,
        Self::IdlePrivateNetwork,
        Self::CertificateExpired,
        Self::CertificateExpiresSoon,
        Self::CertificateNotYetGood,
        Self::AuthorityExpired,
        Self::SecretReadable,
    ];

    /// Its name.
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
            Self::IssuerNeverBelieved => "issuer-never-believed",
            Self::UnusedDialect => "unused-dialect",
            Self::LimitNeverReached => "limit-never-reached",
            Self::DeadCallbacks => "dead-callbacks",
            Self::IdleCallbacks => "idle-callbacks",
            Self::OperatorTellsNothing => "operator-tells-nothing",
            Self::IdlePrivateNetwork => "idle-private-network",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateExpiresSoon => "certificate-expires-soon",
            Self::CertificateNotYetGood => "certificate-not-yet-good",
            Self::AuthorityExpired => "authority-expired",
            Self::SecretReadable => "secret-readable",
        }
    }

    /// How much it matters.
    pub const fn level(self) -> Level {
        match self {
            Self::OverlappingRoutes
            | Self::ProfileLacking
            | Self::UnusedDialect
            | Self::OperatorTellsNothing
            | Self::IdlePrivateNetwork
            | Self::AuthorityExpired => Level::Note,
            _ => Level::Warning,
        }
    }
}

impl Level {
    /// As it is told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, rule, message } = self;
        let (level, name) = (rule.level().name(), rule.name());
        write!(f, "{}:{line}:{column}: {level}: {message} [{name}]", file.display())
    }
}

/// Looks through the policies of a folder, which are sound: what was found, in the order of the
/// places.
///
/// # Errors
/// What cannot be read any more.
pub fn lint(folder: &Path, policy: &Policy, now: Moment) -> Result<Vec<Warning>, Vec<Fault>> {
    let mut faults = Vec::new();
    let read = |file: PolicyFile| file.read(folder, &mut faults);
    let sources = [
        PolicyFile::Gateway,
        PolicyFile::Operators,
        PolicyFile::Routes,
        PolicyFile::Clients,
        PolicyFile::Profiles,
    ]
    .map(read);
    let [Some(gateway), Some(operators), Some(routes), Some(clients), Some(profiles)] = &sources
    else {
        return Err(faults);
    };
    let parties = clients.root().key("clients").entries();
    let parties = parties.filter_map(|(name, at)| {
        let id = ClientId::from(name);
        Some(Party { terms: policy.access.terms(&id)?, id, at })
    });
    let parties = parties.collect();
    let seen = Seen { folder, policy, now, gateway, operators, routes, clients, profiles, parties };
    let mut told = Vec::new();
    for look in [
        routes::look,
        operators::look,
        profiles::look,
        clients::look,
        dialects::look,
        limits::look,
        callbacks::look,
        files::look,
    ] {
        look(&seen, &mut told);
    }
    told.sort_by_cached_key(|one| (place_of(&one.file), one.line, one.column, one.rule));
    told.dedup();
    Ok(told)
}

/// What is looked at.
struct Seen<'a> {
    folder: &'a Path,
    policy: &'a Policy,
    now: Moment,
    gateway: &'a Source,
    operators: &'a Source,
    routes: &'a Source,
    clients: &'a Source,
    profiles: &'a Source,
    parties: Vec<Party<'a>>,
}

/// A client, its terms, and its entry.
struct Party<'a> {
    id: ClientId,
    terms: &'a Terms,
    at: Spot<'a>,
}

impl Spot<'_> {
    /// What stands at a key of this, if it is said here.
    fn said(self, key: &str) -> Option<Self> {
        self.entries().find_map(|(said, at)| (said == key).then_some(at))
    }

    /// The item of this list that says so; if there is none, this.
    fn item_that_says(self, text: &str) -> Self {
        self.items().find(|item| item.text() == Some(text)).unwrap_or(self)
    }

    /// Something is to be told of what stands here.
    fn warning(self, rule: Rule, message: impl Into<String>) -> Warning {
        let Fault { file, line, column, message } = self.fault(message);
        Warning { file, line, column, rule, message }
    }
}
