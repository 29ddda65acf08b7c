//! Finds networks that overlap a given network: wider ones by one lookup for each prefix length in
//! use, narrower ones as one range of a sorted set.

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{OperatorNumber, Slot};

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
    operator: OperatorNumber,
    v6: bool,
}

impl NetworkSet {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty() && self.lengths.values().flatten().all(|count| *count == 0)
    }

    pub(super) fn add(&mut self, operator: OperatorNumber, net: IpNet, slot: Slot) {
        let member = NetworkMember::new(operator, net, slot);
        if self.sorted.insert(member) {
            self.adjust_count(member, |count| count.saturating_add(1));
        }
    }

    pub(super) fn remove(&mut self, operator: OperatorNumber, net: IpNet, slot: Slot) {
        let member = NetworkMember::new(operator, net, slot);
        if self.sorted.remove(&member) {
            self.adjust_count(member, |count| count.saturating_sub(1));
        }
    }

    /// Calls `visit` for all networks that contain the network or are contained in it.
    pub(super) fn for_each_overlapping(
        &self,
        operator: OperatorNumber,
        net: IpNet,
        mut visit: impl FnMut(Slot),
    ) {
        let narrowest = NetworkMember::new(operator, net, 0);
        let Some(lengths) = self.lengths.get(&narrowest.family) else { return };
        let wider = (0..narrowest.length).zip(lengths).filter(|(_, count)| **count > 0);
        for (length, _) in wider {
            let from = NetworkMember::new(operator, widened(net, length), 0);
            let to = NetworkMember { slot: Slot::MAX, ..from };
            self.sorted.range(from..=to).for_each(|member| visit(member.slot));
        }
        let to = NetworkMember {
            first: last_address(net),
            length: u8::MAX,
            slot: Slot::MAX,
            ..narrowest
        };
        self.sorted.range(narrowest..=to).for_each(|member| visit(member.slot));
    }

    fn adjust_count(&mut self, member: NetworkMember, change: impl Fn(u32) -> u32) {
        let lengths = self.lengths.entry(member.family).or_insert([0; 65]);
        if let Some(count) = lengths.get_mut(usize::from(member.length)) {
            *count = change(*count);
        }
    }
}

impl NetworkMember {
    fn new(operator: OperatorNumber, net: IpNet, slot: Slot) -> Self {
        let family = NetworkFamily { operator, v6: matches!(net, IpNet::V6(_)) };
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
