#!/usr/bin/env bash
# An object store on the loopback for the tests of tiered storage: SeaweedFS (S3), Azurite (Azure) or
# fake-gcs-server (Google), as scripts/setup.sh clients stores installs them.
#
#   store.sh start seaweedfs|azurite|gcs DIR [PORT]
#   store.sh stop DIR
#
# start waits until the store takes an object and prints the environment for chronik-server, a variable a
# line; the bucket is chronik-test. The server's log is DIR/log, its pid DIR/pid. A second start finds what
# the first one left in DIR, and with PORT is where that was: a test can take the bucket away for a while.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STORES=${STORES_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/chronik/stores}
BUCKET=chronik-test
S3_KEY=chronik
S3_SECRET=chronik-test-secret
# Known to everybody: Azurite's own, from Microsoft's documentation.
AZURE_ACCOUNT=devstoreaccount1
AZURE_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
START_SECONDS_MAX=60
# SeaweedFS may wait 30 s for a connection of its own on which nothing comes; what it has answered is on
# disk long before. The others take less than a second.
STOP_SECONDS_MAX=5

die() { echo "store.sh: $*" >&2; exit 1; }
usage() { die "usage: store.sh start seaweedfs|azurite|gcs DIR [PORT] | stop DIR"; }

# free_ports COUNT: below those that the kernel hands out. While a test has the store down, nobody may get
# its port as his own, least of all a client that dials it: it would speak to itself. The port 10000 above
# is free too: SeaweedFS has its gRPC there, and its parts look for each other there whatever one tells them.
free_ports() {
    python3 -c '
import random, socket, sys
ports, held = [], []
while len(ports) < int(sys.argv[1]):
    port = random.randrange(15000, 22000)
    try:
        for one in (port, port + 10000):
            held.append(socket.socket())
            held[-1].bind(("127.0.0.1", one))
    except OSError:
        continue
    ports.append(port)
print(*ports)' "$1"
}

# Not whether somebody answers: it may be the store of another DIR.
free() { python3 -c '
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1])))' "$1" 2> /dev/null; }

# Not by kill -0 alone, for which a process that has ended is there until its parent asks.
alive() { kill -0 "$1" 2> /dev/null && [[ $(ps -o stat= -p "$1" 2> /dev/null) != Z* ]]; }
running() { [ -e "$1/pid" ] && alive "$(cat "$1/pid")"; }

# Each of these becomes the server: its pid is the server's own.
seaweedfs() { # seaweedfs PORT, in DIR
    local ports
    read -r -a ports <<< "$(free_ports 4)"
    echo "$1 ${ports[*]}" > ports
    cat > s3.json <<EOF
{"identities": [{"name": "chronik", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "$S3_KEY", "secretKey": "$S3_SECRET"}]}]}
EOF
    # What it remembers of the last start has other ports; which volumes there are, they say themselves.
    rm -rf data/mini.options data/m[0-9]*
    # Settings of somebody's own S3 would be taken for ours. Without a limit it grows to half a gigabyte.
    export GOMEMLIMIT=384MiB
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY S3_BUCKET S3_TABLE_BUCKET S3_EXTERNAL_URL
    # mini: the whole of it in one process, with the waits of a cluster left out. Sockets have names relative
    # to DIR, since the system bounds their length.
    exec "$STORES/seaweedfs/bin/weed" -logtostderr=true mini -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="${ports[0]}" -master.telemetry=false -volume.port="${ports[1]}" -volume.preStopSeconds=0 \
        -filer.port="${ports[2]}" -filer.localSocket=filer.sock -admin.port="${ports[3]}" -admin.ui=false \
        -s3.port="$1" -s3.localSocket=s3.sock -s3.config=s3.json -s3.iam=false -s3.port.iceberg=0 -s3.port.lance=0 \
        -webdav=false
}

azurite() { # azurite PORT, in DIR
    # The client's version of the API may be newer than Azurite.
    exec node "$STORES/azurite/node_modules/azurite/dist/src/blob/main.js" --blobHost 127.0.0.1 --blobPort "$1" \
        --location data --skipApiVersionCheck --disableTelemetry
}

gcs() { # gcs PORT, in DIR
    exec "$STORES/gcs" -dir data -port "$1" -bucket "$BUCKET"
}

start() {
    [ $# -eq 2 ] || [ $# -eq 3 ] || usage
    local kind=$1 dir=$2 port=${3:-} environment pid waited=0
    case $kind in seaweedfs | azurite | gcs) ;; *) usage ;; esac
    [ -x "$STORES/gcs" ] || die "no object stores in $STORES: run scripts/setup.sh clients stores"
    mkdir -p "$dir/data"; dir=$(cd "$dir" && pwd)
    if running "$dir"; then die "already running in $dir"; fi
    if [ -z "$port" ]; then port=$(free_ports 1); fi
    free "$port" || die "port $port is taken"
    case $kind in
        seaweedfs) environment=(OBJECT_STORE_BACKEND=s3 "S3_ENDPOINT=http://127.0.0.1:$port" "S3_BUCKET=$BUCKET"
            "S3_ACCESS_KEY=$S3_KEY" "S3_SECRET_KEY=$S3_SECRET") ;;
        azurite) environment=(OBJECT_STORE_BACKEND=azure "AZURE_ENDPOINT=http://127.0.0.1:$port/$AZURE_ACCOUNT"
            "AZURE_CONTAINER=$BUCKET" "AZURE_ACCOUNT_NAME=$AZURE_ACCOUNT" "AZURE_ACCOUNT_KEY=$AZURE_KEY") ;;
        gcs) environment=(OBJECT_STORE_BACKEND=gcs "GCS_ENDPOINT=http://127.0.0.1:$port" "GCS_BUCKET=$BUCKET") ;;
    esac
    (cd "$dir" && "$kind" "$port") < /dev/null >> "$dir/log" 2>&1 &
    pid=$!
    echo "$pid" > "$dir/pid"
    until env "${environment[@]}" python3 "$HERE/bucket.py" 2> "$dir/probe"; do
        alive "$pid" || { tail -n 30 "$dir/log" >&2; die "$kind ended while starting"; }
        [ $waited -lt $((START_SECONDS_MAX * 5)) ] || { cat "$dir/probe" >&2; stop "$dir"; die "$kind did not start within $START_SECONDS_MAX s"; }
        sleep 0.1; waited=$((waited + 1))
    done
    rm -f "$dir/probe"
    printf '%s\n' "${environment[@]}"
}

stop() {
    [ $# -eq 1 ] || usage
    local pid port waited=0
    if running "$1"; then
        pid=$(cat "$1/pid")
        kill -TERM "$pid" 2> /dev/null || true
        while alive "$pid"; do
            if [ $waited -eq $((STOP_SECONDS_MAX * 20)) ]; then kill -KILL "$pid" 2> /dev/null || true; fi
            sleep 0.05; waited=$((waited + 1))
        done
    fi
    # SeaweedFS makes sockets of these names whatever one tells it, and leaves some behind.
    for port in $(cat "$1/ports" 2> /dev/null); do rm -f /tmp/seaweedfs-*-grpc-$((port + 10000)).sock; done
    rm -f "$1/pid"
}

case ${1:-} in
    start) shift; start "$@" ;;
    stop) shift; stop "$@" ;;
    *) usage ;;
esac
