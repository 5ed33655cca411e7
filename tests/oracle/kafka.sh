#!/usr/bin/env bash
# A real Apache Kafka (one KRaft node) on the loopback, from Maven Central's jars: the oracle of the
# client suites, of the parity probe and of bench-compare.
#
#   kafka.sh start DIR PORT [--set KEY=VALUE]... [--cpus LIST] [--heap SIZE]
#   kafka.sh stop DIR
#
# start formats DIR/data the first time (a second start finds what the first one left), waits until
# the broker serves and prints `bootstrap=127.0.0.1:PORT`. PORT 0 takes a free one. Kafka's own
# defaults stand, except the replication of internal topics, which one node cannot satisfy.
# --cpus pins the process (taskset), --heap sets -Xms and -Xmx (Kafka's own script: 1G).
set -euo pipefail

JARS=${KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/chronik/kafka-4.3.0}
START_SECONDS_MAX=60
STOP_SECONDS_MAX=30
PIN=()

die() { echo "kafka.sh: $*" >&2; exit 1; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

jvm() { # jvm HEAP MAIN ARGS...: replaces this shell, so that its pid is the broker's own
    local heap=$1; shift
    exec ${PIN[@]+"${PIN[@]}"} java "-Xms$heap" "-Xmx$heap" -XX:+UseG1GC -Djava.awt.headless=true \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -Dorg.slf4j.simpleLogger.showDateTime=true \
        -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -cp "$JARS/*" "$@"
}

start() {
    [ $# -ge 2 ] || die "usage: kafka.sh start DIR PORT [--set KEY=VALUE]... [--cpus LIST] [--heap SIZE]"
    local dir=$1 port=$2 cpus='' heap=1G extra='' controller
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
            --set) extra+="$2"$'\n'; shift 2 ;;
            --cpus) cpus=$2; shift 2 ;;
            --heap) heap=$2; shift 2 ;;
            *) die "unknown option $1" ;;
        esac
    done
    command -v java >/dev/null || die "java is missing: run scripts/setup.sh clients java"
    [ -e "$JARS/kafka_2.13-4.3.0.jar" ] || die "no Kafka in $JARS: run scripts/setup.sh clients java"
    mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
    if running "$dir"; then die "already running in $dir"; fi
    if [ "$port" = 0 ]; then port=$(free_port); fi
    controller=$(free_port)

    # Later lines win in a properties file, so --set overrides what stands above it. The quorum is
    # static: a dynamic one would remember the controller port of the first start.
    cat > "$dir/server.properties" <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$dir/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
$extra
EOF
    if [ ! -e "$dir/data/meta.properties" ]; then
        (jvm 64M kafka.tools.StorageTool format --cluster-id 4L6g3nShT-eMCtK--X86sw \
            --config "$dir/server.properties" > "$dir/format.log" 2>&1) \
            || { cat "$dir/format.log" >&2; die "format failed"; }
    fi
    if [ -n "$cpus" ]; then PIN=(taskset -c "$cpus"); fi
    (jvm "$heap" kafka.Kafka "$dir/server.properties") < /dev/null > "$dir/kafka.log" 2>&1 &
    local pid=$!
    echo "$pid" > "$dir/kafka.pid"
    local waited=0
    until grep -q 'Kafka Server started' "$dir/kafka.log"; do
        kill -0 "$pid" 2>/dev/null || { tail -n 30 "$dir/kafka.log" >&2; die "Kafka ended while starting"; }
        [ $waited -lt $((START_SECONDS_MAX * 10)) ] || { stop "$dir"; die "not started within $START_SECONDS_MAX s"; }
        sleep 0.1; waited=$((waited + 1))
    done
    echo "bootstrap=127.0.0.1:$port"
}

running() { [ -e "$1/kafka.pid" ] && kill -0 "$(cat "$1/kafka.pid")" 2>/dev/null; }

stop() {
    [ $# -eq 1 ] || die "usage: kafka.sh stop DIR"
    running "$1" || { rm -f "$1/kafka.pid"; return 0; }
    local pid waited=0
    pid=$(cat "$1/kafka.pid")
    kill -TERM "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        if [ $waited -ge $((STOP_SECONDS_MAX * 10)) ]; then kill -KILL "$pid" 2>/dev/null || true; break; fi
        sleep 0.1; waited=$((waited + 1))
    done
    rm -f "$1/kafka.pid"
}

case ${1:-} in
    start) shift; start "$@" ;;
    stop) shift; stop "$@" ;;
    *) die "usage: kafka.sh start DIR PORT [--set KEY=VALUE]... [--cpus LIST] [--heap SIZE] | stop DIR" ;;
esac
