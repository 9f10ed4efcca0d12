#!/usr/bin/env bash
# Every figure of streams that has a goal, one after the other in one run: the first table of docs/performance.md. (Images: embed.sh.)
#
#   benches/all.sh FILE.jsonl [RUNS]      RUNS (default 5) rounds of each; medians; some minutes on two cores
#
# FILE is what replay.sh and parquet.sh read; the others generate what they need. Leave the machine alone meanwhile.
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

file=${1:?use: benches/all.sh FILE.jsonl [RUNS]}
runs=${2:-5}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "all.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
[[ -f $file ]] || { echo "all.sh: no file $file" >&2; exit 2; }
case $file in *.jsonl) ;; *) echo "all.sh: an uncompressed .jsonl, please" >&2; exit 2 ;; esac
export DRIFTGLASS_BIN=$bin

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
score() {
    "$bin" generate --events 400000 --days 14 --quiet "$work/score.jsonl"
    "$bin" bench-score -o "$work/score" --rounds "$runs" "$work/score.jsonl"
}
part() {
    printf '\n== %s: %s\n' "$1" "${*:2}"
    "${@:2}"
}

echo "$("$bin" --version), $(getconf _NPROCESSORS_ONLN) CPUs"
part "Kafka beside a bare read (goal 0.7)" "$here/kafka.sh" 500000 "$runs"
part "JSON lines beside DuckDB and Polars (goal 5)" "$here/replay.sh" "$file" "$runs"
part "Parquet beside a scan (goal 0.5)" "$here/parquet.sh" "$file" "$runs"
part "comparisons per second (goal 100,000)" score
part "memory with ten thousand segments (goal 1 GiB), and the first window after a restart (goal 2 s)" \
    "$here/restart.sh" 12000 1000000 30 "$runs"
