//! The keys by which sessions are found and locked: keyed hashes of identifiers, addresses and networks.
//!
//! Two sessions that the conflict rule must compare have a key in common. Networks are found by a few prefix
//! lengths: 24 and 32 for IPv4; 48, 56 and 64 for IPv6. A network has the key of its block, which is the longest
//! of them that contains it, and a key "within" each wider block. The store does not accept networks wider than a
//! /24 or /48.
//!
//! | device | keys of the hold | keys of its lookup | locks |
//! |---|---|---|---|
//! | permanent identifier | itself | itself | itself |
//! | public address with port, or with private address | the pair | the pair | the pair |
//! | public address | itself, with the kinds of permanent identifiers | ambiguous: itself, with other kinds | with `unknown: refuse`, the operator |
//! | network | its block, "within" each wider block | its block, "within" it, each wider block | its block; each wider block, shared |

use ipnet::IpNet;
use uuid::Uuid;

use crate::{
    ledger::{
        Claim, ConflictRules, OnUnknown,
        claim::{DeviceKeys, KeyHasher, PERMANENT_KINDS, PublicAddress},
        idempotency::IdempotencyKeyHash,
    },
    qod::{ClientId, OperatorId, SessionId},
};

// The prefix lengths of blocks, the widest first. The last is the longest of a device.
const V4_BLOCKS: [u8; 2] = [24, 32];
const V6_BLOCKS: [u8; 3] = [48, 56, 64];

// The kinds of hashes; those of `KeyHasher` are letters too.
const CLIENT: u8 = b'C';
const OPERATOR: u8 = b'O';
const OPERATOR_SESSION: u8 = b'S';
const PERMANENT: u8 = b'P';
const PORT: u8 = b'T';
const PRIVATE: u8 = b'V';
const PUBLIC: u8 = b'A';
const NETWORK: u8 = b'N';
const WITHIN: u8 = b'W';
const KINDS: u8 = b'G';
const REPLY: u8 = b'R';
const SESSION: u8 = b'I';

/// Computes the keys of rows.
#[derive(Debug)]
pub(super) struct RowHasher(KeyHasher);

/// The keys of a new session.
#[derive(Debug, Default)]
pub(super) struct ClaimKeys {
    /// The keys of its hold.
    pub(super) hold: Vec<i64>,
    /// The keys of sessions that it must be compared with.
    pub(super) find: Vec<i64>,
    /// The key of the public address. The lowest four bits are those of the kinds of permanent identifiers.
    pub(super) public: Option<i64>,
    /// The kinds of identifiers of the device.
    pub(super) kinds: i16,
    /// The key of all sessions whose devices have these kinds of identifiers.
    pub(super) kinds_key: i64,
    /// The locks, in the order in which they are acquired.
    pub(super) locks: Vec<RowLock>,
}

/// An advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowLock {
    pub(super) key: i64,
    pub(super) shared: bool,
}

impl RowHasher {
    pub(super) const fn new(hasher: KeyHasher) -> Self {
        Self(hasher)
    }

    pub(super) fn client(&self, client: &ClientId) -> i64 {
        self.key(CLIENT, &[client.0.as_bytes()])
    }

    pub(super) fn operator(&self, operator: &OperatorId) -> i64 {
        self.key(OPERATOR, &[operator.0.as_bytes()])
    }

    pub(super) fn operator_session(&self, operator: &OperatorId, operator_session: &str) -> Uuid {
        let parts: [&[u8]; 2] = [operator.0.as_bytes(), operator_session.as_bytes()];
        Uuid::from_bytes(self.0.row_hash(OPERATOR_SESSION, &parts))
    }

    /// The keys of a new session.
    pub(super) fn claim_keys(
        &self,
        id: SessionId,
        claim: &Claim,
        rules: &ConflictRules,
        reply: Option<IdempotencyKeyHash>,
    ) -> ClaimKeys {
        let operator: &[u8] = claim.operator.0.as_bytes();
        let kinds = claim.keys.kind_bits();
        let kinds_key = self.key(KINDS, &[operator, &[kinds]]);
        let mut keys = ClaimKeys { kinds: i16::from(kinds), kinds_key, ..ClaimKeys::default() };
        for key in self.exact(&claim.keys) {
            keys.hold.push(key);
            keys.find.push(key);
            keys.locks.push(RowLock { key, shared: false });
        }
        for net in claim.keys.networks() {
            self.add_network(net, &mut keys);
        }
        if let Some(PublicAddress { public, .. }) = claim.keys.public_address() {
            let key = self.key(PUBLIC, &[operator, &public.octets()]);
            let key = key & !i64::from(PERMANENT_KINDS);
            keys.hold.push(key | i64::from(claim.keys.permanent_kind_bits()));
            keys.public = Some(key);
        }
        keys.hold.push(kinds_key);
        if rules.unknown == OnUnknown::Refuse {
            keys.locks.push(RowLock { key: self.operator(&claim.operator), shared: false });
        }
        // A repetition of the same statement waits until the first one has ended.
        keys.locks.push(RowLock { key: self.key(SESSION, &[id.0.as_bytes()]), shared: false });
        if let Some(IdempotencyKeyHash(reply)) = reply {
            let key = self.key(REPLY, &[&reply]);
            keys.locks.push(RowLock { key, shared: false });
        }
        keys.hold.sort_unstable();
        keys.hold.dedup();
        // Exclusive locks come before shared ones of the same key.
        keys.locks.sort_unstable();
        keys.locks.dedup_by_key(|lock| lock.key);
        keys
    }

    /// The keys by which the sessions of a device are found, at all operators.
    pub(super) fn device_lookup(&self, device: &DeviceKeys) -> Vec<i64> {
        let mut keys = ClaimKeys::default();
        keys.find.extend(self.exact(device));
        for net in device.networks() {
            self.add_network(net, &mut keys);
        }
        keys.find
    }

    fn exact(&self, keys: &DeviceKeys) -> impl Iterator<Item = i64> {
        let permanent =
            keys.permanent.iter().map(|key| self.key(PERMANENT, &[&[key.kind as u8], key.hash()]));
        let public = keys.public_address();
        let port = public.and_then(|address| {
            let port = address.port?.to_be_bytes();
            Some(self.key(PORT, &[&address.public.octets(), &port]))
        });
        let private = public.and_then(|address| {
            let private = address.private?.octets();
            Some(self.key(PRIVATE, &[&address.public.octets(), &private]))
        });
        permanent.chain(port).chain(private)
    }

    fn add_network(&self, net: IpNet, keys: &mut ClaimKeys) {
        let mut blocks = blocks_of(net);
        let Some(own) = blocks.pop() else { return };
        let key = self.network(NETWORK, own);
        keys.hold.push(key);
        keys.find.push(key);
        keys.locks.push(RowLock { key, shared: false });
        if block_lengths(net).last() != Some(&own.prefix_len()) {
            keys.find.push(self.network(WITHIN, own));
        }
        for block in blocks {
            let key = self.network(NETWORK, block);
            keys.hold.push(self.network(WITHIN, block));
            keys.find.push(key);
            keys.locks.push(RowLock { key, shared: true });
        }
    }

    fn network(&self, kind: u8, net: IpNet) -> i64 {
        match net {
            IpNet::V4(net) => self.key(kind, &[&[net.prefix_len()], &net.network().octets()]),
            IpNet::V6(net) => self.key(kind, &[&[net.prefix_len()], &net.network().octets()]),
        }
    }

    fn key(&self, kind: u8, parts: &[&[u8]]) -> i64 {
        i64::from_be_bytes(self.0.row_hash(kind, parts))
    }
}

/// Whether a device is given as a network that is wider than all blocks.
pub(super) fn is_wider_than_block(keys: &DeviceKeys) -> bool {
    keys.networks().any(|net| blocks_of(net).is_empty())
}

// The prefix lengths of the blocks of this address family.
fn block_lengths(net: IpNet) -> &'static [u8] {
    if net.addr().is_ipv4() { &V4_BLOCKS } else { &V6_BLOCKS }
}

// The blocks that contain a network, the widest first.
fn blocks_of(net: IpNet) -> Vec<IpNet> {
    let containing = block_lengths(net).iter().filter(|length| **length <= net.prefix_len());
    let blocks = containing.filter_map(|length| IpNet::new(net.addr(), *length).ok());
    blocks.map(|block| block.trunc()).collect()
}

#[cfg(test)]
mod tests;
