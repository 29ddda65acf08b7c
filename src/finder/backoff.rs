//! Backoff after repeated failures of a finder, or on its own request (`Retry-After`).

use std::time::Duration;

use crate::clock::Tick;

/// After this many consecutive failures the finder is not called for [`BACKOFF`]. Then one request
/// probes it before others are sent.
pub(super) const FAILURES_MAX: u32 = 5;
pub(super) const BACKOFF: Duration = Duration::from_secs(5);
/// The maximum `Retry-After` that is honoured.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(super) struct FinderBackoff {
    failures: u32,
    until: Option<Tick>,
    retry_after_until: Option<Tick>,
}

impl FinderBackoff {
    /// May a request be sent now? If not, returns the remaining backoff.
    pub(super) fn check(&mut self, now: Tick) -> Result<(), Duration> {
        let failing = self.failures >= FAILURES_MAX;
        let until = self.retry_after_until.max(self.until.filter(|_| failing));
        let left = until.map_or(Duration::ZERO, |until| until.since(now));
        if !left.is_zero() {
            return Err(left);
        }
        if failing {
            self.until = Some(now + BACKOFF);
        }
        Ok(())
    }

    /// Backs off for the time of a `Retry-After`, up to [`RETRY_AFTER_MAX`].
    pub(super) fn set_retry_after(&mut self, wait: Duration, now: Tick) {
        self.retry_after_until = self.retry_after_until.max(Some(now + wait.min(RETRY_AFTER_MAX)));
    }

    /// Records the result of a request. Returns whether a backoff after failures starts or ends
    /// with it.
    pub(super) fn record_result(&mut self, answered: bool, now: Tick) -> bool {
        let was_failing = self.failures >= FAILURES_MAX;
        if answered {
            // The `Retry-After` still holds: this answer may be to a request sent before it.
            *self = Self { retry_after_until: self.retry_after_until, ..Self::default() };
        } else {
            self.failures = self.failures.saturating_add(1);
            self.until = Some(now + BACKOFF);
        }
        was_failing != (self.failures >= FAILURES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, qod::Moment};

    #[test]
    fn consecutive_failures_start_a_backoff_and_one_probe_follows() {
        let clock = Clock::fixed(Moment::from_unix_s(1_800_000_000));
        let mut backoff = FinderBackoff::default();
        for _ in 1..FAILURES_MAX {
            assert!(!backoff.record_result(false, clock.tick()));
        }
        assert!(!backoff.record_result(true, clock.tick()), "a success resets the count");
        for failure in 1..=FAILURES_MAX {
            assert_eq!(backoff.check(clock.tick()), Ok(()));
            assert_eq!(backoff.record_result(false, clock.tick()), failure == FAILURES_MAX);
        }
        assert_eq!(backoff.check(clock.tick()), Err(BACKOFF));
        clock.advance(BACKOFF);
        assert_eq!(backoff.check(clock.tick()), Ok(()));
        assert_eq!(backoff.check(clock.tick()), Err(BACKOFF), "one probe at a time");
        assert!(!backoff.record_result(false, clock.tick()), "the backoff continues");
        clock.advance(BACKOFF);
        assert_eq!(backoff.check(clock.tick()), Ok(()));
        assert!(backoff.record_result(true, clock.tick()));
        assert_eq!(backoff.check(clock.tick()), Ok(()));
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_maximum() {
        let clock = Clock::fixed(Moment::from_unix_s(1_800_000_000));
        let mut backoff = FinderBackoff::default();
        backoff.set_retry_after(Duration::from_mins(1), clock.tick());
        backoff.set_retry_after(Duration::from_secs(1), clock.tick());
        assert!(!backoff.record_result(true, clock.tick()));
        assert_eq!(backoff.check(clock.tick()), Err(Duration::from_mins(1)));
        clock.advance(Duration::from_mins(1));
        assert_eq!(backoff.check(clock.tick()), Ok(()));
        backoff.set_retry_after(Duration::MAX, clock.tick());
        assert_eq!(backoff.check(clock.tick()), Err(RETRY_AFTER_MAX));
    }
}
