//! Lists of sessions: serializes lists for clients and parses operators' lists.

use bytes::{BufMut, Bytes, BytesMut};

use super::answer::{self, InvalidOperatorMessage};
use crate::{
    json::Json,
    qod::{CreateRequest, GrantedSession, RETRIEVED_MAX},
};

/// A session in an operator's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSession {
    /// The operator's session id.
    pub operator_session: String,
    /// The granted session.
    pub granted: GrantedSession,
    /// The create request, as far as the operator reports it: the device only if the request had
    /// one, the sink without its token.
    pub wanted: CreateRequest,
}

/// An operator's sessions of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSessions {
    /// The valid entries.
    pub sessions: Vec<RemoteSession>,
    /// Whether the list is complete. If not, the operator may have further sessions.
    pub complete: bool,
}

/// Serializes a list of the first 100 serialized sessions or profiles.
pub(super) fn list(written: impl Iterator<Item = Bytes>) -> Bytes {
    let mut body = BytesMut::from("[");
    for (i, element) in written.take(RETRIEVED_MAX).enumerate() {
        if i > 0 {
            body.put_u8(b',');
        }
        body.put(element);
    }
    body.put_u8(b']');
    body.freeze()
}

/// Parses an operator's list. A list with the maximum number of entries may be truncated, so it
/// does not count as complete.
pub(super) fn read(
    body: &[u8],
    read_listed: impl Fn(&Json<'_>) -> Option<RemoteSession>,
) -> Result<RemoteSessions, InvalidOperatorMessage> {
    let json = answer::parse(body)?;
    let Json::Array(listed) = &json else {
        return Err(InvalidOperatorMessage {
            reason: "is not a list of sessions",
            operator_session: None,
        });
    };
    let sessions: Vec<_> = listed.iter().take(RETRIEVED_MAX).filter_map(read_listed).collect();
    let complete = listed.len() < RETRIEVED_MAX && sessions.len() == listed.len();
    Ok(RemoteSessions { sessions, complete })
}
