//! Backoff from a peer that fails repeatedly, or that requests it (`Retry-After`).

use std::time::Duration;

use crate::clock::Tick;

/// The maximum `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// Decides whether a peer may be called. After a number of consecutive failures it is not called for a time.
/// Then one request probes it before others are sent.
#[derive(Debug)]
pub struct PeerBackoff {
    failures_max: u32,
    duration: Duration,
    failures: u32,
    until: Option<Tick>,
    retry_after_until: Option<Tick>,
}

impl PeerBackoff {
    /// Creates a backoff of this duration after this number of consecutive failures.
    pub const fn new(failures_max: u32, duration: Duration) -> Self {
        Self { failures_max, duration, failures: 0, until: None, retry_after_until: None }
    }

    /// The number of consecutive failures.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// May a request be sent now?
    ///
    /// # Errors
    /// The remaining backoff, if not.
    pub fn check(&mut self, now: Tick) -> Result<(), Duration> {
        let failing = self.is_failing();
        let until = self.retry_after_until.max(self.until.filter(|_| failing));
        let left = until.map_or(Duration::ZERO, |until| until.since(now));
        if !left.is_zero() {
            return Err(left);
        }
        if failing {
            self.until = Some(now + self.duration);
        }
        Ok(())
    }

    /// Backs off for the time of a `Retry-After`, up to [`RETRY_AFTER_MAX`].
    pub fn set_retry_after(&mut self, wait: Duration, now: Tick) {
        self.retry_after_until = self.retry_after_until.max(Some(now + wait.min(RETRY_AFTER_MAX)));
    }

    /// Records the result of a request. Returns whether a backoff after failures starts or ends
    /// with it.
    pub fn record_result(&mut self, answered: bool, now: Tick) -> bool {
        let was_failing = self.is_failing();
        if answered {
            // The `Retry-After` still holds: this answer may be to a request sent before it.
            (self.failures, self.until) = (0, None);
        } else {
            self.failures = self.failures.saturating_add(1);
            self.until = Some(now + self.duration);
        }
        was_failing != self.is_failing()
    }

    const fn is_failing(&self) -> bool {
        self.failures >= self.failures_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, qod::Moment};

    const FAILURES_MAX: u32 = 5;
    const BACKOFF: Duration = Duration::from_secs(5);

    #[test]
    fn consecutive_failures_start_a_backoff_and_one_probe_follows() {
        let clock = Clock::fixed(Moment::from_unix_s(1_800_000_000));
        let mut backoff = PeerBackoff::new(FAILURES_MAX, BACKOFF);
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
        let mut backoff = PeerBackoff::new(FAILURES_MAX, BACKOFF);
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
