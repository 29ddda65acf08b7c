//! How often an issuer is asked: no more than so many times a second, and seldom while it fails.

use std::{num::NonZeroU32, time::Duration};

use crate::clock::Tick;

const SECOND: Duration = Duration::from_secs(1);
/// So many failures in a row are an outage, in which nobody asks for [`PAUSE`] after each.
const OUTAGE: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Pace {
    per_s_max: NonZeroU32,
    since: Option<Tick>,
    asked: u32,
    failures: u32,
    failed: Option<Tick>,
}

impl Pace {
    pub(super) const fn new(per_s_max: NonZeroU32) -> Self {
        Self { per_s_max, since: None, asked: 0, failures: 0, failed: None }
    }

    /// May one ask now? If so, it is counted.
    pub(super) fn permits(&mut self, now: Tick) -> bool {
        let pauses = self.failed.is_some_and(|failed| now.since(failed) < PAUSE);
        if self.failures >= OUTAGE && pauses {
            return false;
        }
        if self.since.is_none_or(|since| now.since(since) >= SECOND) {
            (self.since, self.asked) = (Some(now), 0);
        }
        let permitted = self.asked < self.per_s_max.get();
        self.asked = self.asked.saturating_add(u32::from(permitted));
        permitted
    }

    /// Takes note of an outcome. Is it another than before?
    pub(super) fn note(&mut self, answered: bool, now: Tick) -> bool {
        let failed_before = self.failures > 0;
        if answered {
            (self.failures, self.failed) = (0, None);
        } else {
            (self.failures, self.failed) = (self.failures.saturating_add(1), Some(now));
        }
        failed_before == answered
    }
}
