import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.GroupSubscribedToTopicException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java admin client at 4.3: every call that a broker without transactions and ACLs serves. */
public final class AdminSuite {
    private final Harness h;

    private AdminSuite(Harness harness) {
        h = harness;
    }

    public static void main(String[] args) {
        try (Harness h = new Harness("java-admin", args, 60)) {
            AdminSuite suite = new AdminSuite(h);
            h.scenario("topics are created, described, grown and deleted", suite::topics);
            h.scenario("bad topics are refused with Kafka's errors", suite::badTopics);
            h.scenario("topic configs are set, appended, subtracted, deleted and validated", suite::configs);
            h.scenario("broker configs are described and altered", suite::brokerConfigs);
            h.scenario("records are deleted and offsets listed", suite::records);
            h.scenario("the cluster, log dirs and producers are described", suite::cluster);
            h.scenario("groups are listed, described, emptied and deleted", suite::groups);
            h.scenario("group offsets are reset and deleted", suite::groupOffsets);
        }
    }

    private static ConfigResource topicResource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private void send(String topic, int partition, int count) throws Exception {
        try (var producer = new KafkaProducer<>(h.properties(), new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int i = 0; i < count; i++) {
                producer.send(new ProducerRecord<>(topic, partition, 1_000_000L + i, null, new byte[100]));
            }
            producer.flush();
        }
    }

    private void topics() throws Exception {
        String topic = h.topic("admin", 2, Map.of("retention.ms", "123456"));
        var described = Harness.await(h.admin.describeTopics(List.of(topic),
            new DescribeTopicsOptions().includeAuthorizedOperations(true)).allTopicNames()).get(topic);
        Harness.same(described.partitions().size(), 2, "partitions");
        Harness.check(described.authorizedOperations() != null && !described.authorizedOperations().isEmpty(), "no authorized operations");
        Uuid id = described.topicId();
        Harness.check(!id.equals(Uuid.ZERO_UUID), "topic id is zero");
        Harness.same(Harness.await(h.admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(id))).allTopicIds())
            .get(id).name(), topic, "topic by id");
        Harness.same(Harness.await(h.admin.listTopics().names()).contains(topic), true, "listed");
        Harness.await(h.admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all());
        Harness.same(Harness.await(h.admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size(), 5, "grown");
        Harness.refused(InvalidPartitionsException.class,
            () -> Harness.await(h.admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all()), "growing to the same");
        send(topic, 0, 3);
        Harness.await(h.admin.deleteTopics(List.of(topic)).all());
        Harness.refused(UnknownTopicOrPartitionException.class,
            () -> Harness.await(h.admin.describeTopics(List.of(topic)).allTopicNames()), "a deleted topic");
        var again = h.admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1)));
        Harness.await(again.all());
        Harness.check(!Harness.await(again.topicId(topic)).equals(id), "a recreated topic has its old id");
        TopicPartition partition = new TopicPartition(topic, 0);
        Harness.same(Harness.await(h.admin.listOffsets(Map.of(partition, OffsetSpec.latest())).all()).get(partition).offset(), 0L,
            "end offset of a recreated topic");
    }

    private void create(String name, int partitions, int replication, Map<String, String> configs) throws Exception {
        Harness.await(h.admin.createTopics(List.of(new NewTopic(name, partitions, (short) replication).configs(configs))).all());
    }

    private void badTopics() throws Exception {
        String topic = h.topic("bad", 1);
        Harness.refused(TopicExistsException.class, () -> create(topic, 1, 1, Map.of()), "creating twice");
        Harness.refused(InvalidTopicException.class, () -> create("no spaces", 1, 1, Map.of()), "a bad name");
        Harness.refused(InvalidTopicException.class, () -> create("x".repeat(250), 1, 1, Map.of()), "a long name");
        Harness.refused(InvalidPartitionsException.class, () -> create(topic + "-p", 0, 1, Map.of()), "no partitions");
        Harness.refused(InvalidReplicationFactorException.class, () -> create(topic + "-r", 1, 3, Map.of()), "three replicas");
        Harness.refused(InvalidConfigurationException.class, () -> create(topic + "-c", 1, 1, Map.of("no.such.config", "1")), "unknown config");
        Harness.refused(InvalidConfigurationException.class, () -> create(topic + "-v", 1, 1, Map.of("retention.ms", "soon")), "bad value");
        Harness.refused(UnknownTopicOrPartitionException.class, () -> Harness.await(h.admin.deleteTopics(List.of(topic + "-none")).all()), "deleting none");
        Harness.await(h.admin.createTopics(List.of(new NewTopic(topic + "-dry", 1, (short) 1)),
            new org.apache.kafka.clients.admin.CreateTopicsOptions().validateOnly(true)).all());
        Harness.same(Harness.await(h.admin.listTopics().names()).contains(topic + "-dry"), false, "a validated topic exists");
    }

    private Config configsOf(ConfigResource resource) throws Exception {
        return Harness.await(h.admin.describeConfigs(List.of(resource)).all()).get(resource);
    }

    private void alter(ConfigResource resource, String key, String value, AlterConfigOp.OpType type) throws Exception {
        Harness.await(h.admin.incrementalAlterConfigs(Map.of(resource,
            List.of(new AlterConfigOp(new ConfigEntry(key, value), type)))).all());
    }

    private void configs() throws Exception {
        ConfigResource resource = topicResource(h.topic("configs", 1, Map.of("cleanup.policy", "compact")));
        Harness.check(configsOf(resource).entries().size() >= 30, "only " + configsOf(resource).entries().size() + " topic configs");
        alter(resource, "retention.ms", "60000", AlterConfigOp.OpType.SET);
        alter(resource, "cleanup.policy", "delete", AlterConfigOp.OpType.APPEND);
        Harness.same(configsOf(resource).get("retention.ms").value(), "60000", "retention.ms");
        Harness.same(configsOf(resource).get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
        Harness.same(configsOf(resource).get("cleanup.policy").value(), "compact,delete", "appended");
        alter(resource, "cleanup.policy", "compact", AlterConfigOp.OpType.SUBTRACT);
        alter(resource, "retention.ms", null, AlterConfigOp.OpType.DELETE);
        Harness.same(configsOf(resource).get("cleanup.policy").value(), "delete", "subtracted");
        Harness.same(configsOf(resource).get("retention.ms").isDefault(), true, "deleted");
        Harness.refused(InvalidConfigurationException.class, () -> alter(resource, "retention.ms", "soon", AlterConfigOp.OpType.SET), "bad value");
        Harness.refused(InvalidConfigurationException.class, () -> alter(resource, "retention.ms", "1", AlterConfigOp.OpType.APPEND), "append to a number");
        Harness.refused(UnknownTopicOrPartitionException.class, () -> configsOf(topicResource("none-" + UUID.randomUUID())), "unknown topic");
        Harness.same(Harness.await(h.admin.listConfigResources(Set.of(ConfigResource.Type.TOPIC),
            new org.apache.kafka.clients.admin.ListConfigResourcesOptions()).all()).contains(resource), true, "config resource listed");
    }

    private void brokerConfigs() throws Exception {
        String node = Harness.await(h.admin.describeCluster().nodes()).iterator().next().idString();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, node);
        for (String key : List.of("num.partitions", "auto.create.topics.enable", "log.retention.ms", "message.max.bytes", "group.initial.rebalance.delay.ms")) {
            Harness.check(configsOf(broker).get(key) != null, "broker config " + key + " is not described");
        }
    }

    private long offset(TopicPartition partition, OffsetSpec spec) throws Exception {
        return Harness.await(h.admin.listOffsets(Map.of(partition, spec)).all()).get(partition).offset();
    }

    private void records() throws Exception {
        String topic = h.topic("records", 1);
        TopicPartition partition = new TopicPartition(topic, 0);
        Harness.same(offset(partition, OffsetSpec.latest()), 0L, "latest of an empty log");
        Harness.same(offset(partition, OffsetSpec.maxTimestamp()), -1L, "max timestamp of an empty log");
        send(topic, 0, 50);
        Harness.same(Harness.await(h.admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(20)))
            .lowWatermarks().get(partition)).lowWatermark(), 20L, "low watermark");
        Harness.same(offset(partition, OffsetSpec.earliest()), 20L, "earliest");
        Harness.same(offset(partition, OffsetSpec.latest()), 50L, "latest");
        Harness.same(offset(partition, OffsetSpec.maxTimestamp()), 49L, "max timestamp");
        Harness.same(offset(partition, OffsetSpec.forTimestamp(1_000_030L)), 30L, "by time");
        Harness.same(offset(partition, OffsetSpec.forTimestamp(1_000_050L)), -1L, "after the last");
        Harness.same(offset(partition, OffsetSpec.earliestLocal()), 20L, "earliest local");
        Harness.same(offset(partition, OffsetSpec.latestTiered()), -1L, "latest tiered");
        Harness.refused(OffsetOutOfRangeException.class,
            () -> Harness.await(h.admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(51))).all()), "beyond the end");
        Harness.await(h.admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(-1))).all());
        Harness.same(offset(partition, OffsetSpec.earliest()), 50L, "earliest after deleting all");
    }

    private void cluster() throws Exception {
        var cluster = h.admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
        Harness.same(Harness.await(cluster.nodes()).size(), 1, "nodes");
        Harness.check(Harness.await(cluster.clusterId()).length() == 22, "cluster id " + Harness.await(cluster.clusterId()));
        Harness.check(Harness.await(cluster.controller()) != null, "no controller");
        Harness.check(Harness.await(cluster.authorizedOperations()) != null, "no authorized operations");
        String topic = h.topic("cluster", 1);
        send(topic, 0, 10);
        TopicPartition partition = new TopicPartition(topic, 0);
        int node = Harness.await(cluster.nodes()).iterator().next().id();
        var dirs = Harness.await(h.admin.describeLogDirs(List.of(node)).allDescriptions()).get(node).values();
        Harness.check(dirs.stream().anyMatch(d -> d.replicaInfos().containsKey(partition) && d.replicaInfos().get(partition).size() > 0),
            "log dirs do not show the topic's bytes");
        Harness.check(dirs.stream().allMatch(d -> d.totalBytes().orElse(0) > 0 && d.usableBytes().orElse(0) > 0), "volume sizes missing");
        var producers = Harness.await(h.admin.describeProducers(List.of(partition)).all()).get(partition).activeProducers();
        Harness.same(producers.size(), 1, "active producers");
        Harness.same(producers.get(0).lastSequence(), 9, "last sequence");
        var features = Harness.await(h.admin.describeFeatures().featureMetadata());
        Harness.check(features != null, "no feature metadata");
    }

    private KafkaConsumer<byte[], byte[]> member(String group, String topic) throws Exception {
        var consumer = new KafkaConsumer<>(h.properties("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", "false",
            "client.id", "admin-suite"), new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.subscribe(List.of(topic));
        List<Object> got = new ArrayList<>();
        Harness.until("first record of " + group, () -> {
            consumer.poll(Duration.ofMillis(100)).forEach(got::add);
            return got.size() == 10;
        });
        consumer.commitSync();
        return consumer;
    }

    private void groups() throws Exception {
        String topic = h.topic("groups", 1);
        String group = "group-of-" + topic;
        send(topic, 0, 10);
        try (var consumer = member(group, topic)) {
            var described = Harness.await(h.admin.describeConsumerGroups(List.of(group)).all()).get(group);
            Harness.same(described.groupState(), GroupState.STABLE, "state");
            Harness.same(described.members().size(), 1, "members");
            Harness.same(described.members().iterator().next().clientId(), "admin-suite", "client id");
            Harness.same(described.members().iterator().next().assignment().topicPartitions(), Set.of(new TopicPartition(topic, 0)), "assignment");
            var stable = new ListGroupsOptions().inGroupStates(Set.of(GroupState.STABLE));
            Harness.check(Harness.await(h.admin.listGroups(stable).all()).stream().anyMatch(g -> g.groupId().equals(group)), "not listed as stable");
            Harness.refused(GroupNotEmptyException.class, () -> Harness.await(h.admin.deleteConsumerGroups(List.of(group)).all()), "deleting in use");
            Harness.refused(GroupSubscribedToTopicException.class, () -> Harness.await(h.admin.deleteConsumerGroupOffsets(group,
                Set.of(new TopicPartition(topic, 0))).all()), "deleting a subscribed topic's offset");
            Harness.await(h.admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all());
            Harness.same(Harness.await(h.admin.describeConsumerGroups(List.of(group)).all()).get(group).groupState(), GroupState.EMPTY, "state");
        }
        Harness.await(h.admin.deleteConsumerGroups(List.of(group)).all());
        Harness.refused(GroupIdNotFoundException.class, () -> Harness.await(h.admin.deleteConsumerGroups(List.of(group)).all()), "deleting twice");
        Harness.refused(GroupIdNotFoundException.class, () -> Harness.await(h.admin.describeConsumerGroups(List.of(group)).all()), "describing a deleted group");
    }

    private void groupOffsets() throws Exception {
        String topic = h.topic("reset", 2);
        String group = "group-of-" + topic;
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        send(topic, 0, 10);
        Harness.await(h.admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(4, "by hand"), one, new OffsetAndMetadata(0))).all());
        var committed = Harness.await(h.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Harness.same(committed.get(zero).offset(), 4L, "offset set by hand");
        Harness.same(committed.get(zero).metadata(), "by hand", "its metadata");
        Harness.await(h.admin.deleteConsumerGroupOffsets(group, Set.of(one)).all());
        Harness.same(Harness.await(h.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).keySet(), Set.of(zero), "after deleting one");
        try (var consumer = new KafkaConsumer<>(h.properties("group.id", group, "auto.offset.reset", "latest"),
            new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            List<Long> offsets = new ArrayList<>();
            Harness.until("records from the offset set", () -> {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> offsets.add(record.offset()));
                return offsets.size() == 6;
            });
            Harness.same(offsets.get(0), 4L, "first offset read");
            consumer.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(Duration.ofSeconds(5)));
        }
        h.admin.deleteConsumerGroups(List.of(group)).all().get(20, TimeUnit.SECONDS);
    }
}
