#!/usr/bin/env bash
# Holds a broker against real Kafka: parses every response it can give with Kafka's classes, then sends
# the named cases of ParityProbe to both and compares the answers.
#
#   parity.sh --bootstrap HOST:PORT [--recorded]
#
# Without --recorded a Kafka 4.3 is started beside it; with it, the answers recorded from one are used
# (kafka-4.3-answers.txt). The broker must run with group.initial.rebalance.delay.ms=0, as Kafka does here.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BOOTSTRAP='' RECORDED=no
while [ $# -gt 0 ]; do
    case $1 in
        --bootstrap) BOOTSTRAP=$2; shift 2 ;;
        --recorded) RECORDED=yes; shift ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
done
[ -n "$BOOTSTRAP" ] || { echo "usage: parity.sh --bootstrap HOST:PORT [--recorded]" >&2; exit 2; }

status=0
"$HERE/java/run.sh" ParityProbe parse --bootstrap "$BOOTSTRAP" --strict || status=1
if [ $RECORDED = yes ]; then
    "$HERE/java/run.sh" ParityProbe errors --answers "$HERE/kafka-4.3-answers.txt" --b "$BOOTSTRAP" --allow "$HERE/parity-differences.txt" || status=1
else
    DIR=$(mktemp -d "${TMPDIR:-/tmp}/oracle-kafka.XXXXXX")
    trap '"$HERE/kafka.sh" stop "$DIR"; rm -rf "$DIR"' EXIT
    started=$("$HERE/kafka.sh" start "$DIR" 0 --heap 512M --set group.initial.rebalance.delay.ms=0 --set transaction.abort.timed.out.transaction.cleanup.interval.ms=1000)
    "$HERE/java/run.sh" ParityProbe errors --a "${started#bootstrap=}" --b "$BOOTSTRAP" --allow "$HERE/parity-differences.txt" || status=1
fi
exit $status
