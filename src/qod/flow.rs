//! Which traffic: the packets between a device and an application server.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{PortSet, PortsSpec, Written};

/// A backend of the client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ApplicationServer {
    /// One address or network of each family; at least one of the two.
    Subnets {
        /// `ipv4Address`, host bits as given.
        ipv4: Option<Written<Ipv4Net>>,
        /// `ipv6Address`, host bits as given.
        ipv6: Option<Written<Ipv6Net>>,
    },
    /// From 1.2 on: a list of up to 16 single addresses.
    Addresses(Vec<Written<IpAddr>>),
}

/// The packets of a session, apart from its device: what two sessions of one device may share no
/// part of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The servers' networks, host bits cleared.
    pub servers: Box<[IpNet]>,
    /// The servers' ports.
    pub server_ports: PortSet,
    /// The device's ports.
    pub device_ports: PortSet,
}

impl ApplicationServer {
    /// The networks that it stands for, host bits cleared.
    pub fn nets(&self) -> Vec<IpNet> {
        match self {
            Self::Subnets { ipv4, ipv6 } => {
                let v4 = ipv4.iter().map(|net| IpNet::V4(net.value.trunc()));
                let v6 = ipv6.iter().map(|net| IpNet::V6(net.value.trunc()));
                v4.chain(v6).collect()
            }
            Self::Addresses(list) => list.iter().map(|address| address.value.into()).collect(),
        }
    }
}

impl Flow {
    /// The flow between a device and these servers.
    pub fn new(
        server: &ApplicationServer,
        server_ports: Option<&PortsSpec>,
        device_ports: Option<&PortsSpec>,
    ) -> Self {
        Self {
            servers: server.nets().into_boxed_slice(),
            server_ports: PortSet::of(server_ports),
            device_ports: PortSet::of(device_ports),
        }
    }

    /// Could one packet belong to both? Servers, server ports and device ports must all meet.
    pub fn meets(&self, other: &Self) -> bool {
        let servers =
            self.servers.iter().any(|ours| other.servers.iter().any(|theirs| meet(ours, theirs)));
        servers
            && self.server_ports.meets(&other.server_ports)
            && self.device_ports.meets(&other.device_ports)
    }

    /// Does every packet of ours belong to the other flow too?
    pub fn within(&self, other: &Self) -> bool {
        // Two neighbours are a network together.
        let theirs = IpNet::aggregate(&other.servers.to_vec());
        let servers =
            self.servers.iter().all(|ours| theirs.iter().any(|theirs| theirs.contains(ours)));
        servers
            && self.server_ports.within(&other.server_ports)
            && self.device_ports.within(&other.device_ports)
    }
}

fn meet(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}
