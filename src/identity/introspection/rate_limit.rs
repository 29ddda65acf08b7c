//! Limits the introspection requests to an issuer: a budget per second that sources share fairly,
//! and a backoff while the issuer fails.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use crate::{clock::Tick, outbound::PeerBackoff, qod::SourceNetwork};

const SECOND: Duration = Duration::from_secs(1);
/// Number of consecutive failures after which the issuer is not called for [`OUTAGE_BACKOFF`].
const OUTAGE_FAILURES: u32 = 3;
const OUTAGE_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum number of sources that are counted separately.
const SOURCES_MAX: usize = 4096;

pub(super) struct IntrospectionRateLimit {
    per_s_max: NonZeroU32,
    window_start: Option<Tick>,
    requests: FairShares,
    // The number of sources in the previous second.
    previous_sources: usize,
    backoff: PeerBackoff,
}

impl IntrospectionRateLimit {
    pub(super) fn new(per_s_max: NonZeroU32) -> Self {
        Self {
            per_s_max,
            window_start: None,
            requests: FairShares::default(),
            previous_sources: 0,
            backoff: PeerBackoff::new(OUTAGE_FAILURES, OUTAGE_BACKOFF),
        }
    }

    /// Returns whether a request for a token from this source is permitted now, and counts it if
    /// so.
    pub(super) fn try_acquire(&mut self, source: Option<SourceNetwork>, now: Tick) -> bool {
        if self.window_start.is_none_or(|since| now.since(since) >= SECOND) {
            self.window_start = Some(now);
            self.previous_sources = std::mem::take(&mut self.requests).sources.len();
        }
        let total = usize::try_from(self.per_s_max.get()).unwrap_or(usize::MAX);
        let permitted = self.requests.try_acquire(source, total, self.previous_sources);
        if let Some(source) = source.filter(|_| !permitted) {
            self.requests.add_source(source);
        }
        permitted && self.backoff.check(now).is_ok()
    }

    /// Records that the issuer has answered. Returns whether it has recovered from failures.
    pub(super) fn record_answer(&mut self, now: Tick) -> bool {
        let has_failed = self.backoff.failures() > 0;
        self.backoff.record_result(true, now);
        has_failed
    }

    /// Records a failure of the issuer. Returns whether it is the first of a series.
    pub(super) fn record_outage(&mut self, now: Tick) -> bool {
        self.backoff.record_result(false, now);
        self.backoff.failures() == 1
    }
}

/// Divides a number of units between sources: each source may have an equal share. A quarter is left
/// for sources that have none yet.
#[derive(Debug, Default)]
pub(super) struct FairShares {
    total: usize,
    sources: HashMap<SourceNetwork, usize>,
}

impl FairShares {
    /// Takes a unit for a source, unless all `max` units or its own share are used. A unit without a
    /// source counts for the total only. There are shares for at least `expected` sources.
    pub(super) fn try_acquire(
        &mut self,
        source: Option<SourceNetwork>,
        max: usize,
        expected: usize,
    ) -> bool {
        if self.total >= max {
            return false;
        }
        if let Some(source) = source {
            let is_new = !self.sources.contains_key(&source);
            if is_new && self.sources.len() >= SOURCES_MAX {
                return false;
            }
            let sources = (self.sources.len() + usize::from(is_new)).max(expected);
            let share = (max - max.div_ceil(4)).checked_div(sources).unwrap_or_default().max(1);
            let used = self.sources.entry(source).or_default();
            if *used >= share {
                return false;
            }
            *used += 1;
        }
        self.total += 1;
        true
    }

    /// Counts a source that has no unit, so that there is a share for it.
    fn add_source(&mut self, source: SourceNetwork) {
        if self.sources.len() < SOURCES_MAX {
            self.sources.entry(source).or_default();
        }
    }

    /// Gives a unit back.
    pub(super) fn release(&mut self, source: Option<SourceNetwork>) {
        self.total = self.total.saturating_sub(1);
        let Some(source) = source else { return };
        if let Some(used) = self.sources.get_mut(&source) {
            *used = used.saturating_sub(1);
            if *used == 0 {
                self.sources.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{clock::Clock, qod::Moment};

    fn source(address: &str) -> SourceNetwork {
        SourceNetwork::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn one_source_cannot_use_the_budget_of_others() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let mut limit = IntrospectionRateLimit::new(NonZeroU32::new(16).unwrap());
        let mut acquire = |address, clock: &Clock| {
            (0..20).filter(|_| limit.try_acquire(Some(source(address)), clock.tick())).count()
        };
        assert_eq!(acquire("192.0.2.1", &clock), 12, "a quarter is left");
        assert_eq!(acquire("192.0.2.2", &clock), 4);
        assert_eq!(acquire("192.0.2.3", &clock), 0);
        clock.advance(SECOND);
        assert_eq!(acquire("192.0.2.1", &clock), 4, "there were three sources");
        assert_eq!(acquire("192.0.2.2", &clock), 4);
        clock.advance(SECOND);
        assert_eq!(acquire("192.0.2.1", &clock), 6, "there were two sources");
        clock.advance(SECOND);
        let mut without = (0..20).filter(|_| limit.try_acquire(None, clock.tick()));
        assert_eq!(without.by_ref().count(), 16);
    }

    #[test]
    fn each_source_has_at_least_one_unit() {
        let mut shares = FairShares::default();
        for number in 0..4_u8 {
            let source = Some(SourceNetwork::from(IpAddr::from([192, 0, 2, number])));
            assert!(shares.try_acquire(source, 4, 100));
            assert!(!shares.try_acquire(source, 4, 100));
        }
        shares.release(Some(source("192.0.2.0")));
        assert!(shares.try_acquire(Some(source("192.0.2.9")), 4, 100));
        assert!(!shares.try_acquire(Some(source("192.0.2.8")), 4, 100), "all units are used");
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.9"] {
            shares.release(Some(source(address)));
        }
        assert!(shares.sources.is_empty());
    }

    #[test]
    fn only_outages_start_a_backoff() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let mut limit = IntrospectionRateLimit::new(NonZeroU32::new(100).unwrap());
        let firsts: Vec<bool> = (0..3).map(|_| limit.record_outage(clock.tick())).collect();
        assert_eq!(firsts, [true, false, false]);
        assert!(!limit.try_acquire(None, clock.tick()));
        assert!(limit.record_answer(clock.tick()));
        assert!(limit.try_acquire(None, clock.tick()));
        assert!(!limit.record_answer(clock.tick()));
    }
}
