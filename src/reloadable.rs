//! Values read from files, such as secrets and certificates. The files are checked periodically. If
//! a changed file cannot be used, the previous value stays in use.

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

mod regular_file;

pub use self::regular_file::{open_regular, read_regular};

const SECRET_BYTES_MAX: u64 = 16 << 10;
// A bundle of CA certificates can be large.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The minimum time between two checks of a file that every call depends on.
pub const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads a secret from a file of at most 16 KiB.
///
/// # Errors
/// The reason, with the path and without the content of the file.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    read_text(path, SECRET_BYTES_MAX)
}

/// Reads a secret of one line from a file of at most 16 KiB.
///
/// # Errors
/// The reason, with the path and without the content of the file.
pub fn read_secret_line(path: &Path) -> Result<Secret, String> {
    read_secret(path)?.single_line().map_err(|error| format!("{error} (in `{}`)", path.display()))
}

fn read_text(path: &Path, bytes_max: u64) -> Result<Secret, String> {
    let failed = |error: &dyn fmt::Display| format!("failed to read `{}`: {error}", path.display());
    let bytes = read_regular(path, bytes_max).map_err(|error| failed(&error))?;
    // The error of the conversion contains the bytes, so it is not shown.
    let text = String::from_utf8(bytes).map_err(|error| {
        zeroize::Zeroize::zeroize(&mut error.into_bytes());
        failed(&"it is not valid UTF-8")
    });
    text.map(Secret::new)
}

/// Parses the text of a secret. The error does not contain the text.
pub type ParseSecret<T> = fn(&Secret) -> Result<T, String>;

/// Parses the texts of several files together.
type ParseFiles<T> = Box<dyn Fn(&[Secret]) -> Result<T, String> + Send + Sync>;

/// A value that is reloaded when its files change.
pub struct Reloadable<T> {
    loaded: ArcSwap<LoadedValue<T>>,
    files: Option<WatchedFiles<T>>,
}

struct LoadedValue<T> {
    value: Arc<T>,
    digest: [u8; 32],
}

struct WatchedFiles<T> {
    paths: Arc<[PathBuf]>,
    bytes_max: u64,
    parse: ParseFiles<T>,
    checked_at: Mutex<Option<Tick>>,
    reload_failed: AtomicBool,
}

impl<T: Send + Sync + 'static> Reloadable<T> {
    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        let loaded = LoadedValue { value: Arc::new(value), digest: [0; 32] };
        Self { loaded: ArcSwap::from_pointee(loaded), files: None }
    }

    /// Loads the value from a file of at most 16 KiB.
    ///
    /// # Errors
    /// The reason, without the content of the file.
    pub fn from_file(path: PathBuf, read: ParseSecret<T>) -> Result<Self, String> {
        let name = path.display().to_string();
        let read_all = move |texts: &[Secret]| match texts {
            [text] => read(text).map_err(|error| format!("{error} (in `{name}`)")),
            _ => Err("expected one file".to_owned()),
        };
        Self::from_paths([path].into(), SECRET_BYTES_MAX, Box::new(read_all))
    }

    /// Loads the value from several files of at most 1 MiB each. `read` gets their texts in this
    /// order.
    ///
    /// # Errors
    /// The reason, without the content of the files.
    pub fn from_files(
        paths: Vec<PathBuf>,
        read: impl Fn(&[Secret]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::from_paths(paths.into(), FILE_BYTES_MAX, Box::new(read))
    }

    fn from_paths(
        paths: Arc<[PathBuf]>,
        bytes_max: u64,
        read: ParseFiles<T>,
    ) -> Result<Self, String> {
        let texts = read_texts(&paths, bytes_max)?;
        let loaded = LoadedValue { value: Arc::new(read(&texts)?), digest: digest(&texts) };
        let files = WatchedFiles {
            paths,
            bytes_max,
            parse: read,
            checked_at: Mutex::default(),
            reload_failed: AtomicBool::new(false),
        };
        Ok(Self { loaded: ArcSwap::from_pointee(loaded), files: Some(files) })
    }

    /// The value as of the last check.
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.loaded.load().value)
    }

    /// Did the last check find content that cannot be used, so that the value is outdated?
    pub fn is_stale(&self) -> bool {
        self.files.as_ref().is_some_and(|files| files.reload_failed.load(Ordering::Relaxed))
    }

    /// The current value. The files are checked first if the last check is at least
    /// `check_interval` ago.
    pub async fn current(&self, clock: &Clock, check_interval: Duration) -> Arc<T> {
        if let Some(files) = &self.files
            // While another task checks the files, the value as of the last check is returned.
            && let Ok(mut checked_at) = files.checked_at.try_lock()
            && checked_at.is_none_or(|at| clock.elapsed(at) >= check_interval)
        {
            *checked_at = Some(clock.tick());
            let result = self.reload_if_changed(files).await;
            let already_reported = files.reload_failed.swap(result.is_err(), Ordering::Relaxed);
            if let Err(error) = &result
                && !already_reported
            {
                tracing::warn!(
                    event = "file_reload_failed",
                    error,
                    "failed to reload file; keeping the previous version"
                );
            }
        }
        self.load()
    }

    async fn reload_if_changed(&self, files: &WatchedFiles<T>) -> Result<(), String> {
        let (paths, bytes_max) = (Arc::clone(&files.paths), files.bytes_max);
        // Reading may block for long, for example on a network file system.
        let reading = tokio::task::spawn_blocking(move || read_texts(&paths, bytes_max)).await;
        let texts = reading.map_err(|error| error.to_string())??;
        let digest = digest(&texts);
        if self.loaded.load().digest != digest {
            let value = Arc::new((files.parse)(&texts)?);
            self.loaded.store(Arc::new(LoadedValue { value, digest }));
            let files = files.paths.iter().map(|path| path.display().to_string());
            let files = files.collect::<Vec<_>>().join(", ");
            tracing::info!(event = "file_reloaded", files, "file reloaded");
        }
        Ok(())
    }
}

fn read_texts(paths: &[PathBuf], bytes_max: u64) -> Result<Vec<Secret>, String> {
    paths.iter().map(|path| read_text(path, bytes_max)).collect()
}

fn digest(texts: &[Secret]) -> [u8; 32] {
    // Each text is hashed separately first, so that text moved from one file to the next is a
    // change.
    let each = texts.iter().map(|text| Sha256::digest(text.reveal()));
    each.fold(Sha256::new(), Sha256::chain_update).finalize().into()
}

impl<T> fmt::Debug for Reloadable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
