//! Kills the gateway repeatedly, at random, while many clients request few flows.

use std::{
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::*;
use crate::pseudo_random::PseudoRandom;

const KILLS: u32 = 80;
const CLIENTS: u64 = 6;
// The number of flows that clients request, and how many are replaced after each kill: a flow in doubt
// stays reserved for a while.
const FLOWS: u64 = 40;
const FLOWS_REPLACED: u64 = 10;

/// State shared by all clients.
#[derive(Default)]
struct SharedState {
    responses: Mutex<ClientResponses>,
    stop: AtomicBool,
    granted: AtomicU64,
    first_number: AtomicU64,
}

fn run_client(scene: &CrashFixture, seed: u64, shared: &SharedState) {
    let mut random = PseudoRandom(seed);
    let mut own = ClientResponses::default();
    while !shared.stop.load(Ordering::SeqCst) {
        let number = shared.first_number.load(Ordering::Relaxed) + random.below(FLOWS);
        if let Some(id) = scene.create(&mut own, u32::try_from(number).unwrap()) {
            shared.granted.fetch_add(1, Ordering::Relaxed);
            if random.below(10) < 9 {
                scene.delete(&mut own, &id);
            }
        } else if TcpStream::connect(scene.world.gateway_address()).is_err() {
            // A client that retries without a pause would slow down the start of the gateway.
            thread::sleep(Duration::from_millis(5));
        }
    }
    let mut all = shared.responses.lock().unwrap();
    all.granted.extend(own.granted);
    all.deleted.extend(own.deleted);
    all.numbers.extend(own.numbers);
}

#[test]
fn kills_under_load_lose_no_session_and_book_none_twice() {
    let mut scene = CrashFixture::new(&[DIALECT]);
    let shared = SharedState::default();
    assert!(scene.start(""));
    let mut gateway = scene.gateway.take().unwrap();
    thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            let (scene, shared) = (&scene, &shared);
            scope.spawn(move || run_client(scene, seed, shared));
        }
        let mut random = PseudoRandom(0);
        for kill in 0..KILLS {
            let before = shared.granted.load(Ordering::Relaxed);
            wait_for("load", || shared.granted.load(Ordering::Relaxed) > before);
            thread::sleep(Duration::from_millis(random.below(60)));
            gateway.kill().unwrap();
            gateway.wait().unwrap();
            assert_eq!(
                double_booked(&scene.operator_sessions()),
                Vec::<String>::new(),
                "after {kill} kills"
            );
            gateway = scene.world.serve(&[]);
            shared.first_number.fetch_add(FLOWS_REPLACED, Ordering::Relaxed);
        }
        shared.stop.store(true, Ordering::SeqCst);
    });
    scene.gateway = Some(gateway);
    let mut responses = shared.responses.into_inner().unwrap();
    scene.recover();
    assert_eq!(scene.inconsistencies(&mut responses), Vec::<String>::new());
    assert!(shared.granted.into_inner() > u64::from(KILLS));
}
