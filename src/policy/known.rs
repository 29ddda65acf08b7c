//! What one file may name of another, read from the trees as they stand: a fault in one entry does
//! not make all that name it faulty too.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    fault::{Fault, expected_one_of, shown},
    source::{Source, Spot},
    words::FilePath,
};
use crate::{dialect::Descriptors, route::Table};

// So many are looked through for one that was meant.
const NAMES_MAX: usize = 200;

/// The names, and the folder that files are looked for in.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) folder: &'a Path,
    pub(super) dialects: &'a Descriptors,
    /// Tables of the routes before.
    pub(super) tables: &'a [Arc<Table>],
    // Nothing, if the file could not be read: then every name is good.
    operators: Option<Spot<'a>>,
    profiles: Option<Spot<'a>>,
    clients: Option<Spot<'a>>,
}

impl<'a> Known<'a> {
    pub(super) fn new(
        folder: &'a Path,
        dialects: &'a Descriptors,
        operators: Option<&'a Source>,
        profiles: Option<&'a Source>,
        clients: Option<&'a Source>,
    ) -> Self {
        let names = |source: Option<&'a Source>, key| source.map(|source| source.root().key(key));
        Self {
            folder,
            dialects,
            tables: &[],
            operators: names(operators, "operators"),
            profiles: names(profiles, "profiles"),
            clients: names(clients, "clients"),
        }
    }

    pub(super) fn dialect(&self, name: &str, at: Spot<'_>, faults: &mut Vec<Fault>) {
        let known = self.dialects.names();
        if !known.contains(&name) {
            faults.push(at.fault(unknown("dialect", name, &known)));
        }
    }

    pub(super) fn operator(&self, name: &str, at: Spot<'_>, faults: &mut Vec<Fault>) {
        faults.extend(fault_of("operator", name, self.operators).map(|message| at.fault(message)));
    }

    pub(super) fn profile(&self, name: &str, at: Spot<'_>, faults: &mut Vec<Fault>) {
        faults.extend(fault_of("profile", name, self.profiles).map(|message| at.fault(message)));
    }

    pub(super) fn client(&self, name: &str, at: Spot<'_>, faults: &mut Vec<Fault>) {
        faults.extend(fault_of("client", name, self.clients).map(|message| at.fault(message)));
    }

    /// How many operators there are.
    pub(super) fn operator_count(&self) -> usize {
        self.operators.map_or(0, |all| all.keys().count())
    }

    /// What is wrong with an operator's name that stands in another file.
    pub(super) fn operator_fault(&self, name: &str) -> Option<String> {
        fault_of("operator", name, self.operators)
    }

    /// Is the operator known to be one of ours, for trying things out?
    pub(super) fn is_simulated(&self, operator: &str) -> bool {
        self.operators.is_none_or(|all| {
            // One that is not there is a fault of its own.
            !all.has(operator) || all.key(operator).key("simulated").is_true()
        })
    }

    /// A file's path, if there is one and it can be opened.
    pub(super) fn file(
        &self,
        path: &FilePath,
        at: Spot<'_>,
        faults: &mut Vec<Fault>,
    ) -> Option<PathBuf> {
        let path = self.folder.join(&path.0);
        // What is no file is not opened: a pipe would be waited for.
        let opened = std::fs::metadata(&path).and_then(|metadata| {
            if metadata.is_file() { std::fs::File::open(&path).map(Some) } else { Ok(None) }
        });
        let message = match opened {
            Ok(Some(_)) => return Some(path),
            Ok(None) => format!("`{}` is not a file", path.display()),
            Err(error) => format!("`{}` cannot be read: {error}", path.display()),
        };
        faults.push(at.fault(message));
        None
    }
}

fn fault_of(what: &str, name: &str, known: Option<Spot<'_>>) -> Option<String> {
    let known = known.filter(|known| !known.has(name))?;
    let names: Vec<&str> = known.keys().take(NAMES_MAX).collect();
    Some(unknown(what, name, &names))
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("no {what} is called {}: {}", shown(name), expected_one_of(Some(name), known))
}
