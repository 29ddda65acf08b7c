//! Compares usage records with the sessions of a random history: each session that has ended has one, and
//! no other session has one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use crate::{
    ledger::{Ledger, SessionState, UsagePeriod},
    qod::SessionId,
};

// How long the records of a shared store may wait for transactions of other tests.
const ATTEMPTS_MAX: usize = 2000;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);

/// The sessions of a history.
#[derive(Default)]
pub(super) struct ReservedSessions {
    reserved: BTreeSet<SessionId>,
    /// The create was certainly rejected.
    released: BTreeSet<SessionId>,
    /// The create was rejected, and may have been in doubt.
    rejected: BTreeSet<SessionId>,
}

impl ReservedSessions {
    pub(super) fn add(&mut self, id: SessionId) {
        self.reserved.insert(id);
    }

    /// Removes a session whose create was rejected. `certain`: it was never in doubt.
    pub(super) fn release(&mut self, id: SessionId, certain: bool) {
        if certain { &mut self.released } else { &mut self.rejected }.insert(id);
    }

    pub(super) async fn compare_usage(&self, ledger: &Ledger) {
        let mut expected = BTreeMap::new();
        for id in &self.reserved {
            expected.insert(*id, self.expected_records(ledger, id).await);
        }
        for attempt in 0.. {
            let counts = count_records(ledger).await;
            let count = |id| counts.get(id).copied().unwrap_or_default();
            let wrong = expected.iter().find(|(id, expected)| !expected.contains(&count(id)));
            let Some((id, expected)) = wrong else {
                let unknown: Vec<_> =
                    counts.keys().filter(|id| !self.reserved.contains(id)).collect();
                assert_eq!(unknown, Vec::<&SessionId>::new());
                return;
            };
            let found = count(id);
            assert!(
                found < *expected.end() && attempt < ATTEMPTS_MAX,
                "{id} has {found} usage records instead of {expected:?}"
            );
            tokio::time::sleep(ATTEMPT_INTERVAL).await;
        }
    }

    async fn expected_records(&self, ledger: &Ledger, id: &SessionId) -> RangeInclusive<usize> {
        let stored = ledger.store.find(id).await.unwrap();
        match stored.map(|record| record.state()) {
            Some(SessionState::Terminated | SessionState::Expired) => 1..=1,
            // It may have ended before.
            Some(SessionState::Releasing) => 0..=1,
            Some(_) => 0..=0,
            None if self.released.contains(id) => 0..=0,
            None if self.rejected.contains(id) => 0..=1,
            None => 1..=1,
        }
    }
}

async fn count_records(ledger: &Ledger) -> BTreeMap<SessionId, usize> {
    let (mut counts, mut after) = (BTreeMap::new(), None);
    loop {
        let page = ledger.usage(after, UsagePeriod::default(), 7).await.unwrap();
        for (at, usage) in &page.records {
            assert!(after.is_none_or(|after| after < *at), "positions are in order");
            after = Some(*at);
            assert!(usage.used_s <= usage.granted_s, "{usage:?}");
            *counts.entry(usage.session).or_default() += 1;
        }
        if page.next.is_none() {
            return counts;
        }
    }
}
