//! The OTLP messages of an export of spans (`opentelemetry/proto/trace/v1`), with the fields that the gateway
//! uses. A test decodes them with OpenTelemetry's own crate.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use prost::Message;

use crate::trace::{Attribute, AttributeValue, Span, SpanKind, SpanReference};

const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
// Bits of `Span.flags`, beside those of the trace.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const STATUS_ERROR: i32 = 2;

/// A request to `/v1/traces`.
#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

/// The process that has recorded the spans.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SpanMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct InstrumentationScope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(fixed32, tag = "6")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// A successful response to an export.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
}

impl Resource {
    /// This process. `instance` differs between processes.
    pub(super) fn of_process(instance: &str) -> Self {
        let attributes = [
            ("service.name", env!("CARGO_PKG_NAME")),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", instance),
        ];
        let attributes =
            attributes.map(|(key, value)| key_value(Attribute::text(key, value.to_owned())));
        Self { attributes: attributes.into() }
    }
}

/// Encodes a request to `/v1/traces`.
pub(super) fn encode(resource: &Resource, spans: Vec<Span>) -> Bytes {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let spans = spans.into_iter().map(SpanMessage::from).collect();
    let resource_spans = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        schema_url: SCHEMA_URL.to_owned(),
    };
    ExportRequest { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

/// The number of spans that the collector rejected, by the body of a successful response.
pub(super) fn rejected_spans(body: &[u8]) -> u64 {
    let partial = ExportResponse::decode(body).ok().and_then(|response| response.partial_success);
    partial.and_then(|partial| u64::try_from(partial.rejected_spans).ok()).unwrap_or_default()
}

impl From<Span> for SpanMessage {
    fn from(span: Span) -> Self {
        let remote = if span.has_remote_parent { IS_REMOTE } else { 0 };
        let state = span.state.as_ref().map(HeaderValue::to_str);
        Self {
            trace_id: span.reference.trace_id.bytes().to_vec(),
            span_id: span.reference.span_id.bytes().to_vec(),
            trace_state: state.and_then(Result::ok).unwrap_or_default().to_owned(),
            parent_span_id: span.parent.map(|id| id.bytes().to_vec()).unwrap_or_default(),
            name: span.name.into_owned(),
            kind: match span.kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
            start_time_unix_nano: nanoseconds(span.started),
            end_time_unix_nano: nanoseconds(span.ended),
            attributes: span.attributes.into_iter().map(key_value).collect(),
            links: span.link.map(Link::from).into_iter().collect(),
            status: span.is_error.then_some(Status { code: STATUS_ERROR }),
            flags: u32::from(span.reference.flags.bits()) | HAS_IS_REMOTE | remote,
        }
    }
}

impl From<SpanReference> for Link {
    fn from(span: SpanReference) -> Self {
        Self {
            trace_id: span.trace_id.bytes().to_vec(),
            span_id: span.span_id.bytes().to_vec(),
            flags: u32::from(span.flags.bits()) | HAS_IS_REMOTE,
        }
    }
}

fn key_value(Attribute { key, value }: Attribute) -> KeyValue {
    let value = match value {
        AttributeValue::Text(text) => Value::Text(text.into_owned()),
        AttributeValue::Number(number) => Value::Number(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
