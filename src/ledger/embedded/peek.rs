//! A look into the ledger of a gateway that does not run. Nothing is written: what a repair would
//! change stays in memory.

use std::fmt;

use super::{
    super::Error,
    CannotOpen, Record, Settings,
    disk::{Directory, Place},
    opened::{Fault, Opened},
    rows,
    seal::{Seal, Seals},
};
use crate::qod::SessionId;

/// See the module. As long as it lasts, no gateway can start on the directory.
pub struct Peek {
    opened: Opened,
    seal: Seal,
    _directory: Directory,
}

impl Peek {
    /// Reads a ledger whole.
    ///
    /// # Errors
    /// If there is none, or it is in use, damaged, of another format, or sealed with another key.
    pub fn open(settings: &Settings) -> Result<Self, CannotOpen> {
        let directory = Directory::existing(&settings.directory)?;
        if !directory.try_lock()? {
            return Err(CannotOpen::InUse(settings.directory.clone()));
        }
        let Seals { current, old } = directory.seals(settings)?;
        let mut seals = std::iter::once(current).chain(old);
        loop {
            let seal = seals.next().ok_or_else(|| CannotOpen::WrongKey(settings.directory.clone()));
            let seal = seal?;
            let failed = |error| CannotOpen::Io(settings.directory.clone(), error);
            let file = directory.current().map_err(failed)?;
            let file = file.ok_or_else(|| CannotOpen::Nothing(settings.directory.clone()))?;
            match Opened::of(file, &seal) {
                Ok(opened) => return Ok(Self { opened, seal, _directory: directory }),
                Err(Fault::WrongKey) => {}
                Err(fault) => return Err(fault.at(settings.directory.clone())),
            }
        }
    }

    /// A record, as it was written last.
    pub fn find(&self, id: &SessionId) -> Result<Option<Record>, Error> {
        self.read(|records| rows::read_record(records, &self.seal, id))
    }

    /// The records after this one, oldest first, as they were written last.
    pub fn page(&self, after: Option<SessionId>, records_max: usize) -> Result<Vec<Record>, Error> {
        self.read(|records| rows::read_page(records, &self.seal, after, records_max))
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadOnlyTable<u128, &'static [u8]>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        rows::committed(&self.opened.database, rows::RECORDS, read)
    }
}

impl Drop for Peek {
    fn drop(&mut self) {
        self.opened.held.give_up();
    }
}

impl fmt::Debug for Peek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peek")
    }
}
