//! Adapts the gateway's [`Clock`] to the `governor` rate limiter.

use std::time::Duration;

use crate::clock::{Clock, Tick};

/// Measures time since the limits were created.
#[derive(Clone, Debug)]
pub(super) struct LimiterClock {
    clock: Clock,
    since: Tick,
}

impl LimiterClock {
    pub(super) fn new(clock: Clock) -> Self {
        let since = clock.tick();
        Self { clock, since }
    }

    pub(super) fn tick(&self) -> Tick {
        self.clock.tick()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed(self.since)
    }
}

impl governor::clock::Clock for LimiterClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.elapsed()
    }
}
