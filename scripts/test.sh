#!/usr/bin/env bash
# Runs the suites one after another, each with a time budget, and prints a table at the end.
# usage: test.sh short|full|soak [suite …]
set -uo pipefail
cd "$(dirname "$0")/.."

form=${1:-short}
shift || true
only=("$@")
# Names without CHRONIK_: the broker refuses variables of that prefix that are no setting of its.
export TEST_FORM=$form
export TEST_SEED=${TEST_SEED:-20261122}
target=${CARGO_TARGET_DIR:?run this through make}
failed=0
table=()

# suite NAME BUDGET_SECONDS COMMAND… — the budget is that of the short form; the long forms are not cut off.
suite() {
  local name=$1 budget=$2
  shift 2
  if [ ${#only[@]} -gt 0 ] && [[ ! " ${only[*]} " == *" $name "* ]]; then return; fi
  printf '\n== %s (budget %ss)\n' "$name" "$budget"
  local begin=$SECONDS status=0
  if [ "$form" = short ]; then timeout --foreground -k 10 $((budget * 3)) "$@" || status=$?; else "$@" || status=$?; fi
  local took=$((SECONDS - begin)) verdict=ok
  if [ $status -ne 0 ]; then
    verdict="FAILED ($status)"
    failed=1
  elif [ "$form" = short ] && [ $took -gt "$budget" ]; then
    verdict="ok, over budget"
  fi
  table+=("$(printf '%-12s %6ss of %5ss  %s' "$name" "$took" "$budget" "$verdict")")
}

echo "seed $TEST_SEED, form $form"
# Always the whole workspace: a part of it would be built again with other features of what it shares.
suite build 1200 cargo build --release --workspace --all-targets
suite unit 180 cargo test --release --workspace --lib --bins
suite doc 60 cargo test --release --workspace --doc
suite fuzz 30 cargo test --release --workspace --test hostile --test 'wire_*'
suite broker 120 cargo test --release --workspace --test tidy --test '*_docs' --test scale --test retention --test compaction --test segment_tool --test golden --test leader_epochs --test listeners --test profiles --test stopping
suite librdkafka 60 cargo test --release --workspace --test client_rdkafka
suite crash 300 cargo test --release --workspace --test 'crash_*'
long=()
recorded=(--recorded)
if [ "$form" != short ]; then
  long=(--long)
  # The long form starts a real Kafka beside us instead of using its recorded answers.
  recorded=()
fi
scripts/setup.sh clients # quick when all is there; a missing runtime is a visible skip
suite tiers 240 cargo test --release --workspace --test 'tier_*'
broker=(tests/clients/with-broker.sh "$target/release/chronik-server")
suite clients 300 "${broker[@]}" tests/clients/run.sh --bootstrap @ ${long[@]+"${long[@]}"}
if scripts/setup.sh has java; then
  suite parity 120 "${broker[@]}" tests/oracle/parity.sh --bootstrap @ ${recorded[@]+"${recorded[@]}"}
else
  echo "SKIPPED: parity with Kafka; to run it: scripts/setup.sh clients java"
fi
if scripts/setup.sh has ecosystem; then
  suite ecosystem 360 tests/ecosystem/run.py --binary "$target/release/chronik-server"
else
  echo "SKIPPED: Kafka Streams, Connect and Flink; to run them: scripts/setup.sh clients ecosystem"
fi

printf '\n%s\n' "${table[@]}"
[ $failed -eq 0 ] && echo "test: ok" || echo "test: FAILED"
exit $failed
