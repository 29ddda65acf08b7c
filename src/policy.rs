//! Reads and validates a policy folder before anything is served.
//!
//! Each module owns its settings; only this module defines their YAML form. A folder is loaded
//! completely or not at all: all errors are reported in one run, with their position and the
//! expected value. Every file is validated against its JSON Schema first; then the semantics of
//! every section with a valid shape are validated.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    access::{Access, Catalogue},
    dialect::{Descriptors, Strictness},
    finder, identity, limit,
    route::{Routes, Table},
};

mod clients;
mod dialects;
mod diagnostic;
mod gateway;
mod references;
mod lint;
mod notifications;
mod oauth2;
mod operators;
mod profiles;
mod explain_request;
mod routes;
mod secrets;
mod settings;
mod shape;
mod source;
mod tls;
mod policy_tests;
mod scalars;
mod fingerprint;
mod folder;
mod yaml;

pub use self::{
    diagnostic::Diagnostic,
    explain_request::{ExplainRequest, ExplainSubject},
    fingerprint::{Fingerprint, PolicyVersion, policy_files, schema_documents},
    folder::locate_listener,
    lint::{LintLevel, LintRule, LintWarning, lint},
    policy_tests::{
        ExpectedCall, ExpectedRejection, PolicyTest, TestExpectation, load_policy_tests,
        policy_tests_schema_text,
    },
    settings::{
        AdminSettings, AdminTarget, ApiSetting, CallbackSettings, DialectSetting, DrainSettings,
        ExpiringToken, Gsma, HealthChecks, Listener, LostLogLines, NotificationPolicy,
        OperatorSettings, ServerBounds, ServerSettings, StoreConfig, TelcoFinder,
    },
};
use self::{
    fingerprint::PolicyRoots,
    folder::{check_folder, hint_extension},
    references::References,
    source::{PolicySource, YamlCursor},
};

// Limits the attempts to read a folder that is being changed.
const READ_ATTEMPTS_MAX: usize = 5;

/// A validated policy snapshot.
#[derive(Debug)]
pub struct Policy {
    /// Identifies the content that was read.
    pub fingerprint: Fingerprint,
    /// The listeners and limits of the server.
    pub server: ServerSettings,
    /// Where sessions are stored.
    pub store: StoreConfig,
    /// How session events are delivered to clients.
    pub notifications: NotificationPolicy,
    /// The APIs served; each path occurs once.
    pub apis: Vec<ApiSetting>,
    /// The Telco Finder API that this gateway serves.
    pub telco_finder: Option<TelcoFinder>,
    /// All dialects, released and custom.
    pub dialects: Descriptors,
    /// How strictly request bodies are validated.
    pub strictness: Strictness,
    /// The folder of the OpenAPI documents. It exists.
    pub schemas: PathBuf,
    /// The issuers of accepted access tokens.
    pub identity: identity::Settings,
    /// The terms of each client.
    pub access: Access,
    /// The rate limits.
    pub limits: limit::Settings,
    /// Maps devices to operators.
    pub routes: Routes,
    /// The finders that are queried if no route matches.
    pub finders: Vec<finder::Settings>,
    /// The settings of each operator.
    pub operators: Vec<OperatorSettings>,
    /// The `QoS` profiles offered.
    pub profiles: Arc<Catalogue>,
}

/// A file of a policy folder.
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
    /// `dialects.yaml`, which is optional.
    Dialects,
}

impl PolicyFile {
    /// All files, in reading order.
    pub const ALL: [Self; 6] = [
        Self::Gateway,
        Self::Operators,
        Self::Routes,
        Self::Clients,
        Self::Profiles,
        Self::Dialects,
    ];

    /// The file name.
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

    /// The JSON Schema that the file is validated against. Editors use it for completion.
    pub fn json_schema(self) -> serde_json::Value {
        match self {
            Self::Gateway => shape::schema_of::<gateway::GatewayFile>(),
            Self::Operators => shape::schema_of::<operators::OperatorsFile>(),
            Self::Routes => shape::schema_of::<routes::RoutesFile>(),
            Self::Clients => shape::schema_of::<clients::ClientsFile>(),
            Self::Profiles => shape::schema_of::<profiles::ProfilesFile>(),
            Self::Dialects => shape::schema_of::<dialects::DialectsFile>(),
        }
    }

    /// The JSON Schema as indented text.
    pub fn json_schema_text(self) -> String {
        format!("{:#}", self.json_schema())
    }

    fn read(self, folder: &Path, errors: &mut Vec<Diagnostic>) -> Option<PolicySource> {
        PolicySource::read(folder.join(self.name()), &self.json_schema(), errors)
    }
}

/// Loads a policy folder. Relative file paths in it are resolved against the folder.
///
/// # Errors
/// Returns all errors of all files, sorted by position.
pub fn load(folder: &Path) -> Result<Policy, Vec<Diagnostic>> {
    reload(folder, &[])
}

/// Reloads a policy folder. Route tables whose files are unchanged are reused. Like [`load`], this
/// call is slow: never make a request wait for it.
///
/// # Errors
/// Returns all errors of all files, sorted by position.
pub fn reload(folder: &Path, tables: &[Arc<Table>]) -> Result<Policy, Vec<Diagnostic>> {
    check_folder(folder)?;
    // Several files are not changed atomically: a snapshot is consistent only if no file changed
    // while it was read.
    for _ in 0..READ_ATTEMPTS_MAX {
        let before = fingerprint::hash_of_files(folder);
        let policy = read_folder(folder, before, tables);
        if fingerprint::hash_of_files(folder) == before {
            return policy;
        }
    }
    let message = "policy files changed while they were being read".to_owned();
    Err(vec![Diagnostic::of_path(folder, message)])
}

fn read_folder(
    folder: &Path,
    hash: fingerprint::ContentHash,
    tables: &[Arc<Table>],
) -> Result<Policy, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let dialects = load_dialects(folder, &mut errors);
    let [gateway, operators, routes, clients, profiles] = [
        PolicyFile::Gateway,
        PolicyFile::Operators,
        PolicyFile::Routes,
        PolicyFile::Clients,
        PolicyFile::Profiles,
    ]
    .map(|file| file.read(folder, &mut errors));
    let mut known =
        References::new(folder, &dialects, operators.as_ref(), profiles.as_ref(), clients.as_ref());
    known.tables = tables;
    let policy = validate(
        hash,
        [
            gateway.as_ref(),
            operators.as_ref(),
            routes.as_ref(),
            clients.as_ref(),
            profiles.as_ref(),
        ],
        &known,
        &mut errors,
    );
    match policy {
        Some(policy) if errors.is_empty() => Ok(policy),
        _ => {
            errors.sort_by_cached_key(|error| (sort_key(&error.file), error.line, error.column));
            errors.dedup();
            Err(errors)
        }
    }
}

// The sort order of errors and warnings by file.
fn sort_key(file: &Path) -> (Option<usize>, PathBuf) {
    (
        PolicyFile::ALL.iter().position(|policy_file| file.ends_with(policy_file.name())),
        file.to_owned(),
    )
}

/// Reads only the settings needed to inspect the gateway of a policy folder.
///
/// # Errors
/// Returns all errors of `gateway.yaml`.
pub fn load_admin_target(folder: &Path) -> Result<AdminTarget, Vec<Diagnostic>> {
    check_folder(folder)?;
    let mut errors = Vec::new();
    let dialects = load_dialects(folder, &mut errors);
    let known = References::new(folder, &dialects, None, None, None);
    let source = PolicyFile::Gateway.read(folder, &mut errors);
    let gateway = source.and_then(|source| {
        source.deserialize::<gateway::GatewayFile>(&mut errors).validate(
            source.root(),
            &known,
            &mut errors,
        )
    });
    match gateway {
        Some(gateway) if errors.is_empty() => {
            Ok(AdminTarget { admin: gateway.server.admin.address, store: gateway.store })
        }
        _ => Err(errors),
    }
}

fn load_dialects(folder: &Path, errors: &mut Vec<Diagnostic>) -> Descriptors {
    let file = PolicyFile::Dialects;
    let path = folder.join(file.name());
    if !path.exists() {
        // The file is optional, so a file with another extension would be ignored.
        errors.extend(hint_extension(&path).map(|hint| Diagnostic::of_path(&path, hint)));
        return Descriptors::released();
    }
    let source = file.read(folder, errors);
    let descriptors = source.map(|source| {
        source.deserialize::<dialects::DialectsFile>(errors).validate(source.root(), errors)
    });
    descriptors.unwrap_or_default()
}

fn validate<'s>(
    hash: fingerprint::ContentHash,
    sources: [Option<&'s PolicySource>; 5],
    known: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Option<Policy> {
    let [gateway, operators, routes, clients, profiles] = sources;
    let root = |source: Option<&'s PolicySource>| source.map(PolicySource::root);
    let roots = (root(gateway), root(operators), root(routes), root(clients), root(profiles));
    let gateway = gateway.and_then(|source| {
        source.deserialize::<gateway::GatewayFile>(errors).validate(source.root(), known, errors)
    });
    let profiles = profiles.map(|source| {
        source.deserialize::<profiles::ProfilesFile>(errors).validate(source.root(), known, errors)
    });
    let operators = operators.map(|source| {
        let file = source.deserialize::<operators::OperatorsFile>(errors);
        file.validate(source.root(), known, errors)
    });
    let routes = routes.map(|source| {
        let operators = operators.as_deref().unwrap_or_default();
        source.deserialize::<routes::RoutesFile>(errors).validate(
            source.root(),
            known,
            operators,
            errors,
        )
    });
    let clients = clients.and_then(|source| {
        source.deserialize::<clients::ClientsFile>(errors).validate(source.root(), known, errors)
    });
    let roots = PolicyRoots {
        gateway: roots.0?,
        operators: roots.1?,
        routes: roots.2?,
        clients: roots.3?,
        profiles: roots.4?,
    };
    let (gateway, mut operators) = (gateway?, operators?);
    let (profiles, routes, clients) = (profiles?, routes?, clients?);
    for operator in &mut operators {
        operator.translation.qos_profiles = profiles.names_for_operator(&operator.id.0);
    }
    validate_peers(&operators, &routes.finders, &gateway, roots, known, errors);
    let rates = operators.iter().filter_map(|operator| Some((operator.id.clone(), operator.rate?)));
    let catalogue = Arc::new(profiles.catalogue);
    Some(Policy {
        fingerprint: Fingerprint::new(
            (hash, fingerprint::hash_of_tables(&routes.routes)),
            &gateway.schemas,
            roots,
            &operators,
            routes.lines,
        ),
        server: gateway.server,
        store: gateway.store,
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

/// Validates operators and finders against the other files.
fn validate_peers(
    operators: &[OperatorSettings],
    finders: &[finder::Settings],
    gateway: &gateway::GatewaySettings,
    roots: PolicyRoots<'_>,
    known: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    for operator in operators {
        let at = roots.operators.key("operators").key(&operator.id.0);
        validate_operator(operator, gateway, at, known, errors);
        validate_timeout(operator.timeout, gateway, at, errors);
    }
    for (finder, at) in roots.finders() {
        let finder = finders.iter().find(|settings| *settings.id.0 == *finder);
        finder.inspect(|finder| validate_timeout(finder.timeout, gateway, at, errors));
    }
}

/// Validates an operator entry against the other files.
fn validate_operator(
    operator: &OperatorSettings,
    gateway: &gateway::GatewaySettings,
    at: YamlCursor<'_>,
    known: &References<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    if operator.translation.qos_profiles.is_empty() {
        let message = "no active profile lists this operator";
        errors.push(at.error(message));
    }
    let url = gateway.server.callbacks.as_ref().map(|callbacks| callbacks.url.as_str());
    if operator.callbacks
        && url.is_some_and(|url| !url.starts_with("https://"))
        && known
            .dialects
            .get(&operator.dialect)
            .is_some_and(|dialect| dialect.requires_https_sinks())
    {
        let message = "this dialect requires an https callback URL; set an https URL in `callbacks` of \
                       gateway.yaml, or set `callbacks: false` here";
        errors.push(at.key("dialect").error(message));
    }
}

fn validate_timeout(
    timeout: Duration,
    gateway: &gateway::GatewaySettings,
    at: YamlCursor<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    if timeout >= gateway.server.bounds.exchange_deadline {
        let message = "`timeout` must be less than `exchange_deadline`";
        errors.push(at.key("timeout").error(message));
    }
}

#[cfg(test)]
mod tests;
