//! Killed again and again, at random, while many clients want few flows.

use std::{
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::*;

const KILLS: u32 = 200;
const CLIENTS: u64 = 6;
// How many flows are wanted at one time, and how many are left behind after each kill: those in
// doubt stay taken for a while.
const WANTED: u64 = 40;
const LEFT: u64 = 10;

/// A sequence that looks random, and is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What all clients share.
#[derive(Default)]
struct Common {
    told: Mutex<Told>,
    stop: AtomicBool,
    granted: AtomicU64,
    first_number: AtomicU64,
}

fn work(scene: &Scene, seed: u64, common: &Common) {
    let mut dice = Dice(seed);
    let mut own = Told::default();
    while !common.stop.load(Ordering::SeqCst) {
        let number = common.first_number.load(Ordering::Relaxed) + dice.roll(WANTED);
        if let Some(id) = scene.create(&mut own, u32::try_from(number).unwrap()) {
            common.granted.fetch_add(1, Ordering::Relaxed);
            if dice.roll(10) < 9 {
                scene.delete(&mut own, &id);
            }
        } else if TcpStream::connect(scene.world.edge()).is_err() {
            // Whoever asks without a pause while nobody listens takes what a start needs.
            thread::sleep(Duration::from_millis(5));
        }
    }
    let mut all = common.told.lock().unwrap();
    all.granted.extend(own.granted);
    all.deleted.extend(own.deleted);
    all.numbers.extend(own.numbers);
}

#[test]
fn hundreds_of_kills_under_load_lose_nothing_and_book_nothing_twice() {
    let mut scene = Scene::new(&Setup::default());
    let common = Common::default();
    assert!(scene.start(""));
    let mut gateway = scene.gateway.take().unwrap();
    thread::scope(|scope| {
        for seed in 1..=CLIENTS {
            let (scene, common) = (&scene, &common);
            scope.spawn(move || work(scene, seed, common));
        }
        let mut dice = Dice(0);
        for kill in 0..KILLS {
            let before = common.granted.load(Ordering::Relaxed);
            wait_for("some load", || common.granted.load(Ordering::Relaxed) > before);
            thread::sleep(Duration::from_millis(dice.roll(60)));
            gateway.kill().unwrap();
            gateway.wait().unwrap();
            assert_eq!(double_booked(&scene.books()), Vec::<String>::new(), "after {kill} kills");
            gateway = scene.world.serve(&[]);
            common.first_number.fetch_add(LEFT, Ordering::Relaxed);
        }
        common.stop.store(true, Ordering::SeqCst);
    });
    scene.gateway = Some(gateway);
    let mut told = common.told.into_inner().unwrap();
    scene.settle();
    assert_eq!(scene.disagreements(&mut told), Vec::<String>::new());
    assert!(common.granted.into_inner() > u64::from(KILLS));
}
