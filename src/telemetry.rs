//! Decides which requests are traced, and exports their spans to an OpenTelemetry collector by OTLP over HTTP.
//!
//! Spans wait in a bounded queue, and one task sends them in batches. A request never waits for the collector:
//! if it is slow or away, spans are dropped and counted.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    clock::Clock,
    metrics::Metrics,
    outbound::{Endpoint, Outbound},
    reloadable::Reloadable,
    trace::{ActiveTrace, Recorder, RequestScope, SpanQueue, SpanReference, TraceContext},
};

mod exporter;
mod otlp;
#[cfg(test)]
mod tests;

use self::{exporter::Exporter, otlp::Resource};

/// Where spans are sent, and which.
pub struct Settings {
    /// The base URL of the collector; `/v1/traces` is appended.
    pub endpoint: Endpoint,
    /// The header fields of each export.
    pub headers: Vec<(HeaderName, Reloadable<HeaderValue>)>,
    /// The share of requests whose spans are exported, from 0 to 1.
    pub sample: f64,
}

/// The tracing of a process. Clones share one exporter.
#[derive(Clone)]
pub struct Telemetry(Arc<TelemetryState>);

struct TelemetryState {
    settings: ArcSwapOption<Settings>,
    queue: Arc<SpanQueue>,
    resource: Resource,
    outbound: Outbound,
    clock: Clock,
    metrics: Metrics,
    started: AtomicBool,
    stopping: CancellationToken,
    exporting: TaskTracker,
}

impl Settings {
    // Drawn here and not derived from the trace id, because a client may choose that.
    fn is_sampled(&self) -> bool {
        rand::rng().random::<f64>() < self.sample
    }
}

impl Telemetry {
    /// Creates the tracing of a process, without settings: no request is traced.
    pub fn new(clock: Clock, metrics: Metrics) -> Self {
        // The connections are not those of operators.
        let outbound = Outbound::new();
        let instance = uuid::Builder::from_random_bytes(rand::rng().random()).into_uuid();
        Self(Arc::new(TelemetryState {
            settings: ArcSwapOption::empty(),
            queue: Arc::default(),
            resource: Resource::of_process(&Uuid::to_string(&instance)),
            outbound,
            clock,
            metrics,
            started: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            exporting: TaskTracker::new(),
        }))
    }

    /// Replaces the settings. `None` ends the export.
    pub fn set(&self, settings: Option<Arc<Settings>>) {
        self.0.settings.store(settings);
    }

    /// The scope of a request with these header fields, under the settings of its policy snapshot. Without
    /// settings, a trace is sent on as it was received, and none starts.
    pub fn request_scope(&self, settings: Option<&Settings>, headers: &HeaderMap) -> RequestScope {
        let context = TraceContext::from_headers(headers);
        let trace = match settings {
            None => context.map(ActiveTrace::forwarded),
            Some(settings) => {
                let recorder = settings.is_sampled().then(|| self.recorder());
                Some(ActiveTrace::of_request(context, recorder))
            }
        };
        RequestScope { correlator: None, trace: trace.map(Box::new) }
    }

    /// The scope of a call that an earlier request caused. It is sampled if the request was.
    pub fn call_scope(
        &self,
        correlator: Option<HeaderValue>,
        cause: Option<SpanReference>,
    ) -> RequestScope {
        let trace = match (&*self.0.settings.load(), cause) {
            (None, None) => None,
            (None, Some(caller)) => {
                Some(ActiveTrace::forwarded(TraceContext { caller, state: None }))
            }
            (Some(settings), cause) => {
                let is_sampled =
                    cause.map_or_else(|| settings.is_sampled(), |cause| cause.flags.is_sampled());
                Some(ActiveTrace::of_call(cause, is_sampled.then(|| self.recorder())))
            }
        };
        RequestScope { correlator, trace: trace.map(Box::new) }
    }

    /// Starts the export on the current Tokio runtime once there are settings; it runs until
    /// [`Self::shut_down`].
    pub fn start(&self) {
        let state = &self.0;
        if state.settings.load().is_none() || state.started.swap(true, Ordering::Relaxed) {
            return;
        }
        state.exporting.spawn(Exporter::new(Arc::clone(state)).run());
    }

    /// Exports the queued spans, for at most two seconds, and ends the export.
    pub async fn shut_down(&self) {
        self.0.stopping.cancel();
        self.0.exporting.close();
        self.0.exporting.wait().await;
    }

    /// Updates the counter of spans that found the queue full.
    pub fn update_metrics(&self) {
        self.0.metrics.set_spans_dropped("queue_full", self.0.queue.dropped());
    }

    fn recorder(&self) -> Arc<Recorder> {
        Arc::new(Recorder::new(Arc::clone(&self.0.queue), self.0.clock.clone()))
    }
}

/// Omits the header fields.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("sample", &self.sample).finish_non_exhaustive()
    }
}
