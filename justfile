# Recipes for development. `just` lists them. Install just with `cargo install just`.

# List the recipes.
default:
    @just --list

# Install the system packages that tests use (needs root; Debian or Ubuntu).
setup:
    scripts/setup

# Run everything that a change must pass.
test:
    scripts/test

# Check formatting and lints only.
lint:
    cargo fmt --check
    cargo clippy --all-targets --all-features --locked -- -D warnings

# Run the unit tests of one module, such as `just unit ledger`.
unit filter:
    cargo test --lib --all-features --locked {{ filter }}

# Run integration tests by name and keep their folders, such as `just it reload`.
it filter:
    QOD_KEEP=1 cargo test --test it --all-features --locked {{ filter }} -- --nocapture

# Show the whole system: simulated operators, the gateway, and a tour over real HTTP.
demo:
    cargo run --release --locked -- demo

# Build the API documentation and the book.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
    mdbook build

# Check licences, sources, bans and advisories (needs cargo-deny and network access).
deny:
    cargo deny check

# Run a fuzz target of fuzz/README.md for a number of seconds (needs a nightly toolchain and cargo-fuzz).
fuzz target seconds="600":
    mkdir -p fuzz/target/corpus/{{ target }}
    cargo +nightly fuzz run {{ target }} fuzz/target/corpus/{{ target }} fuzz/corpus/{{ target }} -- -max_total_time={{ seconds }}

# Run the fuzz tests for a number of seconds for each target: on the stable toolchain, without feedback from coverage.
fuzz-tests seconds="600":
    QOD_FUZZ_SECONDS={{ seconds }} cargo test --release --lib --all-features --locked fuzzing -- --nocapture

# Run the load benchmark: see docs/design/performance.md for its parameters.
bench *args:
    benches/load/run {{ args }}
