//! What differs between two policy folders, for a person who reviews a change.
//!
//! The files are compared as trees along their JSON Schemas, so that every key is compared, also a new one.
//! Notation makes no difference: formatting, comments, the order of entries, units, and the split of a
//! client's terms into `defaults` and own terms. Routes are compared by the devices that move.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    LoadedPolicy, PolicyFile,
    fingerprint::{STARTUP_SECTIONS, schema_documents},
    source::{PolicyRoots, YamlCursor},
};
use crate::{
    reloadable::read_regular,
    route::{MovedDevices, TableSize},
};

mod trees;

use self::trees::{TreeChange, compare_trees};

/// What differs between two policy folders.
#[derive(Debug, Default)]
pub struct PolicyComparison {
    /// The settings that differ.
    pub settings: Vec<SettingChange>,
    /// The devices that have another operator or finder.
    pub moved: Vec<MovedDevices>,
    /// The table files and imported files that differ.
    pub tables: Vec<TableChange>,
    /// The names of the OpenAPI documents that differ.
    pub documents: Vec<String>,
}

/// What a setting belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOwner {
    /// An entry of a file: a client, operator, profile or dialect.
    Entry(PolicyFile, String),
    /// A whole file.
    File(PolicyFile),
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// What the setting belongs to.
    pub owner: SettingOwner,
    /// The path of the key, such as `tls.key_file`; empty if the whole entry is new or was removed.
    pub key: String,
    /// The value before; `None` if it was not set. Secret values are hidden.
    pub old: Option<Value>,
    /// The value after; `None` if it is not set. Secret values are hidden.
    pub new: Option<Value>,
    /// Whether a running gateway cannot apply it.
    pub needs_restart: bool,
}

/// A table file or imported file that differs, or that only one of the folders has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChange {
    /// The name of the file.
    pub file: String,
    /// The number of its routes before.
    pub old: Option<usize>,
    /// The number of its routes after.
    pub new: Option<usize>,
}

impl PolicyFile {
    /// The key of a file whose entries are compared one by one, and what an entry is called.
    const fn entries(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Clients => Some(("clients", "client")),
            Self::Operators => Some(("operators", "operator")),
            Self::Profiles => Some(("profiles", "profile")),
            Self::Dialects => Some(("dialects", "dialect")),
            Self::Gateway | Self::Routes => None,
        }
    }
}

impl SettingOwner {
    /// What it is called, such as `client` or `file`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Entry(file, _) => match file.entries() {
                Some((_, kind)) => kind,
                None => "entry",
            },
            Self::File(_) => "file",
        }
    }

    /// The file.
    pub const fn file(&self) -> PolicyFile {
        match self {
            Self::Entry(file, _) | Self::File(file) => *file,
        }
    }

    /// The name of the entry or file.
    pub fn name(&self) -> &str {
        match self {
            Self::Entry(_, name) => name,
            Self::File(file) => file.name(),
        }
    }
}

/// Compares two policy folders.
pub fn compare(old: &LoadedPolicy, new: &LoadedPolicy) -> PolicyComparison {
    let mut comparison = PolicyComparison::default();
    if let (Some(old), Some(new)) = (old.sources.roots(), new.sources.roots()) {
        // Clients first: a reviewer asks what changes for whom.
        for file in REVIEW_ORDER {
            let [old, new] = [old, new].map(|roots| document(file, roots));
            comparison.settings.extend(compare_documents(file, &old, &new));
        }
    }
    comparison.moved = old.policy.routes.moved_devices(&new.policy.routes);
    comparison.tables = compare_tables(
        &old.policy.routes.table_sizes().collect::<Vec<_>>(),
        &new.policy.routes.table_sizes().collect::<Vec<_>>(),
    );
    comparison.documents = compare_openapi(&old.policy.schemas, &new.policy.schemas);
    comparison
}

const REVIEW_ORDER: [PolicyFile; 6] = [
    PolicyFile::Clients,
    PolicyFile::Operators,
    PolicyFile::Profiles,
    PolicyFile::Routes,
    PolicyFile::Dialects,
    PolicyFile::Gateway,
];

// Compared by their meaning instead: see `moved_devices` and `table_sizes`.
const ROUTE_KEYS: [&str; 2] = ["routes", "tables"];

fn document(file: PolicyFile, roots: PolicyRoots<'_>) -> Value {
    match file {
        PolicyFile::Gateway => roots.gateway.to_json(),
        PolicyFile::Operators => roots.operators.to_json(),
        PolicyFile::Routes => roots.routes.to_json(),
        PolicyFile::Clients => roots.clients.to_json(),
        PolicyFile::Profiles => roots.profiles.to_json(),
        PolicyFile::Dialects => {
            roots.dialects.map_or_else(|| Value::Object(Map::new()), YamlCursor::to_json)
        }
    }
}

fn compare_documents(file: PolicyFile, old: &Value, new: &Value) -> Vec<SettingChange> {
    let schema = file.json_schema();
    let [mut old, mut new] = [old, new].map(|value| value.as_object().cloned().unwrap_or_default());
    if file == PolicyFile::Routes {
        for document in [&mut old, &mut new] {
            document.retain(|key, _| !ROUTE_KEYS.contains(&key.as_str()));
        }
    }
    if file == PolicyFile::Clients {
        [&mut old, &mut new].into_iter().for_each(apply_defaults);
    }
    let mut changes = Vec::new();
    if let Some((key, _)) = file.entries() {
        let [old, new] = [&mut old, &mut new].map(|document| document.remove(key));
        let schema = schema.pointer(&format!("/properties/{key}/additionalProperties"));
        compare_entries(file, schema.unwrap_or(&Value::Null), old, new, &mut changes);
    }
    let shared = compare_trees(&schema, &Value::Object(old), &Value::Object(new));
    changes.extend(shared.into_iter().map(|TreeChange { key, old, new }| {
        let section = key.split(['.', '[']).next().unwrap_or_default();
        let needs_restart = file == PolicyFile::Gateway && STARTUP_SECTIONS.contains(&section);
        SettingChange { owner: SettingOwner::File(file), key, old, new, needs_restart }
    }));
    changes
}

/// Compares the entries of a file by name.
fn compare_entries(
    file: PolicyFile,
    schema: &Value,
    old: Option<Value>,
    new: Option<Value>,
    changes: &mut Vec<SettingChange>,
) {
    let entries = |value: Option<Value>| match value {
        Some(Value::Object(entries)) => entries,
        _ => Map::new(),
    };
    let (old, new) = (entries(old), entries(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let owner = SettingOwner::Entry(file, name.clone());
        let tree_changes = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => compare_trees(schema, old, new),
            (old, new) => {
                let [old, new] = [old, new]
                    .map(|value| value.map(|value| trees::without_secrets(schema, value)));
                vec![TreeChange { key: String::new(), old, new }]
            }
        };
        changes.extend(tree_changes.into_iter().map(|TreeChange { key, old, new }| {
            SettingChange { owner: owner.clone(), key, old, new, needs_restart: false }
        }));
    }
}

/// Adds the default terms to each client. A client with a rate of its own does not have the default burst.
fn apply_defaults(document: &mut Map<String, Value>) {
    let Some(Value::Object(defaults)) = document.get("defaults").cloned() else { return };
    let Some(Value::Object(clients)) = document.get_mut("clients") else { return };
    for terms in clients.values_mut().filter_map(Value::as_object_mut) {
        let has_rate = terms.contains_key("rate");
        for (key, value) in &defaults {
            if !(has_rate && key == "burst") {
                terms.entry(key).or_insert_with(|| value.clone());
            }
        }
    }
}

fn compare_tables(old: &[TableSize], new: &[TableSize]) -> Vec<TableChange> {
    let is_in = |all: &[TableSize], table: &TableSize| all.contains(table);
    let find = |all: &[TableSize], file: &str| {
        all.iter().find(|table| table.file == file).map(|table| table.entries)
    };
    let changed = old.iter().filter(|table| !is_in(new, table));
    let changed = changed.chain(new.iter().filter(|table| !is_in(old, table)));
    let mut files: Vec<&str> = changed.map(|table| table.file.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    let change = |file: &str| TableChange {
        file: file.to_owned(),
        old: find(old, file),
        new: find(new, file),
    };
    files.into_iter().map(change).collect()
}

/// Returns the names of the documents of two folders that differ.
fn compare_openapi(old: &Path, new: &Path) -> Vec<String> {
    const DOCUMENT_BYTES_MAX: u64 = 16 << 20;
    let read = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let documents = schema_documents(folder).map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // A document that cannot be read has been reported by the validation.
            (name, read_regular(&path, DOCUMENT_BYTES_MAX).unwrap_or_default())
        });
        documents.collect()
    };
    let (old, new) = (read(old), read(new));
    let removed = old.iter().filter(|document| !new.contains(document));
    let added = new.iter().filter(|document| !old.contains(document));
    let mut names: Vec<String> = removed.chain(added).map(|(name, _)| name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
