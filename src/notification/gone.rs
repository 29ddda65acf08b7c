//! The sessions whose clients do not hear any more. As many are remembered as there may reasonably
//! be; one that was forgotten is found out anew, by one call.

use std::collections::{HashMap, VecDeque};

use super::verdict::Reason;
use crate::qod::SessionId;

const REMEMBERED_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Gone {
    reasons: HashMap<SessionId, Reason>,
    // The oldest first.
    order: VecDeque<SessionId>,
}

impl Gone {
    pub(super) fn insert(&mut self, session: SessionId, reason: Reason) {
        if self.reasons.insert(session, reason).is_none() {
            self.order.push_back(session);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    pub(super) fn why(&self, session: &SessionId) -> Option<Reason> {
        self.reasons.get(session).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut gone = Gone::default();
        let session =
            |number: usize| SessionId(uuid::Uuid::from_u64_pair(7, u64::try_from(number).unwrap()));
        for number in 0..REMEMBERED_MAX {
            gone.insert(session(number), Reason::Gone);
        }
        gone.insert(session(0), Reason::Unauthorized);
        assert_eq!(gone.why(&session(0)), Some(Reason::Unauthorized));
        gone.insert(session(REMEMBERED_MAX), Reason::Gone);
        assert_eq!((gone.why(&session(0)), gone.order.len()), (None, REMEMBERED_MAX));
        assert_eq!(gone.why(&session(1)), Some(Reason::Gone));
    }
}
