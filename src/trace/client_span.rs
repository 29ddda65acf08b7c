//! The spans of calls to peers and of statements to a database.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderName, HeaderValue, Method};

use super::{
    context::{SpanReference, TRACEPARENT, TRACESTATE},
    id::SpanId,
    recorder::Recorder,
    scope::{ActiveTrace, with_current},
    span::{Attribute, Span, SpanKind},
};
use crate::clock::Tick;

/// What a call is for. Only traces use it.
#[derive(Clone, Copy, Debug)]
pub struct CallTarget<'a> {
    /// The peer.
    pub peer: Peer<'a>,
    /// The template of the path, below the base path of the peer; never the path itself, which may contain
    /// ids. Empty if there is none.
    pub route: &'a str,
}

/// A peer that the gateway calls.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// An operator.
    Operator(&'a str),
    /// A finder.
    Finder(&'a str),
    /// The token endpoint of an operator, a finder or a server of routing rules.
    TokenEndpoint,
    /// The introspection endpoint of an issuer.
    Introspection,
    /// A server of documents: keys of an issuer, or routing rules.
    Documents,
    /// The sink of a client.
    Sink,
    /// A peer of a command, or the collector of spans.
    Other,
}

/// The address of an HTTP call.
#[derive(Clone, Copy, Debug)]
pub struct CallAddress<'a> {
    /// The scheme.
    pub scheme: &'static str,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

/// The span of a call. If it is dropped before its end, the call was cancelled.
#[derive(Debug)]
pub struct ClientSpan {
    reference: SpanReference,
    state: Option<HeaderValue>,
    // `None` if the trace is not sampled.
    recorded: Option<RecordedCall>,
}

#[derive(Debug)]
struct RecordedCall {
    recorder: Arc<Recorder>,
    parent: Option<SpanId>,
    link: Option<SpanReference>,
    name: Cow<'static, str>,
    started: Tick,
    attributes: Vec<Attribute>,
}

/// The error of a call that was cancelled.
const CANCELLED: &str = "cancelled";

impl<'a> CallTarget<'a> {
    /// A call to a peer at its base path.
    pub const fn of(peer: Peer<'a>) -> Self {
        Self { peer, route: "" }
    }
}

impl Peer<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::Finder(_) => "finder",
            Self::TokenEndpoint => "token_endpoint",
            Self::Introspection => "introspection",
            Self::Documents => "documents",
            Self::Sink => "sink",
            Self::Other => "other",
        }
    }

    fn attribute(self) -> Option<Attribute> {
        match self {
            Self::Operator(name) => Some(Attribute::text("qod.operator", name.to_owned())),
            Self::Finder(name) => Some(Attribute::text("qod.finder", name.to_owned())),
            _ => None,
        }
    }
}

impl ClientSpan {
    /// Starts the span of an HTTP call in the current scope. `None` if there is no trace.
    pub fn start_call(
        method: &Method,
        target: CallTarget<'_>,
        address: CallAddress<'_>,
    ) -> Option<Self> {
        Self::start(|| {
            let mut attributes = vec![
                Attribute::text("http.request.method", method.to_string()),
                Attribute::text("server.address", address.host.to_owned()),
                Attribute::number("server.port", address.port),
                Attribute::text("url.scheme", address.scheme),
                Attribute::text("network.protocol.version", "1.1"),
                Attribute::text("qod.peer", target.peer.name()),
            ];
            attributes.extend(target.peer.attribute());
            if target.route.is_empty() {
                return (method.to_string().into(), attributes);
            }
            attributes.push(Attribute::text("url.template", target.route.to_owned()));
            (format!("{method} {}", target.route).into(), attributes)
        })
    }

    /// Starts the span of a database statement in the current scope. `None` if its trace is not sampled.
    pub fn start_statement(name: &'static str) -> Option<Self> {
        let describe = || {
            let attributes = vec![
                Attribute::text("db.system.name", "postgresql"),
                Attribute::text("db.query.summary", name),
            ];
            (Cow::Borrowed(name), attributes)
        };
        Self::start(describe).filter(|span| span.recorded.is_some())
    }

    fn start(describe: impl FnOnce() -> (Cow<'static, str>, Vec<Attribute>)) -> Option<Self> {
        with_current(|scope| scope.trace.as_deref().map(|trace| Self::below(trace, describe)))?
    }

    fn below(
        trace: &ActiveTrace,
        describe: impl FnOnce() -> (Cow<'static, str>, Vec<Attribute>),
    ) -> Self {
        let recorded = trace.recorder.as_ref().map(|recorder| {
            let (name, attributes) = describe();
            RecordedCall {
                recorder: Arc::clone(recorder),
                parent: trace.span,
                link: trace.link,
                name,
                started: recorder.now(),
                attributes,
            }
        });
        // Without a span of its own, the call is sent on behalf of the span in progress.
        let own = trace.span.filter(|_| recorded.is_none());
        let span_id = own.unwrap_or_else(SpanId::random);
        let (trace_id, flags) = (trace.trace_id, trace.flags);
        let reference = SpanReference { trace_id, span_id, flags };
        Self { reference, state: trace.state.clone(), recorded }
    }

    /// The header fields that continue the trace at the peer.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let parent = self.reference.to_traceparent().map(|value| (TRACEPARENT, value));
        let state = self.state.clone().map(|value| (TRACESTATE, value));
        parent.into_iter().chain(state)
    }

    /// Ends a call that got an HTTP response.
    pub fn end_with_status(mut self, status: u16) {
        if let Some(call) = &mut self.recorded {
            call.attributes.push(Attribute::number("http.response.status_code", status));
        }
        self.end((status >= 400).then(|| status.to_string().into()));
    }

    /// Ends a call that got no response, or a statement. An error is a short stable name.
    pub fn end(mut self, error: Option<Cow<'static, str>>) {
        self.record(error);
    }

    fn record(&mut self, error: Option<Cow<'static, str>>) {
        let Some(call) = self.recorded.take() else { return };
        let RecordedCall { recorder, parent, link, name, started, mut attributes } = call;
        let is_error = error.is_some();
        attributes.extend(error.map(|error| Attribute::text("error.type", error)));
        let ended = recorder.unix_time_of(recorder.now());
        recorder.record(Span {
            reference: self.reference,
            state: self.state.take(),
            parent,
            has_remote_parent: false,
            link,
            name,
            kind: SpanKind::Client,
            started: recorder.unix_time_of(started),
            ended,
            attributes,
            is_error,
        });
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        self.record(Some(CANCELLED.into()));
    }
}
