//! Sends queued spans to the collector: in batches, one at a time, again after a transient failure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use rand::Rng;
use tokio::{
    select,
    time::{sleep, timeout},
};

use super::{Settings, TelemetryState, otlp};
use crate::{
    clock::Tick,
    outbound::{CallResult, OutboundCall, RETRY_AFTER_MAX, retry_after},
    reloadable::FILE_CHECK_INTERVAL,
    trace::{CallTarget, Peer},
};

// The maximum time that a span waits for others.
const INTERVAL: Duration = Duration::from_secs(1);
const BATCH_SPANS_MAX: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a batch is sent again before it is dropped.
const RETRIED_FOR: Duration = Duration::from_mins(1);
/// How long the spans that are queued at shutdown may take.
const FLUSH_MAX: Duration = Duration::from_secs(2);
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
const PATH: &str = "/v1/traces";

/// The task that exports.
pub(super) struct Exporter {
    state: Arc<TelemetryState>,
    batch: Option<Batch>,
    pause: Duration,
    is_failing: bool,
}

/// Spans that are being sent.
struct Batch {
    body: Bytes,
    spans: u64,
    started: Tick,
}

/// The answer of the collector to a batch.
#[derive(Debug, PartialEq, Eq)]
enum ExportAnswer {
    /// It has the spans, except for this number.
    Accepted { rejected: u64 },
    /// It does not accept them. The reason is a status.
    Rejected(u16),
    /// It may accept them later, after this time if it says so.
    Unavailable { reason: String, wait: Option<Duration> },
}

impl Exporter {
    pub(super) fn new(state: Arc<TelemetryState>) -> Self {
        Self { state, batch: None, pause: PAUSE_MIN, is_failing: false }
    }

    pub(super) async fn run(mut self) {
        let stopping = self.state.stopping.clone();
        while !stopping.is_cancelled() {
            let queue = Arc::clone(&self.state.queue);
            select! {
                () = stopping.cancelled() => break,
                () = queue.filled() => {}
                () = sleep(INTERVAL) => {}
            }
            // A batch in transit is sent again: it may arrive twice, with the same identifiers.
            select! {
                () = stopping.cancelled() => {}
                () = self.export_queued() => {}
            }
        }
        // The result says whether the time has passed.
        _ = timeout(FLUSH_MAX, self.flush()).await;
        let left = self.batch.take().map_or(0, |batch| batch.spans);
        self.drop_spans("shutdown", left + self.state.queue.take(usize::MAX).len() as u64);
    }

    async fn export_queued(&mut self) {
        while let Some(wait) = self.export_batch().await {
            sleep(wait).await;
        }
    }

    async fn flush(&mut self) {
        while self.export_batch().await.is_some_and(|wait| wait.is_zero()) {}
    }

    // Sends one batch. Returns the time until the next one, or `None` if no span is queued.
    async fn export_batch(&mut self) -> Option<Duration> {
        let settings = self.state.settings.load_full();
        if self.batch.is_none() {
            let spans = self.state.queue.take(BATCH_SPANS_MAX);
            if spans.is_empty() {
                return None;
            }
            self.batch = Some(Batch {
                spans: spans.len() as u64,
                body: otlp::encode(&self.state.resource, spans),
                started: self.state.clock.tick(),
            });
        }
        let (Some(settings), Some(batch)) = (settings, &self.batch) else {
            // The export was switched off.
            let spans = self.batch.take()?.spans;
            self.drop_spans("disabled", spans);
            return Some(Duration::ZERO);
        };
        let (spans, started) = (batch.spans, batch.started);
        let answer = self.send(&settings, batch.body.clone()).await;
        Some(self.apply(answer, spans, started))
    }

    fn apply(&mut self, answer: ExportAnswer, spans: u64, started: Tick) -> Duration {
        let reason = match answer {
            ExportAnswer::Accepted { rejected } => {
                self.batch = None;
                self.pause = PAUSE_MIN;
                self.state.metrics.record_spans_exported(spans.saturating_sub(rejected));
                self.drop_spans("rejected", rejected);
                self.report_recovery();
                return Duration::ZERO;
            }
            ExportAnswer::Rejected(status) => {
                self.batch = None;
                self.drop_spans("rejected", spans);
                self.report_failure(&format!("the response status is {status}"));
                return Duration::ZERO;
            }
            ExportAnswer::Unavailable { reason, wait } => {
                self.report_failure(&reason);
                wait
            }
        };
        let jittered = self.pause.mul_f64(rand::rng().random_range(0.5..1.0));
        self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
        let wait = reason.unwrap_or(jittered).min(RETRY_AFTER_MAX);
        if self.state.clock.elapsed(started) + wait > RETRIED_FOR {
            self.batch = None;
            self.drop_spans("unavailable", spans);
        }
        // Never zero, so that a collector that fails at once is not called in a loop.
        wait.max(Duration::from_millis(100))
    }

    async fn send(&self, settings: &Settings, body: Bytes) -> ExportAnswer {
        let clock = &self.state.clock;
        let mut headers =
            vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))];
        for (name, value) in &settings.headers {
            let value = value.current(clock, FILE_CHECK_INTERVAL).await;
            headers.push((name.clone(), (*value).clone()));
        }
        let call = OutboundCall {
            target: CallTarget::of(Peer::Other),
            method: Method::POST,
            path: PATH,
            headers: &headers,
            body,
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        match Box::pin(self.state.outbound.send_repeatable(&settings.endpoint, &call)).await {
            CallResult::Answered(response) => match response.status.as_u16() {
                200..=299 => {
                    ExportAnswer::Accepted { rejected: otlp::rejected_spans(&response.body) }
                }
                // Those that OTLP names.
                status @ (429 | 502 | 503 | 504) => ExportAnswer::Unavailable {
                    reason: format!("the response status is {status}"),
                    wait: retry_after(&response.headers, clock.now()),
                },
                status => ExportAnswer::Rejected(status),
            },
            CallResult::NotSent(reason)
            | CallResult::PoolExhausted(reason)
            | CallResult::Unknown(reason) => ExportAnswer::Unavailable { reason, wait: None },
        }
    }

    fn drop_spans(&self, reason: &'static str, count: u64) {
        self.state.metrics.record_spans_dropped(reason, count);
    }

    // Logs only the first failure of a series, and the recovery.
    fn report_failure(&mut self, error: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                event = "span_export_failed",
                error,
                "failed to send spans to the collector; some may be lost"
            );
        }
    }

    fn report_recovery(&mut self) {
        if std::mem::replace(&mut self.is_failing, false) {
            tracing::info!(event = "span_export_recovered", "the collector accepts spans again");
        }
    }
}
