"""What is measured on each broker: the same list, in the same order, for every one of them.

A session is one broker from its first start to its deletion. Owns the order of loads and how long
each lasts; knows nothing of which broker it drives.
"""

import signal
import time

import host

FULL = {
    "sizes": (100, 1000), "acks": ("1", "all"), "partitions": (1, 16, 100), "producers": (1, 16),
    "clients": ("raw", "rdkafka"), "seconds": 6, "warm_s": 20, "consume_mb": 1500, "e2e_s": 20,
    "tools_mb": 500, "past_cache_mb": 8000,
}
QUICK = {
    "sizes": (100, 1000), "acks": ("all",), "partitions": (1, 16), "producers": (1, 16),
    "clients": ("raw",), "seconds": 4, "warm_s": 8, "consume_mb": 400, "e2e_s": 8,
    "tools_mb": 0, "past_cache_mb": 0,
}
IDLE_S = 3
# A steady, moderate load: single records, as a service emits them, and batches, as a collector does.
E2E = {
    "e2e single records": {"rate": "500", "size": 1000, "partitions": 1},
    "e2e 5 MB/s in batches": {"rate": "5MB", "size": 1000, "batch_bytes": 16384, "partitions": 16},
}


class Session:
    """Drives one broker through the scenarios and keeps what it measured, by scenario."""

    def __init__(self, broker, bench, tools, size, say):
        self.broker, self.bench, self.tools, self.size, self.say = broker, bench, tools, size, say
        self.results = {}
        self.topics = 0

    def keep(self, scenario, figures):
        self.results[scenario] = figures
        rate = figures.get("mb_per_s")
        told = f"{rate:.1f} MB/s" if rate is not None else ", ".join(
            f"{name} {value:.3g}" for name, value in figures.items() if isinstance(value, float))
        marks = "".join(f" [{mark}]" for mark in ("void", "noisy") if figures.get(mark))
        error = f" ({figures['error']})" if "error" in figures else ""
        self.say(f"  {self.broker.name:12} {scenario}: {told}{marks}{error}")

    def topic(self):
        self.topics += 1
        return f"bench-{self.topics}"

    def run(self):
        """All of it."""
        self.start_empty()
        # Its topic stays: what deleting gigabytes does to the disk for a while is no part of what comes next.
        self.bench.run(self.broker, "produce", topic=self.topic(), partitions=16, producers=4,
                       duration=self.size["warm_s"])
        self.e2e()
        self.produce()
        # How Kafka flushes changes nothing of how it reads; filling topics so slowly only takes time.
        reads = not self.broker.settings
        if reads:
            self.consume()
        if self.size["tools_mb"]:
            self.kafka_tools()
        self.keep("memory after load", host.memory(self.broker.pid))
        if self.size["past_cache_mb"] and reads:
            self.past_cache()
        self.restarts()
        return self.results

    def start_empty(self):
        # The first start also formats the directory, which users do once; the second is the figure.
        self.broker.start()
        time.sleep(1)
        self.broker.end(signal.SIGTERM)
        self.keep("start, empty", {"seconds": self.broker.start()})
        time.sleep(IDLE_S)
        before = host.cpu_seconds(self.broker.pid)
        time.sleep(IDLE_S)
        idle = (host.cpu_seconds(self.broker.pid) - before) / IDLE_S
        self.keep("idle", host.memory(self.broker.pid) | {"core_share": idle})

    def produce(self):
        """Closed loop: as fast as the broker acknowledges, five requests in flight a connection."""
        size = self.size
        cases = [(client, bytes_, acks, partitions, producers)
                 for client in size["clients"] for bytes_ in size["sizes"] for acks in size["acks"]
                 for partitions in size["partitions"] for producers in size["producers"]
                 # librdkafka costs so much more that its matrix is cut to the middle.
                 if client == "raw" or (partitions == 16 and acks == "all")]
        for client, bytes_, acks, partitions, producers in cases:
            name = f"produce {client} {bytes_} B acks={acks} {partitions} part. {producers} prod."
            self.keep(name, self.bench.run(
                self.broker, "produce", topic=self.topic(), client=client, size=bytes_, acks=acks,
                partitions=partitions, producers=producers, duration=size["seconds"], warmup=1,
                verify=client == "raw", cleanup=True))

    def consume(self):
        """From the page cache, or whatever cache the broker has."""
        size = self.size
        for bytes_ in size["sizes"]:
            for partitions in size["partitions"]:
                topic = self.topic()
                messages = int(size["consume_mb"] * 1e6 / bytes_)
                fill = dict(topic=topic, partitions=partitions, size=bytes_)
                # The prefill is not measured: its own run, then the consumers over what is there.
                self.bench.run(self.broker, "consume", prefill=messages, messages=1, **fill)
                for client in size["clients"]:
                    for consumers in sorted({1, min(4, partitions)}):
                        name = f"consume {client} {bytes_} B {partitions} part. {consumers} cons."
                        self.keep(name, self.bench.run(
                            self.broker, "consume", client=client, consumers=consumers,
                            duration=size["seconds"], warmup=1, **fill))
                self.bench.run(self.broker, "consume", messages=1, cleanup=True, **fill)

    def e2e(self):
        for name, options in E2E.items():
            for client in self.size["clients"]:
                self.keep(f"{name} {client}", self.bench.run(
                    self.broker, "e2e", topic=self.topic(), client=client, cleanup=True,
                    duration=self.size["e2e_s"], warmup=3, **options))

    def kafka_tools(self):
        """Kafka's own perf tools; at full speed they are mostly limited by their own core."""
        for bytes_ in self.size["sizes"]:
            topic = self.topic()
            messages = int(self.size["tools_mb"] * 1e6 / bytes_)
            self.bench.run(self.broker, "produce", topic=topic, partitions=16, messages=16)
            for acks in self.size["acks"]:
                self.keep(f"kafka-producer-perf-test {bytes_} B acks={acks}",
                          self.tools.produce(self.broker, topic, messages, bytes_, acks))
            self.keep(f"kafka-consumer-perf-test {bytes_} B",
                      self.tools.consume(self.broker, topic, messages, bytes_))
            self.bench.run(self.broker, "consume", topic=topic, partitions=16, messages=1, cleanup=True)

    def past_cache(self):
        """A topic read once after the page cache was emptied: the disk, not memory, serves it."""
        messages = int(self.size["past_cache_mb"] * 1e3)
        topic = dict(topic=self.topic(), partitions=4, size=1000)
        self.keep("produce the topic past the cache", self.bench.run(
            self.broker, "produce", messages=messages, producers=4, **topic))
        time.sleep(5)
        if not host.drop_page_cache():
            self.keep("consume past the page cache", {
                "error": "emptying the page cache needs root", "void": True, "noisy": False})
        else:
            self.keep("consume past the page cache", self.bench.run(
                self.broker, "consume", once=True, consumers=1, **topic))
        self.bench.run(self.broker, "consume", messages=1, cleanup=True, **topic)

    def restarts(self):
        """With data: 1 GB in 100 partitions, after a clean stop and after kill -9."""
        megabytes = 1000 if self.size["past_cache_mb"] else 200
        self.bench.run(self.broker, "produce", topic=self.topic(), partitions=100, producers=4,
                       messages=megabytes * 1000)
        stopped = self.broker.end(signal.SIGTERM)
        self.keep("start, after a clean stop", {"seconds": self.broker.start(), "stop_seconds": stopped})
        self.bench.run(self.broker, "produce", topic=self.topic(), partitions=100, producers=4, messages=100_000)
        self.broker.end(signal.SIGKILL)
        self.keep("start, after kill -9", {"seconds": self.broker.start()})
