//! When somebody who fails is left alone.

use std::time::Duration;

use crate::clock::Tick;

/// After so many failures in a row it is left alone for [`PAUSE`]; then one question finds out how it
/// is, before others are asked.
pub(super) const FAILURES_MAX: u32 = 5;
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// It is left alone for as long as it asks to be, but no longer than this.
pub(super) const TOLD_MAX: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
    until: Option<Tick>,
    told: Option<Tick>,
}

impl Pause {
    /// May it be asked now? If not, how long is that so?
    pub(super) fn permits(&mut self, now: Tick) -> Result<(), Duration> {
        let rests = self.failures >= FAILURES_MAX;
        let until = self.told.max(self.until.filter(|_| rests));
        let left = until.map_or(Duration::ZERO, |until| until.since(now));
        if !left.is_zero() {
            return Err(left);
        }
        if rests {
            self.until = Some(now + PAUSE);
        }
        Ok(())
    }

    /// It asks to be left alone for so long.
    pub(super) fn told(&mut self, wait: Duration, now: Tick) {
        self.told = self.told.max(Some(now + wait.min(TOLD_MAX)));
    }

    /// Takes note of an outcome. Does it begin or end that it is left alone?
    pub(super) fn note(&mut self, answered: bool, now: Tick) -> bool {
        let rested = self.failures >= FAILURES_MAX;
        if answered {
            // Who asks to be left alone may answer others that were under way.
            *self = Self { told: self.told, ..Self::default() };
        } else {
            self.failures = self.failures.saturating_add(1);
            self.until = Some(now + PAUSE);
        }
        rested != (self.failures >= FAILURES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, qod::Moment};

    #[test]
    fn it_is_left_alone_after_failures_in_a_row_and_tried_by_one_question_then() {
        let clock = Clock::fixed(Moment::from_unix_s(1_800_000_000));
        let mut pause = Pause::default();
        for _ in 1..FAILURES_MAX {
            assert!(!pause.note(false, clock.tick()));
        }
        assert!(!pause.note(true, clock.tick()), "one that does not fail breaks the row");
        for failure in 1..=FAILURES_MAX {
            assert_eq!(pause.permits(clock.tick()), Ok(()));
            assert_eq!(pause.note(false, clock.tick()), failure == FAILURES_MAX);
        }
        assert_eq!(pause.permits(clock.tick()), Err(PAUSE));
        clock.advance(PAUSE);
        assert_eq!(pause.permits(clock.tick()), Ok(()));
        assert_eq!(pause.permits(clock.tick()), Err(PAUSE), "one is enough");
        assert!(!pause.note(false, clock.tick()), "it is left alone still");
        clock.advance(PAUSE);
        assert_eq!(pause.permits(clock.tick()), Ok(()));
        assert!(pause.note(true, clock.tick()));
        assert_eq!(pause.permits(clock.tick()), Ok(()));
    }

    #[test]
    fn it_is_left_alone_as_long_as_it_asks_to_be_within_reason() {
        let clock = Clock::fixed(Moment::from_unix_s(1_800_000_000));
        let mut pause = Pause::default();
        pause.told(Duration::from_mins(1), clock.tick());
        pause.told(Duration::from_secs(1), clock.tick());
        assert!(!pause.note(true, clock.tick()));
        assert_eq!(pause.permits(clock.tick()), Err(Duration::from_mins(1)));
        clock.advance(Duration::from_mins(1));
        assert_eq!(pause.permits(clock.tick()), Ok(()));
        pause.told(Duration::MAX, clock.tick());
        assert_eq!(pause.permits(clock.tick()), Err(TOLD_MAX));
    }
}
