//! Where the file stands, and how little is done to it before it is known to be sound.
//!
//! A file is opened through [`Held`]: what redb writes while it repairs is kept in memory, and
//! reaches the disk only when all rows have been read and understood ([`Held::settle`]). So a file
//! that is damaged, foreign or of another version stays as it is, and one on a full disk can still be
//! read.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::StorageBackend;

use super::{CannotOpen, Seal, keys::Names};

pub(super) const LEDGER: &str = "ledger.redb";
const FRESH: &str = "ledger.redb.new";
const LOCK: &str = "ledger.lock";
const BLOCK: usize = 4096;
const COPIED_AT_ONCE: usize = 1 << 20;

/// Where a ledger's file stands.
pub(super) trait Place: Send {
    /// Is it ours now, if it was another process' before?
    fn is_free(&self) -> io::Result<bool>;
    /// The file; nothing, if there is none yet.
    fn current(&self) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// A new, empty file beside it.
    fn fresh(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Puts the new file in the other's place, for good.
    fn put_in_place(&self) -> io::Result<()>;
    /// What to call it.
    fn path(&self) -> PathBuf;
    /// All rows are sealed with this one now: so must be what stands beside them.
    fn sealed_anew(&self, seal: &Seal) -> io::Result<()>;
}

/// A directory, and the right to write in it.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    lock: File,
    pub(super) names: OnceLock<Names>,
}

/// A file.
#[derive(Debug)]
struct Whole(File);

/// A file that nothing is written to until [`Held::settle`], nor after [`Held::give_up`].
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<HeldFile>);

#[derive(Debug)]
struct HeldFile {
    stand: RwLock<Stand>,
    gone: AtomicBool,
}

#[derive(Debug)]
struct Stand {
    file: Box<dyn StorageBackend>,
    // Nothing, once settled.
    kept: Option<Kept>,
}

// What is written over a file, in blocks.
#[derive(Debug)]
struct Kept {
    length: u64,
    // What the file holds beyond this is not read any more.
    file_length: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Directory {
    /// Makes it, if need be, readable for its owner only.
    pub(super) fn new(path: &Path) -> Result<Self, CannotOpen> {
        let failed = |error| CannotOpen::Io(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = own().create(true).truncate(false).open(path.join(LOCK)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), lock, names: OnceLock::new() })
    }

    /// One that exists.
    pub(super) fn existing(path: &Path) -> Result<Self, CannotOpen> {
        if !path.join(LEDGER).is_file() {
            return Err(CannotOpen::Nothing(path.to_owned()));
        }
        let failed = |error| CannotOpen::Io(path.to_owned(), error);
        let lock = File::open(path.join(LOCK)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), lock, names: OnceLock::new() })
    }

    /// Takes the right to write; the system takes it back when the process is gone.
    pub(super) fn try_lock(&self) -> Result<bool, CannotOpen> {
        self.is_free().map_err(|error| CannotOpen::Io(self.path.clone(), error))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Place for Directory {
    fn is_free(&self) -> io::Result<bool> {
        match self.lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn current(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match OpenOptions::new().read(true).write(true).open(self.path.join(LEDGER)) {
            Ok(file) => Ok(Some(Box::new(Whole(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn fresh(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = own().create(true).truncate(true).open(self.path.join(FRESH))?;
        Ok(Box::new(Whole(file)))
    }

    fn put_in_place(&self) -> io::Result<()> {
        fs::rename(self.path.join(FRESH), self.path.join(LEDGER))?;
        self.sync()
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn sealed_anew(&self, seal: &Seal) -> io::Result<()> {
        self.names.get().map_or(Ok(()), |names| self.write_names(names, seal))
    }
}

pub(super) fn own() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl StorageBackend for Whole {
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

impl Held {
    pub(super) fn new(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let length = file.len()?;
        let kept = Some(Kept { length, file_length: length, blocks: BTreeMap::new() });
        Ok(Self(Arc::new(HeldFile {
            stand: RwLock::new(Stand { file, kept }),
            gone: AtomicBool::new(false),
        })))
    }

    /// Lets what was written reach the disk, and whatever is written from now on.
    ///
    /// All of it is written into a new file that then takes the other's place, so that there is no
    /// moment at which neither is whole; and nothing is left to stand on that a disk which failed
    /// to sync may not have. (Linux takes a page that it could not write for written.)
    pub(super) fn settle(&self, place: &dyn Place) -> io::Result<()> {
        let mut stand = self.0.stand.write().unwrap_or_else(PoisonError::into_inner);
        let Stand { file, kept } = &mut *stand;
        let Some(written) = kept else { return Ok(()) };
        let fresh = place.fresh()?;
        fresh.set_len(written.length)?;
        let mut part = vec![0; COPIED_AT_ONCE];
        let mut at = 0;
        while at < written.length {
            let left = usize::try_from(written.length - at).unwrap_or(COPIED_AT_ONCE);
            let part = part.get_mut(..left.min(COPIED_AT_ONCE)).unwrap_or_default();
            written.read(&**file, at, part)?;
            fresh.write(at, part)?;
            at += part.len() as u64;
        }
        fresh.sync_data()?;
        place.put_in_place()?;
        *file = fresh;
        *kept = None;
        Ok(())
    }

    /// Lets nothing more reach the file, whoever still has it.
    pub(super) fn give_up(&self) {
        self.0.gone.store(true, Ordering::SeqCst);
    }
}

impl HeldFile {
    fn stand(&self) -> io::Result<RwLockReadGuard<'_, Stand>> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file was given up"));
        }
        Ok(self.stand.read().unwrap_or_else(PoisonError::into_inner))
    }

    // Changes what is kept; if nothing is any more, the file.
    fn change(
        &self,
        in_file: impl FnOnce(&dyn StorageBackend) -> io::Result<()>,
        in_kept: impl FnOnce(&mut Kept, &dyn StorageBackend) -> io::Result<()>,
    ) -> io::Result<()> {
        let stand = self.stand()?;
        if stand.kept.is_none() {
            return in_file(&*stand.file);
        }
        drop(stand);
        let mut stand = self.stand.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *stand {
            Stand { file, kept: Some(kept) } => in_kept(kept, &**file),
            Stand { file, kept: None } => in_file(&**file),
        }
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        let stand = self.0.stand()?;
        stand.kept.as_ref().map_or_else(|| stand.file.len(), |kept| Ok(kept.length))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let stand = self.0.stand()?;
        match &stand.kept {
            Some(kept) => kept.read(&*stand.file, offset, out),
            None => stand.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let in_kept = |kept: &mut Kept, _: &dyn StorageBackend| {
            kept.cut(len);
            Ok(())
        };
        self.0.change(|file| file.set_len(len), in_kept)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.change(StorageBackend::sync_data, |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change(|file| file.write(offset, data), |kept, file| kept.write(file, offset, data))
    }
}

impl Kept {
    fn cut(&mut self, length: u64) {
        self.length = length;
        self.file_length = self.file_length.min(length);
        let block = BLOCK as u64;
        self.blocks.split_off(&length.div_ceil(block));
        let inside = usize::try_from(length % block).unwrap_or_default();
        if let Some(last) = self.blocks.get_mut(&(length / block)) {
            last.iter_mut().skip(inside).for_each(|byte| *byte = 0);
        }
    }

    fn read(&self, file: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= self.length);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_file = self.file_length.saturating_sub(offset).min(out.len() as u64);
        let in_file = usize::try_from(in_file).unwrap_or(out.len());
        let (from_file, beyond) = out.split_at_mut(in_file);
        if !from_file.is_empty() {
            file.read(offset, from_file)?;
        }
        beyond.fill(0);
        for (part, at) in parts(offset, out.len()) {
            let Some(block) = self.blocks.get(&at.block) else { continue };
            if let (Some(to), Some(from)) = (out.get_mut(part), block.get(at.inside)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &dyn StorageBackend, offset: u64, data: &[u8]) -> io::Result<()> {
        self.length = self.length.max(offset.saturating_add(data.len() as u64));
        for (part, at) in parts(offset, data.len()) {
            if !self.blocks.contains_key(&at.block) {
                let mut bytes = Box::new([0; BLOCK]);
                let from = at.block.saturating_mul(BLOCK as u64);
                let known = self.file_length.saturating_sub(from).min(BLOCK as u64);
                let known = usize::try_from(known).unwrap_or(BLOCK);
                if let Some(bytes) = bytes.get_mut(..known).filter(|bytes| !bytes.is_empty()) {
                    file.read(from, bytes)?;
                }
                self.blocks.insert(at.block, bytes);
            }
            let Some(block) = self.blocks.get_mut(&at.block) else { continue };
            if let (Some(to), Some(from)) = (block.get_mut(at.inside), data.get(part)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }
}

// Where a part of a stretch stands.
struct At {
    block: u64,
    inside: std::ops::Range<usize>,
}

// A stretch of a file, block by block.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (std::ops::Range<usize>, At)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let at = offset.saturating_add(done as u64);
        let begin = usize::try_from(at % BLOCK as u64).unwrap_or_default();
        let count = (BLOCK - begin).min(length - done);
        let part = done..done + count;
        done += count;
        Some((part, At { block: at / BLOCK as u64, inside: begin..begin + count }))
    })
}

#[cfg(test)]
pub(super) mod tests;
