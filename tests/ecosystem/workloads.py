"""The workloads: what runs, when it is killed, and what must hold afterwards."""

import itertools
import json
import pathlib
import re
import time
import urllib.error
import urllib.request

import ksqldb
from broker import Broker, Killer, free_port
from jvm import FLINK_OPENS, Java

SMOKE_TOPICS = ("data", "echo", "max", "min", "min-suppressed", "min-raw", "dif", "sum", "sws-raw", "sws-suppressed", "cnt", "avg", "tagg", "fk")
EOS_TOPICS = ("data", "echo", "min", "sum", "repartition", "max", "cnt")


class Run:
    """What one workload runs with: its broker, folder, sizes, and the processes to end with it."""

    def __init__(self, given, size, jars, folder, rng, seed):
        self.given, self.size, self.jars, self.folder, self.random, self.seed = given, size, jars, folder, rng, seed
        self.broker, self.processes, self.client_kills, self.count = None, [], 0, itertools.count()

    def start_broker(self):
        self.broker = Broker(self.given.target, self.given.binary, self.folder / "broker", self.random)
        self.broker.start()
        return self.broker.bootstrap

    def killer(self):
        killer = Killer(self.broker, self.size["kill"], self.seed)
        killer.start()
        return killer

    def java(self, main, *arguments, world="kafka", heap="256M", opens=()):
        log = self.folder / f"{next(self.count):02}-{main.split('.')[-1]}.log"
        java = Java(getattr(self.jars, world), log, main, *arguments, heap=heap, opens=opens)
        self.processes.append(java)
        return java

    def tool(self, main, *arguments, seconds=120):
        """Runs a small program to its end and shows the lines it means to be read."""
        java = self.java(main, *arguments)
        java.await_end(seconds)
        for line in java.text().splitlines():
            print(f"  {line}", flush=True)

    def kill_client(self, java):
        java.kill()
        self.client_kills += 1

    def kills(self):
        return f"broker {self.broker.kills if self.broker else 0}, client {self.client_kills}"

    def close(self):
        for java in self.processes:
            java.kill()
        if self.broker:
            self.broker.stop()

    def properties(self, name, **settings):
        path = self.folder / f"{name}.properties"
        path.write_text("".join(f"{key.replace('_', '.')}={value}\n" for key, value in settings.items()))
        return path


def streams_properties(run, name, bootstrap):
    return run.properties(
        name, bootstrap_servers=bootstrap, processing_guarantee="exactly_once_v2", state_dir=run.folder / f"state-{name}",
        commit_interval_ms=500, replication_factor=1, num_standby_replicas=0, session_timeout_ms=8000, heartbeat_interval_ms=1000)


def smoke(run):
    """SmokeTestDriver and SmokeTestClient of the published test jar, exactly_once_v2."""
    bootstrap = run.start_broker()
    run.tool("Topics", bootstrap, *(f"{topic}:2" for topic in SMOKE_TOPICS))
    client = run.java("org.apache.kafka.streams.tests.StreamsSmokeTest", streams_properties(run, "smoke", bootstrap), "process", heap="384M")
    client.await_text("SMOKE-TEST-CLIENT-STARTED", 90)
    killer = run.killer()
    seconds = run.size["seconds"]
    driver = run.java("Smoke", bootstrap, 10, seconds * 10, seconds, heap="384M")
    driver.await_text("GENERATED", seconds * 3 + 60)
    killer.finish()
    driver.await_end(420)
    print("".join(f"  {line}\n" for line in driver.text().splitlines() if line), end="", flush=True)
    if "SMOKE-TEST-CLIENT-EXCEPTION" in client.text():
        raise RuntimeError(f"the client met what it must not meet:\n{client.text()[-4000:]}")
    client.stop()


def eos(run):
    """EosTestDriver and EosTestClient, exactly_once_v2 with repartitioning; a client is killed as well."""
    bootstrap = run.start_broker()
    run.tool("Topics", bootstrap, *(f"{topic}:2" for topic in EOS_TOPICS))
    clients = [start_eos_client(run, number, bootstrap) for number in (0, 1)]
    driver = run.java("org.apache.kafka.streams.tests.StreamsEosTest", streams_properties(run, "driver", bootstrap), "run")
    driver.await_text("1000 records produced", 120)
    killer = run.killer()
    for round_ in range(max(1, run.size["seconds"] // 40)):
        time.sleep(min(run.size["seconds"], 40) / 2)
        victim = round_ % 2
        run.kill_client(clients[victim])
        # Its state is gone with it: the next one reads the changelogs.
        clients[victim] = start_eos_client(run, 10 + round_, bootstrap)
        time.sleep(min(run.size["seconds"], 40) / 2)
    killer.finish()
    driver.stop(300)
    produced = re.findall(r"Producer closed: (\d+) records produced", driver.text())
    if not produced:
        raise RuntimeError(f"the driver did not end well:\n{driver.text()[-3000:]}")
    # The verifier compares up to the committed offsets: with the clients at the end, that is everything.
    run.tool("CaughtUp", bootstrap, "EosTest", "data", 90)
    run.tool("CaughtUp", bootstrap, "EosTest", "repartition", 30)
    for client in clients:
        client.stop(120)
        if "EOS-TEST-CLIENT-EXCEPTION" in client.text():
            print("  a client restarted its streams after an exception, as it is written to", flush=True)
    echoed = verify_eos(run, bootstrap)
    if echoed != int(produced[-1]):
        raise RuntimeError(f"{produced[-1]} records were acknowledged and {echoed} processed")
    print(f"  StreamsEosTest verify-complex: {echoed} input records, echo, min, sum, max and cnt exactly once", flush=True)
    for topic, fault in (("min", "duplicate"), ("cnt", "loss")):
        run.tool("Plant", bootstrap, topic, fault)
        try:
            verify_eos(run, bootstrap)
        except RuntimeError:
            print(f"  StreamsEosTest verify-complex finds the planted {fault}", flush=True)
        else:
            raise RuntimeError(f"the verifier passes in spite of a planted {fault} in {topic}")


def start_eos_client(run, number, bootstrap):
    properties = streams_properties(run, f"client-{number}", bootstrap)
    return run.java("org.apache.kafka.streams.tests.EosOneNode", properties, heap="384M")


def verify_eos(run, bootstrap):
    verifier = run.java("org.apache.kafka.streams.tests.StreamsEosTest", streams_properties(run, "verify", bootstrap), "verify-complex")
    verifier.await_end(240)
    text = verifier.text()
    if "ALL-RECORDS-DELIVERED" not in text or "FAILED" in text:
        raise RuntimeError(f"StreamsEosTest verify-complex:\n{text[-5000:]}")
    # It compares echo with data only as far as echo goes: a lost tail shows in the counts it prints.
    pairs = re.findall(r"^(\S+-\d+) with (\d+), data-\d+ with (\d+)", text, re.M)
    short = [pair for pair in pairs if pair[1] != pair[2]]
    if short or not pairs:
        raise RuntimeError(f"not as many records out as in: {short or text[-3000:]}")
    return sum(int(count) for topic, count, _ in pairs if topic.startswith("echo-"))


class Connect:
    """A distributed worker and its REST interface."""

    def __init__(self, run, bootstrap):
        self.run, self.port = run, free_port(run.random)
        self.properties = run.properties(
            "worker", bootstrap_servers=bootstrap, group_id="connect", exactly_once_source_support="enabled",
            key_converter="org.apache.kafka.connect.storage.StringConverter", value_converter="org.apache.kafka.connect.storage.StringConverter",
            offset_storage_topic="connect-offsets", config_storage_topic="connect-configs", status_storage_topic="connect-status",
            offset_storage_replication_factor=1, config_storage_replication_factor=1, status_storage_replication_factor=1,
            offset_storage_partitions=3, offset_flush_interval_ms=1000, consumer_isolation_level="read_committed",
            listeners=f"http://127.0.0.1:{self.port}", plugin_discovery="service_load",
            scheduled_rebalance_max_delay_ms=0, session_timeout_ms=8000, heartbeat_interval_ms=1000)
        self.worker = None

    def start(self):
        self.worker = self.run.java("org.apache.kafka.connect.cli.ConnectDistributed", self.properties, heap="384M")

    def call(self, method, path, body=None, seconds=120):
        deadline = time.monotonic() + seconds
        while True:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                             data=json.dumps(body).encode() if body else None, headers={"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.loads(answer.read() or "null")
            except (urllib.error.HTTPError, OSError) as fault:  # starting, rebalancing, or without its broker
                if not self.worker.alive() or time.monotonic() > deadline:
                    told = fault.read().decode() if isinstance(fault, urllib.error.HTTPError) else fault
                    raise RuntimeError(f"Connect does not take {method} {path}: {told}\n{self.worker.text()[-3000:]}") from None
                time.sleep(0.5)

    def connector(self, name, kind, file, **topics):
        self.call("PUT", f"/connectors/{name}/config",
                  {"connector.class": f"org.apache.kafka.connect.file.FileStream{kind}Connector", "tasks.max": "1", "file": str(file), **topics})


def connect(run):
    """Connect distributed: file → exactly-once source → topic → sink → file; worker and broker are killed."""
    bootstrap = run.start_broker()
    run.tool("Topics", bootstrap, "lines:1")
    source, during, after = (run.folder / name for name in ("source.txt", "during.txt", "after.txt"))
    source.write_text("")
    cluster = Connect(run, bootstrap)
    cluster.start()
    cluster.connector("source", "Source", source, topic="lines", **{"exactly.once.support": "required"})
    cluster.connector("during", "Sink", during, topics="lines")
    killer = run.killer()
    seconds, per_second = run.size["seconds"], 100
    count, worker_kills = seconds * per_second, max(1, seconds // 40)
    kill_at = {round((at + 0.5) * seconds / worker_kills) for at in range(worker_kills)}
    with open(source, "a") as lines:
        for second in range(seconds):
            for at in range(second * per_second, (second + 1) * per_second):
                lines.write(f"line-{at:08}\n")
            lines.flush()
            if second in kill_at:
                run.kill_client(cluster.worker)
                cluster.start()
            time.sleep(1)
    killer.finish()
    run.tool("ExactlyOnce", bootstrap, "lines", "line-%08d", count, 120, seconds=200)
    # A sink that meets no kill writes each line once; one that does may repeat lines (its offsets follow its file), and loses none.
    cluster.connector("after", "Sink", after, topics="lines")
    want = [f"line-{at:08}" for at in range(count)]
    await_lines(after, want[-1], 60)
    await_lines(during, want[-1], 60)
    repeated = check_files(after.read_text(), during.read_text(), want)
    print(f"  sink's file: {count} lines, byte for byte the source's; the sink under kills: none lost, {repeated} repeated", flush=True)
    whole = after.read_text()
    for spoiled in (whole.replace(want[7] + "\n", "", 1), whole + want[7] + "\n"):
        if check_files(spoiled, spoiled, want, quiet=True) is not None:
            raise RuntimeError("the comparison of files does not see a planted fault")
    print("  a planted loss and duplicate in the sink's file are found", flush=True)


def await_lines(file, last, seconds):
    deadline = time.monotonic() + seconds
    while not (file.exists() and last in file.read_text()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{file.name} never got its last line {last}; it ends with {file.read_text()[-60:] if file.exists() else 'nothing'}")
        time.sleep(0.5)
    time.sleep(2)  # what would come twice comes late


def check_files(after, during, want, quiet=False):
    """Lines that the sink under kills repeated; raises (or answers None) unless all else is as it must be."""
    # A kill can tear a line's end off: the lines' own shape tells them apart.
    seen = re.findall(r"line-\d{8}", during)
    faults = []
    if after != "".join(line + "\n" for line in want):
        faults.append(f"the sink's file has {after.count(chr(10))} lines and is not the source's {len(want)}")
    if list(dict.fromkeys(seen)) != want:
        faults.append(f"the sink under kills lost or reordered lines: {len(set(seen))} of {len(want)}")
    if faults and quiet:
        return None
    if faults:
        raise RuntimeError("; ".join(faults))
    return len(seen) - len(want)


def flink(run):
    """Flink's exactly-once sink, restored from its last checkpoint after kill -9, over kills of the broker."""
    bootstrap = run.start_broker()
    run.tool("Topics", bootstrap, "from:2", "to:2")
    checkpoints = run.folder / "checkpoints"
    seconds = run.size["seconds"]
    count = seconds * 200
    # The pooling strategy asks the broker for open transactions; the other one aborts what it may have left by name.
    naming = "incrementing" if run.seed % 2 == 0 else "pooling"
    job = start_flink(run, bootstrap, checkpoints, naming)
    feed = run.java("Feed", bootstrap, "from", count, 200)
    await_checkpoint(checkpoints, job, 120)
    killer = run.killer()
    for _ in range(max(1, seconds // 30)):
        time.sleep(min(seconds, 30) / 2)
        run.kill_client(job)
        job = start_flink(run, bootstrap, checkpoints, naming)
        time.sleep(min(seconds, 30) / 2)
    feed.await_end(seconds + 300)
    killer.finish()
    run.tool("ExactlyOnce", bootstrap, "to", "mapped-item-%08d", count, 180, seconds=240)
    print(f"  {naming} transactional ids; restored {run.client_kills} times from a checkpoint", flush=True)


def finished_checkpoints(folder):
    return sorted(folder.glob("*/chk-*/_metadata"), key=lambda file: file.stat().st_mtime)


def await_checkpoint(folder, job, seconds):
    deadline = time.monotonic() + seconds
    while not finished_checkpoints(folder):
        if not job.alive() or time.monotonic() > deadline:
            raise RuntimeError(f"Flink made no checkpoint within {seconds} s:\n{job.text()[-4000:]}")
        time.sleep(0.5)


def start_flink(run, bootstrap, checkpoints, naming):
    done = finished_checkpoints(checkpoints) if checkpoints.exists() else []
    restored = [done[-1].parent] if done else []
    return run.java("FlinkJob", bootstrap, "from", "to", checkpoints, naming, *restored, world="flink", heap="512M", opens=FLINK_OPENS)


def ksql(run):
    """The calls of docs/ksqldb.md, answers compared with those of a real Kafka 4.3."""
    bootstrap = run.start_broker()
    replay = run.java("Ksqldb", bootstrap)
    replay.await_end(120)
    ksqldb.compare(replay.text(), record=run.given.record and run.given.target == "kafka")


ALL = {"smoke": smoke, "eos": eos, "connect": connect, "flink": flink, "ksqldb": ksql}
