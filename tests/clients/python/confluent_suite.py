"""confluent-kafka (librdkafka) against the shared scenarios."""

import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import scenarios
from scenarios import WAIT_SECONDS, Record


class ConfluentMember(scenarios.Member):
    def __init__(self, bootstrap, group, topic):
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500,
        })
        self.consumer.subscribe([topic])
        self.closed = False

    def poll(self, seconds):
        out = []
        for message in self.consumer.consume(num_messages=1000, timeout=seconds):
            if message.error():
                raise KafkaException(message.error())
            out.append((message.partition(), message.offset(), message.value()))
        return out

    def assignment(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self):
        self.consumer.commit(asynchronous=False)

    def close(self):
        if not self.closed:
            self.closed = True
            self.consumer.close()


class ConfluentTransactions(scenarios.Transactions):
    def __init__(self, bootstrap, transactional_id):
        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "linger.ms": 5,
                                  "transaction.timeout.ms": 30_000})
        self.producer.init_transactions(WAIT_SECONDS)
        # Offsets go into a transaction in a group's name; its metadata comes from a consumer that never joins.
        self.groups = {}
        self.bootstrap = bootstrap

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, partition, values):
        for value in values:
            self.producer.produce(topic, value, partition=partition)
        scenarios.same(self.producer.flush(WAIT_SECONDS), 0, "records left in the producer's queue")

    def offset(self, group, topic, partition, offset):
        if group not in self.groups:
            self.groups[group] = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        metadata = self.groups[group].consumer_group_metadata()
        self.producer.send_offsets_to_transaction([TopicPartition(topic, partition, offset)], metadata, WAIT_SECONDS)

    def commit(self):
        self.producer.commit_transaction(WAIT_SECONDS)

    def abort(self):
        self.producer.abort_transaction(WAIT_SECONDS)

    def close(self):
        for consumer in self.groups.values():
            consumer.close()


class ConfluentDriver(scenarios.Driver):
    name = "confluent-kafka"
    too_large_error = "MSG_SIZE_TOO_LARGE"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, topic, partitions):
        for future in self.admin.create_topics([NewTopic(topic, partitions, 1)], request_timeout=WAIT_SECONDS).values():
            future.result()

    def delete_topic(self, topic):
        for future in self.admin.delete_topics([topic], request_timeout=WAIT_SECONDS).values():
            future.result()

    def produce(self, topic, partition, records, codec="none", idempotent=False):
        producer = Producer({
            "bootstrap.servers": self.bootstrap, "compression.type": codec, "enable.idempotence": idempotent,
            "linger.ms": 20, "message.max.bytes": 4_000_000, "message.timeout.ms": WAIT_SECONDS * 1000, "acks": "all",
        })
        offsets, errors = {}, []

        def delivered(index):
            def report(error, message):
                if error:
                    errors.append(error)
                else:
                    offsets[index] = message.offset()
            return report

        for index, record in enumerate(records):
            producer.produce(topic, record.value, record.key, partition, on_delivery=delivered(index),
                             timestamp=record.timestamp, headers=record.headers)
        left = producer.flush(WAIT_SECONDS)
        if errors:
            raise KafkaException(errors[0])
        scenarios.same(left, 0, "records left in the producer's queue")
        return [offsets[index] for index in range(len(records))]

    def reader(self):
        return Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False,
            "auto.offset.reset": "error", "check.crcs": True,
        })

    def read(self, topic, partition, offset, count):
        consumer = self.reader()
        try:
            consumer.assign([TopicPartition(topic, partition, offset)])
            out, deadline = [], time.monotonic() + WAIT_SECONDS
            while len(out) < count and time.monotonic() < deadline:
                for message in consumer.consume(num_messages=count - len(out), timeout=1):
                    if message.error():
                        raise KafkaException(message.error())
                    out.append(Record(message.key(), message.value(), message.headers() or [],
                                      message.timestamp()[1], message.offset()))
            return out
        finally:
            consumer.close()

    def offset_for_time(self, topic, partition, timestamp_ms):
        consumer = self.reader()
        try:
            found = consumer.offsets_for_times([TopicPartition(topic, partition, timestamp_ms)], timeout=WAIT_SECONDS)[0]
            if found.error:
                raise KafkaException(found.error)
            return found.offset if found.offset >= 0 else None
        finally:
            consumer.close()

    def end_offset(self, topic, partition):
        consumer = self.reader()
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WAIT_SECONDS)[1]
        finally:
            consumer.close()

    def committed(self, group, topic, partitions):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        try:
            asked = [TopicPartition(topic, p) for p in partitions]
            return {p.partition: p.offset for p in consumer.committed(asked, timeout=WAIT_SECONDS)}
        finally:
            consumer.close()

    def transactions(self, transactional_id):
        return ConfluentTransactions(self.bootstrap, transactional_id)

    def values(self, topic, partition, isolation, last):
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                             "auto.offset.reset": "error", "check.crcs": True, "isolation.level": isolation})
        try:
            consumer.assign([TopicPartition(topic, partition, 0)])
            out, deadline = [], time.monotonic() + WAIT_SECONDS
            while out[-1:] != [last] and time.monotonic() < deadline:
                for message in consumer.consume(num_messages=1000, timeout=0.1):
                    if message.error():
                        raise KafkaException(message.error())
                    out.append(message.value())
            return out
        finally:
            consumer.close()

    def member(self, group, topic):
        return ConfluentMember(self.bootstrap, group, topic)


if __name__ == "__main__":
    scenarios.main(ConfluentDriver)
