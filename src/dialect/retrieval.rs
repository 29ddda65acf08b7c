//! The sessions of a device, as lists: what a client is told, and what an operator tells.

use bytes::{BufMut, Bytes, BytesMut};

use super::answer::{self, Unreadable};
use crate::{
    json::Json,
    qod::{CreateSession, Granted, RETRIEVED_MAX},
};

/// A session that an operator has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSession {
    /// Its own id for it.
    pub operator_session: String,
    /// How it stands.
    pub granted: Granted,
    /// What it was asked for, as far as the operator tells: the device only if it was named, of the
    /// sink the URL only.
    pub wanted: CreateSession,
}

/// The sessions that an operator has of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSessions {
    /// Those that could be read.
    pub sessions: Vec<RemoteSession>,
    /// Are they all? If not, one that is not among them may be there nonetheless.
    pub complete: bool,
}

/// Writes a list of sessions or profiles that are written already, the first 100.
pub(super) fn list(written: impl Iterator<Item = Bytes>) -> Bytes {
    let mut body = BytesMut::from("[");
    for (i, one) in written.take(RETRIEVED_MAX).enumerate() {
        if i > 0 {
            body.put_u8(b',');
        }
        body.put(one);
    }
    body.put_u8(b']');
    body.freeze()
}

/// Reads an operator's list. Whoever lists as many as there may be has perhaps left some out.
pub(super) fn read(
    body: &[u8],
    read_listed: impl Fn(&Json<'_>) -> Option<RemoteSession>,
) -> Result<RemoteSessions, Unreadable> {
    let json = answer::parse(body)?;
    let Json::Array(listed) = &json else {
        return Err(Unreadable { reason: "is not a list of sessions", operator_session: None });
    };
    let sessions: Vec<_> = listed.iter().take(RETRIEVED_MAX).filter_map(read_listed).collect();
    let complete = listed.len() < RETRIEVED_MAX && sessions.len() == listed.len();
    Ok(RemoteSessions { sessions, complete })
}
