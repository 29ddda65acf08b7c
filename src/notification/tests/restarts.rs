//! Notifications survive a stop of the dispatcher and a failure of its ledger.

use tokio::sync::Notify;

use super::{world::TempLedgerDir, *};

#[tokio::test]
async fn undelivered_notifications_are_delivered_after_restart() {
    let (clock, folder) = (Clock::system(), TempLedgerDir::new("undelivered"));
    let is_accepting = Arc::new(AtomicBool::new(false));
    let accepting = Arc::clone(&is_accepting);
    let peer =
        TestPeer::start(move |_| status(if accepting.load(Ordering::SeqCst) { 204 } else { 503 }))
            .await;
    let first =
        NotificationWorld::with_ledger(folder.open(&clock), settings(), clock.clone()).await;
    let session = first.session(sink(&peer)).await;
    first.end_session(&session).await;
    first.dispatcher.start();
    first.until_failed(1).await;
    first.dispatcher.stop().await;
    first.ledger.close().await;
    drop(first);

    let before = peer.requests().len();
    is_accepting.store(true, Ordering::SeqCst);
    let second = NotificationWorld::with_ledger(folder.open(&clock), settings(), clock).await;
    second.dispatcher.start();
    second.until_outbox_is_empty().await;
    assert_eq!(delivered_statuses(&peer)[before..], ["AVAILABLE", "UNAVAILABLE"]);
    second.dispatcher.stop().await;
}

#[tokio::test]
async fn unacknowledged_notification_is_delivered_again_after_restart() {
    let (clock, folder) = (Clock::system(), TempLedgerDir::new("unacknowledged"));
    let release = Arc::new(Notify::new());
    let held = PeerReply::WhenNotified(Arc::clone(&release), "HTTP/1.1 204 X\r\n\r\n".to_owned());
    let peer = peer_replying(&[held, status(204)]).await;
    let first =
        NotificationWorld::with_ledger(folder.open(&clock), settings(), clock.clone()).await;
    first.session(sink(&peer)).await;
    first.dispatcher.start();
    first.until("call", async || !peer.requests().is_empty()).await;
    first.ledger.close().await;
    release.notify_one();
    let delivered = "qod_notifications_delivered_total{dialect=\"camara-1.1.0\"} 1";
    first.until_counted(delivered).await;
    first.dispatcher.stop().await;
    drop(first);

    let second = NotificationWorld::with_ledger(folder.open(&clock), settings(), clock).await;
    assert_eq!(second.outbox_len().await, 1);
    second.dispatcher.start();
    second.until_outbox_is_empty().await;
    let requests = peer.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(body(&requests[0])["id"], body(&requests[1])["id"]);
    second.dispatcher.stop().await;
}

#[tokio::test]
async fn stop_waits_for_running_calls_and_starts_no_new_ones() {
    let timeout = Duration::from_millis(200);
    let world = NotificationWorld::stopped(Settings { timeout, ..settings() }).await;
    let peer = TestPeer::start(|_| PeerReply::NoReply).await;
    let session = world.session(sink(&peer)).await;
    world.end_session(&session).await;
    world.dispatcher.start();
    world.until("call", async || !peer.requests().is_empty()).await;
    world.dispatcher.stop().await;
    let requests = peer.requests().len();
    world.dispatcher.retry(&OutboxSelector::All);
    let waiting = world.dispatcher.status(&OutboxSelector::All, None, 9);
    assert!(waiting[0].attempts >= 1 && waiting[0].next_at.is_some(), "{waiting:?}");
    assert_eq!((peer.requests().len(), world.outbox_len().await), (requests, 2));
}
