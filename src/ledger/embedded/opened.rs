//! A ledger's file, read whole and understood: what every start begins with, and every new start
//! after a failure.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError};

use super::{
    CannotOpen, Seal,
    disk::{Held, Place},
    rows::{
        DAYS, FORMAT, META, META_FORMAT, META_SEAL, META_TIME, NOTICES, RECORDS, REPLIES, Rows,
        open_notice, open_record,
    },
};
use crate::{
    ledger::{
        Error, State,
        book::Book,
        hand::Reading,
        repeat::{RepeatKey, Reply},
    },
    qod::{Moment, SessionId},
};

const CACHE_BYTES: usize = 64 << 20;

/// See the module.
pub(super) struct Opened {
    pub(super) database: Arc<Database>,
    pub(super) held: Held,
    pub(super) book: Book,
    /// Those whose operators were being asked.
    pub(super) pending: Vec<SessionId>,
    /// What time it was when it was written last.
    pub(super) reading: Option<Reading>,
}

/// Why a file is not understood.
pub(super) enum Fault {
    Io(io::Error),
    Damaged(String),
    UnknownFormat(String),
    WrongKey,
}

impl Opened {
    /// Reads the file of a place; makes one, if there is none.
    pub(super) fn read(place: &dyn Place, seal: &Seal) -> Result<Self, Fault> {
        if place.current().map_err(Fault::Io)?.is_none() {
            write_new(place, seal)?;
        }
        let file = place.current().map_err(Fault::Io)?;
        let file = file.ok_or_else(|| Fault::Io(io::ErrorKind::NotFound.into()))?;
        Self::of(file, seal)
    }

    /// Reads a file that exists.
    pub(super) fn of(file: Box<dyn redb::StorageBackend>, seal: &Seal) -> Result<Self, Fault> {
        let held = Held::new(file).map_err(Fault::Io)?;
        // What is damaged in a way that redb has not thought of makes it panic.
        let read = catch_unwind(AssertUnwindSafe(|| Self::over(held.clone(), seal)));
        let read = read.unwrap_or_else(|_| Err(Fault::Damaged("it cannot be made out".to_owned())));
        if read.is_err() {
            held.give_up();
        }
        read
    }

    fn over(held: Held, seal: &Seal) -> Result<Self, Fault> {
        if redb::StorageBackend::len(&held).map_err(Fault::Io)? == 0 {
            return Err(Fault::Damaged("it is empty".to_owned()));
        }
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(held.clone())?;
        let read = database.begin_read().map_err(|error| Fault::Damaged(error.to_string()))?;
        let meta = read.open_table(META)?;
        let format = meta.get(META_FORMAT)?.map(|value| value.value().to_vec());
        match format.as_deref().map(String::from_utf8_lossy).as_deref() {
            Some(FORMAT) => {}
            Some(other) => return Err(Fault::UnknownFormat(other.to_owned())),
            None => return Err(Fault::Damaged("it does not tell its format".to_owned())),
        }
        let probe = meta.get(META_SEAL)?;
        let probe = probe.and_then(|probe| seal.open::<String>(META_SEAL, 0, probe.value()).ok());
        if probe.as_deref() != Some(FORMAT) {
            return Err(Fault::WrongKey);
        }
        let reading = meta.get(META_TIME)?;
        let reading: Option<Reading> =
            reading.and_then(|time| postcard::from_bytes(time.value()).ok());
        let at = reading.as_ref().map_or_else(Moment::default, Reading::at);
        let (mut book, mut pending) = (Book::default(), Vec::new());
        for row in read.open_table(RECORDS)?.iter()? {
            let (id, sealed) = row?;
            let record = open_record(seal, id.value(), sealed.value())
                .map_err(|error| Fault::Damaged(error.to_string()))?;
            if record.state() == State::Pending {
                pending.push(record.session.id);
            }
            book.restore(&record, at);
        }
        let mut replies = Vec::new();
        for row in read.open_table(REPLIES)?.iter()? {
            let (key, sealed) = row?;
            let reply: Reply = seal
                .open("replies", key.value(), sealed.value())
                .map_err(|error| Fault::Damaged(error.to_string()))?;
            replies.push((reply.until, RepeatKey(key.value().to_be_bytes())));
        }
        replies.sort_unstable_by_key(|(until, _)| *until);
        for (until, key) in replies {
            book.replies.add(key, until);
        }
        for row in read.open_table(NOTICES)?.iter()? {
            let (number, sealed) = row?;
            let notice = open_notice(seal, number.value(), sealed.value())
                .map_err(|error| Fault::Damaged(error.to_string()))?;
            book.outbox.restore(number.value(), notice.client);
        }
        match read.open_table(DAYS) {
            Ok(days) => restore_days(&days, seal, &mut book)?,
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        drop(read);
        Ok(Self { database: Arc::new(database), held, book, pending, reading })
    }
}

fn restore_days(
    days: &redb::ReadOnlyTable<u128, &'static [u8]>,
    seal: &Seal,
    book: &mut Book,
) -> Result<(), Fault> {
    for row in days.iter()? {
        let (client, sealed) = row?;
        let begun = seal.open("days", client.value(), sealed.value());
        book.days.restore(begun.map_err(|error| Fault::Damaged(error.to_string()))?);
    }
    Ok(())
}

// Makes a file without rows, and puts it in place: until then nothing of it counts.
fn write_new(place: &dyn Place, seal: &Seal) -> Result<(), Fault> {
    let held = Held::new(place.fresh().map_err(Fault::Io)?).map_err(Fault::Io)?;
    let database = Builder::new().create_with_backend(held.clone())?;
    let failed = |error: &dyn ToString| Fault::Io(io::Error::other(error.to_string()));
    let write = database.begin_write().map_err(|error| failed(&error))?;
    Rows::new(&write, seal)?.put_format().map_err(|error| failed(&error))?;
    write.commit().map_err(|error| failed(&error))?;
    database.close()?;
    held.settle(place).map_err(Fault::Io)
}

impl Fault {
    pub(super) fn at(self, path: std::path::PathBuf) -> CannotOpen {
        match self {
            Self::Io(error) => CannotOpen::Io(path, error),
            Self::Damaged(what) => CannotOpen::Damaged(path, what),
            Self::UnknownFormat(format) => CannotOpen::UnknownFormat(path, format),
            Self::WrongKey => CannotOpen::WrongKey(path),
        }
    }
}

// What redb says of a file that is none of its own, or too short.
fn is_of_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Io(io::Error::other(error.to_string()))
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) if is_of_content(&error) => Self::Damaged(error.to_string()),
            StorageError::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<redb::TableError> for Fault {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}
