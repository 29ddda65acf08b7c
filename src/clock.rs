//! What time it is. Nobody else asks the machine: a test sets the time by hand.

use std::{
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
    Fixed(Arc<AtomicU64>),
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

impl Clock {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn system() -> Self {
        Self(Source::System { started: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn fixed(at: Moment) -> Self {
        Self(Source::Fixed(Arc::new(AtomicU64::new(at.unix_ms()))))
    }

    /// Moves a fixed clock forward; the machine's clock goes on by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Fixed(milliseconds) = &self.0 {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            milliseconds.fetch_add(by, Ordering::SeqCst);
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
            Source::Fixed(milliseconds) => {
                Moment::from_unix_ms(milliseconds.load(Ordering::SeqCst))
            }
        }
    }

    /// The steady hand: for measuring, and for deadlines.
    pub fn tick(&self) -> Tick {
        match &self.0 {
            Source::System { started } => Tick(started.elapsed()),
            Source::Fixed(milliseconds) => {
                Tick(Duration::from_millis(milliseconds.load(Ordering::SeqCst)))
            }
        }
    }

    /// How long ago a tick was.
    pub fn elapsed(&self, since: Tick) -> Duration {
        self.tick().since(since)
    }
}
