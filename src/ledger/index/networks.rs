//! Finds networks that overlap a given network: wider ones by one lookup for each prefix length in
//! use, narrower ones as one range of a sorted set. Each network is in two sets: that of all clients,
//! and that of its client.

use std::{
    collections::{BTreeSet, HashMap},
    iter,
    net::{Ipv4Addr, Ipv6Addr},
};

use foldhash::quality::RandomState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{ClientNumber, OperatorNumber, Slot};

/// The networks of all sessions. IPv6 prefixes longer than /64 are truncated to a /64.
#[derive(Debug, Default)]
pub(super) struct NetworkSet(HashMap<NetworkFamily, FamilyNetworks, RandomState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct NetworkFamily {
    scope: NetworkScope,
    v6: bool,
}

/// The sessions of an operator, of all clients or of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NetworkScope {
    pub(super) operator: OperatorNumber,
    /// `None`: all clients.
    pub(super) client: Option<ClientNumber>,
}

#[derive(Debug)]
struct FamilyNetworks {
    sorted: BTreeSet<NetworkMember>,
    /// The number of networks of each prefix length.
    lengths: [u32; 65],
}

// Packed: 16 bytes instead of 24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(Rust, packed(4))]
struct NetworkMember {
    /// The first address of the network; for IPv6, its upper 64 bits.
    first: u64,
    length: u8,
    slot: Slot,
}

impl NetworkSet {
    pub(super) fn add(&mut self, scope: NetworkScope, net: IpNet, slot: Slot) {
        let (family, member) = (NetworkFamily::new(scope, net), NetworkMember::new(net, slot));
        let networks = self
            .0
            .entry(family)
            .or_insert_with(|| FamilyNetworks { sorted: BTreeSet::new(), lengths: [0; 65] });
        if networks.sorted.insert(member) {
            networks.adjust_count(member.length, |count| count.saturating_add(1));
        }
    }

    pub(super) fn remove(&mut self, scope: NetworkScope, net: IpNet, slot: Slot) {
        let (family, member) = (NetworkFamily::new(scope, net), NetworkMember::new(net, slot));
        let Some(networks) = self.0.get_mut(&family) else { return };
        if networks.sorted.remove(&member) {
            networks.adjust_count(member.length, |count| count.saturating_sub(1));
        }
        if networks.sorted.is_empty() {
            self.0.remove(&family);
        }
    }

    /// All networks that contain the network or are contained in it.
    pub(super) fn overlapping(
        &self,
        scope: NetworkScope,
        net: IpNet,
    ) -> impl Iterator<Item = Slot> {
        let networks = self.0.get(&NetworkFamily::new(scope, net)).into_iter();
        networks.flat_map(move |networks| networks.overlapping(net))
    }
}

impl FamilyNetworks {
    fn overlapping(&self, net: IpNet) -> impl Iterator<Item = Slot> {
        let narrowest = NetworkMember::new(net, 0);
        let wider = (0..narrowest.length).zip(&self.lengths).filter(|(_, count)| **count > 0);
        let wider = wider.flat_map(move |(length, _)| {
            let from = NetworkMember::new(widened(net, length), 0);
            self.sorted.range(from..=NetworkMember { slot: Slot::MAX, ..from })
        });
        let to = NetworkMember { first: last_address(net), length: u8::MAX, slot: Slot::MAX };
        let contained = iter::once(()).flat_map(move |()| self.sorted.range(narrowest..=to));
        wider.chain(contained).map(|member| member.slot)
    }

    fn adjust_count(&mut self, length: u8, change: impl Fn(u32) -> u32) {
        if let Some(count) = self.lengths.get_mut(usize::from(length)) {
            *count = change(*count);
        }
    }
}

impl NetworkFamily {
    const fn new(scope: NetworkScope, net: IpNet) -> Self {
        Self { scope, v6: matches!(net, IpNet::V6(_)) }
    }
}

impl NetworkMember {
    fn new(net: IpNet, slot: Slot) -> Self {
        let (first, length) = match net {
            IpNet::V4(net) => (v4(net.network()), net.prefix_len()),
            IpNet::V6(net) => (v6(net.network()), net.prefix_len().min(64)),
        };
        Self { first, length, slot }
    }
}

fn widened(net: IpNet, length: u8) -> IpNet {
    match net {
        IpNet::V4(net) => Ipv4Net::new(net.addr(), length).unwrap_or(net).into(),
        IpNet::V6(net) => Ipv6Net::new(net.addr(), length).unwrap_or(net).into(),
    }
}

fn last_address(net: IpNet) -> u64 {
    match net {
        IpNet::V4(net) => v4(net.broadcast()),
        IpNet::V6(net) => v6(net.broadcast()),
    }
}

fn v4(address: Ipv4Addr) -> u64 {
    u64::from(address.to_bits())
}

fn v6(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments().map(u64::from);
    a << 48 | b << 32 | c << 16 | d
}

#[cfg(test)]
mod tests;
