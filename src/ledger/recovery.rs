//! Recovers a ledger from its rows: reads and validates all of them. Every start begins with this, and
//! every restart of the writer after a failure.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    Error, OpenError, SessionState,
    engine::LedgerEngine,
    ledger_clock::ClockReading,
    rows::{OpenRows, RowStorage, RowsError},
    seal::Seal,
    sealed_rows::{FORMAT, SealedReader, SealedRows},
};
use crate::qod::{Moment, SessionId};

/// A recovered ledger.
pub(super) struct RecoveredLedger {
    pub(super) rows: Box<dyn OpenRows>,
    pub(super) reader: Arc<SealedReader>,
    pub(super) engine: LedgerEngine,
    /// Sessions whose operator calls were in progress.
    pub(super) pending: Vec<SessionId>,
    /// The ledger clock at the last write.
    pub(super) reading: Option<ClockReading>,
}

/// Why a ledger cannot be recovered.
pub(super) enum RecoveryError {
    NotFound,
    Io(io::Error),
    Damaged(String),
    UnknownFormat(String),
    WrongKey,
}

impl RecoveredLedger {
    /// Reads the rows; creates them if there are none.
    pub(super) fn read_or_create(
        storage: &dyn RowStorage,
        seal: &Arc<Seal>,
    ) -> Result<Self, RecoveryError> {
        match Self::read(storage, seal) {
            Err(RecoveryError::NotFound) => {}
            read => return read,
        }
        storage.create(&mut |rows| {
            SealedRows::new(rows, seal).write_format()?;
            Ok(true)
        })?;
        Self::read(storage, seal)
    }

    /// Reads existing rows.
    pub(super) fn read(storage: &dyn RowStorage, seal: &Arc<Seal>) -> Result<Self, RecoveryError> {
        let rows = storage.open()?.ok_or(RecoveryError::NotFound)?;
        let reader = SealedReader::new(rows.committed(), Arc::clone(seal));
        // A storage may panic on damage that it does not detect.
        let read = catch_unwind(AssertUnwindSafe(|| read_all(&reader)));
        let read = read.unwrap_or_else(|_| {
            Err(RecoveryError::Damaged("the content is not readable".to_owned()))
        });
        match read {
            Ok(Content { engine, pending, reading }) => {
                Ok(Self { rows, reader: Arc::new(reader), engine, pending, reading })
            }
            Err(error) => {
                rows.discard();
                Err(error)
            }
        }
    }
}

struct Content {
    engine: LedgerEngine,
    pending: Vec<SessionId>,
    reading: Option<ClockReading>,
}

fn read_all(reader: &SealedReader) -> Result<Content, RecoveryError> {
    match reader.format()?.as_deref() {
        Some(FORMAT) => {}
        Some(other) => return Err(RecoveryError::UnknownFormat(other.to_owned())),
        None => return Err(RecoveryError::Damaged("the format is missing".to_owned())),
    }
    if !reader.has_key()? {
        return Err(RecoveryError::WrongKey);
    }
    let reading = reader.clock_reading()?;
    let at = reading.as_ref().map_or_else(Moment::default, ClockReading::at);
    let (mut engine, mut pending) = (LedgerEngine::default(), Vec::new());
    reader.for_each_record(|record| {
        if record.state() == SessionState::Pending {
            pending.push(record.session.id);
        }
        engine.restore(record, at);
    })?;
    reader.for_each_reply(|key, reply| engine.idempotency.insert(key, reply))?;
    reader.for_each_notification(|number, notice| engine.outbox.restore(number, notice.client))?;
    reader.for_each_daily_count(|count| engine.daily_counts.set(count))?;
    engine.usage.restore(reader.last_usage()?.unwrap_or_default());
    Ok(Content { engine, pending, reading })
}

impl RecoveryError {
    pub(super) fn at(self, location: String) -> OpenError {
        match self {
            Self::NotFound => OpenError::NotFound(location),
            Self::Io(error) => OpenError::Io(location, error),
            Self::Damaged(cause) => OpenError::Damaged(location, cause),
            Self::UnknownFormat(format) => OpenError::UnknownFormat(location, format),
            Self::WrongKey => OpenError::WrongKey(location),
        }
    }
}

impl From<RowsError> for RecoveryError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Io(error) => Self::Io(error),
            RowsError::Damaged(cause) => Self::Damaged(cause),
        }
    }
}

impl From<Error> for RecoveryError {
    fn from(error: Error) -> Self {
        Self::Io(io::Error::other(error.to_string()))
    }
}
