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
readonly VENV_NAME=python VENV_WHAT='the set of readers' VENV_VARIABLE=DRIFTGLASS_PYTHON VENV_MINOR=11
readonly REQUIREMENTS="$HERE/readers/requirements.txt"
readonly IMPORTS='import datafusion, duckdb, numpy, pandas, polars, pyarrow, scipy'

die() { printf 'python.sh: %s\n' "$*" >&2; exit 1; }

# shellcheck source=tests/venv.sh
source "$HERE/venv.sh"

case "${1:-}" in
available) available ;;
'' | get) get ;;
*) die "use: python.sh [available]" ;;
esac
