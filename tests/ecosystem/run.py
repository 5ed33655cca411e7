#!/usr/bin/env python3
"""Kafka Streams, Kafka Connect, Flink and ksqlDB's calls against a broker that is killed again and again.

    run.py --target chronik --binary target/release/chronik-server [--form short|full|soak] [WORKLOAD ...]
    run.py --target kafka ...     the same against a real Kafka 4.3: proves the suites

Each workload has a broker of its own, is verified at the end, and shows that its verifier finds planted faults.
Ends non-zero when anything is off. TEST_SEED (or --seed) fixes the times of the kills.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

import workloads
from jvm import Jars

FORMS = {
    # Seconds of load, seconds between kills of the broker, rounds (another seed each).
    "short": {"seconds": 32, "kill": 9, "rounds": 1},
    "full": {"seconds": 120, "kill": 8, "rounds": 2},
    "soak": {"seconds": 300, "kill": 7, "rounds": None},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=["chronik", "kafka"], default="chronik")
    parser.add_argument("--binary", type=pathlib.Path, help="chronik-server, for --target chronik")
    parser.add_argument("--form", choices=FORMS, default=os.environ.get("TEST_FORM", "short"))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("TEST_SEED", "20261122")))
    parser.add_argument("--keep", action="store_true", help="leave logs and data of what failed")
    parser.add_argument("--record", action="store_true", help="ksqldb: write down the target's answers as the expected ones")
    parser.add_argument("workloads", nargs="*", help=f"of {', '.join(workloads.ALL)}; default: all")
    given = parser.parse_args()
    if given.target == "chronik" and not (given.binary and given.binary.exists()):
        parser.error("--target chronik needs --binary PATH of chronik-server")
    unknown = [name for name in given.workloads if name not in workloads.ALL]
    if unknown:
        parser.error(f"no workload {unknown}: one of {', '.join(workloads.ALL)}")
    return given


def run_one(name, given, size, jars, seed):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"chronik-ecosystem-{name}."))
    run = workloads.Run(given, size, jars, folder, random.Random(seed), seed)
    begin, verdict = time.monotonic(), "ok"
    try:
        workloads.ALL[name](run)
    except Exception as fault:
        verdict = f"FAILED: {fault}"
        print(f"  {verdict}\n  the broker's last lines:\n{run.broker.tail() if run.broker else ''}", flush=True)
    finally:
        run.close()
    if verdict == "ok" or not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"  kept: {folder}")
    row = f"{name:8} {time.monotonic() - begin:5.0f}s  kills: {run.kills():14}  {verdict.splitlines()[0]}"
    print(f"  {row}", flush=True)
    return verdict == "ok", row


def main():
    given = arguments()
    size = FORMS[given.form]
    jars = Jars()
    good, rows = True, []
    deadline = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "60"))
    round_ = 0
    while (size["rounds"] is None and time.monotonic() < deadline) or round_ < (size["rounds"] or 1):
        for name in given.workloads or workloads.ALL:
            print(f"{name}: {given.target}, form {given.form}, seed {given.seed + round_}", flush=True)
            passed, row = run_one(name, given, size, jars, given.seed + round_)
            good &= passed
            rows.append(row)
        round_ += 1
        if not good:
            break
    print("\n" + "\n".join(rows))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
