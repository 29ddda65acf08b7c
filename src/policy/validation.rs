//! The validation of policy files: a position, the names that the files define, and the list of errors.
//! Names come from the parsed trees, so an error in one entry does not invalidate the references to it.

use std::{
    collections::BTreeMap,
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    diagnostic::{Diagnostic, ErrorList, expected_one_of, quoted},
    scalars::{FilePath, Scalar, Section},
    source::{PolicySource, PolicySources, YamlCursor},
};
use crate::{dialect::Descriptors, reloadable::open_regular, route::Table};

// Limits the names that are compared for a suggestion.
const COMPARED_NAMES_MAX: usize = 200;

const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// The names defined in each file, and the folder that file paths are resolved against.
#[derive(Debug)]
pub(super) struct References<'a> {
    pub(super) folder: &'a Path,
    pub(super) dialects: &'a Descriptors,
    /// The tables of the previous snapshot.
    pub(super) tables: &'a [Arc<Table>],
    // `None` if the file could not be read: then every name is accepted.
    operators: Option<YamlCursor<'a>>,
    profiles: Option<YamlCursor<'a>>,
    clients: Option<YamlCursor<'a>>,
    errors: &'a ErrorList,
}

/// The validation of one value: its position, the names that it may refer to, and the list of errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validation<'a> {
    at: YamlCursor<'a>,
    pub(super) references: &'a References<'a>,
}

impl<'a> References<'a> {
    pub(super) fn new(
        folder: &'a Path,
        dialects: &'a Descriptors,
        sources: &'a PolicySources,
        tables: &'a [Arc<Table>],
        errors: &'a ErrorList,
    ) -> Self {
        let names = |source: &'a Option<PolicySource>, key| {
            source.as_ref().map(|source| source.root().key(key))
        };
        Self {
            folder,
            dialects,
            tables,
            operators: names(&sources.operators, "operators"),
            profiles: names(&sources.profiles, "profiles"),
            clients: names(&sources.clients, "clients"),
            errors,
        }
    }

    /// Starts the validation of a file, if it was read.
    pub(super) fn validation(&'a self, source: Option<&'a PolicySource>) -> Option<Validation<'a>> {
        Some(Validation::new(source?.root(), self))
    }

    /// Returns the number of operators.
    pub(super) fn operator_count(&self) -> usize {
        self.operators.map_or(0, |all| all.keys().count())
    }

    /// Describes the error of an unknown operator name in another file.
    pub(super) fn describe_unknown_operator(&self, name: &str) -> Option<String> {
        describe_unknown("operator", name, self.operators)
    }

    /// Returns whether the operator is simulated.
    pub(super) fn is_simulated(&self, operator: &str) -> bool {
        self.operators.is_none_or(|all| {
            // An unknown operator is reported separately.
            !all.has(operator) || all.key(operator).key("simulated").is_true()
        })
    }
}

impl<'a> Validation<'a> {
    pub(super) fn new(at: YamlCursor<'a>, references: &'a References<'a>) -> Self {
        Self { at, references }
    }

    /// Moves to the value of a key; if there is none, the position does not change.
    pub(super) fn key(self, key: &str) -> Self {
        Self { at: self.at.key(key), ..self }
    }

    /// Moves to a key itself instead of its value.
    pub(super) fn key_name(self, key: &str) -> Self {
        Self { at: self.at.key_name(key), ..self }
    }

    /// Moves to an item of this list.
    pub(super) fn item(self, index: usize) -> Self {
        Self { at: self.at.item(index), ..self }
    }

    /// Returns whether this mapping has the key.
    pub(super) fn has(self, key: &str) -> bool {
        self.at.has(key)
    }

    /// The keys of this mapping.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.at.keys()
    }

    /// Returns the line of this position.
    pub(super) fn line(self) -> u64 {
        self.at.line()
    }

    /// Returns the value as JSON, or `null` if it is missing.
    pub(super) fn to_json(self) -> Value {
        self.at.to_json()
    }

    /// Deserializes the file, as far as it has the right shape.
    pub(super) fn deserialize<T: DeserializeOwned + Default>(self) -> T {
        self.at.source().deserialize().unwrap_or_else(|message| {
            self.report_unexpected(message);
            T::default()
        })
    }

    /// Returns the value of a section, or `None` if it cannot be deserialized.
    pub(super) fn section<T>(self, section: Section<T>) -> Option<T> {
        section.into_result().map_err(|message| self.report_unexpected(message)).ok()
    }

    /// Moves to a section, if it is present and can be deserialized.
    pub(super) fn enter<T>(self, key: &str, section: Option<Section<T>>) -> Option<(Self, T)> {
        let at = self.key(key);
        Some((at, at.section(section?)?))
    }

    /// The sections of this list that can be deserialized, each with its position.
    pub(super) fn items<T>(self, items: Vec<Section<T>>) -> impl Iterator<Item = (Self, T)> {
        items.into_iter().enumerate().filter_map(move |(index, section)| {
            let at = self.item(index);
            Some((at, at.section(section)?))
        })
    }

    /// The sections of this mapping that can be deserialized, each with its position and its name. A
    /// name that is not valid is reported.
    pub(super) fn entries<T>(
        self,
        entries: BTreeMap<String, Section<T>>,
        is_valid: fn(&str) -> bool,
        describe: impl Fn(&str) -> String,
    ) -> impl Iterator<Item = (Self, String, T)> {
        entries.into_iter().filter_map(move |(name, section)| {
            if !is_valid(&name) {
                self.key_name(&name).report(describe(&quoted(&name)));
            }
            let at = self.key(&name);
            Some((at, name, at.section(section)?))
        })
    }

    /// Reports an error at this position.
    pub(super) fn report(self, message: impl Into<String>) {
        self.references.errors.push(self.at.error(message));
    }

    /// Reports an error at another position, such as a line of a table.
    pub(super) fn report_elsewhere(self, error: Diagnostic) {
        self.references.errors.push(error);
    }

    /// Returns the value, or reports the error at this position.
    pub(super) fn ok<T>(self, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|error| self.report(error.to_string())).ok()
    }

    /// Returns the number of errors that have been reported so far.
    pub(super) fn error_count(self) -> usize {
        self.references.errors.len()
    }

    // The shape is valid, but deserialization failed: no other error has been reported for it.
    fn report_unexpected(self, message: String) {
        if self.at.source().has_valid_shape() {
            self.report(message);
        }
    }

    /// Reports keys that are present, but not allowed.
    pub(super) fn reject_keys<'k>(self, keys: impl IntoIterator<Item = &'k str>, message: &str) {
        for key in keys.into_iter().filter(|key| self.has(key)) {
            self.key_name(key).report(message);
        }
    }

    /// Validates an interval. It cannot be shorter than the interval of the maintenance task.
    pub(super) fn check_interval(self, interval: Duration) {
        if interval < MAINTENANCE_INTERVAL {
            self.report("expected at least `1s`");
        }
    }

    pub(super) fn check_dialect(self, name: &str) {
        let known = self.references.dialects.names();
        if !known.contains(&name) {
            self.report(unknown_name("dialect", name, &known));
        }
    }

    pub(super) fn check_operator(self, name: &str) {
        self.check_name("operator", name, self.references.operators);
    }

    pub(super) fn check_profile(self, name: &str) {
        self.check_name("profile", name, self.references.profiles);
    }

    pub(super) fn check_client(self, name: &str) {
        self.check_name("client", name, self.references.clients);
    }

    fn check_name(self, kind: &str, name: &str, known: Option<YamlCursor<'_>>) {
        if let Some(message) = describe_unknown(kind, name, known) {
            self.report(message);
        }
    }

    /// Resolves a path against the policy folder.
    pub(super) fn path(self, path: &FilePath) -> PathBuf {
        self.references.folder.join(&path.0)
    }

    /// Resolves a path that has a default against the policy folder.
    pub(super) fn path_or(self, path: Option<&Scalar<FilePath>>, default: &str) -> PathBuf {
        self.references.folder.join(path.map_or(default, |path| &path.0.0))
    }

    /// Returns the path of a file, if it is a regular file that can be opened.
    pub(super) fn check_file(self, path: &FilePath) -> Option<PathBuf> {
        let path = self.path(path);
        let opened = open_regular(&path)
            .map_err(|error| format!("failed to read `{}`: {error}", path.display()));
        self.ok(opened).map(|_| path)
    }
}

fn describe_unknown(kind: &str, name: &str, known: Option<YamlCursor<'_>>) -> Option<String> {
    let known = known.filter(|known| !known.has(name))?;
    let names: Vec<&str> = known.keys().take(COMPARED_NAMES_MAX).collect();
    Some(unknown_name(kind, name, &names))
}

fn unknown_name(kind: &str, name: &str, known: &[&str]) -> String {
    format!("unknown {kind} {}; {}", quoted(name), expected_one_of(Some(name), known))
}
