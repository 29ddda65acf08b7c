//! Who holds what, ready to be asked. Pure: no lock, no clock, no disk; what is to be kept on disk
//! is kept by the store around it.
//!
//! A session that holds its flow stands under each of its device's keys; one that does not stands
//! under none. So the sessions that a new one may conflict with are found by its keys, and the rule
//! itself is asked of those few only. Time is two sorted sets of moments: when holds lapse, and when
//! a record is due for the sweep. Nothing is ever found by looking through everything.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry as Place},
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
};

use ipnet::IpNet;

use super::{
    Claim, ConflictMode, Error, OnUnknown, Rules, State,
    claim::{DeviceKeys, V4Key},
    record::Life,
    rule::{SameDevice, Verdict, judge, same_device},
};
use crate::qod::{ClientId, Flow, Moment, OperatorId, SessionId};

mod groups;
mod keys;
mod nets;
mod slab;
mod spread;

use self::{
    groups::Groups,
    keys::{IndexKey, KeyTable},
    nets::NetSet,
    slab::Slab,
    spread::Spread,
};

/// Where a session stands in the index.
type Slot = u32;

/// An operator's number in the index.
type OperatorNumber = u32;

// How many lapsed holds a reservation clears away before it is judged: more than one, so that they
// never pile up; bounded, so that it never pays for all.
const LAPSES_A_RESERVATION_MAX: usize = 64;
// How many sessions of incomparable devices are looked at: enough for a metric, ...
const UNKNOWN_FORWARDED_MAX: usize = 8;
// ... and where they are refused. If there are more, the answer is no unseen.
const UNKNOWN_REFUSED_MAX: usize = 1024;
// How many sessions of one device are looked at, whosever they are, to find a client's own.
const OF_DEVICE_LOOKED_AT_MAX: usize = 4096;

/// All sessions, by what they hold.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Slab<Entry>,
    slots: Spread<SessionId, Slot>,
    operators: HashMap<OperatorId, OperatorNumber>,
    counts: Vec<[u64; State::ALL.len()]>,
    /// How many sessions of each client hold.
    clients: HashMap<ClientId, u32>,
    /// Whose the operators' own names are, by their hash.
    theirs: Spread<(OperatorNumber, NonZeroU64), Slot>,
    hashes: RandomState,
    keys: KeyTable,
    nets: NetSet,
    groups: Groups,
    /// When holds lapse.
    lapses: BTreeSet<(Moment, Slot)>,
    /// When records are to be swept.
    due: BTreeSet<(Moment, Slot)>,
}

#[derive(Debug)]
struct Entry {
    life: Life,
    operator: OperatorNumber,
    client: ClientId,
    keys: DeviceKeys,
    flow: Flow,
    /// Its place in its group.
    place: u32,
    /// The hash of the operator's own name for it.
    theirs: Option<NonZeroU64>,
}

#[derive(Debug, Default)]
struct Findings {
    /// A session that conflicts: its id, and is it of the same client and subject?
    conflict: Option<(SessionId, bool)>,
    /// One that may.
    unknown: Option<(SessionId, bool)>,
}

impl Index {
    /// Checks quota, width and conflict, and takes the session in. Is there one of which nobody can
    /// tell whether its device is the same?
    pub(super) fn insert(
        &mut self,
        life: Life,
        claim: Claim,
        rules: &Rules,
        sessions_max: u32,
        now: Moment,
    ) -> Result<bool, Error> {
        self.lapse(now, LAPSES_A_RESERVATION_MAX);
        if self.clients.get(&claim.client).is_some_and(|&live| live >= sessions_max)
            || sessions_max == 0
        {
            return Err(Error::QuotaExceeded { max: sessions_max });
        }
        if claim.keys.is_too_broad(rules) {
            return Err(Error::TooBroad);
        }
        let operator = self.operator(&claim.operator);
        let found = self.findings(operator, &claim, rules, now);
        if let Some((id, own)) = found.conflict {
            return Err(Error::Taken { own: own.then_some(id), device_unknown: false });
        }
        if let (Some((id, own)), OnUnknown::Refuse) = (found.unknown, rules.unknown) {
            return Err(Error::Taken { own: own.then_some(id), device_unknown: true });
        }
        let Claim { client, keys, flow, operator: _ } = claim;
        self.take(Entry { life, operator, client, keys, flow, place: 0, theirs: None });
        Ok(found.unknown.is_some())
    }

    /// Takes in what was judged before, by a process that is gone.
    pub(super) fn restore(&mut self, life: Life, claim: Claim, operator_session: Option<&str>) {
        let operator = self.operator(&claim.operator);
        let Claim { client, keys, flow, operator: _ } = claim;
        let slot = self.take(Entry { life, operator, client, keys, flow, place: 0, theirs: None });
        if let Some(theirs) = operator_session {
            self.name(slot, operator, theirs);
        }
    }

    /// Which session the operator has under this name of its own.
    pub(super) fn named_by(&self, operator: &OperatorId, theirs: &str) -> Option<SessionId> {
        let number = *self.operators.get(operator)?;
        let slot = *self.theirs.get(&(number, self.hash_of(theirs)))?;
        Some(self.entries.get(slot)?.life.id)
    }

    /// Writes down the next generation of a session's life, and the operator's own name for it.
    /// A hold that has lapsed stays so; a name that another session has is refused.
    pub(super) fn replace(&mut self, life: Life, theirs: Option<&str>) -> Result<State, Error> {
        let slot = *self.slots.get(&life.id).ok_or(Error::NotFound)?;
        let entry = self.entries.get(slot).ok_or(Error::NotFound)?;
        let (before, operator, unnamed) = (entry.life, entry.operator, entry.theirs.is_none());
        let reholds = before.holds_until.is_none() && life.holds_until.is_some();
        if reholds || before.generation.checked_add(1) != Some(life.generation) {
            return Err(Error::Lost);
        }
        if let Some(theirs) = theirs.filter(|_| unnamed) {
            if self.theirs.get(&(operator, self.hash_of(theirs))).is_some() {
                return Err(Error::NameTaken);
            }
            self.name(slot, operator, theirs);
        }
        if before.holds_until.is_some() && life.holds_until.is_none() {
            self.unlink(slot);
        }
        if let (Some(was), Some(is)) = (before.holds_until, life.holds_until) {
            self.lapses.remove(&(was, slot));
            self.lapses.insert((is, slot));
        }
        self.due.remove(&(before.due, slot));
        self.due.insert((life.due, slot));
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.life = life;
            let operator = entry.operator;
            self.count(operator, before.state, u64::wrapping_sub);
            self.count(operator, life.state, u64::wrapping_add);
        }
        Ok(before.state)
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, id: &SessionId, generation: u64) -> Result<(), Error> {
        let slot = *self.slots.get(id).ok_or(Error::NotFound)?;
        let life = self.entries.get(slot).ok_or(Error::NotFound)?.life;
        if life.generation != generation {
            return Err(Error::Lost);
        }
        self.unlink(slot);
        self.due.remove(&(life.due, slot));
        self.slots.remove(id);
        if let Some(entry) = self.entries.remove(slot) {
            self.count(entry.operator, life.state, u64::wrapping_sub);
            if let Some(hash) = entry.theirs {
                self.theirs.remove(&(entry.operator, hash));
            }
        }
        Ok(())
    }

    /// The sessions to be swept, those due first before others.
    pub(super) fn due(&self, now: Moment, sessions_max: usize) -> Vec<SessionId> {
        let due = self.due.range(..=(now, Slot::MAX)).take(sessions_max);
        due.filter_map(|&(_, slot)| Some(self.entries.get(slot)?.life.id)).collect()
    }

    /// Sets when a session is to be swept next.
    pub(super) fn postpone(&mut self, id: &SessionId, due: Moment) {
        let Some(&slot) = self.slots.get(id) else { return };
        let Some(entry) = self.entries.get_mut(slot) else { return };
        self.due.remove(&(entry.life.due, slot));
        entry.life.due = due;
        self.due.insert((due, slot));
    }

    /// Ends at most so many holds that have lapsed.
    pub(super) fn lapse(&mut self, now: Moment, holds_max: usize) {
        for _ in 0..holds_max {
            match self.lapses.first() {
                Some(&(at, slot)) if at <= now => self.unlink(slot),
                _ => break,
            }
        }
    }

    /// How many sessions each operator has in each state.
    pub(super) fn counts(&self) -> Vec<(OperatorId, State, u64)> {
        let counted = self.operators.iter().filter_map(|(operator, &number)| {
            let counts = self.counts.get(usize::try_from(number).ok()?)?;
            Some(State::ALL.iter().zip(counts).map(|(&state, &n)| (operator.clone(), state, n)))
        });
        counted.flatten().collect()
    }

    /// The client's sessions that hold and whose device is surely this one, at all operators.
    pub(super) fn of_device(
        &self,
        client: &ClientId,
        keys: &DeviceKeys,
        now: Moment,
    ) -> Vec<SessionId> {
        let mut slots = Vec::new();
        let mut take = |slot| {
            if slots.len() < OF_DEVICE_LOOKED_AT_MAX {
                slots.push(slot);
            }
        };
        for &operator in self.operators.values() {
            for key in IndexKey::exact(operator, keys) {
                self.keys.slots(&key).for_each(&mut take);
            }
            for net in nets(keys) {
                self.nets.each_meeting(operator, net, &mut take);
            }
        }
        slots.sort_unstable();
        slots.dedup();
        let entries = slots.into_iter().filter_map(|slot| self.entries.get(slot));
        let own = entries.filter(|entry| {
            entry.client == *client
                && entry.life.holds_until.is_some_and(|until| until > now)
                && same_device(&entry.keys, keys) == SameDevice::Same
        });
        own.map(|entry| entry.life.id).collect()
    }

    fn findings(
        &self,
        operator: OperatorNumber,
        claim: &Claim,
        rules: &Rules,
        now: Moment,
    ) -> Findings {
        let mut found = Findings::default();
        if rules.mode == ConflictMode::UpstreamOnly {
            return found;
        }
        let mut ask = |slot| self.ask(slot, claim, rules.mode, now, &mut found);
        for key in IndexKey::exact(operator, &claim.keys) {
            self.keys.slots(&key).for_each(&mut ask);
        }
        for net in nets(&claim.keys) {
            self.nets.each_meeting(operator, net, &mut ask);
        }
        if found.conflict.is_none() && found.unknown.is_none() {
            self.find_unknown(operator, claim, rules, now, &mut found);
        }
        found
    }

    // Looks among the devices that cannot be told apart: those behind the same public address, and
    // those that have no kind of key in common with this one.
    fn find_unknown(
        &self,
        operator: OperatorNumber,
        claim: &Claim,
        rules: &Rules,
        now: Moment,
        found: &mut Findings,
    ) {
        let at_most = match rules.unknown {
            OnUnknown::Forward => UNKNOWN_FORWARDED_MAX,
            OnUnknown::Refuse => UNKNOWN_REFUSED_MAX,
        };
        let behind = IndexKey::public(operator, &claim.keys);
        let behind = behind.iter().flat_map(|key| self.keys.slots(key));
        let strangers = self.groups.incomparable(operator, claim.keys.kinds());
        for (seen, slot) in behind.chain(strangers).enumerate() {
            if seen >= at_most && rules.unknown == OnUnknown::Refuse {
                // Too many to look at; that none of them is in the way, nobody can promise.
                found.unknown = self.named(slot, claim);
            }
            if seen >= at_most || found.unknown.is_some() {
                return;
            }
            self.ask(slot, claim, rules.mode, now, found);
        }
    }

    fn ask(
        &self,
        slot: Slot,
        claim: &Claim,
        mode: ConflictMode,
        now: Moment,
        found: &mut Findings,
    ) {
        let Some(entry) = self.entries.get(slot) else { return };
        if entry.life.holds_until.is_none_or(|until| until <= now) {
            return;
        }
        let place = match judge(mode, (&entry.keys, &entry.flow), (&claim.keys, &claim.flow)) {
            Verdict::Free => return,
            Verdict::Conflict => &mut found.conflict,
            Verdict::Unknown => &mut found.unknown,
        };
        // The asker's own tells it more than another's.
        if !place.is_some_and(|(_, own)| own) {
            *place = self.named(slot, claim).or(*place);
        }
    }

    fn named(&self, slot: Slot, claim: &Claim) -> Option<(SessionId, bool)> {
        let entry = self.entries.get(slot)?;
        let subject = claim.keys.subject();
        let own =
            entry.client == claim.client && (subject.is_none() || subject == entry.keys.subject());
        Some((entry.life.id, own))
    }

    fn operator(&mut self, id: &OperatorId) -> OperatorNumber {
        if let Some(&number) = self.operators.get(id) {
            return number;
        }
        let number = OperatorNumber::try_from(self.counts.len()).unwrap_or(OperatorNumber::MAX);
        self.counts.push([0; State::ALL.len()]);
        self.operators.insert(id.clone(), number);
        number
    }

    fn count(&mut self, operator: OperatorNumber, state: State, step: impl Fn(u64, u64) -> u64) {
        let counts = usize::try_from(operator).ok().and_then(|number| self.counts.get_mut(number));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(state as usize)) {
            *count = step(*count, 1);
        }
    }

    fn hash_of(&self, theirs: &str) -> NonZeroU64 {
        NonZeroU64::new(self.hashes.hash_one(theirs)).unwrap_or(NonZeroU64::MIN)
    }

    fn name(&mut self, slot: Slot, operator: OperatorNumber, theirs: &str) {
        let hash = self.hash_of(theirs);
        self.theirs.insert((operator, hash), slot);
        if let Some(entry) = self.entries.get_mut(slot) {
            entry.theirs = Some(hash);
        }
    }

    fn take(&mut self, entry: Entry) -> Slot {
        let (life, operator) = (entry.life, entry.operator);
        let client = entry.client.clone();
        let kinds = entry.keys.kinds();
        let slot = self.entries.insert(entry);
        self.slots.insert(life.id, slot);
        self.due.insert((life.due, slot));
        self.count(operator, life.state, u64::wrapping_add);
        let Some(until) = life.holds_until else { return slot };
        self.lapses.insert((until, slot));
        *self.clients.entry(client).or_insert(0) += 1;
        let place = self.groups.add(operator, kinds, slot);
        let Some(entry) = self.entries.get_mut(slot) else { return slot };
        entry.place = place;
        let keys = &entry.keys;
        for key in IndexKey::exact(operator, keys).chain(IndexKey::public(operator, keys)) {
            self.keys.add(key, slot);
        }
        for net in nets(keys) {
            self.nets.add(operator, net, slot);
        }
        slot
    }

    // Takes away a session's hold: all that others could find it by.
    fn unlink(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot) else { return };
        let Some(until) = entry.life.holds_until.take() else { return };
        self.lapses.remove(&(until, slot));
        let (operator, keys, place) = (entry.operator, &entry.keys, entry.place);
        for key in IndexKey::exact(operator, keys).chain(IndexKey::public(operator, keys)) {
            self.keys.remove(&key, slot);
        }
        for net in nets(keys) {
            self.nets.remove(operator, net, slot);
        }
        if let Place::Occupied(mut live) = self.clients.entry(entry.client.clone()) {
            *live.get_mut() = live.get().saturating_sub(1);
            if *live.get() == 0 {
                live.remove();
            }
        }
        let moved = self.groups.remove(operator, keys.kinds(), place);
        if let Some(moved) = moved.and_then(|moved| self.entries.get_mut(moved)) {
            moved.place = place;
        }
    }
}

// The networks that a device is known by, where a wider or narrower one is the same device.
fn nets(keys: &DeviceKeys) -> impl Iterator<Item = IpNet> {
    let v4 = match keys.v4 {
        Some(V4Key::Legacy(net)) => Some(IpNet::V4(net)),
        Some(V4Key::Public(_)) | None => None,
    };
    v4.into_iter().chain(keys.v6.map(IpNet::V6))
}

#[cfg(test)]
mod tests;
