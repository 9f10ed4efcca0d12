#!/usr/bin/env bash
# The whole of `driftglass replay` beside DuckDB and Polars that only count tokens, on the same JSONL, in turn.
#
#   benches/replay.sh FILE.jsonl [RUNS]      RUNS (default 5) rounds after one warm-up; medians
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
# THREADS          threads for DuckDB and Polars, the machine's CPUs by default
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

file=${1:?use: benches/replay.sh FILE.jsonl [RUNS]}
runs=${2:-5}
[[ -f $file ]] || { echo "replay.sh: no file $file" >&2; exit 2; }
case $file in *.jsonl) ;; *) echo "replay.sh: an uncompressed .jsonl, please: else the decompressor is measured" >&2; exit 2 ;; esac
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "replay.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
threads=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
python=$("$root/tests/python.sh")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
events=$(wc -l <"$file") # reads it whole, too: it then lies in the page cache
bytes=$(wc -c <"$file")
echo "$file: $events events, $bytes bytes; $threads threads for DuckDB and Polars" >&2

q() { printf '%q' "$1"; }
"$python" "$here/compare.py" --runs "$runs" --events "$events" --bytes "$bytes" --reset "$work/out" \
    "driftglass=$(q "$bin") replay -c $(q "$here/replay.toml") $(q "$file") --output $(q "$work/out")" \
    "duckdb=$(q "$python") $(q "$here/duckdb_tokens.py") $(q "$file") --threads $threads --events $events --json" \
    "polars=$(q "$python") $(q "$here/polars_tokens.py") $(q "$file") --threads $threads --events $events --json"
