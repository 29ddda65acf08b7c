mod aborted;
mod crowd;
mod restarts;
mod world;

use serde_json::Value;

use self::world::{NotificationWorld, TOKEN, settings, sink, sink_at};
use super::*;
use crate::{
    outbound::tests::peer::{PeerReply, TestPeer, status},
    qod::{Secret, Sink},
};

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The statuses that a sink received, in order.
fn delivered_statuses(peer: &TestPeer) -> Vec<String> {
    let status = |request: &String| body(request)["data"]["qosStatus"].as_str().unwrap().to_owned();
    peer.requests().iter().map(status).collect()
}

/// A peer that sends these replies in order and then repeats the last one.
async fn peer_replying(replies: &[PeerReply]) -> TestPeer {
    let (replies, requests) = (replies.to_vec(), std::sync::atomic::AtomicUsize::new(0));
    TestPeer::start(move |_| {
        let index = requests.fetch_add(1, Ordering::SeqCst);
        replies[index.min(replies.len() - 1)].clone()
    })
    .await
}

fn reply(status: u16, header: &str) -> PeerReply {
    PeerReply::Bytes(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{header}\r\n\r\n"))
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn notification_is_delivered_in_the_client_dialect_with_its_token_and_removed_from_the_outbox()
 {
    let (world, peer) = (NotificationWorld::new().await, TestPeer::start(|_| status(204)).await);
    let session = world.session(sink(&peer)).await;
    world.until_outbox_is_empty().await;
    let requests = peer.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert!(request.starts_with("POST /cb?to=me HTTP/1.1\r\n"), "{request}");
    let event = body(request);
    for header in [
        "content-type: application/cloudevents+json".to_owned(),
        format!("authorization: Bearer {TOKEN}"),
        format!("x-correlator: {}", event["id"].as_str().unwrap()),
        format!("Host: {}", peer.address),
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header}: {request}");
    }
    assert_eq!(event["data"]["sessionId"], session.session.id.to_string());
    assert_eq!(event["data"]["qosStatus"], "AVAILABLE");
    let delivered = "qod_notifications_delivered_total{dialect=\"camara-1.1.0\"} 1";
    world.until_counted(delivered).await;
    world.until_counted("qod_notification_delivery_seconds_count 1").await;
    world.until_counted("qod_notifications_queued 0").await;
}

#[tokio::test]
async fn event_without_representation_in_the_dialect_is_not_sent() {
    let (world, peer) = (NotificationWorld::new().await, TestPeer::start(|_| status(204)).await);
    let session = world.session_of("one", "camara-0.8.0", sink(&peer)).await;
    world.until_outbox_is_empty().await;
    world.end_session(&session).await;
    world.until_outbox_is_empty().await;
    let requests = peer.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let path = format!("POST /cb/notifications?to=me&apikey={TOKEN} HTTP/1.1\r\n");
    assert!(request.starts_with(&path), "{request}");
    assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
    assert_eq!(body(request)["event"], "SESSION_TERMINATED");
}

#[tokio::test]
async fn failed_delivery_is_retried_before_later_notifications_of_the_session() {
    let replies = [PeerReply::Close, status(500), status(404), status(429), status(200)];
    let (world, peer) = (NotificationWorld::new().await, peer_replying(&replies).await);
    let session = world.session(sink(&peer)).await;
    world.end_session(&session).await;
    // Backoff is tested with the schedule.
    world.until_outbox_is_empty_without_backoff().await;
    let statuses = delivered_statuses(&peer);
    assert_eq!(statuses, [&["AVAILABLE"; 5][..], &["UNAVAILABLE"]].concat());
    // Each attempt has the same event id.
    let ids: Vec<Value> = peer.requests().iter().map(|r| body(r)["id"].clone()).collect();
    assert!(ids[..5].iter().all(|id| *id == ids[0]) && ids[5] != ids[0]);
    for (reason, count) in [("failed", 1), ("not_found", 1), ("timeout", 1)] {
        let name = "qod_notification_attempts_failed_total";
        world.until_counted(&format!("{name}{{reason=\"{reason}\"}} {count}")).await;
    }
}

#[tokio::test]
async fn gone_sink_receives_nothing_more_of_its_session() {
    let replies = [reply(410, ""), status(204)];
    let (world, peer) = (NotificationWorld::new().await, peer_replying(&replies).await);
    let session = world.session(sink(&peer)).await;
    world.until_outbox_is_empty().await;
    world.end_session(&session).await;
    world.until_outbox_is_empty().await;
    assert_eq!(peer.requests().len(), 1);
    let dropped = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=\"gone\"} 2";
    world.until_counted(dropped).await;
    world.session(sink(&peer)).await;
    world.until_outbox_is_empty().await;
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn pending_notifications_of_a_gone_sink_are_dropped() {
    let peer = TestPeer::start(|_| reply(410, "")).await;
    let world = NotificationWorld::stopped(settings()).await;
    let session = world.session(sink(&peer)).await;
    world.end_session(&session).await;
    world.dispatcher.start();
    world.until_outbox_is_empty().await;
    assert_eq!(delivered_statuses(&peer), ["AVAILABLE"]);
}

#[tokio::test]
async fn rejected_token_is_sent_five_times_and_expired_token_never() {
    let (world, peer) = (NotificationWorld::new().await, TestPeer::start(|_| status(401)).await);
    world.session(sink(&peer)).await;
    world.until_outbox_is_empty_without_backoff().await;
    assert_eq!(peer.requests().len(), 5);

    let expired_at = Some(world.clock.now());
    let session = world.session(Sink { token_expires_at: expired_at, ..sink(&peer) }).await;
    world.until_outbox_is_empty().await;
    world.end_session(&session).await;
    world.until_outbox_is_empty().await;
    assert_eq!(peer.requests().len(), 5);
    for (reason, count) in [("unauthorized", 1), ("expired_token", 2)] {
        let name = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=";
        world.until_counted(&format!("{name}\"{reason}\"}} {count}")).await;
    }
    // A valid token is sent.
    let valid_until = Some(world.clock.now() + HOUR);
    world.session(Sink { token_expires_at: valid_until, ..sink(&peer) }).await;
    world.until_failed(1).await;
}

#[tokio::test]
async fn rejected_notification_is_dropped_and_the_next_is_delivered() {
    let moved = reply(308, "Location: /elsewhere");
    let replies = [moved, status(422), status(204)];
    let (world, peer) = (NotificationWorld::new().await, peer_replying(&replies).await);
    let session = world.session(sink(&peer)).await;
    world.until_outbox_is_empty().await;
    world.end_session(&session).await;
    world.session(sink(&peer)).await;
    world.until_outbox_is_empty().await;
    assert_eq!(peer.requests().len(), 3);
    let dropped = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=\"rejected\"} 2";
    world.until_counted(dropped).await;
}

#[tokio::test]
async fn sink_in_a_private_network_is_not_called() {
    let peer = TestPeer::start(|_| status(204)).await;
    let world = NotificationWorld::stopped(Settings::default()).await;
    let port = peer.address.port();
    for host in ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        world.session(sink_at(&format!("http://{host}:{port}/"))).await;
    }
    world.session(sink_at("http://me:secret@127.0.0.1/")).await;
    world.session(sink_at("http://127.0.0.1:99999/")).await;
    world.dispatcher.start();
    world.until_outbox_is_empty().await;
    assert_eq!(peer.connections(), 0);
    let name = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=";
    world.until_counted(&format!("{name}\"forbidden_address\"}} 5")).await;
    world.until_counted(&format!("{name}\"not_callable\"}} 2")).await;
}

#[tokio::test]
async fn expired_notification_is_dropped() {
    let peer = TestPeer::start(|_| status(500)).await;
    let delivery_ttl = Duration::from_millis(50);
    let world = NotificationWorld::stopped(Settings { delivery_ttl, ..settings() }).await;
    world.session(sink(&peer)).await;
    world.dispatcher.start();
    world.until_outbox_is_empty().await;
    let dropped = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=\"expired\"} 1";
    world.until_counted(dropped).await;
}

#[tokio::test]
async fn retry_after_delays_the_next_attempt() {
    let replies = [reply(503, "Retry-After: 1800"), status(204)];
    let (world, peer) = (NotificationWorld::new().await, peer_replying(&replies).await);
    world.session(sink(&peer)).await;
    let waiting = world.until_failed(1).await;
    assert!(waiting.next_at.unwrap().since(world.ledger.now()) > HOUR / 3);
    assert_eq!((waiting.failure, peer.requests().len()), (Some("failed"), 1));
    world.until_outbox_is_empty_without_backoff().await;
}

#[tokio::test]
async fn pending_notifications_are_listed_without_secrets_and_can_be_dropped() {
    let (world, peer) = (NotificationWorld::new().await, TestPeer::start(|_| status(500)).await);
    let record = world.session(sink(&peer)).await;
    world.end_session(&record).await;
    let other = world.session_of("other", "camara-0.10.1", sink(&peer)).await;
    world
        .until("three", async || world.dispatcher.status(&OutboxSelector::All, None, 9).len() == 3)
        .await;
    world.until_failed(1).await;
    let all = world.dispatcher.status(&OutboxSelector::All, None, 9);
    let [first, second, third] = &all[..] else { panic!() };
    assert_eq!((first.session, second.session), (record.session.id, record.session.id));
    assert_eq!((third.session, &*third.client.0), (other.session.id, "other"));
    assert_eq!(*first.host, *format!("http://{}", peer.address));
    let shown = format!("{all:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains("/cb"), "{shown}");
    let of_other = OutboxSelector::Client("other".into());
    assert_eq!(world.dispatcher.status(&of_other, None, 9).len(), 1);

    assert_eq!(world.dispatcher.drop_notifications(&of_other), 1);
    world.until("less", async || world.outbox_len().await == 2).await;
    assert_eq!(world.dispatcher.drop_notifications(&OutboxSelector::Session(record.session.id)), 2);
    world.until_outbox_is_empty().await;
    let name = "qod_notifications_dropped_total{dialect=";
    world.until_counted(&format!("{name}\"camara-1.1.0\",reason=\"by_hand\"}} 2")).await;
    world.until_counted(&format!("{name}\"camara-0.10.1\",reason=\"by_hand\"}} 1")).await;
    assert_eq!(world.dispatcher.drop_notifications(&OutboxSelector::All), 0);
}

#[tokio::test]
async fn token_with_control_characters_is_not_sent() {
    let (world, peer) = (NotificationWorld::new().await, TestPeer::start(|_| status(204)).await);
    let token = Some(Secret::new("a\r\nX-Injected: 1"));
    world.session(Sink { token, ..sink(&peer) }).await;
    world.until_outbox_is_empty().await;
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn queue_length_and_oldest_age_are_measured() {
    let (world, peer) =
        (NotificationWorld::stopped(settings()).await, TestPeer::start(|_| status(500)).await);
    world.session(sink(&peer)).await;
    world.session(sink(&peer)).await;
    world.dispatcher.start();
    world.until_failed(1).await;
    world.until_counted("qod_notifications_queued 2").await;
    let is_positive_age = |line: &str| {
        let seconds = line.strip_prefix("qod_notification_oldest_age_seconds ");
        seconds.is_some_and(|seconds| seconds.parse::<f64>().unwrap() > 0.0)
    };
    assert!(world.metrics.text().lines().any(is_positive_age));
}
