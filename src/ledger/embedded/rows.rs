//! The format on disk: five tables and their rows.
//!
//! | table | key | value |
//! |---|---|---|
//! | `records` | the session id | the session record, sealed |
//! | `replies` | a hashed `Idempotency-Key` | the outcome of its create, sealed |
//! | `notices` | a number | a notification to a client, sealed |
//! | `days` | a hashed client id | the sessions that the client created in its last day, sealed |
//! | `meta` | `format`, `seal`, `time` | the format version, a text to verify the key, the time of the last write |

use std::{fmt, ops::Bound};

use redb::{
    Database, Key, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        daily_quota::DailyCount,
        engine::RowStore,
        idempotency::{IdempotencyKeyHash, IdempotencyRecord},
        ledger_clock::ClockReading,
        notification::{OutboxEntry, QueuedNotification},
    },
    Error, Seal, SessionRecord,
};
use crate::qod::{Secret, SessionId, Sink};

/// The version of this format.
pub(super) const FORMAT: &str = "3";

pub(super) const RECORDS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("records");
pub(super) const REPLIES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("replies");
pub(super) const NOTICES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notices");
pub(super) const DAYS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("days");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const META_FORMAT: &str = "format";
pub(super) const META_SEAL: &str = "seal";
pub(super) const META_TIME: &str = "time";

// The sink token is a field of its own, because `Sink` never serializes it.
#[derive(Serialize)]
struct SealedRow<'a, T> {
    value: &'a T,
    sink_token: Option<&'a str>,
}

#[derive(Deserialize)]
struct OpenedRow<T> {
    value: T,
    sink_token: Option<String>,
}

/// The tables within one transaction.
pub(super) struct RedbRows<'t> {
    records: Table<'t, u128, &'static [u8]>,
    replies: Table<'t, u128, &'static [u8]>,
    notices: Table<'t, u64, &'static [u8]>,
    days: Table<'t, u128, &'static [u8]>,
    meta: Table<'t, &'static str, &'static [u8]>,
    seal: &'t Seal,
    changed: bool,
}

impl<'t> RedbRows<'t> {
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

    /// Whether there are changes to commit.
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }

    /// Writes the ledger clock.
    pub(super) fn write_clock(&mut self, reading: &ClockReading) -> Result<(), Error> {
        let bytes = postcard::to_stdvec(reading).map_err(|error| unavailable(&error))?;
        self.meta.insert(META_TIME, &*bytes).map(drop).map_err(|error| unavailable(&error))
    }

    /// Writes the format version and the key probe of a new file.
    pub(super) fn put_format(&mut self) -> Result<(), Error> {
        let probe = self.seal.seal(META_SEAL, 0, &FORMAT).map_err(|error| unavailable(&error))?;
        for (name, value) in [(META_FORMAT, FORMAT.as_bytes()), (META_SEAL, &*probe)] {
            self.meta.insert(name, value).map_err(|error| unavailable(&error))?;
        }
        Ok(())
    }
}

impl RowStore for RedbRows<'_> {
    fn get_record(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        read_record(&self.records, self.seal, id)
    }

    fn put_record(&mut self, record: &SessionRecord) -> Result<(), Error> {
        self.changed = true;
        if crate::faults::without_write_ahead() && record.state() == super::SessionState::Pending {
            return Ok(());
        }
        let row = record.session.id.0.as_u128();
        let sealed = self.seal.seal("records", row, &sealable(record));
        let sealed = sealed.map_err(|error| unavailable(&error))?;
        self.records.insert(row, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn remove_record(&mut self, id: &SessionId) -> Result<(), Error> {
        self.changed = true;
        self.records.remove(id.0.as_u128()).map(drop).map_err(|error| unavailable(&error))
    }

    fn get_idempotency(
        &self,
        key: &IdempotencyKeyHash,
    ) -> Result<Option<IdempotencyRecord>, Error> {
        let row = u128::from_be_bytes(key.0);
        let found = self.replies.get(row).map_err(|error| unavailable(&error))?;
        let Some(sealed) = found else { return Ok(None) };
        let reply = self.seal.open("replies", row, sealed.value());
        reply.map(Some).map_err(|error| unavailable(&error))
    }

    fn put_idempotency(
        &mut self,
        key: &IdempotencyKeyHash,
        reply: &IdempotencyRecord,
    ) -> Result<(), Error> {
        self.changed = true;
        let row = u128::from_be_bytes(key.0);
        let sealed = self.seal.seal("replies", row, reply).map_err(|error| unavailable(&error))?;
        self.replies.insert(row, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn remove_idempotency(&mut self, key: &IdempotencyKeyHash) -> Result<(), Error> {
        self.changed = true;
        let row = u128::from_be_bytes(key.0);
        self.replies.remove(row).map(drop).map_err(|error| unavailable(&error))
    }

    fn put_daily_count(&mut self, begun: &DailyCount) -> Result<(), Error> {
        self.changed = true;
        let row = begun.row_key();
        let sealed = self.seal.seal("days", row, begun).map_err(|error| unavailable(&error))?;
        self.days.insert(row, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn put_notification(&mut self, number: u64, notice: &QueuedNotification) -> Result<(), Error> {
        self.changed = true;
        let sealable = with_token(notice, Some(&notice.sink));
        let sealed = self.seal.seal("notices", number.into(), &sealable);
        let sealed = sealed.map_err(|error| unavailable(&error))?;
        self.notices.insert(number, &*sealed).map(drop).map_err(|error| unavailable(&error))
    }

    fn remove_notification(&mut self, number: u64) -> Result<(), Error> {
        self.changed = true;
        self.notices.remove(number).map(drop).map_err(|error| unavailable(&error))
    }
}

/// Reads the last committed state of a table.
pub(super) fn read_committed<K: Key + 'static, T>(
    database: &Database,
    table: TableDefinition<'_, K, &'static [u8]>,
    read: impl FnOnce(&ReadOnlyTable<K, &'static [u8]>) -> Result<T, Error>,
) -> Result<T, Error> {
    let reading = database.begin_read().map_err(|error| unavailable(&error))?;
    read(&reading.open_table(table).map_err(|error| unavailable(&error))?)
}

/// Reseals every row, in one transaction.
pub(super) fn reseal(database: &Database, old: &Seal, new: &Seal) -> Result<(), Error> {
    let write = database.begin_write().map_err(|error| unavailable(&error))?;
    {
        let mut rows = RedbRows::new(&write, new).map_err(|error| unavailable(&error))?;
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

/// Reads a record.
pub(super) fn read_record(
    records: &impl ReadableTable<u128, &'static [u8]>,
    seal: &Seal,
    id: &SessionId,
) -> Result<Option<SessionRecord>, Error> {
    let row = id.0.as_u128();
    match records.get(row).map_err(|error| unavailable(&error))? {
        Some(sealed) => open_record(seal, row, sealed.value()).map(Some),
        None => Ok(None),
    }
}

/// Reads the records after `after`.
pub(super) fn read_page(
    records: &impl ReadableTable<u128, &'static [u8]>,
    seal: &Seal,
    after: Option<SessionId>,
    max: usize,
) -> Result<Vec<SessionRecord>, Error> {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0.as_u128()));
    let rows = records.range::<u128>((from, Bound::Unbounded)).map_err(|e| unavailable(&e))?;
    rows.take(max)
        .map(|row| {
            let (id, sealed) = row.map_err(|error| unavailable(&error))?;
            open_record(seal, id.value(), sealed.value())
        })
        .collect()
}

/// Reads the queued notifications after `after`.
pub(super) fn read_queued(
    notices: &impl ReadableTable<u64, &'static [u8]>,
    seal: &Seal,
    after: Option<u64>,
    max: usize,
) -> Result<Vec<OutboxEntry>, Error> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = notices.range::<u64>((from, Bound::Unbounded)).map_err(|e| unavailable(&e))?;
    rows.take(max)
        .map(|row| {
            let (number, sealed) = row.map_err(|error| unavailable(&error))?;
            let number = number.value();
            Ok(open_notice(seal, number, sealed.value())?.outbox_entry(number))
        })
        .collect()
}

/// Reads a queued notification.
pub(super) fn read_notice(
    notices: &impl ReadableTable<u64, &'static [u8]>,
    seal: &Seal,
    number: u64,
) -> Result<Option<QueuedNotification>, Error> {
    match notices.get(number).map_err(|error| unavailable(&error))? {
        Some(sealed) => open_notice(seal, number, sealed.value()).map(Some),
        None => Ok(None),
    }
}

/// A record with its sink token, as it is sealed.
pub(super) fn sealable(record: &SessionRecord) -> impl Serialize + '_ {
    with_token(record, record.session.wanted.sink.as_ref())
}

fn with_token<'a, T>(value: &'a T, sink: Option<&'a Sink>) -> SealedRow<'a, T> {
    SealedRow { value, sink_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal) }
}

pub(super) fn open_record(seal: &Seal, row: u128, sealed: &[u8]) -> Result<SessionRecord, Error> {
    let opened = seal.open("records", row, sealed).map_err(|error| unavailable(&error))?;
    let OpenedRow::<SessionRecord> { value: mut record, sink_token } = opened;
    if let Some(sink) = &mut record.session.wanted.sink {
        sink.token = sink_token.map(Secret::new);
    }
    Ok(record)
}

pub(super) fn open_notice(
    seal: &Seal,
    number: u64,
    sealed: &[u8],
) -> Result<QueuedNotification, Error> {
    let opened =
        seal.open("notices", number.into(), sealed).map_err(|error| unavailable(&error))?;
    let OpenedRow::<QueuedNotification> { value: mut notice, sink_token } = opened;
    notice.sink.token = sink_token.map(Secret::new);
    Ok(notice)
}

fn unavailable(error: &dyn fmt::Display) -> Error {
    Error::Unavailable(error.to_string())
}
