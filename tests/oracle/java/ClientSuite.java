import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java producer and consumer at 4.3 with their defaults (idempotence on) against a broker. */
public final class ClientSuite {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static final int LARGE_VALUE_BYTES = 900_000; // under the default max.message.bytes of 1,048,588
    private final Harness h;
    private final Random random = new Random(20);

    private ClientSuite(Harness harness) {
        h = harness;
    }

    public static void main(String[] args) {
        try (Harness h = new Harness("java-client", args, 100)) {
            ClientSuite suite = new ClientSuite(h);
            h.scenario("each codec is read back byte for byte", suite::eachCodec);
            h.scenario("many batches in flight keep their order", suite::inFlight);
            h.scenario("large records pass and too large ones are refused", suite::largeRecords);
            h.scenario("a time finds the first record at or after it", suite::seekByTime);
            h.scenario("log append time overrides the client's", suite::logAppendTime);
            h.scenario("a group shares, rebalances and resumes (range)", () -> suite.group(RangeAssignor.class));
            h.scenario("a group shares, rebalances and resumes (cooperative sticky)", () -> suite.group(CooperativeStickyAssignor.class));
            h.scenario("a static member comes back without a rebalance", suite::staticMember);
            h.scenario("pattern subscription and auto-creation", suite::patternAndAutoCreate);
        }
    }

    private KafkaProducer<byte[], byte[]> producer(Object... pairs) {
        var properties = h.properties(pairs);
        properties.putIfAbsent("delivery.timeout.ms", "20000");
        properties.putIfAbsent("request.timeout.ms", "10000");
        properties.putIfAbsent("max.block.ms", "10000");
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(Object... pairs) {
        var properties = h.properties(pairs);
        properties.put("enable.auto.commit", "false");
        properties.put("default.api.timeout.ms", "20000");
        properties.put("request.timeout.ms", "15000");
        properties.put("fetch.max.wait.ms", "200");
        properties.putIfAbsent("auto.offset.reset", "none");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Records with every shape that clients and brokers get wrong now and then. */
    private List<ProducerRecord<byte[], byte[]>> awkward(String topic, int count, long baseMs) {
        List<ProducerRecord<byte[], byte[]>> out = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            byte[] noise = new byte[1000];
            random.nextBytes(noise);
            byte[][] pair = switch (i % 7) {
                case 0 -> new byte[][] {utf8("key-" + i), utf8("value-" + i)};
                case 1 -> new byte[][] {null, utf8("no key " + i)};
                case 2 -> new byte[][] {utf8("tombstone-" + i), null};
                case 3 -> new byte[][] {{}, {}};
                case 4 -> new byte[][] {{0, -1, 0}, noise};
                case 5 -> new byte[][] {utf8("ключ"), utf8("значение €")};
                default -> new byte[][] {utf8("compressible"), utf8("x".repeat(3000))};
            };
            List<Header> headers = i % 3 != 0 ? List.of() : List.of(new RecordHeader("a", utf8("1")),
                new RecordHeader("a", utf8("2")), new RecordHeader("b", (byte[]) null), new RecordHeader("a", new byte[0]));
            out.add(new ProducerRecord<>(topic, 0, baseMs + i, pair[0], pair[1], headers));
        }
        return out;
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "null" : java.util.HexFormat.of().formatHex(bytes);
    }

    private static String text(long offset, Long timestamp, byte[] key, byte[] value, Iterable<Header> headers) {
        StringBuilder out = new StringBuilder(offset + " " + timestamp + " " + text(key) + " " + text(value));
        headers.forEach(header -> out.append(' ').append(header.key()).append('=').append(text(header.value())));
        return out.toString();
    }

    private List<RecordMetadata> send(KafkaProducer<byte[], byte[]> producer, List<ProducerRecord<byte[], byte[]>> records) throws Exception {
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        records.forEach(record -> futures.add(producer.send(record)));
        producer.flush();
        List<RecordMetadata> out = new ArrayList<>();
        for (Future<RecordMetadata> future : futures) {
            out.add(future.get(Harness.WAIT_SECONDS, TimeUnit.SECONDS));
        }
        return out;
    }

    private List<ConsumerRecord<byte[], byte[]>> read(String topic, long offset, int count) throws Exception {
        try (var consumer = consumer("max.partition.fetch.bytes", "4000000")) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seek(partition, offset);
            List<ConsumerRecord<byte[], byte[]>> out = new ArrayList<>();
            Harness.until("reading " + count + " records of " + topic, () -> {
                consumer.poll(Duration.ofMillis(200)).forEach(out::add);
                return out.size() >= count;
            });
            return out.subList(0, count);
        }
    }

    private void readBack(String topic, long offset, List<ProducerRecord<byte[], byte[]>> sent) throws Exception {
        var got = read(topic, offset, sent.size());
        for (int i = 0; i < sent.size(); i++) {
            var want = sent.get(i);
            var have = got.get(i);
            Harness.same(text(have.offset(), have.timestamp(), have.key(), have.value(), have.headers()),
                text(offset + i, want.timestamp(), want.key(), want.value(), want.headers()), "record " + i);
        }
    }

    private void eachCodec() throws Exception {
        String topic = h.topic("codec", 1);
        List<ProducerRecord<byte[], byte[]>> all = new ArrayList<>();
        for (String codec : CODECS) {
            var records = awkward(topic, 200 * h.scale(), System.currentTimeMillis() - 3_600_000);
            try (var producer = producer("compression.type", codec)) {
                var acknowledged = send(producer, records);
                for (int i = 0; i < records.size(); i++) {
                    Harness.same(acknowledged.get(i).offset(), (long) (all.size() + i), codec + " offset");
                }
            }
            all.addAll(records);
        }
        readBack(topic, 0, all);
        int middle = all.size() / 2 + 3;
        readBack(topic, middle, all.subList(middle, middle + 5));
    }

    private void inFlight() throws Exception {
        String topic = h.topic("inflight", 1);
        var records = awkward(topic, 3000 * h.scale(), System.currentTimeMillis());
        try (var producer = producer("batch.size", "4096", "linger.ms", "0")) {
            var acknowledged = send(producer, records);
            for (int i = 0; i < records.size(); i++) {
                Harness.same(acknowledged.get(i).offset(), (long) i, "offset");
            }
        }
        readBack(topic, 0, records);
    }

    private void largeRecords() throws Exception {
        String topic = h.topic("large", 1);
        for (int i = 0; i < CODECS.size(); i++) {
            byte[] value = new byte[LARGE_VALUE_BYTES];
            random.nextBytes(value);
            var records = List.of(new ProducerRecord<>(topic, 0, System.currentTimeMillis(), utf8("big"), value));
            try (var producer = producer("compression.type", CODECS.get(i))) {
                send(producer, records);
            }
            readBack(topic, i, records);
        }
        try (var producer = producer("max.request.size", "4000000")) {
            Harness.refused(RecordTooLargeException.class,
                () -> send(producer, List.of(new ProducerRecord<>(topic, 0, null, new byte[1_200_000]))), "too large");
        }
        try (var consumer = consumer()) {
            TopicPartition partition = new TopicPartition(topic, 0);
            Harness.same(consumer.endOffsets(List.of(partition)).get(partition), (long) CODECS.size(), "end offset");
        }
    }

    private void seekByTime() throws Exception {
        String topic = h.topic("time", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        long base = System.currentTimeMillis() - 7_200_000;
        for (int start = 0; start < 100; start += 10) {
            List<ProducerRecord<byte[], byte[]>> batch = new ArrayList<>();
            for (int i = start; i < start + 10; i++) {
                batch.add(new ProducerRecord<>(topic, 0, base + i * 10_000L, null, utf8("v" + i)));
            }
            try (var producer = producer("compression.type", CODECS.get(start / 10 % 5), "linger.ms", "50")) {
                send(producer, batch);
            }
        }
        long[][] cases = {{0, 0}, {10_000, 1}, {10_001, 2}, {554_999, 56}, {990_000, 99}, {990_001, -1}};
        try (var consumer = consumer()) {
            for (long[] c : cases) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(partition, base + c[0])).get(partition);
                Harness.same(found == null ? -1L : found.offset(), c[1], "offset for base + " + c[0] + " ms");
                if (found != null) {
                    Harness.same(found.timestamp(), base + c[1] * 10_000, "timestamp of that record");
                }
            }
        }
        Harness.same(new String(read(topic, 46, 1).get(0).value(), StandardCharsets.UTF_8), "v46", "record 46");
    }

    private void logAppendTime() throws Exception {
        String topic = h.topic("appendtime", 1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis();
        try (var producer = producer("compression.type", "lz4")) {
            long answered = send(producer, List.of(new ProducerRecord<>(topic, 0, 1000L, utf8("k"), utf8("v")))).get(0).timestamp();
            var record = read(topic, 0, 1).get(0);
            Harness.same(record.timestamp(), answered, "timestamp stored and acknowledged");
            Harness.same(record.timestampType().toString(), "LogAppendTime", "timestamp type");
            Harness.check(answered >= before && answered <= System.currentTimeMillis(), "append time is not now: " + answered);
        }
    }

    /** One group member, polled by the test's own thread. */
    private final class Member implements AutoCloseable {
        final KafkaConsumer<byte[], byte[]> consumer;
        boolean closed;

        Member(String group, String topic, Class<?> assignor, String instance) {
            List<Object> pairs = new ArrayList<>(List.of("group.id", group, "auto.offset.reset", "earliest", "session.timeout.ms", "10000",
                "heartbeat.interval.ms", "300", "partition.assignment.strategy", assignor.getName()));
            if (instance != null) {
                pairs.addAll(List.of("group.instance.id", instance));
            }
            consumer = consumer(pairs.toArray());
            consumer.subscribe(List.of(topic));
        }

        Collection<Integer> owned() {
            Collection<Integer> out = new TreeSet<>();
            consumer.assignment().forEach(partition -> out.add(partition.partition()));
            return out;
        }

        @Override
        public void close() {
            if (!closed) {
                closed = true;
                consumer.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(Duration.ofSeconds(10)));
            }
        }
    }

    private static void settle(List<Member> members) throws Exception {
        Harness.until("even assignment of 4 partitions to " + members.size(), () -> {
            Set<Integer> all = new HashSet<>();
            boolean even = true;
            for (Member member : members) {
                Harness.same(member.consumer.poll(Duration.ofMillis(50)).count(), 0, "records before any were sent");
                even &= member.owned().size() == 4 / members.size();
                all.addAll(member.owned());
            }
            return even && all.size() == 4;
        });
    }

    private void fillAndDrain(String topic, int count, String label, List<Member> members) throws Exception {
        Set<String> expected = new HashSet<>();
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int p = 0; p < 4; p++) {
            for (int i = 0; i < count; i++) {
                records.add(new ProducerRecord<>(topic, p, null, utf8(label + "-" + p + "-" + i)));
                expected.add(label + "-" + p + "-" + i);
            }
        }
        try (var producer = producer()) {
            send(producer, records);
        }
        Map<Integer, Long> last = new HashMap<>();
        Harness.until("records of round " + label, () -> {
            for (Member member : members) {
                for (var record : member.consumer.poll(Duration.ofMillis(50))) {
                    String value = new String(record.value(), StandardCharsets.UTF_8);
                    Harness.check(expected.remove(value), "unexpected or repeated record " + value);
                    Long previous = last.put(record.partition(), record.offset());
                    Harness.check(previous == null || record.offset() > previous, "offset " + record.offset() + " after " + previous);
                }
            }
            return expected.isEmpty();
        });
    }

    private void group(Class<?> assignor) throws Exception {
        String topic = h.topic("group", 4);
        String group = "group-of-" + topic;
        try (Member first = new Member(group, topic, assignor, null); Member second = new Member(group, topic, assignor, null)) {
            List<Member> both = List.of(first, second);
            settle(both);
            fillAndDrain(topic, 100 * h.scale(), "a", both);
            both.forEach(member -> member.consumer.commitSync());
            second.close();
            settle(List.of(first));
            fillAndDrain(topic, 25, "b", List.of(first));
            first.consumer.commitSync();
        }
        for (var committed : Harness.await(h.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).entrySet()) {
            Harness.same(committed.getValue().offset(), 100L * h.scale() + 25, "committed offset of " + committed.getKey());
        }
        try (Member third = new Member(group, topic, assignor, null)) {
            fillAndDrain(topic, 10, "c", List.of(third)); // any record of before would be unexpected
        }
    }

    private void staticMember() throws Exception {
        String topic = h.topic("static", 4);
        String group = "group-of-" + topic;
        try (Member stays = new Member(group, topic, RangeAssignor.class, "one")) {
            Member leaves = new Member(group, topic, RangeAssignor.class, "two");
            settle(List.of(stays, leaves));
            int generation = stays.consumer.groupMetadata().generationId();
            var before = leaves.owned();
            leaves.close(); // a static member does not leave the group by closing
            try (Member back = new Member(group, topic, RangeAssignor.class, "two")) {
                settle(List.of(stays, back));
                Harness.same(back.owned(), before, "assignment after coming back");
                Harness.same(back.consumer.groupMetadata().generationId(), generation, "generation");
                fillAndDrain(topic, 10, "s", List.of(stays, back));
            }
        }
    }

    private void patternAndAutoCreate() throws Exception {
        String prefix = "java-auto-" + UUID.randomUUID().toString().substring(0, 8);
        try (var producer = producer(); var consumer = consumer("group.id", prefix, "auto.offset.reset", "earliest")) {
            send(producer, List.of(new ProducerRecord<>(prefix + "-x", utf8("k"), utf8("v"))));
            consumer.subscribe(java.util.regex.Pattern.compile(prefix + "-.*"));
            Harness.until("a record of an auto-created topic", () -> !consumer.poll(Duration.ofMillis(200)).isEmpty());
        } finally {
            Harness.await(h.admin.deleteTopics(List.of(prefix + "-x")).all());
        }
    }
}
