//! The in-memory index of all sessions. It uses no lock, no clock and no disk; the store around it
//! persists the rows.
//!
//! A session that holds its flow is indexed under each key of its device; a session that does not
//! hold is under none. A new session is compared only with the sessions found by its keys. Two
//! sorted sets of times contain the expiries of holds and the due times of records. No lookup scans
//! all sessions.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
};

use super::{Claim, ConflictRules, Error, OnUnknown, SessionState, record::RecordSummary};
use crate::qod::{Moment, OperatorId, SessionId};

mod clients;
mod entry;
mod groups;
mod keys;
mod networks;
mod search;
mod slab;
mod slot_table;
mod time_set;

pub(super) use self::search::{
    AMBIGUOUS_EXAMINED_FORWARD_MAX, AMBIGUOUS_EXAMINED_REFUSE_MAX, DEVICE_SESSIONS_MAX,
};
use self::{
    clients::{ClientNumber, ClientTable},
    entry::IndexEntry,
    groups::KindGroups,
    keys::{IndexKey, KeyTable},
    networks::{NetworkScope, NetworkSet},
    search::ClaimedFlow,
    slab::Slab,
    slot_table::SlotTable,
    time_set::TimeSet,
};

/// The position of a session in the index.
type Slot = u32;

/// The number of an operator in the index.
type OperatorNumber = u32;

// The maximum number of expired holds that a reservation removes before its check: more than one, so
// that they do not accumulate; bounded, so that its latency is bounded.
const EXPIRED_HOLDS_PER_RESERVATION_MAX: usize = 64;

/// All sessions, by the keys of their devices.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Slab<IndexEntry>,
    /// The sessions by id. A client can choose among the ids that it received, so the hash depends
    /// on a random seed.
    slots: SlotTable,
    id_hash_builder: foldhash::quality::RandomState,
    operators: HashMap<OperatorId, OperatorNumber, foldhash::fast::RandomState>,
    counts: Vec<[u64; SessionState::ALL.len()]>,
    clients: ClientTable,
    /// The sessions by the hash of the operator's session id. Equal hashes mean equal ids, so the
    /// hash function is a strong one.
    operator_sessions: SlotTable,
    operator_session_hash_builder: RandomState,
    keys: KeyTable,
    networks: NetworkSet,
    groups: KindGroups,
    /// The expiries of holds.
    hold_expiries: TimeSet,
    /// The times at which records are due for the sweep.
    due: TimeSet,
}

impl Index {
    /// Checks quota, prefix length and conflicts, and adds the session. Returns whether a session
    /// was found whose device may be the same.
    pub(super) fn insert(
        &mut self,
        summary: RecordSummary,
        claim: Claim,
        rules: &ConflictRules,
        sessions_max: u32,
        now: Moment,
    ) -> Result<bool, Error> {
        self.expire_holds(now, EXPIRED_HOLDS_PER_RESERVATION_MAX);
        let client = self.clients.number(&claim.client);
        if client.map_or(0, |client| self.clients.holds(client)) >= sessions_max {
            return Err(Error::QuotaExceeded { max: sessions_max });
        }
        if claim.keys.is_too_broad(rules) {
            return Err(Error::DeviceTooBroad);
        }
        let operator = self.operator_number(&claim.operator);
        let claimed = ClaimedFlow { operator, client, keys: &claim.keys, flow: &claim.flow };
        self.check_device_sessions(&claimed)?;
        let found = self.find_conflicts(&claimed, rules, now);
        if let Some((id, own)) = found.conflict {
            return Err(Error::Conflict {
                own_session: own.then_some(id),
                device_ambiguous: false,
            });
        }
        if let (Some((id, own)), OnUnknown::Refuse) = (found.ambiguous, rules.unknown) {
            return Err(Error::Conflict { own_session: own.then_some(id), device_ambiguous: true });
        }
        self.add_entry(summary, operator, claim);
        Ok(found.ambiguous.is_some())
    }

    /// Adds a session that an earlier process checked.
    pub(super) fn restore(
        &mut self,
        summary: RecordSummary,
        claim: Claim,
        operator_session: Option<&str>,
    ) {
        let operator = self.operator_number(&claim.operator);
        let slot = self.add_entry(summary, operator, claim);
        if let Some(operator_session) = operator_session {
            let hash = self.hash_operator_session(operator_session);
            self.set_operator_session(slot, hash);
        }
    }

    /// The state of a session.
    pub(super) fn state(&self, id: &SessionId) -> Option<SessionState> {
        Some(self.entries.get(self.slot(id)?)?.state)
    }

    /// The session to which the operator assigned this id.
    pub(super) fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Option<SessionId> {
        let number = *self.operators.get(operator)?;
        let hash = self.hash_operator_session(operator_session);
        Some(self.entries.get(self.operator_session_slot(number, hash)?)?.id)
    }

    /// Stores the next generation of a session and the operator's id of it. An expired hold is never
    /// restored, and an id in use by another session is rejected. Returns the previous state.
    pub(super) fn replace(
        &mut self,
        summary: RecordSummary,
        operator_session: Option<&str>,
    ) -> Result<SessionState, Error> {
        let slot = self.slot(&summary.id).ok_or(Error::NotFound)?;
        let entry = self.entries.get(slot).ok_or(Error::NotFound)?;
        let (state, due, held_until) = (entry.state, entry.due, entry.holds_until());
        let (operator, has_no_id) = (entry.operator, entry.operator_session_hash.is_none());
        let restores_hold = held_until.is_none() && summary.holds_until.is_some();
        if restores_hold || entry.generation.checked_add(1) != Some(summary.generation) {
            return Err(Error::Superseded);
        }
        if let Some(operator_session) = operator_session.filter(|_| has_no_id) {
            let hash = self.hash_operator_session(operator_session);
            if self.operator_session_slot(operator, hash).is_some() {
                return Err(Error::OperatorSessionInUse);
            }
            self.set_operator_session(slot, hash);
        }
        match (held_until, summary.holds_until) {
            (Some(_), None) => self.unlink(slot),
            (Some(old), Some(new)) => self.hold_expiries.move_to(old, new, slot),
            (None, _) => (),
        }
        self.due.move_to(due, summary.due, slot);
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.set(&summary);
            self.adjust_count(operator, state, u64::wrapping_sub);
            self.adjust_count(operator, summary.state, u64::wrapping_add);
        }
        Ok(state)
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, id: &SessionId, generation: u64) -> Result<(), Error> {
        let slot = self.slot(id).ok_or(Error::NotFound)?;
        if self.entries.get(slot).ok_or(Error::NotFound)?.generation != generation {
            return Err(Error::Superseded);
        }
        self.unlink(slot);
        self.slots.remove(self.id_hash_builder.hash_one(id), slot);
        if let Some(entry) = self.entries.remove(slot) {
            self.due.remove(entry.due, slot);
            self.adjust_count(entry.operator, entry.state, u64::wrapping_sub);
            if let Some(hash) = entry.operator_session_hash {
                self.operator_sessions.remove(hash.get(), slot);
            }
            self.clients.remove_session(entry.client);
        }
        Ok(())
    }

    /// The sessions that are due for the sweep, earliest first.
    pub(super) fn due(&self, now: Moment, sessions_max: usize) -> Vec<SessionId> {
        let due = self.due.until(now).take(sessions_max);
        due.filter_map(|slot| Some(self.entries.get(slot)?.id)).collect()
    }

    /// Sets the next due time of a session.
    pub(super) fn postpone(&mut self, id: &SessionId, due: Moment) {
        let Some(slot) = self.slot(id) else { return };
        let Some(entry) = self.entries.get_mut(slot) else { return };
        self.due.move_to(entry.due, due, slot);
        entry.due = due;
    }

    /// Removes at most `holds_max` expired holds.
    pub(super) fn expire_holds(&mut self, now: Moment, holds_max: usize) {
        for _ in 0..holds_max {
            match self.hold_expiries.first() {
                Some((at, slot)) if at <= now => self.unlink(slot),
                _ => break,
            }
        }
    }

    /// The number of sessions for each operator and state.
    pub(super) fn counts(&self) -> Vec<(OperatorId, SessionState, u64)> {
        let counted = self.operators.iter().filter_map(|(operator, &number)| {
            let counts = self.counts.get(usize::try_from(number).ok()?)?;
            Some(
                SessionState::ALL
                    .iter()
                    .zip(counts)
                    .map(|(&state, &n)| (operator.clone(), state, n)),
            )
        });
        counted.flatten().collect()
    }

    fn slot(&self, id: &SessionId) -> Option<Slot> {
        self.slots.find(self.id_hash_builder.hash_one(id), |slot| {
            self.entries.get(slot).is_some_and(|entry| entry.id == *id)
        })
    }

    fn operator_session_slot(&self, operator: OperatorNumber, hash: NonZeroU64) -> Option<Slot> {
        self.operator_sessions.find(hash.get(), |slot| {
            self.entries.get(slot).is_some_and(|entry| {
                entry.operator == operator && entry.operator_session_hash == Some(hash)
            })
        })
    }

    fn operator_number(&mut self, id: &OperatorId) -> OperatorNumber {
        if let Some(&number) = self.operators.get(id) {
            return number;
        }
        let number = OperatorNumber::try_from(self.counts.len()).unwrap_or(OperatorNumber::MAX);
        self.counts.push([0; SessionState::ALL.len()]);
        self.operators.insert(id.clone(), number);
        number
    }

    fn adjust_count(
        &mut self,
        operator: OperatorNumber,
        state: SessionState,
        change: impl Fn(u64, u64) -> u64,
    ) {
        let counts = usize::try_from(operator).ok().and_then(|number| self.counts.get_mut(number));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(state as usize)) {
            *count = change(*count, 1);
        }
    }

    fn hash_operator_session(&self, operator_session: &str) -> NonZeroU64 {
        let hash = self.operator_session_hash_builder.hash_one(operator_session);
        NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
    }

    fn set_operator_session(&mut self, slot: Slot, hash: NonZeroU64) {
        self.operator_sessions.insert(hash.get(), slot);
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.operator_session_hash = Some(hash);
        }
    }

    fn add_entry(
        &mut self,
        summary: RecordSummary,
        operator: OperatorNumber,
        claim: Claim,
    ) -> Slot {
        let RecordSummary { id, state, due, holds_until, .. } = summary;
        let kinds = claim.keys.kind_bits();
        let client = self.clients.add_session(&claim.client, holds_until.is_some());
        let slot = self.entries.insert(IndexEntry::new(summary, operator, client, claim));
        self.slots.insert(self.id_hash_builder.hash_one(id), slot);
        self.due.insert(due, slot);
        self.adjust_count(operator, state, u64::wrapping_add);
        let Some(until) = holds_until else { return slot };
        self.hold_expiries.insert(until, slot);
        let group_position = self.groups.add(operator, kinds, slot);
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.group_position = group_position;
        }
        let Some(entry) = self.entries.get(slot) else { return slot };
        for key in IndexKey::all(operator, &entry.keys) {
            self.keys.add(&self.entries, key, client, slot);
        }
        for net in entry.keys.networks() {
            for client in [None, Some(client)] {
                self.networks.add(NetworkScope { operator, client }, net, slot);
            }
        }
        slot
    }

    // Ends the hold of a session: removes it from all key tables.
    fn unlink(&mut self, slot: Slot) {
        let until = self.entries.get_mut(slot).and_then(IndexEntry::end_hold);
        let (Some(until), Some(entry)) = (until, self.entries.get(slot)) else { return };
        let IndexEntry { operator, client, ref keys, group_position, .. } = *entry;
        self.hold_expiries.remove(until, slot);
        for key in IndexKey::all(operator, keys) {
            self.keys.remove(&self.entries, &key, client, slot);
        }
        for net in keys.networks() {
            for client in [None, Some(client)] {
                self.networks.remove(NetworkScope { operator, client }, net, slot);
            }
        }
        self.clients.end_hold(client);
        let moved = self.groups.remove(operator, keys.kind_bits(), group_position);
        if let Some(moved) = moved.and_then(|moved| self.entries.get_mut(moved)) {
            moved.group_position = group_position;
        }
    }
}

#[cfg(test)]
mod tests;
