//! Slots ordered by time.

use std::collections::BTreeSet;

use super::Slot;
use crate::qod::Moment;

/// A sorted set of times and slots.
#[derive(Debug, Default)]
pub(super) struct TimeSet(BTreeSet<TimedSlot>);

// Packed: 12 bytes instead of 16. There are two for each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
struct TimedSlot {
    at: Moment,
    slot: Slot,
}

impl TimeSet {
    pub(super) fn insert(&mut self, at: Moment, slot: Slot) {
        self.0.insert(TimedSlot { at, slot });
    }

    pub(super) fn remove(&mut self, at: Moment, slot: Slot) {
        self.0.remove(&TimedSlot { at, slot });
    }

    /// Changes the time of a slot.
    pub(super) fn move_to(&mut self, from: Moment, to: Moment, slot: Slot) {
        if from != to {
            self.remove(from, slot);
            self.insert(to, slot);
        }
    }

    /// The first slot, with its time.
    pub(super) fn first(&self) -> Option<(Moment, Slot)> {
        self.0.first().map(|first| (first.at, first.slot))
    }

    /// The slots until this time, earliest first.
    pub(super) fn until(&self, at: Moment) -> impl Iterator<Item = Slot> {
        self.0.range(..=TimedSlot { at, slot: Slot::MAX }).map(|timed| timed.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl TimeSet {
        pub(in crate::ledger::index) fn len(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn slots_are_ordered_by_time() {
        assert_eq!(size_of::<TimedSlot>(), 12);
        let mut set = TimeSet::default();
        let at = Moment::from_unix_ms;
        for (time, slot) in [(300, 1), (100, 7), (200, 2), (200, 1)] {
            set.insert(at(time), slot);
        }
        set.move_to(at(300), at(150), 1);
        set.move_to(at(100), at(100), 7);
        assert_eq!(set.first(), Some((at(100), 7)));
        assert_eq!(set.until(at(200)).collect::<Vec<_>>(), [7, 1, 1, 2]);
        set.remove(at(200), 1);
        assert_eq!((set.until(at(199)).count(), set.len()), (2, 3));
    }
}
