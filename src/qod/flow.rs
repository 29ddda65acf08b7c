//! The flow: the packets between a device and an application server.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{PortSet, PortsSpec, Verbatim};

/// An application server of the client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ApplicationServer {
    /// One address or network of each family; at least one of the two.
    Subnets {
        /// `ipv4Address`, host bits as given.
        ipv4: Option<Verbatim<Ipv4Net>>,
        /// `ipv6Address`, host bits as given.
        ipv6: Option<Verbatim<Ipv6Net>>,
    },
    /// From 1.2 on: up to 16 single addresses.
    Addresses(Vec<Verbatim<IpAddr>>),
}

/// The packets of a session, without its device. Two sessions of one device must not overlap.
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
    /// The networks of the server, host bits cleared.
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
    /// Creates the flow between a device and these servers.
    pub fn new(
        server: &ApplicationServer,
        server_ports: Option<&PortsSpec>,
        device_ports: Option<&PortsSpec>,
    ) -> Self {
        Self {
            servers: server.nets().into_boxed_slice(),
            server_ports: PortSet::from_optional_spec(server_ports),
            device_ports: PortSet::from_optional_spec(device_ports),
        }
    }

    /// Whether a packet may belong to both flows. Servers, server ports and device ports must all
    /// overlap.
    pub fn overlaps(&self, other: &Self) -> bool {
        let servers = self
            .servers
            .iter()
            .any(|ours| other.servers.iter().any(|theirs| nets_overlap(ours, theirs)));
        servers
            && self.server_ports.overlaps(&other.server_ports)
            && self.device_ports.overlaps(&other.device_ports)
    }

    /// Whether every packet of this flow belongs to the other flow.
    #[cfg(test)]
    pub fn is_within(&self, other: &Self) -> bool {
        // Adjacent networks may form a larger one.
        let theirs = IpNet::aggregate(&other.servers.to_vec());
        let servers =
            self.servers.iter().all(|ours| theirs.iter().any(|theirs| theirs.contains(ours)));
        servers
            && self.server_ports.is_subset(&other.server_ports)
            && self.device_ports.is_subset(&other.device_ports)
    }
}

fn nets_overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}
