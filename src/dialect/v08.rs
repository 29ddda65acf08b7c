//! The codec of CAMARA 0.8: `ueId`, `asId`, `qos`, with the sink's members at the top level.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address,
    answer::{self, InvalidOperatorMessage, MessageBody, SessionFormat},
    cursor::BodyCursor,
    descriptor::{Ipv4Form, RequestRule},
    json_body,
    ports::{self, PortsBody},
    sink,
    validation::ValidationErrors,
};
use crate::qod::{
    ApplicationServer, CreateRequest, Device, DeviceIpv4, GrantedSession, Nai, PortsSpec,
    ProblemKind, QosStatus, Secret, Session, Sink, Verbatim,
};

const TOKEN_FIELD: &str = "notificationAuthToken";

const SERVER_FIELDS: [&str; 2] = ["ipv4addr", "ipv6addr"];

// The family has no status: every reported session is available.
const SESSION_FORMAT: SessionFormat = SessionFormat {
    id_field: "id",
    parse_time: answer::parse_epoch_time,
    parse_status: |_| Some(QosStatus::Available),
    parse_status_info: |_| None,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V08CreateBody<'a> {
    duration: u32,
    ue_id: UeId<'a>,
    as_id: AsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    ue_ports: Option<PortsBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_ports: Option<PortsBody<'a>>,
    qos: &'a str,
    // Each release has one of these two.
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_auth_token: Option<&'a str>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct UeId<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msisdn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6addr: Option<String>,
}

#[derive(Serialize)]
struct AsId {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6addr: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V08SessionBody<'a> {
    #[serde(flatten)]
    base: V08CreateBody<'a>,
    id: String,
    started_at: u64,
    expires_at: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<MessageBody<'a>>,
}

/// Parses a create request.
pub(super) fn read_create_request(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<CreateRequest> {
    let sink_field = rule.sink.field;
    if strictness.unknown_members == UnknownMembers::Reject {
        let members = ["duration", "ueId", "asId", "uePorts", "asPorts", "qos", TOKEN_FIELD];
        body.allow_only(&[members.as_slice(), &[sink_field]].concat(), errors);
    }
    let device = body.required("ueId", errors).and_then(|ue_id| read_device(&ue_id, errors));
    let server = body
        .required("asId", errors)
        .and_then(|as_id| address::server(&as_id, SERVER_FIELDS, rule, errors));
    let mut device_ports = body.member("uePorts").map(|spec| ports::read(&spec, rule, errors));
    let server_ports = body.member("asPorts").map(|spec| ports::read(&spec, rule, errors));
    let qos = body.required("qos", errors).and_then(|qos| answer::read_profile(&qos, errors));
    let duration_s = answer::read_duration(body, &rule.duration, errors);
    let url = body.member(sink_field).and_then(|url| sink::url(&url, errors));
    let token = body
        .member(TOKEN_FIELD)
        .and_then(|token| sink::token(&token, (1, sink::TOKEN_CHARS_MAX), errors));
    let mut device = device?;
    if rule.device.ipv4 == Ipv4Form::WithDevicePort {
        apply_public_port(&mut device, &mut device_ports, body, errors);
    }
    Some(CreateRequest {
        device: Some(device),
        server: server?,
        device_ports,
        server_ports,
        qos_profile: qos?,
        duration_s: duration_s?,
        sink: url.map(|url| Sink { url, token, token_expires_at: None }),
    })
}

// Uses the single device port as the public port of the address, instead of as a filter.
fn apply_public_port(
    device: &mut Device,
    ports: &mut Option<PortsSpec>,
    body: &BodyCursor<'_>,
    errors: &mut ValidationErrors,
) {
    let Some(DeviceIpv4::Legacy(net)) = &device.ipv4 else { return };
    if net.value.prefix_len() < 32 {
        let expected = "expected a single IPv4 address in `ueId/ipv4addr`";
        errors.add_semantic(body.pointer, ProblemKind::InvalidArgument, expected);
        return;
    }
    let public = net.value.addr();
    if let Some(&[port]) = ports.take().map(|spec| spec.ports).as_deref() {
        device.ipv4 = Some(DeviceIpv4::Public { public, private: None, public_port: Some(port) });
    } else {
        let expected = "expected `uePorts` with the public port of `ueId/ipv4addr`";
        errors.add_semantic(body.pointer, ProblemKind::InvalidArgument, expected);
    }
}

fn read_device(ue_id: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<Device> {
    let names = ["externalId", "msisdn", "ipv4addr", "ipv6addr"];
    ue_id.allow_only(&names, errors);
    ue_id.require_any_of(&names, errors);
    let device = Device {
        phone: ue_id.member("msisdn").and_then(|number| address::phone(&number, errors)),
        nai: None,
        external_id: ue_id.member("externalId").and_then(|id| address::nai(&id, errors)),
        ipv4: ue_id
            .member("ipv4addr")
            .and_then(|net| address::ipv4_net(&net, errors))
            .map(DeviceIpv4::Legacy),
        ipv6: ue_id.member("ipv6addr").and_then(|net| address::ipv6_net(&net, errors)),
    };
    (!device.is_empty()).then_some(device)
}

/// Serializes a create request to an operator.
pub(super) fn write_create_request(
    request: &CreateRequest,
    sink: Option<&Sink>,
    rule: &RequestRule,
) -> Bytes {
    json_body(&create_body(request, request.duration_s, sink, rule))
}

/// Serializes a session to a client, without the sink's token.
pub(super) fn write_session(session: &Session, rule: &RequestRule) -> Bytes {
    let Session { id, wanted, granted } = session;
    let base = create_body(wanted, granted.duration_s, wanted.sink.as_ref(), rule);
    let (started_at, expires_at) = answer::start_and_end(granted);
    json_body(&V08SessionBody {
        base: V08CreateBody { notification_auth_token: None, ..base },
        id: id.to_string(),
        started_at,
        expires_at,
        messages: answer::session_messages(granted),
    })
}

/// Parses an operator's session.
pub(super) fn read_session(
    body: &[u8],
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    answer::read_session(body, &SESSION_FORMAT)
}

fn create_body<'a>(
    request: &'a CreateRequest,
    duration_s: u32,
    sink: Option<&'a Sink>,
    rule: &RequestRule,
) -> V08CreateBody<'a> {
    let url = sink.map(|sink| sink.url.as_str());
    let as_uri = rule.sink.field == "notificationUri";
    V08CreateBody {
        duration: duration_s,
        ue_id: request.device.as_ref().map(|device| write_device(device, rule)).unwrap_or_default(),
        as_id: write_server(&request.server),
        ue_ports: request
            .device_ports
            .as_ref()
            .map(PortsBody::from)
            .or_else(|| public_port(request, rule)),
        as_ports: request.server_ports.as_ref().map(PortsBody::from),
        qos: &request.qos_profile,
        notification_uri: url.filter(|_| as_uri),
        notification_url: url.filter(|_| !as_uri),
        notification_auth_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal),
    }
}

// The public port of the device's address, in dialects that represent it as the device port.
fn public_port<'a>(request: &'a CreateRequest, rule: &RequestRule) -> Option<PortsBody<'a>> {
    match request.device.as_ref()?.ipv4.as_ref()? {
        DeviceIpv4::Public { public_port: Some(port), .. }
            if rule.device.ipv4 == Ipv4Form::WithDevicePort =>
        {
            Some(PortsBody::from_port(port))
        }
        _ => None,
    }
}

// Represents a device of another family as closely as possible; see `create_request::DeviceBody`.
fn write_device<'a>(device: &'a Device, rule: &RequestRule) -> UeId<'a> {
    let Device { phone, nai, external_id, ipv4, ipv6 } = device;
    UeId {
        external_id: external_id.as_ref().or(nai.as_ref()).map(Nai::as_str),
        msisdn: phone.as_ref().map(Verbatim::text),
        ipv4addr: ipv4.as_ref().map(|ipv4| match ipv4 {
            DeviceIpv4::Public { public, .. } if rule.device.ipv4 == Ipv4Form::WithDevicePort => {
                public.to_string()
            }
            other => address::device_text(other),
        }),
        ipv6addr: ipv6.as_ref().map(Verbatim::text),
    }
}

fn write_server(server: &ApplicationServer) -> AsId {
    let [ipv4addr, ipv6addr] = address::server_texts(server);
    AsId { ipv4addr, ipv6addr }
}
