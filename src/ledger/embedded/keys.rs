//! The keys of a ledger directory: the key that seals rows, and the secret that hashes names. The
//! secret stays the same when the key changes.

use std::{
    fs,
    io::{self, Write},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    OpenError, Settings,
    disk::{Directory, LEDGER, private_file_options},
    seal::{HashSecret, Seal, SealKeys},
};
use crate::{qod::Secret, reloadable::read_regular};

pub(super) const KEY: &str = "ledger.key";
const HASH_SECRET: &str = "ledger.names";
const FILE_BYTES_MAX: u64 = 64 * 1024;

impl Directory {
    /// The current and previous keys that seal rows.
    pub(super) fn seals(&self, settings: &Settings) -> Result<SealKeys, OpenError> {
        let key = match &settings.key {
            Some(key) => key.clone(),
            None => self.stored_key()?,
        };
        SealKeys::new(&key, &settings.previous_keys)
    }

    /// Reads the secret that hashes names; creates one if there is no ledger yet.
    pub(super) fn hash_secret(&self, seal_keys: &SealKeys) -> Result<HashSecret, OpenError> {
        let failed = |error| OpenError::Io(self.path.join(HASH_SECRET), error);
        let Some(sealed) = self.read(HASH_SECRET)? else {
            let hash_secret = HashSecret::new(StdRng::from_os_rng().random());
            self.write_hash_secret(&hash_secret, &seal_keys.current).map_err(failed)?;
            return Ok(self.hash_secret.get_or_init(|| hash_secret).clone());
        };
        let mut seals = std::iter::once(&seal_keys.current).chain(&seal_keys.previous);
        let secret = seals.find_map(|seal| seal.open(HASH_SECRET, 0, &sealed).ok());
        let secret = secret.ok_or_else(|| OpenError::WrongKey(self.path.clone()))?;
        Ok(self.hash_secret.get_or_init(|| HashSecret::new(secret)).clone())
    }

    pub(super) fn write_hash_secret(
        &self,
        hash_secret: &HashSecret,
        seal: &Seal,
    ) -> io::Result<()> {
        let sealed = seal.seal(HASH_SECRET, 0, &hash_secret.secret()).map_err(io::Error::other)?;
        self.write(HASH_SECRET, &sealed)
    }

    // Reads the key stored in the directory; creates one if there is no ledger yet.
    pub(super) fn stored_key(&self) -> Result<Secret, OpenError> {
        let failed = |error| OpenError::Io(self.path.join(KEY), error);
        if let Some(text) = self.read(KEY)? {
            let text = String::from_utf8(text).map_err(|error| failed(io::Error::other(error)))?;
            return Ok(Secret::new(text));
        }
        let bytes: [u8; 32] = StdRng::from_os_rng().random();
        let text = bytes.map(|byte| [byte >> 4, byte & 15]).into_iter().flatten();
        let text: String = text.filter_map(|digit| char::from_digit(digit.into(), 16)).collect();
        self.write(KEY, text.as_bytes()).map_err(failed)?;
        Ok(Secret::new(text))
    }

    // Returns `None` if the file does not exist and there is no ledger that needs it.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        let failed = |error| OpenError::Io(self.path.join(name), error);
        match read_regular(&self.path.join(name), FILE_BYTES_MAX) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            Err(_) if self.path.join(LEDGER).exists() => {
                let message = "file is missing although the ledger exists";
                Err(failed(io::Error::new(io::ErrorKind::NotFound, message)))
            }
            Err(_) => Ok(None),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = self.path.join(format!("{name}.new"));
        let mut file = private_file_options().create(true).truncate(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path.join(name))?;
        self.sync()
    }
}
