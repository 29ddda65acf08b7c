//! The scope of a request: what its calls to peers and its log lines need, without a parameter in each
//! function between. It belongs to the task of the request.

use std::{cell::RefCell, sync::Arc};

use http::HeaderValue;
use tokio::task::futures::TaskLocalFuture;

use super::{
    context::{SpanReference, TraceContext, TraceFlags},
    id::{SpanId, TraceId},
    recorder::Recorder,
};

tokio::task_local! {
    static CURRENT: RefCell<RequestScope>;
}

/// The correlator and the trace of a request.
#[derive(Clone, Debug, Default)]
pub struct RequestScope {
    /// The correlator, once it is known.
    pub correlator: Option<HeaderValue>,
    /// The trace, if there is one.
    // Boxed, because the scope is copied in and out with each poll of the request.
    pub trace: Option<Box<ActiveTrace>>,
}

/// The trace of the request in progress.
#[derive(Clone, Debug)]
pub struct ActiveTrace {
    pub(super) trace_id: TraceId,
    /// The span in progress; `None` if the next span is the first one of the trace.
    pub(super) span: Option<SpanId>,
    pub(super) flags: TraceFlags,
    pub(super) state: Option<HeaderValue>,
    /// The span of the caller.
    pub(super) caller: Option<SpanId>,
    /// The span that caused this trace.
    pub(super) link: Option<SpanReference>,
    /// `None` if the trace is not sampled.
    pub(super) recorder: Option<Arc<Recorder>>,
}

impl ActiveTrace {
    /// A trace to which this process adds no span: it is sent on as it was received.
    pub fn forwarded(context: TraceContext) -> Self {
        let TraceContext { caller, state } = context;
        Self {
            trace_id: caller.trace_id,
            span: Some(caller.span_id),
            flags: caller.flags,
            state,
            caller: None,
            link: None,
            recorder: None,
        }
    }

    /// The trace of a request: that of its caller, or a new one. It is sampled if there is a recorder.
    pub fn of_request(context: Option<TraceContext>, recorder: Option<Arc<Recorder>>) -> Self {
        let (caller, state) = match context {
            Some(TraceContext { caller, state }) => (Some(caller), state),
            None => (None, None),
        };
        let flags = caller.map_or(TraceFlags::of_new_trace(), |caller| caller.flags);
        Self {
            trace_id: caller.map_or_else(TraceId::random, |caller| caller.trace_id),
            span: Some(SpanId::random()),
            flags: flags.with_sampled(recorder.is_some()),
            state,
            caller: caller.map(|caller| caller.span_id),
            link: None,
            recorder,
        }
    }

    /// A new trace whose first span is a call, with a link to the span that caused it.
    pub fn of_call(link: Option<SpanReference>, recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            trace_id: TraceId::random(),
            span: None,
            flags: TraceFlags::of_new_trace().with_sampled(recorder.is_some()),
            state: None,
            caller: None,
            link,
            recorder,
        }
    }

    /// The identifier of the trace.
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span in progress, as other processes name it.
    fn reference(&self) -> Option<SpanReference> {
        let Self { trace_id, flags, .. } = *self;
        self.span.map(|span_id| SpanReference { trace_id, span_id, flags })
    }
}

/// Runs the work of a request in its scope.
pub fn in_scope<W: Future>(
    scope: RequestScope,
    work: W,
) -> TaskLocalFuture<RefCell<RequestScope>, W> {
    CURRENT.scope(RefCell::new(scope), work)
}

/// Runs a function in a scope.
pub fn within<T>(scope: RequestScope, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(RefCell::new(scope), work)
}

/// Lets work on a task of its own run in the scope of the caller.
pub fn inherit<W: Future>(work: W) -> TaskLocalFuture<RefCell<RequestScope>, W> {
    in_scope(with_current(Clone::clone).unwrap_or_default(), work)
}

/// Calls `read` with the current scope, if there is one.
pub fn with_current<T>(read: impl FnOnce(&RequestScope) -> T) -> Option<T> {
    CURRENT.try_with(|scope| scope.try_borrow().ok().map(|scope| read(&scope))).ok().flatten()
}

/// Sets the correlator of the current scope.
pub fn set_correlator(correlator: &HeaderValue) {
    change(|scope| scope.correlator = Some(correlator.clone()));
}

/// The identifier of the current trace.
pub fn current_trace() -> Option<TraceId> {
    with_current(|scope| scope.trace.as_ref().map(|trace| trace.trace_id)).flatten()
}

/// The span in progress.
pub fn current_span() -> Option<SpanReference> {
    with_current(|scope| scope.trace.as_ref().and_then(|trace| trace.reference())).flatten()
}

/// Sets the span in progress.
pub(super) fn set_span(span: SpanId) {
    change(|scope| {
        if let Some(trace) = &mut scope.trace {
            trace.span = Some(span);
        }
    });
}

fn change(change: impl FnOnce(&mut RequestScope)) {
    // Outside of a request there is nothing to change.
    _ = CURRENT.try_with(|scope| scope.try_borrow_mut().map(|mut scope| change(&mut scope)));
}
