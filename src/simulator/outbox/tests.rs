//! Tests of the delivery of events: order, retries, duplicates and limits.

use super::*;
use crate::{
    qod::{Moment, QosStatus, Secret, StatusInfo},
    simulator::tests::{dialect, sink::SinkFixture},
};

fn outbox(events: EventSettings) -> Arc<EventOutbox> {
    Arc::new(EventOutbox::new(events, dialect("camara-1.0.0"), Outbound::new()))
}

fn sink_at(url: &str) -> Sink {
    let token = Some(Secret::new("c8974e592c2fa383d4a3960714"));
    Sink { url: url.to_owned(), token, token_expires_at: None }
}

fn event(session: SessionId, status_info: Option<StatusInfo>) -> SessionEvent {
    let status = if status_info.is_some() { QosStatus::Unavailable } else { QosStatus::Available };
    let at = Moment::from_unix_s(1_764_590_400);
    SessionEvent { id: SessionId::random().0, session, status, status_info, at }
}

#[tokio::test]
async fn events_are_posted_in_the_form_of_the_dialect_and_in_order() {
    let (outbox, mut sink_server) =
        (outbox(EventSettings::default()), SinkFixture::start(&[]).await);
    let (id, sink) = (SessionId::random(), sink_at(&format!("{}?x=1", sink_server.url)));
    outbox.enqueue(&event(id, None), &sink);
    outbox.enqueue(&event(id, Some(StatusInfo::NetworkTerminated)), &sink);
    let first = sink_server.next().await;
    assert!(first.head.starts_with("POST /cb?x=1 HTTP/1.1\r\n"), "{}", first.head);
    for field in [
        "\r\ncontent-type: application/cloudevents+json",
        "\r\nauthorization: Bearer c8974e592c2fa383d4a3960714",
    ] {
        assert!(first.head.contains(field), "{}", first.head);
    }
    assert_eq!(first.head.to_lowercase().matches("content-type").count(), 1);
    assert_eq!(first.status(), ("AVAILABLE", None));
    assert_eq!(sink_server.next().await.status(), ("UNAVAILABLE", Some("NETWORK_TERMINATED")));
    outbox.wait_until_drained(id).await;
    assert!(outbox.queues().is_empty() && sink_server.try_next().is_none());
}

#[tokio::test]
async fn failed_delivery_is_retried_before_the_next_event() {
    let outbox = outbox(EventSettings::default());
    let mut sink_server = SinkFixture::start(&["503 X", "", "204 X"]).await;
    let (id, sink) = (SessionId::random(), sink_at(&sink_server.url));
    outbox.enqueue(&event(id, None), &sink);
    outbox.enqueue(&event(id, Some(StatusInfo::DurationExpired)), &sink);
    let first = sink_server.next().await;
    assert_eq!(sink_server.next().await.body, first.body);
    assert_eq!(sink_server.next().await.body, first.body);
    assert_eq!(sink_server.next().await.status(), ("UNAVAILABLE", Some("DURATION_EXPIRED")));
}

#[tokio::test]
async fn rejected_event_is_not_retried() {
    let outbox = outbox(EventSettings::default());
    let mut sink_server = SinkFixture::start(&["410 X", "302 X\r\nLocation: /"]).await;
    let (id, sink) = (SessionId::random(), sink_at(&sink_server.url));
    for info in [None, Some(StatusInfo::NetworkTerminated), Some(StatusInfo::DurationExpired)] {
        outbox.enqueue(&event(id, info), &sink);
    }
    outbox.wait_until_drained(id).await;
    let received: Vec<_> = std::iter::from_fn(|| sink_server.try_next()).collect();
    assert_eq!(received.len(), 3, "{received:?}");
}

#[tokio::test]
async fn every_event_can_be_sent_twice() {
    let outbox = outbox(EventSettings { duplicate: true, ..EventSettings::default() });
    let mut sink_server = SinkFixture::start(&[]).await;
    let (id, sink) = (SessionId::random(), sink_at(&sink_server.url));
    outbox.enqueue(&event(id, None), &sink);
    outbox.enqueue(&event(id, Some(StatusInfo::DurationExpired)), &sink);
    for status in ["AVAILABLE", "UNAVAILABLE"] {
        let (first, second) = (sink_server.next().await, sink_server.next().await);
        assert_eq!((first.status().0, second.body), (status, first.body.clone()));
    }
}

#[tokio::test]
async fn invalid_sink_does_not_block_the_queue() {
    let outbox = outbox(EventSettings::default());
    let id = SessionId::random();
    outbox.enqueue(&event(id, None), &sink_at("ftp://a.example/"));
    let token = Some(Secret::new("a\nb"));
    outbox.enqueue(&event(id, None), &Sink { token, ..sink_at("http://127.0.0.1:9/") });
    outbox.wait_until_drained(id).await;
    assert!(outbox.queues().is_empty());
}

#[tokio::test]
async fn queues_are_bounded() {
    let outbox =
        outbox(EventSettings { delay: Duration::from_hours(1), ..EventSettings::default() });
    let id = SessionId::random();
    for _ in 0..2 * QUEUE_MAX {
        outbox.enqueue(&event(id, None), &sink_at("http://127.0.0.1:9/"));
    }
    for _ in 0..QUEUES_MAX {
        outbox.enqueue(&event(SessionId::random(), None), &sink_at("http://127.0.0.1:9/"));
    }
    assert_eq!(outbox.queues()[&id].pending.len(), QUEUE_MAX);
    assert_eq!(outbox.queues().len(), QUEUES_MAX);
}

#[test]
fn short_retry_after_is_honoured() {
    let delay = |status: u16, text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        match classify(StatusCode::from_u16(status).unwrap(), &headers) {
            PostResult::Retry(delay) => Some(delay.as_secs()),
            PostResult::Delivered | PostResult::Rejected(_) => None,
        }
    };
    assert_eq!(delay(503, "3"), Some(3));
    assert_eq!(delay(429, "10"), Some(10));
    assert_eq!(delay(503, "11"), Some(0));
    assert_eq!(delay(500, "Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
    assert_eq!(delay(404, "3"), None);
}
