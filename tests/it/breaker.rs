//! Circuit breaker and `Retry-After` of operators.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    failover::unused_address,
    http::HttpResponse,
    operators::{Fixture, FixtureResponse, answer, session},
    world::{Setup, World, create_request, number_at, session_id, wait_for},
};

fn world_with(
    breaker: &str,
    respond: impl Fn(&str) -> FixtureResponse + Send + Sync + 'static,
) -> (World, Fixture) {
    let address = unused_address();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
         breaker: {{ {breaker} }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    (world, Fixture::start(address, respond))
}

#[track_caller]
fn create(world: &World, tail: u32) -> HttpResponse {
    world.create(
        "camara-0.10.1",
        "app",
        &create_request("camara-0.10.1", &format!("+4920{tail:07}")),
    )
}

#[track_caller]
fn assert_blocked(reply: HttpResponse, within_s: u64) {
    let reply = reply.expect(503);
    assert_eq!(reply.json()["code"], "UNAVAILABLE");
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=within_s).contains(&wait), "{reply:?}");
}

#[test]
fn breaker_is_open_until_a_probe_succeeds() {
    let healthy = Arc::new(AtomicBool::new(false));
    let scripted = Arc::clone(&healthy);
    let (world, operator) = world_with("failures_max: 3, open_duration: 1s", move |_| {
        let healthy = scripted.load(Ordering::SeqCst);
        if healthy { answer(201, &session("AVAILABLE")) } else { answer(500, "") }.into()
    });
    let mut tail = 0;
    let mut next = || {
        tail += 1;
        create(&world, tail)
    };
    while operator.requests().len() < 3 {
        next().expect(503);
    }
    // Independent of timing: at some point a call is blocked before it reaches the operator.
    let until = Instant::now() + Duration::from_mins(1);
    let refused = loop {
        let before = operator.requests().len();
        let reply = next();
        if operator.requests().len() == before {
            break reply;
        }
        assert!(Instant::now() < until);
    };
    assert_blocked(refused, 1);
    assert!(world.metric("qod_operator_calls_blocked_total", &["odd", "open"]) > 0);
    healthy.store(true, Ordering::SeqCst);
    while next().status != 201 {
        assert!(Instant::now() < until);
    }
    assert_eq!(world.metric("qod_operator_breaker_state", &["odd"]), 0);
}

#[test]
fn retry_after_blocks_calls_and_reserves_no_flow() {
    let (world, operator) = world_with("failures_max: 3", |_| {
        b"HTTP/1.1 429 X\r\nConnection: close\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
            .into()
    });
    create(&world, 1).expect(503);
    for _ in 0..2 {
        // Nor is it a conflict: the ledger has no record.
        assert_blocked(create(&world, 1), 300);
    }
    assert_eq!(operator.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_calls_blocked_total", &["odd", "retry_after"]), 2);
}

/// Creates a session; returns its path.
fn session_path(world: &World, tail: u32) -> String {
    format!("/sessions/{}", session_id(&create(world, tail).expect(201)))
}

/// A session at an operator whose failures are controlled by the test.
struct FailingOperator {
    world: World,
    operator: Fixture,
    fails: Arc<AtomicBool>,
    path: String,
}

impl FailingOperator {
    fn with(breaker: &str) -> Self {
        let fails = Arc::new(AtomicBool::new(false));
        let (scripted, number) = (Arc::clone(&fails), AtomicU32::new(0));
        let (world, operator) = world_with(breaker, move |request| {
            // Each session has its own ID.
            let id = match request.split_once("/sessions/") {
                Some((_, id)) => id[..8].to_owned(),
                None => format!("{:08x}", number.fetch_add(1, Ordering::SeqCst)),
            };
            let whole = session("AVAILABLE").replace("3fa85f64", &id);
            match request.split(' ').next() {
                _ if scripted.load(Ordering::SeqCst) => answer(500, ""),
                Some("DELETE") => b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_vec(),
                Some("POST") if !request.contains("/extend") => answer(201, &whole),
                _ => answer(200, &whole),
            }
            .into()
        });
        let path = session_path(&world, 0);
        Self { world, operator, fails, path }
    }

    /// Lets calls fail until the breaker opens.
    fn open(&self, from: u32) {
        self.fails.store(true, Ordering::SeqCst);
        let mut tail = from;
        wait_for("the breaker to open", || {
            tail += 1;
            create(&self.world, tail).expect(503);
            self.breaker_state() == 2
        });
    }

    fn breaker_state(&self) -> u64 {
        self.world.metric("qod_operator_breaker_state", &["odd"])
    }

    fn calls(&self, what: &str) -> usize {
        self.operator.requests().iter().filter(|request| request.starts_with(what)).count()
    }

    fn request(&self, method: &str) -> HttpResponse {
        self.world.request("camara-0.10.1", "app", method, &self.path, "")
    }

    fn extend(&self) -> HttpResponse {
        self.extend_at(&self.path)
    }

    fn extend_at(&self, path: &str) -> HttpResponse {
        let (path, body) = (format!("{path}/extend"), "{\"requestedAdditionalDuration\":60}");
        self.world.request("camara-0.10.1", "app", "POST", &path, body)
    }

    /// Sends requests until one is blocked; returns how many reached the operator.
    #[track_caller]
    fn request_until_blocked(&self, method: &str) -> usize {
        let first = self.calls(method);
        loop {
            let before = self.calls(method);
            let reply = self.request(method);
            if self.calls(method) == before {
                assert_blocked(reply, 3600);
                return before - first;
            }
            reply.expect(503);
        }
    }
}

#[test]
fn reads_and_deletes_probe_an_open_breaker_and_close_it() {
    let failing = FailingOperator::with("failures_max: 3, open_duration: 1h");
    failing.open(0);
    let sent = failing.calls("POST");
    assert_blocked(failing.extend(), 3600);
    assert_blocked(create(&failing.world, 1000), 3600);
    assert_eq!(failing.calls("POST"), sent);
    assert!(failing.request_until_blocked("GET") > 0);
    failing.fails.store(false, Ordering::SeqCst);
    wait_for("a successful read", || failing.request("GET").status == 200);
    assert_eq!(failing.breaker_state(), 0);
    failing.extend().expect(200);

    failing.open(2000);
    assert!(failing.request_until_blocked("DELETE") > 0);
    failing.fails.store(false, Ordering::SeqCst);
    // Either the client or the gateway retries first.
    wait_for("a successful delete", || matches!(failing.request("DELETE").status, 204 | 404));
    assert_eq!(failing.breaker_state(), 0);
}

#[test]
fn extension_probes_the_breaker_like_a_create() {
    let failing = FailingOperator::with("failures_max: 3, open_duration: 1s");
    let other = session_path(&failing.world, 1000);
    failing.open(0);
    let sent = failing.calls("POST");
    // A failed probe leaves it open. The session is not extended again before the outcome is resolved.
    wait_for("a probe", || {
        failing.extend().expect(503);
        failing.calls("POST") > sent
    });
    assert_ne!(failing.breaker_state(), 0);
    failing.fails.store(false, Ordering::SeqCst);
    wait_for("a successful extension", || failing.extend_at(&other).status == 200);
    assert_eq!(failing.breaker_state(), 0);
}

/// A world with an operator that accepts one call at a time, when released, and a queue of four.
fn queueing_operator(timeout: &str) -> (World, Fixture, Arc<AtomicBool>) {
    let address = unused_address();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    dialect: camara-0.10.1\n    \
         timeout: {timeout}\n    connections_max: 1\n    queue_max: 4\n    \
         breaker: {{ failures_max: 2 }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let (blocked, number) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
    let is_blocked = Arc::clone(&blocked);
    let operator = Fixture::start(address, move |request| {
        if request.starts_with("DELETE") {
            return b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_vec().into();
        }
        while is_blocked.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Each session has its own ID.
        let id = format!("{:08x}", number.fetch_add(1, Ordering::SeqCst));
        answer(201, &session("AVAILABLE").replace("3fa85f64", &id)).into()
    });
    (world, operator, blocked)
}

#[test]
fn create_that_times_out_in_the_queue_is_not_an_operator_failure() {
    let (world, operator, blocked) = queueing_operator("2s");
    blocked.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for tail in 1..=5 {
            let world = &world;
            scope.spawn(move || create(world, tail).expect(503));
        }
    });
    assert_eq!(operator.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_calls_blocked_total", &["odd", "busy"]), 4);
    assert_eq!(world.metric("qod_operator_breaker_state", &["odd"]), 0);
    // Only the request that was sent is in doubt.
    assert_eq!(world.metric("qod_sessions", &["odd", "in_doubt"]), 1);
    assert_eq!(world.metric("qod_sessions", &["odd", "pending"]), 0);
    blocked.store(false, Ordering::SeqCst);
}

#[test]
fn full_queue_rejects_creates_but_not_deletes() {
    let (world, operator, blocked) = queueing_operator("20s");
    let path = format!("/sessions/{}", session_id(&create(&world, 0).expect(201)));
    blocked.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let world = &world;
        for tail in 1..=5 {
            scope.spawn(move || create(world, tail).expect(201));
        }
        let has = |count, state: &str| world.metric("qod_sessions", &["odd", state]) == count;
        wait_for("five creates", || has(5, "pending"));
        assert_blocked(create(world, 6), 1);
        // Deletes have connections of their own.
        world.request("camara-0.10.1", "app", "DELETE", &path, "").expect(204);
        blocked.store(false, Ordering::SeqCst);
    });
    assert_eq!(operator.requests().len(), 7);
    assert_eq!(world.metric("qod_operator_calls_blocked_total", &["odd", "busy"]), 1);
}

// The durations of creates at a healthy operator, sorted.
fn times_at_the_well(world: &World, thread: u32) -> Vec<Duration> {
    let (count, dialect) = (150, "camara-1.1.0");
    let mut times: Vec<Duration> = (0..count)
        .map(|number| {
            let number = number_at(dialect, thread * 1000 + number);
            let began = Instant::now();
            world.create(dialect, "app", &create_request(dialect, &number)).expect(201);
            began.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn failing_operator_does_not_delay_other_operators() {
    // It accepts every call and never responds; without a breaker, so that calls continue.
    let sick = unused_address();
    let entry = format!(
        "    endpoint: \"http://{sick}/qod/v0\"\n    dialect: camara-0.10.1\n    timeout: 20s\n    \
         connections_max: 8\n    queue_max: 8\n    breaker: {{ failures_max: 1000000 }}\n"
    );
    let world = World::with(&Setup {
        operators: &[("odd", entry)],
        simulated: &["camara-1.1.0"],
        ..Setup::default()
    });
    let listener = std::net::TcpListener::bind(sick).unwrap();
    let alone = times_at_the_well(&world, 0);

    let stopped = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        for thread in 0..24 {
            let (world, stopped) = (&world, &stopped);
            scope.spawn(move || {
                let mut tail = thread * 10_000;
                while !stopped.load(Ordering::SeqCst) {
                    tail += 1;
                    assert_eq!(create(world, tail).status, 503);
                }
            });
        }
        let mut taken = Vec::new();
        // The failing operator has its calls before the healthy one is called.
        while taken.len() < 8 {
            taken.push(listener.accept().unwrap());
        }
        let beside = times_at_the_well(&world, 1);
        stopped.store(true, Ordering::SeqCst);
        drop((taken, listener));
        beside
    });
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    let (alone, beside) = (p99(&alone), p99(&beside));
    // Its calls take twenty seconds; other calls lose only CPU time.
    assert!(beside < alone * 20 + Duration::from_secs(2), "{beside:?}, alone {alone:?}");
}
