//! The hand-over of the listeners from a running process to its successor, over a Unix socket.
//!
//! The successor listens on the socket. The running process connects when it gets QUIT, and sends its
//! listeners. Then:
//!
//! 1. The successor prepares itself and sends `ready`.
//! 2. The running process asks its clients to close their connections (lame duck), still accepts new
//!    ones, and sends `go`.
//! 3. The running process stops accepting connections, and the successor starts. Connections wait in
//!    the queue of the shared listeners in between.
//!
//! If the successor ends before `go`, the running process continues as if nothing had happened.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream as BlockingStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, getsockopt, recvmsg, sendmsg,
    sockopt::PeerCredentials,
};
use pingora::server::ListenFds;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{Application, listen_address::ListenAddress};

/// The listeners of this process, known when its services have started.
pub(super) type ListenFdsCell = Arc<OnceLock<ListenFds>>;

const READY: u8 = b'r';
const GO: u8 = b'g';
const CANCEL: u8 = b'c';

// How long a running process waits for a successor to listen on the socket.
const SUCCESSOR_WAIT_MAX: Duration = Duration::from_secs(10);
// How long a running process waits for its successor to be ready.
const READY_WAIT_MAX: Duration = Duration::from_mins(2);
// How long a successor tries to become ready.
const PREPARE_MAX: Duration = Duration::from_mins(1);
// How long a successor waits for the listeners.
const LISTENERS_WAIT_MAX: Duration = Duration::from_secs(15);
// From the connection of the running process until its listeners arrive.
const LISTENERS_READ_MAX: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const ADDRESSES_BYTES_MAX: usize = 64 << 10;
const LISTENERS_MAX: usize = 253;

/// Why the listeners were not handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandoverError {
    #[error("no new process listens on the upgrade socket; start it with --upgrade first")]
    NoSuccessor,
    #[error("the upgrade socket belongs to another user")]
    ForeignUser,
    #[error("the listeners are not open yet")]
    NotListening,
    #[error("the new process ended before it could serve")]
    SuccessorEnded,
    #[error("the new process was not ready in time")]
    SuccessorTooSlow,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The listeners of a previous process, by address.
#[derive(Debug, Default)]
pub(super) struct InheritedListeners(BTreeMap<String, RawFd>);

/// The socket on which a successor waits for the listeners. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct UpgradeSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// The listeners of the running process, and the connection to it.
#[derive(Debug)]
pub struct Takeover {
    connection: BlockingStream,
    listeners: BTreeMap<String, RawFd>,
}

/// Checks that the path can be an upgrade socket.
///
/// # Errors
/// The reason why it cannot.
pub fn check_socket_path(path: &Path) -> Result<(), String> {
    let invalid = |reason: &str| {
        Err(format!("upgrade socket {} (--upgrade-socket): {reason}", path.display()))
    };
    if UnixAddr::new(path).is_err() {
        return invalid("the path is longer than 107 bytes");
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if !folder.unwrap_or_else(|| Path::new(".")).is_dir() {
        return invalid("its folder does not exist");
    }
    match path.symlink_metadata() {
        Ok(existing) if !existing.file_type().is_socket() => {
            invalid("the file exists and is not a socket")
        }
        _ => Ok(()),
    }
}

impl UpgradeSocket {
    /// Creates the socket.
    ///
    /// # Errors
    /// The reason why it cannot be created.
    pub fn bind(path: &Path) -> Result<Self, String> {
        check_socket_path(path)?;
        let failed = |error: io::Error| format!("upgrade socket {}: {error}", path.display());
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        socket.listener.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }

    /// Waits until the running process sends its listeners.
    ///
    /// # Errors
    /// If it does not do so in time.
    pub fn wait(self) -> Result<Takeover, String> {
        let mut waited = Duration::ZERO;
        loop {
            match self.listener.accept() {
                // Another connection may follow one that is not usable.
                Ok((connection, _)) => {
                    if let Some(takeover) = receive_listeners(connection) {
                        return Ok(takeover);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(POLL_INTERVAL);
                    waited += POLL_INTERVAL;
                }
                Err(error) => {
                    return Err(format!("upgrade socket {}: {error}", self.path.display()));
                }
            }
            if waited >= LISTENERS_WAIT_MAX {
                return Err(format!(
                    "no running process passed its listeners within {} s; start it with \
                     --upgrade-socket {} and send it QUIT, or start this process without --upgrade",
                    LISTENERS_WAIT_MAX.as_secs(),
                    self.path.display()
                ));
            }
        }
    }
}

impl Drop for UpgradeSocket {
    fn drop(&mut self) {
        // The file may have been removed already.
        _ = std::fs::remove_file(&self.path);
    }
}

impl Takeover {
    /// Keeps the listeners with these addresses and closes the others. An address that the previous
    /// process did not listen on is checked.
    pub(super) fn claim(
        &mut self,
        addresses: impl Iterator<Item = ListenAddress>,
    ) -> Result<InheritedListeners, String> {
        let mut claimed = BTreeMap::new();
        for address in addresses {
            match self.listeners.remove(&address.to_string()) {
                Some(descriptor) => _ = claimed.insert(address.to_string(), descriptor),
                None => address.probe()?,
            }
        }
        for descriptor in std::mem::take(&mut self.listeners).into_values() {
            // A descriptor that cannot be closed is not open.
            _ = nix::unistd::close(descriptor);
        }
        if claimed.is_empty() {
            return Err("the process that passed its listeners listens on none of the \
                        addresses of these policies"
                .to_owned());
        }
        Ok(InheritedListeners(claimed))
    }

    /// Waits until the application is ready, and then until the previous process stops accepting
    /// connections.
    ///
    /// # Errors
    /// If the application does not become ready in time, or the previous process goes on serving.
    pub(super) async fn complete(self, application: &dyn Application) -> Result<(), String> {
        let failed = |error: io::Error| format!("the upgrade failed: {error}");
        self.connection.set_nonblocking(true).map_err(failed)?;
        let mut connection = UnixStream::from_std(self.connection).map_err(failed)?;
        let mut reason = String::new();
        let prepared = timeout(PREPARE_MAX, async {
            while let Err(error) = application.ready() {
                reason = error;
                sleep(POLL_INTERVAL).await;
            }
        });
        if prepared.await.is_err() {
            let seconds = PREPARE_MAX.as_secs();
            return Err(format!("the upgrade failed: not ready within {seconds} s: {reason}"));
        }
        // Without the previous process, the listeners are served at once: nothing else serves them.
        if connection.write_all(&[READY]).await.is_ok()
            && matches!(connection.read_u8().await, Ok(CANCEL))
        {
            return Err("the upgrade failed: the running process continues to serve".to_owned());
        }
        Ok(())
    }
}

impl InheritedListeners {
    /// The descriptor of the listener with this address.
    pub(super) fn get(&self, address: &str) -> Option<RawFd> {
        self.0.get(address).copied()
    }
}

/// Hands the listeners to the successor that listens on a socket. `lame_duck` runs when the successor
/// is ready to serve. After success this process must stop accepting connections.
pub(super) async fn hand_over(
    listen_fds: &ListenFdsCell,
    socket: &Path,
    lame_duck: impl Future<Output = ()>,
) -> Result<(), HandoverError> {
    let listen_fds = listen_fds.get().ok_or(HandoverError::NotListening)?;
    let mut connection = connect(socket).await?;
    if !is_own_user(&connection)? {
        return Err(HandoverError::ForeignUser);
    }
    send_listeners(&connection, listen_fds).await?;
    match timeout(READY_WAIT_MAX, connection.read_u8()).await {
        Ok(Ok(READY)) => {}
        Ok(_) => return Err(HandoverError::SuccessorEnded),
        Err(_) => {
            // The successor may have ended.
            _ = connection.write_all(&[CANCEL]).await;
            return Err(HandoverError::SuccessorTooSlow);
        }
    }
    tokio::select! {
        () = lame_duck => {}
        // The successor sends nothing more: its connection has closed.
        _ = connection.read_u8() => return Err(HandoverError::SuccessorEnded),
    }
    connection.write_all(&[GO]).await.map_err(|_| HandoverError::SuccessorEnded)
}

async fn connect(socket: &Path) -> Result<UnixStream, HandoverError> {
    let connected = timeout(SUCCESSOR_WAIT_MAX, async {
        loop {
            match UnixStream::connect(socket).await {
                Ok(connection) => return Ok(connection),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        sleep(POLL_INTERVAL).await;
                    }
                    _ => return Err(HandoverError::Io(error)),
                },
            }
        }
    });
    connected.await.unwrap_or(Err(HandoverError::NoSuccessor))
}

// Whether the peer runs as the same user, or as root.
fn is_own_user(connection: &impl std::os::fd::AsFd) -> io::Result<bool> {
    let user = getsockopt(&connection.as_fd(), PeerCredentials)?.uid();
    Ok(user == 0 || user == nix::unistd::geteuid().as_raw())
}

async fn send_listeners(
    connection: &UnixStream,
    listen_fds: &ListenFds,
) -> Result<(), HandoverError> {
    let (addresses, descriptors) = listen_fds.lock().serialize();
    let text = addresses.join("\n");
    let sent = connection.async_io(Interest::WRITABLE, || {
        let (data, rights) =
            ([IoSlice::new(text.as_bytes())], [ControlMessage::ScmRights(&descriptors)]);
        let flags = MsgFlags::MSG_NOSIGNAL;
        Ok(sendmsg(connection.as_raw_fd(), &data, &rights, flags, None::<&UnixAddr>)?)
    });
    if sent.await? < text.len() {
        return Err(HandoverError::Io(io::ErrorKind::WriteZero.into()));
    }
    Ok(())
}

// `None` if the peer is not a process of the same user that sends its listeners.
fn receive_listeners(connection: BlockingStream) -> Option<Takeover> {
    if !is_own_user(&connection).ok()? {
        return None;
    }
    connection.set_nonblocking(false).ok()?;
    connection.set_read_timeout(Some(LISTENERS_READ_MAX)).ok()?;
    let mut text = vec![0; ADDRESSES_BYTES_MAX];
    let mut rights = nix::cmsg_space!([RawFd; LISTENERS_MAX]);
    let (length, descriptors) = {
        let mut data = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received =
            recvmsg::<UnixAddr>(connection.as_raw_fd(), &mut data, Some(&mut rights), flags);
        let received = received.ok()?;
        let mut descriptors = Vec::new();
        for message in received.cmsgs().ok()? {
            if let ControlMessageOwned::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        (received.bytes, descriptors)
    };
    let addresses = std::str::from_utf8(text.get(..length)?).ok()?;
    let listeners: BTreeMap<String, RawFd> =
        addresses.lines().map(str::to_owned).zip(descriptors).collect();
    (!listeners.is_empty()).then_some(Takeover { connection, listeners })
}

#[cfg(test)]
mod tests;
