//! What is kept in a file and may be changed there while the gateway runs: read anew now and then,
//! and kept as it was if it cannot be.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::{
    clock::{Clock, Tick},
    qod::Secret,
};

const FILE_BYTES_MAX: u64 = 16 << 10;

/// Between two looks at a file that every call depends on.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// All that is in a file of at most 16 KiB.
///
/// # Errors
/// Why it cannot be read, with its path and nothing of what is in it.
pub fn secret_of(path: &Path) -> Result<Secret, String> {
    let cannot = |error| format!("`{}` cannot be read: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("`{}` is not a file of at most 16 KiB", path.display()));
    }
    std::fs::read_to_string(path).map_err(cannot).map(Secret::new)
}

/// How a secret's text is read, and what is wrong with it otherwise.
pub type Read<T> = fn(&Secret) -> Result<T, String>;

/// A secret as it is used, and where it is kept.
pub struct Kept<T> {
    held: ArcSwap<Held<T>>,
    file: Option<File<T>>,
}

struct Held<T> {
    value: Arc<T>,
    text: [u8; 32],
}

struct File<T> {
    path: PathBuf,
    read: Read<T>,
    looked: Mutex<Looked>,
}

#[derive(Default)]
struct Looked {
    at: Option<Tick>,
    in_vain: bool,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// What never changes.
    pub fn fixed(value: T) -> Self {
        let held = Held { value: Arc::new(value), text: [0; 32] };
        Self { held: ArcSwap::from_pointee(held), file: None }
    }

    /// What is in a file.
    ///
    /// # Errors
    /// Why it cannot be read, with nothing of what is in it.
    pub fn of_file(path: PathBuf, read: Read<T>) -> Result<Self, String> {
        let text = secret_of(&path)?;
        let held = Held { value: Arc::new(read(&text)?), text: digest(&text) };
        let file = File { path, read, looked: Mutex::default() };
        Ok(Self { held: ArcSwap::from_pointee(held), file: Some(file) })
    }

    /// As it is now; a file is looked at again if the last look is so long ago.
    pub async fn current(&self, clock: &Clock, every: Duration) -> Arc<T> {
        if let Some(file) = &self.file
            // Whoever comes while somebody looks takes what there is.
            && let Ok(mut looked) = file.looked.try_lock()
            && looked.at.is_none_or(|at| clock.elapsed(at) >= every)
        {
            looked.at = Some(clock.tick());
            let seen = self.look(file).await;
            if let Err(fault) = &seen
                && !looked.in_vain
            {
                tracing::warn!(fault, "a secret stays as it was");
            }
            looked.in_vain = seen.is_err();
        }
        Arc::clone(&self.held.load().value)
    }

    async fn look(&self, file: &File<T>) -> Result<(), String> {
        let path = file.path.clone();
        // A disk may be slow, or a network's.
        let reading = tokio::task::spawn_blocking(move || secret_of(&path)).await;
        let text = reading.map_err(|ended| ended.to_string())??;
        let digest = digest(&text);
        if self.held.load().text != digest {
            let value = Arc::new((file.read)(&text)?);
            self.held.store(Arc::new(Held { value, text: digest }));
            tracing::info!(file = %file.path.display(), "a secret was changed");
        }
        Ok(())
    }
}

fn digest(text: &Secret) -> [u8; 32] {
    Sha256::digest(text.reveal()).into()
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
