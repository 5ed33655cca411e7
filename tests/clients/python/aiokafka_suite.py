"""aiokafka against the shared scenarios; its event loop runs on a thread of its own."""

import asyncio
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import scenarios
from scenarios import WAIT_SECONDS, Record

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def wait(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(2 * WAIT_SECONDS)


async def started(make):
    client = make()
    await client.start()
    return client


class AioMember(scenarios.Member):
    def __init__(self, bootstrap, group, topic):
        async def make():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                enable_auto_commit=False, session_timeout_ms=10_000, heartbeat_interval_ms=500)
            consumer.subscribe([topic], listener=ConsumerRebalanceListenerNoop())
            await consumer.start()
            return consumer

        self.consumer = wait(make())
        self.closed = False

    def poll(self, seconds):
        batches = wait(self.consumer.getmany(timeout_ms=int(seconds * 1000), max_records=1000))
        return [(p.partition, r.offset, r.value) for p, records in batches.items() for r in records]

    def assignment(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self):
        wait(self.consumer.commit())

    def close(self):
        if not self.closed:
            self.closed = True
            wait(self.consumer.stop())


class ConsumerRebalanceListenerNoop(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        pass


class AioTransactions(scenarios.Transactions):
    def __init__(self, bootstrap, transactional_id):
        self.producer = wait(started(lambda: AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=transactional_id, transaction_timeout_ms=30_000)))

    def begin(self):
        wait(self.producer.begin_transaction())

    def send(self, topic, partition, values):
        async def send_all():
            sent = [await self.producer.send(topic, value, partition=partition) for value in values]
            await asyncio.gather(*sent)

        wait(send_all())

    def offset(self, group, topic, partition, offset):
        wait(self.producer.send_offsets_to_transaction({TopicPartition(topic, partition): offset}, group))

    def commit(self):
        wait(self.producer.commit_transaction())

    def abort(self):
        wait(self.producer.abort_transaction())

    def close(self):
        wait(self.producer.stop())


class AioDriver(scenarios.Driver):
    name = "aiokafka"
    too_large_error = "MessageSizeTooLarge"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = wait(started(lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap)))
        self.consumer = wait(started(lambda: AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True)))

    def create_topic(self, topic, partitions):
        response = wait(self.admin.create_topics([NewTopic(topic, partitions, 1)]))
        for name, code, *message in response.topic_errors:
            scenarios.check(code == 0, f"creating {name}: error {code} {message}")

    def delete_topic(self, topic):
        wait(self.admin.delete_topics([topic]))

    def produce(self, topic, partition, records, codec="none", idempotent=False):
        async def send_all():
            producer = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, compression_type=None if codec == "none" else codec, linger_ms=20,
                acks="all", enable_idempotence=idempotent, max_request_size=4_000_000)
            await producer.start()
            try:
                sent = [await producer.send(topic, r.value, r.key, partition, r.timestamp, r.headers) for r in records]
                return [m.offset for m in await asyncio.gather(*sent)]
            finally:
                await producer.stop()

        return wait(send_all())

    def read(self, topic, partition, offset, count):
        async def read_all():
            target = TopicPartition(topic, partition)
            self.consumer.assign([target])
            self.consumer.seek(target, offset)
            out, deadline = [], time.monotonic() + WAIT_SECONDS
            while len(out) < count and time.monotonic() < deadline:
                batch = await self.consumer.getmany(target, timeout_ms=1000, max_records=count - len(out))
                for r in batch.get(target, []):
                    out.append(Record(r.key, r.value, [tuple(h) for h in r.headers], r.timestamp, r.offset))
            return out

        return wait(read_all())

    def offset_for_time(self, topic, partition, timestamp_ms):
        target = TopicPartition(topic, partition)
        found = wait(self.consumer.offsets_for_times({target: timestamp_ms}))[target]
        return found.offset if found else None

    def end_offset(self, topic, partition):
        target = TopicPartition(topic, partition)
        return wait(self.consumer.end_offsets([target]))[target]

    def committed(self, group, topic, partitions):
        found = wait(self.admin.list_consumer_group_offsets(group, partitions=[TopicPartition(topic, p) for p in partitions]))
        return {p.partition: o.offset for p, o in found.items()}

    def transactions(self, transactional_id):
        return AioTransactions(self.bootstrap, transactional_id)

    def values(self, topic, partition, isolation, last):
        async def read_all():
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False,
                                        auto_offset_reset="none", isolation_level=isolation)
            await consumer.start()
            try:
                target = TopicPartition(topic, partition)
                consumer.assign([target])
                consumer.seek(target, 0)
                out, deadline = [], time.monotonic() + WAIT_SECONDS
                while out[-1:] != [last] and time.monotonic() < deadline:
                    out += [r.value for r in (await consumer.getmany(target, timeout_ms=200)).get(target, [])]
                return out
            finally:
                await consumer.stop()

        return wait(read_all())

    def member(self, group, topic):
        return AioMember(self.bootstrap, group, topic)

    def close(self):
        wait(self.consumer.stop())
        wait(self.admin.close())


if __name__ == "__main__":
    scenarios.main(AioDriver)
