//! Idempotent replays: a create with the same client, `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-07) and body gets the same response.
//!
//! Only what the operator granted is stored: a replay has the body of the first request, so the rest of
//! the response is known.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::qod::{ClientId, GrantedSession, Moment, SessionId};

/// How long a response is stored for replays.
pub(super) const REPLAY_TTL: Duration = Duration::from_hours(24);

// The maximum size of all idempotency records, and of those of one client; the oldest are removed first.
const BYTES_MAX: usize = 256 << 20;
const CLIENT_BYTES_MAX: usize = 64 << 20;
// The size of a record without texts, with its entries in the index.
const RECORD_BYTES: usize = 256;

/// Identifies an idempotent replay: the same key with the same body.
#[derive(Clone, Debug)]
pub struct IdempotencyRequest {
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// The request body, compared byte by byte.
    pub body: Bytes,
}

/// A client's `Idempotency-Key`, hashed with the client id, so that keys of different clients are
/// different.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct IdempotencyKeyHash(pub(super) [u8; 16]);

/// Identifies a create request for replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestFingerprint {
    pub(super) key: IdempotencyKeyHash,
    /// The hash of the dialect and the body.
    pub(super) digest: [u8; 32],
}

/// The stored result of a create request with an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IdempotencyRecord {
    pub(super) client: ClientId,
    pub(super) digest: [u8; 32],
    pub(super) expires_at: Moment,
    pub(super) session: SessionId,
    /// What the response says of the session; `None` until the outcome is known.
    pub(super) response: Option<GrantedSession>,
}

/// The clients, sizes and expiry times of all idempotency records.
#[derive(Debug, Default)]
pub(super) struct IdempotencyIndex {
    entries: HashMap<IdempotencyKeyHash, IdempotencyEntry>,
    /// Earliest expiry first.
    order: BTreeSet<(Moment, IdempotencyKeyHash)>,
    clients: HashMap<ClientId, ClientRecords>,
    bytes: usize,
}

#[derive(Debug)]
struct IdempotencyEntry {
    client: ClientId,
    expires_at: Moment,
    bytes: usize,
}

/// The idempotency records of a client.
#[derive(Debug, Default)]
struct ClientRecords {
    order: BTreeSet<(Moment, IdempotencyKeyHash)>,
    bytes: usize,
}

impl IdempotencyRecord {
    fn bytes(&self) -> usize {
        let messages = self.response.iter().flat_map(|granted| &granted.messages);
        let texts: usize = messages.map(|message| message.description.len()).sum();
        RECORD_BYTES + self.client.0.len() + texts
    }
}

impl fmt::Debug for IdempotencyKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl IdempotencyIndex {
    /// Adds a record, or replaces it.
    pub(super) fn insert(&mut self, key: IdempotencyKeyHash, record: &IdempotencyRecord) {
        self.remove(&key);
        let (expires_at, bytes) = (record.expires_at, record.bytes());
        self.order.insert((expires_at, key));
        self.bytes += bytes;
        let own = self.clients.entry(record.client.clone()).or_default();
        own.order.insert((expires_at, key));
        own.bytes += bytes;
        let entry = IdempotencyEntry { client: record.client.clone(), expires_at, bytes };
        self.entries.insert(key, entry);
    }

    pub(super) fn remove(&mut self, key: &IdempotencyKeyHash) {
        let Some(entry) = self.entries.remove(key) else { return };
        let IdempotencyEntry { client, expires_at, bytes } = entry;
        self.order.remove(&(expires_at, *key));
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(own) = self.clients.get_mut(&client) else { return };
        own.order.remove(&(expires_at, *key));
        own.bytes = own.bytes.saturating_sub(bytes);
        if own.order.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// Removes the next record that has expired, and returns its key.
    pub(super) fn pop_expired(&mut self, now: Moment) -> Option<IdempotencyKeyHash> {
        let &(_, key) = self.order.first().filter(|(expires_at, _)| *expires_at <= now)?;
        self.remove(&key);
        Some(key)
    }

    /// Removes the oldest record of the client, or else of all clients, while their size exceeds the
    /// maximum, and returns its key.
    pub(super) fn pop_excess(&mut self, client: &ClientId) -> Option<IdempotencyKeyHash> {
        let own = self.clients.get(client).filter(|own| own.bytes > CLIENT_BYTES_MAX);
        let all = Some(&self.order).filter(|_| self.bytes > BYTES_MAX);
        let &(_, key) = own.map(|own| &own.order).or(all)?.first()?;
        self.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qod::{QosStatus, SessionMessage, Severity};

    fn key(n: u32) -> IdempotencyKeyHash {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        IdempotencyKeyHash(bytes)
    }

    fn record(client: &str, expires_s: u64, text_bytes: usize) -> IdempotencyRecord {
        let message =
            SessionMessage { severity: Severity::Info, description: "m".repeat(text_bytes) };
        let granted = GrantedSession {
            duration_s: 60,
            started_at: None,
            expires_at: None,
            status: QosStatus::Requested,
            status_info: None,
            messages: vec![message],
        };
        IdempotencyRecord {
            client: client.into(),
            digest: [0; 32],
            expires_at: Moment::from_unix_s(expires_s),
            session: SessionId::random(),
            response: Some(granted),
        }
    }

    #[test]
    fn expired_records_are_removed_and_removed_ones_leave_nothing() {
        let at = Moment::from_unix_s;
        let mut index = IdempotencyIndex::default();
        for n in 1..=3 {
            index.insert(key(n), &record("c1", n.into(), 0));
        }
        index.remove(&key(2));
        index.insert(key(2), &record("c1", 9, 0));
        assert_eq!(index.pop_expired(at(0)), None);
        assert_eq!(index.pop_expired(at(3)), Some(key(1)));
        assert_eq!(index.pop_expired(at(3)), Some(key(3)));
        assert_eq!(index.pop_expired(at(3)), None);
        assert_eq!(index.pop_expired(at(9)), Some(key(2)));
        assert_eq!(index.pop_expired(at(9)), None);
        assert!(index.order.is_empty() && index.clients.is_empty() && index.bytes == 0);
    }

    #[test]
    fn stored_bytes_are_limited_by_client_and_in_all() {
        let mut index = IdempotencyIndex::default();
        let mut add = |client: &str, n: u32| {
            index.insert(key(n), &record(client, n.into(), 1 << 20));
            let removed: Vec<_> = std::iter::from_fn(|| index.pop_excess(&client.into())).collect();
            let own = index.clients.get(&client.into()).unwrap();
            assert!(own.bytes <= CLIENT_BYTES_MAX && index.bytes <= BYTES_MAX);
            removed
        };
        for n in 0..63 {
            assert_eq!(add("c1", n), []);
        }
        assert_eq!(add("c1", 63), [key(0)]);
        for (client, from) in [("c2", 100), ("c3", 200), ("c4", 300), ("c5", 400)] {
            for n in from..from + 63 {
                let expected = if client == "c5" && n >= 403 { vec![key(n - 402)] } else { vec![] };
                assert_eq!(add(client, n), expected, "{client} {n}");
            }
        }
    }

    #[test]
    fn size_of_a_record_does_not_depend_on_the_request() {
        assert!(record("c1", 1, 0).bytes() < 300);
    }
}
