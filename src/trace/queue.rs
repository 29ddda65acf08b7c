//! The bounded queue of completed spans, from requests to the exporter. A request never waits for it: a span
//! that finds it full is dropped and counted.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::span::Span;

/// The maximum number of queued spans; about 4 MiB.
const SPANS_MAX: usize = 8192;
/// The exporter is woken early if there are as many.
const WAKE_AT: usize = 512;

/// The completed spans that are not exported yet.
#[derive(Debug, Default)]
pub struct SpanQueue {
    spans: Mutex<Vec<Span>>,
    filled: Notify,
    dropped: AtomicU64,
}

impl SpanQueue {
    /// Adds a span, or drops it if the queue is full.
    pub(super) fn push(&self, span: Span) {
        let mut spans = self.lock();
        if spans.len() >= SPANS_MAX {
            drop(spans);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        spans.push(span);
        let is_batch = spans.len() == WAKE_AT;
        drop(spans);
        if is_batch {
            self.filled.notify_one();
        }
    }

    /// Takes at most `max` spans, the oldest first.
    pub fn take(&self, max: usize) -> Vec<Span> {
        let mut spans = self.lock();
        let count = spans.len().min(max);
        spans.drain(..count).collect()
    }

    /// The number of queued spans.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Waits until there are enough spans for a batch.
    pub async fn filled(&self) {
        if self.len() < WAKE_AT {
            self.filled.notified().await;
        }
    }

    /// The number of spans that were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
