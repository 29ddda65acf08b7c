//! Posts due notifications to their sinks and records the results in the delivery queue.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use tokio::{select, time::sleep};

use super::{
    DeliveryQueue, DispatcherInner, OutboxSelector,
    acknowledgement::CompletedNotification,
    delivery_result::{self, DeliveryResult, DropReason},
    schedule::{Disposition, DueNotification, HostResponse},
    sink_url::SinkUrl,
};
use crate::{
    dialect::NotificationRequest,
    ledger::{Error, QueuedNotification},
    outbound::{CallResult, Endpoint, OutboundCall},
    qod::{Moment, Secret},
    trace::{self, CallTarget, Peer},
};

// How often the queue is searched for expired notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const DROPPED_PER_POLL_MAX: usize = 1000;
const READ_ERROR_PAUSE: Duration = Duration::from_secs(1);
// A sink that takes longer to answer counts as slow; slow sinks do not use the calls of prompt
// ones.
const PROMPT_RESPONSE_MAX: Duration = Duration::from_secs(2);
const RESPONSE_BYTES_MAX: usize = 4096;
const ABORTED: &str = "aborted";
const X_CORRELATOR: HeaderName = HeaderName::from_static("x-correlator");

/// A delivery that occupies slots of the schedule. It returns them when it ends, in whatever way: a
/// delivery that panics or is cancelled counts as one without a response.
pub(super) struct StartedDelivery {
    dispatcher: Arc<DispatcherInner>,
    due: DueNotification,
    completed: bool,
}

impl DispatcherInner {
    /// Starts due deliveries until shutdown.
    pub(super) async fn dispatch(self: Arc<Self>) {
        while !self.stopping.is_cancelled() {
            let next_poll = self.poll();
            select! {
                () = self.stopping.cancelled() => {}
                () = self.delivery_due.notified() => {}
                () = sleep(next_poll) => {}
            }
        }
    }

    // Drops expired notifications and starts due deliveries. Returns the delay until the next poll.
    fn poll(self: &Arc<Self>) -> Duration {
        let now = self.ledger.now();
        let mut queue = self.queue();
        let expired = queue.drop_expired(now - self.settings.delivery_ttl);
        if expired > 0 {
            self.completion_ready.notify_one();
        }
        if now < queue.paused_until {
            return queue.paused_until.since(now);
        }
        let mut started = Vec::new();
        while let Some(due) = queue.schedule.next_due(now) {
            started.push(StartedDelivery::new(Arc::clone(self), due));
        }
        let wake_at = queue.schedule.wake_at();
        // A delivery that ends locks the queue.
        drop(queue);
        for delivery in started {
            self.deliveries.spawn(Arc::clone(self).deliver(delivery));
        }
        if expired == DROPPED_PER_POLL_MAX {
            return Duration::ZERO;
        }
        wake_at.map_or(POLL_INTERVAL, |at| at.since(now).min(POLL_INTERVAL))
    }

    async fn deliver(self: Arc<Self>, mut delivery: StartedDelivery) {
        let (number, call_timeout) = (delivery.due.number, self.settings.timeout);
        match self.ledger.notification_to_deliver(number, call_timeout).await {
            Ok(Some(entry)) => {
                let correlator = HeaderValue::from_str(&entry.event.id.to_string()).ok();
                let scope = self.telemetry.call_scope(correlator, entry.trace);
                let delivering = async {
                    let (response, result) = self.attempt(&entry, &delivery.due).await;
                    self.record_result(&mut delivery, &entry, response, result);
                };
                trace::in_scope(scope, delivering).await;
            }
            Ok(None) => {
                let now = self.ledger.now();
                let (response, disposition) = (HostResponse::NotCalled, Disposition::Done);
                delivery.complete(&mut self.queue(), response, disposition, now);
            }
            Err(error) => self.pause_after_read_error(&mut delivery, &error),
        }
    }

    fn pause_after_read_error(&self, delivery: &mut StartedDelivery, error: &Error) {
        let now = self.ledger.now();
        let mut queue = self.queue();
        let (response, disposition) = (HostResponse::NotCalled, Disposition::NotAttempted);
        delivery.complete(&mut queue, response, disposition, now);
        if queue.paused_until <= now {
            queue.paused_until = now + READ_ERROR_PAUSE;
            tracing::warn!(
                event = "notification_read_failed",
                %error,
                "failed to read a notification from the outbox; delivery is paused"
            );
        }
    }

    async fn attempt(
        &self,
        entry: &QueuedNotification,
        due: &DueNotification,
    ) -> (HostResponse, DeliveryResult) {
        let not_called = |result| (HostResponse::NotCalled, result);
        let expires_at = entry.sink.token_expires_at;
        if expires_at.is_some_and(|at| at <= self.clock.now()) {
            return not_called(DeliveryResult::SinkGone(DropReason::ExpiredToken));
        }
        let dialects = self.dialects.load_full();
        let Some(dialect) = dialects.get(&entry.dialect) else {
            return not_called(DeliveryResult::Dropped(DropReason::UnknownDialect));
        };
        let Some(notification) = dialect.notification_request(&entry.event, &entry.sink) else {
            return not_called(DeliveryResult::NotRepresentable);
        };
        let called = SinkUrl::parse(&notification.url)
            .and_then(|sink_url| Some((self.endpoint(&sink_url.host)?, sink_url.path)))
            .zip(headers(entry, &notification));
        let Some(((endpoint, path), headers)) = called else {
            return not_called(DeliveryResult::Dropped(DropReason::NotCallable));
        };
        let body = notification.body;
        self.call(&endpoint, &path, &headers, body, due).await
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        due: &DueNotification,
    ) -> (HostResponse, DeliveryResult) {
        let timeout = self.settings.timeout;
        let call = OutboundCall {
            target: CallTarget::of(Peer::Sink),
            method: Method::POST,
            path,
            headers,
            body,
            connect_timeout: timeout,
            timeout,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        let started = self.clock.tick();
        let sent = Box::pin(self.outbound.notify(endpoint, &call)).await;
        let response = match &sent {
            Ok(CallResult::Answered(_)) if self.clock.elapsed(started) <= PROMPT_RESPONSE_MAX => {
                HostResponse::Prompt
            }
            Ok(CallResult::Answered(_)) => HostResponse::Slow,
            Ok(CallResult::NotSent(_) | CallResult::PoolExhausted(_) | CallResult::Unknown(_)) => {
                HostResponse::NoResponse
            }
            Err(_) => HostResponse::NotCalled,
        };
        (response, delivery_result::classify(&sent, due.failure, self.clock.now()))
    }

    fn endpoint(&self, host: &Arc<str>) -> Option<Arc<Endpoint>> {
        if let Some(endpoint) = self.endpoints.get(host) {
            return Some(endpoint);
        }
        let calls_max = self.settings.calls_per_host_max;
        let endpoint = Endpoint::guarded(host, calls_max, Arc::clone(&self.guard)).ok()?;
        let endpoint = Arc::new(endpoint.with_trust(self.settings.trust.clone()));
        self.endpoints.insert(Arc::clone(host), Arc::clone(&endpoint));
        Some(endpoint)
    }

    fn record_result(
        &self,
        delivery: &mut StartedDelivery,
        entry: &QueuedNotification,
        response: HostResponse,
        result: DeliveryResult,
    ) {
        let now = self.ledger.now();
        let mut queue = self.queue();
        let there = delivery.complete(&mut queue, response, result.disposition(), now);
        let due = &delivery.due;
        if there && let Some(completed) = result.completed(due.number) {
            queue.completed.push(completed);
        }
        if let DeliveryResult::SinkGone(reason) = result {
            queue.drop_session(due, reason);
        }
        drop(queue);
        self.completion_ready.notify_one();
        match result {
            DeliveryResult::Delivered if there => {
                self.metrics
                    .record_notification_delivered(&entry.dialect, now.since(entry.queued_at));
            }
            DeliveryResult::Retry(_, reason) => {
                self.metrics.record_notification_attempt_failed(reason);
            }
            DeliveryResult::Dropped(reason) | DeliveryResult::SinkGone(reason) => tracing::info!(
                event = "notification_abandoned",
                session = %due.session,
                client = %entry.client,
                reason = reason.name(),
                "notification dropped"
            ),
            DeliveryResult::Delivered | DeliveryResult::NotRepresentable => {}
        }
    }
}

impl StartedDelivery {
    pub(super) fn new(dispatcher: Arc<DispatcherInner>, due: DueNotification) -> Self {
        Self { dispatcher, due, completed: false }
    }

    // Returns `false` if the notification was removed in the meantime.
    fn complete(
        &mut self,
        queue: &mut DeliveryQueue,
        response: HostResponse,
        disposition: Disposition,
        now: Moment,
    ) -> bool {
        let there = queue.schedule.complete(&self.due, response, disposition, now);
        self.completed = true;
        there
    }
}

impl Drop for StartedDelivery {
    fn drop(&mut self) {
        let dispatcher = Arc::clone(&self.dispatcher);
        if !self.completed {
            let now = dispatcher.ledger.now();
            let disposition = Disposition::Retry(Duration::ZERO, ABORTED);
            self.complete(&mut dispatcher.queue(), HostResponse::NoResponse, disposition, now);
            dispatcher.metrics.record_notification_attempt_failed(ABORTED);
            tracing::error!(
                event = "notification_delivery_aborted",
                session = %self.due.session,
                "the delivery of a notification was aborted; it is retried"
            );
        }
        dispatcher.delivery_due.notify_one();
    }
}

impl DeliveryQueue {
    fn drop_expired(&mut self, queued_before: Moment) -> usize {
        let mut dropped = 0;
        while dropped < DROPPED_PER_POLL_MAX
            && let Some(number) = self.schedule.remove_expired(queued_before)
        {
            self.completed.push(CompletedNotification::dropped(number, DropReason::Expired));
            dropped += 1;
        }
        dropped
    }

    fn drop_session(&mut self, due: &DueNotification, reason: DropReason) {
        self.dead_sinks.insert(due.session, reason);
        let numbers = self.schedule.remove(&OutboxSelector::Session(due.session));
        self.completed.extend(
            numbers.into_iter().map(|number| CompletedNotification::dropped(number, reason)),
        );
    }
}

impl DeliveryResult {
    const fn disposition(self) -> Disposition {
        match self {
            Self::Retry(wait, reason) => Disposition::Retry(wait, reason),
            Self::Delivered | Self::NotRepresentable | Self::Dropped(_) | Self::SinkGone(_) => {
                Disposition::Done
            }
        }
    }

    const fn completed(self, number: u64) -> Option<CompletedNotification> {
        match self {
            Self::Retry(..) => None,
            Self::Delivered | Self::NotRepresentable => {
                Some(CompletedNotification::delivered(number))
            }
            Self::Dropped(reason) | Self::SinkGone(reason) => {
                Some(CompletedNotification::dropped(number, reason))
            }
        }
    }
}

// Returns `None` if the token is not valid in a header field.
fn headers(
    entry: &QueuedNotification,
    notification: &NotificationRequest,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let correlator = HeaderValue::from_str(&entry.event.id.to_string()).ok()?;
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static(notification.content_type)),
        (X_CORRELATOR, correlator),
    ];
    if let Some(token) = &notification.bearer {
        headers.push((header::AUTHORIZATION, bearer(token)?));
    }
    Some(headers)
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
