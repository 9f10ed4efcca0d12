#!/usr/bin/env bash
# Members of one consumer group over a real Kafka die, hang, leave and join under load, and the broker crashes: the long
# form of the test in tests/it/members.rs.
#
#   tests/chaos.sh [FAULTS] [SEED]     500 faults and seed 1 by default
#
# Half of the faults come with each of the protocols range and cooperative-sticky, one of a hundred is a kill -9 of the
# broker. Then the windows, alerts and panes must equal those of an uninterrupted run and of a replay of the same events
# in every value; what is lost and doubled is counted and printed, and must be 0. 500 faults take
# about 20 minutes on 2 cores.
# The seed draws which faults come and when, not where in its work a member is struck: that is up to the machine.
#
# DRIFTGLASS_FAILPOINTS   names of failpoints separated by commas (src/steps.rs): members also end themselves there
#
# Needs what tests/kafka.sh needs. The files of a run that failed, the members' logs among them, are kept and named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { printf 'chaos.sh: %s\n' "$*" >&2; exit 2; }

readonly FAULTS="${1:-500}" SEED="${2:-1}"
[[ $FAULTS =~ ^[1-9][0-9]*$ ]] || die "how many faults? $FAULTS is no number above 0"
[[ $SEED =~ ^[0-9]+$ ]] || die "the seed $SEED is no number"
reason=$(tests/kafka.sh available) || die "$reason"

folder=$(mktemp -d "${TMPDIR:-/tmp}/driftglass-chaos.XXXXXX")
features=()
[[ -z ${DRIFTGLASS_FAILPOINTS:-} ]] || features=(--features failpoints)
export DRIFTGLASS_CHAOS="$FAULTS" DRIFTGLASS_CHAOS_SEED="$SEED" DRIFTGLASS_CHAOS_DIR="$folder"
code=0
cargo test --release --test it "${features[@]}" members_ -- --nocapture || code=$?
if ((code == 0)); then
    rm -rf "$folder"
else
    echo "chaos.sh: the run failed; its files are in $folder" >&2
fi
exit "$code"
