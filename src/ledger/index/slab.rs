//! Entries that stay where they are, found by number; a number that is free is given again.

use super::Slot;

/// See the module.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<Slot>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, entry: T) -> Slot {
        while let Some(slot) = self.free.pop() {
            if let Some(place) = self.place(slot) {
                *place = Some(entry);
                return slot;
            }
        }
        // Four thousand million entries need more memory than there is.
        let slot = Slot::try_from(self.places.len()).unwrap_or(Slot::MAX);
        self.places.push(Some(entry));
        slot
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        self.places.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.place(slot)?.as_mut()
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.place(slot)?.take()?;
        self.free.push(slot);
        Some(entry)
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Option<T>> {
        self.places.get_mut(usize::try_from(slot).ok()?)
    }
}
