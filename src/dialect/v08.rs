//! The codec of CAMARA 0.8: `ueId`, `asId`, `qos`, and everything at the top level.

use bytes::Bytes;
use serde::Serialize;

use super::{
    Strictness, UnknownMembers, address,
    answer::{self, Form, Remark, Unreadable},
    descriptor::{Ipv4Form, Rule},
    fault::Faults,
    node::Node,
    ports::{self, Ports},
    sink, written,
};
use crate::qod::{
    ApplicationServer, CreateSession, Device, DeviceIpv4, Granted, Kind, Nai, PortsSpec, QosStatus,
    Secret, Session, Sink, Written,
};

const TOKEN_FIELD: &str = "notificationAuthToken";

const SERVER_FIELDS: [&str; 2] = ["ipv4addr", "ipv6addr"];

// The family has no status: a session that is told of is available.
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
    ue_id: UeId<'a>,
    as_id: AsId,
    #[serde(skip_serializing_if = "Option::is_none")]
    ue_ports: Option<Ports<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_ports: Option<Ports<'a>>,
    qos: &'a str,
    // Of these two a release has one.
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
struct WrittenSession<'a> {
    #[serde(flatten)]
    wish: WrittenWish<'a>,
    id: String,
    started_at: u64,
    expires_at: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Remark<'a>>,
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
        let known = ["duration", "ueId", "asId", "uePorts", "asPorts", "qos", TOKEN_FIELD];
        body.only(&[known.as_slice(), &[notify_field]].concat(), faults);
    }
    let device = body.required("ueId", faults).and_then(|ue_id| read_device(&ue_id, faults));
    let server = body
        .required("asId", faults)
        .and_then(|as_id| address::server(&as_id, SERVER_FIELDS, rule, faults));
    let mut device_ports = body.member("uePorts").map(|spec| ports::read(&spec, rule, faults));
    let server_ports = body.member("asPorts").map(|spec| ports::read(&spec, rule, faults));
    let qos = body.required("qos", faults).and_then(|qos| answer::read_profile(&qos, faults));
    let duration_s = answer::read_duration(body, &rule.duration, faults);
    let url = body.member(notify_field).and_then(|url| sink::url(&url, faults));
    let token = body
        .member(TOKEN_FIELD)
        .and_then(|token| sink::token(&token, (1, sink::TOKEN_BYTES_MAX), faults));
    let mut device = device?;
    if rule.device.ipv4 == Ipv4Form::WithDevicePort {
        with_port(&mut device, &mut device_ports, body, faults);
    }
    Some(CreateSession {
        device: Some(device),
        server: server?,
        device_ports,
        server_ports,
        qos_profile: qos?,
        duration_s: duration_s?,
        sink: url.map(|url| Sink { url, token, token_expires_at: None }),
    })
}

// The device's one port is the public port of its address, and no filter then.
fn with_port(
    device: &mut Device,
    ports: &mut Option<PortsSpec>,
    body: &Node<'_>,
    faults: &mut Faults,
) {
    let Some(DeviceIpv4::Legacy(net)) = &device.ipv4 else { return };
    if net.value.prefix_len() < 32 {
        let expected = "expected a single address";
        faults.meaning(body.place, Kind::InvalidArgument, expected);
        return;
    }
    let public = net.value.addr();
    if let Some(&[port]) = ports.take().map(|spec| spec.ports).as_deref() {
        device.ipv4 = Some(DeviceIpv4::Public { public, private: None, public_port: Some(port) });
    } else {
        let expected = "expected `uePorts` with the public port of `ueId/ipv4addr`";
        faults.meaning(body.place, Kind::InvalidArgument, expected);
    }
}

fn read_device(ue_id: &Node<'_>, faults: &mut Faults) -> Option<Device> {
    let names = ["externalId", "msisdn", "ipv4addr", "ipv6addr"];
    ue_id.only(&names, faults);
    ue_id.any_of(&names, faults);
    let device = Device {
        phone: ue_id.member("msisdn").and_then(|number| address::phone(&number, faults)),
        nai: None,
        external_id: ue_id.member("externalId").and_then(|id| address::nai(&id, faults)),
        ipv4: ue_id
            .member("ipv4addr")
            .and_then(|net| address::ipv4_net(&net, faults))
            .map(DeviceIpv4::Legacy),
        ipv6: ue_id.member("ipv6addr").and_then(|net| address::ipv6_net(&net, faults)),
    };
    (!device.is_empty()).then_some(device)
}

/// Writes what an operator is asked for.
pub(super) fn write_wanted(fitted: &CreateSession, sink: Option<&Sink>, rule: &Rule) -> Bytes {
    written(&wish(fitted, fitted.duration_s, sink, rule))
}

/// Writes what a client is told. Its token stays with us.
pub(super) fn write_session(session: &Session, rule: &Rule) -> Bytes {
    let Session { id, wanted, granted } = session;
    let wish = wish(wanted, granted.duration_s, wanted.sink.as_ref(), rule);
    let (started_at, expires_at) = answer::times(granted);
    written(&WrittenSession {
        wish: WrittenWish { notification_auth_token: None, ..wish },
        id: id.to_string(),
        started_at,
        expires_at,
        messages: answer::remarks(granted),
    })
}

/// Reads what an operator tells.
pub(super) fn read_session(body: &[u8]) -> Result<(String, Granted), Unreadable> {
    answer::read_session(body, &FORM)
}

fn wish<'a>(
    wanted: &'a CreateSession,
    duration_s: u32,
    sink: Option<&'a Sink>,
    rule: &Rule,
) -> WrittenWish<'a> {
    let url = sink.map(|sink| sink.url.as_str());
    let as_uri = rule.sink.field == "notificationUri";
    WrittenWish {
        duration: duration_s,
        ue_id: wanted.device.as_ref().map(|device| write_device(device, rule)).unwrap_or_default(),
        as_id: write_server(&wanted.server),
        ue_ports: wanted.device_ports.as_ref().map(Ports::from).or_else(|| own_port(wanted, rule)),
        as_ports: wanted.server_ports.as_ref().map(Ports::from),
        qos: &wanted.qos_profile,
        notification_uri: url.filter(|_| as_uri),
        notification_url: url.filter(|_| !as_uri),
        notification_auth_token: sink.and_then(|sink| sink.token.as_ref()).map(Secret::reveal),
    }
}

// The public port of its address, where that stands for it.
fn own_port<'a>(wanted: &'a CreateSession, rule: &Rule) -> Option<Ports<'a>> {
    match wanted.device.as_ref()?.ipv4.as_ref()? {
        DeviceIpv4::Public { public_port: Some(port), .. }
            if rule.device.ipv4 == Ipv4Form::WithDevicePort =>
        {
            Some(Ports::of_one(port))
        }
        _ => None,
    }
}

// A device of another family's is shown as near to it as this one can: see `wish::WrittenDevice`.
fn write_device<'a>(device: &'a Device, rule: &Rule) -> UeId<'a> {
    let Device { phone, nai, external_id, ipv4, ipv6 } = device;
    UeId {
        external_id: external_id.as_ref().or(nai.as_ref()).map(Nai::as_str),
        msisdn: phone.as_ref().map(Written::text),
        ipv4addr: ipv4.as_ref().map(|ipv4| match ipv4 {
            DeviceIpv4::Public { public, .. } if rule.device.ipv4 == Ipv4Form::WithDevicePort => {
                public.to_string()
            }
            other => address::device_text(other),
        }),
        ipv6addr: ipv6.as_ref().map(Written::text),
    }
}

fn write_server(server: &ApplicationServer) -> AsId {
    let [ipv4addr, ipv6addr] = address::server_texts(server);
    AsId { ipv4addr, ipv6addr }
}
