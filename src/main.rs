//! The `qod-gateway` program.

use std::process::ExitCode;

use qod_gateway::cli;

/// The allocator. It has a third more throughput than that of the system, measured with two threads that parse
/// bodies.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
