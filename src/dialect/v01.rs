//! The codec of CAMARA 0.1: a device and a server by IPv4 address, ports as a text, and protocols,
//! of which only all can be carried to other releases.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address,
    answer::{self, Form, Unreadable},
    descriptor::Rule,
    fault::Faults,
    node::Node,
    ports, sink, written,
};
use crate::qod::{
    ApplicationServer, CreateSession, Device, DeviceIpv4, Granted, Kind, PortsSpec, QosStatus,
    Secret, Session, Sink,
};

const TOKEN_FIELD: &str = "notificationAuthToken";

const PROTOCOL_FIELDS: [&str; 2] = ["protocolIn", "protocolOut"];

// Of the protocols, the one that leaves none out.
const ANY: &str = "ANY";

// The release has no status: a session that is told of is available.
const FORM: Form = Form {
    id: "id",
    time: answer::epoch_time,
    status: |_| Some(QosStatus::Available),
    status_info: |_| None,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenWish<'a> {
    duration: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ue_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ue_ports: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_ports: Option<String>,
    protocol_in: &'static str,
    protocol_out: &'static str,
    qos: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_auth_token: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSession<'a> {
    #[serde(flatten)]
    wish: WrittenWish<'a>,
    id: String,
    started_at: u64,
    expires_at: u64,
}

/// Reads what a client wants.
pub(super) fn read_wanted(
    body: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> Option<CreateSession> {
    let notify_field = rule.sink.field;
    if strictness.unknown_members == UnknownMembers::Refuse {
        let known = ["duration", "ueAddr", "asAddr", "uePorts", "asPorts", "qos", TOKEN_FIELD];
        body.only(&[known.as_slice(), &PROTOCOL_FIELDS, &[notify_field]].concat(), faults);
    }
    let ipv4 = body.required("ueAddr", faults).and_then(|net| address::ipv4_net(&net, faults));
    let server = body.required("asAddr", faults).and_then(|net| address::ipv4_net(&net, faults));
    let device_ports = body.member("uePorts").and_then(|text| ports::read_text(&text, faults));
    let server_ports = body.member("asPorts").and_then(|text| ports::read_text(&text, faults));
    for name in PROTOCOL_FIELDS {
        read_protocol(body, name, faults);
    }
    let qos = body.required("qos", faults).and_then(|qos| answer::read_profile(&qos, faults));
    let duration_s = answer::read_duration(body, &rule.duration, faults);
    let url = body.member(notify_field).and_then(|url| sink::url(&url, faults));
    let token = body
        .member(TOKEN_FIELD)
        .and_then(|token| sink::token(&token, (1, sink::TOKEN_BYTES_MAX), faults));
    Some(CreateSession {
        device: Some(Device { ipv4: Some(DeviceIpv4::Legacy(ipv4?)), ..Device::default() }),
        server: ApplicationServer::Subnets { ipv4: Some(server?), ipv6: None },
        device_ports,
        server_ports,
        qos_profile: qos?,
        duration_s: duration_s?,
        sink: url.map(|url| Sink { url, token, token_expires_at: None }),
    })
}

// No other release can tell one protocol from another: without it, the flow would be a wider one.
fn read_protocol(body: &Node<'_>, name: &str, faults: &mut Faults) {
    let Some(protocol) = body.required(name, faults) else { return };
    if protocol.text(faults).is_some_and(|text| text != ANY) {
        let expected = format!("expected `{ANY}`: flows are not told apart by protocol");
        faults.meaning(protocol.place, Kind::InvalidArgument, expected);
    }
}

/// Writes what an operator is asked for.
pub(super) fn write_wanted(fitted: &CreateSession, sink: Option<&Sink>) -> Bytes {
    written(&wish(fitted, fitted.duration_s, sink))
}

/// Writes what a client is told. Its token stays with us.
pub(super) fn write_session(session: &Session) -> Bytes {
    let Session { id, wanted, granted } = session;
    let wish = wish(wanted, granted.duration_s, wanted.sink.as_ref());
    let (started_at, expires_at) = answer::times(granted);
    written(&WrittenSession {
        wish: WrittenWish { notification_auth_token: None, ..wish },
        id: id.to_string(),
        started_at,
        expires_at,
    })
}

/// Reads what an operator tells.
pub(super) fn read_session(body: &[u8]) -> Result<(String, Granted), Unreadable> {
    answer::read_session(body, &FORM)
}

// A device of another family's is shown as near to it as this one can: see `wish::WrittenDevice`.
fn wish<'a>(wanted: &'a CreateSession, duration_s: u32, sink: Option<&'a Sink>) -> WrittenWish<'a> {
    let ipv4 = wanted.device.as_ref().and_then(|device| device.ipv4.as_ref());
    let [as_addr, _] = address::server_texts(&wanted.server);
    let text = |spec: &Option<PortsSpec>| spec.as_ref().map(ports::text);
    WrittenWish {
        duration: duration_s,
        ue_addr: ipv4.map(address::device_text),
        as_addr,
        ue_ports: text(&wanted.device_ports),
        as_ports: text(&wanted.server_ports),
        protocol_in: ANY,
        protocol_out: ANY,
        qos: &wanted.qos_profile,
        notification_uri: sink.map(|sink| sink.url.as_str()),
        notification_auth_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal),
    }
}
