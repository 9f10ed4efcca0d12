# Shortcuts for the commands of CONTRIBUTING.md. just is optional: each recipe is one plain command.

# List the recipes.
default:
    @just --list

# Does it compile?
check:
    cargo check --release --lib --tests

# The unit tests of the core (sketches, windows, statistics …) whose path contains NAME: seconds.
test-core NAME:
    cargo test --release --config tests/profile.toml -p driftglass-core --lib {{NAME}}

# The unit tests of the engine and the commands whose path contains NAME, such as engine::
test-unit NAME:
    cargo test --release --config tests/profile.toml -p driftglass --lib {{NAME}}

# Every test.
test:
    cargo test --release --config tests/profile.toml

# Lints.
lint:
    cargo clippy --release --workspace --all-targets -- -D warnings

# Documentation of the code.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps

# Everything that a change must pass.
ci:
    .ci/run

# Generated traffic with four incidents, and what driftglass finds.
demo:
    cargo run --release -- demo

# What decoding, filling, merging and scoring cost, measured by criterion.
bench-pieces *ARGS:
    cargo bench -p driftglass-core --bench pieces -- {{ARGS}}

# A measurement of benches/, such as replay or kafka, with its arguments.
bench NAME *ARGS:
    benches/{{NAME}}.sh {{ARGS}}
