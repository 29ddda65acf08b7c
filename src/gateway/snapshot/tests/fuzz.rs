//! Fuzz test of the policy loader. Whatever bytes the files contain, the loader does not panic, hang or use
//! unbounded memory; it either accepts the folder, or reports errors with valid positions.
//!
//! Each case is determined by its number, so a run is reproducible. A longer run with other cases:
//! `TMPDIR=/dev/shm QOD_FUZZ_SECONDS=1800 QOD_FUZZ_FROM=1000000 cargo test --release --lib fuzz -- --nocapture`
//! (on a disk, the run is dominated by I/O). A failure is reported with the number of its case, and the last
//! folder is not removed; `QOD_FUZZ_FROM=… QOD_FUZZ_SECONDS=0` repeats the case.

mod spoil;
mod tree;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::{
    policy::{Diagnostic, PolicyFile},
    qod::{Device, DeviceIpv4, PhoneNumber, Verbatim},
    route::{self, Routes},
};

const CASES: u64 = 150;
const FAILURES_MAX: usize = 20;
// Far above the time of any valid case, and far below an endless loop. Debug builds are slow.
const CPU_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });
const MEMORY_MAX: u64 = 3 << 30;
// An error must stay readable.
const MESSAGE_BYTES_MAX: usize = 4096;

const CSV: &str = "number,number_prefix,network,operator\n+4915188888888,,,tmobile-us\n\
                   ,+4917,,magenta-de\n,,203.0.113.0/24,telefonica-es\n,,2001:db8:50::/48,tmobile-us\n";
const DIALECTS: &str = "dialects:\n  acme:\n    based_on: camara-1.1.0\n    created_status: 200\n    \
                        port_min: 1024\n    error_shape: code_message\n    codes:\n      conflict: { \
                        status: 409, code: ALREADY_EXISTS }\n";
const TABLES: [&str; 2] = ["ported.csv", "networks.table"];

/// A valid folder, and the means to corrupt it.
struct FuzzTarget {
    folder: PolicyFolderCopy,
    caller: Caller,
    before: PolicySnapshot,
    // The files to corrupt: their valid content, and other spellings of it.
    seeds: Vec<(String, Vec<Vec<u8>>)>,
    schemas: Vec<serde_json::Value>,
    // The size of extreme inputs in bytes; large only in long runs.
    large: usize,
}

impl FuzzTarget {
    fn new(name: &str, large: usize) -> Self {
        let folder = PolicyFolderCopy::new(name);
        fs::write(folder.0.join(TABLES[0]), CSV).unwrap();
        route::compile(&[folder.0.join(TABLES[0])], &folder.0.join(TABLES[1])).unwrap();
        fs::write(folder.0.join("dialects.yaml"), DIALECTS).unwrap();
        fs::write(folder.0.join("key.pem"), PROOF_KEY).unwrap();
        let tables = "tables: [{ file: ported.csv }, { file: networks.table }]\norder:";
        folder.change("routes.yaml", "order:", tables);
        let names = PolicyFile::ALL.map(PolicyFile::name);
        let seeds = names.into_iter().chain(TABLES).map(|name| {
            let valid = fs::read(folder.0.join(name)).unwrap();
            (name.to_owned(), vec![uncommented(&valid), valid])
        });
        let seeds = seeds.collect();
        let schemas = PolicyFile::ALL.map(PolicyFile::json_schema).into();
        let caller = caller();
        let before = folder.rules(&caller, None);
        Self { folder, caller, before, seeds, schemas, large }
    }

    fn corrupted(&self, random: &mut StdRng, which: usize) -> Vec<u8> {
        let (_, seeds) = &self.seeds[which];
        let seed = seeds.choose(random).unwrap().clone();
        let others = self.seeds.choose(random).unwrap().1.choose(random).unwrap();
        let mut bytes = match (self.schemas.get(which), random.random_range(0..100)) {
            (Some(schema), 0..45) => tree::of_schema(random, schema).into_bytes(),
            (Some(_), 45..60) => tree::changed(random, &seed).unwrap_or(seed),
            (_, 60..66) => spoil::extreme(random, &seed, self.large),
            _ => spoil::edited(random, seed, others),
        };
        if random.random_ratio(1, 10) {
            bytes = spoil::edited(random, bytes, others);
        }
        // The loader parses a table only if its checksum is right.
        if self.seeds[which].0 == TABLES[1] && bytes.len() > 32 && random.random_ratio(3, 4) {
            let body = bytes.len() - 32;
            let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..body]);
            bytes[body..].copy_from_slice(&sum);
        }
        bytes
    }

    /// Corrupts the folder as the number determines and loads it. Returns whether the folder was accepted,
    /// or the error of the loader's behaviour.
    fn case(&self, number: u64) -> Result<bool, String> {
        let mut random = StdRng::seed_from_u64(number);
        self.restore();
        let files = if random.random_ratio(1, 5) { 3 } else { 1 };
        for _ in 0..files {
            let which = random.random_range(0..self.seeds.len());
            let bytes = self.corrupted(&mut random, which);
            fs::write(self.folder.0.join(&self.seeds[which].0), bytes).unwrap();
        }
        let began = cpu_time();
        let done = catch_unwind(AssertUnwindSafe(|| self.load()));
        let took = cpu_time().saturating_sub(began);
        let done = done.map_err(|_| "the loader panicked".to_owned())??;
        if took > CPU_MAX {
            return Err(format!("the loader used {took:?} of CPU time"));
        }
        let memory = memory_peak();
        if memory > MEMORY_MAX { Err(format!("the process used {memory} bytes")) } else { Ok(done) }
    }

    fn load(&self) -> Result<bool, String> {
        let mut read = HashMap::new();
        match policy::load(&self.folder.0) {
            Ok(policy) => {
                look_up_devices(&policy.routes);
                let fixed = self.before.fingerprint.restart_errors(&policy.fingerprint);
                fixed.iter().try_for_each(|fault| self.check(fault, &mut read))?;
                match PolicySnapshot::new(policy, &self.caller, Some(&self.before)) {
                    Ok(_) => Ok(true),
                    Err(message) if message.is_empty() => Err("no error is reported".to_owned()),
                    Err(_) => Ok(false),
                }
            }
            Err(faults) if faults.is_empty() => Err("no error is reported".to_owned()),
            Err(faults) => {
                faults.iter().try_for_each(|fault| self.check(fault, &mut read)).map(|()| false)
            }
        }
    }

    // Checks that an error has a valid position and message. The lines of each file are read once.
    fn check(
        &self,
        fault: &Diagnostic,
        read: &mut HashMap<PathBuf, Vec<String>>,
    ) -> Result<(), String> {
        let Diagnostic { file, line, column, message } = fault;
        let invalid = |what: &str| Err(format!("{what}: {:.300}", fault.to_string()));
        if !file.starts_with(&self.folder.0) {
            return invalid("the file is outside the folder");
        }
        if message.trim().is_empty() || message.len() > MESSAGE_BYTES_MAX {
            return invalid("the message is empty or too long");
        }
        if message.chars().any(char::is_control) {
            return invalid("the message has control characters");
        }
        let lines = read.entry(file.clone()).or_insert_with(|| {
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            let is_table = TABLES.iter().any(|table| file.ends_with(table));
            let text = if is_table { text } else { text.replace('\r', "\n") };
            text.split('\n').map(str::to_owned).collect()
        });
        let at = usize::try_from(line - 1).ok().and_then(|line| lines.get(line));
        let Some(at) = at else { return invalid("the line does not exist") };
        if *column == 0 || usize::try_from(*column).unwrap() > at.chars().count() + 1 {
            return invalid("the column does not exist");
        }
        Ok(())
    }

    fn restore(&self) {
        for (name, seeds) in &self.seeds {
            fs::write(self.folder.0.join(name), seeds.last().unwrap()).unwrap();
        }
    }
}

fn look_up_devices(routes: &Routes) {
    let number = |text: &str| {
        let number: PhoneNumber = text.parse().unwrap();
        Device { phone: Some(Verbatim::from_value(number)), ..Device::default() }
    };
    let public = |address: [u8; 4]| {
        let (public, private) = (address.into(), Some([10, 0, 0, 1].into()));
        let ipv4 = Some(DeviceIpv4::Public { public, private, public_port: None });
        Device { ipv4, ..Device::default() }
    };
    let ipv6 = |net: &str| Device {
        ipv6: Some(Verbatim::from_value(net.parse().unwrap())),
        ..Device::default()
    };
    for device in [number("+4915188888888"), number("+999999999999999"), public([203, 0, 113, 9])]
        .into_iter()
        .chain([public([255; 4]), ipv6("2001:db8:50::/64"), ipv6("::/0")])
    {
        _ = routes.find(&device);
    }
}

// Commented examples are tested, too.
fn uncommented(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && rest.contains(':') => {
            format!("{indent}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect::<String>().into_bytes()
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

#[test]
#[expect(clippy::print_stderr, reason = "progress of a long run")]
fn corrupted_policies_are_accepted_or_rejected_with_valid_positions() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let seconds = setting("QOD_FUZZ_SECONDS");
    let from = setting("QOD_FUZZ_FROM").unwrap_or(0);
    let clock = Clock::system();
    let began = clock.tick();
    let target = FuzzTarget::new(
        &format!("fuzz-{from}"),
        if seconds.is_some() { 17 << 20 } else { 1 << 18 },
    );
    let (mut accepted, mut done, mut failures) = (0_u64, 0_u64, Vec::new());
    for number in from.. {
        let enough = seconds.map_or(done == CASES, |seconds| {
            done > 0 && clock.elapsed(began) >= Duration::from_secs(seconds)
        });
        if enough || failures.len() == FAILURES_MAX {
            break;
        }
        match target.case(number) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(what) => failures.push(format!("case {number}: {what}")),
        }
        done += 1;
    }
    if !failures.is_empty() {
        let FuzzTarget { folder, .. } = target;
        let path = folder.0.clone();
        std::mem::forget(folder);
        panic!("the last folder is {}\n{}", path.display(), failures.join("\n"));
    }
    assert!(
        seconds.is_some() || (1..CASES / 2).contains(&accepted),
        "{accepted} of {done} are accepted"
    );
    eprintln!("{done} cases from {from}, {accepted} of them accepted");
}
