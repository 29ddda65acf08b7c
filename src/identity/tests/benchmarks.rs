//! Benchmark of authentication. Run it alone, in release mode:
//! `cargo test --release --lib -- --ignored --nocapture --test-threads 1 benchmark_token`

#![expect(clippy::print_stdout, reason = "prints the results of a benchmark")]

use super::*;

/// Number of measured requests.
pub(in crate::identity) const TIMES: usize = 20_000;
/// Number of warm-up requests.
const WARM: usize = 2_000;

/// Currently valid claims, unique per `number`.
pub(in crate::identity) fn current(clock: &Clock, number: usize) -> Value {
    let now = clock.now().unix_s();
    let mut claims = claims();
    for (name, at) in [("iat", now - 10), ("nbf", now - 10), ("exp", now + 3600)] {
        claims[name] = json!(at);
    }
    claims["jti"] = json!(number);
    claims
}

/// Authenticates the requests sequentially and prints the latency per request.
pub(in crate::identity) async fn measure(
    label: &str,
    identity: &Authenticator,
    requests: &[Request<Bytes>],
) {
    let clock = Clock::system();
    let mut times = Vec::with_capacity(requests.len());
    for request in requests {
        let since = clock.tick();
        let result = identity.authenticate(request, None).await;
        times.push(clock.elapsed(since));
        assert!(result.is_ok(), "{label}: {result:?}");
    }
    let mut times = times.split_off(WARM);
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len()).unwrap();
    times.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |share: usize| us(times[times.len() * share / 1000]);
    let (p50, p99, mean) = (at(500), at(990), us(mean));
    println!("{label}: p50 {p50:.2} µs, p99 {p99:.2} µs, mean {mean:.2} µs");
}

/// New tokens and cached tokens.
#[tokio::test]
#[ignore = "a benchmark, run by hand"]
async fn benchmark_token() {
    let clock = Clock::system();
    let ticks: Vec<Duration> = (0..TIMES).map(|_| clock.elapsed(clock.tick())).collect();
    let tick = ticks.iter().sum::<Duration>() / u32::try_from(ticks.len()).unwrap();
    println!("clock overhead, included in every figure: {tick:?}");
    for signer in [&*RSA, &*P256, &*ED25519] {
        let identity = with_file(&set(&[RSA.jwk(), P256.jwk(), ED25519.jwk()]), |file| {
            let settings = Settings { cache_entries_max: 100_000, ..settings(issuer(file)) };
            identity(settings, &clock)
        });
        let identity = identity.unwrap();
        let signed = |number| bearing(&signer.token(&current(&clock, number)));
        let requests: Vec<Request<Bytes>> = (0..WARM + TIMES).map(signed).collect();
        measure(&format!("new, {}", signer.algorithm()), &identity, &requests).await;
        measure(&format!("cached, {}", signer.algorithm()), &identity, &requests).await;
        let one = vec![requests[0].clone(); WARM + TIMES];
        measure(&format!("one cached, {}", signer.algorithm()), &identity, &one).await;
    }
}
