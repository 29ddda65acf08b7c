//! The codec of CAMARA 0.1: IPv4 addresses of device and server, ports as text, and protocols, of
//! which only `ANY` can be translated to other releases.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address,
    answer::{self, InvalidOperatorMessage, SessionFormat},
    cursor::BodyCursor,
    descriptor::RequestRule,
    json_body, ports, sink,
    validation::ValidationErrors,
};
use crate::qod::{
    ApplicationServer, CreateRequest, Device, DeviceIpv4, GrantedSession, PortsSpec, ProblemKind,
    QosStatus, Secret, Session, Sink,
};

const TOKEN_FIELD: &str = "notificationAuthToken";

const PROTOCOL_FIELDS: [&str; 2] = ["protocolIn", "protocolOut"];

// The only supported protocol value: all protocols.
const ANY: &str = "ANY";

// The release has no status: every reported session is available.
const SESSION_FORMAT: SessionFormat = SessionFormat {
    id_field: "id",
    parse_time: answer::parse_epoch_time,
    parse_status: |_| Some(QosStatus::Available),
    parse_status_info: |_| None,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V01CreateBody<'a> {
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
struct V01SessionBody<'a> {
    #[serde(flatten)]
    base: V01CreateBody<'a>,
    id: String,
    started_at: u64,
    expires_at: u64,
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
        let members = ["duration", "ueAddr", "asAddr", "uePorts", "asPorts", "qos", TOKEN_FIELD];
        body.allow_only(&[members.as_slice(), &PROTOCOL_FIELDS, &[sink_field]].concat(), errors);
    }
    let ipv4 = body.required("ueAddr", errors).and_then(|net| address::ipv4_net(&net, errors));
    let server = body.required("asAddr", errors).and_then(|net| address::ipv4_net(&net, errors));
    let device_ports = body.member("uePorts").and_then(|text| ports::read_text(&text, errors));
    let server_ports = body.member("asPorts").and_then(|text| ports::read_text(&text, errors));
    for name in PROTOCOL_FIELDS {
        read_protocol(body, name, errors);
    }
    let qos = body.required("qos", errors).and_then(|qos| answer::read_profile(&qos, errors));
    let duration_s = answer::read_duration(body, &rule.duration, errors);
    let url = body.member(sink_field).and_then(|url| sink::url(&url, errors));
    let token = body
        .member(TOKEN_FIELD)
        .and_then(|token| sink::token(&token, (1, sink::TOKEN_CHARS_MAX), errors));
    Some(CreateRequest {
        device: Some(Device { ipv4: Some(DeviceIpv4::Legacy(ipv4?)), ..Device::default() }),
        server: ApplicationServer::Subnets { ipv4: Some(server?), ipv6: None },
        device_ports,
        server_ports,
        qos_profile: qos?,
        duration_s: duration_s?,
        sink: url.map(|url| Sink { url, token, token_expires_at: None }),
    })
}

// No other release can filter by protocol, so ignoring the protocol would widen the flow.
fn read_protocol(body: &BodyCursor<'_>, name: &str, errors: &mut ValidationErrors) {
    let Some(protocol) = body.required(name, errors) else { return };
    if protocol.string(errors).is_some_and(|text| text != ANY) {
        let expected = format!("expected `{ANY}`; filtering by protocol is not supported");
        errors.add_semantic(protocol.pointer, ProblemKind::InvalidArgument, expected);
    }
}

/// Serializes a create request to an operator.
pub(super) fn write_create_request(request: &CreateRequest, sink: Option<&Sink>) -> Bytes {
    json_body(&create_body(request, request.duration_s, sink))
}

/// Serializes a session to a client, without the sink's token.
pub(super) fn write_session(session: &Session) -> Bytes {
    let Session { id, wanted, granted } = session;
    let base = create_body(wanted, granted.duration_s, wanted.sink.as_ref());
    let (started_at, expires_at) = answer::start_and_end(granted);
    json_body(&V01SessionBody {
        base: V01CreateBody { notification_auth_token: None, ..base },
        id: id.to_string(),
        started_at,
        expires_at,
    })
}

/// Parses an operator's session.
pub(super) fn read_session(
    body: &[u8],
) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
    answer::read_session(body, &SESSION_FORMAT)
}

// Represents a device of another family as closely as possible; see `create_request::DeviceBody`.
fn create_body<'a>(
    request: &'a CreateRequest,
    duration_s: u32,
    sink: Option<&'a Sink>,
) -> V01CreateBody<'a> {
    let ipv4 = request.device.as_ref().and_then(|device| device.ipv4.as_ref());
    let [as_addr, _] = address::server_texts(&request.server);
    let text = |spec: &Option<PortsSpec>| spec.as_ref().map(ports::to_text);
    V01CreateBody {
        duration: duration_s,
        ue_addr: ipv4.map(address::device_text),
        as_addr,
        ue_ports: text(&request.device_ports),
        as_ports: text(&request.server_ports),
        protocol_in: ANY,
        protocol_out: ANY,
        qos: &request.qos_profile,
        notification_uri: sink.map(|sink| sink.url.as_str()),
        notification_auth_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal),
    }
}
