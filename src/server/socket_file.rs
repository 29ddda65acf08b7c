//! The Unix socket of the admin listener: created with its permissions, put in the place of a stale one
//! at once, and removed at the end.

use std::{
    io,
    os::{
        fd::{IntoRawFd, RawFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt, chown},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::policy::SocketFile;

/// A socket that is listened on, under a temporary name. Without [`PreparedSocket::publish`], the file
/// is removed when this is dropped.
#[derive(Debug)]
pub(super) struct PreparedSocket {
    listener: Option<UnixListener>,
    temporary: PathBuf,
    path: PathBuf,
}

/// The socket file of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct OwnedSocketFile(Arc<Mutex<FileIdentity>>);

#[derive(Debug)]
struct FileIdentity {
    path: PathBuf,
    // Device and inode; `None` until the file is of this process.
    identity: Option<(u64, u64)>,
}

/// Checks that a socket can be created at this path: there is no other kind of file, and no process
/// listens on it.
///
/// # Errors
/// The reason why it cannot.
pub fn check_socket_file(path: &Path) -> Result<(), String> {
    let invalid = |reason: &str| Err(format!("admin socket {}: {reason}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if !folder.unwrap_or_else(|| Path::new(".")).is_dir() {
        return invalid("its folder does not exist");
    }
    match path.symlink_metadata() {
        Ok(existing) if !existing.file_type().is_socket() => {
            invalid("the file exists and is not a socket")
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            invalid("another process listens on it; is the gateway running already?")
        }
        _ => Ok(()),
    }
}

impl PreparedSocket {
    /// Creates the socket under a temporary name, with its permissions.
    ///
    /// # Errors
    /// The reason why it cannot be created.
    pub(super) fn bind(file: &SocketFile) -> Result<Self, String> {
        check_socket_file(&file.path)?;
        let failed = |error: io::Error| format!("admin socket {}: {error}", file.path.display());
        let mut temporary = file.path.clone().into_os_string();
        temporary.push(format!(".{}.new", std::process::id()));
        let temporary = PathBuf::from(temporary);
        if temporary.symlink_metadata().is_ok_and(|existing| existing.file_type().is_socket()) {
            // Of a process that was killed, and had the same id.
            std::fs::remove_file(&temporary).map_err(failed)?;
        }
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        let prepared = Self { listener: Some(listener), temporary, path: file.path.clone() };
        // Until it is renamed, the file has a name that no other process uses.
        if file.group.is_some() {
            chown(&prepared.temporary, None, file.group).map_err(failed)?;
        }
        let permissions = std::fs::Permissions::from_mode(file.mode);
        std::fs::set_permissions(&prepared.temporary, permissions).map_err(failed)?;
        Ok(prepared)
    }

    /// Gives the socket its name; replaces a stale one. Returns the descriptor of the listener.
    pub(super) fn publish(mut self) -> io::Result<RawFd> {
        std::fs::rename(&self.temporary, &self.path)?;
        let listener = self.listener.take().ok_or(io::ErrorKind::NotConnected)?;
        listener.set_nonblocking(true)?;
        Ok(listener.into_raw_fd())
    }
}

impl Drop for PreparedSocket {
    fn drop(&mut self) {
        if self.listener.is_some() {
            // The file may have been removed already.
            _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl OwnedSocketFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(FileIdentity { path, identity: None })))
    }

    /// Records that the file is of this process.
    pub(super) fn record(&self) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.identity = identity_of(&file.path);
    }

    /// Removes the file, unless another process has replaced it.
    pub(super) fn remove(&self) {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if file.identity.is_some() && file.identity == identity_of(&file.path) {
            // The file may have been removed already.
            _ = std::fs::remove_file(&file.path);
        }
    }
}

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.symlink_metadata().ok()?;
    metadata.file_type().is_socket().then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("qod-socket-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn file(folder: &Path) -> SocketFile {
        let group = Some(nix::unistd::getegid().as_raw());
        SocketFile { path: folder.join("admin.sock"), mode: 0o660, group }
    }

    #[test]
    fn stale_socket_is_replaced_with_one_of_the_right_mode() {
        let folder = folder("stale");
        let file = file(&folder);
        drop(UnixListener::bind(&file.path).unwrap());
        assert_eq!(check_socket_file(&file.path), Ok(()));
        let prepared = PreparedSocket::bind(&file).unwrap();
        assert!(UnixStream::connect(&file.path).is_err(), "the stale one is still there");
        prepared.publish().unwrap();
        assert_eq!(file.path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        assert!(check_socket_file(&file.path).unwrap_err().contains("another process"));
        let owned = OwnedSocketFile::new(file.path.clone());
        owned.remove();
        assert!(file.path.exists(), "it is not recorded as that of this process");
        owned.record();
        owned.remove();
        assert!(!file.path.exists());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn socket_of_a_successor_is_not_removed() {
        let folder = folder("successor");
        let file = file(&folder);
        let listener = UnixListener::bind(&file.path).unwrap();
        let owned = OwnedSocketFile::new(file.path.clone());
        owned.record();
        drop(listener);
        PreparedSocket::bind(&file).unwrap().publish().unwrap();
        owned.remove();
        assert!(file.path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn unusable_path_is_rejected_and_a_socket_without_a_name_is_removed() {
        let folder = folder("path");
        let other = folder.join("file");
        std::fs::write(&other, "content").unwrap();
        assert!(check_socket_file(&other).unwrap_err().contains("not a socket"));
        assert!(check_socket_file(&other.join("socket")).unwrap_err().contains("does not exist"));
        drop(PreparedSocket::bind(&file(&folder)).unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
