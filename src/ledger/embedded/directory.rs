//! The directory of a ledger: its files, its lock, the key that seals rows and the sealed secret that
//! hashes names.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use redb::StorageBackend;

use super::write_buffer::LedgerFile;
use crate::{
    ledger::OpenError,
    qod::Secret,
    reloadable::{open_regular, read_regular},
};

const LEDGER: &str = "ledger.redb";
const NEW_LEDGER: &str = "ledger.redb.new";
const LOCK: &str = "ledger.lock";
const KEY: &str = "ledger.key";
const HASH_SECRET: &str = "ledger.names";
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A ledger directory and its write lock.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

/// A file that is read and written directly.
#[derive(Debug)]
struct PlainFile(File);

impl Directory {
    /// Creates the directory if needed, accessible by its owner only.
    pub(super) fn new(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| io_error(path, error);
        check_is_directory(path).map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = private_file_options()
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Opens an existing ledger directory.
    pub(super) fn existing(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| io_error(path, error);
        check_is_directory(path).map_err(failed)?;
        match fs::metadata(path.join(LEDGER)) {
            Ok(found) if found.is_file() => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => return Err(OpenError::NotFound(path.display().to_string())),
        }
        let lock = open_regular(&path.join(LOCK)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Reads the key stored in the directory; creates one if there is no ledger yet.
    pub(super) fn stored_key(&self) -> Result<Secret, OpenError> {
        let failed = |error| io_error(&self.path.join(KEY), error);
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
        let failed = |error| io_error(&self.path.join(name), error);
        match read_regular(&self.path.join(name), KEY_FILE_BYTES_MAX) {
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

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl LedgerFile for Directory {
    // The operating system releases the lock when the process ends.
    fn try_lock(&self) -> io::Result<bool> {
        match self.lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn current(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match OpenOptions::new().read(true).write(true).open(self.path.join(LEDGER)) {
            Ok(file) => Ok(Some(Box::new(PlainFile(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_new(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file =
            private_file_options().create(true).truncate(true).open(self.path.join(NEW_LEDGER))?;
        Ok(Box::new(PlainFile(file)))
    }

    fn replace_current(&self) -> io::Result<()> {
        fs::rename(self.path.join(NEW_LEDGER), self.path.join(LEDGER))?;
        self.sync()
    }

    fn hash_secret(&self) -> Result<Option<Vec<u8>>, OpenError> {
        self.read(HASH_SECRET)
    }

    fn write_hash_secret(&self, sealed: &[u8]) -> io::Result<()> {
        self.write(HASH_SECRET, sealed)
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

impl StorageBackend for PlainFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// Checks that the user of this process can keep a ledger in this directory, or can create it. Changes
/// nothing.
pub(super) fn check_directory(path: &Path) -> io::Result<()> {
    check_is_directory(path)?;
    let existing = path.ancestors().find(|part| part.is_dir()).unwrap_or_else(|| Path::new("."));
    let write = AccessFlags::W_OK | AccessFlags::X_OK;
    check_access(existing, write)?;
    let files = [LEDGER, LOCK].map(|name| path.join(name));
    for file in files.iter().filter(|file| file.exists()) {
        check_access(file, AccessFlags::R_OK | AccessFlags::W_OK)?;
    }
    Ok(())
}

fn check_access(path: &Path, access: AccessFlags) -> io::Result<()> {
    faccessat(AT_FDCWD, path, access, AtFlags::AT_EACCESS).map_err(io::Error::from)
}

// The error of a file in the place of a directory says so.
fn check_is_directory(path: &Path) -> io::Result<()> {
    let existing = path.ancestors().map(fs::metadata).find_map(|found| match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found),
    });
    match existing {
        Some(Ok(found)) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io(path.display().to_string(), error)
}

fn private_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests;
