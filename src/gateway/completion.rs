//! Work that runs to completion although the request that started it is cancelled: a call that changes
//! something at an operator, with the ledger's part of it.
//!
//! The request runs the work itself. Only if the request is cancelled, a task of its own continues the work: so
//! the usual request needs no second task.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::CatchUnwind};
use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TrackedFuture};

use crate::trace;

type TrackedWork<W> = TrackedFuture<CatchUnwind<AssertUnwindSafe<W>>>;

/// Work that continues if this future is dropped. A panic in the work is its result.
pub(super) struct ToCompletion<W>
where
    W: Future<Output: Send + 'static> + Send + 'static,
{
    // `None` once the work is complete. Boxed, because a task may take it over.
    work: Option<Pin<Box<TrackedWork<W>>>>,
}

impl<W> ToCompletion<W>
where
    W: Future<Output: Send + 'static> + Send + 'static,
{
    /// The tracker waits for the work.
    pub(super) fn new(tracker: &TaskTracker, work: W) -> Self {
        let work = tracker.track_future(AssertUnwindSafe(work).catch_unwind());
        Self { work: Some(Box::pin(work)) }
    }
}

impl<W> Future for ToCompletion<W>
where
    W: Future<Output: Send + 'static> + Send + 'static,
{
    type Output = Result<W::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<W> Drop for ToCompletion<W>
where
    W: Future<Output: Send + 'static> + Send + 'static,
{
    fn drop(&mut self) {
        // Without a runtime, the process ends.
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(trace::inherit(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn result_and_panic_are_returned() {
        let tracker = TaskTracker::new();
        assert_eq!(ToCompletion::new(&tracker, async { 7 }).await.unwrap(), 7);
        let panicking = async { std::panic::panic_any("expected") };
        let result: Result<(), _> = ToCompletion::new(&tracker, panicking).await;
        assert_eq!(result.unwrap_err().downcast_ref(), Some(&"expected"));
        assert!(tracker.is_empty());
    }

    #[tokio::test]
    async fn work_continues_after_its_request_is_cancelled() {
        let tracker = TaskTracker::new();
        let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let work = {
            let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
            async move {
                gate.acquire().await.unwrap().forget();
                done.add_permits(1);
            }
        };
        let mut request = Box::pin(ToCompletion::new(&tracker, work));
        assert!((&mut request).now_or_never().is_none(), "the work waits");
        drop(request);
        tracker.close();
        assert!(!tracker.is_empty(), "the tracker waits for the work");
        gate.add_permits(1);
        tracker.wait().await;
        assert_eq!(done.available_permits(), 1);
    }

    #[tokio::test]
    async fn work_that_continues_stays_in_the_scope_of_its_request() {
        let tracker = TaskTracker::new();
        let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let seen = Arc::new(std::sync::Mutex::new(None));
        let work = {
            let (gate, done, seen) = (Arc::clone(&gate), Arc::clone(&done), Arc::clone(&seen));
            async move {
                gate.acquire().await.unwrap().forget();
                *seen.lock().unwrap() =
                    trace::with_current(|scope| scope.correlator.clone()).flatten();
                done.add_permits(1);
            }
        };
        let correlator = http::HeaderValue::from_static("c1");
        let scope = trace::RequestScope { correlator: Some(correlator.clone()), trace: None };
        let mut request = Box::pin(trace::in_scope(scope, ToCompletion::new(&tracker, work)));
        assert!((&mut request).now_or_never().is_none(), "the work waits");
        drop(request);
        gate.add_permits(1);
        done.acquire().await.unwrap().forget();
        assert_eq!(*seen.lock().unwrap(), Some(correlator));
    }

    #[tokio::test]
    async fn work_that_was_never_polled_runs_as_well() {
        let tracker = TaskTracker::new();
        let done = Arc::new(Semaphore::new(0));
        let work = {
            let done = Arc::clone(&done);
            async move { done.add_permits(1) }
        };
        drop(ToCompletion::new(&tracker, work));
        tracker.close();
        tracker.wait().await;
        assert_eq!(done.available_permits(), 1);
    }
}
