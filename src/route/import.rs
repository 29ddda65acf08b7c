//! Imports routing rules that operators publish by GSMA's Telco Routing API, from a file or by
//! polling.
//!
//! Imported rules are routes like those of the policies, and of all routes the most specific
//! applies. For the same devices, routes of the policies take precedence over imports, and the
//! first import over later ones.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use super::{Routes, Table, TableError};
use crate::{
    outbound::Caller,
    qod::{FinderId, OperatorId},
};

mod poll;
mod snapshot;
mod rules;

pub(super) use self::snapshot::{ImportPollers, ImportSnapshot};
pub use self::{
    poll::{ImportPoller, Settings},
    rules::{ImportReport, parse_rules},
};

/// The maximum size of an import, in bytes.
pub const BYTES_MAX: u64 = 16 << 20;

/// The operators and finders that an import may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportNames {
    /// The operators by their `operatorId`.
    pub operators: HashMap<String, OperatorId>,
    /// The configured Telco Finders by their URLs.
    pub finders: HashMap<String, FinderId>,
    /// If set, the import may name only this operator and no finder.
    pub only_operator: Option<OperatorId>,
}

impl ImportNames {
    /// The operator of an `operatorId`, or the error message.
    fn find(&self, operator_id: &str) -> Result<&OperatorId, &'static str> {
        match (self.operators.get(operator_id), &self.only_operator) {
            (None, _) => Err("no operator in operators.yaml has this `operatorId`"),
            (Some(found), Some(only)) if found != only => {
                Err("this import may name one operator only, and this is another one")
            }
            (Some(found), _) => Ok(found),
        }
    }

    /// The finder of a URL, or the error message. The URL may end in the path of its operation.
    fn finder(&self, url: &str) -> Result<&FinderId, &'static str> {
        let url = url.strip_suffix("/search").unwrap_or(url).trim_end_matches('/');
        match (self.finders.get(url), &self.only_operator) {
            (None, _) => Err("no finder in the policies has this URL"),
            // A finder may name any operator.
            (Some(_), Some(_)) => Err("this import may name one operator only, and no finder"),
            (Some(found), None) => Ok(found),
        }
    }
}

/// Loads the rules of a file as a table. It may take a second, so it must not run in the request
/// path.
///
/// # Errors
/// The errors in the file; if there are many, only the first ones.
pub fn open(
    path: &Path,
    names: &ImportNames,
) -> Result<(Arc<Table>, ImportReport), Vec<TableError>> {
    let mut report = ImportReport::default();
    let table = Table::open_with(path, BYTES_MAX, |bytes| {
        let (table, rules_report) = parse_rules(bytes, names)?;
        report = rules_report;
        Ok(table)
    });
    Ok((Arc::new(table?), report))
}

impl Routes {
    /// Adds polled imports. For the same devices, all other routes take precedence.
    #[must_use]
    pub fn with_polls(self, polls: Vec<Arc<ImportPoller>>) -> Self {
        Self { pollers: ImportPollers::new(polls), ..self }
    }

    /// The polled imports.
    pub fn polls(&self) -> impl Iterator<Item = &ImportPoller> {
        self.pollers.polls.iter().map(|poll| &**poll)
    }

    /// Takes over the rules of unchanged imports from the previous routes, so that they stay in
    /// force after a reload.
    #[must_use]
    pub fn with_previous(self, previous: Option<&Self>) -> Self {
        let previous = previous.map(|routes| routes.pollers.polls.as_slice()).unwrap_or_default();
        let polls = self.pollers.polls.iter().map(|poll| Arc::clone(poll).reuse(previous));
        let polls = polls.collect();
        self.with_polls(polls)
    }

    /// Polls the imports that are due. The caller calls this every second.
    pub fn poll_due(&self, caller: &Caller) {
        for (poll, table) in self.pollers.poll_due(caller) {
            let now = self.pollers.snapshot();
            let others = now.tables.iter().take_while(|other| !Arc::ptr_eq(other, &table));
            let existing = self.all().chain(others.map(|other| &**other));
            for conflict in existing.filter_map(|other| other.find_conflict(&table)) {
                let import = poll.url();
                tracing::warn!(
                    event = "import_route_shadowed",
                    import,
                    route = %conflict,
                    "an existing route takes precedence over the import"
                );
            }
        }
    }
}

/// A summary for logs and diagnostics.
impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefixes, masked, duplicates: twice, networks } = self;
        write!(f, "{prefixes} prefixes")?;
        let more = [
            (*masked, "with host bits set, which are ignored"),
            (*twice, "already assigned to another operator, which takes precedence"),
            (*networks, "mobile networks, which are ignored in favour of operators.yaml"),
        ];
        more.iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, "; {count} {what}"))
    }
}

#[cfg(test)]
mod tests;
