#!/usr/bin/env bash
# `driftglass run` from a real Kafka beside a bare librdkafka that only reads the same topic: how near to the limit.
#
#   benches/kafka.sh EVENTS [RUNS]      about EVENTS generated into 6 partitions; RUNS (default 5) rounds; medians
#
# The broker runs on the same machine and takes its part of the CPUs.
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

events=${1:?use: benches/kafka.sh EVENTS [RUNS]}
runs=${2:-5}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "kafka.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
if ! reason=$("$root/tests/kafka.sh" available); then
    echo "kafka.sh: $reason" >&2
    exit 2
fi
python=$("$root/tests/python.sh")

work=$(mktemp -d)
cleanup() {
    "$root/tests/kafka.sh" stop "$work/kafka" || true
    rm -rf "$work"
}
trap cleanup EXIT
broker=$(KAFKA_OWNER_PID=$$ "$root/tests/kafka.sh" start "$work/kafka")
topic=generation-events
"$root/tests/kafka.sh" topic "$work/kafka" "$topic" 6
echo "filling $topic at $broker with about $events events" >&2
# Traffic is drawn, so the number is near the one asked for; what was produced is what the runs must read.
events=$("$bin" generate --kafka "$broker" --topic "$topic" --events "$events" --json |
    "$python" -c 'import json, sys; made = json.loads(sys.stdin.read().splitlines()[-1]); print(made["events"] + made["malformed"])')
echo "produced $events" >&2

"$python" "$here/kafka_share.py" "$bin" "$here/replay.toml" "$broker" "$topic" "$events" "$runs" "$work"
