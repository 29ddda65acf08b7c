//! The in-memory index of all sessions. It uses no lock, no clock and no disk; the store around it
//! persists the rows.
//!
//! A session that holds its flow is indexed under each key of its device; a session that does not
//! hold is under none. A new session is compared only with the sessions found by its keys. Two
//! sorted sets of times contain the expiries of holds and the due times of records. No lookup scans
//! all sessions.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry as MapEntry},
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
};

use super::{
    Claim, ConflictRules, Error, OnUnknown, SessionState, claim::DeviceKeys, record::RecordSummary,
};
use crate::qod::{ClientId, Flow, Moment, OperatorId, SessionId};

mod groups;
mod keys;
mod networks;
mod search;
mod slab;
mod sharded_map;

pub(super) use self::search::{
    AMBIGUOUS_EXAMINED_FORWARD_MAX, AMBIGUOUS_EXAMINED_REFUSE_MAX, DEVICE_SESSIONS_MAX,
};
use self::{
    groups::KindGroups,
    keys::{IndexKey, KeyTable},
    networks::{NetworkScope, NetworkSet},
    sharded_map::ShardedMap,
    slab::Slab,
};

/// The position of a session in the index.
type Slot = u32;

/// The number of an operator in the index.
type OperatorNumber = u32;

/// A hash of a client id. Two clients may have the same.
type ClientTag = u32;

// The maximum number of expired holds that a reservation removes before its check: more than one, so
// that they do not accumulate; bounded, so that its latency is bounded.
const EXPIRED_HOLDS_PER_RESERVATION_MAX: usize = 64;

/// All sessions, by the keys of their devices.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Slab<IndexEntry>,
    slots: ShardedMap<SessionId, Slot>,
    operators: HashMap<OperatorId, OperatorNumber>,
    counts: Vec<[u64; SessionState::ALL.len()]>,
    /// The number of holding sessions of each client.
    holds_per_client: HashMap<ClientId, u32>,
    /// The sessions by the hash of the operator's session id.
    operator_sessions: ShardedMap<(OperatorNumber, NonZeroU64), Slot>,
    hash_builder: RandomState,
    keys: KeyTable,
    networks: NetworkSet,
    groups: KindGroups,
    /// The expiries of holds.
    hold_expiries: BTreeSet<(Moment, Slot)>,
    /// The times at which records are due for the sweep.
    due: BTreeSet<(Moment, Slot)>,
}

#[derive(Debug)]
struct IndexEntry {
    summary: RecordSummary,
    operator: OperatorNumber,
    client: ClientId,
    keys: DeviceKeys,
    flow: Flow,
    /// Its position in its group.
    group_position: u32,
    /// The hash of the operator's id of the session.
    operator_session_hash: Option<NonZeroU64>,
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
        if self.holds_per_client.get(&claim.client).is_some_and(|&live| live >= sessions_max)
            || sessions_max == 0
        {
            return Err(Error::QuotaExceeded { max: sessions_max });
        }
        if claim.keys.is_too_broad(rules) {
            return Err(Error::DeviceTooBroad);
        }
        let operator = self.operator_number(&claim.operator);
        self.check_device_sessions(operator, &claim)?;
        let found = self.find_conflicts(operator, &claim, rules, now);
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
            self.set_operator_session(slot, operator, operator_session);
        }
    }

    /// The state of a session.
    pub(super) fn state(&self, id: &SessionId) -> Option<SessionState> {
        Some(self.entries.get(*self.slots.get(id)?)?.summary.state)
    }

    /// The session to which the operator assigned this id.
    pub(super) fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Option<SessionId> {
        let number = *self.operators.get(operator)?;
        let slot =
            *self.operator_sessions.get(&(number, self.hash_operator_session(operator_session)))?;
        Some(self.entries.get(slot)?.summary.id)
    }

    /// Stores the next generation of a session and the operator's id of it. An expired hold is never
    /// restored, and an id in use by another session is rejected. Returns the previous state.
    pub(super) fn replace(
        &mut self,
        summary: RecordSummary,
        operator_session: Option<&str>,
    ) -> Result<SessionState, Error> {
        let slot = *self.slots.get(&summary.id).ok_or(Error::NotFound)?;
        let entry = self.entries.get(slot).ok_or(Error::NotFound)?;
        let (before, operator, has_no_id) =
            (entry.summary, entry.operator, entry.operator_session_hash.is_none());
        let restores_hold = before.holds_until.is_none() && summary.holds_until.is_some();
        if restores_hold || before.generation.checked_add(1) != Some(summary.generation) {
            return Err(Error::Superseded);
        }
        if let Some(operator_session) = operator_session.filter(|_| has_no_id) {
            let hash = self.hash_operator_session(operator_session);
            if self.operator_sessions.get(&(operator, hash)).is_some() {
                return Err(Error::OperatorSessionInUse);
            }
            self.set_operator_session(slot, operator, operator_session);
        }
        if before.holds_until.is_some() && summary.holds_until.is_none() {
            self.unlink(slot);
        }
        if let (Some(old), Some(new)) = (before.holds_until, summary.holds_until) {
            self.hold_expiries.remove(&(old, slot));
            self.hold_expiries.insert((new, slot));
        }
        self.due.remove(&(before.due, slot));
        self.due.insert((summary.due, slot));
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.summary = summary;
            let operator = entry.operator;
            self.adjust_count(operator, before.state, u64::wrapping_sub);
            self.adjust_count(operator, summary.state, u64::wrapping_add);
        }
        Ok(before.state)
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, id: &SessionId, generation: u64) -> Result<(), Error> {
        let slot = *self.slots.get(id).ok_or(Error::NotFound)?;
        let summary = self.entries.get(slot).ok_or(Error::NotFound)?.summary;
        if summary.generation != generation {
            return Err(Error::Superseded);
        }
        self.unlink(slot);
        self.due.remove(&(summary.due, slot));
        self.slots.remove(id);
        if let Some(entry) = self.entries.remove(slot) {
            self.adjust_count(entry.operator, summary.state, u64::wrapping_sub);
            if let Some(hash) = entry.operator_session_hash {
                self.operator_sessions.remove(&(entry.operator, hash));
            }
        }
        Ok(())
    }

    /// The sessions that are due for the sweep, earliest first.
    pub(super) fn due(&self, now: Moment, sessions_max: usize) -> Vec<SessionId> {
        let due = self.due.range(..=(now, Slot::MAX)).take(sessions_max);
        due.filter_map(|&(_, slot)| Some(self.entries.get(slot)?.summary.id)).collect()
    }

    /// Sets the next due time of a session.
    pub(super) fn postpone(&mut self, id: &SessionId, due: Moment) {
        let Some(&slot) = self.slots.get(id) else { return };
        let Some(entry) = self.entries.get_mut(slot) else { return };
        self.due.remove(&(entry.summary.due, slot));
        entry.summary.due = due;
        self.due.insert((due, slot));
    }

    /// Removes at most `holds_max` expired holds.
    pub(super) fn expire_holds(&mut self, now: Moment, holds_max: usize) {
        for _ in 0..holds_max {
            match self.hold_expiries.first() {
                Some(&(at, slot)) if at <= now => self.unlink(slot),
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

    fn client_tag(&self, client: &ClientId) -> ClientTag {
        let [a, b, c, d, ..] = self.hash_builder.hash_one(client).to_le_bytes();
        ClientTag::from_le_bytes([a, b, c, d])
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
        NonZeroU64::new(self.hash_builder.hash_one(operator_session)).unwrap_or(NonZeroU64::MIN)
    }

    fn set_operator_session(
        &mut self,
        slot: Slot,
        operator: OperatorNumber,
        operator_session: &str,
    ) {
        let hash = self.hash_operator_session(operator_session);
        self.operator_sessions.insert((operator, hash), slot);
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
        let Claim { client, keys, flow, operator: _ } = claim;
        let tag = self.client_tag(&client);
        let kinds = keys.kind_bits();
        let slot = self.entries.insert(IndexEntry {
            summary,
            operator,
            client: client.clone(),
            keys,
            flow,
            group_position: 0,
            operator_session_hash: None,
        });
        self.slots.insert(summary.id, slot);
        self.due.insert((summary.due, slot));
        self.adjust_count(operator, summary.state, u64::wrapping_add);
        let Some(until) = summary.holds_until else { return slot };
        self.hold_expiries.insert((until, slot));
        *self.holds_per_client.entry(client).or_insert(0) += 1;
        let group_position = self.groups.add(operator, kinds, slot);
        let Some(entry) = self.entries.get_mut(slot) else { return slot };
        entry.group_position = group_position;
        let keys = &entry.keys;
        for key in IndexKey::exact(operator, keys).chain(IndexKey::public(operator, keys)) {
            self.keys.add(key, tag, slot);
        }
        for net in keys.networks() {
            for client in [None, Some(tag)] {
                self.networks.add(NetworkScope { operator, client }, net, slot);
            }
        }
        slot
    }

    // Ends the hold of a session: removes it from all key tables.
    fn unlink(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let Some(until) = entry.summary.holds_until.take() else { return };
        self.hold_expiries.remove(&(until, slot));
        let client = entry.client.clone();
        let tag = self.client_tag(&client);
        let Some(entry) = self.entries.get(slot) else { return };
        let (operator, keys, group_position) = (entry.operator, &entry.keys, entry.group_position);
        for key in IndexKey::exact(operator, keys).chain(IndexKey::public(operator, keys)) {
            self.keys.remove(&key, tag, slot);
        }
        for net in keys.networks() {
            for client in [None, Some(tag)] {
                self.networks.remove(NetworkScope { operator, client }, net, slot);
            }
        }
        if let MapEntry::Occupied(mut live) = self.holds_per_client.entry(client) {
            *live.get_mut() = live.get().saturating_sub(1);
            if *live.get() == 0 {
                live.remove();
            }
        }
        let moved = self.groups.remove(operator, keys.kind_bits(), group_position);
        if let Some(moved) = moved.and_then(|moved| self.entries.get_mut(moved)) {
            moved.group_position = group_position;
        }
    }
}

#[cfg(test)]
mod tests;
