//! Bounded runs of the fuzz targets: the corpus in `fuzz/corpus/`, and mutations of it. They need no nightly
//! toolchain, and have no feedback from coverage.
//!
//! Each case is determined by its number, so a run is reproducible. A longer run with other cases:
//! `TMPDIR=/dev/shm QOD_FUZZ_SECONDS=1800 QOD_FUZZ_FROM=1000000 cargo test --release --lib fuzzing -- --nocapture`
//! (on a disk, the run of policies is dominated by I/O). A failure is reported with the number of its case;
//! `QOD_FUZZ_FROM=… QOD_FUZZ_SECONDS=0` repeats it.

mod policies;
mod spoil;
mod tree;

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::TARGETS;
use crate::clock::Clock;

const FAILURES_MAX: usize = 20;
// Far above the time of any valid case, and far below an endless loop. Debug builds are slow.
const CPU_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });
const MEMORY_MAX: u64 = 3 << 30;

struct Run {
    accepted: u64,
    failures: Vec<String>,
}

/// Runs this many cases, or as many as the settings of a long run determine.
#[expect(clippy::print_stderr, reason = "progress of a long run")]
fn run(name: &str, count: u64, case: impl Fn(u64) -> Result<bool, String>) -> Run {
    let (seconds, from) = (setting("QOD_FUZZ_SECONDS"), setting("QOD_FUZZ_FROM").unwrap_or(0));
    let clock = Clock::system();
    let began = clock.tick();
    let (mut run, mut done) = (Run { accepted: 0, failures: Vec::new() }, 0);
    for number in from.. {
        let enough = seconds.map_or(done == count, |seconds| {
            done > 0 && clock.elapsed(began) >= Duration::from_secs(seconds)
        });
        if enough || run.failures.len() == FAILURES_MAX {
            break;
        }
        match within_limits(|| case(number)) {
            Ok(is_accepted) => run.accepted += u64::from(is_accepted),
            Err(what) => run.failures.push(format!("{name}: case {number}: {what}")),
        }
        done += 1;
    }
    eprintln!("{name}: {done} cases from {from}, {} of them accepted", run.accepted);
    run
}

fn within_limits(case: impl FnOnce() -> Result<bool, String>) -> Result<bool, String> {
    let began = cpu_time();
    let done = catch_unwind(AssertUnwindSafe(case));
    let took = cpu_time().saturating_sub(began);
    let accepted = done.map_err(|_| "it panicked".to_owned())??;
    if took > CPU_MAX {
        return Err(format!("it used {took:?} of CPU time"));
    }
    let memory = memory_peak();
    if memory > MEMORY_MAX { Err(format!("the process used {memory} bytes")) } else { Ok(accepted) }
}

// The CPU time of this thread, so that other load on the machine does not count.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

// The peak memory of the process.
fn memory_peak() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names of the files of a folder, without their extensions.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The files of a target's corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz_folder().join("corpus").join(target);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(&fuzz_folder().join("fuzz_targets")), names);
    assert_eq!(names_in(&fuzz_folder().join("corpus")), names);
}

#[test]
fn corpus_violates_no_rule() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "the corpus of {name} is empty");
        for (path, data) in corpus {
            let done = catch_unwind(|| target(&data));
            assert!(done.is_ok(), "{path} violates a rule");
        }
    }
}

#[test]
fn mutated_corpus_violates_no_rule() {
    const CASES: u64 = 500;
    for (name, target) in TARGETS {
        // A test of its own generates policies.
        if name == "policies" {
            continue;
        }
        let corpus = corpus(name);
        let run = run(name, CASES, |number| {
            let mut random = StdRng::seed_from_u64(number);
            let (_, seed) = corpus.choose(&mut random).unwrap();
            let (_, other) = corpus.choose(&mut random).unwrap();
            target(&spoil::edited(&mut random, seed.clone(), other));
            Ok(true)
        });
        assert!(run.failures.is_empty(), "{}", run.failures.join("\n"));
    }
}
