//! The clock: wall-clock and monotonic time. All other code reads the time here, so that tests can
//! set it.

#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::{
    ops::Add,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::qod::Moment;

/// The system clock, or a fixed clock for tests. Clones share the same time.
#[derive(Clone, Debug)]
pub struct Clock(ClockSource);

#[derive(Clone, Debug)]
enum ClockSource {
    System {
        started: Instant,
    },
    #[cfg(test)]
    Fixed(Arc<FixedTime>),
}

// The time of a fixed clock, in milliseconds.
#[cfg(test)]
#[derive(Debug)]
struct FixedTime {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

/// The uptime of the machine. It survives a restart of the process, and a correction of the wall
/// clock does not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// The identifier of the current boot of the machine.
    pub boot_id: String,
    /// The time since that boot.
    pub elapsed: Duration,
}

/// A point in monotonic time. A correction of the wall clock does not change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// The time from `earlier` to this tick; zero if this tick is before `earlier`.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }
}

impl Clock {
    /// The system clock.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn system() -> Self {
        Self(ClockSource::System { started: Instant::now() })
    }

    /// A clock that does not move until [`Clock::advance`] is called.
    #[cfg(test)]
    pub fn fixed(at: Moment) -> Self {
        let start = || AtomicU64::new(at.unix_ms());
        Self(ClockSource::Fixed(Arc::new(FixedTime { wall: start(), monotonic: start() })))
    }

    /// Moves a fixed clock forward. It has no effect on the system clock.
    #[cfg(test)]
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Fixed(fixed) = &self.0 {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            fixed.wall.fetch_add(by, Ordering::SeqCst);
            fixed.monotonic.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Sets the wall-clock time of a fixed clock. Monotonic time does not change.
    #[cfg(test)]
    pub fn set(&self, now: Moment) {
        if let ClockSource::Fixed(fixed) = &self.0 {
            fixed.wall.store(now.unix_ms(), Ordering::SeqCst);
        }
    }

    /// The wall-clock time.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockSource::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                Moment::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            #[cfg(test)]
            ClockSource::Fixed(fixed) => Moment::from_unix_ms(fixed.wall.load(Ordering::SeqCst)),
        }
    }

    /// The wall-clock time since the Unix epoch, as exactly as the system knows it.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn unix_time(&self) -> Duration {
        match &self.0 {
            ClockSource::System { .. } => {
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
            }
            #[cfg(test)]
            ClockSource::Fixed(fixed) => Duration::from_millis(fixed.wall.load(Ordering::SeqCst)),
        }
    }

    /// The uptime of the machine; `None` if `/proc` does not provide it.
    pub fn uptime(&self) -> Option<Uptime> {
        match &self.0 {
            ClockSource::System { .. } => {
                let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
                let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
                let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
                let since = Duration::try_from_secs_f64(seconds).ok()?;
                Some(Uptime { boot_id: boot.trim().to_owned(), elapsed: since })
            }
            #[cfg(test)]
            ClockSource::Fixed(fixed) => {
                let since = Duration::from_millis(fixed.monotonic.load(Ordering::SeqCst));
                Some(Uptime { boot_id: "fixed".to_owned(), elapsed: since })
            }
        }
    }

    /// The monotonic time, for durations and deadlines.
    pub fn tick(&self) -> Tick {
        match &self.0 {
            ClockSource::System { started } => Tick(started.elapsed()),
            #[cfg(test)]
            ClockSource::Fixed(fixed) => {
                Tick(Duration::from_millis(fixed.monotonic.load(Ordering::SeqCst)))
            }
        }
    }

    /// The time since a tick.
    pub fn elapsed(&self, since: Tick) -> Duration {
        self.tick().since(since)
    }
}
