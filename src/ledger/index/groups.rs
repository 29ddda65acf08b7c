//! Sessions by the kinds of key that their devices have: to find those of devices that cannot be
//! compared.

use std::collections::HashMap;

use super::{OperatorNumber, Slot};

/// Each operator's sessions, one list for each set of kinds that there is: a few.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<OperatorNumber, Vec<Group>>);

#[derive(Debug)]
struct Group {
    kinds: u8,
    slots: Vec<Slot>,
}

impl Groups {
    /// Adds a session and tells its place.
    pub(super) fn add(&mut self, operator: OperatorNumber, kinds: u8, slot: Slot) -> u32 {
        let groups = self.0.entry(operator).or_default();
        let known = groups.iter_mut().find(|group| group.kinds == kinds);
        let place = if let Some(group) = known {
            group.slots.push(slot);
            group.slots.len() - 1
        } else {
            groups.push(Group { kinds, slots: vec![slot] });
            0
        };
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Removes the session at this place, and tells which one stands there now.
    pub(super) fn remove(
        &mut self,
        operator: OperatorNumber,
        kinds: u8,
        place: u32,
    ) -> Option<Slot> {
        let group = self.0.get_mut(&operator)?.iter_mut().find(|group| group.kinds == kinds)?;
        let at = usize::try_from(place).ok()?;
        if at < group.slots.len() {
            group.slots.swap_remove(at);
        }
        group.slots.get(at).copied()
    }

    /// The sessions whose devices share no kind of key with these.
    pub(super) fn incomparable(
        &self,
        operator: OperatorNumber,
        kinds: u8,
    ) -> impl Iterator<Item = Slot> {
        let groups = self.0.get(&operator).into_iter().flatten();
        groups.filter(move |group| group.kinds & kinds == 0).flat_map(|group| &group.slots).copied()
    }
}
