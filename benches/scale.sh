#!/usr/bin/env bash
# How the cost of an event, memory and output grow with one thing at a time: partitions, segments, rolling windows, days of history.
#
#   benches/scale.sh FOLDER [EVENTS] [RUNS]      default 300000 events and 1 run a point; writes FOLDER/scale.tsv and FOLDER/scale.png
#
# partitions   1, 4, 16, 64   an archive of a topic with so many, two days, default settings; the topics need tests/kafka.sh
# segments     10 to 100,000  JSON lines, one day, windows 30m and 24h, one grouping by tenant; each session is given one of so many
#                             tenants by the hash of its id. Those that are live at the end are counted and stand in the table and the plot
# windows      1 to 4         JSON lines, two days, the default groupings; 30m, then 6h, 24h and 7d beside it
# history      1, 7, 28 days  an archive of EVENTS / 15 a day, default settings: the cost of one more day with such a history behind it
#
# Everything but the one thing is the same at each point of a kind; across the kinds it isn't. A point that would not fit in memory, by
# the growth of the two before it, is left out with a line.
#
# DRIFTGLASS_BIN   the binary, else the release build under CARGO_TARGET_DIR or target/
# ONLY             kinds of points to measure, separated by commas; all by default
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")

folder=${1:?use: benches/scale.sh FOLDER [EVENTS] [RUNS]}
events=${2:-300000}
runs=${3:-1}
only=${ONLY:-partitions,segments,windows,history}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/driftglass}
[[ -x $bin ]] || { echo "scale.sh: no binary at $bin: cargo build --release, or set DRIFTGLASS_BIN" >&2; exit 2; }
python=$("$here/plots.sh")
export RUST_LOG=${RUST_LOG:-error}
mkdir -p "$folder"

work=$(mktemp -d)
cleanup() {
    [[ ! -d $work/kafka ]] || "$root/tests/kafka.sh" stop "$work/kafka" || true
    rm -rf "$work"
}
trap cleanup EXIT
if [[ ,$only, == *,partitions,* ]]; then
    if reason=$("$root/tests/kafka.sh" available); then
        broker=$(KAFKA_OWNER_PID=$$ "$root/tests/kafka.sh" start "$work/kafka")
        for n in 1 4 16 64; do
            echo "filling and archiving a topic with $n partitions" >&2
            "$root/tests/kafka.sh" topic "$work/kafka" "events-$n" "$n"
            "$bin" generate --kafka "$broker" --topic "events-$n" --events "$events" --days 2 --quiet
            printf '[input]\nkafka = { brokers = "%s", topic = "events-%s", group = "scale" }\n' "$broker" "$n" >"$work/topic.toml"
            "$bin" archive -c "$work/topic.toml" -o "$work/partitions-$n" --until-caught-up --quiet >&2
        done
        # It takes no part in what is measured.
        "$root/tests/kafka.sh" stop "$work/kafka"
        rm -rf "$work/kafka"
    else
        echo "scale.sh: no points for partitions: $reason" >&2
    fi
fi
"$python" "$here/scale.py" "$bin" "$work" "$folder/scale.tsv" "$events" "$runs" "$only"
"$python" "$here/plot.py" scale "$folder/scale.tsv" "$folder/scale.png"
echo "$folder/scale.tsv, $folder/scale.png"
