//! The cells of single devices: no more of them than policy allows, however many are asked for.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use governor::{
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};

// As many locks as keep some dozen threads out of each other's way.
const SHARDS: u64 = 64;

/// When each device may be asked for again, by its hash.
#[derive(Debug)]
pub(super) struct Devices {
    shards: Box<[Mutex<Shard>]>,
    // For each shard.
    keys_max: usize,
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<u64, Nanos>,
    // What the devices share that found no cell of their own.
    overflow: Option<Nanos>,
}

impl Devices {
    /// Room for so many, rounded up to the next 64.
    pub(super) fn new(keys_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, keys_max: keys_max.div_ceil(64) }
    }

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Shard>> {
        let place = usize::try_from(key % SHARDS).ok()?;
        self.shards.get(place).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StateStore for Devices {
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

impl ShrinkableKeyedStateStore<u64> for Devices {
    fn retain_recent(&self, drop_below: Nanos) {
        for mut shard in self.each() {
            shard.cells.retain(|_, next| *next > drop_below);
        }
    }

    fn shrink_to_fit(&self) {
        for mut shard in self.each() {
            // Not to the last byte: what is given back now is soon asked for again.
            let room = shard.cells.len().saturating_mul(2);
            shard.cells.shrink_to(room);
        }
    }

    fn len(&self) -> usize {
        self.each().map(|shard| shard.cells.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
