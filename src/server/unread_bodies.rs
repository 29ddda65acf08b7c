//! Limits the requests whose bodies have not arrived, in total and for each source address. A client that
//! sends headers without bodies uses these places only, not those of requests in flight. If no place is
//! free, a request displaces one whose caller is less certain.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use crate::{qod::SourceNetwork, service::CallerStanding};

/// The requests whose bodies have not arrived.
pub(super) struct UnreadBodies {
    table: Mutex<Table>,
    max: usize,
    per_source_max: usize,
}

/// The place of a request. It is free again when this is dropped.
pub(super) struct UnreadBody {
    bodies: Arc<UnreadBodies>,
    rank: Rank,
    source: Option<SourceNetwork>,
    displaced: oneshot::Receiver<()>,
}

// The first to be displaced is the first in this order: the least certain caller, then the oldest request.
type Rank = (CallerStanding, u64);

#[derive(Default)]
struct Table {
    waiting: BTreeSet<Rank>,
    by_source: HashMap<Option<SourceNetwork>, BTreeSet<Rank>>,
    // Dropping a sender displaces the request.
    senders: HashMap<u64, (Option<SourceNetwork>, oneshot::Sender<()>)>,
    last_id: u64,
}

impl UnreadBodies {
    pub(super) fn new(max: usize, per_source_max: usize) -> Self {
        Self { table: Mutex::default(), max, per_source_max }
    }

    /// Takes a place, which may displace another request; `None` if there is none.
    pub(super) fn enter(
        self: &Arc<Self>,
        source: Option<SourceNetwork>,
        standing: CallerStanding,
    ) -> Option<UnreadBody> {
        let mut table = self.table();
        let of_source = table.by_source.get(&source).filter(|all| all.len() >= self.per_source_max);
        if let Some(all) = of_source {
            let lowest = all.first().copied().filter(|lowest| lowest.0 < standing)?;
            table.remove(lowest, source);
        } else if table.waiting.len() >= self.max {
            let lowest = table.waiting.first().copied().filter(|lowest| lowest.0 < standing)?;
            let of_lowest = table.senders.get(&lowest.1).and_then(|(source, _)| *source);
            table.remove(lowest, of_lowest);
        }
        let (sender, displaced) = oneshot::channel();
        table.last_id += 1;
        let rank = (standing, table.last_id);
        table.waiting.insert(rank);
        table.by_source.entry(source).or_default().insert(rank);
        table.senders.insert(rank.1, (source, sender));
        drop(table);
        Some(UnreadBody { bodies: Arc::clone(self), rank, source, displaced })
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    // Of a request that was displaced, nothing is left.
    fn remove(&mut self, rank: Rank, source: Option<SourceNetwork>) {
        self.waiting.remove(&rank);
        self.senders.remove(&rank.1);
        if let Some(all) = self.by_source.get_mut(&source) {
            all.remove(&rank);
            if all.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }
}

impl UnreadBody {
    /// Returns when another request has displaced this one.
    pub(super) async fn displaced(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = (&mut self.displaced).await;
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        self.bodies.table().remove(self.rank, self.source);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;

    use super::*;

    fn source(last: u8) -> SourceNetwork {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn is_displaced(body: &mut UnreadBody) -> bool {
        body.displaced().now_or_never().is_some()
    }

    #[test]
    fn places_are_limited_in_total_and_per_source() {
        let bodies = Arc::new(UnreadBodies::new(3, 2));
        let enter = |last| bodies.enter(Some(source(last)), CallerStanding::Verified);
        let first = [enter(1), enter(1)];
        assert!(first.iter().all(Option::is_some));
        assert!(enter(1).is_none(), "two of one source");
        let other = enter(2).expect("a place");
        assert!(enter(3).is_none(), "three in total");
        drop(other);
        assert!(enter(3).is_some());
        drop(first);
        let table = bodies.table();
        assert!(table.waiting.is_empty() && table.by_source.is_empty() && table.senders.is_empty());
    }

    #[test]
    fn less_certain_callers_are_displaced_first() {
        use CallerStanding::{Claimed, Unknown, Verified};
        let bodies = Arc::new(UnreadBodies::new(3, 2));
        let enter = |last, standing| bodies.enter(Some(source(last)), standing);
        let mut claimed = enter(1, Claimed).expect("a place");
        let mut unknown = enter(1, Unknown).expect("a place");
        let mut newer = enter(2, Unknown).expect("a place");
        assert!(enter(3, Unknown).is_none(), "a request displaces no equal one");
        assert!(enter(1, Unknown).is_none());
        // The place of the same source, although another is less certain too.
        let mut same_source = enter(1, Verified).expect("a place");
        assert!(is_displaced(&mut unknown) && !is_displaced(&mut claimed));
        let mut verified = enter(3, Claimed).expect("a place");
        assert!(is_displaced(&mut newer) && !is_displaced(&mut claimed));
        assert!(enter(2, Claimed).is_none(), "only equals or better ones are left");
        // The guards of displaced requests free nothing twice.
        drop((unknown, newer));
        assert!(enter(2, Claimed).is_none());
        assert!(!is_displaced(&mut same_source) && !is_displaced(&mut verified));
    }
}
