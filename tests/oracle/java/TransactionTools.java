import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** kafka-transactions on an open transaction: found, described, no hanging one while its coordinator knows of it, ended by hand. */
final class TransactionTools {
    private static final String MAIN = ToolsSuite.TOOLS + "TransactionsCommand";
    private final ToolsSuite suite;
    private final Harness h;
    private final String topic = "txn-tools-" + UUID.randomUUID().toString().substring(0, 8);
    private final String id = "id-of-" + topic;

    TransactionTools(ToolsSuite suite, Harness harness) {
        this.suite = suite;
        h = harness;
    }

    void scenarios() {
        h.scenario("kafka-transactions", this::transactions);
    }

    private String tool(String... args) throws Exception {
        return suite.tool(MAIN, args);
    }

    private void transactions() throws Exception {
        suite.tool(ToolsSuite.TOOLS + "TopicCommand", "--create", "--topic", topic, "--partitions", "2");
        Properties config = new Properties();
        config.put("bootstrap.servers", h.bootstrap);
        config.put("transactional.id", id);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 1, null, "kept")).get();
            producer.commitTransaction();
            producer.beginTransaction();
            long start = producer.send(new ProducerRecord<>(topic, 1, null, "left open")).get().offset();

            ToolsSuite.shows(tool("list"), "TransactionalId", id, "Ongoing");
            ToolsSuite.shows(tool("list", "--transactional-id-pattern", id + "|other"), id);
            Harness.check(!tool("list", "--transactional-id-pattern", "other").contains(id), "listed although its name does not match");
            Harness.check(!tool("list", "--duration-filter", "600000").contains(id), "listed although it is not open for ten minutes");
            String described = tool("describe", "--transactional-id", id);
            ToolsSuite.shows(described, id, "Ongoing", topic + "-1", "60000");
            String producers = tool("describe-producers", "--topic", topic, "--partition", "1");
            ToolsSuite.shows(producers, "CurrentTransactionStartOffset");
            // ProducerId, ProducerEpoch, LatestCoordinatorEpoch, LastSequence, LastTimestamp, CurrentTransactionStartOffset
            Matcher row = Pattern.compile("(?m)^(\\d+)\\s+(\\d+)\\s+(-?\\d+)\\s+(-?\\d+)\\s+(\\d+)\\s+(\\d+)\\s*$").matcher(producers);
            Harness.check(row.find() && Long.parseLong(row.group(6)) == start, "the transaction begins at " + start + ", told: " + producers);
            ToolsSuite.shows(described, row.group(1));
            // Zero minutes: every open transaction is looked at, and this one's coordinator knows of it.
            String hanging = tool("find-hanging", "--topic", topic, "--max-transaction-timeout", "0");
            Harness.check(!hanging.contains(topic), "no transaction hangs: " + hanging);
            tool("find-hanging", "--broker-id", suite.node(), "--max-transaction-timeout", "0");

            Harness.check(stable() == start, "stable until " + start);
            tool("abort", "--topic", topic, "--partition", "1", "--start-offset", Long.toString(start));
            Harness.check(stable() == start + 2, "the abort marker is behind the record: stable until " + stable());
            Harness.check(!suite.tool(MAIN, "describe-producers", "--topic", topic, "--partition", "1").contains(" " + start + " "), "still open");

            tool("forceTerminateTransaction", "--transactionalId", id);
            ToolsSuite.shows(tool("describe", "--transactional-id", id), "Empty");
        }
        suite.tool(ToolsSuite.TOOLS + "TopicCommand", "--delete", "--topic", topic);
    }

    private long stable() {
        Properties config = new Properties();
        config.put("bootstrap.servers", h.bootstrap);
        config.put("isolation.level", "read_committed");
        TopicPartition partition = new TopicPartition(topic, 1);
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            return consumer.endOffsets(List.of(partition)).get(partition);
        }
    }
}
