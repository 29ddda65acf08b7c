//! Idempotent replays: a create with the same client, `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-07) and body gets the same response.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::qod::{Moment, Session, SessionId};

/// How long a response is stored for replays.
pub(super) const REPLAY_TTL: Duration = Duration::from_hours(24);

// The maximum number of idempotency records; the oldest are removed first.
const IDEMPOTENCY_RECORDS_MAX: usize = 1_000_000;

/// A client's `Idempotency-Key`, hashed with the client id, so that keys of different clients are
/// different.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    pub(super) digest: [u8; 32],
    pub(super) expires_at: Moment,
    pub(super) session: SessionId,
    /// The session in the response; `None` until the outcome is known.
    pub(super) response: Option<Session>,
}

/// The expiry times of all idempotency records, earliest first.
#[derive(Debug, Default)]
pub(super) struct IdempotencyIndex {
    order: VecDeque<(Moment, IdempotencyKeyHash)>,
    // The current expiry of each record. Stale elements of `order` are skipped.
    expiries: HashMap<IdempotencyKeyHash, Moment>,
}

impl fmt::Debug for IdempotencyKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl IdempotencyIndex {
    pub(super) fn insert(&mut self, key: IdempotencyKeyHash, expires_at: Moment) {
        self.expiries.insert(key, expires_at);
        self.order.push_back((expires_at, key));
    }

    pub(super) fn remove(&mut self, key: &IdempotencyKeyHash) {
        self.expiries.remove(key);
    }

    /// Removes the next record that has expired or exceeds the maximum number, and returns its key.
    pub(super) fn pop_expired(&mut self, now: Moment) -> Option<IdempotencyKeyHash> {
        while let Some(&(expires_at, key)) = self.order.front() {
            let current = self.expiries.get(&key) == Some(&expires_at);
            if current && now < expires_at && self.expiries.len() <= IDEMPOTENCY_RECORDS_MAX {
                return None;
            }
            self.order.pop_front();
            if current {
                self.expiries.remove(&key);
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expired_records_are_removed_and_stale_entries_are_skipped() {
        let at = Moment::from_unix_s;
        let key = |n| IdempotencyKeyHash([n; 16]);
        let mut index = IdempotencyIndex::default();
        for n in 1..=3 {
            index.insert(key(n), at(u64::from(n)));
        }
        index.remove(&key(2));
        index.insert(key(2), at(9));
        assert_eq!(index.pop_expired(at(0)), None);
        assert_eq!(index.pop_expired(at(3)), Some(key(1)));
        assert_eq!(index.pop_expired(at(3)), Some(key(3)));
        assert_eq!(index.pop_expired(at(3)), None);
        assert_eq!(index.pop_expired(at(9)), Some(key(2)));
        assert_eq!(index.pop_expired(at(9)), None);
    }
}
