//! Maps the keys of a device to the sessions that hold a flow of it: usually one, rarely more.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use super::{
    super::claim::{DeviceKeys, PublicAddress},
    ClientTag, OperatorNumber, Slot,
    sharded_map::ShardedMap,
};

/// One key of a device at an operator, compared by equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IndexKey {
    operator: OperatorNumber,
    kind: u8,
    value: [u8; 15],
}

/// A multimap optimised for one slot per key; further slots are in a separate map.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    first: ShardedMap<IndexKey, Slot>,
    /// The slots after the first, by client.
    more: HashMap<IndexKey, BTreeSet<(ClientTag, Slot)>>,
}

// Above the values of `PermanentKind`.
const PUBLIC_AND_PORT: u8 = 0x80;
const PUBLIC_AND_PRIVATE: u8 = 0x81;
const PUBLIC: u8 = 0x82;

impl IndexKey {
    /// The keys of which a common one means that two devices are the same, or contradictory.
    pub(super) fn exact(operator: OperatorNumber, keys: &DeviceKeys) -> impl Iterator<Item = Self> {
        let permanent = keys.permanent.iter().map(move |key| Self {
            operator,
            kind: key.kind as u8,
            value: *key.hash(),
        });
        let port = keys.public_address().and_then(|address| {
            let [high, low] = address.port?.to_be_bytes();
            Some(Self::address(operator, PUBLIC_AND_PORT, address, [high, low, 0, 0]))
        });
        let private = keys.public_address().and_then(|address| {
            Some(Self::address(operator, PUBLIC_AND_PRIVATE, address, address.private?.octets()))
        });
        permanent.chain(port).chain(private)
    }

    /// The key by which a device is found by another one that may be the same.
    pub(super) fn public(operator: OperatorNumber, keys: &DeviceKeys) -> Option<Self> {
        let address = keys.public_address()?;
        Some(Self::public_of_kinds(operator, address, keys.permanent_kind_bits()))
    }

    /// The same of devices with this public address and permanent identifiers of these kinds.
    pub(super) fn public_of_kinds(
        operator: OperatorNumber,
        address: PublicAddress,
        permanent_kinds: u8,
    ) -> Self {
        Self::address(operator, PUBLIC, address, [permanent_kinds, 0, 0, 0])
    }

    fn address(operator: OperatorNumber, kind: u8, address: PublicAddress, rest: [u8; 4]) -> Self {
        let mut value = [0; 15];
        for (to, from) in value.iter_mut().zip(address.public.octets().into_iter().chain(rest)) {
            *to = from;
        }
        Self { operator, kind, value }
    }
}

impl KeyTable {
    pub(super) fn slots<'t>(&'t self, key: &IndexKey) -> impl Iterator<Item = Slot> + use<'t> {
        let first = self.first.get(key).copied();
        // A second lookup only if the first found a slot.
        let more = first.and_then(|_| self.more.get(key)).into_iter().flatten();
        first.into_iter().chain(more.map(|(_, slot)| *slot))
    }

    /// The slots of one client; the first slot may be of another client.
    pub(super) fn slots_of<'t>(
        &'t self,
        key: &IndexKey,
        client: ClientTag,
    ) -> impl Iterator<Item = Slot> + use<'t> {
        let first = self.first.get(key).copied();
        let more = first.and_then(|_| self.more.get(key)).into_iter();
        let own = more.flat_map(move |more| more.range((client, 0)..=(client, Slot::MAX)));
        first.into_iter().chain(own.map(|(_, slot)| *slot))
    }

    /// The number of slots.
    pub(super) fn count(&self, key: &IndexKey) -> usize {
        let first = self.first.get(key);
        first.map_or(0, |_| 1 + self.more.get(key).map_or(0, BTreeSet::len))
    }

    pub(super) fn add(&mut self, key: IndexKey, client: ClientTag, slot: Slot) {
        match self.first.get(&key) {
            None => self.first.insert(key, slot),
            Some(_) => _ = self.more.entry(key).or_default().insert((client, slot)),
        }
    }

    pub(super) fn remove(&mut self, key: &IndexKey, client: ClientTag, slot: Slot) {
        let Some(first) = self.first.get_mut(key) else { return };
        let Entry::Occupied(mut more) = self.more.entry(*key) else {
            if *first == slot {
                self.first.remove(key);
            }
            return;
        };
        let others = more.get_mut();
        if *first == slot {
            if let Some((_, next)) = others.pop_first() {
                *first = next;
            }
        } else {
            others.remove(&(client, slot));
        }
        if others.is_empty() {
            more.remove();
        }
    }
}

#[cfg(test)]
mod tests;
