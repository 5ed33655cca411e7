"""The scenarios every Python client runs, written once against a small driver.

A suite file wraps its library in `Driver` and calls `main`. What is read is always compared byte
for byte with what was sent: key, value, headers in order, timestamp, offset. Every wait is bounded,
and a watchdog ends the process with a stack dump should a library hang.
"""

import argparse
import collections
import contextlib
import faulthandler
import os
import random
import sys
import time
import uuid

Record = collections.namedtuple("Record", "key value headers timestamp offset")

WAIT_SECONDS = 20
WATCHDOG_SECONDS = {False: 100, True: 900}
LARGE_VALUE_BYTES = 900_000  # under the default max.message.bytes of 1,048,588
TOO_LARGE_VALUE_BYTES = 1_200_000


class Member:
    """One consumer of a group. `poll` returns [(partition, offset, value)]."""

    def poll(self, seconds):
        raise NotImplementedError

    def assignment(self):
        raise NotImplementedError

    def commit(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError


class Transactions:
    """A producer with a transactional id that it took over when it was made. Each call waits for its effect."""

    def begin(self):
        raise NotImplementedError

    def send(self, topic, partition, values):
        """Sends, and waits until the broker has them."""
        raise NotImplementedError

    def offset(self, group, topic, partition, offset):
        """Puts a group's offset into the transaction."""
        raise NotImplementedError

    def commit(self):
        raise NotImplementedError

    def abort(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError


class Driver:
    """What a suite file supplies. All calls block and raise on failure."""

    name = "?"
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    too_large_error = "?"  # text found in the exception for MESSAGE_TOO_LARGE

    def create_topic(self, topic, partitions):
        raise NotImplementedError

    def delete_topic(self, topic):
        raise NotImplementedError

    def produce(self, topic, partition, records, codec="none", idempotent=False):
        """Sends and waits for every acknowledgement; returns the offsets in order."""
        raise NotImplementedError

    def read(self, topic, partition, offset, count):
        """Exactly `count` records from `offset` on, as Record."""
        raise NotImplementedError

    def offset_for_time(self, topic, partition, timestamp_ms):
        """The offset found, or None."""
        raise NotImplementedError

    def end_offset(self, topic, partition):
        raise NotImplementedError

    def committed(self, group, topic, partitions):
        """{partition: offset} as the coordinator has it."""
        raise NotImplementedError

    def member(self, group, topic):
        raise NotImplementedError

    def transactions(self, transactional_id):
        raise NotImplementedError

    def values(self, topic, partition, isolation, last):
        """The values from the beginning to `last`, which is there, as read_committed or read_uncommitted sees them."""
        raise NotImplementedError

    def close(self):
        pass


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def same(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r:.400}, want {want!r:.400}")


def awkward_records(rng, count, base_ms):
    """Records with every shape that clients and brokers get wrong now and then."""
    shapes = [
        lambda i: (b"key-%d" % i, b"value-%d" % i, []),
        lambda i: (None, b"no key %d" % i, []),
        lambda i: (b"tombstone-%d" % i, None, []),
        lambda i: (b"", b"", []),
        lambda i: (b"\x00\xff" * 8, rng.randbytes(rng.randrange(1, 2000)), []),
        lambda i: (b"h-%d" % i, b"headers", [("a", b"1"), ("a", b"2"), ("b", b""), ("a", b"1")]),
        lambda i: ("ключ".encode(), "значение €".encode(), [("µ-header", "œ".encode())]),
        lambda i: (b"compressible", b"x" * 3000, [("n", b"%d" % i)]),
    ]
    return [Record(*shapes[i % len(shapes)](i), base_ms + i, None) for i in range(count)]


def same_records(got, sent, offsets, what):
    same(len(got), len(sent), f"{what}: number of records")
    for index, (have, want, offset) in enumerate(zip(got, sent, offsets)):
        same(tuple(have), tuple(want._replace(offset=offset)), f"{what}: record {index}")


class Suite:
    def __init__(self, driver, long):
        self.driver = driver
        self.scale = 20 if long else 1
        self.rng = random.Random(20)
        self.topics = []

    def topic(self, label, partitions=1):
        name = f"py-{self.driver.name}-{label}-{uuid.uuid4().hex[:8]}"
        self.driver.create_topic(name, partitions)
        self.topics.append(name)
        return name

    def each_codec_is_read_back_byte_for_byte(self):
        base_ms = int(time.time() * 1000) - 3_600_000
        topic = self.topic("codec")
        sent, offsets = [], []
        for codec in self.driver.codecs:
            records = awkward_records(self.rng, 200 * self.scale, base_ms)
            offsets += self.driver.produce(topic, 0, records, codec=codec)
            sent += records
        same(offsets, list(range(len(sent))), "offsets acknowledged")
        same_records(self.driver.read(topic, 0, 0, len(sent)), sent, offsets, "from the beginning")
        # From the middle of a batch: records before the offset must not appear.
        middle = len(sent) // 2 + 3
        same_records(self.driver.read(topic, 0, middle, 5), sent[middle : middle + 5],
                     offsets[middle : middle + 5], "from the middle of a batch")
        same(self.driver.end_offset(topic, 0), len(sent), "end offset")

    def idempotent_producer_writes_each_record_once_in_order(self):
        topic = self.topic("idem", 3)
        base_ms = int(time.time() * 1000)
        for partition in range(3):
            sent = awkward_records(self.rng, 500 * self.scale, base_ms)
            codec = self.driver.codecs[partition % len(self.driver.codecs)]
            offsets = self.driver.produce(topic, partition, sent, codec=codec, idempotent=True)
            same(offsets, list(range(len(sent))), "offsets acknowledged")
            same_records(self.driver.read(topic, partition, 0, len(sent)), sent, offsets, f"partition {partition}")
            same(self.driver.end_offset(topic, partition), len(sent), "end offset")

    def large_records_pass_and_too_large_ones_are_refused(self):
        topic = self.topic("large")
        for codec in self.driver.codecs:
            value = self.rng.randbytes(LARGE_VALUE_BYTES)
            sent = [Record(b"big", value, [("size", b"%d" % len(value))], int(time.time() * 1000), None)]
            offsets = self.driver.produce(topic, 0, sent, codec=codec)
            same_records(self.driver.read(topic, 0, offsets[0], 1), sent, offsets, f"large {codec}")
        end = self.driver.end_offset(topic, 0)
        try:
            value = self.rng.randbytes(TOO_LARGE_VALUE_BYTES)
            self.driver.produce(topic, 0, [Record(None, value, [], int(time.time() * 1000), None)])
        except Exception as error:  # each library has its own type
            text = f"{type(error).__name__} {error!r}"
            check(self.driver.too_large_error in text, f"unexpected error for a too large record: {text:.300}")
        else:
            raise AssertionError("a record above max.message.bytes was accepted")
        same(self.driver.end_offset(topic, 0), end, "end offset after the refusal")

    def a_time_finds_the_first_record_at_or_after_it(self):
        topic = self.topic("time")
        base_ms = int(time.time() * 1000) - 7_200_000
        # Ten records a batch, ten seconds apart each; compressed, so the broker must look inside.
        sent = [Record(b"k", b"v%d" % i, [], base_ms + i * 10_000, None) for i in range(100)]
        for start in range(0, len(sent), 10):
            codec = self.driver.codecs[(start // 10) % len(self.driver.codecs)]
            self.driver.produce(topic, 0, sent[start : start + 10], codec=codec)
        for ask, want in [(0, 0), (10_000, 1), (10_001, 2), (554_999, 56), (990_000, 99), (990_001, None)]:
            same(self.driver.offset_for_time(topic, 0, base_ms + ask), want, f"offset for base + {ask} ms")
        same(self.driver.offset_for_time(topic, 0, 0), 0, "offset for the epoch")
        offset = self.driver.offset_for_time(topic, 0, base_ms + 454_500)
        same_records(self.driver.read(topic, 0, offset, 3), sent[46:49], [46, 47, 48], "after seeking")

    def a_group_shares_rebalances_and_resumes(self):
        topic, group = self.topic("group", 4), f"py-{self.driver.name}-{uuid.uuid4().hex[:8]}"
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(contextlib.closing(self.driver.member(group, topic)))
            second = stack.enter_context(contextlib.closing(self.driver.member(group, topic)))
            self.settle([first, second])
            sent = self.fill(topic, 100 * self.scale, "a")
            self.drain([first, second], sent)
            first.commit()
            second.commit()
            second.close()
            self.settle([first])
            sent = self.fill(topic, 25, "b")
            self.drain([first], sent)
            first.commit()
            ends = {p: self.driver.end_offset(topic, p) for p in range(4)}
        same(self.driver.committed(group, topic, range(4)), ends, "committed offsets")
        sent = self.fill(topic, 10, "c")
        with contextlib.closing(self.driver.member(group, topic)) as third:
            self.drain([third], sent)  # any record of before would be unexpected
            third.commit()

    def transactions_show_what_was_committed_in_order_and_no_other(self):
        topic, group = self.topic("txn", 3), f"py-{self.driver.name}-{uuid.uuid4().hex[:8]}"
        kept, everything, offset = {p: [] for p in range(3)}, {p: [] for p in range(3)}, None
        with contextlib.closing(self.driver.transactions(f"txn-{topic}")) as producer:
            for turn in range(12 * self.scale):
                commit = self.rng.randrange(3) > 0
                producer.begin()
                for partition in self.rng.sample(range(3), self.rng.randrange(1, 4)):
                    values = [b"%d.%d.%d" % (turn, partition, i) for i in range(self.rng.randrange(1, 30))]
                    producer.send(topic, partition, values)
                    everything[partition] += values
                    kept[partition] += values if commit else []
                producer.offset(group, topic, 0, turn)
                if commit:
                    producer.commit()
                    offset = turn
                else:
                    producer.abort()
        for partition in range(3):
            # A last record that no transaction holds says where to stop.
            self.driver.produce(topic, partition, [Record(None, b"last", [], int(time.time() * 1000), None)])
            for isolation, want in (("read_committed", kept), ("read_uncommitted", everything)):
                got = self.driver.values(topic, partition, isolation, b"last")
                same(got, want[partition] + [b"last"], f"partition {partition}, {isolation}")
        same(self.driver.committed(group, topic, [0]), {0: offset}, "the offset of the last commit")

    def a_second_producer_of_an_id_fences_the_first(self):
        topic = self.topic("fence")
        first = self.driver.transactions(f"fence-{topic}")
        first.begin()
        first.send(topic, 0, [b"of the zombie"])
        with contextlib.closing(self.driver.transactions(f"fence-{topic}")) as second:
            second.begin()
            second.send(topic, 0, [b"of the second"])
            try:
                first.commit()
            except Exception as error:  # each library has its own type
                text = f"{type(error).__name__} {error!r}".upper().replace("_", "")
                check("FENCED" in text or "PRODUCEREPOCH" in text, f"unexpected error for a fenced producer: {text:.300}")
            else:
                raise AssertionError("a fenced producer committed")
            second.commit()
        with contextlib.suppress(Exception):
            first.close()
        self.driver.produce(topic, 0, [Record(None, b"last", [], int(time.time() * 1000), None)])
        same(self.driver.values(topic, 0, "read_committed", b"last"), [b"of the second", b"last"], "read_committed")

    def fill(self, topic, count, label):
        sent = set()
        for partition in range(4):
            values = [b"%s-%d-%d" % (label.encode(), partition, i) for i in range(count)]
            now = int(time.time() * 1000)
            self.driver.produce(topic, partition, [Record(None, v, [], now, None) for v in values])
            sent |= {(partition, v) for v in values}
        return sent

    def settle(self, members):
        """Until the members own all four partitions between them, evenly, none twice."""
        share, deadline = 4 // len(members), time.monotonic() + WAIT_SECONDS
        while True:
            owned = [sorted(m.assignment()) for m in members]
            if [len(o) for o in owned] == [share] * len(members) and sorted(sum(owned, [])) == [0, 1, 2, 3]:
                return
            check(time.monotonic() < deadline, f"assignment did not settle: {owned}")
            for member in members:
                same(member.poll(0.2), [], "records before any were sent")

    def drain(self, members, expected):
        """Every expected record once, in order within its partition, nothing else."""
        seen, last, deadline = set(), {}, time.monotonic() + WAIT_SECONDS
        while seen != expected:
            check(time.monotonic() < deadline, f"{len(expected - seen)} of {len(expected)} records never came")
            for member in members:
                for partition, offset, value in member.poll(0.2):
                    check((partition, value) in expected, f"unexpected record {value!r} of partition {partition}")
                    check((partition, value) not in seen, f"{value!r} of partition {partition} came twice")
                    check(offset > last.get(partition, -1), f"offset {offset} after {last.get(partition)}")
                    seen.add((partition, value))
                    last[partition] = offset

    SCENARIOS = [
        each_codec_is_read_back_byte_for_byte,
        idempotent_producer_writes_each_record_once_in_order,
        large_records_pass_and_too_large_ones_are_refused,
        a_time_finds_the_first_record_at_or_after_it,
        a_group_shares_rebalances_and_resumes,
        transactions_show_what_was_committed_in_order_and_no_other,
        a_second_producer_of_an_id_fences_the_first,
    ]


def main(make_driver):
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--long", action="store_true", help="twenty times the records")
    parser.add_argument("--only", default="", metavar="TEXT", help="only scenarios whose name contains it")
    options = parser.parse_args()
    # A library stuck in its own loop must not hang the run: dump every stack and exit 1.
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS[options.long], exit=True)
    driver = make_driver(options.bootstrap)
    suite, failed = Suite(driver, options.long), 0
    for scenario in (s for s in Suite.SCENARIOS if options.only in s.__name__):
        started = time.monotonic()
        try:
            scenario(suite)
            verdict, detail = "ok", ""
        except Exception as error:  # one scenario's failure must not hide the next one's
            verdict, detail = "FAILED", f": {type(error).__name__}: {error}"
            failed += 1
        print(f"  {driver.name}: {scenario.__name__} {verdict} ({time.monotonic() - started:.1f} s){detail}", flush=True)
    for topic in suite.topics:
        with contextlib.suppress(Exception):
            driver.delete_topic(topic)
    with contextlib.suppress(Exception):
        driver.close()
    # os._exit: some clients leave threads behind that would delay a plain exit.
    sys.stdout.flush()
    os._exit(1 if failed else 0)
