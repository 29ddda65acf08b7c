//! The ledger clock: a monotonic clock that ignores changes of the system clock and continues
//! across restarts of the process.
//!
//! All holds use it: setting the system clock forward releases nothing early, and setting it back
//! prolongs nothing. After a restart of the process, the uptime of the machine gives the time
//! between the processes. After a reboot only the system clock is available: it is used unless it
//! is before the last stored time.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Clock, Tick, Uptime},
    qod::Moment,
};

/// A monotonic clock, based on the system time at its start.
#[derive(Clone, Debug)]
pub(super) struct LedgerClock {
    clock: Clock,
    started_at: Moment,
    started: Tick,
}

/// A stored reading of the ledger clock, from which a later process continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClockReading {
    at: Moment,
    boot: Option<String>,
    uptime_ms: u64,
}

impl ClockReading {
    /// The time of the reading.
    pub(super) const fn at(&self) -> Moment {
        self.at
    }
}

impl LedgerClock {
    /// Starts at the system time.
    pub(super) fn new(clock: Clock) -> Self {
        let (started_at, started) = (clock.now(), clock.tick());
        Self { clock, started_at, started }
    }

    /// Continues from a stored reading.
    pub(super) fn resume(clock: Clock, last: &ClockReading) -> Self {
        let now = Self::new(clock);
        let uptime = now.clock.uptime();
        let started_at = match uptime {
            Some(Uptime { boot_id: boot, elapsed: since })
                if last.boot.as_deref() == Some(&*boot) =>
            {
                let before = std::time::Duration::from_millis(last.uptime_ms);
                last.at + since.saturating_sub(before)
            }
            Some(_) | None => now.started_at.max(last.at),
        };
        Self { started_at, ..now }
    }

    pub(super) fn now(&self) -> Moment {
        self.started_at + self.clock.elapsed(self.started)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn reading(&self) -> ClockReading {
        let uptime = self.clock.uptime();
        let milliseconds = |uptime: &Uptime| u64::try_from(uptime.elapsed.as_millis()).ok();
        ClockReading {
            at: self.now(),
            uptime_ms: uptime.as_ref().and_then(milliseconds).unwrap_or_default(),
            boot: uptime.map(|uptime| uptime.boot_id),
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
    fn system_clock_changes_are_ignored() {
        let clock = Clock::fixed(NOON);
        let ledger_clock = LedgerClock::new(clock.clone());
        for set_to in [NOON + HOURS, NOON - HOURS] {
            clock.set(set_to);
            assert_eq!(ledger_clock.now(), NOON);
        }
        clock.advance(Duration::from_secs(5));
        assert_eq!(ledger_clock.now(), NOON + Duration::from_secs(5));
    }

    #[test]
    fn new_process_continues_from_last_reading() {
        let clock = Clock::fixed(NOON);
        let last = LedgerClock::new(clock.clone()).reading();
        for set_to in [NOON + HOURS, NOON - HOURS] {
            clock.set(set_to);
            assert_eq!(LedgerClock::resume(clock.clone(), &last).now(), NOON);
        }
        // The machine did not restart between the two processes.
        clock.advance(Duration::from_mins(1));
        assert_eq!(LedgerClock::resume(clock, &last).now(), NOON + Duration::from_mins(1));
    }

    #[test]
    fn after_reboot_system_clock_is_used_but_never_goes_back() {
        let clock = Clock::fixed(NOON);
        let last = ClockReading {
            boot: Some("before".to_owned()),
            ..LedgerClock::new(clock.clone()).reading()
        };
        clock.set(NOON + HOURS);
        assert_eq!(LedgerClock::resume(clock.clone(), &last).now(), NOON + HOURS);
        clock.set(NOON - HOURS);
        assert_eq!(LedgerClock::resume(clock, &last).now(), NOON);
    }
}
