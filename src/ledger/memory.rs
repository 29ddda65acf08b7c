//! The store that forgets all when the process ends: a book and its records behind one lock.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use super::{
    Error, Party, Record, State,
    book::{Book, Shelf},
    claim::DeviceKeys,
    day::Begun,
    hand::Hand,
    notice::{Notice, Queued, Told},
    repeat::{RepeatKey, Reply},
    store::{Inserted, Store, Swept, Wish},
};
use crate::qod::{Moment, OperatorId, SessionId};

/// See the module. The lock is never held across an `await`.
#[derive(Debug)]
pub(super) struct Memory {
    hand: Hand,
    all: Mutex<(Book, Maps)>,
}

#[derive(Debug, Default)]
struct Maps {
    // Boxed: a table that grows moves its elements, and keeps half of its places empty.
    records: BTreeMap<SessionId, Box<Record>>,
    replies: HashMap<RepeatKey, Reply>,
    notices: BTreeMap<u64, Notice>,
}

impl Memory {
    pub(super) fn new(hand: Hand) -> Self {
        Self { hand, all: Mutex::default() }
    }

    // A panic within the lock would leave index and records at odds: then nothing works any more.
    fn held(&self) -> Result<MutexGuard<'_, (Book, Maps)>, Error> {
        self.all.lock().map_err(|_| Error::Unavailable("broken by a panic".to_owned()))
    }

    fn step<T>(
        &self,
        step: impl FnOnce(&mut Book, &mut Maps) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut held = self.held()?;
        let (book, maps) = &mut *held;
        step(book, maps)
    }
}

#[async_trait]
impl Store for Memory {
    fn now(&self) -> Moment {
        self.hand.now()
    }

    async fn insert(&self, wish: Wish, now: Moment) -> Result<Inserted, Error> {
        self.step(|book, maps| book.insert(maps, &wish, now))
    }

    async fn replace(&self, record: Record, now: Moment) -> Result<Told, Error> {
        self.step(|book, maps| book.replace(maps, &record, now))
    }

    async fn remove(&self, id: SessionId, generation: u64, now: Moment) -> Result<Told, Error> {
        self.step(|book, maps| book.remove(maps, id, generation, now))
    }

    async fn find(&self, id: &SessionId) -> Result<Option<Record>, Error> {
        self.held()?.1.record(id)
    }

    async fn named_by(
        &self,
        operator: &OperatorId,
        theirs: &str,
    ) -> Result<Option<SessionId>, Error> {
        Ok(self.held()?.0.index.named_by(operator, theirs))
    }

    async fn page(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let held = self.held()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = held.1.records.range((from, Bound::Unbounded)).take(records_max);
        Ok(records.map(|(_, record)| Record::clone(record)).collect())
    }

    async fn of_device(
        &self,
        party: &Party,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        self.step(|book, maps| book.of_device(maps, party, keys, now, records_max))
    }

    async fn sweep(&self, now: Moment, records_max: usize) -> Result<Swept, Error> {
        self.step(|book, maps| book.sweep(maps, now, records_max))
    }

    async fn queued(&self, after: Option<u64>, notices_max: usize) -> Result<Vec<Queued>, Error> {
        let held = self.held()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let notices = held.1.notices.range((from, Bound::Unbounded)).take(notices_max);
        Ok(notices.map(|(number, notice)| notice.queued_as(*number)).collect())
    }

    async fn notice(&self, number: u64) -> Result<Option<Notice>, Error> {
        Ok(self.held()?.1.notices.get(&number).cloned())
    }

    async fn settle(&self, numbers: Vec<u64>) -> Result<(), Error> {
        self.step(|book, maps| book.settle(maps, &numbers))
    }

    async fn counts(&self) -> Result<Vec<(OperatorId, State, u64)>, Error> {
        Ok(self.held()?.0.index.counts())
    }

    fn health(&self) -> Result<(), String> {
        self.held().map(drop).map_err(|error| error.to_string())
    }

    async fn close(&self) {}
}

impl Shelf for Maps {
    fn record(&self, id: &SessionId) -> Result<Option<Record>, Error> {
        Ok(self.records.get(id).map(|record| Record::clone(record)))
    }

    fn put(&mut self, record: &Record) -> Result<(), Error> {
        self.records.insert(record.session.id, Box::new(record.clone()));
        Ok(())
    }

    fn take(&mut self, id: &SessionId) -> Result<(), Error> {
        self.records.remove(id);
        Ok(())
    }

    fn reply(&self, key: &RepeatKey) -> Result<Option<Reply>, Error> {
        Ok(self.replies.get(key).cloned())
    }

    fn put_notice(&mut self, number: u64, notice: &Notice) -> Result<(), Error> {
        self.notices.insert(number, notice.clone());
        Ok(())
    }

    fn take_notice(&mut self, number: u64) -> Result<(), Error> {
        self.notices.remove(&number);
        Ok(())
    }

    fn put_reply(&mut self, key: &RepeatKey, reply: &Reply) -> Result<(), Error> {
        self.replies.insert(*key, reply.clone());
        Ok(())
    }

    fn take_reply(&mut self, key: &RepeatKey) -> Result<(), Error> {
        self.replies.remove(key);
        Ok(())
    }

    fn put_begun(&mut self, _: &Begun) -> Result<(), Error> {
        // The book has it.
        Ok(())
    }
}

#[cfg(test)]
mod tests;
