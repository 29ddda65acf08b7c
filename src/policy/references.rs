//! Resolves references between policy files. Names come from the parsed trees, so an error in one
//! entry does not invalidate the references to it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    diagnostic::{Diagnostic, expected_one_of, quoted},
    scalars::FilePath,
    source::{PolicySource, YamlCursor},
};
use crate::{dialect::Descriptors, reloadable::open_regular, route::Table};

// Limits the names that are compared for a suggestion.
const COMPARED_NAMES_MAX: usize = 200;

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
}

impl<'a> References<'a> {
    pub(super) fn new(
        folder: &'a Path,
        dialects: &'a Descriptors,
        operators: Option<&'a PolicySource>,
        profiles: Option<&'a PolicySource>,
        clients: Option<&'a PolicySource>,
    ) -> Self {
        let names =
            |source: Option<&'a PolicySource>, key| source.map(|source| source.root().key(key));
        Self {
            folder,
            dialects,
            tables: &[],
            operators: names(operators, "operators"),
            profiles: names(profiles, "profiles"),
            clients: names(clients, "clients"),
        }
    }

    pub(super) fn check_dialect(
        &self,
        name: &str,
        at: YamlCursor<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        let known = self.dialects.names();
        if !known.contains(&name) {
            errors.push(at.error(unknown_name("dialect", name, &known)));
        }
    }

    pub(super) fn check_operator(
        &self,
        name: &str,
        at: YamlCursor<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        errors.extend(
            describe_unknown("operator", name, self.operators).map(|message| at.error(message)),
        );
    }

    pub(super) fn check_profile(
        &self,
        name: &str,
        at: YamlCursor<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        errors.extend(
            describe_unknown("profile", name, self.profiles).map(|message| at.error(message)),
        );
    }

    pub(super) fn check_client(
        &self,
        name: &str,
        at: YamlCursor<'_>,
        errors: &mut Vec<Diagnostic>,
    ) {
        errors.extend(
            describe_unknown("client", name, self.clients).map(|message| at.error(message)),
        );
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

    /// Returns the path of a file, if it is a regular file that can be opened.
    pub(super) fn check_file(
        &self,
        path: &FilePath,
        at: YamlCursor<'_>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<PathBuf> {
        let path = self.folder.join(&path.0);
        let opened = open_regular(&path).map_err(|error| {
            errors.push(at.error(format!("failed to read `{}`: {error}", path.display())));
        });
        opened.is_ok().then_some(path)
    }
}

fn describe_unknown(what: &str, name: &str, known: Option<YamlCursor<'_>>) -> Option<String> {
    let known = known.filter(|known| !known.has(name))?;
    let names: Vec<&str> = known.keys().take(COMPARED_NAMES_MAX).collect();
    Some(unknown_name(what, name, &names))
}

fn unknown_name(what: &str, name: &str, known: &[&str]) -> String {
    format!("unknown {what} {}; {}", quoted(name), expected_one_of(Some(name), known))
}
