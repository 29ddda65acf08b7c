//! Policies as nobody would write them. Whatever the bytes in any of the files: no panic, no hang,
//! no memory without bounds; a folder is taken, and what it says can be put into force, or every
//! fault has a place that is there.
//!
//! Each case follows from its number, so a run is the same every time. Longer, and others:
//! `TMPDIR=/dev/shm QOD_FUZZ_SECONDS=1800 QOD_FUZZ_FROM=1000000 cargo test --release --lib fuzz -- --nocapture`
//! (on a disk it mostly waits for it). A case that fails is told by its number, and the last folder
//! stays: `QOD_FUZZ_FROM=… QOD_FUZZ_SECONDS=0` does it again.

mod spoil;
mod tree;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;
use crate::{
    policy::{Fault, PolicyFile},
    qod::{Device, DeviceIpv4, PhoneNumber, Written},
    route::{self, Routes},
};

const CASES: u64 = 150;
const WRONG_MAX: usize = 20;
// Far more than anything takes, and far less than what has no end. Without optimisation all is slow.
const CPU_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });
const MEMORY_MAX: u64 = 3 << 30;
// A fault is for people to read.
const MESSAGE_BYTES_MAX: usize = 4096;

const CSV: &str = "number,number_prefix,network,operator\n+4915188888888,,,tmobile-us\n\
                   ,+4917,,magenta-de\n,,203.0.113.0/24,telefonica-es\n,,2001:db8:50::/48,tmobile-us\n";
const DIALECTS: &str = "dialects:\n  acme:\n    like: camara-1.1.0\n    created_status: 200\n    \
                        port_min: 1024\n    error_shape: code_message\n    codes:\n      conflict: { \
                        status: 409, code: ALREADY_EXISTS }\n";
const TABLES: [&str; 2] = ["ported.csv", "networks.table"];

/// A sound folder, and what is done to it.
struct Ground {
    folder: Folder,
    caller: Caller,
    before: Rules,
    // All files that can be spoilt, as they are when they are sound, and other ways to write them.
    seeds: Vec<(String, Vec<Vec<u8>>)>,
    schemas: Vec<serde_json::Value>,
    // Large things are for long runs only.
    large: usize,
}

impl Ground {
    fn new(name: &str, large: usize) -> Self {
        let folder = Folder::new(name);
        fs::write(folder.0.join(TABLES[0]), CSV).unwrap();
        route::compile(&[folder.0.join(TABLES[0])], &folder.0.join(TABLES[1])).unwrap();
        fs::write(folder.0.join("dialects.yaml"), DIALECTS).unwrap();
        fs::write(folder.0.join("key.pem"), PROOF_KEY).unwrap();
        let tables = "tables: [{ file: ported.csv }, { file: networks.table }]\norder:";
        folder.change("routes.yaml", "order:", tables);
        let names = PolicyFile::ALL.map(PolicyFile::name);
        let seeds = names.into_iter().chain(TABLES).map(|name| {
            let sound = fs::read(folder.0.join(name)).unwrap();
            (name.to_owned(), vec![uncommented(&sound), sound])
        });
        let seeds = seeds.collect();
        let schemas = PolicyFile::ALL.map(PolicyFile::json_schema).into();
        let caller = caller();
        let before = folder.rules(&caller, None);
        Self { folder, caller, before, seeds, schemas, large }
    }

    fn spoilt(&self, random: &mut StdRng, which: usize) -> Vec<u8> {
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
        // A table whose checksum is right is looked at in earnest.
        if self.seeds[which].0 == TABLES[1] && bytes.len() > 32 && random.random_ratio(3, 4) {
            let body = bytes.len() - 32;
            let sum = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..body]);
            bytes[body..].copy_from_slice(&sum);
        }
        bytes
    }

    /// Spoils the folder in the way of this number; what is wrong with what came of it.
    fn case(&self, number: u64) -> Result<bool, String> {
        let mut random = StdRng::seed_from_u64(number);
        self.mend();
        let files = if random.random_ratio(1, 5) { 3 } else { 1 };
        for _ in 0..files {
            let which = random.random_range(0..self.seeds.len());
            let bytes = self.spoilt(&mut random, which);
            fs::write(self.folder.0.join(&self.seeds[which].0), bytes).unwrap();
        }
        let began = cpu_time();
        let done = catch_unwind(AssertUnwindSafe(|| self.judge()));
        let took = cpu_time().saturating_sub(began);
        let done = done.map_err(|_| "it panicked".to_owned())??;
        if took > CPU_MAX {
            return Err(format!("it took {took:?}"));
        }
        let memory = memory_peak();
        if memory > MEMORY_MAX { Err(format!("it took {memory} bytes")) } else { Ok(done) }
    }

    fn judge(&self) -> Result<bool, String> {
        let mut read = HashMap::new();
        match policy::load(&self.folder.0) {
            Ok(policy) => {
                ask(&policy.routes);
                let fixed = self.before.written.not_followed(&policy.written);
                fixed.iter().try_for_each(|fault| self.check(fault, &mut read))?;
                match Rules::new(policy, &self.caller, Some(&self.before)) {
                    Ok(_) => Ok(true),
                    Err(message) if message.is_empty() => Err("nothing is told".to_owned()),
                    Err(_) => Ok(false),
                }
            }
            Err(faults) if faults.is_empty() => Err("nothing is told".to_owned()),
            Err(faults) => {
                faults.iter().try_for_each(|fault| self.check(fault, &mut read)).map(|()| false)
            }
        }
    }

    // Does a fault stand where something is? The lines of each file are read once.
    fn check(&self, fault: &Fault, read: &mut HashMap<PathBuf, Vec<String>>) -> Result<(), String> {
        let Fault { file, line, column, message } = fault;
        let wrong = |what: &str| Err(format!("{what}: {:.300}", fault.to_string()));
        if !file.starts_with(&self.folder.0) {
            return wrong("of another folder");
        }
        if message.trim().is_empty() || message.len() > MESSAGE_BYTES_MAX {
            return wrong("a message of no use");
        }
        if message.chars().any(char::is_control) {
            return wrong("a message that moves a terminal");
        }
        let lines = read.entry(file.clone()).or_insert_with(|| {
            let text = fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace("\r\n", "\n");
            let is_table = TABLES.iter().any(|table| file.ends_with(table));
            let text = if is_table { text } else { text.replace('\r', "\n") };
            text.split('\n').map(str::to_owned).collect()
        });
        let at = usize::try_from(line - 1).ok().and_then(|line| lines.get(line));
        let Some(at) = at else { return wrong("a line that is not there") };
        if *column == 0 || usize::try_from(*column).unwrap() > at.chars().count() + 1 {
            return wrong("a column that is not there");
        }
        Ok(())
    }

    fn mend(&self) {
        for (name, seeds) in &self.seeds {
            fs::write(self.folder.0.join(name), seeds.last().unwrap()).unwrap();
        }
    }
}

fn ask(routes: &Routes) {
    let number = |text: &str| {
        let number: PhoneNumber = text.parse().unwrap();
        Device { phone: Some(Written::plain(number)), ..Device::default() }
    };
    let public = |address: [u8; 4]| {
        let (public, private) = (address.into(), Some([10, 0, 0, 1].into()));
        let ipv4 = Some(DeviceIpv4::Public { public, private, public_port: None });
        Device { ipv4, ..Device::default() }
    };
    let ipv6 = |net: &str| Device {
        ipv6: Some(Written::plain(net.parse().unwrap())),
        ..Device::default()
    };
    for device in [number("+4915188888888"), number("+999999999999999"), public([203, 0, 113, 9])]
        .into_iter()
        .chain([public([255; 4]), ipv6("2001:db8:50::/64"), ipv6("::/0")])
    {
        _ = routes.find(&device);
    }
}

// What stands in comments as an example is taken at its word.
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

// Of this thread: whatever else the machine does.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

// Of the process.
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
#[expect(clippy::print_stderr, reason = "how far a long run came, for people to read")]
fn whatever_stands_in_the_policies_is_taken_or_told_with_its_place() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let seconds = setting("QOD_FUZZ_SECONDS");
    let from = setting("QOD_FUZZ_FROM").unwrap_or(0);
    let clock = Clock::system();
    let began = clock.tick();
    let ground =
        Ground::new(&format!("fuzz-{from}"), if seconds.is_some() { 17 << 20 } else { 1 << 18 });
    let (mut taken, mut done, mut wrong) = (0_u64, 0_u64, Vec::new());
    for number in from.. {
        let enough = seconds.map_or(done == CASES, |seconds| {
            done > 0 && clock.elapsed(began) >= Duration::from_secs(seconds)
        });
        if enough || wrong.len() == WRONG_MAX {
            break;
        }
        match ground.case(number) {
            Ok(sound) => taken += u64::from(sound),
            Err(what) => wrong.push(format!("case {number}: {what}")),
        }
        done += 1;
    }
    if !wrong.is_empty() {
        let Ground { folder, .. } = ground;
        let left = folder.0.clone();
        std::mem::forget(folder);
        panic!("the last folder is {}\n{}", left.display(), wrong.join("\n"));
    }
    assert!(seconds.is_some() || (1..CASES / 2).contains(&taken), "{taken} of {done} are taken");
    eprintln!("{done} cases from {from}, {taken} of them taken");
}
