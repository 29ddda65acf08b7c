//! Finds networks that overlap a given network: wider ones by one lookup for each prefix length in
//! use, narrower ones as one range of a sorted set. Each network is in two sets: that of all clients,
//! and that of its client.

use std::{
    collections::{BTreeSet, HashMap},
    iter,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{ClientTag, OperatorNumber, Slot};

/// The networks of all sessions. IPv6 prefixes longer than /64 are truncated to a /64.
#[derive(Debug, Default)]
pub(super) struct NetworkSet {
    sorted: BTreeSet<NetworkMember>,
    /// The number of networks of each prefix length.
    lengths: HashMap<NetworkFamily, [u32; 65]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NetworkMember {
    family: NetworkFamily,
    /// The first address of the network; for IPv6, its upper 64 bits.
    first: u64,
    length: u8,
    slot: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct NetworkFamily {
    scope: NetworkScope,
    v6: bool,
}

/// The sessions of an operator, of all clients or of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NetworkScope {
    pub(super) operator: OperatorNumber,
    /// `None`: all clients.
    pub(super) client: Option<ClientTag>,
}

impl NetworkSet {
    pub(super) fn add(&mut self, scope: NetworkScope, net: IpNet, slot: Slot) {
        let member = NetworkMember::new(scope, net, slot);
        if self.sorted.insert(member) {
            self.adjust_count(member, |count| count.saturating_add(1));
        }
    }

    pub(super) fn remove(&mut self, scope: NetworkScope, net: IpNet, slot: Slot) {
        let member = NetworkMember::new(scope, net, slot);
        if self.sorted.remove(&member) {
            self.adjust_count(member, |count| count.saturating_sub(1));
        }
    }

    /// All networks that contain the network or are contained in it.
    pub(super) fn overlapping(
        &self,
        scope: NetworkScope,
        net: IpNet,
    ) -> impl Iterator<Item = Slot> {
        let narrowest = NetworkMember::new(scope, net, 0);
        let lengths = self.lengths.get(&narrowest.family).into_iter().flatten();
        let wider = (0..narrowest.length).zip(lengths).filter(|(_, count)| **count > 0);
        let wider = wider.flat_map(move |(length, _)| {
            let from = NetworkMember::new(scope, widened(net, length), 0);
            self.sorted.range(from..=NetworkMember { slot: Slot::MAX, ..from })
        });
        let to = NetworkMember {
            first: last_address(net),
            length: u8::MAX,
            slot: Slot::MAX,
            ..narrowest
        };
        let contained = iter::once(()).flat_map(move |()| self.sorted.range(narrowest..=to));
        wider.chain(contained).map(|member| member.slot)
    }

    fn adjust_count(&mut self, member: NetworkMember, change: impl Fn(u32) -> u32) {
        let lengths = self.lengths.entry(member.family).or_insert([0; 65]);
        if let Some(count) = lengths.get_mut(usize::from(member.length)) {
            *count = change(*count);
        }
    }
}

impl NetworkMember {
    fn new(scope: NetworkScope, net: IpNet, slot: Slot) -> Self {
        let family = NetworkFamily { scope, v6: matches!(net, IpNet::V6(_)) };
        let (first, length) = match net {
            IpNet::V4(net) => (v4(net.network()), net.prefix_len()),
            IpNet::V6(net) => (v6(net.network()), net.prefix_len().min(64)),
        };
        Self { family, first, length, slot }
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
