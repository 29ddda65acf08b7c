//! The members of a create request that all releases from 0.9 on share: device, application server,
//! ports, profile and duration. Parses and serializes them, and extension requests.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address, answer,
    cursor::BodyCursor,
    descriptor::{RequestRule, ServerForm},
    json_body,
    ports::{self, PortsBody},
    validation::ValidationErrors,
};
use crate::qod::{
    ApplicationServer, CreateRequest, Device, DeviceIpv4, Nai, PhoneNumber, ProblemKind, Verbatim,
};

/// The shared members of a create request.
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

/// The shared members of a create request, as serialized.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BaseSessionBody<'a> {
    duration: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<DeviceBody<'a>>,
    application_server: ApplicationServerBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ports: Option<PortsBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_server_ports: Option<PortsBody<'a>>,
    qos_profile: &'a str,
}

/// A device, as serialized.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_access_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<DeviceIpv4Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceIpv4Body {
    public_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_port: Option<u16>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationServerBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip_addresses: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtendSessionBody {
    requested_additional_duration: u32,
}

/// Parses a create request without its sink.
pub(super) fn read(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<CreateRequest> {
    let device =
        if rule.device.required { body.required("device", errors) } else { body.member("device") };
    let present = device.is_some();
    let device = device.and_then(|device| read_device(&device, rule, errors));
    let server = body
        .required("applicationServer", errors)
        .and_then(|server| address::server(&server, SERVER_FIELDS, rule, errors));
    let device_ports = body.member("devicePorts").map(|spec| ports::read(&spec, rule, errors));
    let server_ports =
        body.member("applicationServerPorts").map(|spec| ports::read(&spec, rule, errors));
    let profile = body
        .required("qosProfile", errors)
        .and_then(|profile| answer::read_profile(&profile, errors));
    let duration_s = answer::read_duration(body, &rule.duration, errors);
    // An invalid device must not count as a missing one.
    let valid = device.is_some() || (!present && !rule.device.required);
    valid.then_some(CreateRequest {
        device,
        server: server?,
        device_ports,
        server_ports,
        qos_profile: profile?,
        duration_s: duration_s?,
        sink: None,
    })
}

/// Parses a device.
pub(super) fn read_device(
    cursor: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<Device> {
    let names = ["phoneNumber", "networkAccessIdentifier", "ipv4Address", "ipv6Address"];
    cursor.allow_only(&names, errors);
    cursor.require_any_of(&names, errors);
    let device = Device {
        phone: cursor.member("phoneNumber").and_then(|number| {
            let read =
                if rule.device.plus_required { address::phone_with_plus } else { address::phone };
            read(&number, errors)
        }),
        nai: cursor.member("networkAccessIdentifier").and_then(|nai| address::nai(&nai, errors)),
        external_id: None,
        ipv4: cursor.member("ipv4Address").and_then(|ipv4| read_ipv4(&ipv4, rule, errors)),
        ipv6: cursor.member("ipv6Address").and_then(|ipv6| {
            let read = if rule.device.ipv6_prefixes { address::ipv6_net } else { address::ipv6 };
            read(&ipv6, errors)
        }),
    };
    (!device.is_empty()).then_some(device)
}

// Many devices share a public address, so it requires a private address or a public port.
fn read_ipv4(
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

/// Parses an extension request. Returns the additional duration in seconds.
pub(super) fn read_extension(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<u32> {
    if strictness.unknown_members == UnknownMembers::Reject {
        body.allow_only(&[EXTENSION_FIELD], errors);
    }
    let additional = body.required(EXTENSION_FIELD, errors)?;
    additional.integer(errors, ProblemKind::InvalidArgument, (1, rule.duration.extension_s_max))
}

/// Serializes an extension request to an operator.
pub(super) fn write_extension(additional_s: u32) -> Bytes {
    json_body(&ExtendSessionBody { requested_additional_duration: additional_s })
}

impl<'a> BaseSessionBody<'a> {
    /// Serializes a create request with the given duration; the granted one may differ from the
    /// requested one.
    pub(super) fn from_request(
        request: &'a CreateRequest,
        duration_s: u32,
        rule: &RequestRule,
    ) -> Self {
        Self {
            duration: duration_s,
            device: request.device.as_ref().map(|device| DeviceBody::from_device(device, rule)),
            application_server: ApplicationServerBody::from_server(&request.server, rule),
            device_ports: request.device_ports.as_ref().map(PortsBody::from),
            application_server_ports: request.server_ports.as_ref().map(PortsBody::from),
            qos_profile: &request.qos_profile,
        }
    }
}

impl<'a> DeviceBody<'a> {
    // A client that switches to an API of another family may retrieve a device that this family
    // cannot represent exactly. It is represented as closely as possible. Operators receive only
    // devices returned by `translate`.
    pub(super) fn from_device(device: &'a Device, rule: &RequestRule) -> Self {
        let Device { phone, nai, external_id, ipv4, ipv6 } = device;
        let number = |phone: &Verbatim<PhoneNumber>| {
            if rule.device.plus_required { phone.value.to_string() } else { phone.text() }
        };
        Self {
            phone_number: phone.as_ref().map(number),
            network_access_identifier: nai.as_ref().or(external_id.as_ref()).map(Nai::as_str),
            ipv4_address: ipv4.as_ref().map(DeviceIpv4Body::from),
            ipv6_address: ipv6.as_ref().map(Verbatim::text),
        }
    }

    /// Reduces the device to its first identifier.
    pub(super) fn first_identifier_only(self) -> Self {
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

impl From<&DeviceIpv4> for DeviceIpv4Body {
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

impl ApplicationServerBody {
    fn from_server(server: &ApplicationServer, rule: &RequestRule) -> Self {
        match (server, rule.servers) {
            (ApplicationServer::Addresses(list), ServerForm::SubnetsOrList) => {
                Self { ip_addresses: list.iter().map(Verbatim::text).collect(), ..Self::default() }
            }
            (server, _) => {
                let [ipv4_address, ipv6_address] = address::server_texts(server);
                Self { ipv4_address, ipv6_address, ip_addresses: Vec::new() }
            }
        }
    }
}
