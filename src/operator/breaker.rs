//! When an operator is left alone: after so many failures in a row, and for as long as it asks for.
//!
//! ```text
//!  closed --failures in a row--> open --open_for--> half open --a probe that fails--> open
//!                                                   half open --one that does not---> closed
//! ```
//!
//! What must not be given up, deletes and looks, is still tried now and then; if that goes well, the
//! breaker closes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Tick;

/// When an operator is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// After so many failures in a row.
    pub failures_max: u32,
    /// For so long.
    pub open_for: Duration,
    /// After which so many calls at one time find out how it is.
    pub probes_max: u32,
    /// How many calls it may have in all, those that wait included; and as many that see to what
    /// there is.
    pub calls_max: usize,
}

/// Why an operator is not called now. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    /// Why.
    pub why: Why,
    /// When to come again.
    pub retry_after: Duration,
}

/// Why an operator is not called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It fails.
    Open,
    /// It asked for it (`Retry-After`).
    Told,
    /// Too many calls wait for it.
    Busy,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    Closed,
    HalfOpen,
    Open,
}

/// What a call tells of how its operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Well,
    Sick,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Something new: it can be asked for later.
    New,
    /// To see how something stands.
    Look,
    /// To see to what there is, as by ending it: looks must not take its place.
    Care,
}

/// The breaker of one operator.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: Mutex<State>,
    calls: Arc<Semaphore>,
    // What frees something is not kept waiting by what asks for more.
    cares: Arc<Semaphore>,
}

/// Leave to call an operator. Whoever drops it has called, or not: a probe may be made again.
#[derive(Debug)]
pub struct Turn {
    breaker: Arc<Breaker>,
    pass: Mutex<Option<Pass>>,
    _call: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    round: u64,
    probe: bool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    // What was asked before the phase began, or the one before it, tells nothing of it.
    round: u64,
    told: Option<Tick>,
    looked: Option<Tick>,
    cared: Option<Tick>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Tick },
    HalfOpen { probes: u32 },
}

/// How often an operator that is left alone is called for the sake of what there is.
const CARE_EVERY: Duration = Duration::from_secs(1);
// When to come again, where nobody knows.
const SOON: Duration = Duration::from_secs(1);
/// Longer than this no operator is left alone because it asked for it.
pub(super) const TOLD_MAX: Duration = Duration::from_mins(5);

impl Resting {
    pub(super) const BUSY: Self = Self { why: Why::Busy, retry_after: SOON };
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let phase = Phase::Closed { failures: 0 };
        let state = State { phase, round: 0, told: None, looked: None, cared: None };
        let calls = settings.calls_max.min(Semaphore::MAX_PERMITS);
        let [calls, cares] = [(); 2].map(|()| Arc::new(Semaphore::new(calls)));
        Arc::new(Self { settings, state: Mutex::new(state), calls, cares })
    }

    /// Leave to call; or why not, and when to come again.
    pub(super) fn turn(self: &Arc<Self>, need: Need, now: Tick) -> Result<Turn, Resting> {
        let calls = match need {
            Need::New | Need::Look => &self.calls,
            Need::Care => &self.cares,
        };
        let call = Arc::clone(calls).try_acquire_owned().map_err(|_| Resting::BUSY)?;
        let pass = self.state().pass(&self.settings, need, now)?;
        Ok(Turn { breaker: Arc::clone(self), pass: Mutex::new(Some(pass)), _call: call })
    }

    /// Its operator asks to be left alone for so long.
    pub(super) fn told(&self, wait: Duration, now: Tick) {
        let mut state = self.state();
        state.told = state.told.max(Some(now + wait.min(TOLD_MAX)));
    }

    pub(super) fn stands(&self, now: Tick) -> Stands {
        match self.state().phase {
            Phase::Closed { .. } => Stands::Closed,
            Phase::Open { until } if until > now => Stands::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => Stands::HalfOpen,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// What came of it; only the first time counts. Tells how the breaker stands, if that changed.
    pub(super) fn tell(&self, verdict: Verdict, now: Tick) -> Option<Stands> {
        let pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.breaker.state().judge(&self.breaker.settings, pass, verdict, now)
    }

    /// See [`Breaker::told`].
    pub(super) fn told(&self, wait: Duration, now: Tick) {
        self.breaker.told(wait, now);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let pass = self.pass.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pass) = pass {
            self.breaker.state().forgo(pass);
        }
    }
}

impl State {
    fn pass(&mut self, settings: &Settings, need: Need, now: Tick) -> Result<Pass, Resting> {
        if let Phase::Open { until } = self.phase
            && until <= now
        {
            self.phase = Phase::HalfOpen { probes: 0 };
        }
        let told = self.told.map(|until| until.since(now)).filter(|wait| !wait.is_zero());
        let told = told.map(|retry_after| Resting { why: Why::Told, retry_after });
        let open = |retry_after| Some(Resting { why: Why::Open, retry_after });
        let open = match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until } => open(until.since(now)),
            Phase::HalfOpen { probes } if probes < settings.probes_max => None,
            Phase::HalfOpen { .. } => open(SOON),
        };
        let resting = told.into_iter().chain(open).max_by_key(|resting| resting.retry_after);
        let Some(resting) = resting else {
            let probe = match &mut self.phase {
                Phase::HalfOpen { probes } => {
                    *probes += 1;
                    true
                }
                Phase::Closed { .. } | Phase::Open { .. } => false,
            };
            return Ok(Pass { round: self.round, probe });
        };
        let last = match need {
            Need::New => return Err(resting),
            Need::Look => &mut self.looked,
            Need::Care => &mut self.cared,
        };
        if last.is_some_and(|at| now.since(at) < CARE_EVERY) {
            return Err(resting);
        }
        *last = Some(now);
        Ok(Pass { round: self.round, probe: false })
    }

    fn judge(
        &mut self,
        settings: &Settings,
        pass: Pass,
        verdict: Verdict,
        now: Tick,
    ) -> Option<Stands> {
        if pass.round != self.round {
            return None;
        }
        let failures = match (verdict, self.phase) {
            (Verdict::Well, Phase::Closed { .. }) => {
                self.phase = Phase::Closed { failures: 0 };
                return None;
            }
            (Verdict::Well, Phase::Open { .. } | Phase::HalfOpen { .. }) => {
                self.round += 1;
                self.phase = Phase::Closed { failures: 0 };
                return Some(Stands::Closed);
            }
            (Verdict::Sick, Phase::Closed { failures }) => failures.saturating_add(1),
            (Verdict::Sick, Phase::HalfOpen { .. }) if pass.probe => settings.failures_max,
            (Verdict::Sick, Phase::Open { .. } | Phase::HalfOpen { .. }) => return None,
        };
        if failures < settings.failures_max {
            self.phase = Phase::Closed { failures };
            return None;
        }
        self.round += 1;
        self.phase = Phase::Open { until: now + settings.open_for };
        Some(Stands::Open)
    }

    fn forgo(&mut self, pass: Pass) {
        if let Phase::HalfOpen { probes } = &mut self.phase
            && pass.probe
            && pass.round == self.round
        {
            *probes = probes.saturating_sub(1);
        }
    }
}

impl Why {
    /// Its name in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Told => "told",
            Self::Busy => "busy",
        }
    }
}

impl Stands {
    /// As a number, in the metrics.
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
