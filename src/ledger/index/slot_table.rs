//! A table from keys to slots that stores neither the keys nor their whole hashes: the caller
//! compares the key with the entry of the slot. Keys of one entry must differ in the lower 32 bits of their
//! hashes. An element has 8 bytes.
//!
//! A hash table that grows moves all of its elements and blocks requests meanwhile; here each shard
//! grows separately, so that a reallocation moves only the elements of one shard.

use hashbrown::HashTable;

use super::Slot;

const SHARDS: u32 = 64;

/// Slots by the hash of their keys. A key has at most one slot; the caller ensures it.
#[derive(Debug)]
pub(super) struct SlotTable {
    shards: Vec<HashTable<SlotElement>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlotElement {
    /// A part of the hash of the key: enough for a shard, and for a position within it.
    hash: u32,
    slot: Slot,
}

impl Default for SlotTable {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }
}

impl SlotTable {
    /// The slot of a key with this hash. `has_key` compares the key with the entry of a slot.
    pub(super) fn find(&self, hash: u64, has_key: impl Fn(Slot) -> bool) -> Option<Slot> {
        let hash = truncated(hash);
        let found = self
            .shards
            .get(shard(hash))?
            .find(spread(hash), |element| element.hash == hash && has_key(element.slot))?;
        Some(found.slot)
    }

    /// Adds the slot of a key that has none.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        let hash = truncated(hash);
        if let Some(shard) = self.shards.get_mut(shard(hash)) {
            let element = SlotElement { hash, slot };
            shard.insert_unique(spread(hash), element, |element| spread(element.hash));
        }
    }

    /// Replaces the slot of a key.
    pub(super) fn replace(&mut self, hash: u64, from: Slot, to: Slot) {
        let element = SlotElement { hash: truncated(hash), slot: from };
        let shard = self.shards.get_mut(shard(element.hash));
        let found = shard.and_then(|shard| {
            shard.find_mut(spread(element.hash), |candidate| *candidate == element)
        });
        if let Some(found) = found {
            found.slot = to;
        }
    }

    /// Removes the slot of a key.
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let element = SlotElement { hash: truncated(hash), slot };
        let Some(shard) = self.shards.get_mut(shard(element.hash)) else { return };
        let found = shard.find_entry(spread(element.hash), |candidate| *candidate == element);
        if let Ok(found) = found {
            found.remove();
        }
    }
}

fn truncated(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn shard(hash: u32) -> usize {
    // The upper bits: the position within the shard depends on the lower ones.
    usize::try_from(hash / (u32::MAX / SHARDS + 1)).unwrap_or(0)
}

// `HashTable` uses the upper and the lower bits of 64.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl SlotTable {
        pub(in crate::ledger::index) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(in crate::ledger::index) fn len(&self) -> usize {
            self.shards.iter().map(HashTable::len).sum()
        }
    }

    // Few hashes, so that keys share them.
    fn hash(key: u32) -> u64 {
        u64::from(key % 5) << 29
    }

    proptest! {
        #[test]
        fn slot_table_equals_hash_map(steps in prop::collection::vec((0_u8..4, 0_u32..50), 0..300)) {
            let (mut table, mut map) = (SlotTable::default(), HashMap::<u32, Slot>::new());
            // The key of each slot.
            let mut keys = Vec::new();
            for (step, key) in steps {
                let found = table.find(hash(key), |slot| keys[slot as usize] == key);
                prop_assert_eq!(found, map.get(&key).copied());
                let next = Slot::try_from(keys.len()).unwrap();
                match (step, found) {
                    (0 | 1, None) => {
                        table.insert(hash(key), next);
                        keys.push(key);
                        map.insert(key, next);
                    }
                    (2, Some(slot)) => {
                        table.replace(hash(key), slot, next);
                        keys.push(key);
                        map.insert(key, next);
                    }
                    (3, Some(slot)) => {
                        table.remove(hash(key), slot);
                        map.remove(&key);
                    }
                    _ => (),
                }
                prop_assert_eq!(table.is_empty(), map.is_empty());
            }
        }
    }
}
