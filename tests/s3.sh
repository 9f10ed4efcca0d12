#!/usr/bin/env bash
# An S3 server on loopback for tests: moto, in a Python environment made once and kept in the cache.
#
#   tests/s3.sh available    exit 0 where `start` can work; else one line that says what is missing
#   tests/s3.sh get          make the environment, once; print the path of its interpreter
#   tests/s3.sh start DIR    start a server, wait until it serves, print host:port
#   tests/s3.sh stop DIR     end it and wait for it
#
# DIR then holds `pid` and `log`. What is stored is kept in memory and gone with the server; any credentials do. Several
# servers may run at once in different folders. Only `start`, `get` and `available` write on stdout.
#
# DRIFTGLASS_S3_PYTHON   an interpreter to use instead; it must have the packages of tests/s3-requirements.txt already
# S3_OWNER_PID           a process with whose end the server ends too, so that a test that was killed leaves none behind
# S3_WAIT                seconds to wait for the server to serve, 60 by default
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly REQUIREMENTS="$HERE/s3-requirements.txt"
readonly CACHE_ROOT="${XDG_CACHE_HOME:-$HOME/.cache}/driftglass"
readonly IMPORTS='import boto3, moto.s3.models, moto.server'
readonly WAIT="${S3_WAIT:-60}"

die() { printf 's3.sh: %s\n' "$*" >&2; exit 1; }

# --- the environment -----------------------------------------------------------------------------------------

# The cache folder for this list and this Python; fails where there is no Python.
venv() {
    local key
    key=$(python3 -c '
import hashlib, sys
lines = [l.strip() for l in open(sys.argv[1]) if l.strip() and not l.startswith("#")]
print(hashlib.sha256("\n".join([sys.version, *lines]).encode()).hexdigest()[:16])' "$REQUIREMENTS") || return 1
    echo "$CACHE_ROOT/s3-$key"
}

# Prints the reason why there can be no such server here, or nothing.
missing() {
    if [[ -n ${DRIFTGLASS_S3_PYTHON:-} ]]; then
        local error
        error=$("$DRIFTGLASS_S3_PYTHON" -c "$IMPORTS" 2>&1) ||
            echo "DRIFTGLASS_S3_PYTHON ($DRIFTGLASS_S3_PYTHON) does not serve: $(tail -n 1 <<<"$error")"
    elif ! command -v python3 >/dev/null 2>&1; then
        echo "no python3 (Debian: python3 and python3-venv)"
    elif [[ -x $(venv)/bin/python ]]; then
        :
    elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "$(python3 --version) is too old: the S3 server needs Python 3.10 or newer"
    elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo "python3 cannot make virtual environments (Debian: python3-venv)"
    fi
}

available() {
    local reason
    reason=$(missing)
    [[ -z $reason ]] || { echo "$reason"; return 1; }
}

# Prints the interpreter; makes the environment if need be.
get() {
    local reason target
    reason=$(missing)
    [[ -z $reason ]] || die "$reason"
    if [[ -n ${DRIFTGLASS_S3_PYTHON:-} ]]; then
        command -v "$DRIFTGLASS_S3_PYTHON"
        return
    fi
    target=$(venv)
    [[ -x $target/bin/python ]] || (make "$target")
    echo "$target/bin/python"
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
    TEMPORARY=$(mktemp -d "$CACHE_ROOT/.s3.XXXXXX")
    trap 'rm -rf "$TEMPORARY"' EXIT
    echo "s3.sh: installing the S3 server (once)" >&2
    {
        python3 -m venv "$TEMPORARY/venv" &&
            "$TEMPORARY/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
                -r "$REQUIREMENTS" &&
            "$TEMPORARY/venv/bin/python" -c "$IMPORTS"
    } >"$TEMPORARY/log" 2>&1 </dev/null || {
        tail -n 15 "$TEMPORARY/log" >&2
        die "the S3 server could not be installed"
    }
    # Without flock another process may have been faster; its copy serves as well.
    [[ -x $target/bin/python ]] || mv "$TEMPORARY/venv" "$target"
}

# --- the server ----------------------------------------------------------------------------------------------

# The folder as an absolute path: it names the process, too (see `running`).
folder() {
    [[ -n ${1:-} ]] || die "which folder? see the head of this file"
    mkdir -p "$1"
    (cd "$1" && pwd -P)
}

# The pid of the server of folder $1 if it runs. A pid alone proves nothing (it may have been given to another process
# since), so the command line must name the folder.
running() {
    local pid args
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    kill -0 "$pid" 2>/dev/null || return 1
    if [[ -r /proc/$pid/cmdline ]]; then
        args=$(tr '\0' ' ' <"/proc/$pid/cmdline")
    else
        args=$(ps -o args= -p "$pid" 2>/dev/null) || return 1
    fi
    [[ $args == *"driftglass-s3 $1 "* ]] && echo "$pid"
}

# A port below the range from which systems hand out ports themselves.
free_port() {
    local port _
    for _ in $(seq 100); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free port on loopback"
}

# Starts the server of folder $1 on port $2 and waits until it serves. Returns 2 when the port was taken meanwhile.
launch() {
    local dir=$1 port=$2 python=$3 pid deadline
    : >"$dir/log"
    local detach=()
    # In a session of its own, an interrupt on the terminal does not reach the server before its owner ends it.
    command -v setsid >/dev/null 2>&1 && detach=(setsid)
    # The first two arguments only name the process.
    "${detach[@]}" "$python" -u -c 'import sys; from moto.server import main; main(sys.argv[3:])' \
        driftglass-s3 "$dir" -H 127.0.0.1 -p "$port" >"$dir/log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pid.new"
    mv "$dir/pid.new" "$dir/pid"
    deadline=$((SECONDS + WAIT))
    # Its own log says it: that a port answers could be another process's doing.
    until grep -q "Running on http://127.0.0.1:$port" "$dir/log"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$dir/pid"
            grep -qi 'address already in use' "$dir/log" && return 2
            tail -n 15 "$dir/log" >&2
            die "the server ended while it started; the end of $dir/log stands above"
        fi
        if ((SECONDS >= deadline)); then
            kill -9 "$pid" 2>/dev/null || true
            rm -f "$dir/pid"
            tail -n 15 "$dir/log" >&2
            die "the server did not serve within $WAIT s; the end of $dir/log stands above"
        fi
        sleep 0.1
    done
    [[ -z ${S3_OWNER_PID:-} ]] || watch_owner "$S3_OWNER_PID" "$pid"
    echo "127.0.0.1:$port"
}

# Ends the server when its owner is gone.
watch_owner() {
    (
        while kill -0 "$1" && kill -0 "$2"; do sleep 1; done
        kill -0 "$1" || kill -9 "$2"
    ) >/dev/null 2>&1 </dev/null &
}

start() {
    local dir python code
    dir=$(folder "${1:-}")
    ! running "$dir" >/dev/null || die "a server runs in $dir already"
    python=$(get)
    for _ in 1 2 3 4 5; do
        code=0
        launch "$dir" "$(free_port)" "$python" || code=$?
        ((code != 2)) && return "$code"
    done
    die "five times a port that was free had been taken before the server could"
}

stop() {
    local dir pid tries=0
    dir=$(folder "${1:-}")
    if pid=$(running "$dir"); then
        kill "$pid" 2>/dev/null || true
        while running "$dir" >/dev/null; do
            # It has nothing to save.
            ((++tries < 50)) || kill -9 "$pid" 2>/dev/null || true
            sleep 0.1
        done
    fi
    rm -f "$dir/pid"
}

case "${1:-}" in
available | get) "$1" ;;
start | stop) "$@" ;;
*)
    sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
