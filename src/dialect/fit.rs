//! A client's wish in an operator's words: refused rather than widened.
//!
//! Nothing broader goes out than was asked: no other server, no other port, no other device, no
//! longer time. Of several identifiers of one device those are sent that the operator can take.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    address::{plain_ipv4, plain_ipv6},
    descriptor::{DAY_S, Ipv4Form, Rule, Servers},
};
use crate::qod::{
    ApplicationServer, CreateSession, Device, DeviceIpv4, IdentifierKind, Nai, PortRange, PortSet,
    PortsSpec, Written,
};

/// What is known of an operator beyond its dialect.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the policies")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitting {
    /// The kinds of identifier that it takes, as its dialect calls them; if empty, all.
    pub identifiers: Vec<IdentifierKind>,
    /// Are its external ids and its network access identifiers the same?
    pub external_id_as_nai: bool,
    /// What an IPv4 address stands for that is given without a second member.
    pub legacy_ipv4: LegacyIpv4,
    /// May a device's private IPv4 address stand for it alone, where its public one differs?
    pub private_ipv4_as_legacy: bool,
    /// Does it take a network of devices, where its dialect has words for one?
    pub device_masks: bool,
    /// May the first address of a /64 stand for the device that the /64 is given to?
    pub ipv6_prefix_as_address: bool,
    /// Our names for its profiles, and its own. If empty, it has the four of CAMARA 0.8, but
    /// for one that speaks 0.1.
    pub qos_profiles: BTreeMap<String, String>,
    /// The longest session that it grants, in seconds.
    pub duration_s_max: u32,
    /// Is a session that is too long made shorter, or refused?
    pub duration_cap: bool,
}

/// What an IPv4 address of a device stands for that is given alone (before 0.9), and where from
/// 0.9 on there have to be two members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyIpv4 {
    /// Nobody knows: it is refused.
    #[default]
    Refuse,
    /// No NAT is in use: it is the device's public and private address at once.
    PublicIsPrivate,
    /// It is the public address, and the one port of the device is its public port.
    PublicWithDevicePort,
}

/// Why an operator cannot be asked for what a client wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The wish names no device, and the operator's dialect asks for one.
    #[error("the operator asks for a device")]
    DeviceMissing,
    /// It takes none of the device's identifiers.
    #[error("the operator takes none of the device's identifiers ({})", names(.given))]
    Identifiers {
        /// What was given.
        given: Vec<IdentifierKind>,
    },
    /// Its dialect has no words for how the device's IPv4 address is given.
    #[error("the device's IPv4 address cannot be told to the operator in the form given")]
    Ipv4NotExpressible,
    /// The identifier is a network of devices.
    #[error("the operator takes single devices only, and `{}` has a mask", .kind.name())]
    Mask {
        /// Which one is.
        kind: IdentifierKind,
    },
    /// It takes one network of servers of each family, and the list given is not one.
    #[error("the operator takes one network of servers only")]
    Servers,
    /// A list of ports names none: it would be read as all.
    #[error("a list of ports names none")]
    Ports,
    /// A list of ports names one that the operator's dialect does not have.
    #[error("the operator takes ports from {min} on")]
    PortTooLow {
        /// The lowest that it has.
        min: u16,
    },
    /// It takes one port only, and more are named.
    #[error("the operator takes one port only, and no ranges")]
    ManyPorts,
    /// It has no such profile.
    #[error("the operator has no profile of this name")]
    Profile,
    /// It grants no session of this length.
    #[error("the operator grants sessions of at most {max_s} seconds")]
    Duration {
        /// The longest that it grants, in seconds.
        max_s: u32,
    },
}

impl Default for Fitting {
    fn default() -> Self {
        Self {
            identifiers: Vec::new(),
            external_id_as_nai: false,
            legacy_ipv4: LegacyIpv4::default(),
            private_ipv4_as_legacy: false,
            device_masks: false,
            ipv6_prefix_as_address: false,
            qos_profiles: BTreeMap::new(),
            duration_s_max: DAY_S,
            duration_cap: false,
        }
    }
}

/// What to ask of an operator whose dialect has this rule.
pub(super) fn fit(
    rule: &Rule,
    wanted: &CreateSession,
    fitting: &Fitting,
) -> Result<CreateSession, Unfit> {
    let qos_profile = fitting.profile(rule, &wanted.qos_profile).ok_or(Unfit::Profile)?.to_owned();
    let max_s = fitting.duration_s_max.min(rule.duration.s_max);
    if wanted.duration_s > max_s && !fitting.duration_cap {
        return Err(Unfit::Duration { max_s });
    }
    let device = wanted.device.as_ref().ok_or(Unfit::DeviceMissing)?;
    let (device, device_ports) = fit_device(rule, device, wanted.device_ports.as_ref(), fitting)?;
    let fit_ports = |ports: &PortsSpec| fit_ports(rule, ports);
    Ok(CreateSession {
        device: Some(device),
        server: fit_server(rule, &wanted.server)?,
        device_ports: device_ports.as_ref().map(fit_ports).transpose()?,
        server_ports: wanted.server_ports.as_ref().map(fit_ports).transpose()?,
        qos_profile,
        duration_s: wanted.duration_s.min(max_s),
        sink: None,
    })
}

impl Fitting {
    fn profile<'a>(&'a self, rule: &Rule, ours: &'a str) -> Option<&'a str> {
        if self.qos_profiles.is_empty() {
            return rule.profiles.contains(&ours).then_some(ours);
        }
        self.qos_profiles.get(ours).map(String::as_str)
    }

    fn takes(&self, kind: IdentifierKind) -> bool {
        self.identifiers.is_empty() || self.identifiers.contains(&kind)
    }
}

/// The device, and its ports: one of them may stand for a part of its address.
pub(super) fn fit_device(
    rule: &Rule,
    device: &Device,
    ports: Option<&PortsSpec>,
    fitting: &Fitting,
) -> Result<(Device, Option<PortsSpec>), Unfit> {
    let given: Vec<_> = device.kinds().collect();
    let takes = |kind| rule.device.knows(kind) && fitting.takes(kind);
    let fitted = Device {
        phone: device.phone.map(|phone| Written::plain(phone.value)),
        ipv4: None,
        ipv6: None,
        ..named(device, fitting)
    };
    let mut fitted = fitted.only(takes);
    let (mut ports, mut reason) = (ports.cloned(), None);
    if let Some(ipv6) = device.ipv6.filter(|_| takes(IdentifierKind::Ipv6Address)) {
        match fit_ipv6(rule, ipv6.value, fitting) {
            Ok(ipv6) => fitted.ipv6 = Some(ipv6),
            // Whoever named a network meant all its devices; none of them may be picked.
            Err(unfit @ Unfit::Mask { .. }) => return Err(unfit),
            Err(unfit) => reason = Some(unfit),
        }
    }
    if let Some(ipv4) = device.ipv4.as_ref().filter(|_| takes(IdentifierKind::Ipv4Address)) {
        match fit_ipv4(rule, ipv4, ports.as_ref(), fitting) {
            Ok((ipv4, narrowed)) if narrowed.is_none() || fitted.is_empty() => {
                fitted.ipv4 = Some(ipv4);
                ports = narrowed.or(ports);
            }
            // Another identifier does without narrowing the flow.
            Ok(_) => {}
            Err(unfit @ Unfit::Mask { .. }) => return Err(unfit),
            Err(unfit) => reason = Some(unfit),
        }
    }
    if fitted.is_empty() {
        return Err(reason.unwrap_or(Unfit::Identifiers { given }));
    }
    Ok((fitted, ports))
}

// The device by its names. An external id and a network access identifier look the same, and may
// be two name spaces.
fn named(device: &Device, fitting: &Fitting) -> Device {
    let Device { nai, external_id, .. } = device;
    let same = |name: &Option<Nai>| name.clone().filter(|_| fitting.external_id_as_nai);
    Device {
        nai: nai.clone().or_else(|| same(external_id)),
        external_id: external_id.clone().or_else(|| same(nai)),
        ..Device::default()
    }
}

fn fit_ipv6(rule: &Rule, net: Ipv6Net, fitting: &Fitting) -> Result<Written<Ipv6Net>, Unfit> {
    match net.prefix_len() {
        128 => Ok(plain_ipv6(net)),
        _ if rule.device.ipv6_masks && fitting.device_masks => Ok(plain_ipv6(net)),
        64 if fitting.ipv6_prefix_as_address => Ok(plain_ipv6(net.network().into())),
        _ => Err(Unfit::Mask { kind: IdentifierKind::Ipv6Address }),
    }
}

// The address, and the device's ports if these have to be others for it.
fn fit_ipv4(
    rule: &Rule,
    ipv4: &DeviceIpv4,
    ports: Option<&PortsSpec>,
    fitting: &Fitting,
) -> Result<(DeviceIpv4, Option<PortsSpec>), Unfit> {
    match (rule.device.ipv4, ipv4) {
        (Ipv4Form::Net, DeviceIpv4::Legacy(net)) if net.value.prefix_len() == 32 => {
            Ok((DeviceIpv4::Legacy(plain_ipv4(net.value)), None))
        }
        (Ipv4Form::Net, DeviceIpv4::Legacy(_)) if fitting.device_masks => Ok((ipv4.clone(), None)),
        (Ipv4Form::Public, DeviceIpv4::Legacy(net)) if net.value.prefix_len() == 32 => {
            let ipv4 = public_ipv4(net.value.addr(), ports, fitting.legacy_ipv4);
            Ok((ipv4.ok_or(Unfit::Ipv4NotExpressible)?, None))
        }
        // What the one port of an address means is said by its dialect only.
        (Ipv4Form::WithDevicePort, DeviceIpv4::Legacy(net)) if net.value.prefix_len() == 32 => {
            Err(Unfit::Ipv4NotExpressible)
        }
        // A filter by ports cannot stand beside it.
        (Ipv4Form::WithDevicePort, &DeviceIpv4::Public { public, public_port, .. }) => {
            match public_port.filter(|_| ports.is_none()) {
                Some(_) => Ok((DeviceIpv4::Public { public, private: None, public_port }, None)),
                None => Err(Unfit::Ipv4NotExpressible),
            }
        }
        (_, DeviceIpv4::Legacy(_)) => Err(Unfit::Mask { kind: IdentifierKind::Ipv4Address }),
        (Ipv4Form::Net, &DeviceIpv4::Public { public, private, public_port }) => {
            let alone = private.filter(|&own| own == public || fitting.private_ipv4_as_legacy);
            if let Some(address) = alone {
                return Ok((DeviceIpv4::Legacy(plain_ipv4(address.into())), None));
            }
            let narrowed = public_port.and_then(|port| narrowed(port, ports, fitting.legacy_ipv4));
            let narrowed = narrowed.ok_or(Unfit::Ipv4NotExpressible)?;
            Ok((DeviceIpv4::Legacy(plain_ipv4(public.into())), Some(narrowed)))
        }
        (Ipv4Form::Public, DeviceIpv4::Public { public_port, .. }) => {
            match public_port.filter(|&port| port < rule.port_min) {
                Some(_) => Err(Unfit::Ipv4NotExpressible),
                None => Ok((ipv4.clone(), None)),
            }
        }
    }
}

fn public_ipv4(
    public: Ipv4Addr,
    ports: Option<&PortsSpec>,
    legacy: LegacyIpv4,
) -> Option<DeviceIpv4> {
    let (private, public_port) = match legacy {
        LegacyIpv4::Refuse => return None,
        LegacyIpv4::PublicIsPrivate => (Some(public), None),
        LegacyIpv4::PublicWithDevicePort => match PortSet::of(ports).ranges() {
            &[PortRange { from, to }] if from == to => (None, Some(from)),
            _ => return None,
        },
    };
    Some(DeviceIpv4::Public { public, private, public_port })
}

// The public port in the place of the device's ports, if the client has named no others.
fn narrowed(port: u16, ports: Option<&PortsSpec>, legacy: LegacyIpv4) -> Option<PortsSpec> {
    let only = PortsSpec { ranges: Vec::new(), ports: vec![port] };
    let free = ports.is_none() || PortSet::of(ports) == PortSet::of(Some(&only));
    (legacy == LegacyIpv4::PublicWithDevicePort && free).then_some(only)
}

// Port 0 carries no traffic: a range that begins with it loses nothing without it.
fn fit_ports(rule: &Rule, ports: &PortsSpec) -> Result<PortsSpec, Unfit> {
    if ports.ranges.is_empty() && ports.ports.is_empty() {
        return Err(Unfit::Ports);
    }
    let min = rule.port_min;
    let lowest = ports.ranges.iter().map(|range| range.to).chain(ports.ports.iter().copied()).min();
    if lowest.is_some_and(|lowest| lowest < min) {
        return Err(Unfit::PortTooLow { min });
    }
    if rule.one_port {
        return match PortSet::of(Some(ports)).ranges() {
            &[PortRange { from, to }] if from == to => {
                Ok(PortsSpec { ranges: Vec::new(), ports: vec![from] })
            }
            _ => Err(Unfit::ManyPorts),
        };
    }
    let raised = |&PortRange { from, to }: &PortRange| PortRange { from: from.max(min), to };
    Ok(PortsSpec { ranges: ports.ranges.iter().map(raised).collect(), ports: ports.ports.clone() })
}

fn fit_server(rule: &Rule, server: &ApplicationServer) -> Result<ApplicationServer, Unfit> {
    let (ipv4, ipv6) = match (server, rule.servers) {
        (ApplicationServer::Subnets { ipv4, ipv6 }, _) => {
            (*ipv4, ipv6.map(|net| plain_ipv6(net.value)))
        }
        (ApplicationServer::Addresses(list), Servers::SubnetsOrList) if !list.is_empty() => {
            return Ok(server.clone());
        }
        (ApplicationServer::Addresses(_), _) => one_of_each(&server.nets())?,
    };
    // No server at all would be read as every server, and a part of them is not what was asked for.
    let said = match rule.servers {
        Servers::Ipv4 => ipv4.is_some() && ipv6.is_none(),
        Servers::Subnets | Servers::SubnetsOrList => ipv4.is_some() || ipv6.is_some(),
    };
    said.then_some(ApplicationServer::Subnets { ipv4, ipv6 }).ok_or(Unfit::Servers)
}

type OneOfEach = (Option<Written<Ipv4Net>>, Option<Written<Ipv6Net>>);

// A list of addresses, if it is all of one network of each family and nothing else.
fn one_of_each(nets: &[IpNet]) -> Result<OneOfEach, Unfit> {
    let (mut ipv4, mut ipv6) = (None, None);
    for net in IpNet::aggregate(&nets.to_vec()) {
        let second = match net {
            IpNet::V4(net) => ipv4.replace(plain_ipv4(net)).is_some(),
            IpNet::V6(net) => ipv6.replace(plain_ipv6(net)).is_some(),
        };
        if second {
            return Err(Unfit::Servers);
        }
    }
    Ok((ipv4, ipv6))
}

fn names(kinds: &[IdentifierKind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
