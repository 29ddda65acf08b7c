//! Translates a client's create request into an operator's dialect; rejects it rather than widening
//! it.
//!
//! The translated request never covers more than the client requested: no other server, port or
//! device, and no longer duration. Of several identifiers of one device, it contains those that the
//! operator accepts.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Dialect,
    address::{canonical_ipv4, canonical_ipv6},
    descriptor::{DAY_S, Ipv4Form, Ipv6Form, PortsForm, RequestRule, ServerForm},
};
use crate::qod::{
    ApplicationServer, CreateRequest, Device, DeviceIpv4, IdentifierKind, Nai, PortRange, PortSet,
    PortsSpec, Verbatim,
};

/// Translation settings of an operator, beyond its dialect.
#[expect(clippy::struct_excessive_bools, reason = "each is a separate switch in the policies")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslationSettings {
    /// The kinds of identifier that the operator accepts, by the names of its dialect; all if
    /// empty.
    pub identifiers: Vec<IdentifierKind>,
    /// Whether its external ids and network access identifiers share one name space.
    pub external_id_as_nai: bool,
    /// How to interpret an IPv4 address without a second member.
    pub legacy_ipv4: LegacyIpv4,
    /// Whether the private IPv4 address alone may identify a device whose public address differs.
    pub private_ipv4_as_legacy: bool,
    /// Whether the operator accepts a network as a device, if its dialect can represent one.
    pub allow_prefixes: bool,
    /// Whether the first address of a /64 may identify the device that the /64 is assigned to.
    pub ipv6_prefix_as_address: bool,
    /// Profile names of the gateway, mapped to the operator's names. If empty, the operator has the
    /// four profiles of CAMARA 0.8, or none if its dialect is 0.1.
    pub qos_profiles: BTreeMap<String, String>,
    /// The maximum duration that the operator grants, in seconds.
    pub duration_s_max: u32,
    /// Whether a longer duration is reduced to the maximum instead of rejected.
    pub clamp_duration: bool,
}

/// How to translate between a single IPv4 address of a device (before 0.9) and the two members that
/// 0.9 and later require.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegacyIpv4 {
    /// The interpretation is unknown: reject the request.
    #[default]
    #[serde(rename = "refuse")]
    Reject,
    /// The operator uses no NAT: the address is both the public and the private address.
    PublicIsPrivate,
    /// The address is the public address, and the single device port is its public port.
    PublicWithDevicePort,
}

/// Why a request cannot be translated for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untranslatable {
    /// The operator accepts none of the device's identifiers.
    #[error("the operator supports none of the device's identifiers ({})", join_names(.given))]
    UnsupportedIdentifiers {
        /// The kinds of identifier in the request.
        given: Vec<IdentifierKind>,
    },
    /// The operator's dialect cannot represent the device's IPv4 address in the given form.
    #[error("the operator does not support this form of the device's IPv4 address")]
    Ipv4NotExpressible,
    /// The identifier is a network, which may contain several devices.
    #[error("the operator supports only single devices, but `{}` is a network", .kind.name())]
    Prefix {
        /// The kind of identifier.
        kind: IdentifierKind,
    },
    /// The list of servers is not one network of each family.
    #[error("the operator supports only one network of application servers")]
    UnsupportedServers,
    /// A list of ports is empty, which would mean all ports.
    #[error("a list of ports is empty")]
    EmptyPorts,
    /// A port is lower than the operator's dialect allows.
    #[error("the operator supports only ports of at least {min}")]
    PortTooLow {
        /// The lowest valid port.
        min: u16,
    },
    /// The operator supports a single port, but the request has more.
    #[error("the operator supports only a single port, without ranges")]
    SinglePortOnly,
    /// The operator does not have the profile.
    #[error("the operator has no QoS profile with this name")]
    UnknownProfile,
    /// The duration exceeds the operator's maximum.
    #[error("the operator grants sessions of at most {max_s} seconds")]
    DurationTooLong {
        /// The maximum duration, in seconds.
        max_s: u32,
    },
}

impl Default for TranslationSettings {
    fn default() -> Self {
        Self {
            identifiers: Vec::new(),
            external_id_as_nai: false,
            legacy_ipv4: LegacyIpv4::default(),
            private_ipv4_as_legacy: false,
            allow_prefixes: false,
            ipv6_prefix_as_address: false,
            qos_profiles: BTreeMap::new(),
            duration_s_max: DAY_S,
            clamp_duration: false,
        }
    }
}

impl Dialect {
    /// Translates a create request about a device for an operator that uses this dialect. The result never
    /// requests more than the client did, uses only what the dialect can represent, and omits the client's
    /// sink. The device is the one in the request or in the access token.
    pub fn translate(
        &self,
        request: &CreateRequest,
        device: &Device,
        settings: &TranslationSettings,
    ) -> Result<CreateRequest, Untranslatable> {
        let rule = self.rule();
        let qos_profile = settings
            .operator_profile(rule, &request.qos_profile)
            .ok_or(Untranslatable::UnknownProfile)?
            .to_owned();
        let max_s = settings.duration_s_max.min(rule.duration.s_max);
        if request.duration_s > max_s && !settings.clamp_duration {
            return Err(Untranslatable::DurationTooLong { max_s });
        }
        let (device, device_ports) =
            translate_device(rule, device, request.device_ports.as_ref(), settings)?;
        let translate_ports = |ports: &PortsSpec| translate_ports(rule, ports);
        Ok(CreateRequest {
            device: Some(device),
            server: translate_server(rule, &request.server)?,
            device_ports: device_ports.as_ref().map(translate_ports).transpose()?,
            server_ports: request.server_ports.as_ref().map(translate_ports).transpose()?,
            qos_profile,
            duration_s: request.duration_s.min(max_s),
            sink: None,
        })
    }

    /// Translates a device for an operator that uses this dialect.
    pub fn translate_device(
        &self,
        device: &Device,
        settings: &TranslationSettings,
    ) -> Result<Device, Untranslatable> {
        translate_device(self.rule(), device, None, settings).map(|(device, _)| device)
    }
}

impl TranslationSettings {
    fn operator_profile<'a>(&'a self, rule: &RequestRule, name: &'a str) -> Option<&'a str> {
        if self.qos_profiles.is_empty() {
            return rule.profiles.contains(&name).then_some(name);
        }
        self.qos_profiles.get(name).map(String::as_str)
    }

    fn accepts(&self, kind: IdentifierKind) -> bool {
        self.identifiers.is_empty() || self.identifiers.contains(&kind)
    }
}

// Translates a device and its ports, because a port may be part of its address.
fn translate_device(
    rule: &RequestRule,
    device: &Device,
    ports: Option<&PortsSpec>,
    settings: &TranslationSettings,
) -> Result<(Device, Option<PortsSpec>), Untranslatable> {
    let given: Vec<_> = device.kinds().collect();
    let accepts = |kind| rule.device.allows(kind) && settings.accepts(kind);
    let translated = Device {
        phone: device.phone.map(|phone| Verbatim::from_value(phone.value)),
        ipv4: None,
        ipv6: None,
        ..named_identifiers(device, settings)
    };
    let mut translated = translated.with_only(accepts);
    let (mut ports, mut reason) = (ports.cloned(), None);
    if let Some(ipv6) = device.ipv6.filter(|_| accepts(IdentifierKind::Ipv6Address)) {
        match translate_ipv6(rule, ipv6.value, settings) {
            Ok(ipv6) => translated.ipv6 = Some(ipv6),
            // A network means all its devices, so no single one may be selected.
            Err(error @ Untranslatable::Prefix { .. }) => return Err(error),
            Err(error) => reason = Some(error),
        }
    }
    if let Some(ipv4) = device.ipv4.as_ref().filter(|_| accepts(IdentifierKind::Ipv4Address)) {
        match translate_ipv4(rule, ipv4, ports.as_ref(), settings) {
            Ok((ipv4, narrowed)) if narrowed.is_none() || translated.is_empty() => {
                translated.ipv4 = Some(ipv4);
                ports = narrowed.or(ports);
            }
            // Another identifier suffices, without narrowing the flow.
            Ok(_) => {}
            Err(error @ Untranslatable::Prefix { .. }) => return Err(error),
            Err(error) => reason = Some(error),
        }
    }
    if translated.is_empty() {
        return Err(reason.unwrap_or(Untranslatable::UnsupportedIdentifiers { given }));
    }
    Ok((translated, ports))
}

// The device with its network access identifier and external id only. Both have the same syntax,
// but they may be different name spaces.
fn named_identifiers(device: &Device, settings: &TranslationSettings) -> Device {
    let Device { nai, external_id, .. } = device;
    let as_alias = |name: &Option<Nai>| name.clone().filter(|_| settings.external_id_as_nai);
    Device {
        nai: nai.clone().or_else(|| as_alias(external_id)),
        external_id: external_id.clone().or_else(|| as_alias(nai)),
        ..Device::default()
    }
}

fn translate_ipv6(
    rule: &RequestRule,
    net: Ipv6Net,
    settings: &TranslationSettings,
) -> Result<Verbatim<Ipv6Net>, Untranslatable> {
    match net.prefix_len() {
        128 => Ok(canonical_ipv6(net)),
        _ if rule.device.ipv6 == Ipv6Form::Net && settings.allow_prefixes => {
            Ok(canonical_ipv6(net))
        }
        64 if settings.ipv6_prefix_as_address => Ok(canonical_ipv6(net.network().into())),
        _ => Err(Untranslatable::Prefix { kind: IdentifierKind::Ipv6Address }),
    }
}

// Returns the address, and the device ports if the address requires other ones.
fn translate_ipv4(
    rule: &RequestRule,
    ipv4: &DeviceIpv4,
    ports: Option<&PortsSpec>,
    settings: &TranslationSettings,
) -> Result<(DeviceIpv4, Option<PortsSpec>), Untranslatable> {
    match (rule.device.ipv4, ipv4) {
        (Ipv4Form::Net, DeviceIpv4::Legacy(net)) if net.value.prefix_len() == 32 => {
            Ok((DeviceIpv4::Legacy(canonical_ipv4(net.value)), None))
        }
        (Ipv4Form::Net, DeviceIpv4::Legacy(_)) if settings.allow_prefixes => {
            Ok((ipv4.clone(), None))
        }
        (Ipv4Form::Public, DeviceIpv4::Legacy(net)) if net.value.prefix_len() == 32 => {
            let ipv4 = public_ipv4(net.value.addr(), ports, settings.legacy_ipv4);
            Ok((ipv4.ok_or(Untranslatable::Ipv4NotExpressible)?, None))
        }
        // Only this dialect defines the meaning of the single device port.
        (Ipv4Form::WithDevicePort, DeviceIpv4::Legacy(net)) if net.value.prefix_len() == 32 => {
            Err(Untranslatable::Ipv4NotExpressible)
        }
        // It cannot be combined with a filter by device port.
        (Ipv4Form::WithDevicePort, &DeviceIpv4::Public { public, public_port, .. }) => {
            match public_port.filter(|_| ports.is_none()) {
                Some(_) => Ok((DeviceIpv4::Public { public, private: None, public_port }, None)),
                None => Err(Untranslatable::Ipv4NotExpressible),
            }
        }
        (_, DeviceIpv4::Legacy(_)) => {
            Err(Untranslatable::Prefix { kind: IdentifierKind::Ipv4Address })
        }
        (Ipv4Form::Net, &DeviceIpv4::Public { public, private, public_port }) => {
            let single = private.filter(|&own| own == public || settings.private_ipv4_as_legacy);
            if let Some(address) = single {
                return Ok((DeviceIpv4::Legacy(canonical_ipv4(address.into())), None));
            }
            let narrowed = public_port
                .and_then(|port| narrow_to_public_port(port, ports, settings.legacy_ipv4));
            let narrowed = narrowed.ok_or(Untranslatable::Ipv4NotExpressible)?;
            Ok((DeviceIpv4::Legacy(canonical_ipv4(public.into())), Some(narrowed)))
        }
        (Ipv4Form::Public, DeviceIpv4::Public { public_port, .. }) => {
            match public_port.filter(|&port| port < rule.port_min) {
                Some(_) => Err(Untranslatable::Ipv4NotExpressible),
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
        LegacyIpv4::Reject => return None,
        LegacyIpv4::PublicIsPrivate => (Some(public), None),
        LegacyIpv4::PublicWithDevicePort => match PortSet::from_optional_spec(ports).ranges() {
            &[PortRange { from, to }] if from == to => (None, Some(from)),
            _ => return None,
        },
    };
    Some(DeviceIpv4::Public { public, private, public_port })
}

// The public port as the only device port, if the client requested no other ports.
fn narrow_to_public_port(
    port: u16,
    ports: Option<&PortsSpec>,
    legacy: LegacyIpv4,
) -> Option<PortsSpec> {
    let only = PortsSpec { ranges: Vec::new(), ports: vec![port] };
    let compatible = ports.is_none()
        || PortSet::from_optional_spec(ports) == PortSet::from_optional_spec(Some(&only));
    (legacy == LegacyIpv4::PublicWithDevicePort && compatible).then_some(only)
}

// Port 0 carries no traffic, so a range that starts at 0 can start at 1 instead.
fn translate_ports(rule: &RequestRule, ports: &PortsSpec) -> Result<PortsSpec, Untranslatable> {
    if ports.ranges.is_empty() && ports.ports.is_empty() {
        return Err(Untranslatable::EmptyPorts);
    }
    let min = rule.port_min;
    let lowest = ports.ranges.iter().map(|range| range.to).chain(ports.ports.iter().copied()).min();
    if lowest.is_some_and(|lowest| lowest < min) {
        return Err(Untranslatable::PortTooLow { min });
    }
    if rule.ports == PortsForm::SinglePort {
        return match PortSet::from_optional_spec(Some(ports)).ranges() {
            &[PortRange { from, to }] if from == to => {
                Ok(PortsSpec { ranges: Vec::new(), ports: vec![from] })
            }
            _ => Err(Untranslatable::SinglePortOnly),
        };
    }
    let raised = |&PortRange { from, to }: &PortRange| PortRange { from: from.max(min), to };
    Ok(PortsSpec { ranges: ports.ranges.iter().map(raised).collect(), ports: ports.ports.clone() })
}

fn translate_server(
    rule: &RequestRule,
    server: &ApplicationServer,
) -> Result<ApplicationServer, Untranslatable> {
    let (ipv4, ipv6) = match (server, rule.servers) {
        (ApplicationServer::Subnets { ipv4, ipv6 }, _) => {
            (*ipv4, ipv6.map(|net| canonical_ipv6(net.value)))
        }
        (ApplicationServer::Addresses(list), ServerForm::SubnetsOrList(_)) if !list.is_empty() => {
            return Ok(server.clone());
        }
        (ApplicationServer::Addresses(_), _) => aggregate_subnets(&server.nets())?,
    };
    // An empty server would mean any server, and a part of the servers is not what was requested.
    let representable = match rule.servers {
        ServerForm::Ipv4 => ipv4.is_some() && ipv6.is_none(),
        ServerForm::Subnets(_) | ServerForm::SubnetsOrList(_) => ipv4.is_some() || ipv6.is_some(),
    };
    representable
        .then_some(ApplicationServer::Subnets { ipv4, ipv6 })
        .ok_or(Untranslatable::UnsupportedServers)
}

type SubnetPair = (Option<Verbatim<Ipv4Net>>, Option<Verbatim<Ipv6Net>>);

// Aggregates a list of addresses into at most one network of each family.
fn aggregate_subnets(nets: &[IpNet]) -> Result<SubnetPair, Untranslatable> {
    let (mut ipv4, mut ipv6) = (None, None);
    for net in IpNet::aggregate(&nets.to_vec()) {
        let second = match net {
            IpNet::V4(net) => ipv4.replace(canonical_ipv4(net)).is_some(),
            IpNet::V6(net) => ipv6.replace(canonical_ipv6(net)).is_some(),
        };
        if second {
            return Err(Untranslatable::UnsupportedServers);
        }
    }
    Ok((ipv4, ipv6))
}

fn join_names(kinds: &[IdentifierKind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
