//! Groups sessions by the kinds of keys of their devices, to find sessions of incomparable devices.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{OperatorNumber, Slot};

/// The sessions of each operator, one list for each set of kinds in use. There are few sets.
#[derive(Debug, Default)]
pub(super) struct KindGroups(HashMap<OperatorNumber, Vec<KindGroup>, RandomState>);

#[derive(Debug)]
struct KindGroup {
    kinds: u8,
    slots: Vec<Slot>,
}

impl KindGroups {
    /// Adds a session and returns its position in its group.
    pub(super) fn add(&mut self, operator: OperatorNumber, kinds: u8, slot: Slot) -> u32 {
        let groups = self.0.entry(operator).or_default();
        let existing = groups.iter_mut().find(|group| group.kinds == kinds);
        let position = if let Some(group) = existing {
            group.slots.push(slot);
            group.slots.len() - 1
        } else {
            groups.push(KindGroup { kinds, slots: vec![slot] });
            0
        };
        u32::try_from(position).unwrap_or(u32::MAX)
    }

    /// Removes the session at this position, and returns the session that has moved there.
    pub(super) fn remove(
        &mut self,
        operator: OperatorNumber,
        kinds: u8,
        position: u32,
    ) -> Option<Slot> {
        let group = self.0.get_mut(&operator)?.iter_mut().find(|group| group.kinds == kinds)?;
        let position = usize::try_from(position).ok()?;
        if position < group.slots.len() {
            group.slots.swap_remove(position);
        }
        group.slots.get(position).copied()
    }

    /// The sets of kinds of the devices of an operator.
    pub(super) fn kinds(&self, operator: OperatorNumber) -> impl Iterator<Item = u8> {
        self.0.get(&operator).into_iter().flatten().map(|group| group.kinds)
    }

    /// The number of sessions whose devices have no kind of key in common with `kinds`.
    pub(super) fn incomparable_count(&self, operator: OperatorNumber, kinds: u8) -> usize {
        let groups = self.0.get(&operator).into_iter().flatten();
        groups.filter(|group| group.kinds & kinds == 0).map(|group| group.slots.len()).sum()
    }

    /// The sessions whose devices have no kind of key in common with `kinds`.
    pub(super) fn incomparable(
        &self,
        operator: OperatorNumber,
        kinds: u8,
    ) -> impl Iterator<Item = Slot> {
        let groups = self.0.get(&operator).into_iter().flatten();
        groups.filter(move |group| group.kinds & kinds == 0).flat_map(|group| &group.slots).copied()
    }
}
