//! The circuit breaker of an operator. It opens after consecutive failures; calls are also blocked
//! for the time of a `Retry-After`.
//!
//! ```text
//!  closed --consecutive failures--> open --open_duration--> half-open --failed probe-----> open
//!                                                           half-open --successful probe-> closed
//! ```
//!
//! Reads and deletes of existing sessions are still tried once per second while the breaker is
//! open. If one succeeds, the breaker closes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{clock::Tick, outbound::RETRY_AFTER_MAX};

/// The settings of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number of consecutive failures that opens the breaker.
    pub failures_max: u32,
    /// How long the breaker stays open.
    pub open_duration: Duration,
    /// The maximum number of concurrent probes while the breaker is half-open.
    pub probes_max: u32,
    /// The maximum number of calls in progress, queued ones included. Cleanup calls have a separate
    /// limit of the same size.
    pub calls_max: usize,
}

/// Calls to an operator are blocked for a while. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The reason.
    pub reason: BackoffReason,
    /// When to try again.
    pub retry_after: Duration,
}

/// Why calls to an operator are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackoffReason {
    /// The breaker is open.
    Open,
    /// The operator sent a `Retry-After`.
    RetryAfter,
    /// Too many calls are in progress.
    Busy,
}

/// The state of a breaker, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerStatus {
    Closed,
    HalfOpen,
    Open,
}

/// The health of an operator according to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerHealth {
    Healthy,
    Unhealthy,
}

/// The class of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallClass {
    /// Creates or extends a session; the client can retry later.
    New,
    /// Reads the state of a session.
    Read,
    /// Changes an existing session, for example deletes it. Reads do not use up its permits.
    Cleanup,
}

/// The breaker of one operator.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: Mutex<BreakerState>,
    calls: Arc<Semaphore>,
    // Separate permits, so that calls which free resources do not wait for other calls.
    cleanup_calls: Arc<Semaphore>,
}

/// A permit to call an operator. If it is dropped without a report, its probe slot becomes free
/// again.
#[derive(Debug)]
pub struct CallPermit {
    breaker: Arc<Breaker>,
    class: CallClass,
    subject: u64,
    grant: Mutex<Option<PermitGrant>>,
    _call: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug)]
struct PermitGrant {
    generation: u64,
    probe: bool,
}

#[derive(Debug)]
struct BreakerState {
    phase: BreakerPhase,
    // Incremented on each change of phase: results of calls from an earlier phase are ignored.
    generation: u64,
    retry_after_until: Option<Tick>,
    last_read: Option<Tick>,
    last_cleanup: Option<Tick>,
}

#[derive(Clone, Copy, Debug)]
enum BreakerPhase {
    Closed { failures: u32 },
    Open { until: Tick },
    HalfOpen { probes: u32 },
}

/// The interval of calls about existing sessions while the breaker is open.
const OPEN_CALL_INTERVAL: Duration = Duration::from_secs(1);
// The retry time if no better one is known.
pub(super) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

impl Backoff {
    pub(super) const BUSY: Self =
        Self { reason: BackoffReason::Busy, retry_after: DEFAULT_RETRY_AFTER };
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let phase = BreakerPhase::Closed { failures: 0 };
        let state = BreakerState {
            phase,
            generation: 0,
            retry_after_until: None,
            last_read: None,
            last_cleanup: None,
        };
        let calls = settings.calls_max.min(Semaphore::MAX_PERMITS);
        let [calls, cleanup_calls] = [(); 2].map(|()| Arc::new(Semaphore::new(calls)));
        Arc::new(Self { settings, state: Mutex::new(state), calls, cleanup_calls })
    }

    /// Acquires a permit to call the operator.
    pub(super) fn acquire(
        self: &Arc<Self>,
        class: CallClass,
        now: Tick,
    ) -> Result<CallPermit, Backoff> {
        let calls = match class {
            CallClass::New | CallClass::Read => &self.calls,
            CallClass::Cleanup => &self.cleanup_calls,
        };
        let call = Arc::clone(calls).try_acquire_owned().map_err(|_| Backoff::BUSY)?;
        let grant = self.state().admit(&self.settings, class, now)?;
        let (breaker, grant) = (Arc::clone(self), Mutex::new(Some(grant)));
        Ok(CallPermit { breaker, class, subject: 0, grant, _call: call })
    }

    /// Blocks calls for the time of a `Retry-After`, up to [`RETRY_AFTER_MAX`].
    pub(super) fn set_retry_after(&self, wait: Duration, now: Tick) {
        let mut state = self.state();
        state.retry_after_until =
            state.retry_after_until.max(Some(now + wait.min(RETRY_AFTER_MAX)));
    }

    pub(super) fn status(&self, now: Tick) -> BreakerStatus {
        match self.state().phase {
            BreakerPhase::Closed { .. } => BreakerStatus::Closed,
            BreakerPhase::Open { until } if until > now => BreakerStatus::Open,
            BreakerPhase::Open { .. } | BreakerPhase::HalfOpen { .. } => BreakerStatus::HalfOpen,
        }
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPermit {
    /// The class of the call.
    pub(super) fn class(&self) -> CallClass {
        self.class
    }

    /// The key of the device or session of the call.
    pub(super) fn subject(&self) -> u64 {
        self.subject
    }

    /// Sets the key of the device or session of the call.
    pub(super) fn about(mut self, subject: u64) -> Self {
        self.subject = subject;
        self
    }

    /// Reports the result of the call; only the first report counts. Returns the state of the
    /// breaker if it changed.
    pub(super) fn report(&self, health: PeerHealth, now: Tick) -> Option<BreakerStatus> {
        let grant = self.grant.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.breaker.state().record(&self.breaker.settings, grant, health, now)
    }

    /// See [`Breaker::set_retry_after`].
    pub(super) fn set_retry_after(&self, wait: Duration, now: Tick) {
        self.breaker.set_retry_after(wait, now);
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let grant = self.grant.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(grant) = grant {
            self.breaker.state().release_probe(grant);
        }
    }
}

impl BreakerState {
    fn admit(
        &mut self,
        settings: &Settings,
        class: CallClass,
        now: Tick,
    ) -> Result<PermitGrant, Backoff> {
        if let BreakerPhase::Open { until } = self.phase
            && until <= now
        {
            self.phase = BreakerPhase::HalfOpen { probes: 0 };
        }
        let wait =
            self.retry_after_until.map(|until| until.since(now)).filter(|wait| !wait.is_zero());
        let requested =
            wait.map(|retry_after| Backoff { reason: BackoffReason::RetryAfter, retry_after });
        let open = |retry_after| Some(Backoff { reason: BackoffReason::Open, retry_after });
        let open = match self.phase {
            BreakerPhase::Closed { .. } => None,
            BreakerPhase::Open { until } => open(until.since(now)),
            BreakerPhase::HalfOpen { probes } if probes < settings.probes_max => None,
            BreakerPhase::HalfOpen { .. } => open(DEFAULT_RETRY_AFTER),
        };
        let backoff = requested.into_iter().chain(open).max_by_key(|backoff| backoff.retry_after);
        let Some(backoff) = backoff else {
            let probe = match &mut self.phase {
                BreakerPhase::HalfOpen { probes } => {
                    *probes += 1;
                    true
                }
                BreakerPhase::Closed { .. } | BreakerPhase::Open { .. } => false,
            };
            return Ok(PermitGrant { generation: self.generation, probe });
        };
        let last = match class {
            CallClass::New => return Err(backoff),
            CallClass::Read => &mut self.last_read,
            CallClass::Cleanup => &mut self.last_cleanup,
        };
        if last.is_some_and(|at| now.since(at) < OPEN_CALL_INTERVAL) {
            return Err(backoff);
        }
        *last = Some(now);
        Ok(PermitGrant { generation: self.generation, probe: false })
    }

    fn record(
        &mut self,
        settings: &Settings,
        grant: PermitGrant,
        health: PeerHealth,
        now: Tick,
    ) -> Option<BreakerStatus> {
        if grant.generation != self.generation {
            return None;
        }
        let failures = match (health, self.phase) {
            (PeerHealth::Healthy, BreakerPhase::Closed { .. }) => {
                self.phase = BreakerPhase::Closed { failures: 0 };
                return None;
            }
            (PeerHealth::Healthy, BreakerPhase::Open { .. } | BreakerPhase::HalfOpen { .. }) => {
                self.generation += 1;
                self.phase = BreakerPhase::Closed { failures: 0 };
                return Some(BreakerStatus::Closed);
            }
            (PeerHealth::Unhealthy, BreakerPhase::Closed { failures }) => {
                failures.saturating_add(1)
            }
            (PeerHealth::Unhealthy, BreakerPhase::HalfOpen { .. }) if grant.probe => {
                settings.failures_max
            }
            (PeerHealth::Unhealthy, BreakerPhase::Open { .. } | BreakerPhase::HalfOpen { .. }) => {
                return None;
            }
        };
        if failures < settings.failures_max {
            self.phase = BreakerPhase::Closed { failures };
            return None;
        }
        self.generation += 1;
        self.phase = BreakerPhase::Open { until: now + settings.open_duration };
        Some(BreakerStatus::Open)
    }

    fn release_probe(&mut self, grant: PermitGrant) {
        if let BreakerPhase::HalfOpen { probes } = &mut self.phase
            && grant.probe
            && grant.generation == self.generation
        {
            *probes = probes.saturating_sub(1);
        }
    }
}

impl BackoffReason {
    /// The label value in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::RetryAfter => "retry_after",
            Self::Busy => "busy",
        }
    }
}

impl BreakerStatus {
    /// The value of the gauge in the metrics.
    pub(super) const fn level(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

#[cfg(test)]
mod tests;
