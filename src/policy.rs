//! What the policies say, read from a folder and checked before anything is served.
//!
//! Each room owns its settings; this one alone knows how they are written. A folder is taken whole
//! or not at all: every fault is told at once, with its place and what was expected there. First
//! every file is checked for its shape, then every part of it that has the right shape for its
//! sense.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    access::{Access, Catalogue},
    dialect::{Descriptor, Descriptors, Strictness},
    finder, identity, limit,
    route::{Routes, Table},
};

mod clients;
mod dialects;
mod fault;
mod gateway;
mod known;
mod lint;
mod notifications;
mod oauth2;
mod operators;
mod profiles;
mod question;
mod routes;
mod secrets;
mod settings;
mod shape;
mod source;
mod tls;
mod trials;
mod words;
mod written;
mod yaml;

pub use self::{
    fault::Fault,
    lint::{Level, Rule, Warning, lint},
    question::{About, Question},
    settings::{
        ApiSetting, Bounds, Callbacks, Drain, ExpiringToken, Gsma, HealthChecks, Keeping, Listener,
        Notifications, OperatorSettings, Place, ServerSettings, Speaks, TelcoFinder,
    },
    trials::{Answered, Asked, Expected, Trial, load_trials, trials_schema_text},
    written::{Version, Written, documents, policy_files},
};
use self::{
    known::Known,
    source::{Source, Spot},
    written::Said,
};

// So often it is tried to read a folder that is being changed.
const READINGS_MAX: usize = 5;

/// The policies, checked.
#[derive(Debug)]
pub struct Policy {
    /// What was read, letter by letter.
    pub written: Written,
    /// How the server listens and what it puts up with.
    pub server: ServerSettings,
    /// Where sessions are kept.
    pub keeping: Keeping,
    /// How clients are told what happens to their sessions.
    pub notifications: Notifications,
    /// What is served where; each path once.
    pub apis: Vec<ApiSetting>,
    /// Where others ask which operator serves a device.
    pub telco_finder: Option<TelcoFinder>,
    /// The dialects that there are.
    pub dialects: Descriptors,
    /// How strictly bodies are read.
    pub strictness: Strictness,
    /// The folder of the OpenAPI documents; it exists.
    pub schemas: PathBuf,
    /// Whose tokens are believed.
    pub identity: identity::Settings,
    /// What each client may do.
    pub access: Access,
    /// How often.
    pub limits: limit::Settings,
    /// Which operator serves which device.
    pub routes: Routes,
    /// Who is asked where no route of ours knows it.
    pub finders: Vec<finder::Settings>,
    /// How each operator is reached.
    pub operators: Vec<OperatorSettings>,
    /// The profiles that are offered.
    pub profiles: Arc<Catalogue>,
}

/// A file of a policies folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyFile {
    /// `gateway.yaml`
    Gateway,
    /// `operators.yaml`
    Operators,
    /// `routes.yaml`
    Routes,
    /// `clients.yaml`
    Clients,
    /// `profiles.yaml`
    Profiles,
    /// `dialects.yaml`, which may be missing.
    Dialects,
}

impl PolicyFile {
    /// All of them, in the order to read them in.
    pub const ALL: [Self; 6] = [
        Self::Gateway,
        Self::Operators,
        Self::Routes,
        Self::Clients,
        Self::Profiles,
        Self::Dialects,
    ];

    /// Its name in the folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway.yaml",
            Self::Operators => "operators.yaml",
            Self::Routes => "routes.yaml",
            Self::Clients => "clients.yaml",
            Self::Profiles => "profiles.yaml",
            Self::Dialects => "dialects.yaml",
        }
    }

    /// The JSON Schema that it is checked against; editors can complete by it.
    pub fn json_schema(self) -> serde_json::Value {
        match self {
            Self::Gateway => shape::schema_of::<gateway::File>(),
            Self::Operators => shape::schema_of::<operators::File>(),
            Self::Routes => shape::schema_of::<routes::File>(),
            Self::Clients => shape::schema_of::<clients::File>(),
            Self::Profiles => shape::schema_of::<profiles::File>(),
            Self::Dialects => shape::schema_of::<dialects::File>(),
        }
    }

    /// The same, for people and editors to read.
    pub fn json_schema_text(self) -> String {
        format!("{:#}", self.json_schema())
    }

    fn read(self, folder: &Path, faults: &mut Vec<Fault>) -> Option<Source> {
        Source::read(folder.join(self.name()), &self.json_schema(), faults)
    }
}

/// Reads a folder. Files that it names are looked for from there.
///
/// # Errors
/// All faults of all files, in the order of their places.
pub fn load(folder: &Path) -> Result<Policy, Vec<Fault>> {
    load_after(folder, &[])
}

/// Reads a folder anew. Tables of routes whose files are the same are not read again. It takes its
/// time, as [`load`] does: no request may wait for it.
///
/// # Errors
/// All faults of all files, in the order of their places.
pub fn load_after(folder: &Path, tables: &[Arc<Table>]) -> Result<Policy, Vec<Fault>> {
    // Whoever changes several files does not change them at once: a reading is good if all that it
    // read was there at one time.
    for _ in 0..READINGS_MAX {
        let before = written::hash_of_files(folder);
        let policy = read(folder, before, tables);
        if written::hash_of_files(folder) == before {
            return policy;
        }
    }
    let message = "the files are being changed while they are read".to_owned();
    Err(vec![Fault { file: folder.to_owned(), line: 1, column: 1, message }])
}

fn read(folder: &Path, hash: written::Hash, tables: &[Arc<Table>]) -> Result<Policy, Vec<Fault>> {
    let mut faults = Vec::new();
    let dialects = dialects_of(folder, &mut faults);
    let [gateway, operators, routes, clients, profiles] = [
        PolicyFile::Gateway,
        PolicyFile::Operators,
        PolicyFile::Routes,
        PolicyFile::Clients,
        PolicyFile::Profiles,
    ]
    .map(|file| file.read(folder, &mut faults));
    let mut known =
        Known::new(folder, &dialects, operators.as_ref(), profiles.as_ref(), clients.as_ref());
    known.tables = tables;
    let policy = judge(
        hash,
        [
            gateway.as_ref(),
            operators.as_ref(),
            routes.as_ref(),
            clients.as_ref(),
            profiles.as_ref(),
        ],
        &known,
        &mut faults,
    );
    match policy {
        Some(policy) if faults.is_empty() => Ok(policy),
        _ => {
            faults.sort_by_cached_key(|fault| (place_of(&fault.file), fault.line, fault.column));
            faults.dedup();
            Err(faults)
        }
    }
}

// Faults and warnings are told in this order of their files.
fn place_of(file: &Path) -> (Option<usize>, PathBuf) {
    (PolicyFile::ALL.iter().position(|known| file.ends_with(known.name())), file.to_owned())
}

/// Reads of a folder only what must be known to look into its gateway.
///
/// # Errors
/// All faults of `gateway.yaml`.
pub fn load_place(folder: &Path) -> Result<Place, Vec<Fault>> {
    let mut faults = Vec::new();
    let dialects = dialects_of(folder, &mut faults);
    let known = Known::new(folder, &dialects, None, None, None);
    let source = PolicyFile::Gateway.read(folder, &mut faults);
    let gateway = source.and_then(|source| {
        source.typed::<gateway::File>(&mut faults).judge(source.root(), &known, &mut faults)
    });
    match gateway {
        Some(gateway) if faults.is_empty() => {
            Ok(Place { admin: gateway.server.admin, keeping: gateway.keeping })
        }
        _ => Err(faults),
    }
}

fn dialects_of(folder: &Path, faults: &mut Vec<Fault>) -> Descriptors {
    let file = PolicyFile::Dialects;
    if !folder.join(file.name()).exists() {
        return Descriptors::released();
    }
    let source = file.read(folder, faults);
    let judged =
        source.map(|source| source.typed::<dialects::File>(faults).judge(source.root(), faults));
    judged.unwrap_or_default()
}

fn judge<'s>(
    hash: written::Hash,
    sources: [Option<&'s Source>; 5],
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Policy> {
    let [gateway, operators, routes, clients, profiles] = sources;
    let says = |source: Option<&'s Source>| source.map(Source::root);
    let said = (says(gateway), says(operators), says(routes), says(clients), says(profiles));
    let gateway = gateway.and_then(|source| {
        source.typed::<gateway::File>(faults).judge(source.root(), known, faults)
    });
    let profiles = profiles
        .map(|source| source.typed::<profiles::File>(faults).judge(source.root(), known, faults));
    let operators = operators
        .map(|source| source.typed::<operators::File>(faults).judge(source.root(), known, faults));
    let routes = routes.map(|source| {
        let operators = operators.as_deref().unwrap_or_default();
        source.typed::<routes::File>(faults).judge(source.root(), known, operators, faults)
    });
    let clients = clients.and_then(|source| {
        source.typed::<clients::File>(faults).judge(source.root(), known, faults)
    });
    let said = Said {
        gateway: said.0?,
        operators: said.1?,
        routes: said.2?,
        clients: said.3?,
        profiles: said.4?,
    };
    let (gateway, mut operators) = (gateway?, operators?);
    let (profiles, routes, clients) = (profiles?, routes?, clients?);
    for operator in &mut operators {
        operator.fitting.qos_profiles = profiles.names_at(&operator.id.0);
        let at = said.operators.key("operators").key(&operator.id.0);
        fit_operator(operator, &gateway, at, known, faults);
        fit_timeout(operator.timeout, &gateway, at, faults);
    }
    for (finder, at) in said.finders() {
        let finder = routes.finders.iter().find(|known| *known.id.0 == *finder);
        finder.inspect(|finder| fit_timeout(finder.timeout, &gateway, at, faults));
    }
    let rates = operators.iter().filter_map(|operator| Some((operator.id.clone(), operator.rate?)));
    let catalogue = Arc::new(profiles.catalogue);
    Some(Policy {
        written: Written::new(
            (hash, written::hash_of_tables(&routes.routes)),
            &gateway.schemas,
            said,
            &operators,
            routes.lines,
        ),
        server: gateway.server,
        keeping: gateway.keeping,
        notifications: gateway.notifications,
        apis: gateway.apis,
        telco_finder: gateway.telco_finder,
        dialects: known.dialects.clone(),
        strictness: gateway.strictness,
        schemas: gateway.schemas,
        access: clients.access(&catalogue),
        limits: limit::Settings {
            operators: rates.collect(),
            clients: clients.rates,
            device: clients.device,
            device_keys_max: clients.device_keys_max,
        },
        identity: clients.identity,
        routes: routes.routes,
        finders: routes.finders,
        operators,
        profiles: catalogue,
    })
}

/// What an operator's entry must keep to for the sake of the other files.
fn fit_operator(
    operator: &OperatorSettings,
    gateway: &gateway::Gateway,
    at: Spot<'_>,
    known: &Known<'_>,
    faults: &mut Vec<Fault>,
) {
    if operator.fitting.qos_profiles.is_empty() {
        let message = "no profile that may be asked for names this operator";
        faults.push(at.fault(message));
    }
    let url = gateway.server.callbacks.as_ref().map(|callbacks| callbacks.url.as_str());
    if operator.callbacks
        && url.is_some_and(|url| !url.starts_with("https://"))
        && known.dialects.named(&operator.dialect).is_some_and(Descriptor::https_sinks_only)
    {
        let message = "this dialect calls back https URLs only: give `callbacks` one in \
                       gateway.yaml, or say `callbacks: false` here";
        faults.push(at.key("speaks").fault(message));
    }
}

fn fit_timeout(
    timeout: Duration,
    gateway: &gateway::Gateway,
    at: Spot<'_>,
    faults: &mut Vec<Fault>,
) {
    if timeout >= gateway.server.bounds.exchange_deadline {
        let message = "expected a time below `exchange_deadline`, or no answer is waited for";
        faults.push(at.key("timeout").fault(message));
    }
}

#[cfg(test)]
mod tests;
