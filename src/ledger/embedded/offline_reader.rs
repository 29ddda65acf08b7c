//! Reads the ledger of a gateway that is not running. Nothing is written: changes by a repair stay
//! in memory.

use std::fmt;

use super::{
    super::Error,
    OpenError, SessionRecord, Settings,
    disk::{Directory, LedgerFile},
    recovery::{RecoveredLedger, RecoveryError},
    rows,
    seal::{Seal, SealKeys},
};
use crate::qod::SessionId;

/// Reads a ledger offline. While this value exists, no gateway can start on the directory.
pub struct OfflineReader {
    recovered: RecoveredLedger,
    seal: Seal,
    _directory: Directory,
}

impl OfflineReader {
    /// Opens a ledger and reads all of it.
    ///
    /// # Errors
    /// If there is no ledger, or it is in use, damaged, of another format, or sealed with another
    /// key.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let directory = Directory::existing(&settings.directory)?;
        if !directory.try_lock()? {
            return Err(OpenError::InUse(settings.directory.clone()));
        }
        let SealKeys { current, previous: old } = directory.seals(settings)?;
        let mut seals = std::iter::once(current).chain(old);
        loop {
            let seal = seals.next().ok_or_else(|| OpenError::WrongKey(settings.directory.clone()));
            let seal = seal?;
            let failed = |error| OpenError::Io(settings.directory.clone(), error);
            let file = directory.current().map_err(failed)?;
            let file = file.ok_or_else(|| OpenError::NotFound(settings.directory.clone()))?;
            match RecoveredLedger::from_file(file, &seal) {
                Ok(recovered) => return Ok(Self { recovered, seal, _directory: directory }),
                Err(RecoveryError::WrongKey) => {}
                Err(error) => return Err(error.at_path(settings.directory.clone())),
            }
        }
    }

    /// Finds a record.
    pub fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        self.read(|records| rows::read_record(records, &self.seal, id))
    }

    /// Lists the records after `after`, in the order of their ids.
    pub fn page(&self, after: Option<SessionId>, max: usize) -> Result<Vec<SessionRecord>, Error> {
        self.read(|records| rows::read_page(records, &self.seal, after, max))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadOnlyTable<u128, &'static [u8]>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        rows::read_committed(&self.recovered.database, rows::RECORDS, read)
    }
}

impl Drop for OfflineReader {
    fn drop(&mut self) {
        self.recovered.buffer.detach();
    }
}

impl fmt::Debug for OfflineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfflineReader")
    }
}
