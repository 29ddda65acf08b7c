//! What time it is. Nobody else asks the machine: a test sets the time by hand.

use std::{
    ops::Add,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::qod::Moment;

/// A clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Instant },
    Fixed(Arc<Hands>),
}

// The two hands of a fixed clock, in milliseconds.
#[derive(Debug)]
struct Hands {
    wall: AtomicU64,
    steady: AtomicU64,
}

/// Since when the machine runs: what outlives a process, and no correction of the wall clock moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// Which start of the machine it is.
    pub boot: String,
    /// How long ago that was.
    pub since: Duration,
}

/// A point on the clock's steady hand, which no correction of the wall clock moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// How long after `earlier` this is; nothing, if it is before.
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
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn system() -> Self {
        Self(Source::System { started: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn fixed(at: Moment) -> Self {
        let hand = || AtomicU64::new(at.unix_ms());
        Self(Source::Fixed(Arc::new(Hands { wall: hand(), steady: hand() })))
    }

    /// Moves a fixed clock forward; the machine's clock goes on by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(hands) = &self.0 {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            hands.wall.fetch_add(by, Ordering::SeqCst);
            hands.steady.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Sets the time of day of a fixed clock, as somebody might correct the machine's.
    pub fn set(&self, now: Moment) {
        if let Source::Fixed(hands) = &self.0 {
            hands.wall.store(now.unix_ms(), Ordering::SeqCst);
        }
    }

    /// The time of day.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                Moment::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Fixed(hands) => Moment::from_unix_ms(hands.wall.load(Ordering::SeqCst)),
        }
    }

    /// Since when the machine runs; nothing, if it does not tell.
    pub fn uptime(&self) -> Option<Uptime> {
        match &self.0 {
            Source::System { .. } => {
                let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
                let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
                let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
                let since = Duration::try_from_secs_f64(seconds).ok()?;
                Some(Uptime { boot: boot.trim().to_owned(), since })
            }
            Source::Fixed(hands) => {
                let since = Duration::from_millis(hands.steady.load(Ordering::SeqCst));
                Some(Uptime { boot: "fixed".to_owned(), since })
            }
        }
    }

    /// The steady hand: for measuring, and for deadlines.
    pub fn tick(&self) -> Tick {
        match &self.0 {
            Source::System { started } => Tick(started.elapsed()),
            Source::Fixed(hands) => {
                Tick(Duration::from_millis(hands.steady.load(Ordering::SeqCst)))
            }
        }
    }

    /// How long ago a tick was.
    pub fn elapsed(&self, since: Tick) -> Duration {
        self.tick().since(since)
    }
}
