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
