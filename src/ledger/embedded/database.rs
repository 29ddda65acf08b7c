//! The rows in a `redb` database, which is one file.

use std::{
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend,
    StorageError, Table, TableDefinition, TableError, WriteTransaction,
};

use super::write_buffer::{LedgerFile, WriteBuffer};
use crate::ledger::{
    Error, OpenError, SyncMode,
    rows::{OpenRows, ReadRows, RowStorage, RowTable, RowsChange, RowsError, WriteRows},
};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const CACHE_BYTES: usize = 64 << 20;

type RowKey = u128;
type RowBytes = &'static [u8];

/// The database file of a ledger.
pub(in crate::ledger) struct EmbeddedStorage(Arc<dyn LedgerFile>);

struct OpenDatabase {
    database: Arc<Database>,
    buffer: WriteBuffer,
    file: Arc<dyn LedgerFile>,
}

struct CommittedTables(Arc<Database>);

struct WriteTables<'t> {
    records: Table<'t, RowKey, RowBytes>,
    replies: Table<'t, RowKey, RowBytes>,
    notices: Table<'t, RowKey, RowBytes>,
    days: Table<'t, RowKey, RowBytes>,
    usage: Table<'t, RowKey, RowBytes>,
    meta: Table<'t, &'static str, RowBytes>,
}

impl EmbeddedStorage {
    pub(super) fn new(file: impl LedgerFile + 'static) -> Self {
        Self(Arc::new(file))
    }
}

impl RowStorage for EmbeddedStorage {
    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }

    fn open(&self) -> Result<Option<Box<dyn OpenRows>>, RowsError> {
        let Some(file) = self.0.current().map_err(RowsError::Io)? else { return Ok(None) };
        let buffer = WriteBuffer::new(file).map_err(RowsError::Io)?;
        // redb may panic on damage that it does not detect.
        let opened = catch_unwind(AssertUnwindSafe(|| open_database(&buffer)));
        let opened = opened
            .unwrap_or_else(|_| Err(RowsError::Damaged("the content is not readable".to_owned())));
        match opened {
            Ok(database) => {
                let (database, file) = (Arc::new(database), Arc::clone(&self.0));
                Ok(Some(Box::new(OpenDatabase { database, buffer, file })))
            }
            Err(error) => {
                buffer.detach();
                Err(error)
            }
        }
    }

    // The new file becomes the current one when it is complete; until then it does not count.
    fn create(&self, change: &mut RowsChange<'_>) -> Result<(), RowsError> {
        let buffer =
            WriteBuffer::new(self.0.create_new().map_err(RowsError::Io)?).map_err(RowsError::Io)?;
        let database = Builder::new().create_with_backend(buffer.clone())?;
        let failed = |error: Error| RowsError::Io(io::Error::other(error.to_string()));
        write(&database, Durability::Immediate, change).map_err(failed)?;
        database.close()?;
        buffer.persist(&*self.0).map_err(RowsError::Io)
    }

    fn hash_secret(&self) -> Result<Option<Vec<u8>>, OpenError> {
        self.0.hash_secret()
    }

    fn write_hash_secret(&self, sealed: &[u8]) -> io::Result<()> {
        self.0.write_hash_secret(sealed)
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

fn open_database(buffer: &WriteBuffer) -> Result<Database, RowsError> {
    if StorageBackend::len(buffer).map_err(RowsError::Io)? == 0 {
        return Err(RowsError::Damaged("the file is empty".to_owned()));
    }
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(buffer.clone())?)
}

fn write(
    database: &Database,
    durability: Durability,
    change: &mut RowsChange<'_>,
) -> Result<(), Error> {
    let mut transaction = database.begin_write().map_err(|error| unavailable(&error))?;
    transaction.set_durability(durability).map_err(|error| unavailable(&error))?;
    let mut tables = WriteTables::new(&transaction).map_err(|error| unavailable(&error))?;
    let is_changed = change(&mut tables)?;
    drop(tables);
    if is_changed {
        transaction.commit().map_err(|error| unavailable(&error))
    } else {
        transaction.abort().map_err(|error| unavailable(&error))
    }
}

impl OpenRows for OpenDatabase {
    fn committed(&self) -> Arc<dyn ReadRows> {
        Arc::new(CommittedTables(Arc::clone(&self.database)))
    }

    fn prepare_writing(&self) -> io::Result<()> {
        self.buffer.persist(&*self.file)
    }

    fn write(&self, sync: SyncMode, change: &mut RowsChange<'_>) -> Result<(), Error> {
        let durability = match sync {
            SyncMode::Durable => Durability::Immediate,
            SyncMode::Relaxed => Durability::None,
        };
        write(&self.database, durability, change)
    }

    // A durable commit includes all earlier ones.
    fn flush(&self) -> Result<(), Error> {
        let transaction = self.database.begin_write().map_err(|error| unavailable(&error))?;
        transaction.commit().map_err(|error| unavailable(&error))
    }

    fn discard(&self) {
        self.buffer.detach();
    }
}

impl ReadRows for CommittedTables {
    fn get(&self, table: RowTable, key: u128) -> Result<Option<Vec<u8>>, RowsError> {
        let read = self.0.begin_read().map_err(|error| RowsError::Damaged(error.to_string()))?;
        let row = read.open_table(definition(table))?.get(key)?;
        Ok(row.map(|row| row.value().to_vec()))
    }

    fn page(
        &self,
        table: RowTable,
        after: Option<u128>,
        rows_max: usize,
    ) -> Result<Vec<(u128, Vec<u8>)>, RowsError> {
        let read = self.0.begin_read().map_err(|error| RowsError::Damaged(error.to_string()))?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let table = read.open_table(definition(table))?;
        let rows = table.range::<u128>((from, Bound::Unbounded))?;
        rows.take(rows_max)
            .map(|row| {
                let (key, row) = row?;
                Ok((key.value(), row.value().to_vec()))
            })
            .collect()
    }

    fn last_key(&self, table: RowTable) -> Result<Option<u128>, RowsError> {
        let read = self.0.begin_read().map_err(|error| RowsError::Damaged(error.to_string()))?;
        Ok(read.open_table(definition(table))?.last()?.map(|(key, _)| key.value()))
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, RowsError> {
        let read = self.0.begin_read().map_err(|error| RowsError::Damaged(error.to_string()))?;
        let value = read.open_table(META)?.get(name)?;
        Ok(value.map(|value| value.value().to_vec()))
    }
}

const fn definition(table: RowTable) -> TableDefinition<'static, RowKey, RowBytes> {
    TableDefinition::new(table.name())
}

impl<'t> WriteTables<'t> {
    fn new(transaction: &'t WriteTransaction) -> Result<Self, TableError> {
        let open = |table| transaction.open_table(definition(table));
        Ok(Self {
            records: open(RowTable::Records)?,
            replies: open(RowTable::Replies)?,
            notices: open(RowTable::Notices)?,
            days: open(RowTable::Days)?,
            usage: open(RowTable::Usage)?,
            meta: transaction.open_table(META)?,
        })
    }

    const fn table(&self, table: RowTable) -> &Table<'t, RowKey, RowBytes> {
        match table {
            RowTable::Records => &self.records,
            RowTable::Replies => &self.replies,
            RowTable::Notices => &self.notices,
            RowTable::Days => &self.days,
            RowTable::Usage => &self.usage,
        }
    }

    const fn table_mut(&mut self, table: RowTable) -> &mut Table<'t, RowKey, RowBytes> {
        match table {
            RowTable::Records => &mut self.records,
            RowTable::Replies => &mut self.replies,
            RowTable::Notices => &mut self.notices,
            RowTable::Days => &mut self.days,
            RowTable::Usage => &mut self.usage,
        }
    }
}

impl WriteRows for WriteTables<'_> {
    fn get(&self, table: RowTable, key: u128) -> Result<Option<Vec<u8>>, Error> {
        let row = self.table(table).get(key).map_err(|error| unavailable(&error))?;
        Ok(row.map(|row| row.value().to_vec()))
    }

    fn put(&mut self, table: RowTable, key: u128, row: &[u8]) -> Result<(), Error> {
        self.table_mut(table).insert(key, row).map(drop).map_err(|error| unavailable(&error))
    }

    fn remove(&mut self, table: RowTable, key: u128) -> Result<(), Error> {
        self.table_mut(table).remove(key).map(drop).map_err(|error| unavailable(&error))
    }

    fn remove_below(
        &mut self,
        table: RowTable,
        end: u128,
        rows_max: usize,
    ) -> Result<usize, Error> {
        let table = self.table_mut(table);
        let mut removed = 0;
        while removed < rows_max {
            let first = table.first().map_err(|error| unavailable(&error))?;
            if first.is_none_or(|(key, _)| key.value() >= end) {
                break;
            }
            table.pop_first().map_err(|error| unavailable(&error))?;
            removed += 1;
        }
        Ok(removed)
    }

    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.meta.insert(name, value).map(drop).map_err(|error| unavailable(&error))
    }
}

// The errors that redb returns for a foreign or truncated file.
fn is_content_error(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn unavailable(error: &dyn ToString) -> Error {
    Error::Unavailable(error.to_string())
}

impl From<StorageError> for RowsError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) if is_content_error(&error) => Self::Damaged(error.to_string()),
            StorageError::Io(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<DatabaseError> for RowsError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TableError> for RowsError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}
