//! The rate limits of an operator: 429 with `Retry-After`.
//!
//! Such an answer is about the device (or session) of the call, so only calls about the same device
//! are blocked. If several devices in a row get it, the limit is that of the gateway, and the caller
//! blocks all calls.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;

use super::breaker::{Backoff, BackoffReason};
use crate::{clock::Tick, outbound::RETRY_AFTER_MAX};

/// So many different devices in a row mean that the operator limits the gateway.
pub(super) const DEVICES_MAX: usize = 3;
// The number of devices that are remembered.
const ENTRIES_MAX: usize = 10_000;

/// The devices that an operator limits at present.
#[derive(Debug)]
pub(super) struct RateLimitedDevices {
    until: Cache<u64, Tick>,
    // The different devices that were limited since a new session was last accepted.
    in_a_row: Mutex<Vec<u64>>,
    hasher: RandomState,
}

impl RateLimitedDevices {
    pub(super) fn new() -> Self {
        Self {
            until: Cache::new(ENTRIES_MAX),
            in_a_row: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// The key of a session or device.
    pub(super) fn key(&self, subject: impl Hash) -> u64 {
        self.hasher.hash_one(subject)
    }

    /// May the operator be called about this device?
    pub(super) fn check(&self, device: u64, now: Tick) -> Result<(), Backoff> {
        let Some(until) = self.until.get(&device) else { return Ok(()) };
        let retry_after = until.since(now);
        if retry_after.is_zero() {
            self.until.remove(&device);
            return Ok(());
        }
        Err(Backoff { reason: BackoffReason::RetryAfter, retry_after })
    }

    /// Records that the operator limits this device. Returns whether it limits all of them.
    pub(super) fn record(&self, device: u64, wait: Duration, now: Tick) -> bool {
        let until = now + wait.min(RETRY_AFTER_MAX);
        let until = self.until.get(&device).map_or(until, |known| known.max(until));
        self.until.insert(device, until);
        let mut in_a_row = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        if !in_a_row.contains(&device) {
            in_a_row.push(device);
        }
        let all = in_a_row.len() >= DEVICES_MAX;
        if all {
            in_a_row.clear();
        }
        all
    }

    /// Records that the operator accepted a new session.
    pub(super) fn record_accepted(&self) {
        self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, qod::Moment};

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn limit_is_that_of_one_device_until_it_repeats_across_devices() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let limited = RateLimitedDevices::new();
        for _ in 0..10 {
            assert!(!limited.record(1, MINUTE, clock.tick()), "one device");
        }
        assert!(!limited.record(2, MINUTE, clock.tick()));
        assert_eq!(limited.check(1, clock.tick()).unwrap_err().retry_after, MINUTE);
        assert_eq!(limited.check(3, clock.tick()), Ok(()));
        limited.record_accepted();
        assert!(!limited.record(3, MINUTE, clock.tick()));
        assert!(!limited.record(4, MINUTE, clock.tick()));
        assert!(limited.record(5, MINUTE, clock.tick()), "three devices in a row");
        assert!(!limited.record(6, MINUTE, clock.tick()), "counted from zero");
        clock.advance(MINUTE);
        assert_eq!(limited.check(1, clock.tick()), Ok(()));
    }

    #[test]
    fn wait_is_bounded_and_not_shortened() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let limited = RateLimitedDevices::new();
        limited.record(1, Duration::MAX, clock.tick());
        limited.record(1, Duration::ZERO, clock.tick());
        assert_eq!(limited.check(1, clock.tick()).unwrap_err().retry_after, RETRY_AFTER_MAX);
    }

    #[test]
    fn number_of_remembered_devices_is_bounded() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let limited = RateLimitedDevices::new();
        for device in 0..3 * ENTRIES_MAX as u64 {
            limited.record(device, MINUTE, clock.tick());
        }
        assert!(limited.until.len() <= ENTRIES_MAX);
    }
}
