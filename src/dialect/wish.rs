//! A wish as it is put from 0.9 on: device, application server, their ports, profile and duration,
//! in and out. The releases from there on differ in what stands beside these.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address, answer,
    descriptor::{Rule, Servers},
    fault::Faults,
    node::Node,
    ports::{self, Ports},
    written,
};
use crate::qod::{
    ApplicationServer, CreateSession, Device, DeviceIpv4, Kind, Nai, PhoneNumber, Written,
};

/// The members of a wish that are alike.
pub(super) const FIELDS: [&str; 6] = [
    "duration",
    "device",
    "applicationServer",
    "devicePorts",
    "applicationServerPorts",
    "qosProfile",
];

const SERVER_FIELDS: [&str; 2] = ["ipv4Address", "ipv6Address"];

const EXTENSION_FIELD: &str = "requestedAdditionalDuration";

/// A wish, as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenWish<'a> {
    duration: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<WrittenDevice<'a>>,
    application_server: WrittenServer,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ports: Option<Ports<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_server_ports: Option<Ports<'a>>,
    qos_profile: &'a str,
}

/// A device, as it is written.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenDevice<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_access_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<WrittenIpv4>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenIpv4 {
    public_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_port: Option<u16>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenServer {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip_addresses: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenExtension {
    requested_additional_duration: u32,
}

/// Reads all of a wish but the sink.
pub(super) fn read(body: &Node<'_>, rule: &Rule, faults: &mut Faults) -> Option<CreateSession> {
    let device =
        if rule.device.required { body.required("device", faults) } else { body.member("device") };
    let told = device.is_some();
    let device = device.and_then(|device| read_device(&device, rule, faults));
    let server = body
        .required("applicationServer", faults)
        .and_then(|server| address::server(&server, SERVER_FIELDS, rule, faults));
    let device_ports = body.member("devicePorts").map(|spec| ports::read(&spec, rule, faults));
    let server_ports =
        body.member("applicationServerPorts").map(|spec| ports::read(&spec, rule, faults));
    let profile = body
        .required("qosProfile", faults)
        .and_then(|profile| answer::read_profile(&profile, faults));
    let duration_s = answer::read_duration(body, &rule.duration, faults);
    // One that cannot be read is not one that is left out.
    let readable = device.is_some() || (!told && !rule.device.required);
    readable.then_some(CreateSession {
        device,
        server: server?,
        device_ports,
        server_ports,
        qos_profile: profile?,
        duration_s: duration_s?,
        sink: None,
    })
}

/// Reads a device.
pub(super) fn read_device(node: &Node<'_>, rule: &Rule, faults: &mut Faults) -> Option<Device> {
    let names = ["phoneNumber", "networkAccessIdentifier", "ipv4Address", "ipv6Address"];
    node.only(&names, faults);
    node.any_of(&names, faults);
    let device = Device {
        phone: node.member("phoneNumber").and_then(|number| {
            let read = if rule.device.plus { address::phone_with_plus } else { address::phone };
            read(&number, faults)
        }),
        nai: node.member("networkAccessIdentifier").and_then(|nai| address::nai(&nai, faults)),
        external_id: None,
        ipv4: node.member("ipv4Address").and_then(|ipv4| read_ipv4(&ipv4, rule, faults)),
        ipv6: node.member("ipv6Address").and_then(|ipv6| {
            let read = if rule.device.ipv6_masks { address::ipv6_net } else { address::ipv6 };
            read(&ipv6, faults)
        }),
    };
    (!device.is_empty()).then_some(device)
}

// Many devices share a public address: it says nothing without one of the other two.
fn read_ipv4(node: &Node<'_>, rule: &Rule, faults: &mut Faults) -> Option<DeviceIpv4> {
    node.only(&["publicAddress", "privateAddress", "publicPort"], faults);
    node.any_of(&["privateAddress", "publicPort"], faults);
    let public =
        node.required("publicAddress", faults).and_then(|address| address::ipv4(&address, faults));
    let private = node.member("privateAddress").and_then(|address| address::ipv4(&address, faults));
    let public_port = node.member("publicPort").and_then(|port| ports::port(&port, rule, faults));
    Some(DeviceIpv4::Public { public: public?, private, public_port })
}

/// Reads by how many seconds a client wants a session extended.
pub(super) fn read_extension(
    body: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<u32> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        body.only(&[EXTENSION_FIELD], faults);
    }
    let additional = body.required(EXTENSION_FIELD, faults)?;
    additional.number(faults, Kind::DurationOutOfRange, (1, rule.duration.extension_s_max))
}

/// Writes by how many seconds an operator is to extend a session.
pub(super) fn write_extension(additional_s: u32) -> Bytes {
    written(&WrittenExtension { requested_additional_duration: additional_s })
}

impl<'a> WrittenWish<'a> {
    /// What is wanted, with a duration of its own: one that was granted may be another.
    pub(super) fn of(wanted: &'a CreateSession, duration_s: u32, rule: &Rule) -> Self {
        Self {
            duration: duration_s,
            device: wanted.device.as_ref().map(|device| WrittenDevice::of(device, rule)),
            application_server: WrittenServer::of(&wanted.server, rule),
            device_ports: wanted.device_ports.as_ref().map(Ports::from),
            application_server_ports: wanted.server_ports.as_ref().map(Ports::from),
            qos_profile: &wanted.qos_profile,
        }
    }
}

impl<'a> WrittenDevice<'a> {
    // A client that follows up on another path than it began on may see a device of another
    // family's. It is shown as near to it as this one can; to an operator goes only what `fit` has
    // let pass.
    pub(super) fn of(device: &'a Device, rule: &Rule) -> Self {
        let Device { phone, nai, external_id, ipv4, ipv6 } = device;
        let number = |phone: &Written<PhoneNumber>| {
            if rule.device.plus { phone.value.to_string() } else { phone.text() }
        };
        Self {
            phone_number: phone.as_ref().map(number),
            network_access_identifier: nai.as_ref().or(external_id.as_ref()).map(Nai::as_str),
            ipv4_address: ipv4.as_ref().map(WrittenIpv4::from),
            ipv6_address: ipv6.as_ref().map(Written::text),
        }
    }

    /// The first identifier alone.
    pub(super) fn narrowed(self) -> Self {
        let Self { phone_number, network_access_identifier, ipv4_address, ipv6_address } = self;
        let none = Self::default();
        match (phone_number, network_access_identifier, ipv4_address) {
            (Some(number), ..) => Self { phone_number: Some(number), ..none },
            (_, Some(nai), _) => Self { network_access_identifier: Some(nai), ..none },
            (.., Some(ipv4)) => Self { ipv4_address: Some(ipv4), ..none },
            (None, None, None) => Self { ipv6_address, ..none },
        }
    }
}

impl From<&DeviceIpv4> for WrittenIpv4 {
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

impl WrittenServer {
    fn of(server: &ApplicationServer, rule: &Rule) -> Self {
        match (server, rule.servers) {
            (ApplicationServer::Addresses(list), Servers::SubnetsOrList) => {
                Self { ip_addresses: list.iter().map(Written::text).collect(), ..Self::default() }
            }
            (server, _) => {
                let [ipv4_address, ipv6_address] = address::server_texts(server);
                Self { ipv4_address, ipv6_address, ip_addresses: Vec::new() }
            }
        }
    }
}
