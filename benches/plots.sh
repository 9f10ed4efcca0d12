#!/usr/bin/env bash
# A Python with matplotlib, for the plots of scale.sh and soak.sh: made once and kept in the cache, as tests/python.sh does.
#
#   benches/plots.sh      make it if need be; print the path of its interpreter
#
# The version is the one in notebooks/requirements.txt. PLOTS_PYTHON names an interpreter to use instead.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/driftglass"

die() { printf 'plots.sh: %s\n' "$*" >&2; exit 1; }

if [[ -n ${PLOTS_PYTHON:-} ]]; then
    "$PLOTS_PYTHON" -c 'import matplotlib' || die "PLOTS_PYTHON ($PLOTS_PYTHON) has no matplotlib"
    command -v "$PLOTS_PYTHON"
    exit
fi
command -v python3 >/dev/null 2>&1 || die "no python3 (Debian: python3 and python3-venv)"
requirement=$(grep '^matplotlib==' "$root/notebooks/requirements.txt") || die "notebooks/requirements.txt names no matplotlib"
key=$(python3 -c 'import hashlib, sys; print(hashlib.sha256((sys.version + sys.argv[1]).encode()).hexdigest()[:16])' "$requirement")
target="$cache/plots-$key"
if [[ ! -x $target/bin/python ]]; then
    mkdir -p "$cache"
    temporary=$(mktemp -d "$cache/.plots.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    echo "plots.sh: installing $requirement (once)" >&2
    {
        python3 -m venv "$temporary/venv" &&
            "$temporary/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$requirement" &&
            "$temporary/venv/bin/python" -c 'import matplotlib'
    } >"$temporary/log" 2>&1 </dev/null || {
        tail -n 15 "$temporary/log" >&2
        die "$requirement could not be installed"
    }
    # Another process may have been faster; its folder serves as well.
    [[ -x $target/bin/python ]] || mv "$temporary/venv" "$target"
fi
echo "$target/bin/python"
