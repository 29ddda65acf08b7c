//! The embedded storage: a `redb` database in a directory, for one process at a time.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{OpenError, OpenMode, SyncMode};
use crate::qod::Secret;

mod database;
mod directory;
mod write_buffer;

pub(super) use self::database::EmbeddedStorage;
use self::{directory::Directory, write_buffer::LedgerFile};

/// The settings of the embedded storage.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The directory of the ledger. It must contain nothing else.
    pub directory: PathBuf,
    /// When a change counts as written.
    pub sync: SyncMode,
    /// The key that seals records; if `None`, a generated key is stored in the directory.
    pub key: Option<Secret>,
    /// Previous keys. Records sealed with one of them are resealed when the ledger is opened.
    pub previous_keys: Vec<Secret>,
}

/// The files of a ledger, with the key that seals its rows.
pub(super) struct EmbeddedFiles {
    pub(super) storage: EmbeddedStorage,
    /// Whether this process has the right to write.
    pub(super) has_lock: bool,
    pub(super) key: Secret,
}

impl EmbeddedFiles {
    /// Opens a directory, and creates it if it does not exist.
    pub(super) fn open(settings: &EmbeddedSettings, opening: OpenMode) -> Result<Self, OpenError> {
        Self::with_directory(Directory::new(&settings.directory)?, settings, opening)
    }

    /// Opens an existing ledger that no process uses.
    pub(super) fn open_existing(settings: &EmbeddedSettings) -> Result<Self, OpenError> {
        let directory = Directory::existing(&settings.directory)?;
        Self::with_directory(directory, settings, OpenMode::FailIfLocked)
    }

    fn with_directory(
        directory: Directory,
        settings: &EmbeddedSettings,
        opening: OpenMode,
    ) -> Result<Self, OpenError> {
        let location = || settings.directory.display().to_string();
        let has_lock = directory.try_lock().map_err(|error| OpenError::Io(location(), error))?;
        if !has_lock && opening == OpenMode::FailIfLocked {
            return Err(OpenError::InUse(location()));
        }
        // Only the owner of the directory may create a key in it.
        let key = settings.key.clone().map_or_else(|| directory.stored_key(), Ok)?;
        Ok(Self { storage: EmbeddedStorage::new(directory), has_lock, key })
    }
}

/// Checks that the user of this process can keep a ledger in this directory, or can create it. Changes
/// nothing.
pub(super) fn check_directory(path: &Path) -> io::Result<()> {
    directory::check_directory(path)
}

#[cfg(test)]
mod tests;
