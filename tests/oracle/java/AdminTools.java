import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringSerializer;

/** The scenarios of ToolsSuite that administer the broker itself: its settings, features, quorum, placement, client metrics. */
final class AdminTools {
    private static final String TOOLS = ToolsSuite.TOOLS;
    private static final String CONFIGS = "kafka.admin.ConfigCommand";
    private final ToolsSuite suite;
    private final Harness h;
    private final String topic = "admin-" + UUID.randomUUID().toString().substring(0, 8);

    AdminTools(ToolsSuite suite, Harness harness) {
        this.suite = suite;
        h = harness;
    }

    void scenarios() {
        h.scenario("kafka-configs on brokers", this::brokerConfigs);
        h.scenario("kafka-configs on broker-loggers", this::loggers);
        h.scenario("kafka-client-metrics and kafka-configs on client-metrics", this::clientMetrics);
        h.scenario("what a Java producer pushes is on /metrics", this::pushedMetrics);
        h.scenario("kafka-features", this::features);
        h.scenario("kafka-metadata-quorum", this::quorum);
        h.scenario("kafka-leader-election", this::leaderElection);
        h.scenario("kafka-reassign-partitions", this::reassignPartitions);
        h.scenario("kafka-cluster unregister", this::unregister);
        h.scenario("kafka-streams-application-reset", this::streamsReset);
        h.scenario("kafka-topics deletes what these made", () -> suite.tool(TOOLS + "TopicCommand", "--delete", "--topic", topic));
    }

    /** A tool that must refuse, and say this. */
    private void refuses(String main, String wanted, String... args) throws Exception {
        String said;
        try {
            said = "it succeeded: " + suite.tool(main, args);
        } catch (AssertionError refused) {
            said = refused.getMessage();
        }
        Harness.check(said.contains(wanted) && !said.startsWith("it succeeded"), "expected \"" + wanted + "\", got " + said);
    }

    private String brokerConfig(String name) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", h.bootstrap))) {
            ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, suite.node());
            ConfigEntry entry = admin.describeConfigs(List.of(broker)).all().get().get(broker).get(name);
            return entry == null ? null : entry.value();
        }
    }

    private void brokerConfigs() throws Exception {
        String node = suite.node();
        suite.tool(TOOLS + "TopicCommand", "--create", "--topic", topic, "--partitions", "2", "--replication-factor", "1");
        ToolsSuite.shows(suite.tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.roll.ms=86000000"), "Completed updating default config for brokers");
        ToolsSuite.shows(suite.tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-name", node, "--add-config", "log.roll.ms=85000000,message.max.bytes=1100000"),
            "Completed updating config for broker " + node);
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "brokers", "--entity-name", node), "log.roll.ms=85000000",
            "DYNAMIC_BROKER_CONFIG:log.roll.ms=85000000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.roll.ms=86000000", "message.max.bytes=1100000");
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "brokers", "--entity-default"), "log.roll.ms=86000000");
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "topics", "--entity-name", topic, "--all"), "segment.ms=85000000", "max.message.bytes=1100000");
        refuses(CONFIGS, "Cannot update these configs dynamically", "--alter", "--entity-type", "brokers", "--entity-name", node, "--add-config", "num.partitions=7");
        refuses(CONFIGS, "Invalid value soon", "--alter", "--entity-type", "brokers", "--entity-name", node, "--add-config", "log.roll.ms=soon");
        suite.tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-name", node, "--delete-config", "log.roll.ms,message.max.bytes");
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "topics", "--entity-name", topic, "--all"), "segment.ms=86000000", "max.message.bytes=1048588");
        suite.tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-default", "--delete-config", "log.roll.ms");
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "topics", "--entity-name", topic, "--all"), "segment.ms=604800000");
    }

    private void loggers() throws Exception {
        String node = suite.node();
        String before = suite.tool(CONFIGS, "--describe", "--entity-type", "broker-loggers", "--entity-name", node);
        ToolsSuite.shows(before, "root=");
        String logger = before.lines().filter(line -> line.contains("=") && !line.contains("root=")).findFirst().orElseThrow().strip().split("=")[0];
        suite.tool(CONFIGS, "--alter", "--entity-type", "broker-loggers", "--entity-name", node, "--add-config", logger + "=WARN");
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "broker-loggers", "--entity-name", node), logger + "=WARN");
        suite.tool(CONFIGS, "--alter", "--entity-type", "broker-loggers", "--entity-name", node, "--delete-config", logger);
        refuses(CONFIGS, "Invalid broker logger(s): no.such.Logger", "--alter", "--entity-type", "broker-loggers", "--entity-name", node, "--add-config", "no.such.Logger=INFO");
    }

    private void clientMetrics() throws Exception {
        String main = TOOLS + "ClientMetricsCommand";
        String name = topic + "-metrics";
        ToolsSuite.shows(suite.tool(main, "--alter", "--name", name, "--metrics", "org.apache.kafka.producer.", "--interval", "30000", "--match", "client_id=c.*"),
            "Altered client metrics config for " + name);
        ToolsSuite.shows(suite.tool(main, "--list"), name);
        ToolsSuite.shows(suite.tool(main, "--describe", "--name", name), "interval.ms=30000", "match=client_id=c.*", "metrics=org.apache.kafka.producer.");
        refuses(main, "interval must be between 100 and 3600000", "--alter", "--name", name, "--interval", "5");
        ToolsSuite.shows(suite.tool(CONFIGS, "--alter", "--entity-type", "client-metrics", "--entity-name", name, "--add-config", "interval.ms=500"), "Completed updating config");
        ToolsSuite.shows(suite.tool(CONFIGS, "--describe", "--entity-type", "client-metrics", "--entity-name", name), "interval.ms=500", "CLIENT_METRICS_CONFIG");
        ToolsSuite.shows(suite.tool(main, "--delete", "--name", name), "Deleted client metrics config for " + name);
        Harness.check(!suite.tool(main, "--list").contains(name), "the deleted subscription is still listed");
    }

    private void pushedMetrics() throws Exception {
        String address = brokerConfig("http.addr");
        if (address == null) {
            return; // a real Kafka has no such page
        }
        String name = topic + "-push";
        suite.tool(TOOLS + "ClientMetricsCommand", "--alter", "--name", name, "--metrics", "*", "--interval", "500", "--match", "client_id=" + topic + "-producer,client_software_name=apache-kafka-java");
        Properties properties = new Properties();
        properties.putAll(Map.of("bootstrap.servers", h.bootstrap, "client.id", topic + "-producer", "enable.metrics.push", "true"));
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            long deadline = System.nanoTime() + 20_000_000_000L;
            String wanted = "org.apache.kafka.producer.record.send.total\",client_id=\"" + topic + "-producer\"";
            String page = "";
            double value = 0;
            while (value < 5 && System.nanoTime() < deadline) {
                producer.send(new ProducerRecord<>(topic, "v")).get();
                Thread.sleep(300);
                page = get("http://" + address + "/metrics");
                value = page.lines().filter(line -> line.contains(wanted)).mapToDouble(line -> Double.parseDouble(line.substring(line.lastIndexOf(' ')))).max().orElse(0);
            }
            String last = page;
            Harness.check(value >= 5, "the page shows " + value + " for " + wanted + ": " + last.lines().filter(line -> line.contains("client_")).limit(5).toList());
            String instance = producer.clientInstanceId(java.time.Duration.ofSeconds(5)).toString();
            Harness.check(page.contains("client_instance_id=\"" + instance + "\""), "the client's own instance id, " + instance + ", is not on the page");
        }
        suite.tool(TOOLS + "ClientMetricsCommand", "--delete", "--name", name);
    }

    private static String get(String url) throws Exception {
        return HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(url)).build(), HttpResponse.BodyHandlers.ofString()).body();
    }

    private void features() throws Exception {
        String main = TOOLS + "FeatureCommand";
        ToolsSuite.shows(suite.tool(main, "describe"), "Feature: metadata.version", "FinalizedVersionLevel: 4.3-IV0");
        ToolsSuite.shows(suite.tool(main, "upgrade", "--feature", "metadata.version=30"), "metadata.version was upgraded to 30");
        refuses(main, "Could not upgrade no.such", "upgrade", "--feature", "no.such=1");
        refuses(main, "Could not downgrade metadata.version", "downgrade", "--feature", "metadata.version=7");
    }

    private void quorum() throws Exception {
        String main = TOOLS + "MetadataQuorumCommand";
        String node = suite.node();
        ToolsSuite.shows(suite.tool(main, "describe", "--status"), "LeaderId:", "CurrentVoters:", "MaxFollowerLag:         0");
        ToolsSuite.shows(suite.tool(main, "describe", "--replication"), "NodeId", "Leader", node);
        refuses(main, "kraft.version feature is 0", "remove-controller", "--controller-id", "7", "--controller-directory-id", "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    private void leaderElection() throws Exception {
        String main = TOOLS + "LeaderElectionCommand";
        ToolsSuite.shows(suite.tool(main, "--election-type", "preferred", "--topic", topic, "--partition", "0"), "Valid replica already elected for partitions " + topic + "-0");
        suite.tool(main, "--election-type", "preferred", "--all-topic-partitions");
        refuses(main, "No such partition as " + topic + "-9", "--election-type", "preferred", "--topic", topic, "--partition", "9");
    }

    private void reassignPartitions() throws Exception {
        String main = TOOLS + "reassign.ReassignPartitionsCommand";
        String node = suite.node();
        Path topics = Files.createTempFile("topics", ".json");
        Path plan = Files.createTempFile("plan", ".json");
        try {
            Files.writeString(topics, "{\"topics\":[{\"topic\":\"%s\"}],\"version\":1}".formatted(topic));
            ToolsSuite.shows(suite.tool(main, "--topics-to-move-json-file", topics.toString(), "--broker-list", node, "--generate"), "Proposed partition reassignment configuration", "\"replicas\":[" + node + "]");
            Files.writeString(plan, "{\"version\":1,\"partitions\":[{\"topic\":\"%s\",\"partition\":0,\"replicas\":[%s],\"log_dirs\":[\"any\"]}]}".formatted(topic, node));
            ToolsSuite.shows(suite.tool(main, "--reassignment-json-file", plan.toString(), "--execute", "--throttle", "1000000"), "Successfully started partition reassignment for " + topic + "-0");
            ToolsSuite.shows(suite.tool(main, "--list"), "No partition reassignments found.");
            ToolsSuite.shows(suite.tool(main, "--reassignment-json-file", plan.toString(), "--verify"), "Reassignment of partition " + topic + "-0 is completed.", "Clearing broker-level throttles");
            Files.writeString(plan, "{\"version\":1,\"partitions\":[{\"topic\":\"%s\",\"partition\":0,\"replicas\":[77]}]}".formatted(topic));
            refuses(main, "77", "--reassignment-json-file", plan.toString(), "--execute");
        } finally {
            Files.delete(topics);
            Files.delete(plan);
        }
        Harness.same(brokerConfig("message.max.bytes"), "1048588", "a setting the tool has nothing to do with");
    }

    private void unregister() throws Exception {
        String main = TOOLS + "ClusterTool";
        String said;
        try {
            said = suite.run("", main, "unregister", "--bootstrap-server", h.bootstrap, "--id", "99");
        } catch (AssertionError refused) {
            said = refused.getMessage();
        }
        ToolsSuite.shows(said, "Broker ID 99 is not currently registered");
    }

    private void streamsReset() throws Exception {
        String group = topic + "-app";
        suite.run("a\nb\nc\n", TOOLS + "ConsoleProducer", "--bootstrap-server", h.bootstrap, "--topic", topic);
        suite.tool(TOOLS + "consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", "3", "--timeout-ms", "15000", "--group", group);
        String internal = group + "-store-changelog";
        suite.tool(TOOLS + "TopicCommand", "--create", "--topic", internal, "--partitions", "1", "--replication-factor", "1");
        ToolsSuite.shows(suite.tool(TOOLS + "StreamsResetter", "--application-id", group, "--input-topics", topic, "--to-earliest", "--force"),
            "Reset-offsets for input topics [" + topic + "]", "Partition: 0 Offset: 0", "Deleting inferred internal topics [" + internal + "]");
        ToolsSuite.shows(suite.tool(TOOLS + "consumer.group.ConsumerGroupCommand", "--describe", "--group", group), topic);
        Harness.until("deletion of " + internal, () -> !suite.tool(TOOLS + "TopicCommand", "--list").contains(internal));
    }
}
