//! Reads the ledger of a gateway that is not running. Nothing is written: changes by a repair stay
//! in memory.

use std::fmt;

use super::{
    Error, OpenError, SessionRecord, StoreConfig, UsageCursor, UsagePage, UsagePeriod,
    keys::{HashSecret, SealKeys},
    recovery::{RecoveredLedger, RecoveryError},
    rows::RowStorage,
    sealed_rows::SealedReader,
};
use crate::qod::SessionId;

/// Reads a ledger offline. While this value exists, no gateway can start with it.
pub struct OfflineReader {
    recovered: RecoveredLedger,
    storage: Box<dyn RowStorage>,
    seals: SealKeys,
}

impl OfflineReader {
    /// Opens the ledger of a store and reads all of it.
    ///
    /// # Errors
    /// If the store is in memory only, or if there is no ledger, or it is in use, damaged, of another
    /// format, or sealed with another key.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        config.open_offline()
    }

    pub(super) fn new(storage: Box<dyn RowStorage>, seals: &SealKeys) -> Result<Self, OpenError> {
        for seal in seals.iter() {
            match RecoveredLedger::read(&*storage, seal) {
                Ok(recovered) => {
                    let seals = seals.clone();
                    return Ok(Self { recovered, storage, seals });
                }
                Err(RecoveryError::WrongKey) => {}
                Err(error) => return Err(error.at(storage.location())),
            }
        }
        Err(OpenError::WrongKey(storage.location()))
    }

    pub(super) fn reader(&self) -> &SealedReader {
        &self.recovered.reader
    }

    /// The secret that hashes names.
    pub(super) fn hash_secret(&self) -> Result<HashSecret, OpenError> {
        HashSecret::read(&*self.storage, &self.seals)?
            .ok_or_else(|| OpenError::NotFound(self.storage.location()))
    }

    /// Finds a record.
    pub fn find(&self, id: &SessionId) -> Result<Option<SessionRecord>, Error> {
        self.recovered.reader.record(id)
    }

    /// The usage records after `after` that belong to a period.
    pub fn usage(
        &self,
        after: Option<UsageCursor>,
        period: UsagePeriod,
        records_max: usize,
    ) -> Result<UsagePage, Error> {
        self.recovered.reader.usage(after, period, records_max)
    }

    /// Lists the records after `after`, in the order of their ids.
    pub fn page(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.recovered.reader.records(after, records_max)
    }
}

impl Drop for OfflineReader {
    fn drop(&mut self) {
        self.recovered.rows.discard();
    }
}

impl fmt::Debug for OfflineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfflineReader")
    }
}
