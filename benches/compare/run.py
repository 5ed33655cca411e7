#!/usr/bin/env python3
"""Chronik and Apache Kafka in turn on this machine: same core, same loads, ratios.

`make bench-compare` runs it; `ARGS_COMPARE="--quick"` gives a first table in a few minutes.
Needs Linux with two cores, Java, Kafka's jars (scripts/setup.sh clients java) and the built
binaries. Writes compare.json (everything) and compare.md (the table) into --out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import brokers
import host
import load
import scenarios
import table

NAMES = ["kafka", "kafka-fsync", "chronik"]


def arguments():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(cache, "chronik", "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small matrix, one round")
    parser.add_argument("--rounds", type=int, help="rounds over all brokers (default 3; quick: 1)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="some of the brokers")
    parser.add_argument("--bench", default=os.path.join(target, "release", "chronik-bench"))
    parser.add_argument("--chronik", default=os.path.join(target, "release", "chronik-server"))
    parser.add_argument("--data", help="where data directories go (default: a temporary directory)")
    parser.add_argument("--out", default=os.path.join(target, "bench-compare"), help="where results go")
    parser.add_argument("--favour", action="store_true",
                        help="have the scheduler prefer this run over other work on the machine (root)")
    for name in ("seconds", "warm_s", "consume_mb", "e2e_s", "tools_mb", "past_cache_mb"):
        parser.add_argument("--" + name.replace("_", "-"), type=int, help="instead of the matrix's own")
    return parser.parse_args()


def say(line):
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def prerequisites(options, tools):
    """Everything that is missing, with what to do about it."""
    missing = [host.check()]
    if not os.path.exists(options.bench):
        missing.append(f"{options.bench} is not built: make build")
    if "chronik" in options.only and not os.path.exists(options.chronik):
        missing.append(f"{options.chronik} is not built: make build")
    if not tools.exists():
        missing.append("Kafka's jars are missing: scripts/setup.sh clients java")
    return [line for line in missing if line]


def write(options, results):
    """Writes what is there so far, so that an interrupted run keeps its rounds."""
    os.makedirs(options.out, exist_ok=True)
    rows = table.summarise(results["rounds"], options.only)
    results["table"] = rows
    text = table.markdown(rows, options.only)
    if options.only == NAMES:
        text = table.goals(rows) + "\n\n" + text
    with open(os.path.join(options.out, "compare.json"), "w") as file:
        json.dump(results, file, indent=1)
    with open(os.path.join(options.out, "compare.md"), "w") as file:
        file.write(text + "\n")
    return text


def main():
    options = arguments()
    tools = load.KafkaTools()
    missing = prerequisites(options, tools)
    if missing:
        sys.exit("\n".join(missing))
    size = dict(scenarios.QUICK if options.quick else scenarios.FULL)
    size |= {name: value for name, value in vars(options).items() if name in size and value is not None}
    rounds = options.rounds or (1 if options.quick else 3)
    # This script and what it waits for stay off the broker's core.
    os.sched_setaffinity(0, {host.LOAD_CORE})
    if options.favour and not host.favour():
        sys.exit("--favour needs root")
    with tempfile.TemporaryDirectory(prefix="chronik-compare-", dir=options.data) as directory:
        results = {"machine": host.describe(directory), "sizes": size, "favoured": options.favour,
                   "rounds": []}
        say(f"machine: {results['machine']}")
        for number in range(rounds):
            # Each round begins with another broker: whoever is first has the emptiest disk.
            order = options.only[number % len(options.only):] + options.only[:number % len(options.only)]
            results["rounds"].append({})
            for name in order:
                say(f"round {number + 1} of {rounds}: {name}")
                broker = brokers.make([name], directory, options.chronik)[0]
                session = scenarios.Session(broker, load.Bench(options.bench), tools, size, say)
                results["rounds"][-1][name] = session.results
                try:
                    session.run()
                except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                    say(f"  {name} gave up: {error}")
                finally:
                    broker.remove()
                text = write(options, results)
    print(text)
    say(f"written to {options.out}")


if __name__ == "__main__":
    main()
