//! Distributed traces: the trace context of requests (W3C Trace Context), the scope that carries it through
//! the request path, and the spans of sampled requests. `telemetry` exports the spans.
//!
//! The scope belongs to the task of a request, so no stage passes a trace on: calls to peers read it to
//! continue the trace, and log lines to name the request.

mod client_span;
mod context;
mod id;
mod queue;
mod recorder;
mod scope;
mod server_span;
mod span;

pub use self::{
    client_span::{CallAddress, CallTarget, ClientSpan, Peer},
    context::{SpanReference, TraceContext},
    id::TraceId,
    queue::SpanQueue,
    recorder::Recorder,
    scope::{
        ActiveTrace, RequestScope, current_span, current_trace, in_scope, inherit, set_correlator,
        with_current, within,
    },
    server_span::{ServerSpan, ServerSpanEnd},
    span::{Attribute, AttributeValue, Span, SpanKind},
};

#[cfg(test)]
mod tests;
