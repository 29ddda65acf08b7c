//! The keys of a directory: the one that rows are sealed with, and the secret that names are hashed
//! with, which stays the same when that key is another.

use std::{
    fmt, fs,
    io::{self, Write},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    CannotOpen, Settings,
    disk::{Directory, LEDGER, own},
    seal::{Seal, Seals},
};
use crate::qod::Secret;

pub(super) const KEY: &str = "ledger.key";
const NAMES: &str = "ledger.names";

/// The secret that names are hashed with.
#[derive(Clone)]
pub(super) struct Names([u8; 32]);

impl Names {
    pub(super) const fn secret(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Directory {
    /// What rows are sealed with, and may have been before.
    pub(super) fn seals(&self, settings: &Settings) -> Result<Seals, CannotOpen> {
        let key = match &settings.key {
            Some(key) => key.clone(),
            None => self.own_key()?,
        };
        Seals::new(&key, &settings.old_keys)
    }

    /// What names are hashed with; a new secret, if there is no ledger to have been written with one.
    pub(super) fn names(&self, seals: &Seals) -> Result<Names, CannotOpen> {
        let failed = |error| CannotOpen::Io(self.path.join(NAMES), error);
        let Some(sealed) = self.read(NAMES)? else {
            let names = Names(StdRng::from_os_rng().random());
            self.write_names(&names, &seals.current).map_err(failed)?;
            return Ok(self.names.get_or_init(|| names).clone());
        };
        let mut all = std::iter::once(&seals.current).chain(&seals.old);
        let opened = all.find_map(|seal| seal.open(NAMES, 0, &sealed).ok());
        let secret = opened.ok_or_else(|| CannotOpen::WrongKey(self.path.clone()))?;
        Ok(self.names.get_or_init(|| Names(secret)).clone())
    }

    pub(super) fn write_names(&self, names: &Names, seal: &Seal) -> io::Result<()> {
        let sealed = seal.seal(NAMES, 0, &names.0).map_err(io::Error::other)?;
        self.write(NAMES, &sealed)
    }

    // The key that is kept here; a new one, if there is no ledger to have been sealed with one.
    pub(super) fn own_key(&self) -> Result<Secret, CannotOpen> {
        let failed = |error| CannotOpen::Io(self.path.join(KEY), error);
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

    // Nothing, if it is not there and need not be.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CannotOpen> {
        let failed = |error| CannotOpen::Io(self.path.join(name), error);
        match fs::read(self.path.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            Err(_) if self.path.join(LEDGER).exists() => {
                let lost = "the ledger is here, and this is not";
                Err(failed(io::Error::new(io::ErrorKind::NotFound, lost)))
            }
            Err(_) => Ok(None),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let beside = self.path.join(format!("{name}.new"));
        let mut file = own().create(true).truncate(true).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, self.path.join(name))?;
        self.sync()
    }
}
