//! What becomes of notices when the courier ends, or its ledger fails.

use tokio::sync::Notify;

use super::{world::Folder, *};

#[tokio::test]
async fn what_was_not_heard_is_told_by_the_next_process() {
    let (clock, folder) = (Clock::system(), Folder::new("unheard"));
    let hears = Arc::new(AtomicBool::new(false));
    let ears = Arc::clone(&hears);
    let peer =
        Peer::with(move |_| status(if ears.load(Ordering::SeqCst) { 204 } else { 503 })).await;
    let first = World::over(folder.open(&clock), settings(), clock.clone()).await;
    let session = first.session(sink(&peer)).await;
    first.ends(&session).await;
    first.courier.start();
    first.until_failed(1).await;
    first.courier.stopped().await;
    first.ledger.close().await;
    drop(first);

    let before = peer.requests().len();
    hears.store(true, Ordering::SeqCst);
    let second = World::over(folder.open(&clock), settings(), clock).await;
    second.courier.start();
    second.until_settled().await;
    assert_eq!(told(&peer)[before..], ["AVAILABLE", "UNAVAILABLE"]);
    second.courier.stopped().await;
}

#[tokio::test]
async fn what_was_heard_but_not_written_down_is_told_again_and_nothing_hangs() {
    let (clock, folder) = (Clock::system(), Folder::new("unwritten"));
    let go = Arc::new(Notify::new());
    let held = Reply::Held(Arc::clone(&go), "HTTP/1.1 204 X\r\n\r\n".to_owned());
    let peer = answering(&[held, status(204)]).await;
    let first = World::over(folder.open(&clock), settings(), clock.clone()).await;
    first.session(sink(&peer)).await;
    first.courier.start();
    first.until("call", async || !peer.requests().is_empty()).await;
    first.ledger.close().await;
    go.notify_one();
    let delivered = "qod_notifications_delivered_total{dialect=\"camara-1.1.0\"} 1";
    first.until_counted(delivered).await;
    first.courier.stopped().await;
    drop(first);

    let second = World::over(folder.open(&clock), settings(), clock).await;
    assert_eq!(second.left().await, 1);
    second.courier.start();
    second.until_settled().await;
    let requests = peer.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(body(&requests[0])["id"], body(&requests[1])["id"]);
    second.courier.stopped().await;
}

#[tokio::test]
async fn an_end_waits_for_the_calls_that_run_and_makes_no_more() {
    let timeout = Duration::from_millis(200);
    let world = World::quiet(Settings { timeout, ..settings() }).await;
    let peer = Peer::with(|_| Reply::Silence).await;
    let session = world.session(sink(&peer)).await;
    world.ends(&session).await;
    world.courier.start();
    world.until("call", async || !peer.requests().is_empty()).await;
    world.courier.stopped().await;
    let requests = peer.requests().len();
    world.courier.retry(&Which::All);
    let waiting = world.courier.status(&Which::All, None, 9);
    assert!(waiting[0].attempts >= 1 && waiting[0].next_at.is_some(), "{waiting:?}");
    assert_eq!((peer.requests().len(), world.left().await), (requests, 2));
}
