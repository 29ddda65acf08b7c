//! The ledger's own time: it goes on steadily, whatever somebody does to the machine's clock, and
//! goes on where it was when the process starts anew.
//!
//! Holds are kept by it, so a clock that is set forward frees nothing early, and one that is set
//! back holds nothing for longer. While the machine runs, its uptime says how long no process was
//! there. After a start of the machine its clock is all there is: it is believed, unless it lies
//! before what the ledger has seen already.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, Tick, Uptime},
    qod::Moment,
};

/// A clock's hand that nobody sets.
#[derive(Clone, Debug)]
pub(super) struct Hand {
    clock: Clock,
    began_at: Moment,
    began: Tick,
}

/// What is written down of a hand, to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    at: Moment,
    boot: Option<String>,
    uptime_ms: u64,
}

impl Reading {
    /// What time it was.
    pub(super) const fn at(&self) -> Moment {
        self.at
    }
}

impl Hand {
    /// One that begins with the time of day.
    pub(super) fn new(clock: Clock) -> Self {
        let (began_at, began) = (clock.now(), clock.tick());
        Self { clock, began_at, began }
    }

    /// One that goes on from what was written down.
    pub(super) fn resumed(clock: Clock, last: &Reading) -> Self {
        let now = Self::new(clock);
        let uptime = now.clock.uptime();
        let began_at = match uptime {
            Some(Uptime { boot, since }) if last.boot.as_deref() == Some(&*boot) => {
                let before = std::time::Duration::from_millis(last.uptime_ms);
                last.at + since.saturating_sub(before)
            }
            Some(_) | None => now.began_at.max(last.at),
        };
        Self { began_at, ..now }
    }

    pub(super) fn now(&self) -> Moment {
        self.began_at + self.clock.elapsed(self.began)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn reading(&self) -> Reading {
        let uptime = self.clock.uptime();
        let milliseconds = |uptime: &Uptime| u64::try_from(uptime.since.as_millis()).ok();
        Reading {
            at: self.now(),
            uptime_ms: uptime.as_ref().and_then(milliseconds).unwrap_or_default(),
            boot: uptime.map(|uptime| uptime.boot),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: Moment = Moment::from_unix_s(1_700_000_000);
    const HOURS: Duration = Duration::from_hours(3);

    #[test]
    fn nobody_sets_it() {
        let clock = Clock::fixed(NOON);
        let hand = Hand::new(clock.clone());
        for set_to in [NOON + HOURS, NOON - HOURS] {
            clock.set(set_to);
            assert_eq!(hand.now(), NOON);
        }
        clock.advance(Duration::from_secs(5));
        assert_eq!(hand.now(), NOON + Duration::from_secs(5));
    }

    #[test]
    fn a_new_process_goes_on_where_the_last_one_was_whatever_the_clock_says() {
        let clock = Clock::fixed(NOON);
        let last = Hand::new(clock.clone()).reading();
        for set_to in [NOON + HOURS, NOON - HOURS] {
            clock.set(set_to);
            assert_eq!(Hand::resumed(clock.clone(), &last).now(), NOON);
        }
        // The machine ran on while no process was there.
        clock.advance(Duration::from_mins(1));
        assert_eq!(Hand::resumed(clock, &last).now(), NOON + Duration::from_mins(1));
    }

    #[test]
    fn after_a_start_of_the_machine_its_clock_is_believed_but_never_goes_back() {
        let clock = Clock::fixed(NOON);
        let last =
            Reading { boot: Some("before".to_owned()), ..Hand::new(clock.clone()).reading() };
        clock.set(NOON + HOURS);
        assert_eq!(Hand::resumed(clock.clone(), &last).now(), NOON + HOURS);
        clock.set(NOON - HOURS);
        assert_eq!(Hand::resumed(clock, &last).now(), NOON);
    }
}
