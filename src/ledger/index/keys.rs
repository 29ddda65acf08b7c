//! Maps the keys of a device to the sessions that hold a flow of it: usually one, rarely more.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    hash::BuildHasher,
};

use foldhash::quality::RandomState;

use super::{
    super::claim::{DeviceKeys, PERMANENT_KINDS, PublicAddress},
    ClientNumber, IndexEntry, OperatorNumber, Slot,
    slab::Slab,
    slot_table::SlotTable,
};

/// One key of a device at an operator, compared by equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IndexKey {
    operator: OperatorNumber,
    /// The kind and 15 bytes.
    value: u128,
}

/// A multimap optimised for one slot per key; further slots are in a separate map.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    first: SlotTable,
    /// The slots after the first, by client.
    more: HashMap<IndexKey, BTreeSet<(ClientNumber, Slot)>, RandomState>,
    /// Clients choose addresses and ports, so the hash depends on a random seed.
    hash_builder: RandomState,
}

// Above the values of `PermanentKind`. The highest bit is that of addresses.
const PUBLIC_AND_PORT: u8 = 0x80;
const PUBLIC_AND_PRIVATE: u8 = 0x81;
const PUBLIC: u8 = 0x82;

const FIRST_ADDRESS_KIND: u64 = PERMANENT_KINDS.count_ones() as u64;
const KIND_BITS: u64 = 0b111;

impl IndexKey {
    /// The keys of which a common one means that two devices are the same, or contradictory.
    pub(super) fn exact(operator: OperatorNumber, keys: &DeviceKeys) -> impl Iterator<Item = Self> {
        let permanent = keys
            .permanent
            .iter()
            .map(move |key| Self::new(operator, key.kind as u8, key.as_number()));
        let address = keys.public_address();
        let port = address.and_then(|address| {
            let [high, low] = address.port?.to_be_bytes();
            Some(Self::address(operator, PUBLIC_AND_PORT, address, [high, low, 0, 0]))
        });
        let private = address.and_then(|address| {
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

    /// All keys of a device.
    pub(super) fn all(operator: OperatorNumber, keys: &DeviceKeys) -> impl Iterator<Item = Self> {
        Self::exact(operator, keys).chain(Self::public(operator, keys))
    }

    fn address(operator: OperatorNumber, kind: u8, address: PublicAddress, rest: [u8; 4]) -> Self {
        let address = u128::from(address.public.to_bits()) << 32;
        Self::new(operator, kind, address | u128::from(u32::from_be_bytes(rest)))
    }

    // A small number for each kind.
    const fn kind_number(self) -> u64 {
        let [kind, ..] = self.value.to_le_bytes();
        let is_address = (kind >> 7) as u64 * FIRST_ADDRESS_KIND;
        is_address + (kind & 0x7f) as u64
    }

    // The value has at most 15 bytes.
    const fn new(operator: OperatorNumber, kind: u8, value: u128) -> Self {
        Self { operator, value: value << 8 | kind as u128 }
    }
}

impl KeyTable {
    pub(super) fn slots<'t>(
        &'t self,
        entries: &Slab<IndexEntry>,
        key: &IndexKey,
    ) -> impl Iterator<Item = Slot> + use<'t> {
        let first = self.first(entries, key);
        // A second lookup only if the first found a slot.
        let more = first.and_then(|_| self.more.get(key)).into_iter().flatten();
        first.into_iter().chain(more.map(|(_, slot)| *slot))
    }

    /// The slots of one client; the first slot may be of another client.
    pub(super) fn slots_of<'t>(
        &'t self,
        entries: &Slab<IndexEntry>,
        key: &IndexKey,
        client: ClientNumber,
    ) -> impl Iterator<Item = Slot> + use<'t> {
        let first = self.first(entries, key);
        let more = first.and_then(|_| self.more.get(key)).into_iter();
        let own = more.flat_map(move |more| more.range((client, 0)..=(client, Slot::MAX)));
        first.into_iter().chain(own.map(|(_, slot)| *slot))
    }

    /// The number of slots.
    pub(super) fn count(&self, entries: &Slab<IndexEntry>, key: &IndexKey) -> usize {
        let first = self.first(entries, key);
        first.map_or(0, |_| 1 + self.more.get(key).map_or(0, BTreeSet::len))
    }

    /// Adds a slot whose entry exists.
    pub(super) fn add(
        &mut self,
        entries: &Slab<IndexEntry>,
        key: IndexKey,
        client: ClientNumber,
        slot: Slot,
    ) {
        match self.first(entries, &key) {
            None => self.first.insert(self.hash(&key), slot),
            Some(_) => _ = self.more.entry(key).or_default().insert((client, slot)),
        }
    }

    /// Removes a slot whose entry still exists.
    pub(super) fn remove(
        &mut self,
        entries: &Slab<IndexEntry>,
        key: &IndexKey,
        client: ClientNumber,
        slot: Slot,
    ) {
        let Some(first) = self.first(entries, key) else { return };
        let hash = self.hash(key);
        let Entry::Occupied(mut more) = self.more.entry(*key) else {
            if first == slot {
                self.first.remove(hash, slot);
            }
            return;
        };
        let others = more.get_mut();
        if first == slot {
            if let Some((_, next)) = others.pop_first() {
                self.first.replace(hash, slot, next);
            }
        } else {
            others.remove(&(client, slot));
        }
        if others.is_empty() {
            more.remove();
        }
    }

    // The lowest bits are those of the kind, and a device has one key of a kind. So two keys of one entry never
    // have the same hash: an element of `first` belongs to the key of its entry with this hash.
    fn hash(&self, key: &IndexKey) -> u64 {
        self.hash_builder.hash_one(key) & !KIND_BITS | key.kind_number()
    }

    fn first(&self, entries: &Slab<IndexEntry>, key: &IndexKey) -> Option<Slot> {
        self.first.find(self.hash(key), |slot| {
            entries.get(slot).is_some_and(|entry| {
                entry.operator == key.operator
                    && IndexKey::all(key.operator, &entry.keys).any(|other| other == *key)
            })
        })
    }
}

#[cfg(test)]
mod tests;
