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
    finder, identity,
    ledger::StoreConfig,
    limit, operator,
    route::{Routes, Table},
    telemetry,
};

mod admin_tokens;
mod clients;
mod comparison;
mod dialects;
mod diagnostic;
mod gateway;
mod headers;
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
mod validation;
mod folder;
mod yaml;

pub use self::{
    admin_tokens::{AdminTokens, read_admin_token},
    comparison::{PolicyComparison, SettingChange, SettingOwner, TableChange, compare},
    diagnostic::Diagnostic,
    explain_request::{ExplainRequest, ExplainSubject},
    fingerprint::{Fingerprint, PolicyVersion, policy_files, schema_documents},
    folder::locate_listener,
    lint::{LintLevel, LintWarning, lint},
    policy_tests::{
        ExpectedCall, ExpectedRejection, PolicyTest, TestExpectation, load_policy_tests,
        policy_tests_schema_text,
    },
    settings::{
        AdminEndpoint, AdminSettings, AdminTarget, ApiSetting, DialectSetting, DrainSettings,
        ExpiringToken, Listener, LostLogLines, NotificationPolicy, ServerBounds, ServerSettings,
        SocketFile, TelcoFinder,
    },
};
use self::{
    diagnostic::ErrorList,
    fingerprint::ContentHash,
    folder::{check_folder, hint_extension},
    source::{PolicyRoots, PolicySource, PolicySources},
    validation::{References, Validation},
};

// The shortest prefixes of devices that the shared store compares.
const SHARED_IPV4_PREFIX_MIN: u8 = 24;
const SHARED_IPV6_PREFIX_MIN: u8 = 48;

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
    /// How long usage records are stored; `None` if none are written.
    pub usage_kept_for: Option<Duration>,
    /// How session events are delivered to clients.
    pub notifications: NotificationPolicy,
    /// The APIs served; each path occurs once.
    pub apis: Vec<ApiSetting>,
    /// The Telco Finder API that this gateway serves.
    pub telco_finder: Option<TelcoFinder>,
    /// The export of traces.
    pub telemetry: Option<telemetry::Settings>,
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
    pub operators: Vec<operator::Settings>,
    /// The `QoS` profiles offered.
    pub profiles: Arc<Catalogue>,
}

/// A valid policy folder: the policy, and the content of the files that it was read from.
#[derive(Debug)]
pub struct LoadedPolicy {
    /// The policy.
    pub policy: Policy,
    folder: PathBuf,
    sources: PolicySources,
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

    fn read(self, folder: &Path, errors: &ErrorList) -> Option<PolicySource> {
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
    load_files(folder, tables).map(|loaded| loaded.policy)
}

/// Loads a policy folder with the content of its files, for [`lint()`] and [`load_policy_tests`].
///
/// # Errors
/// Returns all errors of all files, sorted by position.
pub fn load_with_sources(folder: &Path) -> Result<LoadedPolicy, Vec<Diagnostic>> {
    load_files(folder, &[])
}

fn load_files(folder: &Path, tables: &[Arc<Table>]) -> Result<LoadedPolicy, Vec<Diagnostic>> {
    check_folder(folder)?;
    // Several files are not changed atomically: a snapshot is consistent only if no file changed
    // while it was read.
    for _ in 0..READ_ATTEMPTS_MAX {
        let before = fingerprint::hash_of_files(folder);
        let loaded = read_folder(folder, before, tables);
        if fingerprint::hash_of_files(folder) == before {
            return loaded;
        }
    }
    let message = "policy files changed while they were being read".to_owned();
    Err(vec![Diagnostic::of_path(folder, message)])
}

fn read_folder(
    folder: &Path,
    hash: ContentHash,
    tables: &[Arc<Table>],
) -> Result<LoadedPolicy, Vec<Diagnostic>> {
    let errors = ErrorList::default();
    let sources = PolicySources {
        dialects: read_dialects(folder, &errors),
        gateway: PolicyFile::Gateway.read(folder, &errors),
        operators: PolicyFile::Operators.read(folder, &errors),
        routes: PolicyFile::Routes.read(folder, &errors),
        clients: PolicyFile::Clients.read(folder, &errors),
        profiles: PolicyFile::Profiles.read(folder, &errors),
    };
    let dialects = validate_dialects(folder, &sources, &errors);
    let references = References::new(folder, &dialects, &sources, tables, &errors);
    let policy = validate(hash, &sources, &references);
    match policy {
        Some(policy) if errors.len() == 0 => {
            Ok(LoadedPolicy { policy, folder: folder.to_owned(), sources })
        }
        _ => Err(errors.into_sorted()),
    }
}

/// Reads only the settings needed to inspect the gateway of a policy folder.
///
/// # Errors
/// Returns all errors of `gateway.yaml`.
pub fn load_admin_target(folder: &Path) -> Result<AdminTarget, Vec<Diagnostic>> {
    check_folder(folder)?;
    let errors = ErrorList::default();
    let sources = PolicySources {
        dialects: read_dialects(folder, &errors),
        gateway: PolicyFile::Gateway.read(folder, &errors),
        ..PolicySources::default()
    };
    let dialects = validate_dialects(folder, &sources, &errors);
    let references = References::new(folder, &dialects, &sources, &[], &errors);
    let gateway = references
        .validation(sources.gateway.as_ref())
        .and_then(|at| at.deserialize::<gateway::GatewayFile>().validate(at));
    match gateway {
        Some(gateway) if errors.len() == 0 => {
            Ok(AdminTarget { admin: gateway.server.admin, store: gateway.store })
        }
        _ => Err(errors.into_sorted()),
    }
}

fn read_dialects(folder: &Path, errors: &ErrorList) -> Option<PolicySource> {
    let path = folder.join(PolicyFile::Dialects.name());
    if path.exists() {
        return PolicyFile::Dialects.read(folder, errors);
    }
    // The file is optional, so a file with another extension would be ignored.
    if let Some(hint) = hint_extension(&path) {
        errors.push(Diagnostic::of_path(&path, hint));
    }
    None
}

fn validate_dialects(folder: &Path, sources: &PolicySources, errors: &ErrorList) -> Descriptors {
    let released = Descriptors::released();
    let references = References::new(folder, &released, sources, &[], errors);
    let dialects = references
        .validation(sources.dialects.as_ref())
        .map(|at| at.deserialize::<dialects::DialectsFile>().validate(at));
    dialects.unwrap_or(released)
}

fn validate(
    hash: ContentHash,
    sources: &PolicySources,
    references: &References<'_>,
) -> Option<Policy> {
    let gateway = references
        .validation(sources.gateway.as_ref())
        .and_then(|at| at.deserialize::<gateway::GatewayFile>().validate(at));
    let profiles = references
        .validation(sources.profiles.as_ref())
        .map(|at| at.deserialize::<profiles::ProfilesFile>().validate(at));
    let operators = references
        .validation(sources.operators.as_ref())
        .map(|at| at.deserialize::<operators::OperatorsFile>().validate(at));
    let routes = references.validation(sources.routes.as_ref()).map(|at| {
        let operators = operators.as_deref().unwrap_or_default();
        at.deserialize::<routes::RoutesFile>().validate(at, operators)
    });
    let clients = references
        .validation(sources.clients.as_ref())
        .and_then(|at| at.deserialize::<clients::ClientsFile>().validate(at));
    let roots = sources.roots()?;
    let (gateway, mut operators) = (gateway?, operators?);
    let (profiles, routes, clients) = (profiles?, routes?, clients?);
    for operator in &mut operators {
        operator.translation.qos_profiles = profiles.names_for_operator(&operator.id.0);
    }
    validate_peers(&operators, &routes.finders, &gateway, roots, references);
    let rates = operators.iter().filter_map(|operator| Some((operator.id.clone(), operator.rate?)));
    let catalogue = Arc::new(profiles.catalogue);
    Some(Policy {
        fingerprint: Fingerprint::new(
            hash,
            &gateway.schemas,
            roots,
            &operators,
            &routes.routes,
            routes.lines,
        ),
        server: gateway.server,
        store: gateway.store,
        usage_kept_for: gateway.usage_kept_for,
        notifications: gateway.notifications,
        apis: gateway.apis,
        telco_finder: gateway.telco_finder,
        telemetry: gateway.telemetry,
        dialects: references.dialects.clone(),
        strictness: gateway.strictness,
        schemas: gateway.schemas,
        access: clients.access(&catalogue),
        limits: limit::Settings {
            operators: rates.collect(),
            clients: clients.rates,
            device: clients.device,
            device_keys_max: clients.device_keys_max,
            scope: gateway.limits,
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
    operators: &[operator::Settings],
    finders: &[finder::Settings],
    gateway: &gateway::GatewaySettings,
    roots: PolicyRoots<'_>,
    references: &References<'_>,
) {
    let validate_timeout = |timeout: Duration, at: Validation<'_>| {
        if timeout >= gateway.server.bounds.exchange_deadline {
            at.key("timeout").report("`timeout` must be less than `exchange_deadline`");
        }
    };
    let all = Validation::new(roots.operators, references).key("operators");
    for operator in operators {
        let at = all.key(&operator.id.0);
        validate_operator(operator, gateway, at);
        validate_timeout(operator.timeout, at);
    }
    for (name, at) in roots.finders() {
        if let Some(finder) = finders.iter().find(|finder| *finder.id.0 == *name) {
            validate_timeout(finder.timeout, Validation::new(at, references));
        }
    }
}

/// Validates an operator entry against the other files.
fn validate_operator(
    operator: &operator::Settings,
    gateway: &gateway::GatewaySettings,
    at: Validation<'_>,
) {
    if operator.translation.qos_profiles.is_empty() {
        at.report("no active profile lists this operator");
    }
    if matches!(gateway.store, StoreConfig::Postgres(_)) {
        check_prefixes(operator, at.key("conflicts"));
    }
    let url = gateway.server.callbacks.as_ref().map(|callbacks| callbacks.url.as_str());
    if operator.callbacks
        && url.is_some_and(|url| !url.starts_with("https://"))
        && at
            .references
            .dialects
            .get(&operator.dialect)
            .is_some_and(|dialect| dialect.requires_https_sinks())
    {
        at.key("dialect").report(
            "this dialect requires an https callback URL; set an https URL in `callbacks` of \
             gateway.yaml, or set `callbacks: false` here",
        );
    }
}

/// The shared store finds the sessions of overlapping prefixes by the /24 or /48 that contains them.
fn check_prefixes(operator: &operator::Settings, at: Validation<'_>) {
    let rules = &operator.conflict_rules;
    for (key, length, min) in [
        ("ipv4_prefix_min", rules.device_prefix_v4_min, SHARED_IPV4_PREFIX_MIN),
        ("ipv6_prefix_min", rules.device_prefix_v6_min, SHARED_IPV6_PREFIX_MIN),
    ] {
        if length < min {
            at.key(key).report(format!("expected at least {min}, because of `store.postgres`"));
        }
    }
}

#[cfg(test)]
mod tests;
