#!/usr/bin/env bash
# What it costs that clients choose names: the same events with a few LoRA names and with ever new ones, replayed in turn.
#
#   benches/many_names.sh [NAMES] [EVENTS] [RUNS]      default 8 names per event, 27000 and 3; medians of CPU seconds, and their ratio
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

names=${1:-8}
events=${2:-27000}
runs=${3:-3}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "many_names.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
python=${PYTHON:-python3}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" - "$work" "$names" "$events" <<'PY'
import json, random, sys
from datetime import datetime, timedelta, timezone
work, names, events = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start, step = datetime(2026, 1, 1, tzinfo=timezone.utc), timedelta(days=9) / events
# Names of one length, so that both inputs have as many bytes.
for file, choices in (("few", 100), ("many", 10**9)):
    dice, chosen = random.Random(1), random.Random(2)
    with open(f"{work}/{file}.jsonl", "w") as out:
        for i in range(events):
            out.write(json.dumps({
                "request_id": f"r-{i}", "timestamp": (start + i * step).isoformat(timespec="milliseconds"),
                "pipeline_stage": "generate", "session_id": f"s-{i // 2}", "user_id_hash": f"u-{dice.randrange(500)}",
                "tenant": ("birch", "dune")[i // 2 % 2], "prompt": {"text": f"a {dice.choice(('fox', 'river', 'castle'))} at night"},
                "model": {"version": "M1", "loras": [f"lora-{chosen.randrange(choices):09}" for _ in range(names)]},
                "metrics": {"latency_ms": round(dice.lognormvariate(8, 0.3), 1)}, "quality": {"aesthetic": round(dice.gauss(5.5, 0.5), 3)},
            }) + "\n")
PY
# The windows of a day's length are what sums of many names are made for.
cat >"$work/driftglass.toml" <<'TOML'
[output]
dir = "out"
[privacy]
key = "benchmark"
[[segments]]
by = []
[[segments]]
by = ["tenant"]
[windows]
rolling = ["6h", "24h"]
[baselines]
rolling_days = [7]
TOML

seconds() { # the CPU seconds of one replay of $1
    rm -rf "$work/out"
    local TIMEFORMAT="%U %S"
    { time "$bin" replay --quiet --json -c "$work/driftglass.toml" -o "$work/out" "$1" >"$work/said"; } 2>&1 | awk '{ print $1 + $2 }'
}
for ((run = 0; run <= runs; run++)); do
    for input in few many; do
        took=$(seconds "$work/$input.jsonl")
        # The first round only warms up.
        ((run == 0)) || { echo "$input $took"; echo "$input: $took s" >&2; }
    done
done | "$python" -c '
import statistics, sys
took = {"few": [], "many": []}
for line in sys.stdin:
    name, seconds = line.split()
    took[name].append(float(seconds))
few, many = (statistics.median(took[n]) for n in took)
print(f"few names {few:.2f} s, many names {many:.2f} s, ratio {many / few:.3f}; goal 1.3: " + ("met" if many <= 1.3 * few else "not met"))
'
