mod crowd;
mod restarts;
mod world;

use serde_json::Value;

use self::world::{TOKEN, World, settings, sink, sink_at};
use super::*;
use crate::{
    outbound::tests::peer::{Peer, Reply, status},
    qod::{Secret, Sink},
};

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The statuses that a sink was told, in order.
fn told(peer: &Peer) -> Vec<String> {
    let status = |request: &String| body(request)["data"]["qosStatus"].as_str().unwrap().to_owned();
    peer.requests().iter().map(status).collect()
}

/// A peer that gives these answers one after the other, and then the last one on and on.
async fn answering(replies: &[Reply]) -> Peer {
    let (replies, asked) = (replies.to_vec(), std::sync::atomic::AtomicUsize::new(0));
    Peer::with(move |_| {
        let asked = asked.fetch_add(1, Ordering::SeqCst);
        replies[asked.min(replies.len() - 1)].clone()
    })
    .await
}

fn answer(status: u16, header: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{header}\r\n\r\n"))
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_notice_is_told_in_its_clients_dialect_with_its_token_and_leaves_the_outbox() {
    let (world, peer) = (World::new().await, Peer::with(|_| status(204)).await);
    let session = world.session(sink(&peer)).await;
    world.until_settled().await;
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
async fn what_a_dialect_has_no_word_for_is_not_told() {
    let (world, peer) = (World::new().await, Peer::with(|_| status(204)).await);
    let session = world.session_of("one", "camara-0.8.0", sink(&peer)).await;
    world.until_settled().await;
    world.ends(&session).await;
    world.until_settled().await;
    let requests = peer.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let path = format!("POST /cb/notifications?to=me&apikey={TOKEN} HTTP/1.1\r\n");
    assert!(request.starts_with(&path), "{request}");
    assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
    assert_eq!(body(request)["event"], "SESSION_TERMINATED");
}

#[tokio::test]
async fn what_is_not_heard_is_told_again_and_nothing_of_its_session_before() {
    let replies = [Reply::Close, status(500), status(404), status(429), status(200)];
    let (world, peer) = (World::new().await, answering(&replies).await);
    let session = world.session(sink(&peer)).await;
    world.ends(&session).await;
    // How long is waited is the schedule's business.
    world.until_settled_without_waiting().await;
    let told = told(&peer);
    assert_eq!(told, [&["AVAILABLE"; 5][..], &["UNAVAILABLE"]].concat());
    // The same each time.
    let ids: Vec<Value> = peer.requests().iter().map(|r| body(r)["id"].clone()).collect();
    assert!(ids[..5].iter().all(|id| *id == ids[0]) && ids[5] != ids[0]);
    for (reason, count) in [("failed", 1), ("not_found", 1), ("no_answer", 1)] {
        let name = "qod_notification_attempts_failed_total";
        world.until_counted(&format!("{name}{{reason=\"{reason}\"}} {count}")).await;
    }
}

#[tokio::test]
async fn a_sink_that_is_gone_hears_nothing_more_of_that_session_and_of_others_still() {
    let replies = [answer(410, ""), status(204)];
    let (world, peer) = (World::new().await, answering(&replies).await);
    let session = world.session(sink(&peer)).await;
    world.until_settled().await;
    world.ends(&session).await;
    world.until_settled().await;
    assert_eq!(peer.requests().len(), 1);
    let dropped = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=\"gone\"} 2";
    world.until_counted(dropped).await;
    world.session(sink(&peer)).await;
    world.until_settled().await;
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn what_a_gone_sink_was_still_to_hear_is_dropped_with_it() {
    let peer = Peer::with(|_| answer(410, "")).await;
    let world = World::quiet(settings()).await;
    let session = world.session(sink(&peer)).await;
    world.ends(&session).await;
    world.courier.start();
    world.until_settled().await;
    assert_eq!(told(&peer), ["AVAILABLE"]);
}

#[tokio::test]
async fn a_token_is_shown_five_times_in_a_row_and_not_when_it_is_over() {
    let (world, peer) = (World::new().await, Peer::with(|_| status(401)).await);
    world.session(sink(&peer)).await;
    world.until_settled_without_waiting().await;
    assert_eq!(peer.requests().len(), 5);

    let over = Some(world.clock.now());
    let session = world.session(Sink { token_expires_at: over, ..sink(&peer) }).await;
    world.until_settled().await;
    world.ends(&session).await;
    world.until_settled().await;
    assert_eq!(peer.requests().len(), 5);
    for (reason, count) in [("unauthorized", 1), ("expired_token", 2)] {
        let name = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=";
        world.until_counted(&format!("{name}\"{reason}\"}} {count}")).await;
    }
    // One that is good yet is shown.
    let good = Some(world.clock.now() + HOUR);
    world.session(Sink { token_expires_at: good, ..sink(&peer) }).await;
    world.until_failed(1).await;
}

#[tokio::test]
async fn what_a_sink_refuses_is_dropped_and_the_next_is_told() {
    let moved = answer(308, "Location: /elsewhere");
    let replies = [moved, status(422), status(204)];
    let (world, peer) = (World::new().await, answering(&replies).await);
    let session = world.session(sink(&peer)).await;
    world.until_settled().await;
    world.ends(&session).await;
    world.session(sink(&peer)).await;
    world.until_settled().await;
    assert_eq!(peer.requests().len(), 3);
    let dropped = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=\"refused\"} 2";
    world.until_counted(dropped).await;
}

#[tokio::test]
async fn a_sink_inside_our_own_network_is_not_called() {
    let peer = Peer::with(|_| status(204)).await;
    let world = World::quiet(Settings::default()).await;
    let port = peer.address.port();
    for host in ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
        world.session(sink_at(&format!("http://{host}:{port}/"))).await;
    }
    world.session(sink_at("http://me:secret@127.0.0.1/")).await;
    world.session(sink_at("http://127.0.0.1:99999/")).await;
    world.courier.start();
    world.until_settled().await;
    assert_eq!(peer.connections(), 0);
    let name = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=";
    world.until_counted(&format!("{name}\"forbidden_address\"}} 5")).await;
    world.until_counted(&format!("{name}\"not_callable\"}} 2")).await;
}

#[tokio::test]
async fn what_waits_for_too_long_is_dropped() {
    let peer = Peer::with(|_| status(500)).await;
    let kept_for = Duration::from_millis(50);
    let world = World::quiet(Settings { kept_for, ..settings() }).await;
    world.session(sink(&peer)).await;
    world.courier.start();
    world.until_settled().await;
    let dropped = "qod_notifications_dropped_total{dialect=\"camara-1.1.0\",reason=\"too_old\"} 1";
    world.until_counted(dropped).await;
}

#[tokio::test]
async fn a_sink_that_says_when_to_come_again_is_left_alone_until_then() {
    let replies = [answer(503, "Retry-After: 1800"), status(204)];
    let (world, peer) = (World::new().await, answering(&replies).await);
    world.session(sink(&peer)).await;
    let waiting = world.until_failed(1).await;
    assert!(waiting.next_at.unwrap().since(world.ledger.now()) > HOUR / 3);
    assert_eq!((waiting.failure, peer.requests().len()), (Some("failed"), 1));
    world.until_settled_without_waiting().await;
}

#[tokio::test]
async fn people_see_what_waits_without_secrets_and_may_drop_it() {
    let (world, peer) = (World::new().await, Peer::with(|_| status(500)).await);
    let record = world.session(sink(&peer)).await;
    world.ends(&record).await;
    let other = world.session_of("other", "camara-0.10.1", sink(&peer)).await;
    world.until("three", async || world.courier.status(&Which::All, None, 9).len() == 3).await;
    world.until_failed(1).await;
    let all = world.courier.status(&Which::All, None, 9);
    let [first, second, third] = &all[..] else { panic!() };
    assert_eq!((first.session, second.session), (record.session.id, record.session.id));
    assert_eq!((third.session, &*third.client.0), (other.session.id, "other"));
    assert_eq!(*first.host, *format!("http://{}", peer.address));
    let shown = format!("{all:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains("/cb"), "{shown}");
    let of_other = Which::Client("other".into());
    assert_eq!(world.courier.status(&of_other, None, 9).len(), 1);

    assert_eq!(world.courier.drop_notices(&of_other), 1);
    world.until("less", async || world.left().await == 2).await;
    assert_eq!(world.courier.drop_notices(&Which::Session(record.session.id)), 2);
    world.until_settled().await;
    let name = "qod_notifications_dropped_total{dialect=";
    world.until_counted(&format!("{name}\"camara-1.1.0\",reason=\"by_hand\"}} 2")).await;
    world.until_counted(&format!("{name}\"camara-0.10.1\",reason=\"by_hand\"}} 1")).await;
    assert_eq!(world.courier.drop_notices(&Which::All), 0);
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_not() {
    let (world, peer) = (World::new().await, Peer::with(|_| status(204)).await);
    let token = Some(Secret::new("a\r\nX-Injected: 1"));
    world.session(Sink { token, ..sink(&peer) }).await;
    world.until_settled().await;
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn the_oldest_and_all_that_wait_are_counted() {
    let (world, peer) = (World::quiet(settings()).await, Peer::with(|_| status(500)).await);
    world.session(sink(&peer)).await;
    world.session(sink(&peer)).await;
    world.courier.start();
    world.until_failed(1).await;
    world.until_counted("qod_notifications_queued 2").await;
    let waits = |line: &str| {
        let seconds = line.strip_prefix("qod_notification_oldest_seconds ");
        seconds.is_some_and(|seconds| seconds.parse::<f64>().unwrap() > 0.0)
    };
    assert!(world.metrics.text().lines().any(waits));
}
