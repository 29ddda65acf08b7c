//! Operators that are left alone: because they fail, or because they ask for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    failover::nowhere,
    http::Answer,
    operators::{Fixture, Says, answer, session},
    world::{Setup, World, id_of, number_at, wait_for, wish},
};

fn world_with(
    breaker: &str,
    says: impl Fn(&str) -> Says + Send + Sync + 'static,
) -> (World, Fixture) {
    let address = nowhere();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    \
         breaker: {{ {breaker} }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    (world, Fixture::start(address, says))
}

#[track_caller]
fn create(world: &World, tail: u32) -> Answer {
    world.create("camara-0.10.1", "app", &wish("camara-0.10.1", &format!("+4920{tail:07}")))
}

#[track_caller]
fn is_left_alone(told: Answer, within_s: u64) {
    let told = told.expect(503);
    assert_eq!(told.json()["code"], "UNAVAILABLE");
    let wait: u64 = told.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=within_s).contains(&wait), "{told:?}");
}

#[test]
fn an_operator_that_fails_is_left_alone_until_a_probe_goes_well() {
    let well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&well);
    let (world, operator) = world_with("failures_max: 3, open_for: 1s", move |_| {
        let well = says.load(Ordering::SeqCst);
        if well { answer(201, &session("AVAILABLE")) } else { answer(500, "") }.into()
    });
    let mut tail = 0;
    let mut next = || {
        tail += 1;
        create(&world, tail)
    };
    while operator.requests().len() < 3 {
        next().expect(503);
    }
    // However long that took: sooner or later one is refused that the operator never sees.
    let until = Instant::now() + Duration::from_mins(1);
    let refused = loop {
        let before = operator.requests().len();
        let told = next();
        if operator.requests().len() == before {
            break told;
        }
        assert!(Instant::now() < until);
    };
    is_left_alone(refused, 1);
    assert!(world.metric("qod_operator_calls_not_made_total", &["odd", "open"]) > 0);
    well.store(true, Ordering::SeqCst);
    while next().status != 201 {
        assert!(Instant::now() < until);
    }
    assert_eq!(world.metric("qod_operator_breaker_state", &["odd"]), 0);
}

#[test]
fn an_operator_that_asks_for_it_is_left_alone_for_so_long_and_no_flow_is_held() {
    let (world, operator) = world_with("failures_max: 3", |_| {
        b"HTTP/1.1 429 X\r\nConnection: close\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
            .into()
    });
    create(&world, 1).expect(503);
    for _ in 0..2 {
        // It is not a conflict either: nothing is written down.
        is_left_alone(create(&world, 1), 300);
    }
    assert_eq!(operator.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_calls_not_made_total", &["odd", "told"]), 2);
}

/// A session at an operator that fails as it is told to.
struct Failing {
    world: World,
    operator: Fixture,
    fails: Arc<AtomicBool>,
    path: String,
}

impl Failing {
    fn with(breaker: &str) -> Self {
        let fails = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&fails);
        let (world, operator) = world_with(breaker, move |request| {
            let whole = session("AVAILABLE");
            match request.split(' ').next() {
                _ if says.load(Ordering::SeqCst) => answer(500, ""),
                Some("DELETE") => b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_vec(),
                Some("POST") if !request.contains("/extend") => answer(201, &whole),
                _ => answer(200, &whole),
            }
            .into()
        });
        let made = create(&world, 0).expect(201);
        let path = format!("/sessions/{}", id_of(&made));
        Self { world, operator, fails, path }
    }

    /// Makes it fail until it is left alone.
    fn open(&self, from: u32) {
        self.fails.store(true, Ordering::SeqCst);
        let mut tail = from;
        wait_for("the breaker to open", || {
            tail += 1;
            create(&self.world, tail).expect(503);
            self.stands() == 2
        });
    }

    fn stands(&self) -> u64 {
        self.world.metric("qod_operator_breaker_state", &["odd"])
    }

    fn asked(&self, what: &str) -> usize {
        self.operator.requests().iter().filter(|request| request.starts_with(what)).count()
    }

    fn ask(&self, method: &str) -> Answer {
        self.world.ask("camara-0.10.1", "app", method, &self.path, "")
    }

    fn extend(&self) -> Answer {
        let (path, body) =
            (format!("{}/extend", self.path), "{\"requestedAdditionalDuration\":60}");
        self.world.ask("camara-0.10.1", "app", "POST", &path, body)
    }

    /// Asks until a call is refused that the operator never sees, and tells how many it saw.
    #[track_caller]
    fn ask_until_left_alone(&self, method: &str) -> usize {
        let first = self.asked(method);
        loop {
            let before = self.asked(method);
            let told = self.ask(method);
            if self.asked(method) == before {
                is_left_alone(told, 3600);
                return before - first;
            }
            told.expect(503);
        }
    }
}

#[test]
fn what_there_is_is_seen_to_while_its_operator_is_left_alone_and_that_ends_it() {
    let failing = Failing::with("failures_max: 3, open_for: 1h");
    failing.open(0);
    let sent = failing.asked("POST");
    is_left_alone(failing.extend(), 3600);
    is_left_alone(create(&failing.world, 1000), 3600);
    assert_eq!(failing.asked("POST"), sent);
    assert!(failing.ask_until_left_alone("GET") > 0);
    failing.fails.store(false, Ordering::SeqCst);
    wait_for("a look that goes well", || failing.ask("GET").status == 200);
    assert_eq!(failing.stands(), 0);
    failing.extend().expect(200);

    failing.open(2000);
    assert!(failing.ask_until_left_alone("DELETE") > 0);
    failing.fails.store(false, Ordering::SeqCst);
    // By whoever repeats it first, its client or the gateway.
    wait_for("a delete that goes well", || matches!(failing.ask("DELETE").status, 204 | 404));
    assert_eq!(failing.stands(), 0);
}

#[test]
fn an_extension_finds_out_like_a_create_how_its_operator_is() {
    let failing = Failing::with("failures_max: 3, open_for: 1s");
    failing.open(0);
    let sent = failing.asked("POST");
    // A probe that fails leaves it open. What became of the extension is found out first.
    wait_for("a probe", || {
        failing.extend().expect(503);
        failing.asked("POST") > sent
    });
    assert_ne!(failing.stands(), 0);
    failing.fails.store(false, Ordering::SeqCst);
    wait_for("an extension that goes well", || failing.extend().status == 200);
    assert_eq!(failing.stands(), 0);
}

/// A world with an operator that takes one call at a time, each when it is let to, and four that wait.
fn crowded(timeout: &str) -> (World, Fixture, Arc<AtomicBool>) {
    let address = nowhere();
    let entry = format!(
        "    endpoint: \"http://{address}/qod/v0\"\n    speaks: camara-0.10.1\n    \
         timeout: {timeout}\n    connections_max: 1\n    waiting_max: 4\n    \
         breaker: {{ failures_max: 2 }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let (holds, number) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
    let held = Arc::clone(&holds);
    let operator = Fixture::start(address, move |request| {
        if request.starts_with("DELETE") {
            return b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n".to_vec().into();
        }
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Each session has a name of its own.
        let id = format!("{:08x}", number.fetch_add(1, Ordering::SeqCst));
        answer(201, &session("AVAILABLE").replace("3fa85f64", &id)).into()
    });
    (world, operator, holds)
}

#[test]
fn a_create_that_waits_for_others_in_vain_is_no_failure_of_the_operators() {
    let (world, operator, holds) = crowded("2s");
    holds.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for tail in 1..=5 {
            let world = &world;
            scope.spawn(move || create(world, tail).expect(503));
        }
    });
    assert_eq!(operator.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_calls_not_made_total", &["odd", "busy"]), 4);
    assert_eq!(world.metric("qod_operator_breaker_state", &["odd"]), 0);
    // Only what was sent is in doubt.
    assert_eq!(world.metric("qod_sessions", &["odd", "in_doubt"]), 1);
    assert_eq!(world.metric("qod_sessions", &["odd", "pending"]), 0);
    holds.store(false, Ordering::SeqCst);
}

#[test]
fn where_one_create_more_is_refused_at_once_a_delete_still_waits_for_its_turn() {
    let (world, operator, holds) = crowded("20s");
    let path = format!("/sessions/{}", id_of(&create(&world, 0).expect(201)));
    holds.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let world = &world;
        for tail in 1..=5 {
            scope.spawn(move || create(world, tail).expect(201));
        }
        let has = |count, state: &str| world.metric("qod_sessions", &["odd", state]) == count;
        wait_for("five creates", || has(5, "pending"));
        is_left_alone(create(world, 6), 1);
        let delete = || world.ask("camara-0.10.1", "app", "DELETE", &path, "");
        let deleted = scope.spawn(delete);
        wait_for("a delete", || has(1, "releasing"));
        holds.store(false, Ordering::SeqCst);
        deleted.join().unwrap().expect(204);
    });
    assert_eq!(operator.requests().len(), 7);
    assert_eq!(world.metric("qod_operator_calls_not_made_total", &["odd", "busy"]), 1);
}

// How long creates at an operator that is well take, from the shortest to the longest.
fn times_at_the_well(world: &World, thread: u32) -> Vec<Duration> {
    let (count, dialect) = (150, "camara-1.1.0");
    let mut times: Vec<Duration> = (0..count)
        .map(|number| {
            let number = number_at(dialect, thread * 1000 + number);
            let began = Instant::now();
            world.create(dialect, "app", &wish(dialect, &number)).expect(201);
            began.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn one_sick_operator_costs_the_clients_of_others_nothing() {
    // It takes every call and never answers; without a breaker, so that it stays as bad as it can be.
    let sick = nowhere();
    let entry = format!(
        "    endpoint: \"http://{sick}/qod/v0\"\n    speaks: camara-0.10.1\n    timeout: 20s\n    \
         connections_max: 8\n    waiting_max: 8\n    breaker: {{ failures_max: 1000000 }}\n"
    );
    let world = World::with(&Setup { operators: &[("odd", entry)], ..Setup::default() });
    let listener = std::net::TcpListener::bind(sick).unwrap();
    let alone = times_at_the_well(&world, 0);

    let over = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        for thread in 0..24 {
            let (world, over) = (&world, &over);
            scope.spawn(move || {
                let mut tail = thread * 10_000;
                while !over.load(Ordering::SeqCst) {
                    tail += 1;
                    assert_eq!(create(world, tail).status, 503);
                }
            });
        }
        let mut taken = Vec::new();
        // The sick one has its calls before the well one is asked.
        while taken.len() < 8 {
            taken.push(listener.accept().unwrap());
        }
        let beside = times_at_the_well(&world, 1);
        over.store(true, Ordering::SeqCst);
        drop((taken, listener));
        beside
    });
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    let (alone, beside) = (p99(&alone), p99(&beside));
    // Its calls take twenty seconds; those of the others have their share of this machine to lose only.
    assert!(beside < alone * 20 + Duration::from_secs(2), "{beside:?}, alone {alone:?}");
}
