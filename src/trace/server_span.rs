//! The span of a request, and those of its stages.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderValue, Method};

use super::{
    context::SpanReference,
    id::SpanId,
    recorder::Recorder,
    scope::{set_span, with_current},
    span::{Attribute, Span, SpanKind},
};
use crate::clock::Tick;

/// The span of a sampled request. If it is dropped before its end, the request was cancelled.
#[derive(Debug)]
pub struct ServerSpan {
    recorder: Arc<Recorder>,
    reference: SpanReference,
    state: Option<HeaderValue>,
    caller: Option<SpanId>,
    method: Method,
    started: Tick,
    stage: SpanId,
    stage_started: Tick,
    // Whether the open stage is the last one that was recorded.
    has_ended: bool,
}

/// How a request ended.
#[derive(Debug)]
pub struct ServerSpanEnd {
    /// The name: the method and the route.
    pub name: Cow<'static, str>,
    /// What happened.
    pub attributes: Vec<Attribute>,
    /// Whether it failed in this process, or behind it.
    pub is_error: bool,
}

impl ServerSpan {
    /// The span of the request of the current scope, with its first stage. `None` if its trace is not
    /// sampled.
    pub fn start(method: &Method, started: Tick) -> Option<Self> {
        let span = with_current(|scope| {
            let trace = scope.trace.as_ref()?;
            let (recorder, span_id) = (Arc::clone(trace.recorder.as_ref()?), trace.span?);
            let (trace_id, flags) = (trace.trace_id, trace.flags);
            Some(Self {
                recorder,
                reference: SpanReference { trace_id, span_id, flags },
                state: trace.state.clone(),
                method: method.clone(),
                caller: trace.caller,
                started,
                stage: SpanId::random(),
                stage_started: started,
                has_ended: false,
            })
        })??;
        set_span(span.stage);
        Some(span)
    }

    /// The span, as other processes name it.
    pub const fn reference(&self) -> SpanReference {
        self.reference
    }

    /// Records the span of the current stage and starts the next stage.
    pub fn end_stage(&mut self, stage: &'static str, now: Tick) {
        let reference = SpanReference { span_id: self.stage, ..self.reference };
        self.recorder.record(Span {
            reference,
            state: self.state.clone(),
            parent: Some(self.reference.span_id),
            has_remote_parent: false,
            link: None,
            name: Cow::Borrowed(stage),
            kind: SpanKind::Internal,
            started: self.recorder.unix_time_of(self.stage_started),
            ended: self.recorder.unix_time_of(now),
            attributes: Vec::new(),
            is_error: false,
        });
        (self.stage, self.stage_started) = (SpanId::random(), now);
        set_span(self.stage);
    }

    /// Records the span of the request.
    pub fn end(mut self, end: ServerSpanEnd, now: Tick) {
        self.record(end, now);
    }

    fn record(&mut self, end: ServerSpanEnd, now: Tick) {
        self.has_ended = true;
        let ServerSpanEnd { name, attributes, is_error } = end;
        // Calls after the response, such as those of recovery, belong to the request as a whole.
        set_span(self.reference.span_id);
        self.recorder.record(Span {
            reference: self.reference,
            state: self.state.take(),
            parent: self.caller,
            has_remote_parent: self.caller.is_some(),
            link: None,
            name,
            kind: SpanKind::Server,
            started: self.recorder.unix_time_of(self.started),
            ended: self.recorder.unix_time_of(now),
            attributes,
            is_error,
        });
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let now = self.recorder.now();
        self.end_stage("serve", now);
        let name = self.method.to_string();
        let attributes = vec![
            Attribute::text("http.request.method", name.clone()),
            Attribute::text("error.type", "cancelled"),
        ];
        self.record(ServerSpanEnd { name: name.into(), attributes, is_error: true }, now);
    }
}
