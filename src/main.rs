//! The `qod-gateway` program.

use std::process::ExitCode;

use qod_gateway::cli;

// Two threads that parse and drop bodies gain a third over the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
