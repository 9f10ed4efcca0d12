# A Python environment with pinned packages, made once and kept in the cache. Sourced by the scripts that need one, which set
#
#   VENV_NAME       what the cache folder is called, and the script (NAME.sh)
#   VENV_WHAT       what it is for, as messages say it
#   VENV_VARIABLE   the variable that names an interpreter to use instead
#   VENV_MINOR      the oldest Python 3 that does
#   REQUIREMENTS    the list of packages; the cache is keyed by it and by the Python version
#   IMPORTS         what must then be there to import
#
# and define `die`.
readonly CACHE_ROOT="${XDG_CACHE_HOME:-$HOME/.cache}/driftglass"

# The cache folder for this list and this Python; fails where there is no Python.
venv() {
    local key
    key=$(python3 -c '
import hashlib, sys
lines = [l.strip() for l in open(sys.argv[1]) if l.strip() and not l.startswith("#")]
print(hashlib.sha256("\n".join([sys.version, *lines]).encode()).hexdigest()[:16])' "$REQUIREMENTS") || return 1
    echo "$CACHE_ROOT/$VENV_NAME-$key"
}

# Prints the reason why there can be no such environment here, or nothing.
missing() {
    local own=${!VENV_VARIABLE:-} error
    if [[ -n $own ]]; then
        error=$("$own" -c "$IMPORTS" 2>&1) || echo "$VENV_VARIABLE ($own) does not serve: $(tail -n 1 <<<"$error")"
    elif ! command -v python3 >/dev/null 2>&1; then
        echo "no python3 (Debian: python3 and python3-venv)"
    elif [[ -x $(venv)/bin/python ]]; then
        :
    elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, int(sys.argv[1])))' "$VENV_MINOR"; then
        echo "$(python3 --version) is too old: $VENV_WHAT needs Python 3.$VENV_MINOR or newer"
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
    TEMPORARY=$(mktemp -d "$CACHE_ROOT/.$VENV_NAME.XXXXXX")
    trap 'rm -rf "$TEMPORARY"' EXIT
    echo "$VENV_NAME.sh: installing $VENV_WHAT (once)" >&2
    {
        python3 -m venv "$TEMPORARY/venv" &&
            "$TEMPORARY/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
                -r "$REQUIREMENTS" &&
            "$TEMPORARY/venv/bin/python" -c "$IMPORTS"
    } >"$TEMPORARY/log" 2>&1 </dev/null || {
        tail -n 15 "$TEMPORARY/log" >&2
        die "$VENV_WHAT could not be installed"
    }
    # Without flock another process may have been faster; its copy serves as well.
    [[ -x $target/bin/python ]] || mv "$TEMPORARY/venv" "$target"
}

# Prints the interpreter; makes the environment if need be.
get() {
    local reason target own=${!VENV_VARIABLE:-}
    reason=$(missing)
    [[ -z $reason ]] || die "$reason"
    if [[ -n $own ]]; then
        command -v "$own"
        return
    fi
    target=$(venv)
    # In a shell of its own, whose end cleans up.
    [[ -x $target/bin/python ]] || (make "$target")
    echo "$target/bin/python"
}
