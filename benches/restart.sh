#!/usr/bin/env bash
# How soon a job with much state writes windows again: from the start of the process to the first new file under OUTPUT/windows.
#
#   benches/restart.sh [TENANTS] [EVENTS] [REST_MINUTES] [RUNS]      default 12000, 1000000, 30 and 5
#
# Two days of about EVENTS events, windows of 30m and 24h by tenant (segments.toml), as segments.sh has them; with the defaults some
# 10,000 segments are live. All but the last REST_MINUTES of event time are replayed, then the rest is added to the input, and the
# same replay is started again from a copy of the output, RUNS times. The traffic ends at a quarter past eleven in the evening: the
# rest holds a full hour, at which all windows of 24h are due, and not the end of a day. The input is an archive, which is
# opened at the place where the job goes on, as a topic is; JSON lines would have to be read from their beginning.
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

tenants=${1:-12000}
events=${2:-1000000}
rest=${3:-30}
runs=${4:-5}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "restart.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
python=$("$root/tests/python.sh")
export RUST_LOG=${RUST_LOG:-error}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "generating two days of about $events events for $tenants tenants" >&2
"$bin" generate -c "$here/segments.toml" --tenants "$tenants" --events "$events" --days 1.97 --quiet "$work/events.jsonl"
"$python" "$here/restart.py" "$bin" "$here/segments.toml" "$work" "$rest" "$runs"
