import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.ListTransactionsOptions;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The Java client's transactions at 4.3 (protocol 2, KIP-890), and a thousand transactional ids at once on raw connections. */
public final class TransactionSuite {
    private final Harness h;
    private final Random random = new Random(34);

    private TransactionSuite(Harness harness) {
        h = harness;
    }

    public static void main(String[] args) {
        try (Harness h = new Harness("java-transactions", args, 150)) {
            TransactionSuite suite = new TransactionSuite(h);
            h.scenario("commits and aborts over several partitions: the committed, in order, and no other", suite::mixed);
            h.scenario("an open transaction holds the stable offset, and its end frees it", suite::stableOffset);
            h.scenario("consume, transform, produce: each input once, offsets with the records", suite::loop);
            h.scenario("an abort leaves the group where it was, and the input comes again", suite::loopAborts);
            h.scenario("the second producer of an id fences the first", suite::zombie);
            h.scenario("an abandoned transaction frees the stable offset in time", suite::timeout);
            h.scenario("a producer that starts again aborts what it left open", suite::restart);
            h.scenario("offsets are unstable until the commit", suite::unstableOffsets);
            h.scenario("records sent without a transaction stand between", suite::sideBySide);
            h.scenario("an administrator lists, describes, fences and aborts", suite::admin);
            h.scenario("a thousand transactional ids at once", suite::thousand);
        }
    }

    private KafkaProducer<String, String> producer(String id, Object... pairs) {
        var properties = h.properties(pairs);
        properties.put("transactional.id", id);
        properties.putIfAbsent("transaction.timeout.ms", "30000");
        properties.putIfAbsent("delivery.timeout.ms", "20000");
        properties.putIfAbsent("request.timeout.ms", "10000");
        properties.putIfAbsent("max.block.ms", "15000");
        var producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
        return producer;
    }

    private KafkaConsumer<String, String> consumer(String isolation, Object... pairs) {
        var properties = h.properties(pairs);
        properties.put("isolation.level", isolation);
        properties.put("enable.auto.commit", "false");
        properties.put("default.api.timeout.ms", "20000");
        properties.put("fetch.max.wait.ms", "100");
        properties.put("auto.offset.reset", "earliest");
        return new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    }

    /** Every partition of the topic to the end that this isolation level has, values by partition. */
    private Map<Integer, List<String>> read(String topic, int partitions, String isolation) throws Exception {
        try (var consumer = consumer(isolation)) {
            List<TopicPartition> all = new ArrayList<>();
            Map<Integer, List<String>> out = new TreeMap<>();
            for (int p = 0; p < partitions; p++) {
                all.add(new TopicPartition(topic, p));
                out.put(p, new ArrayList<>());
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            var ends = consumer.endOffsets(all);
            Harness.until("reading " + topic + " " + isolation + " to " + ends, () -> {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    out.get(record.partition()).add(record.value());
                }
                return all.stream().allMatch(p -> consumer.position(p) >= ends.get(p));
            });
            return out;
        }
    }

    private long end(String topic, String isolation) {
        try (var consumer = consumer(isolation)) {
            TopicPartition partition = new TopicPartition(topic, 0);
            return consumer.endOffsets(List.of(partition)).get(partition);
        }
    }

    private void mixed() throws Exception {
        int partitions = 4;
        String topic = h.topic("mixed", partitions);
        Map<Integer, List<String>> committed = new TreeMap<>();
        Map<Integer, List<String>> all = new TreeMap<>();
        for (int p = 0; p < partitions; p++) {
            committed.put(p, new ArrayList<>());
            all.put(p, new ArrayList<>());
        }
        try (var producer = producer("mixed-" + topic, "batch.size", "2000")) {
            producer.initTransactions();
            for (int t = 0; t < 40 * h.scale(); t++) {
                boolean commit = random.nextInt(3) > 0;
                producer.beginTransaction();
                for (int i = random.nextInt(30); i >= 0; i--) {
                    int p = random.nextInt(partitions);
                    String value = "%s %d.%d %s".formatted(commit ? "kept" : "dropped", t, i, "x".repeat(random.nextInt(200)));
                    producer.send(new ProducerRecord<>(topic, p, null, value));
                    all.get(p).add(value);
                    if (commit) {
                        committed.get(p).add(value);
                    }
                }
                if (commit) {
                    producer.commitTransaction();
                } else {
                    producer.flush(); // else what was not sent yet is dropped by the client alone
                    producer.abortTransaction();
                }
            }
        }
        Harness.same(read(topic, partitions, "read_committed"), committed, "read_committed");
        Harness.same(read(topic, partitions, "read_uncommitted"), all, "read_uncommitted");
    }

    private void stableOffset() throws Exception {
        String topic = h.topic("stable", 1);
        try (var producer = producer("stable-" + topic); var consumer = consumer("read_committed")) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "a"));
            producer.flush();
            Harness.same(end(topic, "read_committed") + "/" + end(topic, "read_uncommitted"), "0/1", "ends while open");
            Harness.same(consumer.poll(Duration.ofMillis(500)).count(), 0, "records while open");
            Harness.same(consumer.position(partition), 0L, "position while open");
            Harness.same(read(topic, 1, "read_uncommitted").get(0), List.of("a"), "read_uncommitted while open");
            producer.commitTransaction();
            List<String> got = new ArrayList<>();
            Harness.until("the committed record", () -> {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> got.add(record.value()));
                return consumer.position(partition) == 2; // beyond the marker
            });
            Harness.same(got, List.of("a"), "records after the commit");
            Harness.same(end(topic, "read_committed") + "/" + end(topic, "read_uncommitted"), "2/2", "ends after it");
        }
    }

    private void fill(String topic, int partitions, int count) throws Exception {
        try (var producer = producer("fill-" + topic)) {
            producer.initTransactions();
            producer.beginTransaction();
            for (int i = 0; i < count; i++) {
                producer.send(new ProducerRecord<>(topic, i % partitions, null, "in-" + i));
            }
            producer.commitTransaction();
        }
    }

    private static Map<TopicPartition, OffsetAndMetadata> positions(KafkaConsumer<?, ?> consumer) {
        Map<TopicPartition, OffsetAndMetadata> out = new java.util.HashMap<>();
        consumer.assignment().forEach(p -> out.put(p, new OffsetAndMetadata(consumer.position(p))));
        return out;
    }

    private static List<String> sorted(Map<Integer, List<String>> read) {
        List<String> out = new ArrayList<>();
        read.values().forEach(out::addAll);
        Collections.sort(out);
        return out;
    }

    private static List<String> expected(int count) {
        List<String> out = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            out.add("out of in-" + i);
        }
        Collections.sort(out);
        return out;
    }

    private void loop() throws Exception {
        loop(200 * h.scale(), 0);
    }

    private void loopAborts() throws Exception {
        loop(200 * h.scale(), 3);
    }

    /** Copies a topic transaction by transaction; every nth one is aborted and the group's position taken again. */
    private void loop(int count, int abortEvery) throws Exception {
        String from = h.topic("from", 3);
        String to = h.topic("to", 3);
        String group = "loop-" + to;
        fill(from, 3, count);
        int transactions = 0;
        int copied = 0;
        while (copied < count) { // a new consumer and producer now and then, as instances come and go
            try (var consumer = consumer("read_committed", "group.id", group, "max.poll.records", "17", "session.timeout.ms", "10000");
                var producer = producer("loop-" + to)) {
                producer.initTransactions();
                consumer.subscribe(List.of(from));
                for (int turn = 0; turn < 12 && copied < count; turn++) {
                    var records = consumer.poll(Duration.ofMillis(300));
                    if (records.isEmpty()) {
                        continue;
                    }
                    producer.beginTransaction();
                    for (var record : records) {
                        producer.send(new ProducerRecord<>(to, record.partition(), null, "out of " + record.value()));
                    }
                    producer.sendOffsetsToTransaction(positions(consumer), consumer.groupMetadata());
                    if (abortEvery > 0 && ++transactions % abortEvery == 0) {
                        producer.flush();
                        producer.abortTransaction();
                        var back = consumer.committed(consumer.assignment());
                        for (TopicPartition p : consumer.assignment()) {
                            consumer.seek(p, back.get(p) == null ? 0 : back.get(p).offset());
                        }
                    } else {
                        producer.commitTransaction();
                        copied += records.count();
                    }
                }
            }
        }
        Harness.same(copied, count, "inputs taken");
        Harness.same(sorted(read(to, 3, "read_committed")), expected(count), "outputs");
        if (abortEvery > 0) {
            Harness.check(sorted(read(to, 3, "read_uncommitted")).size() > count, "nothing of the aborted copies is in the log");
        }
    }

    private void zombie() throws Exception {
        String topic = h.topic("zombie", 1);
        try (var first = producer("zombie-" + topic); var second = producer("zombie-" + topic)) {
            first.initTransactions();
            first.beginTransaction();
            first.send(new ProducerRecord<>(topic, 0, null, "of the zombie"));
            first.flush();
            second.initTransactions();
            Harness.same(end(topic, "read_committed"), 2L, "the zombie's transaction is aborted");
            Harness.refused(ProducerFencedException.class, first::commitTransaction, "the zombie's commit");
            second.beginTransaction();
            second.send(new ProducerRecord<>(topic, 0, null, "of the second"));
            second.commitTransaction();
        }
        try (var first = producer("zombie2-" + topic); var second = producer("zombie2-" + topic)) {
            first.initTransactions();
            second.initTransactions();
            first.beginTransaction();
            var sent = first.send(new ProducerRecord<>(topic, 0, null, "too late"));
            first.flush();
            fenced(sent::get, "a fenced producer's record");
        }
        Harness.same(read(topic, 1, "read_committed").get(0), List.of("of the second"), "read_committed");
    }

    /** Produce answers a fenced producer with INVALID_PRODUCER_EPOCH, everything else with PRODUCER_FENCED. */
    private static void fenced(Harness.Scenario action, String what) throws Exception {
        try {
            action.run();
        } catch (Exception error) {
            Throwable cause = error instanceof java.util.concurrent.ExecutionException ? error.getCause() : error;
            Harness.check(cause instanceof ProducerFencedException || cause instanceof InvalidProducerEpochException, what + ": got " + cause);
            return;
        }
        throw new AssertionError(what + ": accepted");
    }

    private void timeout() throws Exception {
        String topic = h.topic("timeout", 1);
        try (var producer = producer("timeout-" + topic, "transaction.timeout.ms", "1000")) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "abandoned"));
            producer.flush();
            Harness.same(end(topic, "read_committed"), 0L, "the stable offset while open");
            Harness.until("the abandoned transaction's abort", () -> end(topic, "read_committed") == 2);
            Harness.refused(org.apache.kafka.common.KafkaException.class, producer::commitTransaction, "the late commit");
        }
        Harness.same(read(topic, 1, "read_committed").get(0), List.of(), "read_committed");
        try (var producer = producer("timeout-" + topic)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "again"));
            producer.commitTransaction();
        }
        Harness.same(read(topic, 1, "read_committed").get(0), List.of("again"), "read_committed at the end");
        // One that notices goes on by itself (KIP-890): its epoch was raised once, and its abort tells it so.
        try (var producer = producer("goes-on-" + topic, "transaction.timeout.ms", "1000")) {
            producer.initTransactions();
            producer.beginTransaction();
            long left = producer.send(new ProducerRecord<>(topic, 0, null, "abandoned, too")).get().offset();
            Harness.until("the second abort", () -> end(topic, "read_committed") == left + 2);
            Harness.refused(Exception.class, () -> producer.send(new ProducerRecord<>(topic, 0, null, "too late")).get(), "the late record");
            producer.abortTransaction();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "goes on"));
            producer.commitTransaction();
        }
        Harness.same(read(topic, 1, "read_committed").get(0), List.of("again", "goes on"), "read_committed after going on");
    }

    private void restart() throws Exception {
        String topic = h.topic("restart", 2);
        var left = producer("restart-" + topic);
        left.initTransactions();
        left.beginTransaction();
        left.send(new ProducerRecord<>(topic, 0, null, "left open"));
        left.send(new ProducerRecord<>(topic, 1, null, "left open"));
        left.flush();
        try (var next = producer("restart-" + topic)) {
            next.initTransactions();
            next.beginTransaction();
            next.send(new ProducerRecord<>(topic, 0, null, "next"));
            next.commitTransaction();
        }
        Harness.same(read(topic, 2, "read_committed"), Map.of(0, List.of("next"), 1, List.of()), "read_committed");
        left.close(Duration.ZERO);
    }

    /** As a consumer takes up its work: it asks for stable offsets alone, and waits for them. */
    private OffsetAndMetadata stable(String group, TopicPartition partition, int waitMs) {
        try (var consumer = consumer("read_committed", "group.id", group)) {
            return consumer.committed(java.util.Set.of(partition), Duration.ofMillis(waitMs)).get(partition);
        }
    }

    private void unstableOffsets() throws Exception {
        String topic = h.topic("unstable", 1);
        String group = "unstable-" + topic;
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var producer = producer("unstable-" + topic)) {
            producer.initTransactions();
            for (boolean commit : new boolean[] {false, true}) {
                producer.beginTransaction();
                producer.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(7, "note")), new org.apache.kafka.clients.consumer.ConsumerGroupMetadata(group));
                Harness.refused(TimeoutException.class, () -> stable(group, partition, 700), "a stable offset while one is pending");
                Harness.same(Harness.await(h.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(partition), null, "what others see meanwhile");
                if (commit) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
                Harness.same(stable(group, partition, 5000), commit ? new OffsetAndMetadata(7, "note") : null, "the offset after the end");
            }
        }
    }

    private void sideBySide() throws Exception {
        String topic = h.topic("beside", 1);
        try (var first = producer("beside-1-" + topic); var second = producer("beside-2-" + topic);
            var plain = new KafkaProducer<>(h.properties(), new StringSerializer(), new StringSerializer())) {
            first.initTransactions();
            second.initTransactions();
            first.beginTransaction();
            second.beginTransaction();
            for (int i = 0; i < 5; i++) {
                first.send(new ProducerRecord<>(topic, 0, null, "first " + i)).get();
                plain.send(new ProducerRecord<>(topic, 0, null, "plain " + i)).get();
                second.send(new ProducerRecord<>(topic, 0, null, "second " + i)).get();
            }
            second.commitTransaction();
            Harness.same(end(topic, "read_committed"), 0L, "the first still holds the stable offset");
            first.abortTransaction();
        }
        List<String> want = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            want.addAll(List.of("plain " + i, "second " + i));
        }
        Harness.same(read(topic, 1, "read_committed").get(0), want, "read_committed");
    }

    private void admin() throws Exception {
        String topic = h.topic("admin", 1);
        String id = "admin-" + topic;
        TopicPartition partition = new TopicPartition(topic, 0);
        try (var producer = producer(id)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, null, "a"));
            producer.flush();
            var description = Harness.await(h.admin.describeTransactions(List.of(id)).description(id));
            Harness.same(description.state(), TransactionState.ONGOING, "state");
            Harness.same(description.topicPartitions(), java.util.Set.of(partition), "partitions");
            Harness.same(description.transactionTimeoutMs(), 30_000L, "timeout");
            Harness.check(Harness.await(h.admin.listTransactions(new ListTransactionsOptions().filterStates(List.of(TransactionState.ONGOING))).all()).stream()
                .anyMatch(listing -> listing.transactionalId().equals(id)), "the open transaction is listed");
            var state = Harness.await(h.admin.describeProducers(List.of(partition)).partitionResult(partition)).activeProducers().get(0);
            Harness.same(state.currentTransactionStartOffset().getAsLong(), 0L, "where it begins");
            // What kafka-transactions abort does for a hanging one.
            Harness.await(h.admin.abortTransaction(new AbortTransactionSpec(partition, state.producerId(), (short) state.producerEpoch(), state.coordinatorEpoch().orElse(0))).all());
            Harness.same(end(topic, "read_committed"), 2L, "the stable offset after it");
            Harness.await(h.admin.fenceProducers(List.of(id)).all());
            fenced(() -> {
                producer.send(new ProducerRecord<>(topic, 0, null, "b"));
                producer.commitTransaction();
            }, "a producer that an administrator fenced");
        }
        Harness.same(read(topic, 1, "read_committed").get(0), List.of(), "read_committed");
    }

    /** A thousand transactional ids with an open transaction each at the same time, then each commits or aborts. */
    private void thousand() throws Exception {
        int ids = 1000;
        int threads = 8;
        int partitions = 10;
        String topic = h.topic("thousand", partitions);
        AtomicInteger open = new AtomicInteger();
        java.util.concurrent.CyclicBarrier all = new java.util.concurrent.CyclicBarrier(threads);
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        List<Future<?>> done = new ArrayList<>();
        long began = System.nanoTime();
        long[] opened = new long[1];
        for (int t = 0; t < threads; t++) {
            int first = t;
            done.add(pool.submit(() -> {
                try (Wire wire = new Wire(h.bootstrap)) {
                    List<Txn> mine = new ArrayList<>();
                    for (int n = first; n < ids; n += threads) {
                        Txn txn = new Txn(wire, "thousand-" + topic + "-" + n);
                        Harness.same(txn.init(5), "0 epoch 0", "InitProducerId of " + n);
                        Harness.check(txn.produce(12, topic, n % partitions, 2).startsWith("0@"), "the records of " + n);
                        mine.add(txn);
                        open.incrementAndGet();
                    }
                    all.await();
                    if (first == 0) {
                        opened[0] = System.nanoTime();
                        Harness.same(open.get(), ids, "transactions open at once");
                        Harness.same(sorted(read(topic, partitions, "read_committed")).size(), 0, "records committed before any end");
                    }
                    all.await();
                    for (int n = first, k = 0; n < ids; n += threads, k++) {
                        Harness.same(mine.get(k).end(5, n % 3 != 0), "0 epoch 1 same id", "EndTxn of " + n);
                    }
                }
                return null;
            }));
        }
        try {
            for (Future<?> one : done) {
                one.get();
            }
        } finally {
            pool.shutdownNow();
        }
        long ended = System.nanoTime();
        int commits = ids - (ids + 2) / 3;
        Harness.same(sorted(read(topic, partitions, "read_committed")).size(), 2 * commits, "records of the committed ones");
        Harness.same(sorted(read(topic, partitions, "read_uncommitted")).size(), 2 * ids, "records of all");
        String described = Harness.await(h.admin.describeTransactions(List.of("thousand-" + topic + "-999")).description("thousand-" + topic + "-999")).state().toString();
        Harness.same(described, "CompleteAbort", "the state of the last");
        Harness.REAL_OUT.printf("    1000 ids: opened with two records each in %.1f s, ended in %.1f s%n", (opened[0] - began) / 1e9, (ended - opened[0]) / 1e9);
    }
}
