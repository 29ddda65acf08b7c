//! Rate-limiter state per device, bounded to the configured number of devices.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use governor::{
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};

// Enough locks for low contention among a few dozen threads.
const SHARDS: u64 = 64;

/// The time of the next allowed request of each device, by device hash.
#[derive(Debug)]
pub(super) struct DeviceStates {
    shards: Box<[Mutex<Shard>]>,
    // Per shard.
    keys_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<u64, Nanos>,
    // Shared by the devices beyond `keys_max`.
    overflow: Option<Nanos>,
}

impl DeviceStates {
    /// Creates a store for `keys_max` devices, rounded up to a multiple of 64.
    pub(super) fn new(keys_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, keys_max: keys_max.div_ceil(64) }
    }

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Shard>> {
        let index = usize::try_from(key % SHARDS).ok()?;
        self.shards.get(index).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for DeviceStates {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Some(mut shard) = self.shard(*key) else { return f(None).map(|(value, _)| value) };
        let full = shard.cells.len() >= self.keys_max;
        let Shard { cells, overflow } = &mut *shard;
        match cells.entry(*key) {
            Entry::Occupied(mut cell) => {
                let (value, next) = f(Some(*cell.get()))?;
                cell.insert(next);
                Ok(value)
            }
            Entry::Vacant(_) if full => {
                let (value, next) = f(*overflow)?;
                *overflow = Some(next);
                Ok(value)
            }
            Entry::Vacant(cell) => {
                let (value, next) = f(None)?;
                cell.insert(next);
                Ok(value)
            }
        }
    }
}

impl ShrinkableKeyedStateStore<u64> for DeviceStates {
    fn retain_recent(&self, drop_below: Nanos) {
        for mut shard in self.lock_each() {
            shard.cells.retain(|_, next| *next > drop_below);
        }
    }

    fn shrink_to_fit(&self) {
        for mut shard in self.lock_each() {
            // Leave spare capacity, because it is usually needed again soon.
            let capacity = shard.cells.len().saturating_mul(2);
            shard.cells.shrink_to(capacity);
        }
    }

    fn len(&self) -> usize {
        self.lock_each().map(|shard| shard.cells.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
