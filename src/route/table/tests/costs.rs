//! What tables cost, for people to read. Run them alone, optimised:
//! `cargo test --release --lib -- --ignored --nocapture --test-threads 1 what_a_table`
//!
//! The data are made, the same every time. Numbers: 40 mobile ranges of ten million in five countries,
//! one number of eight is ported, to one of 200 operators, in no order. Networks: lengths as in the
//! Internet's tables, addresses at random, of 200 operators.

#![expect(clippy::print_stdout, reason = "measurements, for people to read")]

use std::{
    collections::HashSet,
    hint::black_box,
    io::{BufWriter, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::clock::Clock;

const RANGES: u64 = 40;
const RANGE: u64 = 10_000_000;
const ONE_OF: u64 = 8;
const OPERATORS: u64 = 200;
const IPV4: usize = 1_000_000;
const IPV6: usize = 200_000;
const LOOKUPS: usize = 1_000_000;

/// A shuffled number that depends on nothing but this one.
const fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The number at a place of all ranges, such as +49 15 1 0000000.
const fn number_at(place: u64) -> u64 {
    let countries = [49, 34, 44, 33, 39];
    let range = place / RANGE;
    let country = countries[range as usize % countries.len()];
    (country * 1000 + 150 + range / 5) * RANGE + place % RANGE
}

const fn is_ported(place: u64, table: u64) -> bool {
    mixed(place) % ONE_OF == table
}

/// The ported numbers in no order, of one of so many tables that have none in common.
fn ported(table: u64) -> impl Iterator<Item = (u64, u64)> {
    let all = RANGES * RANGE;
    // Without a factor in common with all, it meets each once.
    let places = (0..all).map(move |step| (step * 179_424_691) % all);
    let ported = places.filter(move |place| is_ported(*place, table));
    ported.map(|place| (number_at(place), mixed(place ^ 1) % OPERATORS))
}

// Lengths, and how many of a thousand have them.
const LENGTHS_IPV4: [(u8, u32); 16] = [
    (24, 602),
    (23, 95),
    (22, 108),
    (21, 50),
    (20, 44),
    (19, 32),
    (18, 16),
    (17, 9),
    (16, 15),
    (15, 6),
    (14, 6),
    (13, 6),
    (12, 4),
    (11, 3),
    (10, 2),
    (9, 2),
];
const LENGTHS_IPV6: [(u8, u32); 10] = [
    (48, 470),
    (32, 120),
    (44, 110),
    (40, 100),
    (36, 60),
    (29, 40),
    (47, 30),
    (46, 30),
    (33, 20),
    (45, 20),
];

fn length(random: &mut StdRng, lengths: &[(u8, u32)]) -> u8 {
    let mut left = random.random_range(0..lengths.iter().map(|(_, share)| share).sum());
    for (length, share) in lengths {
        if left < *share {
            return *length;
        }
        left -= share;
    }
    0
}

fn networks() -> (HashSet<Ipv4Net>, HashSet<Ipv6Net>) {
    let mut random = StdRng::seed_from_u64(1);
    let (mut ipv4, mut ipv6) = (HashSet::new(), HashSet::new());
    while ipv4.len() < IPV4 {
        let address = Ipv4Addr::from_bits(random.random_range(0x0100_0000..0xdfff_ffff));
        let length = length(&mut random, &LENGTHS_IPV4);
        ipv4.insert(Ipv4Net::new(address, length).unwrap().trunc());
    }
    while ipv6.len() < IPV6 {
        // As providers get them: few /32, and many networks inside.
        let provider = mixed(random.random_range(0..30_000)) & 0x0fff_ffff;
        let bits = u128::from(0x2000_0000 | provider) << 96 | random.random::<u128>() >> 32;
        let length = length(&mut random, &LENGTHS_IPV6);
        ipv6.insert(Ipv6Net::new(bits.into(), length).unwrap().trunc());
    }
    (ipv4, ipv6)
}

/// On the disk that the project is on: a temporary folder may be memory.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/costs-routes");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn numbers_csv(table: u64) -> PathBuf {
    let path = folder().join(format!("numbers-{table}.csv"));
    if path.exists() {
        return path;
    }
    let mut file = BufWriter::new(File::create(&path).unwrap());
    writeln!(file, "number,operator").unwrap();
    for (number, operator) in ported(table) {
        writeln!(file, "+{number},operator-{operator}").unwrap();
    }
    file.flush().unwrap();
    path
}

fn networks_csv() -> PathBuf {
    let path = folder().join("networks.csv");
    if path.exists() {
        return path;
    }
    let mut file = BufWriter::new(File::create(&path).unwrap());
    writeln!(file, "network,operator").unwrap();
    let (ipv4, ipv6) = networks();
    let all = ipv4.iter().map(ToString::to_string).chain(ipv6.iter().map(ToString::to_string));
    for (network, at) in all.zip(0..) {
        writeln!(file, "{network},operator-{}", mixed(at) % OPERATORS).unwrap();
    }
    file.flush().unwrap();
    path
}

/// The tables that are measured, made if they are not there yet.
fn tables() -> [PathBuf; 3] {
    let clock = Clock::system();
    let made = |name: &str, csv: &dyn Fn() -> PathBuf| {
        let target = folder().join(name);
        if !target.exists() {
            let source = csv();
            let (began, cpu) = (clock.tick(), cpu_time());
            _ = fs::write("/proc/self/clear_refs", "5");
            let before = status("VmRSS:");
            let done = compile(&[source], &target).unwrap();
            println!(
                "{name}: {done:?}, compiled in {:?}, {:?} of CPU, {} MiB more at most; {} bytes",
                clock.elapsed(began),
                cpu_since(cpu),
                (status("VmHWM:") - before) >> 20,
                fs::metadata(&target).unwrap().len(),
            );
        }
        target
    };
    [
        made("numbers-0.table", &|| numbers_csv(0)),
        made("numbers-1.table", &|| numbers_csv(1)),
        made("networks.table", &networks_csv),
    ]
}

// Of this thread.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn cpu_since(before: Duration) -> Duration {
    cpu_time().saturating_sub(before)
}

// So often the machine let something else run in this thread's stead.
fn times_taken_away() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

// Bytes, of the process.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn opened(path: &Path) -> Arc<Table> {
    let clock = Clock::system();
    let (began, cpu, before) = (clock.tick(), cpu_time(), status("VmRSS:"));
    let table = Table::open(path, &[]).unwrap();
    let (took, cpu) = (clock.elapsed(began), cpu_since(cpu));
    let bytes = status("VmRSS:").saturating_sub(before);
    let count = table.whole_len() + table.ipv4.len() + table.ipv6.len();
    let each = bytes * 100 / u64::try_from(count).unwrap();
    println!(
        "{}: read in {took:?}, {cpu:?} of CPU; {} MiB, {}.{:02} bytes each",
        path.file_name().unwrap().display(),
        bytes >> 20,
        each / 100,
        each % 100
    );
    table
}

/// How long one look takes, of many at random; with what it takes to look at the clock.
fn look_ups(name: &str, routes: &Routes, mut device: impl FnMut(&mut StdRng) -> (Device, bool)) {
    let clock = Clock::system();
    let mut random = StdRng::seed_from_u64(2);
    let mut took: Vec<u128> = (0..LOOKUPS)
        .map(|_| {
            let (device, hit) = device(&mut random);
            let began = clock.tick();
            let found = black_box(routes.find(black_box(&device)));
            let took = clock.elapsed(began);
            assert_eq!(found.is_ok(), hit, "{device:?}");
            took.as_nanos()
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1000];
    println!("{name}: p50 {} ns, p99 {} ns", at(500), at(990));
}

fn number(random: &mut StdRng, of: impl Fn(u64) -> bool) -> Device {
    loop {
        let place = random.random_range(0..RANGES * RANGE);
        if of(place) {
            return phone(&format!("+{}", number_at(place)));
        }
    }
}

#[test]
#[ignore = "a measurement, for people to read"]
fn what_a_table_costs() {
    let [numbers, _, networks] = tables();
    let (numbers, networks) = (opened(&numbers), opened(&networks));
    let none = routes(Vec::new(), Vec::new());
    look_ups("nothing to look at", &none, |random| (number(random, |_| true), false));
    let routes = routes(Vec::new(), vec![numbers, networks]);
    look_ups("a number that is there", &routes, |random| {
        (number(random, |place| is_ported(place, 0)), true)
    });
    look_ups("a number beside", &routes, |random| {
        (number(random, |place| !is_ported(place, 0)), false)
    });
    look_ups("a number elsewhere", &routes, |random| {
        (phone(&format!("+1{}", random.random_range(2_000_000_000_u64..9_999_999_999))), false)
    });
    let (ipv4, ipv6) = self::networks();
    let (ipv4, ipv6) = (Vec::from_iter(ipv4), Vec::from_iter(ipv6));
    look_ups("an IPv4 address", &routes, |random| {
        let net = ipv4[random.random_range(0..ipv4.len())];
        let host = random.random::<u32>() & net.hostmask().to_bits();
        (at_ipv4(Ipv4Addr::from_bits(net.addr().to_bits() | host)), true)
    });
    look_ups("an IPv6 /64", &routes, |random| {
        let net = ipv6[random.random_range(0..ipv6.len())];
        let host = random.random::<u128>() & net.hostmask().to_bits();
        let address = Ipv6Addr::from_bits(net.addr().to_bits() | host);
        (at_ipv6(Ipv6Net::new(address, 64).unwrap()), true)
    });
}

/// Do tables contradict the policies' routes, or each other?
#[test]
#[ignore = "a measurement, for people to read"]
fn what_a_table_costs_to_compare() {
    let [numbers, others, networks] = tables();
    let (numbers, others, networks) = (opened(&numbers), opened(&others), opened(&networks));
    let clock = Clock::system();
    let rules = ported(2).take(100_000).map(|(number, operator)| Rule {
        matching: Match::Number(format!("+{number}").parse().unwrap()),
        target: Target::Operator(format!("operator-{operator}").as_str().into()),
    });
    let mut routes = routes(rules.collect(), Vec::new());
    for (name, table) in [
        ("a table of numbers with 100 thousand routes", numbers),
        ("another of numbers with it", others),
        ("networks with both", networks),
    ] {
        let (began, cpu) = (clock.tick(), cpu_time());
        routes.add(table).unwrap();
        println!("{name}: {:?}, {:?} of CPU", clock.elapsed(began), cpu_since(cpu));
    }
}

/// The longest look while nothing happens, and while a table is exchanged for another again and again.
#[test]
#[ignore = "a measurement, for people to read"]
fn what_a_table_costs_to_exchange() {
    let [numbers, others, networks] = tables();
    let clock = Clock::system();
    let with = |numbers: &Path| routes(Vec::new(), vec![opened(numbers), opened(&networks)]);
    let held = ArcSwap::from_pointee(with(&numbers));
    let over = AtomicBool::new(false);
    // The longest of all, and of those in which the machine let the thread run.
    let look = || {
        let mut random = StdRng::seed_from_u64(3);
        let (mut longest, mut running, mut looks) = (Duration::ZERO, Duration::ZERO, 0_u64);
        let mut taken_away = times_taken_away();
        while !over.load(Ordering::Relaxed) {
            let device = number(&mut random, |place| is_ported(place, 0) || is_ported(place, 1));
            let began = clock.tick();
            _ = black_box(held.load().find(&device));
            let took = clock.elapsed(began);
            (longest, looks) = (longest.max(took), looks + 1);
            if took > running || looks % 256 == 0 {
                let now = times_taken_away();
                running = if now == taken_away { running.max(took) } else { running };
                taken_away = now;
            }
        }
        (longest, running, looks)
    };
    for exchanges in [0, 6] {
        over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let looking = scope.spawn(look);
            if exchanges == 0 {
                std::thread::sleep(Duration::from_secs(10));
            }
            for exchange in 0..exchanges {
                let next = if exchange % 2 == 0 { &others } else { &numbers };
                let before = held.swap(Arc::new(with(next)));
                // As the gateway does: no look is the last to let go.
                while Arc::strong_count(&before) > 1 {
                    std::thread::yield_now();
                }
                drop(before);
                println!("resident after {}: {} MiB", exchange + 1, status("VmRSS:") >> 20);
            }
            over.store(true, Ordering::Relaxed);
            let (longest, running, looks) = looking.join().unwrap();
            println!(
                "{exchanges} exchanges: the longest of {looks} looks took {longest:?}, {running:?} of \
                 those that nothing else on the machine kept waiting"
            );
        });
    }
}
