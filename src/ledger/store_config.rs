//! The kinds of stores. Only this file distinguishes them: a new kind is a variant here and a file
//! that implements [`Store`].

use std::{io, sync::Arc};

use super::{
    OfflineReader, OpenError,
    claim::KeyHasher,
    durable::DurableStore,
    embedded::{self, EmbeddedFiles, EmbeddedSettings},
    keys::{LedgerKeys, SealKeys},
    ledger_clock::LedgerClock,
    memory::MemoryStore,
    postgres::{Opening, PostgresSettings},
    store::Store,
};
use crate::{clock::Clock, metrics::Metrics};

/// Where sessions are stored, and how durably.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In memory only: sessions are lost when the process ends.
    InMemory,
    /// In files of this process.
    Embedded(EmbeddedSettings),
    /// In a PostgreSQL database, which several replicas share.
    Postgres(PostgresSettings),
    /// A store for tests, which shows what a new kind needs.
    #[cfg(test)]
    Linear,
}

/// What to do if another process uses the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Return an error.
    FailIfLocked,
    /// Wait until that process has ended; changes wait too.
    WaitForLock,
}

impl StoreConfig {
    /// The location of the sessions, for messages.
    pub fn location(&self) -> String {
        match self {
            Self::Embedded(settings) => settings.directory.display().to_string(),
            Self::Postgres(settings) => settings.location(),
            Self::InMemory => "in memory".to_owned(),
            #[cfg(test)]
            Self::Linear => "in memory".to_owned(),
        }
    }

    /// The kind, for logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Postgres(_) => "postgres",
            Self::InMemory => "memory",
            #[cfg(test)]
            Self::Linear => "linear",
        }
    }

    /// Checks that the user of this process can keep a ledger there. Changes nothing.
    ///
    /// # Errors
    /// If it cannot.
    pub fn check_access(&self) -> io::Result<()> {
        if let Self::Embedded(settings) = self {
            embedded::check_directory(&settings.directory)
        } else {
            Ok(())
        }
    }

    pub(super) fn open(
        &self,
        opening: OpenMode,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<(Arc<dyn Store>, KeyHasher), OpenError> {
        match self {
            #[cfg(test)]
            Self::Linear => Ok((
                Arc::new(super::tests::linear_store::LinearStore::new(LedgerClock::new(clock))),
                KeyHasher::random(),
            )),
            Self::InMemory => {
                Ok((Arc::new(MemoryStore::new(LedgerClock::new(clock))), KeyHasher::random()))
            }
            Self::Postgres(settings) => {
                let (store, hasher) = settings.open(Opening::Replica, &clock, &metrics)?;
                Ok((Arc::new(store), hasher))
            }
            Self::Embedded(settings) => {
                let EmbeddedFiles { storage, has_lock, key } =
                    EmbeddedFiles::open(settings, opening)?;
                let keys =
                    LedgerKeys::load(&storage, SealKeys::new(&key, &settings.previous_keys)?)?;
                let hasher = KeyHasher::new(keys.hash_secret.secret());
                let store =
                    DurableStore::with_storage(storage, settings.sync, keys, clock, metrics);
                let store = if has_lock { store.open()? } else { store.open_when_free() };
                Ok((Arc::new(store), hasher))
            }
        }
    }

    pub(super) fn open_offline(&self) -> Result<OfflineReader, OpenError> {
        let Self::Embedded(settings) = self else { return Err(OpenError::InMemory) };
        let EmbeddedFiles { storage, key, .. } = EmbeddedFiles::open_existing(settings)?;
        let seals = SealKeys::new(&key, &settings.previous_keys)?;
        OfflineReader::new(Box::new(storage), &seals)
    }
}
