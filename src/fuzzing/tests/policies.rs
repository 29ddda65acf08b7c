//! Policy folders with corrupted files: edited bytes, and files with a plausible structure.

use sha2::Digest as _;

use super::{spoil, tree, *};
use crate::{
    gateway::fuzz::{FuzzFolder, TABLES},
    policy::PolicyFile,
};

/// A valid folder, and the means to corrupt it.
struct CorruptedFolder {
    folder: FuzzFolder,
    // The files to corrupt: other spellings of the valid content, and that content.
    seeds: Vec<(String, [Vec<u8>; 2])>,
    schemas: Vec<serde_json::Value>,
    // The size of extreme inputs in bytes; large only in long runs.
    large: usize,
}

impl CorruptedFolder {
    fn new() -> Self {
        let folder = FuzzFolder::new("corrupted");
        let seeds = folder
            .files
            .iter()
            .map(|(name, valid)| (name.clone(), [uncommented(valid), valid.clone()]));
        let seeds = seeds.collect();
        let schemas = PolicyFile::ALL.map(PolicyFile::json_schema).into();
        let large = if setting("QOD_FUZZ_SECONDS").is_some() { 17 << 20 } else { 1 << 18 };
        Self { folder, seeds, schemas, large }
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
            let sum = sha2::Sha256::digest(&bytes[..body]);
            bytes[body..].copy_from_slice(&sum);
        }
        bytes
    }

    /// Corrupts the folder as the number determines and loads it.
    fn case(&self, number: u64) -> Result<bool, String> {
        let mut random = StdRng::seed_from_u64(number);
        let count = if random.random_ratio(1, 5) { 3 } else { 1 };
        let files: Vec<(&str, Vec<u8>)> = (0..count)
            .map(|_| {
                let which = random.random_range(0..self.seeds.len());
                (&*self.seeds[which].0, self.corrupted(&mut random, which))
            })
            .collect();
        self.folder.load(&files)
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

#[test]
fn corrupted_policies_are_accepted_or_rejected_with_valid_positions() {
    const CASES: u64 = 150;
    let target = CorruptedFolder::new();
    let run = run("policies", CASES, |number| target.case(number));
    if !run.failures.is_empty() {
        let path = target.folder.retain();
        panic!("the last folder is {}\n{}", path.display(), run.failures.join("\n"));
    }
    let accepted = run.accepted;
    assert!(
        setting("QOD_FUZZ_SECONDS").is_some() || (1..CASES / 2).contains(&accepted),
        "{accepted} of {CASES} are accepted"
    );
}
