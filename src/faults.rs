//! Fault injection for tests. Without the feature `faults`, which releases do not enable, these
//! functions do nothing.

/// Kills the process with SIGKILL if `QOD_FAULT` names this point. `QOD_FAULT` is a comma-separated
/// list of `NAME` or `NAME:N`; with `N`, the first N passes do not kill the process.
#[cfg(feature = "faults")]
pub(crate) fn point(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);
    for fault in configured_faults() {
        let (point, passes) = fault.split_once(':').unwrap_or((fault, "0"));
        if point == name && PASSED.fetch_add(1, Ordering::SeqCst).to_string() == passes {
            // If the signal fails, the test finds the process still running.
            _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
        }
    }
}

/// Is the write to the ledger before the operator call skipped?
#[cfg(feature = "faults")]
pub(crate) fn without_write_ahead() -> bool {
    configured_faults().any(|fault| fault == "without-write-ahead")
}

/// The usage row to write in the commit of its change. With the fault `late-usage` there is none: it is
/// returned by [`take_late_usage`].
#[cfg(feature = "faults")]
pub(crate) fn usage_in_commit(number: u64, row: Vec<u8>) -> Option<(u64, Vec<u8>)> {
    if configured_faults().all(|fault| fault != "late-usage") {
        return Some((number, row));
    }
    late_usage().push((number, row));
    None
}

/// The usage rows that are written after the commit of their changes.
#[cfg(feature = "faults")]
pub(crate) fn take_late_usage() -> Vec<(u64, Vec<u8>)> {
    std::mem::take(&mut *late_usage())
}

#[cfg(feature = "faults")]
fn late_usage() -> std::sync::MutexGuard<'static, Vec<(u64, Vec<u8>)>> {
    static LATE: std::sync::Mutex<Vec<(u64, Vec<u8>)>> = std::sync::Mutex::new(Vec::new());
    LATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(feature = "faults")]
#[expect(clippy::disallowed_methods, reason = "for tests only; not a setting of a release")]
fn configured_faults() -> impl Iterator<Item = &'static str> {
    static FAULTS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    FAULTS.get_or_init(|| std::env::var("QOD_FAULT").unwrap_or_default()).split(',')
}

/// Does nothing.
#[cfg(not(feature = "faults"))]
pub(crate) const fn point(_: &str) {}

/// Always false.
#[cfg(not(feature = "faults"))]
pub(crate) const fn without_write_ahead() -> bool {
    false
}

/// Returns the row.
#[cfg(not(feature = "faults"))]
#[expect(clippy::unnecessary_wraps, reason = "with the fault there is no row")]
pub(crate) const fn usage_in_commit(number: u64, row: Vec<u8>) -> Option<(u64, Vec<u8>)> {
    Some((number, row))
}

/// Always empty.
#[cfg(not(feature = "faults"))]
pub(crate) const fn take_late_usage() -> Vec<(u64, Vec<u8>)> {
    Vec::new()
}
