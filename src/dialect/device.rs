//! Devices: parses them from bodies and serializes them, in the form that the release defines.

use serde::{Serialize, Serializer};

use super::{
    address,
    cursor::BodyCursor,
    descriptor::{DeviceForm, DeviceRule, Ipv4Form, Ipv6Form, RequestRule},
    ports,
    validation::ValidationErrors,
};
use crate::qod::{
    Device, DeviceIpv4, IdentifierKind, Nai, PhoneNumber, PortsSpec, ProblemKind, Verbatim,
};

/// A device, as serialized.
///
/// A client that switches to an API of another release may retrieve a device that this release cannot
/// represent exactly. It is represented as closely as possible. Operators receive only devices returned
/// by `translate`.
pub(super) struct DeviceBody<'a> {
    device: Option<&'a Device>,
    rule: &'a DeviceRule,
    identifiers_max: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum IdentifierBody<'a> {
    Text(String),
    Name(&'a str),
    Ipv4(PublicIpv4Body),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicIpv4Body {
    public_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_port: Option<u16>,
}

/// Parses a device.
pub(super) fn read(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<Device> {
    let mut device = Device::default();
    match rule.device.form {
        DeviceForm::Ipv4 => device.ipv4 = read_ipv4_net(cursor, errors),
        DeviceForm::Identifiers(members) => {
            let names = members.map(|(_, name)| name);
            cursor.allow_only(&names, errors);
            cursor.require_any_of(&names, errors);
            for (kind, name) in members {
                if let Some(member) = cursor.member(name) {
                    read_identifier(kind, &member, &mut device, rule, errors);
                }
            }
        }
    }
    (!device.is_empty()).then_some(device)
}

fn read_identifier(
    kind: IdentifierKind,
    cursor: &BodyCursor<'_>,
    device: &mut Device,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) {
    match kind {
        IdentifierKind::PhoneNumber => {
            let read =
                if rule.device.plus_required { address::phone_with_plus } else { address::phone };
            device.phone = read(cursor, errors);
        }
        IdentifierKind::NetworkAccessIdentifier => device.nai = address::nai(cursor, errors),
        IdentifierKind::ExternalId => device.external_id = address::nai(cursor, errors),
        IdentifierKind::Ipv4Address => {
            device.ipv4 = match rule.device.ipv4 {
                Ipv4Form::Net | Ipv4Form::WithDevicePort => read_ipv4_net(cursor, errors),
                Ipv4Form::Public => read_public_ipv4(cursor, rule, errors),
            };
        }
        IdentifierKind::Ipv6Address => {
            device.ipv6 = match rule.device.ipv6 {
                Ipv6Form::Address => address::ipv6(cursor, errors),
                Ipv6Form::Net | Ipv6Form::NetFromClients => address::ipv6_net(cursor, errors),
            };
        }
    }
}

fn read_ipv4_net(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<DeviceIpv4> {
    address::ipv4_net(cursor, errors).map(DeviceIpv4::Legacy)
}

// Many devices share a public address, so it requires a private address or a public port.
fn read_public_ipv4(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<DeviceIpv4> {
    cursor.allow_only(&["publicAddress", "privateAddress", "publicPort"], errors);
    cursor.require_any_of(&["privateAddress", "publicPort"], errors);
    let public = cursor
        .required("publicAddress", errors)
        .and_then(|address| address::ipv4(&address, errors));
    let private =
        cursor.member("privateAddress").and_then(|address| address::ipv4(&address, errors));
    let public_port = cursor.member("publicPort").and_then(|port| ports::port(&port, rule, errors));
    Some(DeviceIpv4::Public { public: public?, private, public_port })
}

/// Uses the single device port as the public port of the address instead of as a filter, if the release
/// defines it so.
pub(super) fn apply_device_port(
    device: &mut Device,
    ports: &mut Option<PortsSpec>,
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) {
    let Some(DeviceIpv4::Legacy(net)) = &device.ipv4 else { return };
    if rule.device.ipv4 != Ipv4Form::WithDevicePort {
        return;
    }
    let public = net.value.addr();
    if net.value.prefix_len() < 32 {
        let expected = "expected a single IPv4 address in `ueId/ipv4addr`";
        errors.add_semantic(body.pointer, ProblemKind::InvalidArgument, expected);
    } else if let Some(&[port]) = ports.take().map(|spec| spec.ports).as_deref() {
        device.ipv4 = Some(DeviceIpv4::Public { public, private: None, public_port: Some(port) });
    } else {
        let expected = "expected `uePorts` with the public port of `ueId/ipv4addr`";
        errors.add_semantic(body.pointer, ProblemKind::InvalidArgument, expected);
    }
}

/// The public port of the device's address, if the release represents it as the device port.
pub(super) fn device_port<'a>(device: Option<&'a Device>, rule: &DeviceRule) -> Option<&'a u16> {
    match device?.ipv4.as_ref()? {
        DeviceIpv4::Public { public_port, .. } if rule.ipv4 == Ipv4Form::WithDevicePort => {
            public_port.as_ref()
        }
        _ => None,
    }
}

impl<'a> DeviceBody<'a> {
    /// Returns `None` if the member is omitted. Where the release requires a device, it is present, if
    /// empty, even if the request had none.
    pub(super) fn new(device: Option<&'a Device>, rule: &'a DeviceRule) -> Option<Self> {
        let is_present = match rule.form {
            DeviceForm::Ipv4 => device.is_some_and(|device| device.ipv4.is_some()),
            DeviceForm::Identifiers(_) => device.is_some() || rule.required,
        };
        is_present.then_some(Self { device, rule, identifiers_max: usize::MAX })
    }

    /// Reduces the device to its first identifier.
    pub(super) fn with_first_identifier_only(self) -> Self {
        Self { identifiers_max: 1, ..self }
    }

    fn identifier(&self, kind: IdentifierKind) -> Option<IdentifierBody<'a>> {
        let Device { phone, nai, external_id, ipv4, ipv6 } = self.device?;
        let name = |name: Option<&'a Nai>| name.map(|name| IdentifierBody::Name(name.as_str()));
        match kind {
            IdentifierKind::PhoneNumber => phone.as_ref().map(|phone| self.phone(phone)),
            IdentifierKind::NetworkAccessIdentifier => name(nai.as_ref().or(external_id.as_ref())),
            IdentifierKind::ExternalId => name(external_id.as_ref().or(nai.as_ref())),
            IdentifierKind::Ipv4Address => ipv4.as_ref().map(|ipv4| self.ipv4(ipv4)),
            IdentifierKind::Ipv6Address => {
                ipv6.as_ref().map(|net| IdentifierBody::Text(net.text()))
            }
        }
    }

    fn phone(&self, phone: &Verbatim<PhoneNumber>) -> IdentifierBody<'a> {
        let with_plus = self.rule.plus_required;
        IdentifierBody::Text(if with_plus { phone.value.to_string() } else { phone.text() })
    }

    // A single text is the private address if it is known, otherwise the public address.
    fn ipv4(&self, ipv4: &DeviceIpv4) -> IdentifierBody<'a> {
        match (self.rule.ipv4, ipv4) {
            (Ipv4Form::Public, ipv4) => IdentifierBody::Ipv4(PublicIpv4Body::from(ipv4)),
            (Ipv4Form::Net | Ipv4Form::WithDevicePort, DeviceIpv4::Legacy(net)) => {
                IdentifierBody::Text(net.text())
            }
            (Ipv4Form::WithDevicePort, DeviceIpv4::Public { public, .. }) => {
                IdentifierBody::Text(public.to_string())
            }
            (Ipv4Form::Net, DeviceIpv4::Public { public, private, .. }) => {
                IdentifierBody::Text(private.unwrap_or(*public).to_string())
            }
        }
    }
}

impl Serialize for DeviceBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.rule.form {
            DeviceForm::Ipv4 => self.identifier(IdentifierKind::Ipv4Address).serialize(serializer),
            DeviceForm::Identifiers(members) => {
                let present = members
                    .into_iter()
                    .filter_map(|(kind, name)| Some((name, self.identifier(kind)?)));
                serializer.collect_map(present.take(self.identifiers_max))
            }
        }
    }
}

impl From<&DeviceIpv4> for PublicIpv4Body {
    fn from(ipv4: &DeviceIpv4) -> Self {
        let (public, private, public_port) = match ipv4 {
            DeviceIpv4::Public { public, private, public_port } => {
                (*public, *private, *public_port)
            }
            DeviceIpv4::Legacy(net) => (net.value.addr(), Some(net.value.addr()), None),
        };
        Self {
            public_address: public.to_string(),
            private_address: private.map(|address| address.to_string()),
            public_port,
        }
    }
}
