#!/usr/bin/env bash
# A job that runs for long against a real Apache Kafka with 6 partitions, at a steady rate of events that happen now: does its memory
# stay, does it keep up, does it end in order.
#
#   benches/soak.sh [MINUTES] [EVENTS_PER_SECOND] [FOLDER]      default 60, 1000 and a new folder under /tmp
#
# Every 5 s: resident memory and CPU time from /proc (so Linux only), lag, events and what is judged so far from the job's /metrics.
# Writes FOLDER/soak.tsv and FOLDER/soak.png; fails where the job ends early, or SIGTERM at the end doesn't end it with 0.
#
# The events are those of `driftglass generate` with times from now on. Each is held back until its time has come and then handed to
# Kafka's own console producer, keyed by session; broker, producer and generator take their part of the same CPUs. The
# topic keeps about 256 MiB a partition beside what was there at the start, however long this runs.
#
# Windows of 24h fill for a day, and memory with them. So that the slope is one of a state that is full, the topic holds a day of
# traffic already when the job starts, with all values of all dimensions and fewer events; what is caught up with at the start does not
# count as lag.
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
# HISTORY_DAYS     days of traffic before, 1 by default; 0: none; 8 and more: baselines of 7 days and their tests take part
# HISTORY_EVENTS   events in each of these days, 100000 by default
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

minutes=${1:-60}
rate=${2:-1000}
folder=${3:-}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "soak.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
[[ -r /proc/self/status ]] || { echo "soak.sh: no /proc here" >&2; exit 2; }
if ! reason=$("$root/tests/kafka.sh" available); then
    echo "soak.sh: $reason" >&2
    exit 2
fi
python=$("$here/plots.sh")
export RUST_LOG=${RUST_LOG:-error}
[[ -n $folder ]] || folder=$(mktemp -d "${TMPDIR:-/tmp}/driftglass-soak.XXXXXX")
mkdir -p "$folder"

work=$(mktemp -d)
cleanup() {
    "$root/tests/kafka.sh" stop "$work/kafka" || true
    rm -rf "$work"
}
trap cleanup EXIT
broker=$(KAFKA_OWNER_PID=$$ "$root/tests/kafka.sh" start "$work/kafka")
topic=generation-events
days=${HISTORY_DAYS:-1} per_day=${HISTORY_EVENTS:-100000}
# 2 KB are more than an event of the generator has.
keep=$(awk -v n="$days" -v each="$per_day" 'BEGIN { printf "%d", 268435456 + n * each * 2000 / 6 }')
"$root/tests/kafka.sh" tool "$work/kafka" TopicCommand --create --topic "$topic" --partitions 6 --replication-factor 1 \
    --config "retention.bytes=$keep" --config segment.bytes=67108864 >&2
code=0
# In the background: a shell would hear of a signal only after the hour.
"$python" "$here/soak.py" "$bin" "$root/tests/kafka.sh" "$work" "$broker" "$topic" "$minutes" "$rate" "$folder/soak.tsv" \
    "$days" "$per_day" &
measuring=$!
trap 'kill "$measuring" 2>/dev/null; wait "$measuring"; exit 143' INT TERM
wait "$measuring" || code=$?
[[ ! -s $folder/soak.tsv ]] || "$python" "$here/plot.py" soak "$folder/soak.tsv" "$folder/soak.png"
echo "$folder/soak.tsv, $folder/soak.png"
exit "$code"
