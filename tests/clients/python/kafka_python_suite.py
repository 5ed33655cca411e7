"""kafka-python against the shared scenarios."""

import contextlib
import queue
import threading
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.structs import OffsetAndMetadata

import scenarios
from scenarios import WAIT_SECONDS, Record


class KafkaPythonMember(scenarios.Member):
    """Polled by a thread of its own with a long timeout: kafka-python 3.0 forgets a join whose poll times out
    between the answers to JoinGroup and SyncGroup, and then stays without heartbeats until the session ends."""

    POLL_MS = 1000

    def __init__(self, bootstrap, group, topic):
        self.consumer = KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, session_timeout_ms=10_000, heartbeat_interval_ms=500)
        self.received = queue.Queue()
        self.asked = queue.Queue()  # the consumer is not thread-safe: what it shall do besides, one at a time
        self.stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            while not self.asked.empty():
                call, answer = self.asked.get()
                try:
                    answer.put((call(), None))
                except Exception as error:  # told to the test's thread
                    answer.put((None, error))
            for partition, records in self.consumer.poll(timeout_ms=self.POLL_MS, max_records=1000).items():
                for record in records:
                    self.received.put((partition.partition, record.offset, record.value))
        self.consumer.close(autocommit=False)

    def poll(self, seconds):
        out = []
        with contextlib.suppress(queue.Empty):
            out.append(self.received.get(timeout=seconds))
            while True:
                out.append(self.received.get_nowait())
        return out

    def assignment(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self):
        answer = queue.Queue()
        self.asked.put((self.consumer.commit, answer))
        _, error = answer.get(timeout=WAIT_SECONDS)
        if error:
            raise error

    def close(self):
        self.stopped = True
        self.thread.join(WAIT_SECONDS)
        scenarios.check(not self.thread.is_alive(), "the consumer did not close")


class KafkaPythonTransactions(scenarios.Transactions):
    def __init__(self, bootstrap, transactional_id):
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id,
                                      transaction_timeout_ms=30_000)
        self.producer.init_transactions()

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, partition, values):
        sent = [self.producer.send(topic, value, partition=partition) for value in values]
        self.producer.flush(WAIT_SECONDS)
        for future in sent:
            future.get(WAIT_SECONDS)

    def offset(self, group, topic, partition, offset):
        self.producer.send_offsets_to_transaction({TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)}, group)

    def commit(self):
        self.producer.commit_transaction()

    def abort(self):
        self.producer.abort_transaction()

    def close(self):
        self.producer.close()


class KafkaPythonDriver(scenarios.Driver):
    name = "kafka-python"
    too_large_error = "MessageSizeTooLarge"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False,
                                      auto_offset_reset="none", check_crcs=True)

    def create_topic(self, topic, partitions):
        self.admin.create_topics([NewTopic(topic, partitions, 1)])

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def produce(self, topic, partition, records, codec="none", idempotent=False):
        producer = KafkaProducer(
            bootstrap_servers=self.bootstrap, compression_type=None if codec == "none" else codec, linger_ms=20,
            acks="all", enable_idempotence=idempotent, max_request_size=4_000_000)
        try:
            sent = [producer.send(topic, r.value, r.key, r.headers, partition, r.timestamp) for r in records]
            producer.flush(WAIT_SECONDS)
            return [future.get(WAIT_SECONDS).offset for future in sent]
        finally:
            producer.close()

    def read(self, topic, partition, offset, count):
        target = TopicPartition(topic, partition)
        self.consumer.assign([target])
        self.consumer.seek(target, offset)
        out, deadline = [], time.monotonic() + WAIT_SECONDS
        while len(out) < count and time.monotonic() < deadline:
            for r in self.consumer.poll(timeout_ms=1000, max_records=count - len(out)).get(target, []):
                out.append(Record(r.key, r.value, [tuple(h) for h in r.headers], r.timestamp, r.offset))
        return out

    def offset_for_time(self, topic, partition, timestamp_ms):
        target = TopicPartition(topic, partition)
        found = self.consumer.offsets_for_times({target: timestamp_ms})[target]
        return found.offset if found else None

    def end_offset(self, topic, partition):
        target = TopicPartition(topic, partition)
        return self.consumer.end_offsets([target])[target]

    def committed(self, group, topic, partitions):
        found = self.admin.list_group_offsets({group: [TopicPartition(topic, p) for p in partitions]})[group]
        return {p.partition: o.offset for p, o in found.items()}

    def transactions(self, transactional_id):
        return KafkaPythonTransactions(self.bootstrap, transactional_id)

    def values(self, topic, partition, isolation, last):
        consumer = KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False,
                                 auto_offset_reset="none", isolation_level=isolation)
        try:
            target = TopicPartition(topic, partition)
            consumer.assign([target])
            consumer.seek(target, 0)
            out, deadline = [], time.monotonic() + WAIT_SECONDS
            while out[-1:] != [last] and time.monotonic() < deadline:
                out += [r.value for r in consumer.poll(timeout_ms=200).get(target, [])]
            return out
        finally:
            consumer.close()

    def member(self, group, topic):
        return KafkaPythonMember(self.bootstrap, group, topic)

    def close(self):
        self.consumer.close()
        self.admin.close()


if __name__ == "__main__":
    scenarios.main(KafkaPythonDriver)
