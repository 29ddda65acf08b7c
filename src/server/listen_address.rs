//! What a listener listens on: an address or a Unix socket.

use std::{fmt, net::SocketAddr};

use super::{probe_address, socket_file::check_socket_file};
use crate::policy::{AdminEndpoint, SocketFile};

/// What a listener listens on.
#[derive(Clone, Debug)]
pub(super) enum ListenAddress {
    Tcp(SocketAddr),
    Unix(SocketFile),
}

impl ListenAddress {
    /// Checks that a listener can be opened.
    pub(super) fn probe(&self) -> Result<(), String> {
        match self {
            Self::Tcp(address) => probe_address(*address),
            Self::Unix(file) => check_socket_file(&file.path),
        }
    }
}

impl From<&AdminEndpoint> for ListenAddress {
    fn from(endpoint: &AdminEndpoint) -> Self {
        match endpoint {
            AdminEndpoint::Tcp(listener) => Self::Tcp(listener.address),
            AdminEndpoint::Unix(file) => Self::Unix(file.clone()),
        }
    }
}

/// As in the table of descriptors that a successor gets.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(file) => file.path.display().fmt(f),
        }
    }
}
