#!/usr/bin/env python3
"""What standing things cost this broker, each figure with its goal; exits 1 when one is missed.

    cost.py groups         10,000 groups with 100,000 committed offsets: time to load at start, memory
    cost.py idle           10,000 consumers on long polls: processor time over ten seconds
    cost.py transactions   processor time per GB produced: plain, idempotent, transactional, in alternating rounds

Needs the built binaries; Linux. Loopback only, data in a temporary directory.
"""

import argparse
import concurrent.futures
import os
import resource
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import brokers
import host
import load

GROUPS, PARTITIONS = 10_000, 10
LOAD_S_MAX, LOAD_MB_MAX = 1.0, 100.0
CONSUMERS, WINDOW_S = 10_000, 10.0
# A hundredth of one core: timers and metrics that run whether or not anybody is connected.
IDLE_CORE_SHARE_MAX = 0.01
TRANSACTIONS_RATIO_MAX = 1.10
TOPIC = "cost"


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


class Wire:
    """One connection; bodies are given encoded."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, api, version, body):
        frame = struct.pack(">hhi", api, version, 1) + text("cost") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        length, = struct.unpack(">i", self.exactly(4))
        return self.exactly(length)[4:]

    def exactly(self, count):
        got = b""
        while len(got) < count:
            more = self.socket.recv(count - len(got))
            if not more:
                raise EOFError("the broker closed the connection")
            got += more
        return got

    def call(self, api, version, body):
        self.send(api, version, body)
        return self.receive()


def create_topic(port, name, partitions):
    body = struct.pack(">i", 1) + text(name) + struct.pack(">ihii", partitions, 1, 0, 0) + struct.pack(">ib", 30_000, 0)
    answer = Wire(port).call(19, 2, body)  # throttle, one topic: name, error
    error, = struct.unpack_from(">h", answer, 8 + 2 + len(name))
    if error:
        raise RuntimeError(f"creating {name}: error {error}")


def commit_body(group):
    partitions = b"".join(struct.pack(">iq", p, 1_000 + p) + text("") for p in range(PARTITIONS))
    return (text(group) + struct.pack(">i", -1) + text("") + struct.pack(">q", -1)
            + struct.pack(">i", 1) + text(TOPIC) + struct.pack(">i", PARTITIONS) + partitions)


def commit_all(port, groups):
    """Commits for these groups over one connection, many unanswered at a time."""
    wire, ahead = Wire(port), 0
    for group in groups:
        wire.send(8, 2, commit_body(group))
        ahead += 1
        if ahead == 32:
            check_commit(wire.receive())
            ahead -= 1
    for _ in range(ahead):
        check_commit(wire.receive())


def check_commit(answer):
    errors = [struct.unpack_from(">h", answer, 4 + 2 + len(TOPIC) + 4 + p * 6 + 4)[0] for p in range(PARTITIONS)]
    if any(errors):
        raise RuntimeError(f"OffsetCommit answered {errors}")


def committed(port, group):
    """The offsets of a group, by OffsetFetch v2."""
    body = text(group) + struct.pack(">i", 1) + text(TOPIC) + struct.pack(f">i{PARTITIONS}i", PARTITIONS, *range(PARTITIONS))
    answer = Wire(port).call(9, 2, body)
    return [struct.unpack_from(">q", answer, 4 + 2 + len(TOPIC) + 4 + p * 16 + 4)[0] for p in range(PARTITIONS)]


def first_answer(broker):
    """Starts it; the seconds until it answered a request for a group's offsets, which waits until all groups are loaded."""
    began = time.monotonic()
    broker.start()
    committed(broker.port, "group-0")
    return time.monotonic() - began


def verdict(name, figure, unit, goal, fine):
    print(f"{name}: {figure:.3g} {unit}, goal {goal} {unit}: {'met' if fine else 'MISSED'}", flush=True)
    return fine


def median_start(broker, signal_number, rounds=5):
    took, resident = [], []
    for _ in range(rounds):
        broker.end(signal_number)
        took.append(first_answer(broker))
        time.sleep(0.5)
        resident.append(host.memory(broker.pid)["resident_mb"])
    return statistics.median(took), statistics.median(resident)


def groups(broker, _options):
    broker.start()
    create_topic(broker.port, TOPIC, PARTITIONS)
    empty_s, empty_mb = median_start(broker, signal.SIGTERM)
    names = [f"group-{n}" for n in range(GROUPS)]
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: commit_all(broker.port, names[k::8]), range(8)))
    print(f"{GROUPS} groups committed {GROUPS * PARTITIONS} offsets in {time.monotonic() - began:.1f} s")
    fine = True
    for word, number in (("a clean stop", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
        full_s, full_mb = median_start(broker, number)
        for name in (names[0], names[-1]):
            if committed(broker.port, name) != [1_000 + p for p in range(PARTITIONS)]:
                raise RuntimeError(f"{name} lost its offsets")
        print(f"after {word}: {full_s * 1e3:.0f} ms to the first answer, empty {empty_s * 1e3:.0f} ms; resident {full_mb:.1f} MB, empty {empty_mb:.1f} MB")
        fine &= verdict(f"groups: loading after {word}", full_s - empty_s, "s", LOAD_S_MAX, full_s - empty_s < LOAD_S_MAX)
        fine &= verdict(f"groups: memory after {word}", full_mb - empty_mb, "MB", LOAD_MB_MAX, full_mb - empty_mb < LOAD_MB_MAX)
    return fine


def idle(broker, options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = CONSUMERS + 500
    if hard != resource.RLIM_INFINITY and hard < need:
        sys.exit(f"the limit of open files is {hard}; {need} are needed: ulimit -n {need}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
    os.environ["CHRONIK_MAX_CONNECTIONS"] = str(CONSUMERS + 100)
    broker.start()
    create_topic(broker.port, TOPIC, PARTITIONS)
    alone_s, empty_mb = window(broker), host.memory(broker.pid)["resident_mb"]
    poll_ms = 120_000
    consumers = []
    for n in range(CONSUMERS):
        wire = Wire(broker.port)
        wire.send(1, 4, struct.pack(">iiiibi", -1, poll_ms, 1, 50 << 20, 0, 1) + text(TOPIC) + struct.pack(">iiqi", 1, n % PARTITIONS, 0, 1 << 20))
        consumers.append(wire)
    time.sleep(3)  # until all of them wait
    full_s, full_mb = window(broker), host.memory(broker.pid)["resident_mb"]
    print(f"{CONSUMERS} long polls: {full_s:.2f} CPU s in {WINDOW_S:.0f} s, nobody connected: {alone_s:.2f}; "
          f"resident {full_mb:.1f} MB, nobody connected: {empty_mb:.1f} MB")
    # They were waiting, not forgotten: a record in each partition answers every one of them.
    began = time.monotonic()
    done = subprocess.run([options.bench, "produce", "--bootstrap", broker.bootstrap, "--topic", TOPIC, "--partitions", str(PARTITIONS),
                           "--messages", "1000", "--size", "100", "--batch-bytes", "100", "--quiet"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr or done.stdout)
    for wire in consumers:
        wire.receive()
    print(f"woken and answered within {time.monotonic() - began:.2f} s")
    share = (full_s - alone_s) / WINDOW_S
    return verdict("idle: processor", share, "of a core", IDLE_CORE_SHARE_MAX, share <= IDLE_CORE_SHARE_MAX)


def transactions(broker, options):
    """The broker on one core, the load on the other; every kind once a round, in changing order. The rate is fixed, below
    what the broker can do: as fast as it can, whoever is slower for a moment has fewer batches in a commit and so costs more."""
    broker.start()
    load_ = load.Bench(options.bench)
    kinds = options.kinds
    cells = [(1_000, 1, 1, "20MB"), (1_000, 16, 16, "60MB"), (100, 16, 16, "60MB")]
    fine = True
    for size, partitions, producers, rate in cells:
        spent = {kind: [] for kind in kinds}
        for turn in range(options.rounds):
            for kind in kinds[turn % len(kinds):] + kinds[:turn % len(kinds)]:
                figures = load_.run(broker, "produce", topic=f"{kind}-{size}-{partitions}-{turn}", partitions=partitions, producers=producers,
                                    size=size, kind=kind, rate=rate, duration=options.seconds, warmup=1, cleanup=True)
                if "error" in figures:
                    raise RuntimeError(f"{kind}: {figures['error']}")
                spent[kind].append(figures["broker_cpu_s_per_gb"])
        cell = f"{size} B, {partitions} partitions, {producers} producers, {rate}/s"
        for kind in kinds:
            print(f"  {cell}: {kind} {statistics.median(spent[kind]):.2f} CPU s/GB ({' '.join(f'{x:.2f}' for x in spent[kind])})", flush=True)
        for kind in kinds[1:]:
            # Of each round, so that what the machine does meanwhile falls on both sides.
            ratio = statistics.median(a / b for a, b in zip(spent[kind], spent["plain"]))
            fine &= verdict(f"{kind}: {cell}: processor per GB", ratio, "× plain", TRANSACTIONS_RATIO_MAX, ratio < TRANSACTIONS_RATIO_MAX)
    return fine


def window(broker):
    """Processor seconds of the broker over the window."""
    before = host.cpu_seconds(broker.pid)
    time.sleep(WINDOW_S)
    return host.cpu_seconds(broker.pid) - before


def main():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(cache, "chronik", "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["groups", "idle", "transactions"], nargs="+")
    parser.add_argument("--bench", default=os.path.join(target, "release", "chronik-bench"))
    parser.add_argument("--chronik", default=os.path.join(target, "release", "chronik-server"))
    parser.add_argument("--rounds", type=int, default=9, help="of transactions (default 9)")
    parser.add_argument("--kinds", nargs="+", default=["plain", "idempotent", "transactional"], help="of producers, plain first")
    parser.add_argument("--seconds", type=int, default=3, help="each kind and round of transactions runs (default 3)")
    options = parser.parse_args()
    problem = host.check()
    if problem:
        sys.exit(problem)
    fine = True
    for what in options.what:
        with tempfile.TemporaryDirectory(prefix="chronik-cost.") as directory:
            broker = brokers.Chronik("chronik", directory, options.chronik)
            try:
                fine &= {"groups": groups, "idle": idle, "transactions": transactions}[what](broker, options)
            finally:
                broker.remove()
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
