//! A sink that answers, beside a thousand that never do.

use std::collections::HashSet;

use super::*;

const DEAD: usize = 1000;
const TOLD: usize = 200;

/// Gives how long each notice of the sound sink waited, from being written down to being heard.
async fn beside_dead_sinks(timeout: Duration, calls_max: usize) -> Vec<Duration> {
    let world = World::quiet(Settings { timeout, calls_max, ..settings() }).await;
    // It accepts, and never says a word; and one port that nobody listens to.
    let silent = Peer::at("0.0.0.0:0", |_| Reply::Silence).await;
    let closed = 1;
    for number in 0..DEAD {
        // Each is a host of its own.
        let (high, low) = (number / 250, 1 + number % 250);
        let port = if number % 2 == 0 { silent.address.port() } else { closed };
        world.session(sink_at(&format!("http://127.7.{high}.{low}:{port}/"))).await;
    }
    let sound = Peer::with(|_| status(204)).await;
    world.courier.start();
    world.until("dead calls", async || !silent.requests().is_empty()).await;

    let mut waited = Vec::new();
    for told in 1..=TOLD {
        let began = world.clock.tick();
        world.session(sink(&sound)).await;
        // One that was not answered in time comes twice.
        let heard = || sound.requests().iter().map(|r| body(r)["id"].to_string()).collect();
        world.until("notice", async || HashSet::<String>::len(&heard()) == told).await;
        waited.push(world.clock.elapsed(began));
    }
    let waiting = world.courier.status(&Which::All, None, usize::MAX);
    let dead = waiting.iter().filter(|notice| notice.host.starts_with("http://127.7."));
    assert_eq!(dead.count(), DEAD, "the dead ones still wait");
    world.courier.drop_notices(&Which::All);
    world.courier.stopped().await;
    waited.sort_unstable();
    waited
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_dead_sinks_keep_none_from_hearing() {
    assert_eq!(beside_dead_sinks(Duration::from_millis(200), 128).await.len(), TOLD);
}

/// Prints how long a sink waits beside a thousand dead ones. Run it alone, optimised:
/// `cargo test --release --lib -- --ignored --nocapture what_dead_sinks_cost_a_sound_one`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for people to read"]
#[expect(clippy::print_stdout, reason = "a measurement, for people to read")]
async fn what_dead_sinks_cost_a_sound_one() {
    let waited = beside_dead_sinks(Duration::from_secs(10), 512).await;
    let at = |part: usize| waited[(waited.len() - 1) * part / 100];
    println!("p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
}
