use proptest::prelude::*;

use super::*;

impl NetworkSet {
    pub(in crate::ledger::index) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::ledger::index) fn families(&self) -> usize {
        self.0.len()
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    let v4 = (0..64_u32, 26..=32_u8).prop_map(|(last, length)| {
        let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(192, 0, 2, 0)) + last);
        IpNet::V4(Ipv4Net::new(address, length).unwrap().trunc())
    });
    let v6 = (0..64_u16, 58..=64_u8).prop_map(|(fourth, length)| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, fourth, 0, 0, 0, 0);
        IpNet::V6(Ipv6Net::new(address, length).unwrap().trunc())
    });
    prop_oneof![v4, v6]
}

const fn all(operator: OperatorNumber) -> NetworkScope {
    NetworkScope { operator, client: None }
}

fn overlapping(set: &NetworkSet, operator: OperatorNumber, net: IpNet) -> Vec<Slot> {
    let mut found: Vec<Slot> = set.overlapping(all(operator), net).collect();
    found.sort_unstable();
    found
}

proptest! {
    #[test]
    fn overlapping_networks_equal_full_scan(
        nets in proptest::collection::vec((any_net(), 0..2_u32, any::<bool>()), 0..40),
        queried in any_net(),
    ) {
        let mut set = NetworkSet::default();
        for (slot, (net, operator, _)) in (0..).zip(&nets) {
            set.add(all(*operator), *net, slot);
        }
        for (slot, (net, operator, removed)) in (0..).zip(&nets) {
            if *removed {
                set.remove(all(*operator), *net, slot);
            }
        }
        let expected: Vec<Slot> = (0..)
            .zip(&nets)
            .filter(|(_, (net, operator, removed))| {
                !removed && *operator == 1 && (net.contains(&queried) || queried.contains(net))
            })
            .map(|(slot, _)| slot)
            .collect();
        prop_assert_eq!(overlapping(&set, 1, queried), expected);
    }
}

#[test]
fn shortest_prefix_and_highest_address_are_found() {
    let mut set = NetworkSet::default();
    for (slot, text) in (0..).zip(["0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff::/16"]) {
        set.add(all(1), text.parse().unwrap(), slot);
    }
    assert_eq!(overlapping(&set, 1, "255.255.255.255/32".parse().unwrap()), [0, 1]);
    assert_eq!(overlapping(&set, 1, "0.0.0.0/0".parse().unwrap()), [0, 1]);
    assert_eq!(overlapping(&set, 1, "ffff:ffff:ffff:ffff::/64".parse().unwrap()), [2, 3]);
    assert_eq!(overlapping(&set, 2, "::/0".parse().unwrap()), [0; 0]);
}

#[test]
fn networks_of_one_client_are_found_among_many() {
    let mut set = NetworkSet::default();
    let own = NetworkScope { operator: 1, client: Some(7) };
    let nets = ["2001:db8::/48", "2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:1::/64"];
    for (slot, text) in (0..).zip(nets) {
        let net = text.parse().unwrap();
        let client = if slot == 2 { 7 } else { 8 };
        set.add(all(1), net, slot);
        set.add(NetworkScope { client: Some(client), ..own }, net, slot);
    }
    let queried = "2001:db8::/48".parse().unwrap();
    assert_eq!(set.overlapping(own, queried).collect::<Vec<_>>(), [2]);
    assert_eq!(overlapping(&set, 1, queried), [0, 1, 2]);
}
