//! The interface of row storage: rows of bytes, which one process at a time may write.
//!
//! The embedded files implement it. What is above is the same for each storage: `sealed_rows.rs`
//! encrypts the rows, `recovery.rs` reads them at start, `writer.rs` combines changes into
//! transactions.

use std::{io, sync::Arc};

use super::{Error, OpenError};

/// A table. The key of each row has 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowTable {
    Records,
    Replies,
    Notices,
    Days,
    Usage,
}

/// When a change counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// When it is on disk.
    #[default]
    Durable,
    /// When it is in memory; it is on disk within 100 ms. A crash loses changes younger than that.
    Relaxed,
}

/// Why rows cannot be read.
#[derive(Debug)]
pub(super) enum RowsError {
    Io(io::Error),
    Damaged(String),
}

/// A change of rows. Returns whether to commit it.
pub(super) type RowsChange<'a> = dyn FnMut(&mut dyn WriteRows) -> Result<bool, Error> + 'a;

/// The location of a ledger's rows.
pub(super) trait RowStorage: Send {
    /// Tries to acquire the right to write. Returns `false` while another process has it.
    fn try_lock(&self) -> io::Result<bool>;

    /// Opens the rows for reading; `None` if there are none yet. Changes nothing.
    fn open(&self) -> Result<Option<Box<dyn OpenRows>>, RowsError>;

    /// Creates the rows by one change, completely or not at all.
    fn create(&self, change: &mut RowsChange<'_>) -> Result<(), RowsError>;

    /// The sealed secret that hashes names; `None` if there is no ledger yet. It is outside the rows,
    /// because it is read before the right to write is acquired.
    fn hash_secret(&self) -> Result<Option<Vec<u8>>, OpenError>;

    /// Replaces the sealed secret, durably.
    fn write_hash_secret(&self, sealed: &[u8]) -> io::Result<()>;

    /// The location, for messages.
    fn location(&self) -> String;
}

/// Open rows.
pub(super) trait OpenRows: Send {
    /// The last committed rows.
    fn committed(&self) -> Arc<dyn ReadRows>;

    /// Prepares for writing. Call it after all rows are validated, and before the first write; after
    /// an error, it may be called again.
    fn prepare_writing(&self) -> io::Result<()>;

    /// Makes one change in one transaction, and commits it if the change returns `true`. When this
    /// returns, the change is as durable as `sync` requires.
    fn write(&self, sync: SyncMode, change: &mut RowsChange<'_>) -> Result<(), Error>;

    /// Makes earlier relaxed writes durable.
    fn flush(&self) -> Result<(), Error>;

    /// Makes all later access fail, also through [`Self::committed`]: nothing more is written.
    fn discard(&self);
}

/// The last committed rows. Any thread may read them.
pub(super) trait ReadRows: Send + Sync {
    fn get(&self, table: RowTable, key: u128) -> Result<Option<Vec<u8>>, RowsError>;

    /// The rows with keys after `after`, in the order of their keys.
    fn page(
        &self,
        table: RowTable,
        after: Option<u128>,
        rows_max: usize,
    ) -> Result<Vec<(u128, Vec<u8>)>, RowsError>;

    /// The last key of a table.
    fn last_key(&self, table: RowTable) -> Result<Option<u128>, RowsError>;

    /// A value that describes the rows.
    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, RowsError>;
}

/// The rows within one transaction.
pub(super) trait WriteRows {
    fn get(&self, table: RowTable, key: u128) -> Result<Option<Vec<u8>>, Error>;
    fn put(&mut self, table: RowTable, key: u128, row: &[u8]) -> Result<(), Error>;
    fn remove(&mut self, table: RowTable, key: u128) -> Result<(), Error>;
    /// Removes at most `rows_max` rows with keys below `end`, the lowest first. Returns their number.
    fn remove_below(&mut self, table: RowTable, end: u128, rows_max: usize)
    -> Result<usize, Error>;
    fn put_meta(&mut self, name: &str, value: &[u8]) -> Result<(), Error>;
}

impl RowTable {
    pub(super) const ALL: [Self; 5] =
        [Self::Records, Self::Replies, Self::Notices, Self::Days, Self::Usage];

    /// The name of the table, to which its rows are bound.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Replies => "replies",
            Self::Notices => "notices",
            Self::Days => "days",
            Self::Usage => "usage",
        }
    }
}

impl From<RowsError> for Error {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Io(error) => Self::Unavailable(error.to_string()),
            RowsError::Damaged(cause) => Self::Unavailable(cause),
        }
    }
}
