//! Limits the introspection requests to an issuer: a maximum per second, and a backoff while it
//! fails.

use std::{num::NonZeroU32, time::Duration};

use crate::clock::Tick;

const SECOND: Duration = Duration::from_secs(1);
/// Number of consecutive failures after which each further failure starts a backoff.
const OUTAGE_FAILURES: u32 = 3;
const OUTAGE_BACKOFF: Duration = Duration::from_secs(1);

pub(super) struct IntrospectionRateLimit {
    per_s_max: NonZeroU32,
    window_start: Option<Tick>,
    requests: u32,
    failures: u32,
    failed_at: Option<Tick>,
}

impl IntrospectionRateLimit {
    pub(super) const fn new(per_s_max: NonZeroU32) -> Self {
        Self { per_s_max, window_start: None, requests: 0, failures: 0, failed_at: None }
    }

    /// Returns whether a request is permitted now, and counts it if so.
    pub(super) fn try_acquire(&mut self, now: Tick) -> bool {
        let backing_off = self.failed_at.is_some_and(|failed| now.since(failed) < OUTAGE_BACKOFF);
        if self.failures >= OUTAGE_FAILURES && backing_off {
            return false;
        }
        if self.window_start.is_none_or(|since| now.since(since) >= SECOND) {
            (self.window_start, self.requests) = (Some(now), 0);
        }
        let permitted = self.requests < self.per_s_max.get();
        self.requests = self.requests.saturating_add(u32::from(permitted));
        permitted
    }

    /// Records the result of a request. Returns whether the issuer's state has changed.
    pub(super) fn record_result(&mut self, succeeded: bool, now: Tick) -> bool {
        let failed_before = self.failures > 0;
        if succeeded {
            (self.failures, self.failed_at) = (0, None);
        } else {
            (self.failures, self.failed_at) = (self.failures.saturating_add(1), Some(now));
        }
        failed_before == succeeded
    }
}
