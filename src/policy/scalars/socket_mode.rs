//! The permissions of a Unix socket.

use super::ScalarType;

/// Permission bits that give other users nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct SocketMode(pub(in crate::policy) u32);

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl ScalarType for SocketMode {
    const FORMAT: &'static str = "socket-mode";
    const EXPECTED: &'static str =
        "`\"0600\"` (the user of the gateway) or `\"0660\"` (also its group), in quotes";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "0600" => Some(Self(0o600)),
            "0660" => Some(Self(0o660)),
            _ => None,
        }
    }
}
