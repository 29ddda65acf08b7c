//! The fuzz targets: what the programs in `fuzz/` and the tests below call. Each function processes arbitrary
//! bytes as the gateway processes input from outside, and panics if a rule that holds for every input is violated.
//! This module exists only in builds for fuzzing (`--cfg fuzzing`, set by cargo-fuzz) and for tests.

/// A fuzz target.
pub type FuzzTarget = fn(&[u8]);

/// All targets with their names, which are also those of their programs in `fuzz/fuzz_targets/` and of their
/// folders in `fuzz/corpus/`.
pub const TARGETS: [(&str, FuzzTarget); 6] = [
    ("compiled_table", crate::route::check_compiled_table),
    ("csv_table", crate::route::check_csv_table),
    ("http_framing", crate::server::check_http_framing),
    ("json", crate::json::fuzz::check_json),
    ("jws", crate::identity::check_jws),
    ("policies", crate::gateway::fuzz::check_policies),
];

/// Runs the target of this name.
///
/// # Panics
/// If a rule is violated, or if there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(other, _)| *other == name);
    assert!(target.is_some(), "there is no target `{name}`");
    if let Some((_, target)) = target {
        target(data);
    }
}

#[cfg(test)]
mod tests;
