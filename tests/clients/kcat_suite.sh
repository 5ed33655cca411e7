#!/usr/bin/env bash
# kcat (librdkafka as Debian ships it) against a broker: metadata, every codec, offsets and
# timestamps, offset queries by time, a group that resumes.
#   kcat_suite.sh --bootstrap HOST:PORT [--long]
set -uo pipefail

BOOTSTRAP='' COUNT=200
while [ $# -gt 0 ]; do
    case $1 in
        --bootstrap) BOOTSTRAP=$2; shift 2 ;;
        --long) COUNT=4000; shift ;;
        *) echo "unknown option $1"; exit 2 ;;
    esac
done
[ -n "$BOOTSTRAP" ] || { echo "usage: kcat_suite.sh --bootstrap HOST:PORT [--long]"; exit 2; }

TOPIC=kcat-$$-$RANDOM
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/kcat.XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
FAILED=0

k() { timeout 30 kcat -b "$BOOTSTRAP" "$@" 2>>"$SCRATCH/errors"; } # bounded, whatever the broker does

scenario() { # scenario NAME FUNCTION
    local started=$SECONDS
    : > "$SCRATCH/errors"
    if WHY=$("$2" 2>&1); then
        echo "  kcat: $1 ok ($((SECONDS - started)) s)"
    else
        echo "  kcat: $1 FAILED: $WHY $(tail -n 3 "$SCRATCH/errors")"
        FAILED=1
    fi
}

same() { # same WHAT GOT WANT
    [ "$2" = "$3" ] || { echo "$1: got '${2:0:300}', want '${3:0:300}'"; exit 1; }
}

metadata() {
    k -P -t "$TOPIC" -p 0 <<< first || { echo "produce failed"; exit 1; } # creates the topic
    k -L -J > "$SCRATCH/all.json" || { echo "-L failed"; exit 1; }
    grep -q "\"$TOPIC\"" "$SCRATCH/all.json" || { echo "-L does not list the topic"; exit 1; }
    k -L -t "$TOPIC" | grep 'partition 0, leader' > /dev/null || { echo "-L -t shows no leader"; exit 1; }
}

codecs() {
    local offset=1 codec
    for codec in none gzip snappy lz4 zstd; do
        seq -f "key|$codec value %g" 1 "$COUNT" > "$SCRATCH/sent"
        k -P -t "$TOPIC" -p 0 -K '|' -z "$codec" -H a=1 -H a=2 -X enable.idempotence=true < "$SCRATCH/sent" \
            || { echo "$codec: produce failed"; exit 1; }
        k -C -t "$TOPIC" -p 0 -o "$offset" -c "$COUNT" -e -q -f '%k|%s\n' > "$SCRATCH/got"
        cmp -s "$SCRATCH/sent" "$SCRATCH/got" || { echo "$codec: read back differs"; exit 1; }
        same "$codec headers" "$(k -C -t "$TOPIC" -p 0 -o "$offset" -c 1 -q -f '%h')" "a=1,a=2"
        offset=$((offset + COUNT))
    done
}

offsets_and_null() {
    printf 'gone|\n' | k -P -t "$TOPIC" -p 0 -K '|' -Z || { echo "null value: produce failed"; exit 1; }
    same "offset, key, value length" "$(k -C -t "$TOPIC" -p 0 -o -1 -c 1 -q -f '%o %k %S')" "$((1 + 5 * COUNT)) gone -1"
    local now stamp
    now=$(date +%s)
    stamp=$(k -C -t "$TOPIC" -p 0 -o -1 -c 1 -q -f '%T')
    [ "$((stamp / 1000))" -ge $((now - 300)) ] && [ "$((stamp / 1000))" -le $((now + 300)) ] || { echo "timestamp $stamp"; exit 1; }
    stamp=$(k -C -t "$TOPIC" -p 0 -o "$((1 + 2 * COUNT))" -c 1 -q -f '%T')
    local found
    found=$(k -Q -t "$TOPIC:0:$stamp" | grep -oE '[0-9]+$')
    [ -n "$found" ] && [ "$found" -le $((1 + 2 * COUNT)) ] || { echo "-Q by time: '$found' for a record at $((1 + 2 * COUNT))"; exit 1; }
    same "-Q latest" "$(k -Q -t "$TOPIC:0:-1" | grep -oE '[0-9]+$')" "$((2 + 5 * COUNT))"
    same "-Q earliest" "$(k -Q -t "$TOPIC:0:-2" | grep -oE '[0-9]+$')" 0
    same "-C by time" "$(k -C -t "$TOPIC" -p 0 -o "s@$stamp" -c 1 -q -f '%o')" "$found"
}

group() {
    local total=$((2 + 5 * COUNT)) first=$((10 + COUNT))
    local options=(-X auto.offset.reset=earliest -X session.timeout.ms=10000 -q -f '%o\n')
    # -c commits what it delivered when it leaves: the second run goes on where the first stopped.
    k -G "group-of-$TOPIC" "${options[@]}" -c "$first" "$TOPIC" > "$SCRATCH/one" || { echo "first run failed"; exit 1; }
    k -G "group-of-$TOPIC" "${options[@]}" -c $((total - first)) "$TOPIC" > "$SCRATCH/two" || { echo "second run failed"; exit 1; }
    same "all offsets, once, in order" "$(cat "$SCRATCH/one" "$SCRATCH/two" | cksum)" "$(seq 0 $((total - 1)) | cksum)"
}

scenario "lists metadata of an auto-created topic" metadata
scenario "reads every codec back, idempotence on" codecs
scenario "shows offsets, null values and times" offsets_and_null
scenario "a group resumes where it stopped" group
exit $FAILED
