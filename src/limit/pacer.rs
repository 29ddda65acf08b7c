//! The house's clock, as governor wants to be told the time.

use std::time::Duration;

use crate::clock::{Clock, Tick};

/// Counts from when the limits were made.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    clock: Clock,
    since: Tick,
}

impl Pacer {
    pub(super) fn new(clock: Clock) -> Self {
        let since = clock.tick();
        Self { clock, since }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed(self.since)
    }
}

impl governor::clock::Clock for Pacer {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.elapsed()
    }
}
