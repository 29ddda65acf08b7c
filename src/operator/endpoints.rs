//! Selects the endpoint of an operator call: the first reachable one in the order of the policies.
//! An endpoint that is unreachable or unhealthy is tried after the others for a while.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{breaker::CallClass, health::UNHEALTHY_AFTER};
use crate::{
    clock::Tick,
    outbound::{Endpoint, Trust},
};

/// The maximum number of endpoints of an operator.
pub const ENDPOINTS_MAX: usize = 8;
/// How long an unreachable endpoint is tried after the others.
pub(super) const DEPRIORITIZED_FOR: Duration = Duration::from_secs(10);

/// The endpoints of one operator.
pub(super) struct Endpoints {
    all: Box<[Endpoint]>,
    // The same endpoints with separate connections, for calls that free resources.
    cleanup: Box<[Endpoint]>,
    states: Mutex<EndpointStates>,
}

/// The endpoints that a call has already tried.
#[derive(Debug, Default)]
pub(super) struct TriedEndpoints([bool; ENDPOINTS_MAX]);

/// The state of each endpoint.
#[derive(Debug, Default)]
struct EndpointStates([EndpointState; ENDPOINTS_MAX]);

#[derive(Clone, Copy, Debug, Default)]
struct EndpointState {
    // Tried after the others until then, because it could not be reached.
    deprioritized_until: Option<Tick>,
    // Consecutive failed health checks.
    failures: u32,
}

impl Endpoints {
    /// Creates the list from at most [`ENDPOINTS_MAX`] endpoints; the rest is ignored.
    pub(super) fn new(all: Vec<Endpoint>) -> Self {
        let all: Box<[_]> = all.into_iter().take(ENDPOINTS_MAX).collect();
        let cleanup = all.iter().map(Endpoint::with_separate_connections).collect();
        Self { all, cleanup, states: Mutex::default() }
    }

    /// The trust anchors of the endpoints; the same for all.
    pub(super) fn trust(&self) -> Option<&Trust> {
        self.all.first().map(Endpoint::trust)
    }

    /// The number of endpoints.
    pub(super) fn count(&self) -> u32 {
        self.remaining(&TriedEndpoints::default())
    }

    /// The next endpoint to try, with its index; `None` if all have been tried. Cleanup calls have
    /// connections of their own.
    pub(super) fn next(
        &self,
        class: CallClass,
        tried: &mut TriedEndpoints,
        now: Tick,
    ) -> Option<(usize, &Endpoint)> {
        // With one endpoint there is nothing to choose, and no lock is taken.
        let single = self.all.len() == 1;
        let index =
            if single { tried.first() } else { self.states().next(tried, self.all.len(), now) };
        let index = index?;
        tried.insert(index);
        let endpoints = match class {
            CallClass::New | CallClass::Read => &self.all,
            CallClass::Cleanup => &self.cleanup,
        };
        endpoints.get(index).map(|endpoint| (index, endpoint))
    }

    /// The indexes of the endpoints, in the order of the policies.
    pub(super) fn indexes(&self) -> std::ops::Range<usize> {
        0..self.all.len()
    }

    /// All endpoints, in the order of the policies.
    pub(super) fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.all.iter()
    }

    /// Is the endpoint reachable and healthy, as far as is known?
    pub(super) fn is_up(&self, index: usize, now: Tick) -> bool {
        self.states().is_up(index, now)
    }

    /// The number of endpoints that the call has not tried.
    pub(super) fn remaining(&self, tried: &TriedEndpoints) -> u32 {
        let left = tried.0.iter().take(self.all.len()).filter(|tried| !**tried);
        u32::try_from(left.count()).unwrap_or(u32::MAX)
    }

    /// Moves an endpoint after the others until then.
    pub(super) fn deprioritize(&self, index: usize, until: Tick) {
        self.states().deprioritize(index, until);
    }

    /// Records the result of a health check. Returns whether the health changed.
    pub(super) fn record_check(&self, index: usize, healthy: bool) -> bool {
        self.states().record_check(index, healthy)
    }

    fn states(&self) -> std::sync::MutexGuard<'_, EndpointStates> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

impl TriedEndpoints {
    fn contains(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or(true)
    }

    fn insert(&mut self, index: usize) {
        if let Some(tried) = self.0.get_mut(index) {
            *tried = true;
        }
    }

    fn first(&self) -> Option<usize> {
        (!self.contains(0)).then_some(0)
    }
}

impl EndpointStates {
    fn next(&self, tried: &TriedEndpoints, count: usize, now: Tick) -> Option<usize> {
        let untried = || (0..count).filter(|index| !tried.contains(*index));
        untried().find(|index| self.is_up(*index, now)).or_else(|| untried().next())
    }

    fn deprioritize(&mut self, index: usize, until: Tick) {
        if let Some(state) = self.0.get_mut(index) {
            state.deprioritized_until = state.deprioritized_until.max(Some(until));
        }
    }

    fn record_check(&mut self, index: usize, healthy: bool) -> bool {
        let Some(state) = self.0.get_mut(index) else { return false };
        let before = state.is_healthy();
        state.failures = if healthy { 0 } else { state.failures.saturating_add(1) };
        before != state.is_healthy()
    }

    fn is_up(&self, index: usize, now: Tick) -> bool {
        self.0.get(index).is_some_and(|state| {
            state.is_healthy() && state.deprioritized_until.is_none_or(|until| until <= now)
        })
    }
}

impl EndpointState {
    fn is_healthy(&self) -> bool {
        self.failures < UNHEALTHY_AFTER
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Clock, qod::Moment};

    proptest! {
        #[test]
        fn each_endpoint_is_tried_once_and_available_ones_come_first(
            behind in proptest::collection::vec(0_u64..3, 1..=ENDPOINTS_MAX),
            passed in 0_u64..3,
        ) {
            let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
            let endpoint = |_| Endpoint::parse("http://127.0.0.1:1", 1).unwrap();
            let endpoints = Endpoints::new(behind.iter().map(endpoint).collect());
            for (index, seconds) in behind.iter().enumerate() {
                endpoints.deprioritize(index, clock.tick() + Duration::from_secs(*seconds));
            }
            clock.advance(Duration::from_secs(passed));
            let mut tried = TriedEndpoints::default();
            let next = || endpoints.next(CallClass::New, &mut tried, clock.tick()).map(|(index, _)| index);
            let order: Vec<usize> = std::iter::from_fn(next).collect();
            let mut expected: Vec<usize> = (0..behind.len()).collect();
            expected.sort_by_key(|index| behind[*index] > passed);
            prop_assert_eq!(order, expected);
            prop_assert_eq!(endpoints.remaining(&tried), 0);
        }
    }

    #[test]
    fn unhealthy_endpoint_is_tried_last_until_it_recovers() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let all = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        let endpoints = Endpoints::new(all.map(|url| Endpoint::parse(url, 1).unwrap()).into());
        let first = || {
            endpoints
                .next(CallClass::New, &mut TriedEndpoints::default(), clock.tick())
                .map(|(index, _)| index)
        };
        assert!(!endpoints.record_check(0, false), "one failure is not enough");
        assert!(!endpoints.record_check(0, true));
        assert!(!endpoints.record_check(0, false));
        assert_eq!(first(), Some(0));
        assert!(endpoints.record_check(0, false));
        assert!(!endpoints.record_check(0, false), "no change");
        clock.advance(DEPRIORITIZED_FOR * 10);
        assert_eq!(first(), Some(1));
        endpoints.record_check(1, false);
        endpoints.record_check(1, false);
        assert_eq!(first(), Some(0), "if none is healthy, the configured order applies");
        assert!(endpoints.record_check(0, true));
        assert_eq!(first(), Some(0));
        assert!(!endpoints.record_check(ENDPOINTS_MAX, false), "no such endpoint");
    }

    #[test]
    fn shorter_deprioritization_does_not_replace_a_longer_one() {
        let clock = Clock::fixed(Moment::from_unix_s(1_700_000_000));
        let all = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        let all = all.map(|url| Endpoint::parse(url, 1).unwrap());
        let endpoints = Endpoints::new(all.into());
        let first = || {
            endpoints
                .next(CallClass::New, &mut TriedEndpoints::default(), clock.tick())
                .map(|(index, _)| index)
        };
        assert_eq!(first(), Some(0));
        endpoints.deprioritize(0, clock.tick() + DEPRIORITIZED_FOR);
        endpoints.deprioritize(0, clock.tick());
        assert_eq!(first(), Some(1));
        clock.advance(DEPRIORITIZED_FOR);
        assert_eq!(first(), Some(0));
    }
}
