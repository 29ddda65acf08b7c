//! Measures the cost of tables. Run these tests separately, optimised:
//! `cargo test --release --lib -- --ignored --nocapture --test-threads 1 measure_table`
//!
//! The data are generated and reproducible. Numbers: 40 mobile ranges of ten million in five
//! countries; one number in eight is ported, to one of 200 operators, in pseudo-random order.
//! Networks: lengths as in Internet routing tables, random addresses, 200 operators.

#![expect(clippy::print_stdout, reason = "prints measurements")]

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

/// A pseudo-random number that depends only on the seed.
const fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The number at an index of all ranges, such as +49 15 1 0000000.
const fn number_at(index: u64) -> u64 {
    let countries = [49, 34, 44, 33, 39];
    let range = index / RANGE;
    let country = countries[range as usize % countries.len()];
    (country * 1000 + 150 + range / 5) * RANGE + index % RANGE
}

const fn is_ported(index: u64, table: u64) -> bool {
    mix(index) % ONE_OF == table
}

/// The ported numbers of one of several disjoint tables, in pseudo-random order.
fn ported(table: u64) -> impl Iterator<Item = (u64, u64)> {
    let all = RANGES * RANGE;
    // The step is coprime to the count, so that each number occurs once.
    let places = (0..all).map(move |step| (step * 179_424_691) % all);
    let ported = places.filter(move |index| is_ported(*index, table));
    ported.map(|index| (number_at(index), mix(index ^ 1) % OPERATORS))
}

// Prefix lengths, with their share in thousandths.
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
        // As allocated to providers: few /32, with many networks inside.
        let provider = mix(random.random_range(0..30_000)) & 0x0fff_ffff;
        let bits = u128::from(0x2000_0000 | provider) << 96 | random.random::<u128>() >> 32;
        let length = length(&mut random, &LENGTHS_IPV6);
        ipv6.insert(Ipv6Net::new(bits.into(), length).unwrap().trunc());
    }
    (ipv4, ipv6)
}

/// A folder on the project's disk: the temporary folder may be in memory.
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
        writeln!(file, "{network},operator-{}", mix(at) % OPERATORS).unwrap();
    }
    file.flush().unwrap();
    path
}

/// The tables to measure, generated if they do not exist yet.
fn tables() -> [PathBuf; 3] {
    let clock = Clock::system();
    let generate = |name: &str, csv: &dyn Fn() -> PathBuf| {
        let target = folder().join(name);
        if !target.exists() {
            let source = csv();
            let (began, cpu) = (clock.tick(), cpu_time());
            _ = fs::write("/proc/self/clear_refs", "5");
            let before = status("VmRSS:");
            let done = compile(&[source], &target).unwrap();
            println!(
                "{name}: {done:?}, compiled in {:?}, {:?} CPU, peak {} MiB more; {} bytes",
                clock.elapsed(began),
                cpu_since(cpu),
                (status("VmHWM:") - before) >> 20,
                fs::metadata(&target).unwrap().len(),
            );
        }
        target
    };
    [
        generate("numbers-0.table", &|| numbers_csv(0)),
        generate("numbers-1.table", &|| numbers_csv(1)),
        generate("networks.table", &networks_csv),
    ]
}

// The CPU time of this thread.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn cpu_since(before: Duration) -> Duration {
    cpu_time().saturating_sub(before)
}

// The involuntary context switches of this thread.
fn preemptions() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

// A memory counter of the process, in bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn open(path: &Path) -> Arc<Table> {
    let clock = Clock::system();
    let (began, cpu, before) = (clock.tick(), cpu_time(), status("VmRSS:"));
    let table = Table::open(path, &[]).unwrap();
    let (took, cpu) = (clock.elapsed(began), cpu_since(cpu));
    let bytes = status("VmRSS:").saturating_sub(before);
    let count = table.number_count() + table.ipv4.len() + table.ipv6.len();
    let each = bytes * 100 / u64::try_from(count).unwrap();
    println!(
        "{}: read in {took:?}, {cpu:?} CPU; {} MiB, {}.{:02} bytes per entry",
        path.file_name().unwrap().display(),
        bytes >> 20,
        each / 100,
        each % 100
    );
    table
}

/// Measures random lookups, including the cost of reading the clock.
fn measure_lookups(
    name: &str,
    routes: &Routes,
    mut device: impl FnMut(&mut StdRng) -> (Device, bool),
) {
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
        let index = random.random_range(0..RANGES * RANGE);
        if of(index) {
            return phone(&format!("+{}", number_at(index)));
        }
    }
}

#[test]
#[ignore = "a measurement; run it by hand"]
fn measure_table_lookups() {
    let [numbers, _, networks] = tables();
    let (numbers, networks) = (open(&numbers), open(&networks));
    let none = routes(Vec::new(), Vec::new());
    measure_lookups("no routes", &none, |random| (number(random, |_| true), false));
    let routes = routes(Vec::new(), vec![numbers, networks]);
    measure_lookups("a number in the table", &routes, |random| {
        (number(random, |index| is_ported(index, 0)), true)
    });
    measure_lookups("a number next to one in the table", &routes, |random| {
        (number(random, |index| !is_ported(index, 0)), false)
    });
    measure_lookups("a number of another country", &routes, |random| {
        (phone(&format!("+1{}", random.random_range(2_000_000_000_u64..9_999_999_999))), false)
    });
    let (ipv4, ipv6) = self::networks();
    let (ipv4, ipv6) = (Vec::from_iter(ipv4), Vec::from_iter(ipv6));
    measure_lookups("an IPv4 address", &routes, |random| {
        let net = ipv4[random.random_range(0..ipv4.len())];
        let host = random.random::<u32>() & net.hostmask().to_bits();
        (at_ipv4(Ipv4Addr::from_bits(net.addr().to_bits() | host)), true)
    });
    measure_lookups("an IPv6 /64", &routes, |random| {
        let net = ipv6[random.random_range(0..ipv6.len())];
        let host = random.random::<u128>() & net.hostmask().to_bits();
        let address = Ipv6Addr::from_bits(net.addr().to_bits() | host);
        (at_ipv6(Ipv6Net::new(address, 64).unwrap()), true)
    });
}

/// Measures the check for conflicts between tables and rules.
#[test]
#[ignore = "a measurement; run it by hand"]
fn measure_table_conflict_checks() {
    let [numbers, others, networks] = tables();
    let (numbers, others, networks) = (open(&numbers), open(&others), open(&networks));
    let clock = Clock::system();
    let rules = ported(2).take(100_000).map(|(number, operator)| Route {
        matching: Match::Number(format!("+{number}").parse().unwrap()),
        target: Target::Operator(format!("operator-{operator}").as_str().into()),
    });
    let mut routes = routes(rules.collect(), Vec::new());
    for (name, table) in [
        ("a table of numbers against 100 thousand routes", numbers),
        ("another table of numbers against both", others),
        ("networks against all of them", networks),
    ] {
        let (began, cpu) = (clock.tick(), cpu_time());
        routes.add(table).unwrap();
        println!("{name}: {:?}, {:?} CPU", clock.elapsed(began), cpu_since(cpu));
    }
}

/// Measures the longest lookup, idle and while a table is replaced repeatedly.
#[test]
#[ignore = "a measurement; run it by hand"]
fn measure_table_replacement() {
    let [numbers, others, networks] = tables();
    let clock = Clock::system();
    let with = |numbers: &Path| routes(Vec::new(), vec![open(numbers), open(&networks)]);
    let current = ArcSwap::from_pointee(with(&numbers));
    let stop = AtomicBool::new(false);
    // The longest lookup of all, and of those without preemption.
    let measure = || {
        let mut random = StdRng::seed_from_u64(3);
        let (mut longest, mut running, mut lookups) = (Duration::ZERO, Duration::ZERO, 0_u64);
        let mut last_preemptions = preemptions();
        while !stop.load(Ordering::Relaxed) {
            let device = number(&mut random, |index| is_ported(index, 0) || is_ported(index, 1));
            let began = clock.tick();
            _ = black_box(current.load().find(&device));
            let took = clock.elapsed(began);
            (longest, lookups) = (longest.max(took), lookups + 1);
            if took > running || lookups % 256 == 0 {
                let now = preemptions();
                running = if now == last_preemptions { running.max(took) } else { running };
                last_preemptions = now;
            }
        }
        (longest, running, lookups)
    };
    for replacements in [0, 6] {
        stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let measuring = scope.spawn(measure);
            if replacements == 0 {
                std::thread::sleep(Duration::from_secs(10));
            }
            for replacement in 0..replacements {
                let next = if replacement % 2 == 0 { &others } else { &numbers };
                let before = current.swap(Arc::new(with(next)));
                // As in the gateway: a lookup never drops the last reference.
                while Arc::strong_count(&before) > 1 {
                    std::thread::yield_now();
                }
                drop(before);
                println!("resident after {}: {} MiB", replacement + 1, status("VmRSS:") >> 20);
            }
            stop.store(true, Ordering::Relaxed);
            let (longest, running, lookups) = measuring.join().unwrap();
            println!(
                "{replacements} replacements: the longest of {lookups} lookups took {longest:?}; \
                 {running:?} without preemption"
            );
        });
    }
}
