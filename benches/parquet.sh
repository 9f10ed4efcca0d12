#!/usr/bin/env bash
# The whole of `driftglass replay` of a Parquet archive beside a plain DataFusion scan that decodes the same columns, in turn.
#
#   benches/parquet.sh [EVENTS.jsonl] [RUNS]      RUNS (default 5) rounds after one warm-up; medians
#
# The archive is made once, by `driftglass archive`. Without a file, EVENTS (500,000) generated events over 14 days. The scan is a
# query through `driftglass sql` with an aggregate over each column, all of which a replay reads; none of these aggregates can be
# answered from a file's statistics.
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
# EVENTS           how many events to generate where no file is given
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

file=${1:-}
runs=${2:-5}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "parquet.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
[[ -z $file || -f $file ]] || { echo "parquet.sh: no file $file" >&2; exit 2; }
python=$("$root/tests/python.sh")
export RUST_LOG=${RUST_LOG:-error}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -z $file ]]; then
    file=$work/events.jsonl
    echo "generating about ${EVENTS:-500000} events" >&2
    "$bin" generate -c "$here/replay.toml" --events "${EVENTS:-500000}" --days 14 --quiet "$file"
fi
echo "archiving $file" >&2
"$bin" archive -c "$here/replay.toml" -o "$work/made" --quiet "$file" >&2
# By themselves: the query reads a folder as it is, chains and rejects included.
mkdir "$work/archive" "$work/empty"
mv "$work"/made/archive/date=* "$work/archive/"
"$python" "$here/parquet_share.py" "$bin" "$here/replay.toml" "$work" "$runs"
