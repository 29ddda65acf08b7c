//! A slab: entries found by number; the numbers of removed entries are reused.
//!
//! Entries are allocated in blocks and never moved, because moving all entries would block requests
//! for the time that it takes.

use super::Slot;

const BLOCK: usize = 1024;

/// A slab of entries in blocks.
#[derive(Debug)]
pub(super) struct Slab<T> {
    blocks: Vec<Vec<Option<T>>>,
    free: Vec<Slot>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> Slot {
        while let Some(slot) = self.free.pop() {
            if let Some(free) = self.entry_mut(slot) {
                *free = Some(entry);
                return slot;
            }
        }
        let full = self.blocks.len().saturating_sub(1) * BLOCK;
        let number = match self.blocks.last_mut() {
            Some(last) if last.len() < BLOCK => {
                last.push(Some(entry));
                full + last.len() - 1
            }
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(Some(entry));
                self.blocks.push(block);
                (self.blocks.len() - 1) * BLOCK
            }
        };
        // 2³² entries exceed the memory.
        Slot::try_from(number).unwrap_or(Slot::MAX)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let (block, offset) = locate(slot)?;
        self.blocks.get(block)?.get(offset)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entry_mut(slot)?.as_mut()
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entry_mut(slot)?.take()?;
        self.free.push(slot);
        Some(entry)
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Option<T>> {
        let (block, offset) = locate(slot)?;
        self.blocks.get_mut(block)?.get_mut(offset)
    }
}

fn locate(slot: Slot) -> Option<(usize, usize)> {
    let slot = usize::try_from(slot).ok()?;
    Some((slot / BLOCK, slot % BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<T> Slab<T> {
        /// The number of slots, in use or free.
        pub(in crate::ledger::index) fn slots(&self) -> usize {
            self.blocks.iter().map(Vec::len).sum()
        }
    }

    #[test]
    fn entries_keep_their_numbers_and_free_numbers_are_reused() {
        let mut slab = Slab::default();
        let count = BLOCK * 2 + 3;
        for entry in 0..count {
            assert_eq!(slab.insert(entry), Slot::try_from(entry).unwrap());
        }
        for entry in 0..count {
            assert_eq!(slab.get(Slot::try_from(entry).unwrap()), Some(&entry));
        }
        assert_eq!(slab.get(Slot::try_from(count).unwrap()), None);
        for entry in [0, BLOCK - 1, BLOCK, count - 1] {
            let slot = Slot::try_from(entry).unwrap();
            assert_eq!(slab.remove(slot), Some(entry));
            assert_eq!((slab.remove(slot), slab.get(slot)), (None, None));
            assert_eq!(slab.insert(entry * 2), slot);
            assert_eq!(slab.get_mut(slot), Some(&mut (entry * 2)));
        }
        assert_eq!(slab.insert(0), Slot::try_from(count).unwrap());
    }
}
