//! Identifiers of clients, operators, users and sessions. An identifier proves nothing; the stages
//! define proof types.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Moment;

/// An OAuth2 client: an application that requests sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientId(pub Arc<str>);

/// The source address of a request, as determined by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAddress(pub IpAddr);

/// Where a request comes from, for limits that callers share fairly: an IPv4 address, or the /64 network of an
/// IPv6 address, whose interface identifier the sender can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceNetwork(IpAddr);

impl From<IpAddr> for SourceNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            address @ IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        })
    }
}

/// A mobile network operator, as named in the policies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OperatorId(pub Arc<str>);

/// A finder: a service that finds the operator of a device, as named in the policies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FinderId(pub Arc<str>);

/// The end user of a three-legged token: unique within its issuer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenSubject {
    /// The issuer of the token.
    pub issuer: Arc<str>,
    /// The token's `sub`.
    pub subject: Arc<str>,
}

/// Omits the subject, which is personal data.
impl fmt::Debug for TokenSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject(… of {})", self.issuer)
    }
}

/// The gateway's id of a session: a UUID. Operators have ids of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub Uuid);

/// A session id must be a UUID (CAMARA `SessionId`, `format: uuid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id must be a UUID")]
pub struct InvalidSessionId;

impl SessionId {
    /// Creates an id that cannot be guessed.
    pub fn random() -> Self {
        Self(uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid())
    }

    /// Creates an id that cannot be guessed and sorts by creation time (UUID version 7): recent
    /// sessions are adjacent in ordered storage.
    pub fn time_ordered(now: Moment) -> Self {
        let random = rand::rng().random();
        Self(uuid::Builder::from_unix_timestamp_millis(now.unix_ms(), &random).into_uuid())
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    /// Parses the hyphenated form only, so that a session has one path.
    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        if text.len() != 36 {
            return Err(InvalidSessionId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidSessionId)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_sources_are_networks() {
        let source = |text: &str| SourceNetwork::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:0:0:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("::ffff:192.0.2.1"), source("::ffff:192.0.2.2"));
    }
}
