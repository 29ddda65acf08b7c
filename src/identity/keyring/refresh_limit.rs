//! Limits how often an issuer's keys are fetched: a short burst, then a fixed refill interval.

use std::time::Duration;

use crate::clock::Tick;

/// Maximum number of fetches before a refill is required.
pub(super) const BURST: u32 = 3;
/// Interval at which one more fetch is allowed. This is the fetch interval while unknown `kid`s
/// keep arriving, and the longest time that they can block a new key.
pub(super) const REFILL: Duration = Duration::from_secs(5);
/// Minimum time between fetches, so that a short flood causes one fetch and not the whole burst.
pub(super) const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Backoff after a failed fetch.
pub(super) const FAILURE_BACKOFF: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct RefreshLimit {
    // When the whole burst is available again. Each fetch moves it by one refill.
    full_at: Option<Tick>,
    not_before: Option<Tick>,
}

impl RefreshLimit {
    /// Returns whether a fetch is permitted now.
    pub(super) fn permits(&self, now: Tick) -> bool {
        let missing = self.full_at.map_or(Duration::ZERO, |full_at| full_at.since(now));
        let may_follow = self.not_before.is_none_or(|at| at <= now);
        may_follow && missing <= REFILL * (BURST - 1)
    }

    /// Records the start of a fetch.
    pub(super) fn begin(&mut self, now: Tick) {
        self.full_at = Some(self.full_at.map_or(now, |full_at| full_at.max(now)) + REFILL);
    }

    /// Records the end of a fetch.
    pub(super) fn finish(&mut self, succeeded: bool, now: Tick) {
        self.not_before = Some(now + if succeeded { INTERVAL_MIN } else { FAILURE_BACKOFF });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Clock, qod::Moment};

    proptest! {
        #[test]
        fn fetches_never_exceed_the_burst_and_its_refills(
            steps in proptest::collection::vec((0_u64..3_000, any::<bool>()), 1..200),
        ) {
            let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
            let (mut pace, mut fetches): (RefreshLimit, Vec<Tick>) = (RefreshLimit::default(), Vec::new());
            for (passed, succeeded) in steps {
                clock.advance(Duration::from_millis(passed));
                let now = clock.tick();
                if !pace.permits(now) {
                    continue;
                }
                pace.begin(now);
                pace.finish(succeeded, now);
                fetches.push(now);
                for (index, since) in fetches.iter().enumerate() {
                    let count = u32::try_from(fetches.len() - index).unwrap();
                    prop_assert!(now.since(*since) >= INTERVAL_MIN * (count - 1));
                    let beyond = count.saturating_sub(BURST);
                    prop_assert!(now.since(*since) >= REFILL * beyond);
                }
            }
            // A fetch is always permitted after the longest backoff.
            clock.advance(FAILURE_BACKOFF);
            prop_assert!(pace.permits(clock.tick()));
        }
    }
}
