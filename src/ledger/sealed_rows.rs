//! The content of rows: values that are serialized and sealed.
//!
//! | table | key | value |
//! |---|---|---|
//! | `records` | the session id | the session record, sealed |
//! | `replies` | a hashed `Idempotency-Key` | the outcome of its create, sealed |
//! | `notices` | a number | a notification to a client, sealed |
//! | `days` | a hashed client id | the sessions that the client created in its last day, sealed |
//! | `usage` | a number | the usage record of a session that ended, sealed |
//! | `meta` | `format`, `seal`, `time` | the format version, a text to verify the key, the time of the last write |

use std::{borrow::Cow, fmt::Display, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Error, SessionRecord, SessionState,
    daily_quota::DailyCount,
    engine::RowStore,
    idempotency::{IdempotencyKeyHash, IdempotencyRecord},
    ledger_clock::ClockReading,
    notification::{OutboxEntry, QueuedNotification},
    rows::{OpenRows, ReadRows, RowTable, RowsError, SyncMode, WriteRows},
    seal::Seal,
    usage::{UsageCursor, UsagePage, UsagePeriod, UsageRecord},
};
use crate::{
    faults,
    qod::{Moment, Secret, SessionId, Sink},
};

/// The version of this format.
pub(super) const FORMAT: &str = "5";

const META_FORMAT: &str = "format";
const META_SEAL: &str = "seal";
const META_TIME: &str = "time";

const ROWS_PER_PAGE: usize = 1024;

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

/// The rows within one transaction.
pub(super) struct SealedRows<'t> {
    rows: &'t mut dyn WriteRows,
    seal: &'t Seal,
    changed: bool,
}

/// The last committed rows.
pub(super) struct SealedReader {
    rows: Arc<dyn ReadRows>,
    seal: Arc<Seal>,
}

impl<'t> SealedRows<'t> {
    pub(super) fn new(rows: &'t mut dyn WriteRows, seal: &'t Seal) -> Self {
        Self { rows, seal, changed: false }
    }

    /// Whether there are changes to commit.
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }

    /// Writes the ledger clock.
    pub(super) fn write_clock(&mut self, reading: &ClockReading) -> Result<(), Error> {
        let bytes = postcard::to_stdvec(reading).map_err(|error| unavailable(&error))?;
        self.rows.put_meta(META_TIME, &bytes)
    }

    /// Writes the format version and the key probe.
    pub(super) fn write_format(&mut self) -> Result<(), Error> {
        let probe = self.seal.seal(META_SEAL, 0, &FORMAT).map_err(|error| unavailable(&error))?;
        self.rows.put_meta(META_FORMAT, FORMAT.as_bytes())?;
        self.rows.put_meta(META_SEAL, &probe)
    }

    fn put(&mut self, table: RowTable, key: u128, value: &impl Serialize) -> Result<(), Error> {
        self.changed = true;
        let sealed = self.seal.seal(table.name(), key, value);
        self.rows.put(table, key, &sealed.map_err(|error| unavailable(&error))?)
    }

    /// Writes a sealed usage record.
    pub(super) fn put_usage_row(&mut self, number: u64, row: &[u8]) -> Result<(), Error> {
        self.changed = true;
        self.rows.put(RowTable::Usage, number.into(), row)
    }

    /// Removes usage records that were made before this time. Returns their number.
    pub(super) fn prune_usage(
        &mut self,
        before: Moment,
        records_max: usize,
    ) -> Result<usize, Error> {
        let end = UsageCursor::first_at(before).0.into();
        let removed = self.rows.remove_below(RowTable::Usage, end, records_max)?;
        self.changed |= removed > 0;
        Ok(removed)
    }

    fn remove(&mut self, table: RowTable, key: u128) -> Result<(), Error> {
        self.changed = true;
        self.rows.remove(table, key)
    }
}

impl RowStore for SealedRows<'_> {
    fn get_record(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        let key = id.0.as_u128();
        let sealed = self.rows.get(RowTable::Records, key)?;
        sealed.map(|sealed| open_record(self.seal, key, sealed)).transpose()
    }

    fn put_record(&mut self, record: Cow<'_, SessionRecord>) -> Result<(), Error> {
        if faults::without_write_ahead() && record.state() == SessionState::Pending {
            self.changed = true;
            return Ok(());
        }
        self.put(RowTable::Records, record.session.id.0.as_u128(), &sealable(&record))
    }

    fn remove_record(&mut self, id: &SessionId) -> Result<(), Error> {
        self.remove(RowTable::Records, id.0.as_u128())
    }

    fn get_idempotency(
        &self,
        key: &IdempotencyKeyHash,
    ) -> Result<Option<IdempotencyRecord>, Error> {
        let key = u128::from_be_bytes(key.0);
        let sealed = self.rows.get(RowTable::Replies, key)?;
        sealed.map(|sealed| open(self.seal, RowTable::Replies, key, sealed)).transpose()
    }

    fn put_idempotency(
        &mut self,
        key: &IdempotencyKeyHash,
        reply: &IdempotencyRecord,
    ) -> Result<(), Error> {
        self.put(RowTable::Replies, u128::from_be_bytes(key.0), reply)
    }

    fn remove_idempotency(&mut self, key: &IdempotencyKeyHash) -> Result<(), Error> {
        self.remove(RowTable::Replies, u128::from_be_bytes(key.0))
    }

    fn put_daily_count(&mut self, count: &DailyCount) -> Result<(), Error> {
        self.put(RowTable::Days, count.row_key(), count)
    }

    fn put_notification(&mut self, number: u64, notice: &QueuedNotification) -> Result<(), Error> {
        self.put(RowTable::Notices, number.into(), &with_token(notice, Some(&notice.sink)))
    }

    fn remove_notification(&mut self, number: u64) -> Result<(), Error> {
        self.remove(RowTable::Notices, number.into())
    }

    fn put_usage(&mut self, number: u64, usage: &UsageRecord) -> Result<(), Error> {
        let sealed = self.seal.seal(RowTable::Usage.name(), number.into(), usage);
        let row = sealed.map_err(|error| unavailable(&error))?;
        match faults::usage_in_commit(number, row) {
            Some((number, row)) => self.put_usage_row(number, &row),
            None => Ok(()),
        }
    }
}

impl SealedReader {
    pub(super) fn new(rows: Arc<dyn ReadRows>, seal: Arc<Seal>) -> Self {
        Self { rows, seal }
    }

    /// Reads a record.
    pub(super) fn record(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        let key = id.0.as_u128();
        let sealed = self.rows.get(RowTable::Records, key)?;
        sealed.map(|sealed| open_record(&self.seal, key, sealed)).transpose()
    }

    /// Reads the records after `after`, in the order of their ids.
    pub(super) fn records(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let after = after.map(|id| id.0.as_u128());
        let page = self.rows.page(RowTable::Records, after, records_max)?;
        page.into_iter().map(|(key, sealed)| open_record(&self.seal, key, sealed)).collect()
    }

    /// Reads a queued notification.
    pub(super) fn notification(&self, number: u64) -> Result<Option<QueuedNotification>, Error> {
        let sealed = self.rows.get(RowTable::Notices, number.into())?;
        sealed.map(|sealed| open_notice(&self.seal, number.into(), sealed)).transpose()
    }

    /// Reads the queued notifications after `after`, in order.
    pub(super) fn outbox_entries(
        &self,
        after: Option<u64>,
        entries_max: usize,
    ) -> Result<Vec<OutboxEntry>, Error> {
        let page = self.rows.page(RowTable::Notices, after.map(u128::from), entries_max)?;
        let entry = |(key, sealed)| {
            Ok(open_notice(&self.seal, key, sealed)?.outbox_entry(notice_number(key)?))
        };
        page.into_iter().map(entry).collect()
    }

    /// Reads the usage records after `after` that belong to a period.
    pub(super) fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        let start =
            period.from.map(|from| UsageCursor(UsageCursor::first_at(from).0.saturating_sub(1)));
        let after = after.max(start).map(|after| after.0.into());
        let page = self.rows.page(RowTable::Usage, after, records_max)?;
        let record = |(key, sealed)| {
            let usage = open(&self.seal, RowTable::Usage, key, sealed)?;
            Ok((UsageCursor(notice_number(key)?), usage))
        };
        let read = page.into_iter().map(record).collect::<Result<_, Error>>()?;
        Ok(UsagePage::select(read, period, records_max))
    }

    /// The number of the last usage record.
    pub(super) fn last_usage(&self) -> Result<Option<u64>, RowsError> {
        let last = self.rows.last_key(RowTable::Usage)?;
        last.map(|key| notice_number(key).map_err(|error| damaged(&error))).transpose()
    }

    /// Reads the format version.
    pub(super) fn format(&self) -> Result<Option<String>, RowsError> {
        let format = self.rows.meta(META_FORMAT)?;
        Ok(format.map(|format| String::from_utf8_lossy(&format).into_owned()))
    }

    /// Whether the rows are sealed with this key.
    pub(super) fn has_key(&self) -> Result<bool, RowsError> {
        let probe = self.rows.meta(META_SEAL)?;
        let probe = probe.and_then(|probe| self.seal.open::<String>(META_SEAL, 0, probe).ok());
        Ok(probe.as_deref() == Some(FORMAT))
    }

    /// Reads the ledger clock at the last write.
    pub(super) fn clock_reading(&self) -> Result<Option<ClockReading>, RowsError> {
        let reading = self.rows.meta(META_TIME)?;
        Ok(reading.and_then(|time| postcard::from_bytes(&time).ok()))
    }

    /// Reads all records.
    pub(super) fn for_each_record(
        &self,
        mut visit: impl FnMut(&SessionRecord),
    ) -> Result<(), RowsError> {
        for_each_row(&*self.rows, RowTable::Records, |key, sealed| {
            visit(&open_record(&self.seal, key, sealed).map_err(|error| damaged(&error))?);
            Ok(())
        })
    }

    /// Reads all idempotency records.
    pub(super) fn for_each_reply(
        &self,
        mut visit: impl FnMut(IdempotencyKeyHash, &IdempotencyRecord),
    ) -> Result<(), RowsError> {
        for_each_row(&*self.rows, RowTable::Replies, |key, sealed| {
            let reply = open(&self.seal, RowTable::Replies, key, sealed);
            let key = IdempotencyKeyHash(key.to_be_bytes());
            visit(key, &reply.map_err(|error| damaged(&error))?);
            Ok(())
        })
    }

    /// Reads all queued notifications.
    pub(super) fn for_each_notification(
        &self,
        mut visit: impl FnMut(u64, QueuedNotification),
    ) -> Result<(), RowsError> {
        for_each_row(&*self.rows, RowTable::Notices, |key, sealed| {
            let notice = open_notice(&self.seal, key, sealed).map_err(|error| damaged(&error))?;
            visit(notice_number(key).map_err(|error| damaged(&error))?, notice);
            Ok(())
        })
    }

    /// Reads all daily counts.
    pub(super) fn for_each_daily_count(
        &self,
        mut visit: impl FnMut(DailyCount),
    ) -> Result<(), RowsError> {
        for_each_row(&*self.rows, RowTable::Days, |key, sealed| {
            let count = open(&self.seal, RowTable::Days, key, sealed);
            visit(count.map_err(|error| damaged(&error))?);
            Ok(())
        })
    }
}

/// Reseals all rows, in one transaction.
pub(super) fn reseal(open: &dyn OpenRows, old: &Seal, new: &Seal) -> Result<(), Error> {
    let before = open.committed();
    open.write(SyncMode::Durable, &mut |rows| {
        SealedRows::new(rows, new).write_format()?;
        for table in RowTable::ALL {
            for_each_row(&*before, table, |key, sealed| {
                let sealed = new.reseal(old, table.name(), key, sealed);
                let sealed = sealed.map_err(|error| damaged(&error))?;
                rows.put(table, key, &sealed).map_err(|error| damaged(&error))
            })?;
        }
        Ok(true)
    })
}

/// A record with its sink token, as it is sealed.
pub(super) fn sealable(record: &SessionRecord) -> impl Serialize + '_ {
    with_token(record, record.session.wanted.sink.as_ref())
}

/// A record with its sink token, not sealed.
pub(super) fn to_bytes(record: &SessionRecord) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(&sealable(record)).map_err(|error| unavailable(&error))
}

/// A record, sealed for a row of its own.
pub(super) fn seal_record(seal: &Seal, record: &SessionRecord) -> Result<Vec<u8>, Error> {
    let sealed =
        seal.seal(RowTable::Records.name(), record.session.id.0.as_u128(), &sealable(record));
    sealed.map_err(|error| unavailable(&error))
}

/// A notification, sealed for the row of this key.
pub(super) fn seal_notice(
    seal: &Seal,
    key: u128,
    notice: &QueuedNotification,
) -> Result<Vec<u8>, Error> {
    let sealed = seal.seal(RowTable::Notices.name(), key, &with_token(notice, Some(&notice.sink)));
    sealed.map_err(|error| unavailable(&error))
}

pub(super) fn open_record(seal: &Seal, key: u128, sealed: Vec<u8>) -> Result<SessionRecord, Error> {
    let opened = open(seal, RowTable::Records, key, sealed)?;
    let OpenedRow::<SessionRecord> { value: mut record, sink_token } = opened;
    if let Some(sink) = &mut Arc::make_mut(&mut record.session.wanted).sink {
        sink.token = sink_token.map(Secret::new);
    }
    Ok(record)
}

pub(super) fn open_notice(
    seal: &Seal,
    key: u128,
    sealed: Vec<u8>,
) -> Result<QueuedNotification, Error> {
    let opened = open(seal, RowTable::Notices, key, sealed)?;
    let OpenedRow::<QueuedNotification> { value: mut notice, sink_token } = opened;
    notice.sink.token = sink_token.map(Secret::new);
    Ok(notice)
}

fn open<T: DeserializeOwned>(
    seal: &Seal,
    table: RowTable,
    key: u128,
    sealed: Vec<u8>,
) -> Result<T, Error> {
    seal.open(table.name(), key, sealed).map_err(|error| unavailable(&error))
}

fn for_each_row(
    rows: &dyn ReadRows,
    table: RowTable,
    mut visit: impl FnMut(u128, Vec<u8>) -> Result<(), RowsError>,
) -> Result<(), RowsError> {
    let mut after = None;
    loop {
        let page = rows.page(table, after, ROWS_PER_PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (key, sealed) in page {
            visit(key, sealed)?;
        }
    }
}

fn with_token<'a, T>(value: &'a T, sink: Option<&'a Sink>) -> SealedRow<'a, T> {
    SealedRow { value, sink_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal) }
}

fn notice_number(key: u128) -> Result<u64, Error> {
    u64::try_from(key).map_err(|error| unavailable(&error))
}

fn unavailable(error: &dyn Display) -> Error {
    Error::Unavailable(error.to_string())
}

fn damaged(error: &dyn Display) -> RowsError {
    RowsError::Damaged(error.to_string())
}
