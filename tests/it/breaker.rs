//! Operators that are left alone: because they fail, or because they ask for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    failover::nowhere,
    http::Answer,
    operators::{Fixture, Says, answer, session},
    world::{Setup, World, number_at, wish},
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
        b"HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n".to_vec().into()
    });
    create(&world, 1).expect(503);
    for _ in 0..2 {
        // It is not a conflict either: nothing is written down.
        is_left_alone(create(&world, 1), 300);
    }
    assert_eq!(operator.requests().len(), 1);
    assert_eq!(world.metric("qod_operator_calls_not_made_total", &["odd", "told"]), 2);
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
