use proptest::prelude::*;

use super::*;

fn strict() -> Guard {
    Guard::new(Vec::new())
}

#[track_caller]
fn all(permitted: bool, addresses: &[&str]) {
    for address in addresses {
        assert_eq!(strict().permits(address.parse().unwrap()), permitted, "{address}");
    }
}

#[test]
fn public_addresses_are_permitted() {
    all(
        true,
        &["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"],
    );
    all(
        true,
        &["126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255"],
    );
    all(true, &["172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"]);
    all(true, &["198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17"]);
    all(true, &["2a00:1450:4001::200e", "2606:4700:4700::1111", "2001:4860:4860::8888"]);
}

#[test]
fn host_that_is_a_literal_address_is_judged_and_a_name_is_permitted() {
    let guard = Guard::new(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    for host in [
        "app.example",
        "localhost",
        "a1.example",
        "1.example",
        "0x.example",
        "1.1.1.1",
        "1.1.1.1.",
        "10.1.2.3",
        "[2606:4700:4700::1111]",
        "[fd00::1]",
    ] {
        assert!(guard.permits_host(host), "{host}");
    }
    for host in [
        "10.0.0.1",
        "10.0.0.1.",
        "127.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[fe80::1%25eth0]",
        "[]",
        // Other notations of addresses, which resolvers accept.
        "127.1",
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0177.0.0.1",
        "127.0.0.0x1",
        "1.1.1.256",
        "010.1.2.3",
    ] {
        assert!(!guard.permits_host(host), "{host}");
    }
}

#[test]
fn network_is_public_only_if_all_its_addresses_are() {
    let public = |net: &str| Guard::is_public(&net.parse().unwrap());
    for net in ["9.0.0.0/8", "8.0.0.0/7", "1.1.1.1/32", "2600::/16", "2a00::/11"] {
        assert!(public(net), "{net}");
    }
    for net in
        ["8.0.0.0/5", "0.0.0.0/0", "10.1.0.0/16", "2000::/3", "2001::/16", "::/0", "2002::/48"]
    {
        assert!(!public(net), "{net}");
    }
}

#[test]
fn non_public_ipv4_addresses_are_forbidden() {
    all(
        false,
        &["0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200"],
    );
    all(
        false,
        &["127.0.0.1", "127.255.255.255", "169.254.169.254", "169.254.170.2", "168.63.129.16"],
    );
    all(false, &["172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1"]);
    all(false, &["192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.7"]);
    all(false, &["203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]);
}

#[test]
fn non_public_ipv6_addresses_are_forbidden() {
    all(false, &["::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1", "fec0::1"]);
    all(false, &["ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "3fff:fff::1", "100::1"]);
    all(false, &["100:0:0:1::1", "64:ff9b:1::1", "2001:2::1", "2001:10::1", "2001:20::1"]);
    all(false, &["4000::1", "5f00::1", "1fff::1", "8000::1", "e000::1"]);
}

#[test]
fn embedded_ipv4_addresses_are_checked() {
    // Mapped, compatible, NAT64, 6to4, Teredo (server, and inverted client).
    all(true, &["::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]);
    all(true, &["2001:0:808:808:0:0:f7f7:f7f7"]);
    all(false, &["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1"]);
    all(false, &["64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:1::1"]);
    all(false, &["2002:a9fe:a9fe::", "2002:c0a8:1::1"]);
    all(false, &["2001:0:808:808:0:0:80ff:fffe", "2001:0:7f00:1:0:0:f7f7:f7f7"]);
}

#[test]
fn allowed_networks_are_permitted_in_every_notation() {
    let nets = ["127.0.0.0/8", "fd00::/16"].map(|net| net.parse().unwrap());
    let guard = Guard::new(nets.to_vec());
    for address in ["127.0.0.1", "::ffff:127.1.2.3", "64:ff9b::127.0.0.1", "fd00::1", "1.1.1.1"] {
        assert!(guard.permits(address.parse().unwrap()), "{address}");
    }
    for address in ["10.0.0.1", "::1", "fd01::1", "169.254.169.254", "::ffff:10.0.0.1"] {
        assert!(!guard.permits(address.parse().unwrap()), "{address}");
    }
}

// The standard library's classification of non-public addresses, and the rest bit by bit.
fn is_not_public(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_unspecified()
        || a == 0
        || a >= 240
        || (a == 100 && b & 0xc0 == 64)
        || (a == 198 && b & 0xfe == 18)
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
}

// Public and non-public addresses about equally often.
fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let near = (0..NOT_PUBLIC_V4.len(), any::<u32>()).prop_map(|(index, host)| {
        let net = NOT_PUBLIC_V4[index];
        Ipv4Addr::from_bits(net.network().to_bits() | (host & net.hostmask().to_bits()))
    });
    prop_oneof![near, any::<u32>().prop_map(Ipv4Addr::from_bits)]
}

proptest! {
    #[test]
    fn non_public_addresses_are_never_permitted(address in any_v4(), tail in any::<u64>()) {
        let inside = u128::from(address.to_bits());
        let tail = u128::from(tail);
        let carriers = [
            0xffff_0000_0000 | inside,
            inside,
            (0x0064_ff9b << 96) | inside,
            (0x2002 << 112) | (inside << 80) | tail,
            (0x2001 << 112) | (inside << 64) | (tail & 0xffff_ffff),
            (0x2001 << 112) | (0x0808_0808 << 64) | (!inside & 0xffff_ffff),
        ];
        if is_not_public(address) {
            prop_assert!(!strict().permits(address.into()));
            for bits in carriers {
                let carrier = Ipv6Addr::from_bits(bits);
                prop_assert!(!strict().permits(carrier.into()), "{}", carrier);
            }
        }
    }

    // Random addresses practically never embed an IPv4 address.
    #[test]
    fn every_address_of_a_public_network_is_permitted(
        v4 in any_v4(), v6 in any::<u128>(), length in 0..=32_u8, host in any::<u128>(),
    ) {
        let v6 = Ipv6Addr::from_bits(v6 >> 3 | 1 << 125);
        let nets = [IpNet::new(v4.into(), length), IpNet::new(v6.into(), length)];
        for net in nets.map(Result::unwrap).into_iter().filter(Guard::is_public) {
            let address = match net.trunc() {
                IpNet::V4(net) => {
                    let host = Ipv4Addr::from_bits(u32::try_from(host >> 96).unwrap());
                    IpAddr::V4(net.addr() | (host & net.hostmask()))
                }
                IpNet::V6(net) => {
                    IpAddr::V6(net.addr() | (Ipv6Addr::from_bits(host) & net.hostmask()))
                }
            };
            prop_assert!(strict().permits(address), "{address} of {net}");
        }
    }

    #[test]
    fn ipv6_addresses_outside_global_unicast_are_forbidden(bits in any::<u128>()) {
        prop_assume!(bits >> 125 != 1);
        prop_assert!(!strict().permits(Ipv6Addr::from_bits(bits).into()));
    }
}
