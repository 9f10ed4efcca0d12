#!/usr/bin/env bash
# A real Apache Kafka (KRaft, one node, loopback) for tests and measurements, without Docker.
#
#   tests/kafka.sh available               exit 0 where `start` can work; else one line that says what is missing
#   tests/kafka.sh get                     download Kafka once, into the cache
#   tests/kafka.sh start DIR               format DIR, start a broker, wait until it serves, print host:port
#   tests/kafka.sh topic DIR NAME COUNT    create the topic NAME with COUNT partitions
#   tests/kafka.sh stop DIR                end the broker in order and wait for it
#   tests/kafka.sh kill DIR                end it at once (SIGKILL), as a crash would
#   tests/kafka.sh restart DIR             start it again on the same port and data, print host:port
#   tests/kafka.sh tool DIR CLASS ARG…     run one of Kafka's own tools against it (org.apache.kafka.tools.CLASS)
#
# DIR then holds `broker` (host:port), `pid`, `server.log`, `server.properties` and `data/`. Several brokers may
# run at once in different folders. Only `start` and `restart` (the address), `available` (what is missing) and
# `tool` write on stdout.
#
# KAFKA_PORT       the port to take instead of a free one
# KAFKA_HEAP       the Java heap, 512m by default
# KAFKA_OWNER_PID  a process with whose end the broker ends too, so that a test that was killed leaves none behind
# KAFKA_WAIT       seconds to wait for the broker to serve, 120 by default
set -euo pipefail

readonly VERSION=4.1.1
readonly CACHE_ROOT="${XDG_CACHE_HOME:-$HOME/.cache}/driftglass"
readonly CACHE="$CACHE_ROOT/kafka-$VERSION"
readonly JAVA="${JAVA_HOME:+$JAVA_HOME/bin/}java"
readonly WAIT="${KAFKA_WAIT:-120}"

die() { printf 'kafka.sh: %s\n' "$*" >&2; exit 1; }

# --- what is there -------------------------------------------------------------------------------------------

# Prints the reason why no broker can be started here, or nothing.
missing() {
    local major=''
    if command -v "$JAVA" >/dev/null 2>&1; then
        major=$("$JAVA" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1) || true
    fi
    if [[ -z $major ]]; then
        echo "no Java: install a Java 17 or newer runtime (Debian: openjdk-17-jre-headless)"
    elif ((major < 17)); then
        echo "Java $major is too old for Kafka $VERSION: install Java 17 or newer (Debian: openjdk-17-jre-headless)"
    elif [[ ! -d $CACHE/libs ]] && ! command -v mvn >/dev/null 2>&1; then
        echo "Kafka $VERSION is not in the cache, and there is no mvn to download it with (Debian: maven)"
    fi
}

available() {
    local reason
    reason=$(missing)
    [[ -z $reason ]] || { echo "$reason"; return 1; }
}

# Downloads into a temporary folder and renames it, so that what stands under the final name is always whole.
get() {
    [[ -d $CACHE/libs ]] && return 0
    local reason
    reason=$(missing)
    [[ -z $reason ]] || die "$reason"
    mkdir -p "$CACHE_ROOT"
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$CACHE_ROOT/kafka-$VERSION.lock"
        flock 9
    fi
    [[ -d $CACHE/libs ]] || download
    { exec 9>&-; } 2>/dev/null || true
}

download() {
    DOWNLOAD=$(mktemp -d "$CACHE_ROOT/.kafka-$VERSION.XXXXXX")
    trap 'rm -rf "$DOWNLOAD"' EXIT
    cat >"$DOWNLOAD/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>driftglass.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
    <!-- Without a binding the broker's log, which tells when it serves, would be empty. -->
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
POM
    echo "kafka.sh: downloading Kafka $VERSION (once)" >&2
    mvn -q -B -f "$DOWNLOAD/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$DOWNLOAD/libs" -DincludeScope=runtime >"$DOWNLOAD/log" 2>&1 </dev/null || {
        tail -n 20 "$DOWNLOAD/log" >&2
        die "the download of Kafka $VERSION failed"
    }
    [[ -f $DOWNLOAD/libs/kafka_2.13-$VERSION.jar ]] || die "the download of Kafka $VERSION brought no broker"
    # Without flock another process may have been faster; its copy serves as well.
    mv "$DOWNLOAD" "$CACHE" 2>/dev/null || [[ -d $CACHE/libs ]] || die "cannot write $CACHE"
    rm -rf "${CACHE:?}/${DOWNLOAD##*/}" # mv put it inside when the other copy was already there
    trap - EXIT
}

# --- the broker ----------------------------------------------------------------------------------------------

# The folder as an absolute path: it names the process, too (see `running`).
folder() {
    [[ -n ${1:-} ]] || die "which folder? see the head of this file"
    mkdir -p "$1"
    (cd "$1" && pwd -P)
}

# The pid of the broker of folder $1 if it runs. A pid alone proves nothing (it may have been given to another
# process since), so the command line must name the folder.
running() {
    local pid args
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    kill -0 "$pid" 2>/dev/null || return 1
    if [[ -r /proc/$pid/cmdline ]]; then
        args=$(tr '\0' ' ' <"/proc/$pid/cmdline")
    else
        args=$(ps -o args= -p "$pid" 2>/dev/null) || return 1
    fi
    [[ $args == *"$1/server.properties"* ]] && echo "$pid"
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the range from which systems hand out ports themselves.
free_port() {
    local port _
    for _ in $(seq 100); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if [[ $port != "${1:-}" ]] && port_is_free "$port"; then
            echo "$port"
            return
        fi
    done
    die "no free port on loopback"
}

configure() {
    local dir=$1 port=$2 controller=$3
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After a SIGKILL the old registration has to run out before the broker may serve again; the default is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.retention.ms=-1
log.retention.bytes=-1
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
fetch.max.bytes=57671680
PROPERTIES
    cat >"$dir/log4j2.properties" <<LOG
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
LOG
}

# What Kafka's `random-uuid` prints, without the second that a Java machine takes to start for it.
cluster_id() {
    local id
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-22)
    echo "${id/#-/A}" # a leading dash would be read as an option
}

java_run() { "$JAVA" -cp "$CACHE/libs/*" "$@"; }

# Starts the broker of folder $1 and waits until it serves. Returns 2 when its port was taken meanwhile.
launch() {
    local dir=$1 pid broker deadline
    broker=$(sed -n 's/^advertised\.listeners=PLAINTEXT:\/\///p' "$dir/server.properties")
    [[ ! -f $dir/server.log ]] || cat "$dir/server.log" >>"$dir/server.log.old"
    : >"$dir/server.log"
    local detach=()
    # In a session of its own, an interrupt on the terminal does not reach the broker before its owner ends it.
    command -v setsid >/dev/null 2>&1 && detach=(setsid)
    "${detach[@]}" "$JAVA" -Xmx"${KAFKA_HEAP:-512m}" -Dlog4j2.configurationFile="$dir/log4j2.properties" \
        -cp "$CACHE/libs/*" kafka.Kafka "$dir/server.properties" >"$dir/server.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$dir/pid.new"
    mv "$dir/pid.new" "$dir/pid"
    deadline=$((SECONDS + WAIT))
    # Its own log says it: that a port answers could be another process's doing.
    until grep -q 'Kafka Server started' "$dir/server.log"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$dir/pid"
            grep -qi 'address already in use' "$dir/server.log" && return 2
            tail -n 30 "$dir/server.log" >&2
            die "the broker ended while it started; the end of $dir/server.log stands above"
        fi
        if ((SECONDS >= deadline)); then
            kill -9 "$pid" 2>/dev/null || true
            rm -f "$dir/pid"
            tail -n 30 "$dir/server.log" >&2
            die "the broker did not serve within $WAIT s; the end of $dir/server.log stands above"
        fi
        sleep 0.1
    done
    [[ -z ${KAFKA_OWNER_PID:-} ]] || watch_owner "$KAFKA_OWNER_PID" "$pid"
    echo "$broker" >"$dir/broker.new"
    mv "$dir/broker.new" "$dir/broker"
    echo "$broker"
}

# Ends the broker when its owner is gone.
watch_owner() {
    (
        while kill -0 "$1" && kill -0 "$2"; do sleep 1; done
        kill -0 "$1" || kill -9 "$2"
    ) >/dev/null 2>&1 </dev/null &
}

start() {
    local dir port controller code
    dir=$(folder "${1:-}")
    [[ ! -e $dir/data ]] || die "$dir holds a broker's data already: use restart, or another folder"
    get
    for _ in 1 2 3 4 5; do
        port=${KAFKA_PORT:-$(free_port)}
        controller=$(free_port "$port")
        configure "$dir" "$port" "$controller"
        if [[ ! -e $dir/data ]]; then
            java_run kafka.tools.StorageTool format -t "$(cluster_id)" -c "$dir/server.properties" \
                >"$dir/format.log" 2>&1 </dev/null || {
                tail -n 20 "$dir/format.log" >&2
                die "the storage in $dir could not be formatted"
            }
        fi
        code=0
        launch "$dir" || code=$?
        ((code != 2)) && return "$code"
        [[ -z ${KAFKA_PORT:-} ]] || port_is_free "$KAFKA_PORT" || die "port $KAFKA_PORT is in use"
    done
    die "five times a port that was free had been taken before the broker could"
}

restart() {
    local dir code=0
    dir=$(folder "${1:-}")
    [[ -f $dir/server.properties && -e $dir/data ]] || die "$dir holds no broker: use start"
    get
    stop "$dir"
    launch "$dir" || code=$?
    ((code != 2)) || die "the port of the broker in $dir was taken by another process"
    return "$code"
}

# Sends signal $2 to the broker of folder $1 and waits; after 60 s it is ended for good.
end() {
    local dir pid tries=0
    dir=$(folder "$1")
    if pid=$(running "$dir"); then
        kill -s "$2" "$pid" 2>/dev/null || true
        while running "$dir" >/dev/null; do
            ((++tries < 600)) || kill -9 "$pid" 2>/dev/null || true
            sleep 0.1
        done
    fi
    rm -f "$dir/pid"
}

stop() { end "${1:-}" TERM; }

address() {
    running "$1" >/dev/null || die "no broker runs in $1"
    cat "$1/broker"
}

topic() {
    local dir broker log
    dir=$(folder "${1:-}")
    [[ -n ${2:-} && ${3:-} =~ ^[1-9][0-9]*$ ]] || die "use: topic DIR NAME PARTITIONS"
    broker=$(address "$dir")
    log=$(java_run org.apache.kafka.tools.TopicCommand --bootstrap-server "$broker" \
        --create --topic "$2" --partitions "$3" --replication-factor 1 2>&1 </dev/null) || {
        printf '%s\n' "$log" | tail -n 5 >&2
        die "the topic $2 could not be created"
    }
}

tool() {
    local dir broker class
    dir=$(folder "${1:-}")
    class=${2:-}
    [[ -n $class ]] || die "use: tool DIR CLASS ARG…"
    shift 2
    broker=$(address "$dir")
    java_run "org.apache.kafka.tools.$class" --bootstrap-server "$broker" "$@"
}

case "${1:-}" in
available | get) "$1" ;;
start | restart | stop | topic | tool) "$@" ;;
kill) end "${2:-}" KILL ;;
*)
    sed -n '2,22s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
