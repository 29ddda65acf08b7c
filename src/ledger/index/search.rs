//! Finds the sessions of a device: those that conflict with a new session, and those of a client.

use std::collections::BTreeSet;

use super::{ClientNumber, Index, IndexEntry, NetworkScope, OperatorNumber, Slot, keys::IndexKey};
use crate::{
    ledger::{
        ConflictMode, ConflictRules, Error, OnUnknown,
        claim::{DeviceKeys, PERMANENT_KINDS, PUBLIC_KIND},
        conflict::{ConflictDecision, DeviceComparison, compare_devices, decide},
    },
    qod::{ClientId, Flow, Moment, SessionId},
};

/// The maximum number of sessions at an operator that hold a flow and share an identifier of their
/// device: a phone number, a network access identifier, a user, a public address with its port or
/// private address, or a network that overlaps.
pub(in crate::ledger) const DEVICE_SESSIONS_MAX: usize = 1024;
/// The same for the sessions of one client.
pub(super) const CLIENT_DEVICE_SESSIONS_MAX: usize = 512;
/// The maximum number of sessions of incomparable devices that are examined for a metric.
pub(in crate::ledger) const AMBIGUOUS_EXAMINED_FORWARD_MAX: usize = 8;
/// The same before a rejection. If there are more, the request is rejected without examining them.
pub(in crate::ledger) const AMBIGUOUS_EXAMINED_REFUSE_MAX: usize = 1024;
// The maximum number of sessions of a client that are examined to find those of a device. Only a
// network that contains many networks of devices has so many.
const OWN_SESSIONS_EXAMINED_MAX: usize = 4096;

/// A claim, as the index compares it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimedFlow<'c> {
    pub(super) operator: OperatorNumber,
    /// `None` if the client has no session.
    pub(super) client: Option<ClientNumber>,
    pub(super) keys: &'c DeviceKeys,
    pub(super) flow: &'c Flow,
}

#[derive(Debug, Default)]
pub(super) struct ConflictFindings {
    /// A conflicting session: its id, and whether the requester may see it.
    pub(super) conflict: Option<(SessionId, bool)>,
    /// A session that may conflict.
    pub(super) ambiguous: Option<(SessionId, bool)>,
}

impl Index {
    /// The client's sessions that hold and whose device is certainly this one, at all operators.
    pub(in crate::ledger) fn find_by_device(
        &self,
        client: &ClientId,
        keys: &DeviceKeys,
        now: Moment,
    ) -> Vec<SessionId> {
        let Some(client) = self.clients.number(client) else { return Vec::new() };
        let mut slots = Vec::new();
        for &operator in self.operators.values() {
            let scope = NetworkScope { operator, client: Some(client) };
            let exact = IndexKey::exact(operator, keys);
            let exact = exact.flat_map(|key| self.keys.slots_of(&self.entries, &key, client));
            let networks = keys.networks();
            let networks = networks.flat_map(|net| self.networks.overlapping(scope, net));
            let left = OWN_SESSIONS_EXAMINED_MAX.saturating_sub(slots.len());
            slots.extend(exact.chain(networks).take(left));
        }
        slots.sort_unstable();
        slots.dedup();
        let entries = slots.into_iter().filter_map(|slot| self.entries.get(slot));
        let own = entries.filter(|entry| {
            entry.client == client
                && entry.holds_at(now)
                && compare_devices(&entry.keys, keys) == DeviceComparison::Same
        });
        own.map(|entry| entry.id).collect()
    }

    /// Checks how many sessions share an identifier of the device: all of them are compared with each
    /// new session.
    pub(super) fn check_device_sessions(&self, claimed: &ClaimedFlow<'_>) -> Result<(), Error> {
        let ClaimedFlow { operator, client, keys, .. } = *claimed;
        for key in IndexKey::exact(operator, keys) {
            let count = self.keys.count(&self.entries, &key);
            check_max(count, DEVICE_SESSIONS_MAX)?;
            if let Some(client) = client.filter(|_| count >= CLIENT_DEVICE_SESSIONS_MAX) {
                let is_own = |slot: &Slot| {
                    self.entries.get(*slot).is_some_and(|entry| entry.client == client)
                };
                let own = self.keys.slots_of(&self.entries, &key, client).filter(is_own);
                let own = own.take(CLIENT_DEVICE_SESSIONS_MAX).count();
                check_max(own, CLIENT_DEVICE_SESSIONS_MAX)?;
            }
        }
        for net in keys.networks() {
            let scopes = [
                Some((None, DEVICE_SESSIONS_MAX)),
                client.map(|client| (Some(client), CLIENT_DEVICE_SESSIONS_MAX)),
            ];
            for (client, max) in scopes.into_iter().flatten() {
                let scope = NetworkScope { operator, client };
                check_max(self.networks.overlapping(scope, net).take(max).count(), max)?;
            }
        }
        Ok(())
    }

    pub(super) fn find_conflicts(
        &self,
        claimed: &ClaimedFlow<'_>,
        rules: &ConflictRules,
        now: Moment,
    ) -> ConflictFindings {
        let mut found = ConflictFindings::default();
        if rules.mode == ConflictMode::UpstreamOnly {
            return found;
        }
        let ClaimedFlow { operator, keys, .. } = *claimed;
        let scope = NetworkScope { operator, client: None };
        let mut check = |slot| self.check_conflict(slot, claimed, rules.mode, now, &mut found);
        for key in IndexKey::exact(operator, keys) {
            self.keys.slots(&self.entries, &key).for_each(&mut check);
        }
        for net in keys.networks() {
            self.networks.overlapping(scope, net).for_each(&mut check);
        }
        if found.conflict.is_none() && found.ambiguous.is_none() {
            self.find_ambiguous(claimed, rules, now, &mut found);
        }
        found
    }

    // Examines the devices that cannot be distinguished from this one: those behind the same public
    // address without a common kind of permanent identifier, and those without a common kind of key.
    fn find_ambiguous(
        &self,
        claimed: &ClaimedFlow<'_>,
        rules: &ConflictRules,
        now: Moment,
        found: &mut ConflictFindings,
    ) {
        let ClaimedFlow { operator, keys, .. } = *claimed;
        let (public, kinds) = (self.incomparable_at_address(operator, keys), keys.kind_bits());
        let same_public = public.iter().flat_map(|key| self.keys.slots(&self.entries, key));
        let incomparable = self.groups.incomparable(operator, kinds);
        let mut candidates = same_public.chain(incomparable);
        let examined_max = match rules.unknown {
            OnUnknown::Forward => AMBIGUOUS_EXAMINED_FORWARD_MAX,
            OnUnknown::Refuse => {
                let counts = public.iter().map(|key| self.keys.count(&self.entries, key));
                let count = counts.sum::<usize>() + self.groups.incomparable_count(operator, kinds);
                if count > AMBIGUOUS_EXAMINED_REFUSE_MAX {
                    // Too many to examine, so a conflict cannot be excluded.
                    let first = candidates.next().and_then(|slot| self.entries.get(slot));
                    found.ambiguous = first.map(|entry| describe_holder(entry, claimed));
                    return;
                }
                count
            }
        };
        for slot in candidates.take(examined_max) {
            if found.ambiguous.is_some() {
                return;
            }
            self.check_conflict(slot, claimed, rules.mode, now, found);
        }
    }

    // The keys of devices with the same public address and without a common kind of permanent identifier.
    fn incomparable_at_address(
        &self,
        operator: OperatorNumber,
        keys: &DeviceKeys,
    ) -> Vec<IndexKey> {
        let Some(address) = keys.public_address() else { return Vec::new() };
        let own = keys.permanent_kind_bits();
        let others = self.groups.kinds(operator);
        let incomparable = others.filter(|kinds| kinds & PUBLIC_KIND != 0 && kinds & own == 0);
        let kinds: BTreeSet<_> = incomparable.map(|kinds| kinds & PERMANENT_KINDS).collect();
        kinds.into_iter().map(|kinds| IndexKey::public_of_kinds(operator, address, kinds)).collect()
    }

    fn check_conflict(
        &self,
        slot: Slot,
        claimed: &ClaimedFlow<'_>,
        mode: ConflictMode,
        now: Moment,
        found: &mut ConflictFindings,
    ) {
        let Some(entry) = self.entries.get(slot).filter(|entry| entry.holds_at(now)) else {
            return;
        };
        let finding = match decide(mode, (&entry.keys, &entry.flow), (claimed.keys, claimed.flow)) {
            ConflictDecision::NoConflict => return,
            ConflictDecision::Conflict => &mut found.conflict,
            ConflictDecision::Unknown => &mut found.ambiguous,
        };
        // A session that the requester may see takes precedence.
        if !finding.is_some_and(|(_, own)| own) {
            *finding = Some(describe_holder(entry, claimed));
        }
    }
}

// The id of a session, and whether the requester may see it.
fn describe_holder(entry: &IndexEntry, claimed: &ClaimedFlow<'_>) -> (SessionId, bool) {
    let subject = claimed.keys.subject();
    let own = claimed.client == Some(entry.client)
        && (subject.is_none() || subject == entry.keys.subject());
    (entry.id, own)
}

fn check_max(count: usize, max: usize) -> Result<(), Error> {
    if count < max {
        return Ok(());
    }
    Err(Error::DeviceSessionsExceeded { max: u32::try_from(max).unwrap_or(u32::MAX) })
}
