//! A create that is sent again: the same client, the same `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header-07), the same body, and so the same answer.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::qod::{Moment, Session, SessionId};

/// How long an answer is kept to be repeated.
pub(super) const REPEATABLE_FOR: Duration = Duration::from_hours(24);

// How many answers are kept; the oldest go first.
const REPEATS_MAX: usize = 1_000_000;

/// A client's key, hashed with its name: two clients' keys never meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct RepeatKey(pub(super) [u8; 16]);

/// What a create must look like to be the same one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) key: RepeatKey,
    /// Of all that was asked.
    pub(super) fingerprint: [u8; 32],
}

/// What is kept of a create that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) fingerprint: [u8; 32],
    pub(super) until: Moment,
    pub(super) session: SessionId,
    /// What the client was told; nothing, as long as nobody knows.
    pub(super) answer: Option<Session>,
}

/// When each reply may be forgotten, the first to go in front.
#[derive(Debug, Default)]
pub(super) struct Replies {
    order: VecDeque<(Moment, RepeatKey)>,
    // Those forgotten out of turn are skipped when their turn comes.
    until: HashMap<RepeatKey, Moment>,
}

impl fmt::Debug for RepeatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Replies {
    pub(super) fn add(&mut self, key: RepeatKey, until: Moment) {
        self.until.insert(key, until);
        self.order.push_back((until, key));
    }

    pub(super) fn remove(&mut self, key: &RepeatKey) {
        self.until.remove(key);
    }

    /// Takes out one that is to be forgotten: its time is up, or there are too many.
    pub(super) fn next_gone(&mut self, now: Moment) -> Option<RepeatKey> {
        while let Some(&(until, key)) = self.order.front() {
            let stands = self.until.get(&key) == Some(&until);
            if stands && now < until && self.until.len() <= REPEATS_MAX {
                return None;
            }
            self.order.pop_front();
            if stands {
                self.until.remove(&key);
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
    fn what_is_over_goes_and_what_went_before_its_turn_is_skipped() {
        let at = Moment::from_unix_s;
        let key = |n| RepeatKey([n; 16]);
        let mut replies = Replies::default();
        for n in 1..=3 {
            replies.add(key(n), at(u64::from(n)));
        }
        replies.remove(&key(2));
        replies.add(key(2), at(9));
        assert_eq!(replies.next_gone(at(0)), None);
        assert_eq!(replies.next_gone(at(3)), Some(key(1)));
        assert_eq!(replies.next_gone(at(3)), Some(key(3)));
        assert_eq!(replies.next_gone(at(3)), None);
        assert_eq!(replies.next_gone(at(9)), Some(key(2)));
        assert_eq!(replies.next_gone(at(9)), None);
    }
}
