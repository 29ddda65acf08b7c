//! The clock of the database, as this process knows it. Each answer with a time corrects it; between two
//! answers the monotonic clock of this process continues. The wall clock of this process has no effect.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    clock::{Clock, Tick},
    qod::Moment,
};

/// The estimated time of the database.
#[derive(Debug)]
pub(super) struct DatabaseClock {
    clock: Clock,
    last: ArcSwap<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Moment,
    received: Tick,
}

impl DatabaseClock {
    /// Starts at a time that the database has just reported.
    pub(super) fn new(clock: Clock, at: Moment) -> Self {
        let last = ArcSwap::from_pointee(Reading { at, received: clock.tick() });
        Self { clock, last }
    }

    /// The time of the database, at most the duration of one answer too early.
    pub(super) fn now(&self) -> Moment {
        let Reading { at, received } = **self.last.load();
        at + self.clock.elapsed(received)
    }

    /// Starts the clock of one statement.
    pub(super) fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// The time since a tick.
    pub(super) fn elapsed(&self, since: Tick) -> Duration {
        self.clock.elapsed(since)
    }

    /// Corrects the clock by a time that the answer to a statement reports. The database may have read
    /// its clock at any time between the statement and the answer.
    pub(super) fn observe(&self, at: Moment, sent: Tick) {
        let estimated = self.now();
        let corrected = estimated.clamp(at, at + self.clock.elapsed(sent));
        if corrected != estimated {
            self.last.store(Arc::new(Reading { at: corrected, received: self.clock.tick() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_has_no_effect() {
        let (local, at) = (Clock::fixed(Moment::from_unix_s(1_000)), Moment::from_unix_s(5_000));
        let clock = DatabaseClock::new(local.clone(), at);
        local.set(Moment::from_unix_s(9_000));
        assert_eq!(clock.now(), at);
        local.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), at + Duration::from_secs(3));
        clock.observe(Moment::from_unix_s(6_000), clock.tick());
        assert_eq!(clock.now(), Moment::from_unix_s(6_000));
    }

    #[test]
    fn slow_answer_does_not_set_the_clock_back() {
        let (local, at) = (Clock::fixed(Moment::from_unix_s(1_000)), Moment::from_unix_s(5_000));
        let clock = DatabaseClock::new(local.clone(), at);
        let sent = clock.tick();
        local.advance(Duration::from_secs(3));
        clock.observe(at, sent);
        assert_eq!(clock.now(), at + Duration::from_secs(3));
        // Another database has become the primary.
        clock.observe(at, clock.tick());
        assert_eq!(clock.now(), at);
    }
}
