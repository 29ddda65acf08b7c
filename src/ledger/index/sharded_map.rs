//! A sharded map. A hash map that grows moves all of its entries and blocks requests meanwhile; here
//! each shard grows separately, so that a reallocation moves only the entries of one shard.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

const SHARDS: u64 = 64;

/// A hash map in shards.
#[derive(Debug)]
pub(super) struct ShardedMap<K, V> {
    shards: Vec<HashMap<K, V>>,
    hash_builder: RandomState,
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashMap::new()).collect();
        Self { shards, hash_builder: RandomState::new() }
    }
}

impl<K: Eq + Hash, V> ShardedMap<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(self.shard(key))?.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let shard = self.shard(key);
        self.shards.get_mut(shard)?.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let shard = self.shard(&key);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.insert(key, value);
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let shard = self.shard(key);
        self.shards.get_mut(shard)?.remove(key)
    }

    fn shard(&self, key: &K) -> usize {
        usize::try_from(self.hash_builder.hash_one(key) % SHARDS).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl<K: Eq + Hash, V> ShardedMap<K, V> {
        pub(in crate::ledger::index) fn is_empty(&self) -> bool {
            self.shards.iter().all(HashMap::is_empty)
        }
    }

    proptest! {
        #[test]
        fn sharded_map_equals_hash_map(steps in prop::collection::vec((0_u8..4, 0_u8..50, 0_u8..9), 0..300)) {
            let (mut sharded, mut map) = (ShardedMap::default(), HashMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => {
                        sharded.insert(key, value);
                        map.insert(key, value);
                    }
                    1 => prop_assert_eq!(sharded.remove(&key), map.remove(&key)),
                    2 => prop_assert_eq!(sharded.get(&key), map.get(&key)),
                    _ => prop_assert_eq!(sharded.get_mut(&key), map.get_mut(&key)),
                }
                prop_assert_eq!(sharded.is_empty(), map.is_empty());
            }
        }
    }
}
