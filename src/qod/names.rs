//! The parties, by name. A name proves nothing: what is proved of a party is a type of a room's.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Moment;

/// An OAuth2 client: an application that asks for sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientId(pub Arc<str>);

/// The address that a request was called from, as the server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalledFrom(pub IpAddr);

/// A mobile network operator, as the policies call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperatorId(pub Arc<str>);

/// Somebody to ask which operator serves a device, as the policies call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FinderId(pub Arc<str>);

/// The end user that a three-legged token speaks for: unique within its issuer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// Who issued the token.
    pub issuer: Arc<str>,
    /// The token's `sub`.
    pub subject: Arc<str>,
}

/// Without the subject, who is nobody's business.
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject(… of {})", self.issuer)
    }
}

/// The gateway's own name for a session: a UUID. Operators have names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub Uuid);

/// A session id must be a UUID (CAMARA `SessionId`, `format: uuid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id is a UUID")]
pub struct NotASessionId;

impl SessionId {
    /// A new one, that nobody can guess.
    pub fn random() -> Self {
        Self(uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid())
    }

    /// A new one, that nobody can guess either, but that sorts by when it was made (a UUID of
    /// version 7): where many are kept in order, the new ones stand together.
    pub fn at(now: Moment) -> Self {
        let random = rand::rng().random();
        Self(uuid::Builder::from_unix_timestamp_millis(now.unix_ms(), &random).into_uuid())
    }
}

impl FromStr for SessionId {
    type Err = NotASessionId;

    /// Reads the hyphenated form only: one session has one path.
    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        if text.len() != 36 {
            return Err(NotASessionId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| NotASessionId)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FinderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ClientId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&str> for OperatorId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<&str> for FinderId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}
