//! A reference model of the ledger, as simple as possible: a list of sessions that is scanned
//! linearly, and the conflict rule computed packet by packet. Tests compare the ledger with it.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};

use super::{ConflictRules, Requester};
use crate::qod::{CreateRequest, Device, DeviceIpv4, PortsSpec, TokenSubject};

mod reference;
mod run;
mod usage;

pub(in crate::ledger) use self::run::check_against_model;

/// The result of comparing two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum DeviceMatch {
    Same,
    Different,
    Unknown,
}

/// A client and its create request: the input of the conflict rule.
pub(in crate::ledger) type ModelRequest<'a> = (&'a Requester, &'a CreateRequest);

/// Whether a packet of the test domain (addresses ending in 0 to 3, ports 0 to 7) may belong to
/// both flows.
pub(in crate::ledger) fn share_a_packet(a: &CreateRequest, b: &CreateRequest) -> bool {
    packets(a).into_iter().zip(packets(b)).any(|(ours, theirs)| ours && theirs)
}

// For each packet of the test domain: whether it belongs to the flow.
fn packets(request: &CreateRequest) -> Vec<bool> {
    let mut all = Vec::new();
    for is_served in served_addresses(request) {
        for server in 0..8 {
            for device in 0..8 {
                all.push(
                    is_served
                        && includes_port(request.server_ports.as_ref(), server)
                        && includes_port(request.device_ports.as_ref(), device),
                );
            }
        }
    }
    all
}

// For each server of the test domain: whether it belongs to the flow.
fn served_addresses(request: &CreateRequest) -> Vec<bool> {
    let nets = request.server.nets();
    let addresses = (0..4_u8).flat_map(|last| {
        let v6: Ipv6Addr = [0x2001, 0xdb8, 0xf, 0, 0, 0, 0, u16::from(last)].into();
        [IpAddr::from([192, 0, 2, last]), IpAddr::from(v6)]
    });
    addresses.map(|address| nets.iter().any(|net| net.contains(&address))).collect()
}

/// Whether the flows are equal. Port 8 belongs only to flows without a port list.
pub(in crate::ledger) fn equal_flows(a: &CreateRequest, b: &CreateRequest) -> bool {
    let flow = |request: &CreateRequest| {
        let ports = |spec: &Option<PortsSpec>| -> Vec<bool> {
            (0..9).map(|port| includes_port(spec.as_ref(), port)).collect()
        };
        (served_addresses(request), ports(&request.server_ports), ports(&request.device_ports))
    };
    flow(a) == flow(b)
}

fn includes_port(spec: Option<&PortsSpec>, port: u16) -> bool {
    spec.is_none_or(|spec| {
        spec.ports.contains(&port)
            || spec.ranges.iter().any(|range| (range.from..=range.to).contains(&port))
    })
}

/// Compares the devices of two requests.
pub(in crate::ledger) fn match_devices(a: ModelRequest<'_>, b: ModelRequest<'_>) -> DeviceMatch {
    let (ours, theirs) = (names(a), names(b));
    let addresses = addresses(&device(a), &device(b));
    let comparable: Vec<usize> =
        (0..ours.len()).filter(|&kind| ours[kind].is_some() && theirs[kind].is_some()).collect();
    if comparable.is_empty() {
        return if addresses.contains(&DeviceMatch::Same) {
            DeviceMatch::Same
        } else if addresses.is_empty() || addresses.contains(&DeviceMatch::Unknown) {
            DeviceMatch::Unknown
        } else {
            DeviceMatch::Different
        };
    }
    if comparable.iter().any(|&kind| ours[kind] == theirs[kind]) {
        DeviceMatch::Same
    } else if addresses.contains(&DeviceMatch::Same) {
        DeviceMatch::Unknown
    } else {
        DeviceMatch::Different
    }
}

fn device(request: ModelRequest<'_>) -> Device {
    request.1.device.clone().unwrap_or_default()
}

fn names((party, request): ModelRequest<'_>) -> [Option<String>; 4] {
    let device = device((party, request));
    let subject = |of: &TokenSubject| format!("{} {}", of.issuer, of.subject);
    [
        device.phone.map(|phone| phone.value.to_string()),
        device.nai.map(|nai| nai.normalized()),
        device.external_id.map(|id| id.normalized()),
        party.subject.as_ref().map(subject),
    ]
}

fn addresses(a: &Device, b: &Device) -> Vec<DeviceMatch> {
    let mut found = Vec::new();
    match (&a.ipv4, &b.ipv4) {
        (Some(DeviceIpv4::Legacy(ours)), Some(DeviceIpv4::Legacy(theirs))) => {
            let hosts: HashSet<u32> = hosts(ours.value).collect();
            found.push(if hosts_meet(&hosts, theirs.value) {
                DeviceMatch::Same
            } else {
                DeviceMatch::Different
            });
        }
        (
            Some(DeviceIpv4::Public { public, private, public_port }),
            Some(DeviceIpv4::Public { public: public_2, private: private_2, public_port: port_2 }),
        ) => found.push(if public != public_2 {
            DeviceMatch::Different
        } else if (private.is_some() && private == private_2)
            || (public_port.is_some() && public_port == port_2)
        {
            DeviceMatch::Same
        } else if private.is_some() && private_2.is_some() {
            DeviceMatch::Different
        } else {
            DeviceMatch::Unknown
        }),
        _ => {}
    }
    if let (Some(ours), Some(theirs)) = (&a.ipv6, &b.ipv6) {
        let bits = u32::from(ours.value.prefix_len().min(theirs.value.prefix_len()).min(64));
        let head = |address: Ipv6Addr| address.to_bits() >> (128 - bits);
        let same = head(ours.value.addr()) == head(theirs.value.addr());
        found.push(if same { DeviceMatch::Same } else { DeviceMatch::Different });
    }
    found
}

fn hosts(net: ipnet::Ipv4Net) -> std::ops::RangeInclusive<u32> {
    net.network().to_bits()..=net.broadcast().to_bits()
}

fn hosts_meet(ours: &HashSet<u32>, theirs: ipnet::Ipv4Net) -> bool {
    hosts(theirs).any(|host| ours.contains(&host))
}

/// Whether the device is a network wider than the rules allow.
pub(in crate::ledger) fn too_broad(device: Option<&Device>, rules: &ConflictRules) -> bool {
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
