//! Sends the simulated operator's events to the sinks: in order for each session, with retries.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

use super::EventSettings;
use crate::{
    dialect::{Dialect, NotificationRequest},
    outbound::{CallResult, Endpoint, Outbound, OutboundCall},
    qod::{SessionEvent, SessionId, Sink},
    trace::{CallTarget, Peer},
};

/// Queues events for each session and sends them.
pub(super) struct EventOutbox {
    events: EventSettings,
    dialect: Arc<Dialect>,
    outbound: Outbound,
    // One queue for each session with an event that is being sent.
    queues: Mutex<HashMap<SessionId, EventQueue>>,
    // Keyed by scheme and authority.
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    post_permits: Semaphore,
}

#[derive(Default)]
struct EventQueue {
    pending: VecDeque<NotificationRequest>,
    drained: CancellationToken,
}

/// A notification with the endpoint and the header fields of its request.
struct SinkRequest {
    endpoint: Arc<Endpoint>,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    notification: NotificationRequest,
}

/// The result of a request to a sink.
enum PostResult {
    Delivered,
    Rejected(StatusCode),
    /// Retry after this duration at least.
    Retry(Duration),
}

const QUEUES_MAX: usize = 10_000;
const QUEUE_MAX: usize = 16;
const ENDPOINTS_MAX: usize = 64;
const POSTS_MAX: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
// The delays before the retries.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
// A longer `Retry-After` is ignored.
const RETRY_AFTER_S_MAX: u64 = 10;

impl EventOutbox {
    pub(super) fn new(events: EventSettings, dialect: Arc<Dialect>, outbound: Outbound) -> Self {
        Self {
            events,
            dialect,
            outbound,
            queues: Mutex::default(),
            endpoints: Mutex::default(),
            post_permits: Semaphore::new(POSTS_MAX),
        }
    }

    /// Queues an event behind the other events of its session.
    pub(super) fn enqueue(self: &Arc<Self>, event: &SessionEvent, sink: &Sink) {
        let Some(notification) = self.dialect.notification_request(event, sink) else { return };
        let mut queues = self.queues();
        let count = queues.len();
        match queues.entry(event.session) {
            Entry::Occupied(queue) if queue.get().pending.len() < QUEUE_MAX => {
                queue.into_mut().pending.push_back(notification);
            }
            Entry::Vacant(queue) if count < QUEUES_MAX => {
                queue.insert(EventQueue::default()).pending.push_back(notification);
                let (outbox, session) = (Arc::clone(self), event.session);
                tokio::spawn(async move { outbox.deliver_queue(session).await });
            }
            Entry::Occupied(_) | Entry::Vacant(_) => {
                tracing::warn!(
                    event = "simulator_event_dropped",
                    session = %event.session,
                    "notification queue full; event dropped"
                );
            }
        }
    }

    /// Waits until the queue of a session is empty.
    pub(super) async fn wait_until_drained(&self, session: SessionId) {
        let delivered = self.queues().get(&session).map(|queue| queue.drained.clone());
        if let Some(delivered) = delivered {
            delivered.cancelled().await;
        }
    }

    async fn deliver_queue(&self, session: SessionId) {
        while let Some(notification) = self.next_event(session) {
            sleep(self.events.delay).await;
            let Some(request) = self.prepare(notification) else {
                tracing::warn!(
                    event = "simulator_sink_invalid",
                    %session,
                    "sink URL or token is not valid; event dropped"
                );
                continue;
            };
            for _ in 0..if self.events.duplicate { 2 } else { 1 } {
                self.deliver(&request, session).await;
            }
        }
    }

    fn next_event(&self, session: SessionId) -> Option<NotificationRequest> {
        let mut queues = self.queues();
        let next = queues.get_mut(&session)?.pending.pop_front();
        if next.is_none() {
            queues.remove(&session)?.drained.cancel();
        }
        next
    }

    async fn deliver(&self, request: &SinkRequest, session: SessionId) {
        let mut delays = RETRY_DELAYS.iter();
        loop {
            match (self.post(request).await, delays.next()) {
                (PostResult::Delivered, _) => return,
                (PostResult::Rejected(status), _) => {
                    return tracing::warn!(
                        event = "simulator_event_rejected",
                        %session,
                        %status,
                        "sink rejected the event; event dropped"
                    );
                }
                (PostResult::Retry(_), None) => {
                    return tracing::warn!(
                        event = "simulator_event_retries_exhausted",
                        %session,
                        "failed to deliver the event; no retries left"
                    );
                }
                (PostResult::Retry(at_least), Some(delay)) => sleep(at_least.max(*delay)).await,
            }
        }
    }

    async fn post(&self, request: &SinkRequest) -> PostResult {
        let call = OutboundCall {
            target: CallTarget::of(Peer::Sink),
            method: Method::POST,
            path: &request.path,
            headers: &request.headers,
            body: request.notification.body.clone(),
            connect_timeout: TIMEOUT,
            timeout: TIMEOUT,
            response_bytes_max: ANSWER_BYTES_MAX,
        };
        // `acquire` fails only on a closed semaphore; this one is never closed.
        let _permit = self.post_permits.acquire().await;
        match self.outbound.send(&request.endpoint, &call).await {
            CallResult::Answered(answer) => classify(answer.status, &answer.headers),
            CallResult::NotSent(error)
            | CallResult::PoolExhausted(error)
            | CallResult::Unknown(error) => {
                tracing::warn!(
                    event = "simulator_event_failed",
                    error,
                    "failed to deliver the event"
                );
                PostResult::Retry(Duration::ZERO)
            }
        }
    }

    fn prepare(&self, notification: NotificationRequest) -> Option<SinkRequest> {
        let uri: Uri = notification.url.parse().ok()?;
        let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        let content_type = HeaderValue::from_static(notification.content_type);
        let mut headers = vec![(header::CONTENT_TYPE, content_type)];
        if let Some(token) = &notification.bearer {
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
            headers.push((header::AUTHORIZATION, bearer));
        }
        let path = uri.path_and_query()?.as_str().to_owned();
        Some(SinkRequest { endpoint: self.endpoint(origin)?, path, headers, notification })
    }

    fn endpoint(&self, origin: String) -> Option<Arc<Endpoint>> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(&origin) {
            return Some(Arc::clone(known));
        }
        let endpoint = Endpoint::parse(&origin, POSTS_MAX).ok()?;
        let endpoint = Arc::new(endpoint.with_trust(self.events.trust.clone()));
        if endpoints.len() >= ENDPOINTS_MAX {
            endpoints.clear();
        }
        endpoints.insert(origin, Arc::clone(&endpoint));
        Some(endpoint)
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<SessionId, EventQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn classify(status: StatusCode, headers: &HeaderMap) -> PostResult {
    if status.is_success() {
        return PostResult::Delivered;
    }
    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
        return PostResult::Rejected(status);
    }
    let seconds =
        headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let seconds = seconds.filter(|seconds| *seconds <= RETRY_AFTER_S_MAX).unwrap_or_default();
    PostResult::Retry(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
