#!/usr/bin/env python3
"""What cleaning a compacted topic costs: rate, memory, and a producer's p99 beside it, as a ratio to the same producer alone.

    compaction.py --gb 10 --keys 1000000 [--io BYTES_PER_SECOND] [--rate RECORDS_PER_SECOND]

Needs the built binaries, and Python's confluent_kafka for the keyed load (`scripts/setup.sh clients python`); Linux. Loopback only,
data in a temporary directory below --dir.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import host

VALUE_BYTES = 1000
RATIO_MAX, MEMORY_MB_MAX = 2.0, 256.0
TOPIC = "compacted"


def start(server, directory, kafka, http, options):
    command = [server, "start", "-d", directory, "--kafka-addr", f"127.0.0.1:{kafka}", "--http-addr", f"127.0.0.1:{http}",
               "--set", "log.cleaner.enable=false", "--set", f"log.cleaner.io.max.bytes.per.second={options.io}",
               "--set", f"chronik.wal.profile={options.profile}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{http}/health/ready", timeout=1)
            return process
        except OSError:
            if process.poll() is not None:
                sys.exit("the broker did not start")
            time.sleep(0.05)


def fill(kafka, records, keys):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic
    at = {"bootstrap.servers": f"127.0.0.1:{kafka}"}
    topic = NewTopic(TOPIC, 1, 1, config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"})
    admin = AdminClient(at)
    admin.create_topics([topic])[TOPIC].result()
    producer = Producer({**at, "linger.ms": 20, "batch.size": 500_000, "queue.buffering.max.messages": 200_000})
    source = random.Random(7)
    noise = source.randbytes(1 << 20)
    for _ in range(records):
        key = b"key-%d" % source.randrange(keys)
        begin = source.randrange(len(noise) - VALUE_BYTES)
        while True:
            try:
                producer.produce(TOPIC, noise[begin:begin + VALUE_BYTES], key)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def p99(bench, kafka, seconds, rate):
    out = subprocess.run([bench, "produce", "--bootstrap", f"127.0.0.1:{kafka}", "--topic", "beside", "--rate", str(rate),
                          "--duration", str(seconds), "--json", "--quiet"], capture_output=True, text=True)
    report = json.loads(out.stdout.strip().splitlines()[-1])
    return report["latency_ms"]["p99"] if "latency_ms" in report else find(report, "p99")


def find(value, name):
    if isinstance(value, dict):
        if name in value:
            return value[name]
        value = list(value.values())
    for each in value if isinstance(value, list) else []:
        found = find(each, name)
        if found is not None:
            return found
    return None


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmRSS"))


def disk_mb(directory):
    return int(subprocess.run(["du", "-sk", directory], capture_output=True, text=True).stdout.split()[0]) / 1000


def clean(server, http, process):
    """Cleans; the outcome, seconds, and the largest resident memory meanwhile."""
    largest, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.1):
            largest[0] = max(largest[0], resident_mb(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    out = subprocess.run([server, "compact", "now", "--topic", TOPIC, "--http-addr", f"127.0.0.1:{http}", "--json"],
                         capture_output=True, text=True)
    seconds = time.monotonic() - begun
    done.set()
    watcher.join()
    if out.returncode != 0:
        sys.exit(out.stderr + out.stdout)
    return json.loads(out.stdout)["partitions"][0], seconds, largest[0]


def measure(options, directory):
    binaries = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    server, bench = (os.path.join(binaries, name) for name in ("chronik-server", "chronik-bench"))
    kafka, http = host.free_port(), host.free_port()
    process = start(server, directory, kafka, http, options)
    try:
        fill(kafka, int(options.gb * 1e9) // VALUE_BYTES, options.keys)
        alone = p99(bench, kafka, 20, options.rate)
        before_mb, before_disk = resident_mb(process.pid), disk_mb(directory)
        expected = 2 * options.gb * 1e9 / options.io
        latency = []
        beside = threading.Thread(target=lambda: latency.append(
            p99(bench, kafka, max(10, int(min(expected * 0.9, 120))), options.rate)))
        beside.start()
        outcome, seconds, largest_mb = clean(server, http, process)
        beside.join()
        time.sleep(options.wait)
        after_disk = disk_mb(directory)
    finally:
        process.terminate()
        process.wait()
    moved = (outcome["read_bytes"] + outcome["written_bytes"]) / 1e6
    return [
        ("log", f"{outcome['before_bytes'] / 1e9:.2f} GB, {outcome['records']} records, {outcome['keys']} keys"),
        ("left", f"{outcome['after_bytes'] / 1e9:.2f} GB, {outcome['records'] - outcome['records_dropped']} records"),
        ("time", f"{seconds:.0f} s, {moved / seconds:.0f} MB/s read and written"),
        ("resident memory before, most", f"{before_mb:.0f} MB, {largest_mb:.0f} MB"),
        ("produce p99 alone, beside", f"{alone:.2f} ms, {latency[0]:.2f} ms: {latency[0] / alone:.2f}x"),
        (f"disk before, {options.wait:.0f} s after", f"{before_disk:.0f} MB, {after_disk:.0f} MB"),
    ], latency[0] / alone <= RATIO_MAX and largest_mb <= MEMORY_MB_MAX


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--io", type=float, default=32 << 20)
    parser.add_argument("--rate", default="2000")
    parser.add_argument("--profile", default="low", help="memory profile; low keeps the ring out of the figures")
    parser.add_argument("--wait", type=float, default=45, help="seconds until the disk is looked at again")
    parser.add_argument("--dir")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="chronik-compaction-", dir=options.dir)
    try:
        rows, met = measure(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for name, figure in rows:
        print(f"{name:32} {figure}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
