//! A map in many parts, each of which grows by itself. A map that grows moves all that is in it, and
//! whoever comes meanwhile waits: so no more is moved at one time than a part of it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
};

const PARTS: u64 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Spread<K, V> {
    parts: Vec<HashMap<K, V>>,
    hashes: RandomState,
}

impl<K, V> Default for Spread<K, V> {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| HashMap::new()).collect();
        Self { parts, hashes: RandomState::new() }
    }
}

impl<K: Eq + Hash, V> Spread<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.parts.get(self.place(key))?.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key);
        self.parts.get_mut(place)?.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let place = self.place(&key);
        if let Some(part) = self.parts.get_mut(place) {
            part.insert(key, value);
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key);
        self.parts.get_mut(place)?.remove(key)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(HashMap::is_empty)
    }

    fn place(&self, key: &K) -> usize {
        usize::try_from(self.hashes.hash_one(key) % PARTS).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u8..4, 0_u8..50, 0_u8..9), 0..300)) {
            let (mut spread, mut map) = (Spread::default(), HashMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => {
                        spread.insert(key, value);
                        map.insert(key, value);
                    }
                    1 => prop_assert_eq!(spread.remove(&key), map.remove(&key)),
                    2 => prop_assert_eq!(spread.get(&key), map.get(&key)),
                    _ => prop_assert_eq!(spread.get_mut(&key), map.get_mut(&key)),
                }
                prop_assert_eq!(spread.is_empty(), map.is_empty());
            }
        }
    }
}
