//! How often an issuer is asked for its keys: a few times at once where that tells something new, and
//! seldom for long, whoever asks and whatever for.

use std::time::Duration;

use crate::clock::Tick;

/// So many fetches may follow each other before they have to wait for a refill.
pub(super) const BURST: u32 = 3;
/// Each so long there may be one more: so often is an issuer asked while made-up names keep
/// coming, and so long can they keep a new key out.
pub(super) const REFILL: Duration = Duration::from_secs(5);
/// From the end of one fetch to the next, so that a short flood costs one and not the whole burst.
pub(super) const APART: Duration = Duration::from_secs(1);
/// An issuer that has just failed is left in peace for so long.
pub(super) const FAILED_APART: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Pace {
    // When there will be the whole burst again: with each fetch it moves away by one refill.
    full_at: Option<Tick>,
    not_before: Option<Tick>,
}

impl Pace {
    /// May there be a fetch now?
    pub(super) fn permits(&self, now: Tick) -> bool {
        let lacks = self.full_at.map_or(Duration::ZERO, |full_at| full_at.since(now));
        let may_follow = self.not_before.is_none_or(|at| at <= now);
        may_follow && lacks <= REFILL * (BURST - 1)
    }

    /// There is a fetch.
    pub(super) fn begun(&mut self, now: Tick) {
        self.full_at = Some(self.full_at.map_or(now, |full_at| full_at.max(now)) + REFILL);
    }

    /// It is over.
    pub(super) fn ended(&mut self, well: bool, now: Tick) {
        self.not_before = Some(now + if well { APART } else { FAILED_APART });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Clock, qod::Moment};

    proptest! {
        #[test]
        fn in_any_time_there_are_no_more_fetches_than_the_burst_and_its_refills(
            steps in proptest::collection::vec((0_u64..3_000, any::<bool>()), 1..200),
        ) {
            let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
            let (mut pace, mut fetches): (Pace, Vec<Tick>) = (Pace::default(), Vec::new());
            for (passed, well) in steps {
                clock.advance(Duration::from_millis(passed));
                let now = clock.tick();
                if !pace.permits(now) {
                    continue;
                }
                pace.begun(now);
                pace.ended(well, now);
                fetches.push(now);
                for (place, since) in fetches.iter().enumerate() {
                    let count = u32::try_from(fetches.len() - place).unwrap();
                    prop_assert!(now.since(*since) >= APART * (count - 1));
                    let beyond = count.saturating_sub(BURST);
                    prop_assert!(now.since(*since) >= REFILL * beyond);
                }
            }
            // Nobody has to wait for longer than this, whatever happened before.
            clock.advance(FAILED_APART);
            prop_assert!(pace.permits(clock.tick()));
        }
    }
}
