//! The store that forgets all when the process ends: an index and the records behind one lock.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Error, Party, Record, State,
    claim::DeviceKeys,
    index::Index,
    record::Fate,
    store::{Store, Swept, Wish},
};
use crate::qod::{Moment, OperatorId, SessionId};

// When to look again at a record that would not move on: the clock was set back.
const STUCK: Duration = Duration::from_secs(30);

/// See the module. The lock is never held across an `await`.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    index: Index,
    // Boxed: a table that grows moves its elements, and keeps half of its places empty.
    records: HashMap<SessionId, Box<Record>>,
}

impl Memory {
    // A panic within the lock would leave index and records at odds: then nothing works any more.
    fn book(&self) -> Result<MutexGuard<'_, Book>, Error> {
        self.0.lock().map_err(|_| Error::Unavailable("broken by a panic".to_owned()))
    }
}

#[async_trait]
impl Store for Memory {
    async fn insert(&self, wish: Wish, now: Moment) -> Result<bool, Error> {
        let Wish { record, claim, rules, sessions_max } = wish;
        let record = Box::new(record);
        let mut book = self.book()?;
        let unknown = book.index.insert(record.life(now), claim, &rules, sessions_max, now)?;
        book.records.insert(record.session.id, record);
        Ok(unknown)
    }

    async fn replace(&self, record: Record, now: Moment) -> Result<(), Error> {
        let record = Box::new(record);
        self.book()?.replace(record, now)
    }

    async fn remove(&self, id: SessionId, generation: u64) -> Result<(), Error> {
        let mut book = self.book()?;
        book.index.remove(&id, generation)?;
        book.records.remove(&id);
        Ok(())
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Record>, Error> {
        Ok(self.book()?.records.get(id).map(|record| Record::clone(record)))
    }

    async fn of_device(
        &self,
        party: &Party,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let book = self.book()?;
        let ids = book.index.of_device(&party.client, keys, now);
        let mut records: Vec<&Record> = ids
            .iter()
            .filter_map(|id| book.records.get(id).map(|record| &**record))
            .filter(|record| party.owns(record))
            .collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.requested_at()));
        Ok(records.into_iter().take(records_max).cloned().collect())
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<Swept, Error> {
        Ok(self.book()?.sweep(now, records_max))
    }

    fn counts(&self) -> Vec<(OperatorId, State, u64)> {
        self.book().map(|book| book.index.counts()).unwrap_or_default()
    }
}

impl Book {
    fn replace(&mut self, record: Box<Record>, now: Moment) -> Result<(), Error> {
        self.index.replace(record.life(now))?;
        self.records.insert(record.session.id, record);
        Ok(())
    }

    fn sweep(&mut self, now: Moment, records_max: usize) -> Swept {
        self.index.lapse(now, records_max);
        let due = self.index.due(now, records_max);
        let mut swept = Swept { records: due.len(), releasing: Vec::new() };
        for id in due {
            let Some(record) = self.records.get(&id) else { continue };
            match record.fate(now) {
                Fate::Gone => {
                    // The index has it: it has just said so.
                    if self.index.remove(&id, record.generation()).is_ok() {
                        self.records.remove(&id);
                    }
                }
                Fate::DeleteAgain => {
                    self.index.postpone(&id, record.life(now).due);
                    swept.releasing.push(Record::clone(record));
                }
                Fate::Becomes(next) => {
                    let releasing =
                        (next.state() == State::Releasing).then(|| Record::clone(&next));
                    match self.replace(next, now) {
                        Ok(()) => swept.releasing.extend(releasing),
                        Err(_) => self.index.postpone(&id, now + STUCK),
                    }
                }
                Fate::Stays => self.index.postpone(&id, now + STUCK),
            }
        }
        swept
    }
}

#[cfg(test)]
mod tests;
