//! What is kept in files and may be changed there while the gateway runs: read anew now and
//! then, and kept as it was if it cannot be.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::{
    clock::{Clock, Tick},
    qod::Secret,
};

const SECRET_KIB_MAX: u64 = 16;
// An authority's certificates can be many.
const FILE_KIB_MAX: u64 = 1024;

/// Between two looks at a file that every call depends on.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// All that is in a file of at most 16 KiB.
///
/// # Errors
/// Why it cannot be read, with its path and nothing of what is in it.
pub fn secret_of(path: &Path) -> Result<Secret, String> {
    text_of(path, SECRET_KIB_MAX)
}

fn text_of(path: &Path, kib_max: u64) -> Result<Secret, String> {
    let cannot = |error| format!("`{}` cannot be read: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > kib_max << 10 {
        return Err(format!("`{}` is not a file of at most {kib_max} KiB", path.display()));
    }
    std::fs::read_to_string(path).map_err(cannot).map(Secret::new)
}

/// How a secret's text is read, and what is wrong with it otherwise.
pub type Read<T> = fn(&Secret) -> Result<T, String>;

/// How the texts of several files are read together.
type ReadAll<T> = Box<dyn Fn(&[Secret]) -> Result<T, String> + Send + Sync>;

/// A secret as it is used, and where it is kept.
pub struct Kept<T> {
    held: ArcSwap<Held<T>>,
    files: Option<Files<T>>,
}

struct Held<T> {
    value: Arc<T>,
    text: [u8; 32],
}

struct Files<T> {
    paths: Arc<[PathBuf]>,
    kib_max: u64,
    read: ReadAll<T>,
    looked: Mutex<Option<Tick>>,
    in_vain: AtomicBool,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// What never changes.
    pub fn fixed(value: T) -> Self {
        let held = Held { value: Arc::new(value), text: [0; 32] };
        Self { held: ArcSwap::from_pointee(held), files: None }
    }

    /// What is in a file of at most 16 KiB.
    ///
    /// # Errors
    /// Why it cannot be read, with nothing of what is in it.
    pub fn of_file(path: PathBuf, read: Read<T>) -> Result<Self, String> {
        let read_all = move |texts: &[Secret]| match texts {
            [text] => read(text),
            _ => Err("expected one file".to_owned()),
        };
        Self::of([path].into(), SECRET_KIB_MAX, Box::new(read_all))
    }

    /// What is in several files together, of at most 1 MiB each; their texts are read in this order.
    ///
    /// # Errors
    /// Why they cannot be read, with nothing of what is in them.
    pub fn of_files(
        paths: Vec<PathBuf>,
        read: impl Fn(&[Secret]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::of(paths.into(), FILE_KIB_MAX, Box::new(read))
    }

    fn of(paths: Arc<[PathBuf]>, kib_max: u64, read: ReadAll<T>) -> Result<Self, String> {
        let texts = texts_of(&paths, kib_max)?;
        let held = Held { value: Arc::new(read(&texts)?), text: digest(&texts) };
        let (looked, in_vain) = (Mutex::default(), AtomicBool::new(false));
        let files = Files { paths, kib_max, read, looked, in_vain };
        Ok(Self { held: ArcSwap::from_pointee(held), files: Some(files) })
    }

    /// As it was when it was last looked at.
    pub fn held(&self) -> Arc<T> {
        Arc::clone(&self.held.load().value)
    }

    /// Was there something at the last look that cannot be used, so that what is held is older?
    pub fn is_stale(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.in_vain.load(Ordering::Relaxed))
    }

    /// As it is now; its files are looked at again if the last look is so long ago.
    pub async fn current(&self, clock: &Clock, every: Duration) -> Arc<T> {
        if let Some(files) = &self.files
            // Whoever comes while somebody looks takes what there is.
            && let Ok(mut looked) = files.looked.try_lock()
            && looked.is_none_or(|at| clock.elapsed(at) >= every)
        {
            *looked = Some(clock.tick());
            let seen = self.look(files).await;
            let told = files.in_vain.swap(seen.is_err(), Ordering::Relaxed);
            if let Err(fault) = &seen
                && !told
            {
                tracing::warn!(
                    fault,
                    "what was changed cannot be used, and what was read before is"
                );
            }
        }
        self.held()
    }

    async fn look(&self, files: &Files<T>) -> Result<(), String> {
        let (paths, kib_max) = (Arc::clone(&files.paths), files.kib_max);
        // A disk may be slow, or a network's.
        let reading = tokio::task::spawn_blocking(move || texts_of(&paths, kib_max)).await;
        let texts = reading.map_err(|ended| ended.to_string())??;
        let digest = digest(&texts);
        if self.held.load().text != digest {
            let value = Arc::new((files.read)(&texts)?);
            self.held.store(Arc::new(Held { value, text: digest }));
            tracing::info!(files = ?files.paths, "what is kept there was changed");
        }
        Ok(())
    }
}

fn texts_of(paths: &[PathBuf], kib_max: u64) -> Result<Vec<Secret>, String> {
    paths.iter().map(|path| text_of(path, kib_max)).collect()
}

fn digest(texts: &[Secret]) -> [u8; 32] {
    // Each by itself first: what moves from the end of one to the start of another is a change.
    let each = texts.iter().map(|text| Sha256::digest(text.reveal()));
    each.fold(Sha256::new(), Sha256::chain_update).finalize().into()
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
