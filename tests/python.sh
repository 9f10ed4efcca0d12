#!/usr/bin/env bash
# A Python with the pinned readers of tests/readers/requirements.txt, made once and kept in the cache.
#
#   tests/python.sh              make it if need be; print the path of its interpreter
#   tests/python.sh available    exit 0 where that can work; else one line that says what is missing
#
# DRIFTGLASS_PYTHON names an interpreter to use instead; it must have the packages already.
# The cache is keyed by the list of requirements and the Python version: another list makes another folder.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly REQUIREMENTS="$HERE/readers/requirements.txt"
readonly CACHE_ROOT="${XDG_CACHE_HOME:-$HOME/.cache}/driftglass"
readonly IMPORTS='import datafusion, duckdb, numpy, polars, pyarrow, scipy'

die() { printf 'python.sh: %s\n' "$*" >&2; exit 1; }

# The cache folder for this list and this Python; fails where there is no Python.
venv() {
    local key
    key=$(python3 -c '
import hashlib, sys
lines = [l.strip() for l in open(sys.argv[1]) if l.strip() and not l.startswith("#")]
print(hashlib.sha256("\n".join([sys.version, *lines]).encode()).hexdigest()[:16])' "$REQUIREMENTS") || return 1
    echo "$CACHE_ROOT/python-$key"
}

# Prints the reason why there can be no such Python here, or nothing.
missing() {
    if [[ -n ${DRIFTGLASS_PYTHON:-} ]]; then
        local error
        error=$("$DRIFTGLASS_PYTHON" -c "$IMPORTS" 2>&1) ||
            echo "DRIFTGLASS_PYTHON ($DRIFTGLASS_PYTHON) does not serve: $(tail -n 1 <<<"$error")"
    elif ! command -v python3 >/dev/null 2>&1; then
        echo "no python3 (Debian: python3 and python3-venv)"
    elif [[ -x $(venv)/bin/python ]]; then
        :
    elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$(python3 --version) is too old: the readers need Python 3.11 or newer"
    elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo "python3 cannot make virtual environments (Debian: python3-venv)"
    fi
}

available() {
    local reason
    reason=$(missing)
    [[ -z $reason ]] || { echo "$reason"; return 1; }
}

# Made under a temporary name and renamed, so that what stands under the final name is always whole. Only the
# environment's own console scripts know the first name; nothing here uses them.
make() {
    local target=$1
    mkdir -p "$CACHE_ROOT"
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$target.lock"
        flock 9
        [[ ! -x $target/bin/python ]] || return 0
    fi
    TEMPORARY=$(mktemp -d "$CACHE_ROOT/.python.XXXXXX")
    trap 'rm -rf "$TEMPORARY"' EXIT
    echo "python.sh: installing the readers (once)" >&2
    {
        python3 -m venv "$TEMPORARY/venv" &&
            "$TEMPORARY/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
                -r "$REQUIREMENTS" &&
            "$TEMPORARY/venv/bin/python" -c "$IMPORTS"
    } >"$TEMPORARY/log" 2>&1 </dev/null || {
        tail -n 15 "$TEMPORARY/log" >&2
        die "the readers could not be installed"
    }
    # Without flock another process may have been faster; its copy serves as well.
    [[ -x $target/bin/python ]] || mv "$TEMPORARY/venv" "$target"
}

case "${1:-}" in
available) available ;;
'' | get)
    reason=$(missing)
    [[ -z $reason ]] || die "$reason"
    if [[ -n ${DRIFTGLASS_PYTHON:-} ]]; then
        command -v "$DRIFTGLASS_PYTHON"
    else
        target=$(venv)
        [[ -x $target/bin/python ]] || make "$target"
        echo "$target/bin/python"
    fi
    ;;
*) die "use: python.sh [available]" ;;
esac
