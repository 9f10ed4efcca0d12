# Shortcuts for the commands of CONTRIBUTING.md. just is optional: each recipe is one plain command.

# List the recipes.
default:
    @just --list

# Does it compile?
check:
    cargo check --release --lib --tests

# The unit tests whose path contains NAME, such as window::
test-unit NAME:
    cargo test --release --config tests/profile.toml --lib {{NAME}}

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

# A measurement of benches/, such as replay or kafka, with its arguments.
bench NAME *ARGS:
    benches/{{NAME}}.sh {{ARGS}}
