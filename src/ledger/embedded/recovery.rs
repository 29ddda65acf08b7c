//! Recovers a ledger from its file: reads and validates all rows. Every start begins with this, and
//! every restart of the writer after a failure.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError};

use super::{
    OpenError, Seal,
    disk::{LedgerFile, WriteBuffer},
    rows::{
        DAYS, FORMAT, META, META_FORMAT, META_SEAL, META_TIME, NOTICES, RECORDS, REPLIES, RedbRows,
        open_notice, open_record,
    },
};
use crate::{
    ledger::{
        Error, SessionState,
        engine::LedgerEngine,
        idempotency::{IdempotencyKeyHash, IdempotencyRecord},
        ledger_clock::ClockReading,
    },
    qod::{Moment, SessionId},
};

const CACHE_BYTES: usize = 64 << 20;

/// A recovered ledger.
pub(super) struct RecoveredLedger {
    pub(super) database: Arc<Database>,
    pub(super) buffer: WriteBuffer,
    pub(super) engine: LedgerEngine,
    /// Sessions whose operator calls were in progress.
    pub(super) pending: Vec<SessionId>,
    /// The ledger clock at the last write.
    pub(super) reading: Option<ClockReading>,
}

/// Why a ledger cannot be recovered.
pub(super) enum RecoveryError {
    Io(io::Error),
    Damaged(String),
    UnknownFormat(String),
    WrongKey,
}

impl RecoveredLedger {
    /// Reads the current file; creates one if there is none.
    pub(super) fn read(file: &dyn LedgerFile, seal: &Seal) -> Result<Self, RecoveryError> {
        if file.current().map_err(RecoveryError::Io)?.is_none() {
            write_new(file, seal)?;
        }
        let current = file.current().map_err(RecoveryError::Io)?;
        let current = current.ok_or_else(|| RecoveryError::Io(io::ErrorKind::NotFound.into()))?;
        Self::from_file(current, seal)
    }

    /// Reads an existing file.
    pub(super) fn from_file(
        file: Box<dyn redb::StorageBackend>,
        seal: &Seal,
    ) -> Result<Self, RecoveryError> {
        let buffer = WriteBuffer::new(file).map_err(RecoveryError::Io)?;
        // redb may panic on damage that it does not detect.
        let read = catch_unwind(AssertUnwindSafe(|| Self::recover(buffer.clone(), seal)));
        let read = read.unwrap_or_else(|_| {
            Err(RecoveryError::Damaged("the content is not readable".to_owned()))
        });
        if read.is_err() {
            buffer.detach();
        }
        read
    }

    fn recover(buffer: WriteBuffer, seal: &Seal) -> Result<Self, RecoveryError> {
        if redb::StorageBackend::len(&buffer).map_err(RecoveryError::Io)? == 0 {
            return Err(RecoveryError::Damaged("the file is empty".to_owned()));
        }
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(buffer.clone())?;
        let read =
            database.begin_read().map_err(|error| RecoveryError::Damaged(error.to_string()))?;
        let meta = read.open_table(META)?;
        let format = meta.get(META_FORMAT)?.map(|value| value.value().to_vec());
        match format.as_deref().map(String::from_utf8_lossy).as_deref() {
            Some(FORMAT) => {}
            Some(other) => return Err(RecoveryError::UnknownFormat(other.to_owned())),
            None => return Err(RecoveryError::Damaged("the format is missing".to_owned())),
        }
        let probe = meta.get(META_SEAL)?;
        let probe = probe.and_then(|probe| seal.open::<String>(META_SEAL, 0, probe.value()).ok());
        if probe.as_deref() != Some(FORMAT) {
            return Err(RecoveryError::WrongKey);
        }
        let reading = meta.get(META_TIME)?;
        let reading: Option<ClockReading> =
            reading.and_then(|time| postcard::from_bytes(time.value()).ok());
        let at = reading.as_ref().map_or_else(Moment::default, ClockReading::at);
        let (mut engine, mut pending) = (LedgerEngine::default(), Vec::new());
        for row in read.open_table(RECORDS)?.iter()? {
            let (id, sealed) = row?;
            let record = open_record(seal, id.value(), sealed.value())
                .map_err(|error| RecoveryError::Damaged(error.to_string()))?;
            if record.state() == SessionState::Pending {
                pending.push(record.session.id);
            }
            engine.restore(&record, at);
        }
        for row in read.open_table(REPLIES)?.iter()? {
            let (key, sealed) = row?;
            let reply: IdempotencyRecord = seal
                .open("replies", key.value(), sealed.value())
                .map_err(|error| RecoveryError::Damaged(error.to_string()))?;
            engine.idempotency.insert(IdempotencyKeyHash(key.value().to_be_bytes()), &reply);
        }
        for row in read.open_table(NOTICES)?.iter()? {
            let (number, sealed) = row?;
            let entry = open_notice(seal, number.value(), sealed.value())
                .map_err(|error| RecoveryError::Damaged(error.to_string()))?;
            engine.outbox.restore(number.value(), entry.client);
        }
        restore_days(&read.open_table(DAYS)?, seal, &mut engine)?;
        drop(read);
        Ok(Self { database: Arc::new(database), buffer, engine, pending, reading })
    }
}

fn restore_days(
    days: &redb::ReadOnlyTable<u128, &'static [u8]>,
    seal: &Seal,
    engine: &mut LedgerEngine,
) -> Result<(), RecoveryError> {
    for row in days.iter()? {
        let (client, sealed) = row?;
        let begun = seal.open("days", client.value(), sealed.value());
        engine.daily_counts.set(begun.map_err(|error| RecoveryError::Damaged(error.to_string()))?);
    }
    Ok(())
}

// Creates a file without rows and makes it the current file; until then it does not count.
fn write_new(file: &dyn LedgerFile, seal: &Seal) -> Result<(), RecoveryError> {
    let buffer = WriteBuffer::new(file.create_new().map_err(RecoveryError::Io)?)
        .map_err(RecoveryError::Io)?;
    let database = Builder::new().create_with_backend(buffer.clone())?;
    let failed = |error: &dyn ToString| RecoveryError::Io(io::Error::other(error.to_string()));
    let write = database.begin_write().map_err(|error| failed(&error))?;
    RedbRows::new(&write, seal)?.put_format().map_err(|error| failed(&error))?;
    write.commit().map_err(|error| failed(&error))?;
    database.close()?;
    buffer.persist(file).map_err(RecoveryError::Io)
}

impl RecoveryError {
    pub(super) fn at_path(self, path: std::path::PathBuf) -> OpenError {
        match self {
            Self::Io(error) => OpenError::Io(path, error),
            Self::Damaged(cause) => OpenError::Damaged(path, cause),
            Self::UnknownFormat(format) => OpenError::UnknownFormat(path, format),
            Self::WrongKey => OpenError::WrongKey(path),
        }
    }
}

// The errors that redb returns for a foreign or truncated file.
fn is_content_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl From<Error> for RecoveryError {
    fn from(error: Error) -> Self {
        Self::Io(io::Error::other(error.to_string()))
    }
}

impl From<StorageError> for RecoveryError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) if is_content_error(&error) => Self::Damaged(error.to_string()),
            StorageError::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for RecoveryError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<redb::TableError> for RecoveryError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}
