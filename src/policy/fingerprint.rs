//! The fingerprint of a policy snapshot. It decides which objects of the previous snapshot can be
//! reused, and whether a change requires a restart.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    PolicyFile,
    diagnostic::Diagnostic,
    source::{FILE_BYTES_MAX, PolicyRoots, YamlCursor},
};
use crate::{
    operator,
    qod::{Device, FinderId, OperatorId},
    reloadable::open_regular,
    route::{Match, Routes},
};

/// The sections of `gateway.yaml` that are applied only at startup.
pub(super) const STARTUP_SECTIONS: [&str; 9] = [
    "listeners",
    "admin",
    "trusted_proxies",
    "callbacks",
    "notifications",
    "store",
    "bounds",
    "drain",
    "log",
];
/// The sections of `gateway.yaml` that may differ between replicas although they can change at runtime.
const REPLICA_SECTIONS: [&str; 1] = ["telemetry"];
/// The keys of `clients.yaml` that do not affect authentication.
const NON_IDENTITY_KEYS: [&str; 4] = ["scope", "device_limit", "defaults", "clients"];
/// The keys of a client entry that affect authentication.
const CLIENT_IDENTITY_KEYS: [&str; 2] = ["proof_key_file", "proof_on_all_paths"];

/// The version of a policy snapshot, derived from its content: the first 16 hexadecimal digits of the
/// SHA-256 over all files, documents and tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion(Arc<str>);

/// The fingerprint of one snapshot.
pub struct Fingerprint {
    /// The version of the snapshot.
    pub version: PolicyVersion,
    /// The version of what all replicas must have in common: without the sections of `gateway.yaml` that are
    /// applied at startup, such as addresses.
    pub shared_version: PolicyVersion,
    dialects: ContentHash,
    identity: Value,
    operators: BTreeMap<OperatorId, Value>,
    finders: BTreeMap<FinderId, Value>,
    // The lines of named entries.
    lines: HashMap<(PolicyFile, String), u64>,
    routes: Vec<(Match, u64)>,
    startup: Vec<StartupSection>,
}

struct StartupSection {
    key: &'static str,
    content: Value,
    // Reported if a later snapshot has another content.
    error: Diagnostic,
}

pub(super) type ContentHash = [u8; 32];

impl PolicyVersion {
    fn from_hashes(parts: &[ContentHash]) -> Self {
        let hash = Sha256::digest(parts.concat());
        let head = hash.iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
        Self(format!("{head:016x}").into())
    }

    /// Returns the hexadecimal digits.
    pub const fn digits(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for PolicyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fingerprint {
    /// Creates the fingerprint. `files` is the result of [`hash_of_files`].
    pub(super) fn new(
        files: ContentHash,
        schemas: &Path,
        roots: PolicyRoots<'_>,
        operators: &[operator::Settings],
        routes: &Routes,
        route_lines: Vec<(Match, u64)>,
    ) -> Self {
        let PolicyRoots { gateway, clients, .. } = roots;
        let documents = hash_of(schema_documents(schemas));
        let restart_error = |at: YamlCursor<'_>, key| {
            at.key_name(key).error(format!(
                "`{key}` cannot change at runtime; restart the gateway or revert the change"
            ))
        };
        let startup = STARTUP_SECTIONS.map(|key| StartupSection {
            key,
            content: gateway.key(key).to_json(),
            error: restart_error(gateway, key),
        });
        let tables = hash_of_tables(routes);
        Self {
            version: PolicyVersion::from_hashes(&[files, documents, tables]),
            shared_version: PolicyVersion::from_hashes(&[shared_content(roots), documents, tables]),
            dialects: documents,
            identity: identity_content(clients),
            operators: operators
                .iter()
                .map(|operator| (operator.id.clone(), operator_content(roots, operator)))
                .collect(),
            finders: roots
                .finders()
                .map(|(name, at)| (FinderId::from(name.as_str()), at.to_json()))
                .collect(),
            lines: lines(roots),
            routes: route_lines,
            startup: startup.into(),
        }
    }

    /// Returns an error for each change in a later snapshot that requires a restart.
    pub fn restart_errors(&self, later: &Self) -> Vec<Diagnostic> {
        let changed = later.startup.iter().filter(|section| {
            let same =
                |own: &StartupSection| own.key == section.key && own.content == section.content;
            !self.startup.iter().any(same)
        });
        changed.map(|section| section.error.clone()).collect()
    }

    /// Returns the location of a client, operator, profile or finder, such as `clients.yaml:12`.
    pub fn location_of(&self, file: PolicyFile, name: &str) -> Option<String> {
        let line = self.lines.get(&(file, name.to_owned()))?;
        Some(format!("{}:{line}", file.name()))
    }

    /// Returns the routes that match this device, each with its location, the most specific of each kind
    /// first.
    pub fn matching_routes<'s>(&'s self, device: &Device) -> Vec<(&'s Match, String)> {
        let matching = self.routes.iter().filter(|(matching, _)| matching.matches(device));
        let mut routes: Vec<_> = matching.collect();
        routes.sort_by_key(|(matching, _)| Reverse(matching.specificity()));
        let location = |line: &u64| format!("{}:{line}", PolicyFile::Routes.name());
        routes.into_iter().map(|(matching, line)| (matching, location(line))).collect()
    }

    /// Returns the configured operators.
    #[cfg(test)]
    pub fn operators(&self) -> impl Iterator<Item = &OperatorId> {
        self.operators.keys()
    }

    /// Returns whether the dialects are unchanged.
    pub fn same_dialects(&self, other: &Self) -> bool {
        self.dialects == other.dialects
    }

    /// Returns whether the authentication settings are unchanged.
    pub fn same_identity(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Returns whether the settings of an operator are unchanged.
    pub fn same_operator(&self, other: &Self, id: &OperatorId) -> bool {
        let (own, others) = (self.operators.get(id), other.operators.get(id));
        own.is_some() && own == others && self.same_dialects(other)
    }

    /// Returns whether the settings of a finder are unchanged.
    pub fn same_finder(&self, other: &Self, id: &FinderId) -> bool {
        let (own, others) = (self.finders.get(id), other.finders.get(id));
        own.is_some() && own == others
    }
}

/// Returns the paths of the policy files of a folder, whether or not they exist.
pub fn policy_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    PolicyFile::ALL.iter().map(|file| folder.join(file.name()))
}

/// Returns all documents of a schemas folder, whether or not a dialect uses them.
pub fn schema_documents(schemas: &Path) -> impl Iterator<Item = PathBuf> {
    yaml_files(schemas)
}

/// Returns the YAML files of a folder (`.yaml` or `.yml`), sorted by name. Empty if the folder does not
/// exist.
pub(super) fn yaml_files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let is_yaml = |extension: &OsStr| {
        ["yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    paths.retain(|path| path.extension().is_some_and(is_yaml));
    paths.sort();
    paths.into_iter()
}

/// The output omits the content, because it contains fixed tokens.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Hashes the policy files of a folder.
pub(super) fn hash_of_files(folder: &Path) -> ContentHash {
    hash_of(policy_files(folder))
}

/// Hashes the policies without the sections that may differ between replicas.
fn shared_content(roots: PolicyRoots<'_>) -> ContentHash {
    let mut gateway = roots.gateway.to_json();
    if let Value::Object(sections) = &mut gateway {
        sections.retain(|key, _| {
            !STARTUP_SECTIONS.contains(&key.as_str()) && !REPLICA_SECTIONS.contains(&key.as_str())
        });
    }
    let others = [roots.operators, roots.routes, roots.clients, roots.profiles];
    let others = others.into_iter().chain(roots.dialects).map(YamlCursor::to_json);
    let content: Value = std::iter::once(gateway).chain(others).collect();
    Sha256::digest(content.to_string()).into()
}

/// Hashes the content of the route tables.
fn hash_of_tables(routes: &Routes) -> ContentHash {
    let mut total = Sha256::new();
    for table in routes.files() {
        total.update(table.content());
    }
    total.finalize().into()
}

fn hash_of(paths: impl Iterator<Item = PathBuf>) -> ContentHash {
    let mut total = Sha256::new();
    for path in paths {
        let mut file_hash = Sha256::new();
        // Unreadable files are reported when they are parsed.
        let copied = open_regular(&path)
            .and_then(|file| io::copy(&mut file.take(FILE_BYTES_MAX), &mut file_hash));
        // Only the file name is hashed: the version does not depend on the location of the folder.
        total.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        total.update([u8::from(copied.is_ok())]);
        total.update(file_hash.finalize());
    }
    total.finalize().into()
}

fn identity_content(clients: YamlCursor<'_>) -> Value {
    let shared = clients.keys().filter(|key| !NON_IDENTITY_KEYS.contains(key));
    let shared = shared.map(|key| (key.to_owned(), clients.key(key).to_json()));
    let all = clients.key("clients");
    let per_client = all.keys().map(|client| {
        let values = CLIENT_IDENTITY_KEYS.map(|key| all.key(client).key(key).to_json());
        (client.to_owned(), Value::from_iter(values))
    });
    Value::Array(vec![shared.collect(), per_client.collect()])
}

fn lines(roots: PolicyRoots<'_>) -> HashMap<(PolicyFile, String), u64> {
    let named = [
        (PolicyFile::Clients, roots.clients.key("clients")),
        (PolicyFile::Operators, roots.operators.key("operators")),
        (PolicyFile::Profiles, roots.profiles.key("profiles")),
    ];
    let lines = named.into_iter().flat_map(|(file, at)| {
        at.keys().map(move |name| ((file, name.to_owned()), at.key_name(name).line()))
    });
    let finders = roots.finders().map(|(name, at)| ((PolicyFile::Routes, name), at.line()));
    lines.chain(finders).collect()
}

// The entry of an operator, and its profile names.
fn operator_content(roots: PolicyRoots<'_>, operator: &operator::Settings) -> Value {
    let names = operator.translation.qos_profiles.iter();
    let names: Value =
        names.map(|(name, operator_profile)| (name.clone(), operator_profile.as_str())).collect();
    Value::Array(vec![roots.operators.key("operators").key(&operator.id.0).to_json(), names])
}
