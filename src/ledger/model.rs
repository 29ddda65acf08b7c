//! The ledger once more, as simply as can be: a list of sessions, looked through from one end to
//! the other, and the rule spelt out packet by packet. The ledger must agree with it.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};

use super::{Party, Rules};
use crate::qod::{CreateSession, Device, DeviceIpv4, PortsSpec, Subject};

mod book;
mod run;

pub(super) use self::run::agrees_with_the_model;

/// What the model says of two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alike {
    Yes,
    No,
    Unknown,
}

/// Who asks for what: all that the rule is about.
pub(super) type Ask<'a> = (&'a Party, &'a CreateSession);

/// Could a packet of the small world (addresses ending in 0 to 3, ports 0 to 7) belong to both?
pub(super) fn share_a_packet(a: &CreateSession, b: &CreateSession) -> bool {
    packets(a).into_iter().zip(packets(b)).any(|(ours, theirs)| ours && theirs)
}

// For each packet that there can be, in some order: does it belong to the flow?
fn packets(of: &CreateSession) -> Vec<bool> {
    let mut all = Vec::new();
    for served in served(of) {
        for server in 0..8 {
            for device in 0..8 {
                all.push(
                    served
                        && named(of.server_ports.as_ref(), server)
                        && named(of.device_ports.as_ref(), device),
                );
            }
        }
    }
    all
}

// Of all servers that there can be: is this one of the flow's?
fn served(of: &CreateSession) -> Vec<bool> {
    let nets = of.server.nets();
    let addresses = (0..4_u8).flat_map(|last| {
        let v6: Ipv6Addr = [0x2001, 0xdb8, 0xf, 0, 0, 0, 0, u16::from(last)].into();
        [IpAddr::from([192, 0, 2, last]), IpAddr::from(v6)]
    });
    addresses.map(|address| nets.iter().any(|net| net.contains(&address))).collect()
}

/// Are the flows the same? Port 8 is named by none that lists its ports.
pub(super) fn equal_flows(a: &CreateSession, b: &CreateSession) -> bool {
    let words = |of: &CreateSession| {
        let ports = |spec: &Option<PortsSpec>| -> Vec<bool> {
            (0..9).map(|port| named(spec.as_ref(), port)).collect()
        };
        (served(of), ports(&of.server_ports), ports(&of.device_ports))
    };
    words(a) == words(b)
}

fn named(spec: Option<&PortsSpec>, port: u16) -> bool {
    spec.is_none_or(|spec| {
        spec.ports.contains(&port)
            || spec.ranges.iter().any(|range| (range.from..=range.to).contains(&port))
    })
}

/// Are they of one device?
pub(super) fn alike(a: Ask<'_>, b: Ask<'_>) -> Alike {
    let (ours, theirs) = (names(a), names(b));
    let addresses = addresses(&device(a), &device(b));
    let comparable: Vec<usize> =
        (0..ours.len()).filter(|&kind| ours[kind].is_some() && theirs[kind].is_some()).collect();
    if comparable.is_empty() {
        return if addresses.contains(&Alike::Yes) {
            Alike::Yes
        } else if addresses.is_empty() || addresses.contains(&Alike::Unknown) {
            Alike::Unknown
        } else {
            Alike::No
        };
    }
    if comparable.iter().any(|&kind| ours[kind] == theirs[kind]) {
        Alike::Yes
    } else if addresses.contains(&Alike::Yes) {
        Alike::Unknown
    } else {
        Alike::No
    }
}

fn device(ask: Ask<'_>) -> Device {
    ask.1.device.clone().unwrap_or_default()
}

fn names((party, asked): Ask<'_>) -> [Option<String>; 4] {
    let device = device((party, asked));
    let subject = |of: &Subject| format!("{} {}", of.issuer, of.subject);
    [
        device.phone.map(|phone| phone.value.to_string()),
        device.nai.map(|nai| nai.key()),
        device.external_id.map(|id| id.key()),
        party.subject.as_ref().map(subject),
    ]
}

fn addresses(a: &Device, b: &Device) -> Vec<Alike> {
    let mut found = Vec::new();
    match (&a.ipv4, &b.ipv4) {
        (Some(DeviceIpv4::Legacy(ours)), Some(DeviceIpv4::Legacy(theirs))) => {
            let hosts: HashSet<u32> = hosts(ours.value).collect();
            found.push(if hosts_meet(&hosts, theirs.value) { Alike::Yes } else { Alike::No });
        }
        (
            Some(DeviceIpv4::Public { public, private, public_port }),
            Some(DeviceIpv4::Public { public: public_2, private: private_2, public_port: port_2 }),
        ) => found.push(if public != public_2 {
            Alike::No
        } else if (private.is_some() && private == private_2)
            || (public_port.is_some() && public_port == port_2)
        {
            Alike::Yes
        } else if private.is_some() && private_2.is_some() {
            Alike::No
        } else {
            Alike::Unknown
        }),
        _ => {}
    }
    if let (Some(ours), Some(theirs)) = (&a.ipv6, &b.ipv6) {
        let bits = u32::from(ours.value.prefix_len().min(theirs.value.prefix_len()).min(64));
        let head = |address: Ipv6Addr| address.to_bits() >> (128 - bits);
        let same = head(ours.value.addr()) == head(theirs.value.addr());
        found.push(if same { Alike::Yes } else { Alike::No });
    }
    found
}

fn hosts(net: ipnet::Ipv4Net) -> std::ops::RangeInclusive<u32> {
    net.network().to_bits()..=net.broadcast().to_bits()
}

fn hosts_meet(ours: &HashSet<u32>, theirs: ipnet::Ipv4Net) -> bool {
    hosts(theirs).any(|host| ours.contains(&host))
}

/// Is the device a network wider than the rules allow?
pub(super) fn too_broad(device: Option<&Device>, rules: &Rules) -> bool {
    let Some(device) = device else { return false };
    let v4 = match &device.ipv4 {
        Some(DeviceIpv4::Legacy(net)) => net.value.prefix_len() < rules.device_prefix_v4_min,
        _ => false,
    };
    let v6 = device
        .ipv6
        .as_ref()
        .is_some_and(|net| net.value.prefix_len() < rules.device_prefix_v6_min.min(64));
    v4 || v6
}
