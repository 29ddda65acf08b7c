//! Remembers sessions whose sink rejects all notifications. The set is bounded; a forgotten session
//! is detected again by one call.

use std::collections::{HashMap, VecDeque};

use super::delivery_result::DropReason;
use crate::qod::SessionId;

const DEAD_SINKS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct DeadSinks {
    reasons: HashMap<SessionId, DropReason>,
    // Oldest first.
    order: VecDeque<SessionId>,
}

impl DeadSinks {
    pub(super) fn insert(&mut self, session: SessionId, reason: DropReason) {
        if self.reasons.insert(session, reason).is_none() {
            self.order.push_back(session);
        }
        if self.order.len() > DEAD_SINKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    pub(super) fn reason(&self, session: &SessionId) -> Option<DropReason> {
        self.reasons.get(session).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_entry_is_evicted_when_full() {
        let mut sinks = DeadSinks::default();
        let session =
            |number: usize| SessionId(uuid::Uuid::from_u64_pair(7, u64::try_from(number).unwrap()));
        for number in 0..DEAD_SINKS_MAX {
            sinks.insert(session(number), DropReason::SinkGone);
        }
        sinks.insert(session(0), DropReason::Unauthorized);
        assert_eq!(sinks.reason(&session(0)), Some(DropReason::Unauthorized));
        sinks.insert(session(DEAD_SINKS_MAX), DropReason::SinkGone);
        assert_eq!((sinks.reason(&session(0)), sinks.order.len()), (None, DEAD_SINKS_MAX));
        assert_eq!(sinks.reason(&session(1)), Some(DropReason::SinkGone));
    }
}
