//! The codec of CAMARA 0.10: `device`, `applicationServer`, `qosProfile`, and a `webhook`.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address,
    answer::{self, Remark, Unreadable},
    fault::Faults,
    node::Node,
    ports::{self, Ports},
    sink, written,
};
use crate::{
    json::Json,
    qod::{
        ApplicationServer, CreateSession, Device, DeviceIpv4, Granted, Kind, Nai, QosStatus,
        Secret, Session, Sink, Written,
    },
};

const EXTENSION_FIELD: &str = "requestedAdditionalDuration";

const EXTENSION_S_MAX: u32 = 86_399;

const SERVER_FIELDS: [&str; 2] = ["ipv4Address", "ipv6Address"];

// The release's own bounds.
const TOKEN_BYTES: (usize, usize) = (20, 256);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenWish<'a> {
    duration: u32,
    device: WrittenDevice<'a>,
    application_server: WrittenServer,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ports: Option<Ports<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_server_ports: Option<Ports<'a>>,
    qos_profile: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<Webhook<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDevice<'a> {
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenServer {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhook<'a> {
    notification_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_auth_token: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSession<'a> {
    #[serde(flatten)]
    wish: WrittenWish<'a>,
    session_id: String,
    started_at: u64,
    expires_at: u64,
    qos_status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Remark<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenExtension {
    requested_additional_duration: u32,
}

/// Reads what a client wants.
pub(super) fn read_wanted(
    body: &Node<'_>,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<CreateSession> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        let known = [
            "duration",
            "device",
            "applicationServer",
            "devicePorts",
            "applicationServerPorts",
            "qosProfile",
            "webhook",
        ];
        body.only(&known, faults);
    }
    let device = body.required("device", faults).and_then(|device| read_device(&device, faults));
    let server = body
        .required("applicationServer", faults)
        .and_then(|server| address::server(&server, SERVER_FIELDS, faults));
    let device_ports = body.member("devicePorts").map(|spec| ports::read(&spec, faults));
    let server_ports = body.member("applicationServerPorts").map(|spec| ports::read(&spec, faults));
    let profile = body
        .required("qosProfile", faults)
        .and_then(|profile| answer::read_profile(&profile, faults));
    let duration_s = answer::read_duration(body, faults);
    let sink =
        body.member("webhook").and_then(|webhook| read_webhook(&webhook, strictness, faults));
    Some(CreateSession {
        device: Some(device?),
        server: server?,
        device_ports,
        server_ports,
        qos_profile: profile?,
        duration_s: duration_s?,
        sink,
    })
}

fn read_device(node: &Node<'_>, faults: &mut Faults) -> Option<Device> {
    let names = ["phoneNumber", "networkAccessIdentifier", "ipv4Address", "ipv6Address"];
    node.only(&names, faults);
    node.any_of(&names, faults);
    let device = Device {
        phone: node.member("phoneNumber").and_then(|number| address::phone(&number, faults)),
        nai: node.member("networkAccessIdentifier").and_then(|nai| address::nai(&nai, faults)),
        external_id: None,
        ipv4: node.member("ipv4Address").and_then(|ipv4| read_ipv4(&ipv4, faults)),
        ipv6: node.member("ipv6Address").and_then(|ipv6| address::ipv6(&ipv6, faults)),
    };
    (!device.is_empty()).then_some(device)
}

// Many devices share a public address: it says nothing without one of the other two.
fn read_ipv4(node: &Node<'_>, faults: &mut Faults) -> Option<DeviceIpv4> {
    node.only(&["publicAddress", "privateAddress", "publicPort"], faults);
    node.any_of(&["privateAddress", "publicPort"], faults);
    let public =
        node.required("publicAddress", faults).and_then(|address| address::ipv4(&address, faults));
    let private = node.member("privateAddress").and_then(|address| address::ipv4(&address, faults));
    let public_port = node.member("publicPort").and_then(|port| ports::port(&port, faults));
    Some(DeviceIpv4::Public { public: public?, private, public_port })
}

fn read_webhook(node: &Node<'_>, strictness: &Strictness, faults: &mut Faults) -> Option<Sink> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        node.only(&["notificationUrl", "notificationAuthToken"], faults);
    }
    let url = node.required("notificationUrl", faults).and_then(|url| sink::url(&url, faults));
    let token = node
        .member("notificationAuthToken")
        .and_then(|token| sink::token(&token, TOKEN_BYTES, faults));
    Some(Sink { url: url?, token })
}

/// Reads by how many seconds a client wants a session extended.
pub(super) fn read_extension(
    body: &Node<'_>,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<u32> {
    if strictness.unknown_members == UnknownMembers::Refuse {
        body.only(&[EXTENSION_FIELD], faults);
    }
    let additional = body.required(EXTENSION_FIELD, faults)?;
    additional.number(faults, Kind::DurationOutOfRange, (1, EXTENSION_S_MAX))
}

/// Writes what an operator is asked for.
pub(super) fn write_wanted(fitted: &CreateSession, sink: Option<&Sink>) -> Bytes {
    let wish = wish(fitted, fitted.duration_s);
    written(&WrittenWish { webhook: sink.map(Webhook::from), ..wish })
}

/// Writes by how many seconds an operator is to extend a session.
pub(super) fn write_extension(additional_s: u32) -> Bytes {
    written(&WrittenExtension { requested_additional_duration: additional_s })
}

/// Writes what a client is told. Its token stays with us.
pub(super) fn write_session(session: &Session) -> Bytes {
    let Session { id, wanted, granted } = session;
    let webhook = wanted.sink.as_ref().map(Webhook::from);
    let webhook = webhook.map(|known| Webhook { notification_auth_token: None, ..known });
    let (started_at, expires_at) = answer::times(granted);
    written(&WrittenSession {
        wish: WrittenWish { webhook, ..wish(wanted, granted.duration_s) },
        session_id: id.to_string(),
        started_at,
        expires_at,
        qos_status: granted.status.name(),
        messages: answer::remarks(granted),
    })
}

/// Reads what an operator tells.
pub(super) fn read_session(body: &[u8]) -> Result<(String, Granted), Unreadable> {
    answer::read_session(body, "sessionId", |json| {
        let status = json.member("qosStatus").and_then(Json::as_str)?;
        [QosStatus::Requested, QosStatus::Available, QosStatus::Unavailable]
            .into_iter()
            .find(|known| known.name() == status)
    })
}

fn wish(wanted: &CreateSession, duration_s: u32) -> WrittenWish<'_> {
    WrittenWish {
        duration: duration_s,
        device: wanted.device.as_ref().map(write_device).unwrap_or_default(),
        application_server: write_server(&wanted.server),
        device_ports: wanted.device_ports.as_ref().map(Ports::from),
        application_server_ports: wanted.server_ports.as_ref().map(Ports::from),
        qos_profile: &wanted.qos_profile,
        webhook: None,
    }
}

impl<'a> From<&'a Sink> for Webhook<'a> {
    fn from(sink: &'a Sink) -> Self {
        let token = sink.token.as_ref().map(Secret::reveal);
        Self { notification_url: &sink.url, notification_auth_token: token }
    }
}

// A client that follows up on another path than it began on may see a device of another family's.
// It is shown as near to it as this one can; to an operator goes only what `fit` has let pass.
fn write_device(device: &Device) -> WrittenDevice<'_> {
    let Device { phone, nai, external_id, ipv4, ipv6 } = device;
    WrittenDevice {
        phone_number: phone.as_ref().map(Written::text),
        network_access_identifier: nai.as_ref().or(external_id.as_ref()).map(Nai::as_str),
        ipv4_address: ipv4.as_ref().map(WrittenIpv4::from),
        ipv6_address: ipv6.as_ref().map(Written::text),
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

fn write_server(server: &ApplicationServer) -> WrittenServer {
    let [ipv4_address, ipv6_address] = address::server_texts(server);
    WrittenServer { ipv4_address, ipv6_address }
}
