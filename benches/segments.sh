#!/usr/bin/env bash
# Resident memory of a job with many live segments: windows of 30m and 24h by tenant over two days of generated traffic.
#
#   benches/segments.sh [TENANTS] [EVENTS_PER_DAY] [DAYS]      default 12000, 400000 and 2
#
# A segment is live when the last 24h window has a row for it; their number is counted afterwards and printed beside the memory.
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

tenants=${1:-12000}
per_day=${2:-400000}
days=${3:-2}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "segments.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
python=$("$root/tests/python.sh")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "generating $days days of about $per_day events for $tenants tenants" >&2
"$bin" generate --tenants "$tenants" --events-per-day "$per_day" --days "$days" --quiet "$work/events.jsonl" >/dev/null
q() { printf '%q' "$1"; }
"$python" "$here/compare.py" --runs 1 --events "$(wc -l <"$work/events.jsonl")" --reset "$work/out" \
    "driftglass=$(q "$bin") replay --quiet -c $(q "$here/segments.toml") $(q "$work/events.jsonl") --output $(q "$work/out")"
"$bin" sql --quiet --output "$work/out" -e "
    SELECT count(DISTINCT segment) AS live_segments FROM windows
    WHERE \"window\" = '24h' AND window_end = (SELECT max(window_end) FROM windows WHERE \"window\" = '24h')"
