//! Where tests make the process die, or misbehave. Without the feature `faults`, which no release is
//! built with, none of this does anything.

/// Ends the process here, as `kill -9` would, if `QOD_FAULT` says so: a list of `NAME` or `NAME:N`, to
/// pass N times before.
#[cfg(feature = "faults")]
pub(crate) fn point(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);
    for fault in set_faults() {
        let (wanted, passes) = fault.split_once(':').unwrap_or((fault, "0"));
        if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst).to_string() == passes {
            // If this could fail, the test would see a process that lives.
            _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
        }
    }
}

/// Is nothing written down before the operator is asked?
#[cfg(feature = "faults")]
pub(crate) fn without_write_ahead() -> bool {
    set_faults().any(|fault| fault == "without-write-ahead")
}

#[cfg(feature = "faults")]
#[expect(clippy::disallowed_methods, reason = "no setting of a release")]
fn set_faults() -> impl Iterator<Item = &'static str> {
    static FAULTS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    FAULTS.get_or_init(|| std::env::var("QOD_FAULT").unwrap_or_default()).split(',')
}

#[cfg(not(feature = "faults"))]
pub(crate) const fn point(_: &str) {}

#[cfg(not(feature = "faults"))]
pub(crate) const fn without_write_ahead() -> bool {
    false
}
