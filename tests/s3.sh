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
readonly VENV_NAME=s3 VENV_WHAT='the S3 server' VENV_VARIABLE=DRIFTGLASS_S3_PYTHON VENV_MINOR=10
readonly REQUIREMENTS="$HERE/s3-requirements.txt"
readonly IMPORTS='import boto3, moto.s3.models, moto.server'
readonly WAIT="${S3_WAIT:-60}"

die() { printf 's3.sh: %s\n' "$*" >&2; exit 1; }

# shellcheck source=tests/venv.sh
source "$HERE/venv.sh"

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
