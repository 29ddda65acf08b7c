//! What stands on disk: five tables, and what a row of each is.
//!
//! | table | key | value |
//! |---|---|---|
//! | `records` | the session's id | its record, sealed |
//! | `replies` | a hashed `Idempotency-Key` | what its create was answered with, sealed |
//! | `notices` | its number | what a client is to hear, sealed |
//! | `days` | a hashed client's id | how many sessions it has begun in its last day, sealed |
//! | `meta` | `format`, `seal`, `time` | the version of all this, a text to try the key on, when it was |

use std::{fmt, ops::Bound};

use redb::{
    Database, Key, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        book::Shelf,
        day::Begun,
        hand::Reading,
        notice::{Notice, Queued},
        repeat::{RepeatKey, Reply},
    },
    Error, Record, Seal,
};
use crate::qod::{Secret, SessionId, Sink};

/// The version of what is described here.
pub(super) const FORMAT: &str = "2";

pub(super) const RECORDS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("records");
pub(super) const REPLIES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("replies");
pub(super) const NOTICES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notices");
/// Was added to format 2: an older file may be without.
pub(super) const DAYS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("days");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const META_FORMAT: &str = "format";
pub(super) const META_SEAL: &str = "seal";
pub(super) const META_TIME: &str = "time";

// The sink's token is written on its own: the sink itself never shows it.
#[derive(Serialize)]
struct Written<'a, T> {
    value: &'a T,
    sink_token: Option<&'a str>,
}

#[derive(Deserialize)]
struct Read<T> {
    value: T,
    sink_token: Option<String>,
}

/// The tables within one transaction.
pub(super) struct Rows<'t> {
    records: Table<'t, u128, &'static [u8]>,
    replies: Table<'t, u128, &'static [u8]>,
    notices: Table<'t, u64, &'static [u8]>,
    days: Table<'t, u128, &'static [u8]>,
    meta: Table<'t, &'static str, &'static [u8]>,
    seal: &'t Seal,
    changed: bool,
}

impl<'t> Rows<'t> {
    pub(super) fn new(
        transaction: &'t WriteTransaction,
        seal: &'t Seal,
    ) -> Result<Self, redb::TableError> {
        Ok(Self {
            records: transaction.open_table(RECORDS)?,
            replies: transaction.open_table(REPLIES)?,
            notices: transaction.open_table(NOTICES)?,
            days: transaction.open_table(DAYS)?,
            meta: transaction.open_table(META)?,
            seal,
            changed: false,
        })
    }

    /// Is there anything to commit?
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }

    /// Writes down what time it is.
    pub(super) fn put_time(&mut self, reading: &Reading) -> Result<(), Error> {
        let bytes = postcard::to_stdvec(reading).map_err(|error| unavailable(&error))?;
        self.meta.insert(META_TIME, &*bytes).map(drop).map_err(|error| unavailable(&error))
    }

    /// What a new file begins with.
    pub(super) fn put_format(&mut self) -> Result<(), Error> {
        let probe = self.seal.seal(META_SEAL, 0, &FORMAT).map_err(|error| unavailable(&error))?;
        for (name, value) in [(META_FORMAT, FORMAT.as_bytes()), (META_SEAL, &*probe)] {
            self.meta.insert(name, value).map_err(|error| unavailable(&error))?;
        }
        Ok(())
    }
}

impl Shelf for Rows<'_> {
    fn record(&self, id: &SessionId) -> Result<Option<Record>, Error> {
        read_record(&self.records, self.seal, id)
    }

    fn put(&mut self, record: &Record) -> Result<(), Error> {
        self.changed = true;
        if crate::faults::without_write_ahead() && record.state() == super::State::Pending {
            return Ok(());
        }
        let row = record.session.id.0.as_u128();
        let sealed = self.seal.seal("records", row, &written(record));
        let sealed = sealed.map_err(|error| unavailable(&error))?;
        self.records.insert(row, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn take(&mut self, id: &SessionId) -> Result<(), Error> {
        self.changed = true;
        self.records.remove(id.0.as_u128()).map(drop).map_err(|error| unavailable(&error))
    }

    fn reply(&self, key: &RepeatKey) -> Result<Option<Reply>, Error> {
        let row = u128::from_be_bytes(key.0);
        let found = self.replies.get(row).map_err(|error| unavailable(&error))?;
        let Some(sealed) = found else { return Ok(None) };
        let reply = self.seal.open("replies", row, sealed.value());
        reply.map(Some).map_err(|error| unavailable(&error))
    }

    fn put_reply(&mut self, key: &RepeatKey, reply: &Reply) -> Result<(), Error> {
        self.changed = true;
        let row = u128::from_be_bytes(key.0);
        let sealed = self.seal.seal("replies", row, reply).map_err(|error| unavailable(&error))?;
        self.replies.insert(row, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn take_reply(&mut self, key: &RepeatKey) -> Result<(), Error> {
        self.changed = true;
        let row = u128::from_be_bytes(key.0);
        self.replies.remove(row).map(drop).map_err(|error| unavailable(&error))
    }

    fn put_begun(&mut self, begun: &Begun) -> Result<(), Error> {
        self.changed = true;
        let row = begun.row();
        let sealed = self.seal.seal("days", row, begun).map_err(|error| unavailable(&error))?;
        self.days.insert(row, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn put_notice(&mut self, number: u64, notice: &Notice) -> Result<(), Error> {
        self.changed = true;
        let written = with_token(notice, Some(&notice.sink));
        let sealed = self.seal.seal("notices", number.into(), &written);
        let sealed = sealed.map_err(|error| unavailable(&error))?;
        self.notices.insert(number, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn take_notice(&mut self, number: u64) -> Result<(), Error> {
        self.changed = true;
        self.notices.remove(number).map(drop).map_err(|error| unavailable(&error))
    }
}

/// Reads a table as it was committed last.
pub(super) fn committed<K: Key + 'static, T>(
    database: &Database,
    table: TableDefinition<'_, K, &'static [u8]>,
    read: impl FnOnce(&ReadOnlyTable<K, &'static [u8]>) -> Result<T, Error>,
) -> Result<T, Error> {
    let reading = database.begin_read().map_err(|error| unavailable(&error))?;
    read(&reading.open_table(table).map_err(|error| unavailable(&error))?)
}

/// Seals every row anew, all or none.
pub(super) fn reseal(database: &Database, old: &Seal, new: &Seal) -> Result<(), Error> {
    let write = database.begin_write().map_err(|error| unavailable(&error))?;
    {
        let mut rows = Rows::new(&write, new).map_err(|error| unavailable(&error))?;
        rows.put_format()?;
        reseal_table(&mut rows.records, "records", |row| row, (old, new))?;
        reseal_table(&mut rows.replies, "replies", |row| row, (old, new))?;
        reseal_table(&mut rows.notices, "notices", u128::from, (old, new))?;
        reseal_table(&mut rows.days, "days", |row| row, (old, new))?;
    }
    write.commit().map_err(|error| unavailable(&error))
}

fn reseal_table<K>(
    table: &mut Table<'_, K, &'static [u8]>,
    name: &str,
    row: impl Fn(K) -> u128,
    (old, new): (&Seal, &Seal),
) -> Result<(), Error>
where
    K: for<'a> Key<SelfType<'a> = K> + Copy + 'static,
{
    let keys = table.iter().map_err(|error| unavailable(&error))?;
    let keys = keys.map(|row| row.map(|(key, _)| key.value()));
    let keys: Vec<K> = keys.collect::<Result<_, _>>().map_err(|error| unavailable(&error))?;
    for key in keys {
        let sealed = match table.get(&key).map_err(|error| unavailable(&error))? {
            Some(value) => new.reseal(old, name, row(key), value.value()),
            None => continue,
        };
        let sealed = sealed.map_err(|error| unavailable(&error))?;
        table.insert(&key, &*sealed).map_err(|error| unavailable(&error))?;
    }
    Ok(())
}

/// A record by its id.
pub(super) fn read_record(
    records: &impl ReadableTable<u128, &'static [u8]>,
    seal: &Seal,
    id: &SessionId,
) -> Result<Option<Record>, Error> {
    let row = id.0.as_u128();
    match records.get(row).map_err(|error| unavailable(&error))? {
        Some(sealed) => open_record(seal, row, sealed.value()).map(Some),
        None => Ok(None),
    }
}

/// The records after one.
pub(super) fn read_page(
    records: &impl ReadableTable<u128, &'static [u8]>,
    seal: &Seal,
    after: Option<SessionId>,
    records_max: usize,
) -> Result<Vec<Record>, Error> {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0.as_u128()));
    let rows = records.range::<u128>((from, Bound::Unbounded)).map_err(|e| unavailable(&e))?;
    rows.take(records_max)
        .map(|row| {
            let (id, sealed) = row.map_err(|error| unavailable(&error))?;
            open_record(seal, id.value(), sealed.value())
        })
        .collect()
}

/// The notices after one.
pub(super) fn read_queued(
    notices: &impl ReadableTable<u64, &'static [u8]>,
    seal: &Seal,
    after: Option<u64>,
    notices_max: usize,
) -> Result<Vec<Queued>, Error> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = notices.range::<u64>((from, Bound::Unbounded)).map_err(|e| unavailable(&e))?;
    rows.take(notices_max)
        .map(|row| {
            let (number, sealed) = row.map_err(|error| unavailable(&error))?;
            let number = number.value();
            Ok(open_notice(seal, number, sealed.value())?.queued_as(number))
        })
        .collect()
}

/// A notice by its number.
pub(super) fn read_notice(
    notices: &impl ReadableTable<u64, &'static [u8]>,
    seal: &Seal,
    number: u64,
) -> Result<Option<Notice>, Error> {
    match notices.get(number).map_err(|error| unavailable(&error))? {
        Some(sealed) => open_notice(seal, number, sealed.value()).map(Some),
        None => Ok(None),
    }
}

/// A record, with all that is to be sealed of it.
pub(super) fn written(record: &Record) -> impl Serialize + '_ {
    with_token(record, record.session.wanted.sink.as_ref())
}

fn with_token<'a, T>(value: &'a T, sink: Option<&'a Sink>) -> Written<'a, T> {
    Written { value, sink_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal) }
}

pub(super) fn open_record(seal: &Seal, row: u128, sealed: &[u8]) -> Result<Record, Error> {
    let opened = seal.open("records", row, sealed).map_err(|error| unavailable(&error))?;
    let Read::<Record> { value: mut record, sink_token } = opened;
    if let Some(sink) = &mut record.session.wanted.sink {
        sink.token = sink_token.map(Secret::new);
    }
    Ok(record)
}

pub(super) fn open_notice(seal: &Seal, number: u64, sealed: &[u8]) -> Result<Notice, Error> {
    let opened =
        seal.open("notices", number.into(), sealed).map_err(|error| unavailable(&error))?;
    let Read::<Notice> { value: mut notice, sink_token } = opened;
    notice.sink.token = sink_token.map(Secret::new);
    Ok(notice)
}

fn unavailable(error: &dyn fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}
