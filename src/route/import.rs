//! Rules that operators tell of themselves, by GSMA's Telco Routing API: from a file, or asked for now
//! and then.
//!
//! They are routes like those of the policies, and of all the most specific is taken. For the very same
//! devices what people wrote goes before what is imported, and of two imports the first.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use super::{Routes, Table, TableFault};
use crate::{
    outbound::Caller,
    qod::{FinderId, OperatorId},
};

mod poll;
mod polled;
mod rules;

pub(super) use self::polled::Polled;
pub use self::{
    poll::{Poll, Settings},
    rules::{RuleFault, Told, read},
};

/// An answer that is larger is not read.
pub const BYTES_MAX: u64 = 16 << 20;

/// Whom an answer may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Our operators, by their `operatorId`.
    pub operators: HashMap<String, OperatorId>,
    /// The Telco Finders that we ask, by their URLs.
    pub finders: HashMap<String, FinderId>,
    /// The only one of them, if there is one: who speaks for itself alone.
    pub only: Option<OperatorId>,
}

impl Names {
    /// Our operator of an `operatorId`; or else what is wrong with that.
    fn find(&self, operator_id: &str) -> Result<&OperatorId, &'static str> {
        match (self.operators.get(operator_id), &self.only) {
            (None, _) => Err("no operator of operators.yaml is called so"),
            (Some(found), Some(only)) if found != only => {
                Err("rules from here may name one operator only, and this is another")
            }
            (Some(found), _) => Ok(found),
        }
    }

    /// The finder of a URL, also if that has its operation's path; or else what is wrong with that.
    fn finder(&self, url: &str) -> Result<&FinderId, &'static str> {
        let url = url.strip_suffix("/search").unwrap_or(url).trim_end_matches('/');
        match (self.finders.get(url), &self.only) {
            (None, _) => Err("no finder of this URL is in the policies"),
            // A finder may name anybody.
            (Some(_), Some(_)) => Err("rules from here may name one operator only, and no finder"),
            (Some(found), None) => Ok(found),
        }
    }
}

/// The rules of a file, as a table. It may take a second: no request may wait for it.
///
/// # Errors
/// What is wrong with the file; of many faults the first.
pub fn open(path: &Path, names: &Names) -> Result<(Arc<Table>, Told), Vec<TableFault>> {
    let mut told = Told::default();
    let table = Table::open_whole(path, BYTES_MAX, |bytes| {
        let (table, of_rules) = read(bytes, names)?;
        told = of_rules;
        Ok(table)
    });
    Ok((Arc::new(table?), told))
}

impl Routes {
    /// The same routes, and those that these tell when they are asked. For the very same devices
    /// all others go before.
    #[must_use]
    pub fn polling(self, polls: Vec<Arc<Poll>>) -> Self {
        Self { polled: Polled::new(polls), ..self }
    }

    /// Those that are asked.
    pub fn polls(&self) -> impl Iterator<Item = &Poll> {
        self.polled.polls.iter().map(|poll| &**poll)
    }

    /// The same routes. Of those who were asked before, and in the same way, what they told stays.
    #[must_use]
    pub fn following(self, before: Option<&Self>) -> Self {
        let known = before.map(|before| before.polled.polls.as_slice()).unwrap_or_default();
        let polls = self.polled.polls.iter().map(|poll| Arc::clone(poll).following(known));
        let polls = polls.collect();
        self.polling(polls)
    }

    /// Asks those whose time it is; to be called every second.
    pub fn tend(&self, caller: &Caller) {
        for (poll, table) in self.polled.tend(caller) {
            let now = self.polled.now();
            let others = now.tables.iter().take_while(|other| !Arc::ptr_eq(other, &table));
            let before = self.all().chain(others.map(|other| &**other));
            for same in before.filter_map(|other| other.clash(&table)) {
                let import = poll.url();
                tracing::warn!(import, "another route for {same} goes before that of the import");
            }
        }
    }
}

/// What a person is told of rules that were read.
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefixes, masked, twice, networks } = self;
        write!(f, "{prefixes} prefixes")?;
        let more = [
            (*masked, "with bits behind their length, which are left out"),
            (*twice, "that stand there for another operator before, which is taken"),
            (*networks, "mobile networks, which are taken from operators.yaml instead"),
        ];
        more.iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, "; {count} {what}"))
    }
}

#[cfg(test)]
mod tests;
