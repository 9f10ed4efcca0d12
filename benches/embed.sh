#!/usr/bin/env bash
# Images per second of the whole embedding stage (JPEG bytes to vector) beside the model alone on tensors that are ready: the
# same library, threads and batch, in turn. Needs real images in DRIFTGLASS_DATA; fetches CLIP and ONNX Runtime as the tests do.
#
#   benches/embed.sh [IMAGES] [PROVIDER]      default: 200 cpu
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
images=${1:-200} provider=${2:-cpu}
data=${DRIFTGLASS_DATA:?names a folder with images/}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-target}/release/driftglass}
[[ -x $bin ]] || { echo "no $bin: cargo build --release first" >&2; exit 2; }
model=$(tests/clip.sh model)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    printf '[embedding]\nmodel = "%s"\nprovider = "%s"\n' "$model" "$provider"
    [[ $provider == tract ]] || printf 'runtime = "%s"\n' "${DRIFTGLASS_ONNXRUNTIME:-$(tests/clip.sh runtime)}"
} >"$work/job.toml"
"$bin" bench-embed -c "$work/job.toml" -o "$work/out" --most "$images" "$data/images"
