//! What knowing a caller costs, for people to read. Run it alone, optimised:
//! `cargo test --release --lib -- --ignored --nocapture --test-threads 1 what_a_token_costs`

#![expect(clippy::print_stdout, reason = "measurements, for people to read")]

use super::*;

/// How often each is measured.
pub(in crate::identity) const TIMES: usize = 20_000;
/// As many go before, until all is warm.
const WARM: usize = 2_000;

/// A trusted issuer's claims as of now, each time others.
pub(in crate::identity) fn current(clock: &Clock, number: usize) -> Value {
    let now = clock.now().unix_s();
    let mut claims = claims();
    for (name, at) in [("iat", now - 10), ("nbf", now - 10), ("exp", now + 3600)] {
        claims[name] = json!(at);
    }
    claims["jti"] = json!(number);
    claims
}

/// Has each of these known, one after the other, and tells how long one takes.
pub(in crate::identity) async fn measure(
    what: &str,
    identity: &Identity,
    requests: &[Request<Bytes>],
) {
    let clock = Clock::system();
    let mut times = Vec::with_capacity(requests.len());
    for request in requests {
        let since = clock.tick();
        let known = identity.authenticate(request, None).await;
        times.push(clock.elapsed(since));
        assert!(known.is_ok(), "{what}: {known:?}");
    }
    let mut times = times.split_off(WARM);
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
    times.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |share: usize| us(times[times.len() * share / 1000]);
    let (p50, p99, mean) = (at(500), at(990), us(mean));
    println!("{what}: p50 {p50:.2} µs, p99 {p99:.2} µs, mean {mean:.2} µs");
}

/// A token that was never seen before, and one that was.
#[tokio::test]
#[ignore = "a measurement, for people to read"]
async fn what_a_token_costs() {
    let clock = Clock::system();
    let ticks: Vec<Duration> = (0..TIMES).map(|_| clock.elapsed(clock.tick())).collect();
    let tick = ticks.iter().sum::<Duration>() / u32::try_from(ticks.len()).unwrap();
    println!("to look at the clock, which is in every figure: {tick:?}");
    for signer in [&*RSA, &*P256, &*ED25519] {
        let identity = with_file(&set(&[RSA.jwk(), P256.jwk(), ED25519.jwk()]), |file| {
            let settings = Settings { cache_entries_max: 100_000, ..settings(issuer(file)) };
            identity(settings, &clock)
        });
        let identity = identity.unwrap();
        let signed = |number| bearing(&signer.token(&current(&clock, number)));
        let requests: Vec<Request<Bytes>> = (0..WARM + TIMES).map(signed).collect();
        measure(&format!("new, {}", signer.algorithm()), &identity, &requests).await;
        measure(&format!("seen before, {}", signer.algorithm()), &identity, &requests).await;
        let one = vec![requests[0].clone(); WARM + TIMES];
        measure(&format!("one seen before, {}", signer.algorithm()), &identity, &one).await;
    }
}
