#!/usr/bin/env bash
# The CUDA provider on a machine with an NVIDIA GPU: that it really runs (memory in use), that its vectors are the CPU's, and
# how many images per second the whole stage makes beside the model alone.
#
#   benches/gpu/embed.sh MODEL LIBRARY IMAGES_FOLDER [IMAGES]
#
# MODEL is a float ONNX image encoder, LIBRARY the libonnxruntime.so of onnxruntime-gpu; its CUDA libraries must be on
# LD_LIBRARY_PATH. Without a GPU it says so: asked for CUDA, driftglass never runs on the CPU instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
model=${1:?the ONNX file of an image encoder} library=${2:?libonnxruntime.so} images=${3:?a folder of images} most=${4:-2000}
bin=${DRIFTGLASS_BIN:-${CARGO_TARGET_DIR:-target}/release/driftglass}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for provider in cuda cpu; do
    printf '[embedding]\nmodel = "%s"\nruntime = "%s"\nprovider = "%s"\nbatch = 64\n' "$model" "$library" "$provider" >"$work/$provider.toml"
done
"$bin" bench-embed -c "$work/cuda.toml" -o "$work/cuda" --most "$most" --rounds 5 "$images" >"$work/cuda.json" &
job=$!
peak=0
while kill -0 "$job" 2>/dev/null; do
    used=$(nvidia-smi --query-compute-apps=used_memory --format=csv,noheader,nounits 2>/dev/null | sort -n | tail -1 || true)
    ((${used:-0} > peak)) && peak=$used
    sleep 0.5
done
wait "$job"
echo "cuda: $(cat "$work/cuda.json"), GPU memory in use up to ${peak} MiB"
echo "cpu:  $("$bin" bench-embed -c "$work/cpu.toml" -o "$work/cpu" --most 64 --rounds 1 "$images")"
for provider in cuda cpu; do
    "$bin" style build probe -c "$work/$provider.toml" -o "$work/$provider" "$images" --json
done
python3 - "$work" <<'P'
import json, math, sys
a, b = (json.load(open(f"{sys.argv[1]}/{p}/_styles/probe.json"))["centroid"] for p in ("cuda", "cpu"))
dot = lambda x, y: sum(i * j for i, j in zip(x, y))
print("cosine of the centroids, CUDA and CPU:", dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)))
P
