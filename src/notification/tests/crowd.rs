//! One healthy sink beside a thousand dead ones.

use std::collections::HashSet;

use super::*;

const DEAD: usize = 1000;
const DELIVERED: usize = 200;

/// Returns how long each notification of the healthy sink took from being queued to being received.
async fn beside_dead_sinks(timeout: Duration, calls_max: usize) -> Vec<Duration> {
    let world = NotificationWorld::stopped(Settings { timeout, calls_max, ..settings() }).await;
    // One peer accepts connections and never answers; nothing listens on the other port.
    let silent = TestPeer::start_at("0.0.0.0:0", |_| PeerReply::NoReply).await;
    let closed = 1;
    for number in 0..DEAD {
        // Each sink has its own host.
        let (high, low) = (number / 250, 1 + number % 250);
        let port = if number % 2 == 0 { silent.address.port() } else { closed };
        world.session(sink_at(&format!("http://127.7.{high}.{low}:{port}/"))).await;
    }
    let healthy = TestPeer::start(|_| status(204)).await;
    world.dispatcher.start();
    world.until("dead calls", async || !silent.requests().is_empty()).await;

    let mut waited = Vec::new();
    for count in 1..=DELIVERED {
        let began = world.clock.tick();
        world.session(sink(&healthy)).await;
        // A notification whose response timed out is received twice.
        let received_ids =
            || healthy.requests().iter().map(|r| body(r)["id"].to_string()).collect();
        world
            .until("notification", async || HashSet::<String>::len(&received_ids()) == count)
            .await;
        waited.push(world.clock.elapsed(began));
    }
    let waiting = world.dispatcher.status(&OutboxSelector::All, None, usize::MAX);
    let dead = waiting.iter().filter(|pending| pending.host.starts_with("http://127.7."));
    assert_eq!(dead.count(), DEAD, "notifications of dead sinks are still pending");
    world.dispatcher.drop_notifications(&OutboxSelector::All);
    world.dispatcher.stop().await;
    waited.sort_unstable();
    waited
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_sinks_do_not_block_a_healthy_sink() {
    assert_eq!(beside_dead_sinks(Duration::from_millis(200), 128).await.len(), DELIVERED);
}

/// Prints how long a healthy sink waits beside a thousand dead ones. Run it alone, optimized:
/// `cargo test --release --lib -- --ignored --nocapture delivery_latency_beside_dead_sinks`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints a measurement"]
#[expect(clippy::print_stdout, reason = "prints a measurement")]
async fn delivery_latency_beside_dead_sinks() {
    let waited = beside_dead_sinks(Duration::from_secs(10), 512).await;
    let at = |part: usize| waited[(waited.len() - 1) * part / 100];
    println!("p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
}
