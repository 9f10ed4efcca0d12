#!/usr/bin/env bash
# What it costs that events lie in many files: the same events as one file and as a file an hour, replayed in turn.
#
#   benches/many_files.sh [HOURS] [EVENTS] [RUNS]      default 2000, 400000 and 3; medians, and their ratio
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

hours=${1:-2000}
events=${2:-400000}
runs=${3:-3}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "many_files.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
python=${PYTHON:-python3}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
days=$(((hours + 23) / 24))
"$bin" generate --quiet --events "$events" --days "$days" "$work/all.jsonl"
"$python" - "$work" "$hours" <<'PY'
import re, sys
from pathlib import Path
work, most = Path(sys.argv[1]), int(sys.argv[2])
(work / "hours").mkdir()
hour, files, out = None, 0, None
with open(work / "all.jsonl", "rb") as f, open(work / "one.jsonl", "wb") as one:
    for line in f:
        of = re.search(rb'"timestamp":"([^:]+)', line)[1]
        if of != hour:
            if files == most:
                break
            hour, files = of, files + 1
            out = open(work / "hours" / f"{hour.decode()}.jsonl", "wb")
        out.write(line)
        one.write(line)
print(f"{files} files", file=sys.stderr)
PY
rm "$work/all.jsonl"
cat "$work"/one.jsonl "$work"/hours/* >/dev/null

seconds() { # one replay of $1
    rm -rf "$work/out"
    local from=$EPOCHREALTIME
    "$bin" replay --quiet --json -c "$here/replay.toml" -o "$work/out" "$1" >"$work/said"
    "$python" -c "print($EPOCHREALTIME - $from)"
}
for ((run = 0; run <= runs; run++)); do
    for input in one.jsonl hours; do
        took=$(seconds "$work/$input")
        # The first round only warms up.
        ((run == 0)) || { echo "$input $took"; echo "$input: $took s" >&2; }
    done
done | "$python" -c '
import statistics, sys
took = {"one.jsonl": [], "hours": []}
for line in sys.stdin:
    name, seconds = line.split()
    took[name].append(float(seconds))
one, many = (statistics.median(took[n]) for n in took)
print(f"one file {one:.2f} s, a file an hour {many:.2f} s, ratio {many / one:.3f}; goal 1.2: " + ("met" if many <= 1.2 * one else "not met"))
'
