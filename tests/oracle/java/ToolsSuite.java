import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's own command-line tools, by their main classes, nearly all in one JVM: a JVM each would take
 * minutes. Exit and shutdown hooks are caught, so a tool's end is a value here.
 */
public final class ToolsSuite {
    static final String TOOLS = "org.apache.kafka.tools.";
    private final Harness h;
    private final String topic = "cli-" + UUID.randomUUID().toString().substring(0, 8);
    private final String group = "group-of-" + topic;

    /** Thrown out of a tool that asks the process to end. */
    private static final class Ended extends RuntimeException {
        Ended() {
            super("the tool ended", null, false, false);
        }
    }

    private ToolsSuite(Harness harness) {
        h = harness;
    }

    public static void main(String[] args) {
        try (Harness h = new Harness("kafka-tools", args, 300)) {
            ToolsSuite suite = new ToolsSuite(h);
            h.scenario("kafka-broker-api-versions", suite::apiVersions);
            h.scenario("kafka-cluster", suite::cluster);
            h.scenario("kafka-topics", suite::topics);
            h.scenario("kafka-configs", suite::configs);
            h.scenario("kafka-console-producer and kafka-console-consumer", suite::console);
            h.scenario("kafka-get-offsets", suite::getOffsets);
            h.scenario("kafka-consumer-groups and kafka-groups", suite::groups);
            h.scenario("kafka-delete-records", suite::deleteRecords);
            h.scenario("kafka-log-dirs", suite::logDirs);
            h.scenario("kafka-producer-perf-test and kafka-consumer-perf-test", suite::perf);
            h.scenario("kafka-verifiable-producer and kafka-verifiable-consumer", suite::verifiable);
            h.scenario("kafka-e2e-latency", suite::endToEndLatency);
            new AdminTools(suite, h).scenarios();
            new TransactionTools(suite, h).scenarios();
            h.scenario("kafka-topics deletes", suite::deleteTopic);
        }
    }

    /** Runs one tool with `input` on its standard input; gives what it printed; fails on a non-zero exit. */
    String run(String input, String main, String... args) throws Exception {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        List<Runnable> hooks = new ArrayList<>();
        InputStream in = System.in;
        PrintStream out = System.out;
        PrintStream err = System.err;
        PrintStream captured = new PrintStream(printed, true, StandardCharsets.UTF_8);
        // The first call counts: tools that exit inside a try catch `Ended` and exit once more.
        AtomicReference<Integer> ended = new AtomicReference<>();
        Exit.Procedure end = (status, message) -> {
            ended.compareAndSet(null, status);
            throw new Ended();
        };
        Exit.setExitProcedure(end);
        Exit.setHaltProcedure(end);
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        ExecutorService thread = Executors.newSingleThreadExecutor();
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        System.setOut(captured);
        System.setErr(captured);
        String failure = null;
        try {
            thread.submit(() -> Class.forName(main).getMethod("main", String[].class).invoke(null, (Object) args)).get(40, TimeUnit.SECONDS);
            failure = ended.get() == null || ended.get() == 0 ? null : "exit " + ended.get();
        } catch (java.util.concurrent.ExecutionException error) {
            Throwable cause = error.getCause() instanceof InvocationTargetException wrapped ? wrapped.getCause() : error.getCause();
            if (!(cause instanceof Ended) || ended.get() != 0) {
                failure = cause + ", exit " + ended.get();
            }
        } catch (java.util.concurrent.TimeoutException error) {
            failure = "did not end within 40 s";
        } finally {
            thread.shutdownNow();
            for (Runnable hook : hooks) {
                Thread closer = new Thread(hook); // a hook that hangs must not hang the suite
                closer.setDaemon(true);
                closer.start();
                closer.join(5000);
            }
            System.setIn(in);
            System.setOut(out);
            System.setErr(err);
        }
        String text = printed.toString(StandardCharsets.UTF_8);
        if (failure != null) {
            throw new AssertionError(main + " " + String.join(" ", args) + ": " + failure + "; it printed: " + tail(text));
        }
        return text;
    }

    /** A JVM of its own, for the tools whose summary comes from a JVM shutdown hook. */
    private String fork(String main, String... args) throws Exception {
        List<String> command = new ArrayList<>(List.of(System.getProperty("java.home") + "/bin/java", "-Xmx256M", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", System.getProperty("java.class.path"), main,
            "--bootstrap-server", h.bootstrap));
        command.addAll(List.of(args));
        Path printed = Files.createTempFile("tool", ".log");
        Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(printed.toFile()).start();
        try {
            boolean ended = process.waitFor(40, TimeUnit.SECONDS);
            String text = Files.readString(printed);
            Harness.check(ended && process.exitValue() == 0, main + (ended ? ": exit " + process.exitValue() : ": did not end") + "; it printed: " + tail(text));
            return text;
        } finally {
            process.destroyForcibly();
            Files.delete(printed);
        }
    }

    private static String tail(String text) {
        return text.length() > 600 ? "…" + text.substring(text.length() - 600) : text;
    }

    String tool(String main, String... args) throws Exception {
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", h.bootstrap));
        all.addAll(List.of(args));
        return run("", main, all.toArray(new String[0]));
    }

    /** The broker's id. */
    String node() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", h.bootstrap))) {
            return admin.describeCluster().nodes().get().iterator().next().idString();
        }
    }

    static void shows(String printed, String... wanted) {
        for (String text : wanted) {
            Harness.check(printed.contains(text), "output lacks \"" + text + "\": " + tail(printed));
        }
    }

    private void apiVersions() throws Exception {
        String printed = tool(TOOLS + "BrokerApiVersionsCommand");
        shows(printed, "Produce(0): 0 to 13", "Fetch(1): 4 to 18", "ApiVersions(18): 0 to 4");
    }

    private void cluster() throws Exception {
        shows(run("", TOOLS + "ClusterTool", "cluster-id", "--bootstrap-server", h.bootstrap), "Cluster ID: ");
        shows(run("", TOOLS + "ClusterTool", "list-endpoints", "--bootstrap-server", h.bootstrap), "ID", "HOST");
    }

    private void topics() throws Exception {
        String main = TOOLS + "TopicCommand";
        shows(tool(main, "--create", "--topic", topic, "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=3600000"),
            "Created topic " + topic);
        shows(tool(main, "--create", "--if-not-exists", "--topic", topic));
        shows(tool(main, "--list"), topic);
        shows(tool(main, "--describe", "--topic", topic), "PartitionCount: 2", "retention.ms=3600000", "Leader: ", "Isr: ");
        tool(main, "--alter", "--topic", topic, "--partitions", "3");
        shows(tool(main, "--describe", "--topic", topic), "PartitionCount: 3");
        tool(main, "--describe", "--under-replicated-partitions");
    }

    private void configs() throws Exception {
        String main = "kafka.admin.ConfigCommand";
        tool(main, "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "max.message.bytes=2000000,cleanup.policy=[compact,delete]");
        shows(tool(main, "--describe", "--entity-type", "topics", "--entity-name", topic),
            "max.message.bytes=2000000", "cleanup.policy=compact,delete", "DYNAMIC_TOPIC_CONFIG:max.message.bytes=2000000");
        tool(main, "--alter", "--entity-type", "topics", "--entity-name", topic, "--delete-config", "cleanup.policy");
        shows(tool(main, "--describe", "--entity-type", "topics", "--entity-name", topic, "--all"), "cleanup.policy=delete", "segment.bytes=");
        shows(tool(main, "--describe", "--entity-type", "brokers", "--all"), "num.partitions=");
    }

    private void console() throws Exception {
        run("k1:one\nk2:two\nk3:three\n", TOOLS + "ConsoleProducer", "--bootstrap-server", h.bootstrap, "--topic", topic,
            "--reader-property", "parse.key=true", "--reader-property", "key.separator=:", "--compression-codec", "zstd");
        String printed = tool(TOOLS + "consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", "3", "--timeout-ms", "15000",
            "--group", group, "--formatter-property", "print.key=true", "--formatter-property", "print.offset=true",
            "--formatter-property", "print.timestamp=true");
        shows(printed, "k1\tone", "k2\ttwo", "k3\tthree", "CreateTime:", "Offset:0");
    }

    private void getOffsets() throws Exception {
        String latest = tool(TOOLS + "GetOffsetShell", "--topic", topic);
        int total = latest.lines().filter(line -> line.startsWith(topic)).mapToInt(line -> Integer.parseInt(line.split(":")[2])).sum();
        Harness.same(total, 3, "sum of the end offsets in " + latest);
        shows(tool(TOOLS + "GetOffsetShell", "--topic", topic, "--time", "earliest"), topic + ":0:0", topic + ":1:0", topic + ":2:0");
        for (String time : List.of("max-timestamp", "earliest-local", "latest-tiered", "1000")) {
            tool(TOOLS + "GetOffsetShell", "--topic", topic, "--time", time);
        }
    }

    private void groups() throws Exception {
        String main = TOOLS + "consumer.group.ConsumerGroupCommand";
        shows(tool(main, "--list"), group);
        shows(tool(main, "--describe", "--group", group), topic, "CURRENT-OFFSET", "LAG");
        shows(tool(main, "--describe", "--group", group, "--state"), "Empty");
        tool(main, "--describe", "--group", group, "--members", "--verbose");
        shows(tool(main, "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute"), "NEW-OFFSET");
        shows(tool(main, "--group", group, "--topic", topic, "--reset-offsets", "--to-datetime", "2020-01-01T00:00:00.000", "--dry-run"), topic);
        shows(tool(TOOLS + "GroupsCommand", "--list"), group, "Classic");
        shows(tool(main, "--delete-offsets", "--group", group, "--topic", topic + ":0"), "Successful");
        shows(tool(main, "--delete", "--group", group), "successful");
        Harness.check(!tool(main, "--list").contains(group), "the deleted group is still listed");
    }

    private void deleteRecords() throws Exception {
        Path file = Files.createTempFile("delete-records", ".json");
        try {
            Files.writeString(file, "{\"partitions\":[{\"topic\":\"%s\",\"partition\":0,\"offset\":-1}],\"version\":1}".formatted(topic));
            shows(tool(TOOLS + "DeleteRecordsCommand", "--offset-json-file", file.toString()), "low_watermark");
        } finally {
            Files.delete(file);
        }
    }

    private void logDirs() throws Exception {
        shows(tool(TOOLS + "LogDirsCommand", "--describe", "--topic-list", topic), "\"partition\":\"" + topic + "-0\"", "\"size\":");
    }

    private void perf() throws Exception {
        String count = String.valueOf(20_000 * h.scale());
        shows(run("", TOOLS + "ProducerPerformance", "--topic", topic, "--num-records", count, "--record-size", "100", "--throughput", "-1",
            "--bootstrap-server", h.bootstrap), count + " records sent", "99.9th");
        String printed = tool(TOOLS + "ConsumerPerformance", "--topic", topic, "--num-records", count, "--timeout", "15000");
        String[] columns = printed.strip().substring(printed.strip().lastIndexOf('\n') + 1).split(", ");
        Harness.check(columns.length == 10 && Long.parseLong(columns[4]) >= Long.parseLong(count), "records consumed: " + tail(printed));
    }

    private void verifiable() throws Exception {
        String printed = fork(TOOLS + "VerifiableProducer", "--topic", topic, "--max-messages", "500", "--acks", "-1");
        shows(printed, "\"acked\":500");
        printed = fork(TOOLS + "VerifiableConsumer", "--topic", topic, "--group-id", group + "-v", "--max-messages", "500",
            "--reset-policy", "earliest", "--session-timeout", "10000");
        shows(printed, "\"name\":\"records_consumed\"", "\"name\":\"offsets_committed\"", "\"success\":true");
    }

    private void endToEndLatency() throws Exception {
        shows(tool(TOOLS + "EndToEndLatency", "--topic", topic + "-e2e", "--num-records", "200", "--producer-acks", "all", "--record-size", "100"),
            "Avg latency", "99.9th");
        tool(TOOLS + "TopicCommand", "--delete", "--topic", topic + "-e2e");
    }

    private void deleteTopic() throws Exception {
        tool(TOOLS + "TopicCommand", "--delete", "--topic", topic);
        Harness.until("deletion", () -> !tool(TOOLS + "TopicCommand", "--list").contains(topic));
    }
}
