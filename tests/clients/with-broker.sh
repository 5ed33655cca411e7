#!/usr/bin/env bash
# Starts this project's broker on free loopback ports with a data directory of its own, runs a command
# with @ replaced by host:port, and stops it:
#
#   with-broker.sh target/release/chronik-server tests/clients/run.sh --bootstrap @
#
# The rebalance delay is 0, as everywhere in these tests: groups form at once.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: with-broker.sh BINARY COMMAND... (@ stands for host:port)" >&2; exit 2; }
BINARY=$1; shift
READY_SECONDS_MAX=30
STOP_SECONDS_MAX=30
DIR=$(mktemp -d "${TMPDIR:-/tmp}/chronik-clients.XXXXXX")
PID=''

stop() {
    local waited=0
    if [ -n "$PID" ] && kill -TERM "$PID" 2> /dev/null; then
        while kill -0 "$PID" 2> /dev/null && [ $waited -lt $((STOP_SECONDS_MAX * 10)) ]; do sleep 0.1; waited=$((waited + 1)); done
        kill -KILL "$PID" 2> /dev/null || true
    fi
    rm -rf "$DIR"
}
trap stop EXIT

# Two ports at once, so that they differ; the subshell's end, which the assignment awaits, frees them.
PORTS=$(python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
read -r KAFKA HTTP <<< "$PORTS"
CHRONIK_GROUP_INITIAL_REBALANCE_DELAY_MS=0 "$BINARY" start --data-dir "$DIR/data" \
    --kafka-addr "127.0.0.1:$KAFKA" --http-addr "127.0.0.1:$HTTP" > "$DIR/broker.log" 2>&1 &
PID=$!

ready() {
    python3 -c 'import sys, urllib.request; urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/health/ready", timeout=2)' "$HTTP" 2> /dev/null
}
waited=0
until ready; do
    kill -0 "$PID" 2> /dev/null || { cat "$DIR/broker.log" >&2; echo "the broker ended while starting" >&2; exit 1; }
    [ $waited -lt $((READY_SECONDS_MAX * 5)) ] || { tail -n 30 "$DIR/broker.log" >&2; echo "not ready within $READY_SECONDS_MAX s" >&2; exit 1; }
    sleep 0.2
    waited=$((waited + 1))
done

status=0
"${@//@/127.0.0.1:$KAFKA}" || status=$?
if [ $status -ne 0 ]; then
    echo "the broker's last lines:" >&2
    grep -v ' INFO ' "$DIR/broker.log" | tail -n 40 >&2 || true
fi
exit $status
