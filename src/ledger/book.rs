//! The steps of a ledger, each whole or not at all: the index and the records changed together.
//!
//! Pure but for the [`Shelf`] that the records stand on. Every store takes these very steps; what
//! makes one durable is the rows it brings.

use std::time::Duration;

use super::{
    Error, Party, Record,
    claim::DeviceKeys,
    day::{Begun, Days},
    index::Index,
    notice::{self, Notice, Outbox, Told},
    record::Fate,
    repeat::{REPEATABLE_FOR, Repeat, RepeatKey, Replies, Reply},
    store::{Inserted, Swept, Wish},
};
use crate::qod::{Event, Moment, SessionId};

// When to look again at a record that would not move on.
const STUCK: Duration = Duration::from_secs(30);

/// What records, replies and notices stand on. What it says no to with [`Error::Unavailable`] leaves index
/// and records at odds: whoever has the two must begin anew then.
pub(super) trait Shelf {
    fn record(&self, id: &SessionId) -> Result<Option<Record>, Error>;
    fn put(&mut self, record: &Record) -> Result<(), Error>;
    fn take(&mut self, id: &SessionId) -> Result<(), Error>;
    fn reply(&self, key: &RepeatKey) -> Result<Option<Reply>, Error>;
    fn put_reply(&mut self, key: &RepeatKey, reply: &Reply) -> Result<(), Error>;
    fn take_reply(&mut self, key: &RepeatKey) -> Result<(), Error>;
    fn put_begun(&mut self, begun: &Begun) -> Result<(), Error>;
    fn put_notice(&mut self, number: u64, notice: &Notice) -> Result<(), Error>;
    fn take_notice(&mut self, number: u64) -> Result<(), Error>;
}

/// What is known of all records without reading them.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) index: Index,
    pub(super) replies: Replies,
    pub(super) outbox: Outbox,
    pub(super) days: Days,
}

impl Book {
    /// Takes in a record that another process has written.
    pub(super) fn restore(&mut self, record: &Record, now: Moment) {
        let theirs = record.operator_session.as_deref();
        self.index.restore(record.life_anew(now), record.claim(), theirs);
    }

    pub(super) fn insert(
        &mut self,
        rows: &mut impl Shelf,
        wish: &Wish,
        now: Moment,
    ) -> Result<Inserted, Error> {
        let Wish { record, rules, sessions_max, creates_per_day, repeat } = wish;
        let answered = repeat.as_ref().map_or(Ok(None), |repeat| repeated(rows, repeat, now))?;
        if let Some(answered) = answered {
            return Ok(answered);
        }
        let one_more = |max| self.days.with_one_more(&record.client, max, record.requested_at());
        let begun = creates_per_day.map(one_more).transpose()?;
        let same_device_unknown =
            self.index.insert(record.life(now), record.claim(), rules, *sessions_max, now)?;
        rows.put(record)?;
        self.count(rows, begun)?;
        if let Some(Repeat { key, fingerprint }) = repeat {
            let until = now + REPEATABLE_FOR;
            let session = record.session.id;
            let reply = Reply { fingerprint: *fingerprint, until, session, answer: None };
            rows.put_reply(key, &reply)?;
            self.replies.add(*key, until);
        }
        Ok(Inserted::New { same_device_unknown, waited: Duration::ZERO })
    }

    pub(super) fn replace(
        &mut self,
        rows: &mut impl Shelf,
        record: &Record,
        now: Moment,
    ) -> Result<Told, Error> {
        let theirs = record.operator_session.as_deref();
        let before = self.index.replace(record.life(now), theirs)?;
        rows.put(record)?;
        self.answer(rows, record)?;
        self.tell(rows, record, notice::of_change(before, record, now), now)
    }

    pub(super) fn remove(
        &mut self,
        rows: &mut impl Shelf,
        id: SessionId,
        generation: u64,
        now: Moment,
    ) -> Result<Told, Error> {
        let Some(record) = self.take(rows, id, generation)? else { return Ok(Told::default()) };
        if record.is_unconfirmed() {
            // Its operator did not make it; what time alone ends may have been.
            let begun = self.days.with_one_less(&record.client, record.requested_at());
            self.count(rows, begun)?;
        }
        self.bury(rows, &record, now)
    }

    fn take(
        &mut self,
        rows: &mut impl Shelf,
        id: SessionId,
        generation: u64,
    ) -> Result<Option<Record>, Error> {
        self.index.remove(&id, generation)?;
        let record = rows.record(&id)?;
        rows.take(&id)?;
        Ok(record)
    }

    fn bury(&mut self, rows: &mut impl Shelf, record: &Record, now: Moment) -> Result<Told, Error> {
        if let Some(key) = record.repeat() {
            self.forget_unanswered(rows, key)?;
        }
        self.tell(rows, record, notice::of_end(record, now), now)
    }

    /// Forgets notices that were heard, or that nobody is to hear any more.
    pub(super) fn settle(&mut self, rows: &mut impl Shelf, numbers: &[u64]) -> Result<(), Error> {
        for &number in numbers {
            if self.outbox.remove(number) {
                rows.take_notice(number)?;
            }
        }
        Ok(())
    }

    pub(super) fn of_device(
        &self,
        rows: &impl Shelf,
        party: &Party,
        keys: &DeviceKeys,
        now: Moment,
        records_max: usize,
    ) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for id in self.index.of_device(&party.client, keys, now) {
            records.extend(rows.record(&id)?.filter(|record| party.owns(record)));
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.requested_at()));
        records.truncate(records_max);
        Ok(records)
    }

    pub(super) fn sweep(
        &mut self,
        rows: &mut impl Shelf,
        now: Moment,
        records_max: usize,
    ) -> Result<Swept, Error> {
        self.index.lapse(now, records_max);
        let due = self.index.due(now, records_max);
        let mut swept = Swept { records: due.len(), ..Swept::default() };
        for id in due {
            let Some(record) = rows.record(&id)? else {
                self.index.postpone(&id, now + STUCK);
                continue;
            };
            match record.fate(now) {
                Fate::Gone => {
                    self.take(rows, id, record.generation())?;
                    swept.told += self.bury(rows, &record, now)?;
                }
                Fate::Due(todo) => {
                    self.index.postpone(&id, record.life(now).due);
                    swept.due.push((record, todo));
                }
                Fate::Becomes(next) => match self.replace(rows, &next, now) {
                    Ok(told) => {
                        swept.told += told;
                        swept.due.extend(next.todo().map(|todo| (*next, todo)));
                    }
                    Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
                    Err(_) => self.index.postpone(&id, now + STUCK),
                },
                Fate::Stays => self.index.postpone(&id, now + STUCK),
            }
        }
        for _ in 0..records_max {
            let Some(key) = self.replies.next_gone(now) else { break };
            rows.take_reply(&key)?;
        }
        Ok(swept)
    }

    fn count(&mut self, rows: &mut impl Shelf, begun: Option<Begun>) -> Result<(), Error> {
        let Some(begun) = begun else { return Ok(()) };
        rows.put_begun(&begun)?;
        self.days.restore(begun);
        Ok(())
    }

    fn tell(
        &mut self,
        rows: &mut impl Shelf,
        record: &Record,
        event: Option<Event>,
        now: Moment,
    ) -> Result<Told, Error> {
        let notice = event.and_then(|event| Notice::new(event, record, now));
        let Some(notice) = notice else { return Ok(Told::default()) };
        let Some(number) = self.outbox.add(&notice.client, now) else {
            return Ok(Told { overflown: 1, ..Told::default() });
        };
        rows.put_notice(number, &notice)?;
        Ok(Told { queued: 1, ..Told::default() })
    }

    // What a client is told of a create is kept with it, if it may come again.
    fn answer(&mut self, rows: &mut impl Shelf, record: &Record) -> Result<(), Error> {
        let Some(key) = record.repeat() else { return Ok(()) };
        let Some(reply) = rows.reply(key)?.filter(|reply| reply.session == record.session.id)
        else {
            return Ok(());
        };
        if reply.answer.is_some() {
            return Ok(());
        }
        match record.answered_as() {
            // The client was not told of it.
            None if record.is_unconfirmed() => Ok(()),
            None => self.forget_unanswered(rows, key),
            Some(session) => rows.put_reply(key, &Reply { answer: Some(session), ..reply }),
        }
    }

    // Whoever sends it again asks for something new.
    fn forget_unanswered(&mut self, rows: &mut impl Shelf, key: &RepeatKey) -> Result<(), Error> {
        if rows.reply(key)?.is_some_and(|reply| reply.answer.is_none()) {
            rows.take_reply(key)?;
            self.replies.remove(key);
        }
        Ok(())
    }
}

fn repeated(rows: &impl Shelf, repeat: &Repeat, now: Moment) -> Result<Option<Inserted>, Error> {
    let Some(reply) = rows.reply(&repeat.key)?.filter(|reply| now < reply.until) else {
        return Ok(None);
    };
    if reply.fingerprint != repeat.fingerprint {
        return Err(Error::OtherRequest);
    }
    match reply.answer {
        Some(session) => {
            let requested_at = reply.until - REPEATABLE_FOR;
            Ok(Some(Inserted::Repeated { session: Box::new(session), requested_at }))
        }
        None => Err(Error::Unanswered),
    }
}
