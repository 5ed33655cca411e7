#!/usr/bin/env bash
# Compiles the oracle's Java sources against Kafka's jars when they changed, and runs one main class:
#   run.sh ClientSuite --bootstrap 127.0.0.1:9092
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/chronik
JARS=${KAFKA_JARS:-$CACHE/kafka-4.3.0}
[ -e "$JARS/kafka-clients-4.3.0.jar" ] || { echo "no Kafka in $JARS: run scripts/setup.sh clients java" >&2; exit 3; }

# Classes live under the sources' checksum: a change compiles anew, two clones do not mix.
SUM=$(cat "$HERE"/*.java | cksum | tr ' ' '-')
CLASSES=$CACHE/oracle-classes/$SUM
if [ ! -e "$CLASSES/.complete" ]; then
    BUILD=$(mktemp -d "${TMPDIR:-/tmp}/oracle.XXXXXX")
    javac -nowarn -XDsuppressNotes -proc:none -d "$BUILD" -cp "$JARS/*" "$HERE"/*.java
    touch "$BUILD/.complete"
    mkdir -p "$CACHE/oracle-classes"
    rm -rf "$CLASSES"; mv "$BUILD" "$CLASSES"
    find "$CACHE/oracle-classes" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
fi
MAIN=$1; shift
exec java -Xmx512M -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.awt.headless=true \
    -Dorg.slf4j.simpleLogger.defaultLogLevel="${ORACLE_LOG:-error}" -cp "$CLASSES:$JARS/*" "$MAIN" "$@"
