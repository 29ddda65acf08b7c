//! Limits the log lines about failures that every caller can cause.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::{Clock, Tick};

/// Permits ten lines a second.
pub(super) struct FailureLog {
    clock: Clock,
    state: Mutex<FailureLogState>,
}

#[derive(Default)]
struct FailureLogState {
    second: Option<Tick>,
    lines: u32,
    not_logged: u64,
}

const LINES_PER_SECOND_MAX: u32 = 10;

impl FailureLog {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Whether a line may be logged: the number of failures without a line before this one. `None` if
    /// not.
    pub(super) fn permit(&self) -> Option<u64> {
        let now = self.clock.tick();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.second.is_none_or(|at| now.since(at) >= Duration::from_secs(1)) {
            (state.second, state.lines) = (Some(now), 0);
        }
        if state.lines >= LINES_PER_SECOND_MAX {
            state.not_logged += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.not_logged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qod::Moment;

    #[test]
    fn ten_lines_a_second_are_permitted_and_the_others_counted() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let log = FailureLog::new(clock.clone());
        for _ in 0..10 {
            assert_eq!(log.permit(), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(log.permit(), None);
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(log.permit(), Some(5));
        assert_eq!(log.permit(), Some(0));
    }
}
