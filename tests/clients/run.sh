#!/usr/bin/env bash
# Every client suite against a broker, one after the other, with a table at the end.
#
#   run.sh --bootstrap HOST:PORT [--long] [SUITE]...
#
# A suite whose tools are not ready (scripts/setup.sh clients) is a visible skip; with CI=true that is
# a failure. Budget of the short form: five minutes in all, and a limit for each suite.
set -uo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SETUP=$HERE/../../scripts/setup.sh
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/chronik
PYTHON=$CACHE/venv/bin/python
ORACLE=$HERE/../oracle/java/run.sh
ALL=(kafka-python confluent aiokafka kafkajs platformatic franz-go kcat java-client java-transactions java-admin kafka-tools)

BOOTSTRAP='' LONG=() LIMIT=160 SUITES=()
while [ $# -gt 0 ]; do
    case $1 in
        --bootstrap) BOOTSTRAP=$2; shift 2 ;;
        --long) LONG=(--long) LIMIT=1300; shift ;;
        -*) echo "unknown option $1" >&2; exit 2 ;;
        *) SUITES+=("$1"); shift ;;
    esac
done
[ -n "$BOOTSTRAP" ] || { echo "usage: run.sh --bootstrap HOST:PORT [--long] [${ALL[*]}]..." >&2; exit 2; }
[ ${#SUITES[@]} -gt 0 ] || SUITES=("${ALL[@]}")

needs() { # the part of setup.sh that a suite needs
    case $1 in
        kafka-python | confluent | aiokafka) echo python ;;
        kafkajs | platformatic) echo node ;;
        franz-go) echo go ;;
        kcat) echo kcat ;;
        java-client | java-transactions | java-admin | kafka-tools) echo java ;;
    esac
}

suite() {
    local options=(--bootstrap "$BOOTSTRAP" ${LONG[@]+"${LONG[@]}"})
    case $1 in
        kafka-python) "$PYTHON" "$HERE/python/kafka_python_suite.py" "${options[@]}" ;;
        confluent) "$PYTHON" "$HERE/python/confluent_suite.py" "${options[@]}" ;;
        aiokafka) "$PYTHON" "$HERE/python/aiokafka_suite.py" "${options[@]}" ;;
        kafkajs | platformatic) node "$HERE/node/${1}_suite.mjs" "${options[@]}" ;;
        franz-go) "$CACHE/go-suite" "${options[@]}" ;;
        kcat) "$HERE/kcat_suite.sh" "${options[@]}" ;;
        java-client) "$ORACLE" ClientSuite "${options[@]}" ;;
        java-transactions) "$ORACLE" TransactionSuite "${options[@]}" ;;
        java-admin) "$ORACLE" AdminSuite "${options[@]}" ;;
        kafka-tools) "$ORACLE" ToolsSuite "${options[@]}" ;;
    esac
}

# limited SECONDS SUITE: in a process group of its own, ended as a whole when the time is up.
limited() {
    local limit=$1 pid status waited=0
    set -m
    suite "$2" < /dev/null &
    pid=$!
    set +m
    while kill -0 "$pid" 2> /dev/null; do
        if [ $waited -ge $((limit * 5)) ]; then
            kill -KILL -- "-$pid" 2> /dev/null
            echo "  $2: stopped after $limit s"
        fi
        sleep 0.2
        waited=$((waited + 1))
    done
    wait "$pid"
    status=$?
    return $status
}

passed=0 failed=0 skipped=0 table=''
begun=$SECONDS
for name in "${SUITES[@]}"; do
    need=$(needs "$name")
    [ -n "$need" ] || { echo "unknown suite $name: one of ${ALL[*]}" >&2; exit 2; }
    started=$SECONDS
    if ! "$SETUP" has "$need"; then
        if [ "${CI:-}" = true ]; then verdict=FAIL; failed=$((failed + 1)); else verdict=SKIP; skipped=$((skipped + 1)); fi
        echo "$name: $verdict: its tools are not ready; type: scripts/setup.sh clients $need"
    else
        echo "$name: limit $LIMIT s"
        if limited "$LIMIT" "$name"; then
            verdict=pass
            passed=$((passed + 1))
        else
            verdict=FAIL
            failed=$((failed + 1))
        fi
    fi
    table+=$(printf '%-17s %4d s  %s' "$name" $((SECONDS - started)) "$verdict")$'\n'
done
printf '\nsuite             time   result\n%s' "$table"
echo "client suites: $((SECONDS - begun)) s of $((${#LONG[@]} ? 3600 : 300))"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
