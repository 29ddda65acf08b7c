//! A limit that replicas share, as this replica knows it: the cells that it has leased from the bucket in the
//! database, the time until which the database denied further ones, and this replica's share of the limit,
//! which applies while the database is away.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::Rate;
use crate::clock::Tick;

/// The longest and the shortest lifetime of a lease.
const LEASE_MAX: Duration = Duration::from_millis(250);
const LEASE_MIN: Duration = Duration::from_millis(50);
/// A lease ends after this part of the time in which the burst is replenished. Unused cells of a lease
/// take up room of the burst.
const LEASES_PER_BURST: u32 = 8;
/// A block of cells is at most what the rate replenishes in this time, but at least one cell, and at most
/// a quarter of the burst.
const BLOCK: Duration = Duration::from_millis(50);
const BLOCKS_PER_BURST: u32 = 4;

/// The cells of one bucket that this replica may use.
#[derive(Debug)]
pub(super) struct LeasedCells {
    key: i64,
    rate: Rate,
    state: Mutex<LeaseState>,
    /// Signals each answer of the database.
    pub(super) answered: Notify,
}

#[derive(Debug, Default)]
struct LeaseState {
    // The cells of the last lease, and those of them that are unused.
    granted: u32,
    left: u32,
    leased_until: Tick,
    denied_until: Tick,
    // A call is in flight, or waits to be sent.
    is_requested: bool,
    // The number of requests that wait for its answer.
    waiting: u32,
    // The number of cells in the next block.
    block: u32,
    // The "theoretical arrival time" of this replica's share of the limit.
    share_arrival: Tick,
}

/// The result of an attempt to use a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// A cell was used.
    Admitted,
    /// There is no cell for this time.
    Denied(Duration),
    /// The database must be asked. `is_first`: by this caller.
    Wait {
        /// No other caller has requested cells yet.
        is_first: bool,
    },
}

/// What the database must know to lease cells of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseRequest {
    pub(super) key: i64,
    pub(super) wanted: i32,
    pub(super) interval_ns: i64,
    pub(super) size_ns: i64,
    pub(super) lease_ms: i64,
}

/// The answer of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseAnswer {
    /// The number of cells.
    pub(super) granted: u32,
    /// When the next cell is there, if fewer were granted than wanted.
    pub(super) retry: Duration,
}

/// A request that waits for an answer.
#[derive(Debug)]
pub(super) struct WaitingRequest<'a>(&'a LeasedCells);

impl LeasedCells {
    /// Knows no cells.
    pub(super) fn new(key: i64, rate: Rate) -> Self {
        let state = Mutex::new(LeaseState { block: 1, ..LeaseState::default() });
        Self { key, rate, state, answered: Notify::new() }
    }

    /// Uses a cell, if there is one.
    pub(super) fn take(&self, now: Tick) -> Take {
        let mut state = self.state();
        if state.left > 0 && now < state.leased_until {
            state.left = state.left.saturating_sub(1);
            // The share is charged, so that it is not unused when the database is away.
            let full = now + self.rate.size();
            state.share_arrival = (state.share_arrival.max(now) + self.rate.interval).min(full);
            return Take::Admitted;
        }
        if now < state.denied_until {
            return Take::Denied(state.denied_until.since(now));
        }
        Take::Wait { is_first: !std::mem::replace(&mut state.is_requested, true) }
    }

    /// Counts a request as waiting until the result is dropped.
    pub(super) fn wait(&self) -> WaitingRequest<'_> {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_add(1);
        drop(state);
        WaitingRequest(self)
    }

    /// The request for the database, at the time when it is sent.
    pub(super) fn request(&self, now: Tick) -> LeaseRequest {
        let mut state = self.state();
        let Rate { interval, burst } = self.rate;
        let steady = BLOCK.as_nanos() / interval.as_nanos().max(1);
        let block_max =
            u32::try_from(steady).unwrap_or(u32::MAX).min(burst.get() / BLOCKS_PER_BURST);
        // A block grows if a lease is used up before its end, and shrinks to what was used of one that was
        // not.
        let block = match (state.granted, state.left) {
            (0, _) => state.block,
            (_, 0) if now < state.leased_until => state.block.saturating_mul(2),
            (_, 0) => state.block,
            (_, left) => state.block.saturating_sub(left),
        };
        state.block = block.clamp(1, block_max.max(1));
        let wanted = state.block.max(state.waiting).min(burst.get());
        // The database measures milliseconds.
        let imprecision = if interval < Duration::from_millis(1) { 1_000_000 } else { 0 };
        let interval_ns = nanoseconds(interval);
        LeaseRequest {
            key: self.key,
            wanted: i32::try_from(wanted).unwrap_or(i32::MAX),
            interval_ns,
            size_ns: nanoseconds(self.rate.size()).saturating_sub(imprecision).max(interval_ns),
            lease_ms: i64::try_from(self.lease().as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Records the answer to a request that was sent at `sent` for `wanted` cells.
    pub(super) fn record_answer(&self, wanted: i32, answer: LeaseAnswer, sent: Tick, now: Tick) {
        let mut state = self.state();
        state.is_requested = false;
        (state.granted, state.left) = (answer.granted, answer.granted);
        state.leased_until = sent + self.lease();
        if i64::from(answer.granted) < i64::from(wanted) {
            // Until there is a block, so that a limit that is exceeded needs few calls.
            let block = self.rate.interval.saturating_mul(state.block.saturating_sub(1));
            state.denied_until = now + answer.retry + block;
        }
        drop(state);
        self.answered.notify_waiters();
    }

    /// Records that a request has no answer.
    pub(super) fn record_failure(&self) {
        self.state().is_requested = false;
        self.answered.notify_waiters();
    }

    /// Uses a cell of this replica's share of the limit. The error is the time until the next one.
    pub(super) fn take_share(&self, replicas: u32, now: Tick) -> Result<(), Duration> {
        let mut state = self.state();
        let replicas = replicas.max(1);
        let interval = self.rate.interval.saturating_mul(replicas);
        let size = interval.saturating_mul((self.rate.burst.get() / replicas).max(1));
        let arrival = state.share_arrival.max(now) + interval;
        let excess = arrival.since(now).saturating_sub(size);
        if excess.is_zero() {
            state.share_arrival = arrival;
            return Ok(());
        }
        Err(excess)
    }

    /// Whether nothing is known that a new value would not know.
    pub(super) fn is_idle(&self, now: Tick) -> bool {
        let state = self.state();
        let is_known = now < state.denied_until
            || (now < state.leased_until && state.left > 0)
            || now < state.share_arrival;
        !is_known && !state.is_requested && state.waiting == 0
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    fn lease(&self) -> Duration {
        (self.rate.size() / LEASES_PER_BURST).clamp(LEASE_MIN, LEASE_MAX)
    }

    fn state(&self) -> MutexGuard<'_, LeaseState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingRequest<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    // Three years, so that no sum overflows.
    const MAX: i64 = 100_000_000_000_000_000;
    i64::try_from(duration.as_nanos()).unwrap_or(MAX).min(MAX)
}

#[cfg(test)]
pub(super) mod tests;
