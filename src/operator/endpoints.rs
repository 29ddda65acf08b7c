//! Where an operator is called: the first of its endpoints that can be reached, in the order of the
//! policies. One that cannot stands behind the others for a while, and so does one that is not well.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::health::FAILURES;
use crate::{
    clock::Tick,
    outbound::{Endpoint, Trust},
};

/// As many endpoints as an operator may have.
pub const ENDPOINTS_MAX: usize = 8;
/// For how long one that could not be reached stands behind the others.
pub(super) const BEHIND_FOR: Duration = Duration::from_secs(10);

/// The endpoints of one operator.
pub(super) struct Endpoints {
    all: Box<[Endpoint]>,
    order: Mutex<Order>,
}

/// Which endpoints one call has been tried at.
#[derive(Debug, Default)]
pub(super) struct Tried([bool; ENDPOINTS_MAX]);

/// How each endpoint stands.
#[derive(Debug, Default)]
struct Order([Standing; ENDPOINTS_MAX]);

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    // It could not be reached, and stands behind until then.
    behind: Option<Tick>,
    // Checks in a row that have failed.
    failures: u32,
}

impl Endpoints {
    /// The first so many of them.
    pub(super) fn new(all: Vec<Endpoint>) -> Self {
        Self { all: all.into_iter().take(ENDPOINTS_MAX).collect(), order: Mutex::default() }
    }

    /// Whom each of them must be known by; the same for all.
    pub(super) fn trust(&self) -> Option<&Trust> {
        self.all.first().map(Endpoint::trust)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.left(&Tried::default())
    }

    /// The next that a call is to be tried at; nothing, if it has been tried at all of them.
    pub(super) fn next(&self, tried: &mut Tried, now: Tick) -> Option<(usize, &Endpoint)> {
        // Of one alone there is nothing to choose.
        let alone = self.all.len() == 1;
        let place =
            if alone { tried.first() } else { self.order().next(tried, self.all.len(), now) };
        let place = place?;
        tried.note(place);
        self.all.get(place).map(|endpoint| (place, endpoint))
    }

    /// Where they stand in the policies.
    pub(super) fn places(&self) -> std::ops::Range<usize> {
        0..self.all.len()
    }

    /// Can it be reached and is it well, as far as is known?
    pub(super) fn is_up(&self, place: usize, now: Tick) -> bool {
        self.order().is_up(place, now)
    }

    /// How many a call can still be tried at.
    pub(super) fn left(&self, tried: &Tried) -> u32 {
        let left = tried.0.iter().take(self.all.len()).filter(|tried| !**tried);
        u32::try_from(left.count()).unwrap_or(u32::MAX)
    }

    /// One could not be reached, or is not well.
    pub(super) fn put_behind(&self, place: usize, until: Tick) {
        self.order().put_behind(place, until);
    }

    /// One was asked how it is. Has that changed?
    pub(super) fn checked(&self, place: usize, well: bool) -> bool {
        self.order().checked(place, well)
    }

    fn order(&self) -> std::sync::MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

impl Tried {
    fn has(&self, place: usize) -> bool {
        self.0.get(place).copied().unwrap_or(true)
    }

    fn note(&mut self, place: usize) {
        if let Some(tried) = self.0.get_mut(place) {
            *tried = true;
        }
    }

    fn first(&self) -> Option<usize> {
        (!self.has(0)).then_some(0)
    }
}

impl Order {
    fn next(&self, tried: &Tried, count: usize, now: Tick) -> Option<usize> {
        let untried = || (0..count).filter(|place| !tried.has(*place));
        untried().find(|place| self.is_up(*place, now)).or_else(|| untried().next())
    }

    fn put_behind(&mut self, place: usize, until: Tick) {
        if let Some(standing) = self.0.get_mut(place) {
            standing.behind = standing.behind.max(Some(until));
        }
    }

    fn checked(&mut self, place: usize, well: bool) -> bool {
        let Some(standing) = self.0.get_mut(place) else { return false };
        let before = standing.is_well();
        standing.failures = if well { 0 } else { standing.failures.saturating_add(1) };
        before != standing.is_well()
    }

    fn is_up(&self, place: usize, now: Tick) -> bool {
        self.0.get(place).is_some_and(|standing| {
            standing.is_well() && standing.behind.is_none_or(|until| until <= now)
        })
    }
}

impl Standing {
    fn is_well(&self) -> bool {
        self.failures < FAILURES
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Clock, qod::Moment};

    proptest! {
        #[test]
        fn each_endpoint_is_tried_once_those_that_are_up_first_and_else_in_their_order(
            behind in proptest::collection::vec(0_u64..3, 1..=ENDPOINTS_MAX),
            passed in 0_u64..3,
        ) {
            let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
            let endpoint = |_| Endpoint::parse("http://127.0.0.1:1", 1).unwrap();
            let endpoints = Endpoints::new(behind.iter().map(endpoint).collect());
            for (place, seconds) in behind.iter().enumerate() {
                endpoints.put_behind(place, clock.tick() + Duration::from_secs(*seconds));
            }
            clock.advance(Duration::from_secs(passed));
            let mut tried = Tried::default();
            let next = || endpoints.next(&mut tried, clock.tick()).map(|(place, _)| place);
            let order: Vec<usize> = std::iter::from_fn(next).collect();
            let mut expected: Vec<usize> = (0..behind.len()).collect();
            expected.sort_by_key(|place| behind[*place] > passed);
            prop_assert_eq!(order, expected);
            prop_assert_eq!(endpoints.left(&tried), 0);
        }
    }

    #[test]
    fn one_that_is_not_well_stands_behind_until_it_is() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let all = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        let endpoints = Endpoints::new(all.map(|url| Endpoint::parse(url, 1).unwrap()).into());
        let first = || endpoints.next(&mut Tried::default(), clock.tick()).map(|(place, _)| place);
        assert!(!endpoints.checked(0, false), "once may be chance");
        assert!(!endpoints.checked(0, true));
        assert!(!endpoints.checked(0, false));
        assert_eq!(first(), Some(0));
        assert!(endpoints.checked(0, false));
        assert!(!endpoints.checked(0, false), "that is known");
        clock.advance(BEHIND_FOR * 10);
        assert_eq!(first(), Some(1));
        endpoints.checked(1, false);
        endpoints.checked(1, false);
        assert_eq!(first(), Some(0), "if none is well, all are tried in their order");
        assert!(endpoints.checked(0, true));
        assert_eq!(first(), Some(0));
        assert!(!endpoints.checked(ENDPOINTS_MAX, false), "there is none");
    }

    #[test]
    fn a_shorter_time_behind_takes_nothing_from_a_longer_one() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let all = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        let all = all.map(|url| Endpoint::parse(url, 1).unwrap());
        let endpoints = Endpoints::new(all.into());
        let first = || endpoints.next(&mut Tried::default(), clock.tick()).map(|(place, _)| place);
        assert_eq!(first(), Some(0));
        endpoints.put_behind(0, clock.tick() + BEHIND_FOR);
        endpoints.put_behind(0, clock.tick());
        assert_eq!(first(), Some(1));
        clock.advance(BEHIND_FOR);
        assert_eq!(first(), Some(0));
    }
}
