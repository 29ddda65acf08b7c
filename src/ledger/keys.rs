//! The keys of a ledger: the keys that seal rows, and the secret that hashes names. The secret stays
//! the same when the key changes; it is stored beside the rows, sealed.

use std::{fmt, io, sync::Arc};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{OpenError, rows::RowStorage, seal::Seal};
use crate::qod::Secret;

/// The name to which the sealed hash secret is bound.
const HASH_SECRET: &str = "ledger.names";

/// The secret that hashes names.
#[derive(Clone)]
pub(super) struct HashSecret([u8; 32]);

/// The seals of the current key and of previous keys.
#[derive(Clone, Debug)]
pub(super) struct SealKeys {
    pub(super) current: Arc<Seal>,
    pub(super) previous: Vec<Arc<Seal>>,
}

/// All keys of a ledger.
#[derive(Debug)]
pub(super) struct LedgerKeys {
    pub(super) seals: SealKeys,
    pub(super) hash_secret: HashSecret,
}

impl HashSecret {
    pub(super) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn random() -> Self {
        Self(StdRng::from_os_rng().random())
    }

    pub(super) const fn secret(&self) -> [u8; 32] {
        self.0
    }

    /// Reads the secret of a storage; `None` if there is no ledger yet.
    pub(super) fn read(
        storage: &dyn RowStorage,
        seals: &SealKeys,
    ) -> Result<Option<Self>, OpenError> {
        let Some(sealed) = storage.hash_secret()? else { return Ok(None) };
        let secret = seals.iter().find_map(|seal| seal.open(HASH_SECRET, 0, sealed.clone()).ok());
        let secret = secret.ok_or_else(|| OpenError::WrongKey(storage.location()))?;
        Ok(Some(Self(secret)))
    }
}

impl SealKeys {
    /// Derives the seals of the current and previous keys.
    pub(super) fn new(current: &Secret, previous: &[Secret]) -> Result<Self, OpenError> {
        let seal = |key| Seal::new(key).map(Arc::new);
        let previous = previous.iter().map(seal).collect::<Result<_, _>>()?;
        Ok(Self { current: seal(current)?, previous })
    }

    /// All seals, the current one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Seal>> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl LedgerKeys {
    /// Reads the secret that hashes names; creates one if there is no ledger yet.
    pub(super) fn load(storage: &dyn RowStorage, seals: SealKeys) -> Result<Self, OpenError> {
        let Some(hash_secret) = HashSecret::read(storage, &seals)? else {
            let hash_secret = HashSecret::random();
            let keys = Self { seals, hash_secret };
            let written = keys.write_hash_secret(storage);
            written.map_err(|error| OpenError::Io(storage.location(), error))?;
            return Ok(keys);
        };
        Ok(Self { seals, hash_secret })
    }

    /// Stores the secret that hashes names, sealed with the current key.
    pub(super) fn write_hash_secret(&self, storage: &dyn RowStorage) -> io::Result<()> {
        let sealed = self.seals.current.seal(HASH_SECRET, 0, &self.hash_secret.secret());
        storage.write_hash_secret(&sealed.map_err(io::Error::other)?)
    }
}

impl fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
