//! All polled imports and a snapshot of their rules, so that each lookup sees one consistent state.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::poll::{ImportPoller, ImportedRules};
use crate::{outbound::Caller, route::Table};

/// The polled imports.
#[derive(Debug, Default)]
pub(in crate::route) struct ImportPollers {
    pub(in crate::route) polls: Vec<Arc<ImportPoller>>,
    snapshot: ArcSwap<ImportSnapshot>,
}

/// A snapshot of the imported rules.
#[derive(Debug, Default)]
pub(in crate::route) struct ImportSnapshot {
    /// In the order of the policies.
    pub(in crate::route) tables: Vec<Arc<Table>>,
    /// Has an import not been loaded yet?
    pub(in crate::route) incomplete: bool,
}

impl ImportPollers {
    pub(in crate::route) fn new(polls: Vec<Arc<ImportPoller>>) -> Self {
        let polled = Self { polls, snapshot: ArcSwap::default() };
        polled.refresh();
        polled
    }

    /// The current snapshot.
    pub(in crate::route) fn snapshot(&self) -> arc_swap::Guard<Arc<ImportSnapshot>> {
        self.snapshot.load()
    }

    /// Starts the polls that are due, and puts new rules into force. Returns the imports whose
    /// rules changed, with their tables.
    pub(in crate::route) fn poll_due(
        &self,
        caller: &Caller,
    ) -> Vec<(Arc<ImportPoller>, Arc<Table>)> {
        self.polls.iter().for_each(|poll| poll.poll_if_due(caller));
        self.refresh()
    }

    fn refresh(&self) -> Vec<(Arc<ImportPoller>, Arc<Table>)> {
        let current: Vec<(Arc<ImportPoller>, Option<Arc<ImportedRules>>)> =
            self.polls.iter().map(|poll| (Arc::clone(poll), poll.current())).collect();
        let loaded =
            current.iter().filter_map(|(poll, current)| Some((poll, &current.as_ref()?.table)));
        let previous = self.snapshot.load_full();
        let known = |table: &Arc<Table>| previous.tables.iter().any(|old| Arc::ptr_eq(old, table));
        let new = loaded.clone().filter(|(_, table)| !known(table));
        let new: Vec<_> = new.map(|(poll, table)| (Arc::clone(poll), Arc::clone(table))).collect();
        let incomplete = current.iter().any(|(_, current)| current.is_none());
        if !new.is_empty() || incomplete != previous.incomplete {
            let tables = loaded.map(|(_, table)| Arc::clone(table)).collect();
            self.snapshot.store(Arc::new(ImportSnapshot { tables, incomplete }));
        }
        new
    }
}
