//! The leased cells of devices, bounded to the configured number of devices.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Rate, leased::LeasedCells};
use crate::clock::Tick;

// Enough locks for low contention among a few dozen threads.
const SHARDS: u64 = 64;

/// The cells of each device, by device hash.
#[derive(Debug)]
pub(super) struct LeasedDevices {
    rate: Rate,
    shards: Box<[Mutex<LeasedShard>]>,
    // Per shard.
    keys_max: usize,
}

#[derive(Debug)]
struct LeasedShard {
    devices: HashMap<u64, Arc<LeasedCells>>,
    // Shared by the devices beyond `keys_max`.
    overflow: Arc<LeasedCells>,
}

impl LeasedDevices {
    /// Creates a map for `keys_max` devices, rounded up to a multiple of 64. `overflow` returns the key
    /// of the further devices of a shard.
    pub(super) fn new(rate: Rate, keys_max: usize, overflow: impl Fn(u64) -> i64) -> Self {
        let shard = |index| {
            let overflow = Arc::new(LeasedCells::new(overflow(index), rate));
            Mutex::new(LeasedShard { devices: HashMap::new(), overflow })
        };
        Self { rate, shards: (0..SHARDS).map(shard).collect(), keys_max: keys_max.div_ceil(64) }
    }

    /// The cells of a device.
    pub(super) fn get(&self, device_hash: u64) -> Option<Arc<LeasedCells>> {
        let index = usize::try_from(device_hash % SHARDS).ok()?;
        let mut shard = self.shards.get(index)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cells) = shard.devices.get(&device_hash) {
            return Some(Arc::clone(cells));
        }
        if shard.devices.len() >= self.keys_max {
            return Some(Arc::clone(&shard.overflow));
        }
        let key = i64::from_ne_bytes(device_hash.to_ne_bytes());
        let cells = Arc::new(LeasedCells::new(key, self.rate));
        shard.devices.insert(device_hash, Arc::clone(&cells));
        Some(cells)
    }

    /// Removes idle devices. Returns the number of the others.
    pub(super) fn retain_recent(&self, now: Tick) -> usize {
        let retain = |shard: &Mutex<LeasedShard>| {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // A request that has the cells may be about to use them.
            let is_used = |cells: &Arc<LeasedCells>| Arc::strong_count(cells) > 1;
            shard.devices.retain(|_, cells| is_used(cells) || !cells.is_idle(now));
            let capacity = shard.devices.len().saturating_mul(2);
            shard.devices.shrink_to(capacity);
            shard.devices.len()
        };
        self.shards.iter().map(retain).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;

    #[test]
    fn devices_beyond_the_maximum_share_one_bucket_per_shard() {
        let rate = Rate::new(NonZeroU32::MIN, Duration::from_secs(1), NonZeroU32::MIN).unwrap();
        let devices = LeasedDevices::new(rate, 64, |shard| -1 - i64::try_from(shard).unwrap());
        let key = |hash: u64| devices.get(hash).unwrap().request(Tick::default()).key;
        assert_eq!([key(5), key(6)], [5, 6]);
        assert_eq!([key(5 + 64), key(5 + 128)], [-6, -6]);
        assert_eq!(devices.retain_recent(Tick::default()), 0);
        assert_eq!(key(5 + 64), 5 + 64);
    }
}
