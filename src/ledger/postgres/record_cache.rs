//! Records that this process has read or written lately. They answer reads while the database is away:
//! owner, operator and the operator's id of a session never change, and its status is read from the
//! operator.

use std::time::Duration;

use quick_cache::sync::Cache;

use crate::{
    clock::{Clock, Tick},
    ledger::SessionRecord,
    qod::SessionId,
};

// A record takes about 1 kB.
const RECORDS_MAX: usize = 20_000;
const AGE_MAX: Duration = Duration::from_mins(5);

/// The cached records.
#[derive(Debug)]
pub(super) struct RecordCache {
    clock: Clock,
    records: Cache<SessionId, (Tick, Box<SessionRecord>)>,
}

impl RecordCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, records: Cache::new(RECORDS_MAX) }
    }

    /// Remembers a record, or that there is none.
    pub(super) fn update(&self, id: &SessionId, record: Option<&SessionRecord>) {
        match record {
            Some(record) => {
                self.records.insert(*id, (self.clock.tick(), Box::new(record.clone())));
            }
            None => _ = self.records.remove(id),
        }
    }

    /// A record, if it was read or written in the last five minutes.
    pub(super) fn find(&self, id: &SessionId) -> Option<SessionRecord> {
        let (at, record) = self.records.get(id)?;
        (self.clock.elapsed(at) < AGE_MAX).then_some(*record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::tests::sample::{START, confirmed, granted},
        qod::QosStatus,
    };

    #[test]
    fn record_is_found_for_five_minutes() {
        let clock = Clock::fixed(START);
        let cache = RecordCache::new(clock.clone());
        let record = confirmed(granted(QosStatus::Available, START, 600));
        let id = record.session.id;
        assert_eq!(cache.find(&id), None);
        cache.update(&id, Some(&record));
        clock.advance(Duration::from_secs(299));
        assert_eq!(cache.find(&id).as_ref(), Some(&record));
        clock.advance(Duration::from_secs(1));
        assert_eq!(cache.find(&id), None);
        cache.update(&id, Some(&record));
        cache.update(&id, None);
        assert_eq!(cache.find(&id), None);
    }
}
