//! Spans of sampled traces.

use std::{borrow::Cow, time::Duration};

use http::HeaderValue;

use super::{context::SpanReference, id::SpanId};

/// A completed span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The identifiers and flags.
    pub reference: SpanReference,
    /// The `tracestate` of the trace.
    pub state: Option<HeaderValue>,
    /// The span that contains this one.
    pub parent: Option<SpanId>,
    /// Whether the parent is a span of the caller.
    pub has_remote_parent: bool,
    /// The span of another trace that caused this one.
    pub link: Option<SpanReference>,
    /// The name: a method and route, a stage or a statement.
    pub name: Cow<'static, str>,
    /// The role of the process.
    pub kind: SpanKind,
    /// The start, since the Unix epoch.
    pub started: Duration,
    /// The end, since the Unix epoch.
    pub ended: Duration,
    /// What happened.
    pub attributes: Vec<Attribute>,
    /// Whether it failed.
    pub is_error: bool,
}

/// The role of the process in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within the process.
    Internal,
    /// A request that it serves.
    Server,
    /// A call that it makes.
    Client,
}

/// An attribute of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The name, by OpenTelemetry's semantic conventions or below `qod.`.
    pub key: &'static str,
    /// The value. Never personal data, and never text of a client.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl Attribute {
    /// A text.
    pub fn text(key: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        Self { key, value: AttributeValue::Text(value.into()) }
    }

    /// A number.
    pub fn number(key: &'static str, value: impl Into<i64>) -> Self {
        Self { key, value: AttributeValue::Number(value.into()) }
    }
}
