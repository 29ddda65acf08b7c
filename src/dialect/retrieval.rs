//! Lists of sessions: serializes lists for clients and parses operators' lists.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Descriptor, create_request,
    cursor::BodyCursor,
    session::{self, InvalidOperatorMessage},
    times::TimesWithoutOffset,
    validation::ValidationErrors,
};
use crate::{
    json::Json,
    qod::{CreateRequest, GrantedSession, RETRIEVED_MAX, Sink},
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

/// Parses an operator's list; skips invalid entries. A list with the maximum number of entries may be
/// truncated, so it does not count as complete.
pub(super) fn read(
    body: &[u8],
    descriptor: &Descriptor,
    times: TimesWithoutOffset,
) -> Result<RemoteSessions, InvalidOperatorMessage> {
    let json = session::parse(body)?;
    let Json::Array(listed) = &json else {
        return Err(InvalidOperatorMessage {
            reason: "is not a list of sessions",
            operator_session: None,
        });
    };
    let entries = listed.iter().take(RETRIEVED_MAX);
    let sessions: Vec<_> =
        entries.filter_map(|entry| read_entry(entry, descriptor, times)).collect();
    let complete = listed.len() < RETRIEVED_MAX && sessions.len() == listed.len();
    Ok(RemoteSessions { sessions, complete })
}

// Returns `None` unless the entry is valid in full.
fn read_entry(
    json: &Json<'_>,
    descriptor: &Descriptor,
    times: TimesWithoutOffset,
) -> Option<RemoteSession> {
    let (operator_session, granted) = session::read_json(json, descriptor, times).ok()?;
    let mut errors = ValidationErrors::default();
    let body = BodyCursor::root(json);
    let parsed = create_request::read_without_sink(&body, &descriptor.rule, &mut errors);
    let wanted = errors.into_result(parsed).ok()?;
    let url = json.member("sink").and_then(Json::as_str);
    let sink = url.map(|url| Sink { url: url.to_owned(), token: None, token_expires_at: None });
    Some(RemoteSession { operator_session, granted, wanted: CreateRequest { sink, ..wanted } })
}
