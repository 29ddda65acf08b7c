//! Create requests: parses and serializes them, with the members that the release defines. Also
//! extension and retrieval requests.

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Dialect, MalformedRequest, Strictness, UnknownMembers,
    cursor::BodyCursor,
    descriptor::{DurationRule, MemberNames, RequestRule},
    device::{self, DeviceBody},
    json_body,
    ports::{self, PortsBody},
    server::{self, ServerBody},
    sink,
    validation::ValidationErrors,
};
use crate::{
    json::Json,
    qod::{CreateRequest, Device, Operation, ProblemKind, Sink},
};

// The only supported protocol value: all protocols.
const ANY: &str = "ANY";

const EXTENSION_FIELD: &str = "requestedAdditionalDuration";

/// A create request, as serialized. A session begins with the same members.
pub(super) struct RequestBody<'a> {
    pub(super) request: &'a CreateRequest,
    /// The requested duration; in a session the granted one.
    pub(super) duration_s: u32,
    pub(super) sink: Option<&'a Sink>,
    /// Whether the token of the sink is included.
    pub(super) has_token: bool,
    /// Whether the device is reduced to one identifier.
    pub(super) has_single_identifier: bool,
    pub(super) rule: &'a RequestRule,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtendSessionBody {
    requested_additional_duration: u32,
}

#[derive(Serialize)]
struct RetrieveSessionsBody<'a> {
    device: Option<DeviceBody<'a>>,
}

impl Dialect {
    /// Parses a create request. An optional duration that is missing defaults to the maximum of the
    /// release.
    pub fn parse_create_session(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<CreateRequest, MalformedRequest> {
        self.read_create_session(&strictness.parse(body)?, strictness)
    }

    /// Parses a create request whose JSON is parsed already.
    pub(super) fn read_create_session(
        &self,
        json: &Json<'_>,
        strictness: &Strictness,
    ) -> Result<CreateRequest, MalformedRequest> {
        let strictness = &self.effective_strictness(strictness);
        let mut errors = ValidationErrors::default();
        let request = read(&BodyCursor::root(json), self.rule(), strictness, &mut errors);
        errors.into_result_with_schema(request, Some(&self.create_session), json)
    }

    /// Parses an extension request. Returns the additional duration in seconds.
    pub fn parse_extend_session(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<u32, MalformedRequest> {
        let strictness = &self.effective_strictness(strictness);
        let json = strictness.parse(body)?;
        let mut errors = ValidationErrors::default();
        let additional_s = self.has(Operation::ExtendSession).then(|| {
            read_extension(&BodyCursor::root(&json), self.rule(), strictness, &mut errors)
        });
        errors.into_result_with_schema(additional_s.flatten(), self.extend_session.as_ref(), &json)
    }

    /// Parses a retrieval request. Returns the device, or `None` if the request leaves it to the
    /// access token.
    pub fn parse_retrieve_sessions(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<Option<Device>, MalformedRequest> {
        let strictness = &self.effective_strictness(strictness);
        let json = strictness.parse(body)?;
        let mut errors = ValidationErrors::default();
        let device = self.has(Operation::RetrieveSessions).then(|| {
            read_retrieval(&BodyCursor::root(&json), self.rule(), strictness, &mut errors)
        });
        errors.into_result_with_schema(device, self.retrieve_sessions.as_ref(), &json)
    }

    /// Serializes a create request returned by [`Dialect::translate`]. `sink` is the gateway's own
    /// sink.
    pub fn create_session_request(&self, request: &CreateRequest, sink: Option<&Sink>) -> Bytes {
        json_body(&RequestBody {
            request,
            duration_s: request.duration_s,
            sink,
            has_token: true,
            has_single_identifier: false,
            rule: self.rule(),
        })
    }

    /// Serializes an extension request. Returns `None` if the dialect has no such operation.
    pub fn extend_session_request(&self, additional_s: u32) -> Option<Bytes> {
        let body = ExtendSessionBody { requested_additional_duration: additional_s };
        self.has(Operation::ExtendSession).then(|| json_body(&body))
    }

    /// Serializes a retrieval request for a device returned by [`Dialect::translate_device`].
    /// Returns `None` if the dialect has no such operation.
    pub fn retrieve_sessions_request(&self, device: &Device) -> Option<Bytes> {
        let body =
            RetrieveSessionsBody { device: DeviceBody::new(Some(device), &self.rule().device) };
        self.has(Operation::RetrieveSessions).then(|| json_body(&body))
    }
}

fn read(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<CreateRequest> {
    let names = rule.names;
    if strictness.unknown_members == UnknownMembers::Reject {
        let MemberNames { device, server, device_ports, server_ports, profile, .. } = *names;
        let mut allowed = vec!["duration", device, server, device_ports, server_ports, profile];
        allowed.extend(names.protocols);
        allowed.extend(sink::members(&rule.sink));
        body.allow_only(&allowed, errors);
    }
    for name in names.protocols {
        read_protocol(body, name, errors);
    }
    let request = read_without_sink(body, rule, errors);
    let sink = sink::read(body, &rule.sink, strictness, errors);
    Some(CreateRequest { sink, ..request? })
}

/// Parses the members of a create request that sessions have as well, except for the sink.
pub(super) fn read_without_sink(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    errors: &mut ValidationErrors,
) -> Option<CreateRequest> {
    let names = rule.names;
    let device = if rule.device.required {
        body.required(names.device, errors)
    } else {
        body.member(names.device)
    };
    let present = device.is_some();
    let mut device = device.and_then(|device| device::read(&device, rule, errors));
    let server = body
        .required(names.server, errors)
        .and_then(|server| server::read(&server, rule.servers, errors));
    let mut device_ports =
        body.member(names.device_ports).and_then(|spec| ports::read(&spec, rule, errors));
    let server_ports =
        body.member(names.server_ports).and_then(|spec| ports::read(&spec, rule, errors));
    let profile =
        body.required(names.profile, errors).and_then(|profile| read_profile(&profile, errors));
    let duration_s = read_duration(body, &rule.duration, errors);
    if let Some(device) = &mut device {
        device::apply_device_port(device, &mut device_ports, body, rule, errors);
    }
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

// No other release can filter by protocol, so ignoring the protocol would widen the flow.
fn read_protocol(body: &BodyCursor<'_>, name: &str, errors: &mut ValidationErrors) {
    let Some(protocol) = body.required(name, errors) else { return };
    if protocol.string(errors).is_some_and(|text| text != ANY) {
        let expected = format!("expected `{ANY}`; filtering by protocol is not supported");
        errors.add_semantic(protocol.pointer, ProblemKind::InvalidArgument, expected);
    }
}

fn read_profile(cursor: &BodyCursor<'_>, errors: &mut ValidationErrors) -> Option<String> {
    let name = cursor.string(errors)?;
    let valid = (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if !valid {
        errors.add_structural(cursor.pointer, "expected 1 to 256 letters, digits, `_`, `.` or `-`");
    }
    Some(name.to_owned())
}

// An optional duration that is missing defaults to the maximum.
fn read_duration(
    body: &BodyCursor<'_>,
    rule: &DurationRule,
    errors: &mut ValidationErrors,
) -> Option<u32> {
    let duration = if rule.required {
        Some(body.required("duration", errors)?)
    } else {
        body.member("duration")
    };
    match duration {
        Some(duration) => duration.integer(errors, ProblemKind::InvalidArgument, 1..=rule.s_max),
        None => Some(rule.s_max),
    }
}

fn read_extension(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<u32> {
    if strictness.unknown_members == UnknownMembers::Reject {
        body.allow_only(&[EXTENSION_FIELD], errors);
    }
    let additional = body.required(EXTENSION_FIELD, errors)?;
    additional.integer(errors, ProblemKind::InvalidArgument, 1..=rule.duration.extension_s_max)
}

fn read_retrieval(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> Option<Device> {
    if strictness.unknown_members == UnknownMembers::Reject {
        body.allow_only(&["device"], errors);
    }
    body.member("device").and_then(|device| device::read(&device, rule, errors))
}

impl RequestBody<'_> {
    /// Serializes the members into a map.
    pub(super) fn write_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let Self { request, rule, .. } = self;
        let names = rule.names;
        map.serialize_entry("duration", &self.duration_s)?;
        if let Some(device) = DeviceBody::new(request.device.as_ref(), &rule.device) {
            let device = if self.has_single_identifier {
                device.with_first_identifier_only()
            } else {
                device
            };
            map.serialize_entry(names.device, &device)?;
        }
        if let Some(server) = ServerBody::new(&request.server, rule.servers) {
            map.serialize_entry(names.server, &server)?;
        }
        let device_port = device::device_port(request.device.as_ref(), &rule.device);
        let device_ports = request
            .device_ports
            .as_ref()
            .map(|spec| PortsBody::new(spec, rule.ports))
            .or_else(|| device_port.map(PortsBody::from_port));
        if let Some(ports) = device_ports {
            map.serialize_entry(names.device_ports, &ports)?;
        }
        if let Some(spec) = &request.server_ports {
            map.serialize_entry(names.server_ports, &PortsBody::new(spec, rule.ports))?;
        }
        for protocol in names.protocols {
            map.serialize_entry(protocol, ANY)?;
        }
        map.serialize_entry(names.profile, &request.qos_profile)?;
        match self.sink {
            Some(sink) => sink::write(sink, self.has_token, &rule.sink, map),
            None => Ok(()),
        }
    }
}

impl Serialize for RequestBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write_members(&mut map)?;
        map.end()
    }
}
