//! All whose rules are asked for, and what they told: one reading of it all for each look.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::poll::{Held, Poll};
use crate::{outbound::Caller, route::Table};

/// Those who are asked.
#[derive(Debug, Default)]
pub(in crate::route) struct Polled {
    pub(in crate::route) polls: Vec<Arc<Poll>>,
    now: ArcSwap<Reading>,
}

/// What they told.
#[derive(Debug, Default)]
pub(in crate::route) struct Reading {
    /// In the order of the policies.
    pub(in crate::route) tables: Vec<Arc<Table>>,
    /// Has one of them told nothing yet?
    pub(in crate::route) incomplete: bool,
}

impl Polled {
    pub(in crate::route) fn new(polls: Vec<Arc<Poll>>) -> Self {
        let polled = Self { polls, now: ArcSwap::default() };
        polled.renew();
        polled
    }

    /// What is known now.
    pub(in crate::route) fn now(&self) -> arc_swap::Guard<Arc<Reading>> {
        self.now.load()
    }

    /// Asks whom it is time to ask, and puts what was told meanwhile into force. Tells whose rules are
    /// others than before, with all tables before those.
    pub(in crate::route) fn tend(&self, caller: &Caller) -> Vec<(Arc<Poll>, Arc<Table>)> {
        self.polls.iter().for_each(|poll| poll.tend(caller));
        self.renew()
    }

    fn renew(&self) -> Vec<(Arc<Poll>, Arc<Table>)> {
        let held: Vec<(Arc<Poll>, Option<Arc<Held>>)> =
            self.polls.iter().map(|poll| (Arc::clone(poll), poll.held())).collect();
        let told = held.iter().filter_map(|(poll, held)| Some((poll, &held.as_ref()?.table)));
        let before = self.now.load_full();
        let known = |table: &Arc<Table>| before.tables.iter().any(|old| Arc::ptr_eq(old, table));
        let new = told.clone().filter(|(_, table)| !known(table));
        let new: Vec<_> = new.map(|(poll, table)| (Arc::clone(poll), Arc::clone(table))).collect();
        let incomplete = held.iter().any(|(_, held)| held.is_none());
        if !new.is_empty() || incomplete != before.incomplete {
            let tables = told.map(|(_, table)| Arc::clone(table)).collect();
            self.now.store(Arc::new(Reading { tables, incomplete }));
        }
        new
    }
}
