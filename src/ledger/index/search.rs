//! Finds the sessions of a device: those that conflict with a new session, and those of a client.

use std::collections::BTreeSet;

use super::{Index, NetworkScope, OperatorNumber, Slot, keys::IndexKey};
use crate::{
    ledger::{
        Claim, ConflictMode, ConflictRules, Error, OnUnknown,
        claim::{DeviceKeys, PERMANENT_KINDS, PUBLIC_KIND},
        conflict::{ConflictDecision, DeviceComparison, compare_devices, decide},
    },
    qod::{ClientId, Moment, SessionId},
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
        let (mut slots, client_tag) = (Vec::new(), self.client_tag(client));
        for &operator in self.operators.values() {
            let scope = NetworkScope { operator, client: Some(client_tag) };
            let exact = IndexKey::exact(operator, keys);
            let exact = exact.flat_map(|key| self.keys.slots_of(&key, client_tag));
            let networks = keys.networks();
            let networks = networks.flat_map(|net| self.networks.overlapping(scope, net));
            let left = OWN_SESSIONS_EXAMINED_MAX.saturating_sub(slots.len());
            slots.extend(exact.chain(networks).take(left));
        }
        slots.sort_unstable();
        slots.dedup();
        let entries = slots.into_iter().filter_map(|slot| self.entries.get(slot));
        let own = entries.filter(|entry| {
            entry.client == *client
                && entry.summary.holds_until.is_some_and(|until| until > now)
                && compare_devices(&entry.keys, keys) == DeviceComparison::Same
        });
        own.map(|entry| entry.summary.id).collect()
    }

    /// Checks how many sessions share an identifier of the device: all of them are compared with each
    /// new session.
    pub(super) fn check_device_sessions(
        &self,
        operator: OperatorNumber,
        claim: &Claim,
    ) -> Result<(), Error> {
        let client = self.client_tag(&claim.client);
        let is_own =
            |slot: &Slot| self.entries.get(*slot).is_some_and(|entry| entry.client == claim.client);
        for key in IndexKey::exact(operator, &claim.keys) {
            let count = self.keys.count(&key);
            check_max(count, DEVICE_SESSIONS_MAX)?;
            if count >= CLIENT_DEVICE_SESSIONS_MAX {
                let own = self.keys.slots_of(&key, client).filter(is_own);
                let own = own.take(CLIENT_DEVICE_SESSIONS_MAX).count();
                check_max(own, CLIENT_DEVICE_SESSIONS_MAX)?;
            }
        }
        for net in claim.keys.networks() {
            for (client, max) in
                [(None, DEVICE_SESSIONS_MAX), (Some(client), CLIENT_DEVICE_SESSIONS_MAX)]
            {
                let scope = NetworkScope { operator, client };
                check_max(self.networks.overlapping(scope, net).take(max).count(), max)?;
            }
        }
        Ok(())
    }

    pub(super) fn find_conflicts(
        &self,
        operator: OperatorNumber,
        claim: &Claim,
        rules: &ConflictRules,
        now: Moment,
    ) -> ConflictFindings {
        let mut found = ConflictFindings::default();
        if rules.mode == ConflictMode::UpstreamOnly {
            return found;
        }
        let scope = NetworkScope { operator, client: None };
        let mut check = |slot| self.check_conflict(slot, claim, rules.mode, now, &mut found);
        for key in IndexKey::exact(operator, &claim.keys) {
            self.keys.slots(&key).for_each(&mut check);
        }
        for net in claim.keys.networks() {
            self.networks.overlapping(scope, net).for_each(&mut check);
        }
        if found.conflict.is_none() && found.ambiguous.is_none() {
            self.find_ambiguous(operator, claim, rules, now, &mut found);
        }
        found
    }

    // Examines the devices that cannot be distinguished from this one: those behind the same public
    // address without a common kind of permanent identifier, and those without a common kind of key.
    fn find_ambiguous(
        &self,
        operator: OperatorNumber,
        claim: &Claim,
        rules: &ConflictRules,
        now: Moment,
        found: &mut ConflictFindings,
    ) {
        let examined_max = match rules.unknown {
            OnUnknown::Forward => AMBIGUOUS_EXAMINED_FORWARD_MAX,
            OnUnknown::Refuse => AMBIGUOUS_EXAMINED_REFUSE_MAX,
        };
        let same_public = self.incomparable_at_address(operator, &claim.keys);
        let incomparable = self.groups.incomparable(operator, claim.keys.kind_bits());
        for (examined, slot) in same_public.chain(incomparable).enumerate() {
            if examined >= examined_max && rules.unknown == OnUnknown::Refuse {
                // Too many to examine, so a conflict cannot be excluded.
                found.ambiguous = self.describe_holder(slot, claim);
            }
            if examined >= examined_max || found.ambiguous.is_some() {
                return;
            }
            self.check_conflict(slot, claim, rules.mode, now, found);
        }
    }

    // The sessions with the same public address and without a common kind of permanent identifier.
    fn incomparable_at_address(
        &self,
        operator: OperatorNumber,
        keys: &DeviceKeys,
    ) -> impl Iterator<Item = Slot> {
        let (address, own) = (keys.public_address(), keys.permanent_kind_bits());
        let others = address.iter().flat_map(|_| self.groups.kinds(operator));
        let incomparable = others.filter(|kinds| kinds & PUBLIC_KIND != 0 && kinds & own == 0);
        let kinds: BTreeSet<_> = incomparable.map(|kinds| kinds & PERMANENT_KINDS).collect();
        let key = move |kinds| Some(IndexKey::public_of_kinds(operator, address?, kinds));
        kinds.into_iter().filter_map(key).flat_map(|key| self.keys.slots(&key))
    }

    fn check_conflict(
        &self,
        slot: Slot,
        claim: &Claim,
        mode: ConflictMode,
        now: Moment,
        found: &mut ConflictFindings,
    ) {
        let Some(entry) = self.entries.get(slot) else { return };
        if entry.summary.holds_until.is_none_or(|until| until <= now) {
            return;
        }
        let finding = match decide(mode, (&entry.keys, &entry.flow), (&claim.keys, &claim.flow)) {
            ConflictDecision::NoConflict => return,
            ConflictDecision::Conflict => &mut found.conflict,
            ConflictDecision::Unknown => &mut found.ambiguous,
        };
        // A session that the requester may see takes precedence.
        if !finding.is_some_and(|(_, own)| own) {
            *finding = self.describe_holder(slot, claim).or(*finding);
        }
    }

    // The id of a session, and whether the requester may see it.
    fn describe_holder(&self, slot: Slot, claim: &Claim) -> Option<(SessionId, bool)> {
        let entry = self.entries.get(slot)?;
        let subject = claim.keys.subject();
        let own =
            entry.client == claim.client && (subject.is_none() || subject == entry.keys.subject());
        Some((entry.summary.id, own))
    }
}

fn check_max(count: usize, max: usize) -> Result<(), Error> {
    if count < max {
        return Ok(());
    }
    Err(Error::DeviceSessionsExceeded { max: u32::try_from(max).unwrap_or(u32::MAX) })
}
