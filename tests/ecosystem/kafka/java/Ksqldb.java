import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The calls of docs/ksqldb.md against a fresh broker, in the page's order, each answer on one line as
 * {@code number name = answer}: {@code Ksqldb host:port}. The same lines come from Kafka and from us.
 */
final class Ksqldb {
    private static final String SERVICE = "default_";
    private static final String COMMANDS = "_confluent-ksql-" + SERVICE + "_command_topic";
    private static final String QUERY = "_confluent-ksql-" + SERVICE + "query_CSAS_OUT_1";
    private static final String CHANGELOG = QUERY + "-Aggregate-Aggregate-Materialize-changelog";
    private static final String WINDOWED = QUERY + "-Windowed-changelog";
    private static final String REPARTITION = QUERY + "-Aggregate-GroupBy-repartition";
    private static final TopicPartition COMMANDS_0 = new TopicPartition(COMMANDS, 0);
    private static final TopicPartition REPARTITION_0 = new TopicPartition(REPARTITION, 0);
    private static final String FOREVER = String.valueOf(Long.MAX_VALUE);

    interface Call {
        Object answer() throws Exception;
    }

    private final String bootstrap;
    private final Admin admin;

    private Ksqldb(String bootstrap) {
        this.bootstrap = bootstrap;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] args) throws Exception {
        Ksqldb replay = new Ksqldb(args[0]);
        replay.cluster();
        replay.topics();
        replay.commandTopic();
        replay.internalTopics();
        replay.groups();
        replay.removal();
        replay.admin.close();
    }

    private static void ask(String name, Call call) {
        String answer;
        try {
            answer = String.valueOf(call.answer());
        } catch (Throwable error) { // an error is an answer too: its class is what ksqlDB decides by
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            answer = cause.getClass().getSimpleName();
            if (!(cause instanceof org.apache.kafka.common.KafkaException)) {
                answer += ": " + cause.getMessage();
            }
        }
        System.out.println(name + " = " + answer);
    }

    /** The answer once it is no longer {@code unsettled}: Kafka answers EndTxn before its markers are written. */
    private static String settled(Call call, String unsettled) throws Exception {
        for (int tries = 0; ; tries++) {
            String answer = String.valueOf(call.answer());
            if (!answer.equals(unsettled) || tries == 50) {
                return answer;
            }
            Thread.sleep(100);
        }
    }

    /** ksqlDB tries again while an answer is retriable: a topic just created may not be known everywhere yet. */
    private static void askUntilKnown(String name, Call call) {
        ask(name, () -> {
            for (int tries = 0; ; tries++) {
                try {
                    return call.answer();
                } catch (ExecutionException error) {
                    if (!(error.getCause() instanceof RetriableException) || tries == 30) {
                        throw error;
                    }
                    Thread.sleep(100);
                }
            }
        });
    }

    private void cluster() throws Exception {
        ask("1.1 describeCluster", () -> {
            var cluster = admin.describeCluster();
            String node = cluster.nodes().get().size() + " node, controller is it: "
                + (cluster.controller().get().id() == cluster.nodes().get().iterator().next().id());
            return (cluster.clusterId().get().isEmpty() ? "no cluster id, " : "a cluster id, ") + node;
        });
        ask("1.2 describeCluster with authorized operations", () -> sorted(
            admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true)).authorizedOperations().get()));
        ask("1.3 describeConfigs of the broker", () -> {
            String node = String.valueOf(admin.describeCluster().nodes().get().iterator().next().id());
            var resource = new ConfigResource(ConfigResource.Type.BROKER, node);
            Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            return named(config, false, "default.replication.factor", "delete.topic.enable", "authorizer.class.name",
                "auto.create.topics.enable", "transaction.max.timeout.ms");
        });
    }

    private void topics() {
        ask("2.1 describeTopics of an unknown topic", () -> describe(COMMANDS));
        Map<String, String> internal = Map.of("retention.ms", FOREVER, "cleanup.policy", "delete", "min.insync.replicas", "1",
            "unclean.leader.election.enable", "false");
        ask("2.2 createTopics, validate only", () -> create(COMMANDS, 1, 1, internal, true));
        ask("2.3 validation created nothing", () -> admin.listTopics().names().get().contains(COMMANDS));
        ask("2.4 createTopics of the command topic", () -> create(COMMANDS, 1, 1, internal, false));
        ask("2.5 createTopics of what exists", () -> create(COMMANDS, 1, 1, internal, false));
        askUntilKnown("2.6 describeTopics with authorized operations", () -> describe(COMMANDS));
        String[] names = {"cleanup.policy", "min.insync.replicas", "retention.ms", "unclean.leader.election.enable"};
        askUntilKnown("2.7 describeConfigs of the command topic", () -> configs(COMMANDS, names));
        ask("2.8 somebody shortens its retention", () -> {
            alter(COMMANDS, Map.of("retention.ms", "86400000"));
            return configs(COMMANDS, "retention.ms");
        });
        ask("2.9 incrementalAlterConfigs corrects it", () -> {
            alter(COMMANDS, Map.of("retention.ms", FOREVER, "cleanup.policy", "delete"));
            return configs(COMMANDS, names);
        });
        ask("2.10 createTopics for a table, compacted", () -> create("TABLE_OUT", 4, -1, Map.of("cleanup.policy", "compact"), false));
        ask("2.11 createTopics for a windowed table", () -> create("WINDOWED_OUT", 4, -1,
            Map.of("cleanup.policy", "compact,delete", "retention.ms", "604800000"), false));
        ask("2.12 createTopics for a stream", () -> create("STREAM_OUT", 4, -1, Map.of("retention.ms", "604800000"), false));
        askUntilKnown("2.13 cleanup policies are told as they were given", () ->
            List.of(configs("TABLE_OUT", "cleanup.policy"), configs("WINDOWED_OUT", "cleanup.policy"), configs("STREAM_OUT", "cleanup.policy")));
        ask("2.14 three replicas on one node, validate only", () -> create("WIDE", 1, 3, Map.of(), true));
        ask("2.15 no partition", () -> create("NONE", 0, 1, Map.of(), false));
        ask("2.16 a retention that is no number", () -> create("WRONG", 1, 1, Map.of("retention.ms", "for ever"), false));
        ask("2.17 incrementalAlterConfigs to a policy that is none", () -> {
            alter("STREAM_OUT", Map.of("cleanup.policy", "shred"));
            return "ok";
        });
        ask("2.18 describeConfigs of an unknown topic", () -> configs("NOWHERE", "cleanup.policy"));
        ask("2.19 listTopics", () -> sorted(admin.listTopics().names().get()));
    }

    private void commandTopic() {
        Properties producing = producing(SERVICE);
        KafkaProducer<String, String> first = new KafkaProducer<>(producing, new StringSerializer(), new StringSerializer());
        ask("3.1 initTransactions with the service's id", () -> {
            first.initTransactions();
            return "ok";
        });
        ask("3.2 a statement is committed", () -> {
            first.beginTransaction();
            long offset = first.send(command("create")).get().offset();
            first.commitTransaction();
            return "offset " + offset;
        });
        ask("3.3 endOffsets, read committed", () -> "end " + end("read_committed"));
        ask("3.4 a statement is aborted", () -> {
            first.beginTransaction();
            long offset = first.send(command("aborted")).get().offset();
            first.abortTransaction();
            return "offset " + offset + ", end " + end("read_committed") + ", read: " + commands();
        });
        ask("3.5 a statement is pending", () -> {
            first.beginTransaction();
            first.send(command("pending")).get();
            return "end " + end("read_committed") + ", uncommitted " + end("read_uncommitted") + ", read: " + commands();
        });
        KafkaProducer<String, String> second = new KafkaProducer<>(producing, new StringSerializer(), new StringSerializer());
        ask("3.6 the next server takes the id over", () -> {
            second.initTransactions();
            return "end " + end("read_committed") + ", read: " + commands();
        });
        ask("3.7 the earlier one is fenced", () -> {
            first.commitTransaction();
            return "committed";
        });
        ask("3.8 the next one writes", () -> {
            second.beginTransaction();
            long offset = second.send(command("drop")).get().offset();
            second.commitTransaction();
            return "offset " + offset;
        });
        ask("3.9 restoration reads what was committed", this::commands);
        first.close(Duration.ZERO);
        second.close();
    }

    private void internalTopics() {
        ask("4.1 createTopics of a changelog", () -> create(CHANGELOG, 1, 1,
            Map.of("cleanup.policy", "compact", "message.timestamp.type", "CreateTime"), false));
        ask("4.2 createTopics of a windowed changelog", () -> create(WINDOWED, 1, 1,
            Map.of("cleanup.policy", "compact,delete", "retention.ms", "86400000", "message.timestamp.type", "CreateTime"), false));
        ask("4.3 createTopics of a repartition topic", () -> create(REPARTITION, 1, 1,
            Map.of("cleanup.policy", "delete", "retention.ms", "-1", "segment.bytes", "52428800", "message.timestamp.type", "CreateTime"), false));
        askUntilKnown("4.4 describeConfigs of them", () -> List.of(configs(CHANGELOG, "cleanup.policy", "message.timestamp.type"),
            configs(WINDOWED, "cleanup.policy", "retention.ms"), configs(REPARTITION, "cleanup.policy", "retention.ms", "segment.bytes")));
        ask("4.5 a record without a key in a changelog", () -> {
            try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", (Object) bootstrap), new StringSerializer(), new StringSerializer())) {
                return producer.send(new ProducerRecord<>(CHANGELOG, "no key")).get().offset();
            }
        });
    }

    private void groups() {
        Properties consuming = consuming("read_committed");
        consuming.put("group.id", QUERY);
        consuming.put("session.timeout.ms", "10000");
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consuming, new StringDeserializer(), new StringDeserializer());
        KafkaProducer<String, String> query = new KafkaProducer<>(producing(QUERY + "-0"), new StringSerializer(), new StringSerializer());
        query.initTransactions();
        ask("5.1 exactly_once_v2: records and offsets in one transaction", () -> {
            consumer.subscribe(List.of(COMMANDS));
            List<String> read = new ArrayList<>();
            for (int tries = 0; read.size() < 2 && tries < 100; tries++) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> read.add(record.value()));
            }
            query.beginTransaction();
            for (String value : read) {
                query.send(new ProducerRecord<>(REPARTITION, 0, value, value));
                query.send(new ProducerRecord<>(CHANGELOG, 0, value, "1"));
            }
            query.sendOffsetsToTransaction(Map.of(COMMANDS_0, new OffsetAndMetadata(consumer.position(COMMANDS_0))), consumer.groupMetadata());
            query.commitTransaction();
            return "read " + read + ", committed " + settled(() -> offsets(QUERY), "{}");
        });
        ask("5.2 an aborted transaction moves no offset", () -> {
            query.beginTransaction();
            query.send(new ProducerRecord<>(REPARTITION, 0, "never", "never")).get();
            query.sendOffsetsToTransaction(Map.of(COMMANDS_0, new OffsetAndMetadata(0)), consumer.groupMetadata());
            query.abortTransaction();
            return "committed " + settled(() -> offsets(QUERY), "{}");
        });
        ask("5.3 describeConsumerGroups of a running query", () -> group(QUERY));
        ask("5.4 listConsumerGroups", () -> sorted(admin.listConsumerGroups().all().get().stream()
            .map(g -> g.groupId() + " " + g.groupState().map(Object::toString).orElse("?")).collect(Collectors.toList())));
        ask("5.5 deleteConsumerGroups of a running query", () -> {
            admin.deleteConsumerGroups(List.of(QUERY)).all().get();
            return "ok";
        });
        ask("5.6 listOffsets, earliest, latest and committed", () -> {
            String committed = settled(() -> {
                long end = listed(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED);
                return end < listed(OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED) ? "" : String.valueOf(end);
            }, "");
            return "earliest " + listed(OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED) + ", committed " + committed
                + ", behind it " + (listed(OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED) - Long.parseLong(committed));
        });
        ask("5.7 deleteRecords of what was repartitioned", () -> {
            var deleted = admin.deleteRecords(Map.of(REPARTITION_0, RecordsToDelete.beforeOffset(2))).lowWatermarks();
            return "low watermark " + deleted.get(REPARTITION_0).get().lowWatermark() + ", earliest " + listed(OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED);
        });
        query.close();
        consumer.close();
        ask("5.8 describeConsumerGroups of a stopped query", () -> group(QUERY));
        ask("5.9 describeConsumerGroups of an unknown group", () -> group("nobody"));
        ask("5.10 listConsumerGroupOffsets of an unknown group", () -> offsets("nobody"));
        ask("5.11 deleteConsumerGroups of a stopped query", () -> {
            admin.deleteConsumerGroups(List.of(QUERY)).all().get();
            return "ok, offsets " + offsets(QUERY);
        });
        ask("5.12 deleteConsumerGroups of an unknown group", () -> {
            admin.deleteConsumerGroups(List.of("nobody")).all().get();
            return "ok";
        });
    }

    private void removal() {
        ask("6.1 deleteTopics of a query's internal topics", () -> {
            admin.deleteTopics(List.of(CHANGELOG, WINDOWED, REPARTITION)).all().get();
            return sorted(admin.listTopics().names().get());
        });
        ask("6.2 deleteTopics of an unknown topic", () -> {
            admin.deleteTopics(List.of("NOWHERE")).all().get();
            return "ok";
        });
        ask("6.3 the command topic is deleted and made anew", () -> {
            admin.deleteTopics(List.of(COMMANDS)).all().get();
            settled(() -> admin.listTopics().names().get().contains(COMMANDS), "true");
            create(COMMANDS, 1, 1, Map.of("retention.ms", FOREVER, "cleanup.policy", "delete"), false);
            return "ok";
        });
        askUntilKnown("6.4 the new one is empty", () -> describe(COMMANDS) + ", end " + end("read_committed"));
        ask("6.5 restoring the command topic writes it in one transaction", () -> {
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(producing(SERVICE), new StringSerializer(), new StringSerializer())) {
                producer.initTransactions();
                producer.beginTransaction();
                for (String statement : List.of("one", "two", "three")) {
                    producer.send(command(statement));
                }
                producer.commitTransaction();
            }
            return "end " + end("read_committed") + ", read: " + commands();
        });
    }

    private String create(String topic, int partitions, int replicas, Map<String, String> configs, boolean validateOnly) throws Exception {
        var result = admin.createTopics(List.of(new NewTopic(topic, partitions, (short) replicas).configs(configs)),
            new CreateTopicsOptions().validateOnly(validateOnly));
        result.all().get();
        return result.numPartitions(topic).get() + " partitions, " + result.replicationFactor(topic).get() + " replica";
    }

    private String describe(String topic) throws Exception {
        TopicDescription found = admin.describeTopics(List.of(topic), new DescribeTopicsOptions().includeAuthorizedOperations(true))
            .topicNameValues().get(topic).get();
        return found.partitions().size() + " partitions, " + found.partitions().get(0).replicas().size() + " replica, "
            + found.partitions().get(0).isr().size() + " in sync, internal " + found.isInternal() + ", " + sorted(found.authorizedOperations());
    }

    private String configs(String topic, String... names) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return named(admin.describeConfigs(List.of(resource)).all().get().get(resource), true, names);
    }

    private static String named(Config config, boolean withSource, String... names) {
        Map<String, String> found = new TreeMap<>();
        for (String name : names) {
            ConfigEntry entry = config.get(name);
            found.put(name, entry == null ? "absent" : entry.value() + (withSource ? " (" + entry.source() + ")" : ""));
        }
        return found.toString();
    }

    private void alter(String topic, Map<String, String> values) throws Exception {
        List<AlterConfigOp> changes = values.entrySet().stream()
            .map(v -> new AlterConfigOp(new ConfigEntry(v.getKey(), v.getValue()), AlterConfigOp.OpType.SET)).collect(Collectors.toList());
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), changes)).all().get();
    }

    private String group(String name) throws Exception {
        ConsumerGroupDescription found = admin.describeConsumerGroups(List.of(name)).all().get().get(name);
        String assigned = found.members().stream().flatMap(m -> m.assignment().topicPartitions().stream())
            .map(Object::toString).sorted().collect(Collectors.joining(","));
        return found.groupState() + ", " + found.members().size() + " members, assigned [" + assigned + "], assignor "
            + found.partitionAssignor() + ", simple " + found.isSimpleConsumerGroup();
    }

    private String offsets(String group) throws Exception {
        Map<String, Long> found = new TreeMap<>();
        // Stable: not before the marker of a transaction that was just committed (KIP-447), as Streams reads them.
        admin.listConsumerGroupOffsets(group, new ListConsumerGroupOffsetsOptions().requireStable(true)).partitionsToOffsetAndMetadata().get()
            .forEach((partition, offset) -> found.put(partition.toString(), offset.offset()));
        return found.toString();
    }

    private long listed(OffsetSpec spec, IsolationLevel isolation) throws Exception {
        return admin.listOffsets(Map.of(REPARTITION_0, spec), new ListOffsetsOptions(isolation)).all().get().get(REPARTITION_0).offset();
    }

    private long end(String isolation) {
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consuming(isolation), new StringDeserializer(), new StringDeserializer())) {
            return consumer.endOffsets(List.of(COMMANDS_0)).get(COMMANDS_0);
        }
    }

    /** As CommandTopic reads: assigned, from the beginning, until its position is the end. */
    private List<String> commands() {
        List<String> read = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(consuming("read_committed"), new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(COMMANDS_0));
            consumer.seekToBeginning(List.of(COMMANDS_0));
            long end = consumer.endOffsets(List.of(COMMANDS_0)).get(COMMANDS_0);
            while (consumer.position(COMMANDS_0) < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    read.add(record.value());
                }
            }
        }
        return read;
    }

    private static ProducerRecord<String, String> command(String statement) {
        return new ProducerRecord<>(COMMANDS, 0, "id/" + statement, statement);
    }

    private Properties producing(String transactionalId) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", transactionalId);
        settings.put("acks", "all");
        return settings;
    }

    private Properties consuming(String isolation) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("isolation.level", isolation);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        return settings;
    }

    private static List<String> sorted(Collection<?> values) {
        return values == null ? List.of() : values.stream().map(Object::toString).sorted().collect(Collectors.toList());
    }
}
