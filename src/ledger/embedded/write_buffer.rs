//! A file that is not changed until its content is known to be valid.
//!
//! A file is opened through a [`WriteBuffer`]: writes of redb's repair stay in memory and reach the
//! disk only after all rows have been read and validated ([`WriteBuffer::persist`]). So a file that
//! is damaged, foreign or of another version is not changed, and a ledger on a full disk can still
//! be read.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::StorageBackend;

use crate::ledger::OpenError;

const BLOCK: usize = 4096;
const COPY_BYTES: usize = 1 << 20;

/// The location of a ledger's file.
pub(super) trait LedgerFile: Send + Sync {
    /// Tries to acquire the right to write. Returns `false` while another process has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// Opens the current file; `None` if there is none yet.
    fn current(&self) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Creates a new, empty file beside the current one.
    fn create_new(&self) -> io::Result<Box<dyn StorageBackend>>;
    /// Replaces the current file with the new one, durably.
    fn replace_current(&self) -> io::Result<()>;
    /// Reads the sealed hash secret; `None` if there is no ledger yet.
    fn hash_secret(&self) -> Result<Option<Vec<u8>>, OpenError>;
    /// Replaces the sealed hash secret, durably.
    fn write_hash_secret(&self, sealed: &[u8]) -> io::Result<()>;
    /// The location, for messages.
    fn location(&self) -> String;
}

/// A file whose writes are buffered until [`WriteBuffer::persist`] and fail after
/// [`WriteBuffer::detach`].
#[derive(Clone, Debug)]
pub(super) struct WriteBuffer(Arc<WriteBufferInner>);

#[derive(Debug)]
struct WriteBufferInner {
    state: RwLock<BufferState>,
    detached: AtomicBool,
}

#[derive(Debug)]
struct BufferState {
    file: Box<dyn StorageBackend>,
    // `None` after [`WriteBuffer::persist`].
    buffered: Option<BufferedWrites>,
}

// Buffered writes to a file, in blocks.
#[derive(Debug)]
struct BufferedWrites {
    length: u64,
    // Content of the file beyond this length is ignored.
    file_length: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl WriteBuffer {
    pub(super) fn new(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let length = file.len()?;
        let buffered =
            Some(BufferedWrites { length, file_length: length, blocks: BTreeMap::new() });
        Ok(Self(Arc::new(WriteBufferInner {
            state: RwLock::new(BufferState { file, buffered }),
            detached: AtomicBool::new(false),
        })))
    }

    /// Writes the buffered content to disk; later writes go to the file directly.
    ///
    /// The whole content is written to a new file that then replaces the old one, so that one of
    /// the two is complete at every moment. A new file also avoids relying on pages whose fsync
    /// failed before: Linux marks them as clean although they were not written.
    pub(super) fn persist(&self, location: &dyn LedgerFile) -> io::Result<()> {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        let BufferState { file, buffered } = &mut *state;
        let Some(written) = buffered else { return Ok(()) };
        let fresh = location.create_new()?;
        fresh.set_len(written.length)?;
        let mut chunk = vec![0; COPY_BYTES];
        let mut at = 0;
        while at < written.length {
            let left = usize::try_from(written.length - at).unwrap_or(COPY_BYTES);
            let chunk = chunk.get_mut(..left.min(COPY_BYTES)).unwrap_or_default();
            written.read(&**file, at, chunk)?;
            fresh.write(at, chunk)?;
            at += chunk.len() as u64;
        }
        fresh.sync_data()?;
        location.replace_current()?;
        *file = fresh;
        *buffered = None;
        Ok(())
    }

    /// Makes all later access to the file fail, for every clone.
    pub(super) fn detach(&self) {
        self.0.detached.store(true, Ordering::SeqCst);
    }
}

impl WriteBufferInner {
    fn state(&self) -> io::Result<RwLockReadGuard<'_, BufferState>> {
        if self.detached.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file was detached"));
        }
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    // Changes the buffer, or the file if nothing is buffered any more.
    fn change(
        &self,
        in_file: impl FnOnce(&dyn StorageBackend) -> io::Result<()>,
        in_buffer: impl FnOnce(&mut BufferedWrites, &dyn StorageBackend) -> io::Result<()>,
    ) -> io::Result<()> {
        let state = self.state()?;
        if state.buffered.is_none() {
            return in_file(&*state.file);
        }
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            BufferState { file, buffered: Some(buffered) } => in_buffer(buffered, &**file),
            BufferState { file, buffered: None } => in_file(&**file),
        }
    }
}

impl StorageBackend for WriteBuffer {
    fn len(&self) -> io::Result<u64> {
        let state = self.0.state()?;
        state.buffered.as_ref().map_or_else(|| state.file.len(), |buffered| Ok(buffered.length))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.state()?;
        match &state.buffered {
            Some(buffered) => buffered.read(&*state.file, offset, out),
            None => state.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let in_buffer = |buffered: &mut BufferedWrites, _: &dyn StorageBackend| {
            buffered.cut(len);
            Ok(())
        };
        self.0.change(|file| file.set_len(len), in_buffer)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.change(StorageBackend::sync_data, |_, _| Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change(
            |file| file.write(offset, data),
            |buffered, file| buffered.write(file, offset, data),
        )
    }
}

impl BufferedWrites {
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

// A byte range within one block.
struct BlockRange {
    block: u64,
    inside: std::ops::Range<usize>,
}

// Splits a byte range of a file into blocks.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (std::ops::Range<usize>, BlockRange)> {
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
        Some((part, BlockRange { block: at / BLOCK as u64, inside: begin..begin + count }))
    })
}

#[cfg(test)]
mod tests;
