import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.requests.AbstractResponse;

/**
 * Two questions to a broker, both answered by Kafka's own classes.
 *
 * <pre>
 *   ParityProbe parse  --bootstrap B [--strict]                   every advertised (api, version) parses
 *   ParityProbe errors --a KAFKA --b BROKER --allow FILE [NAME]   the same answers to the named cases
 *   ParityProbe errors --answers FILE --b BROKER --allow FILE     the same, against Kafka's recorded answers
 *   ParityProbe record --a KAFKA --answers FILE                   records them
 * </pre>
 *
 * parse skips an API for which it knows no request (Requests); with --strict that fails, so whoever serves
 * one more API must add its request. The allow file holds `case name | reason`; a case listed there must differ, or the line is stale.
 */
public final class ParityProbe {
    interface Case {
        /** A response as JSON, or any value whose text is to be compared. */
        Object run(Fixture fixture, Wire wire) throws Exception;
    }

    private static final int LIMIT_SECONDS = 200;

    public static void main(String[] args) throws Exception {
        List<String> given = new ArrayList<>(Arrays.asList(args));
        Thread watchdog = new Thread(() -> {
            try {
                Thread.sleep(LIMIT_SECONDS * 1000L);
                System.out.println("watchdog: the probe hangs");
                Runtime.getRuntime().halt(1);
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
        });
        watchdog.setDaemon(true);
        watchdog.start();
        boolean good = given.contains("parse") ? parse(option(given, "--bootstrap"), given.contains("--strict"))
            : given.contains("record") ? record(given) : errors(given);
        System.out.flush();
        Runtime.getRuntime().halt(good ? 0 : 1);
    }

    private static String option(List<String> given, String name) {
        int at = given.indexOf(name);
        if (at < 0 || at + 1 == given.size()) {
            System.out.println("missing " + name);
            Runtime.getRuntime().halt(2);
        }
        return given.get(at + 1);
    }

    /** What was answered, by (api, version). */
    static final class Answers {
        final Map<String, String> failures = new TreeMap<>();
        final Set<String> parsed = new TreeSet<>();
        final Set<String> skipped = new TreeSet<>();

        /** Receives, parses, and expects this error and no other. */
        JsonNode take(Wire.Sent sent, Wire wire, int wanted) throws Exception {
            String name = sent.api().name + " v" + sent.version();
            AbstractResponse response = wire.receiveResponse(sent);
            synchronized (this) {
                parsed.add(name);
                for (Errors error : response.errorCounts().keySet()) {
                    if (error.code() != wanted) {
                        failures.put(name, "answered " + error + " to a well-formed request");
                    }
                }
            }
            return Wire.json(response, sent.version());
        }

        synchronized void failed(String name, Throwable error) {
            failures.put(name, String.valueOf(error));
        }
    }

    private static boolean parse(String bootstrap, boolean strict) throws Exception {
        Fixture fixture = new Fixture(bootstrap, "parse-" + Long.toString(System.nanoTime(), 36) + "-").warm();
        Map<ApiKeys, short[]> advertised = advertised(bootstrap);
        Requests requests = new Requests(fixture);
        Answers answers = new Answers();
        ExecutorService pool = Executors.newFixedThreadPool(10); // joins wait for the rebalance delay
        List<Future<?>> lives = new ArrayList<>();
        for (int v = 0; v <= advertised.getOrDefault(ApiKeys.JOIN_GROUP, new short[] {0, -1})[1]; v++) {
            int version = v;
            lives.add(pool.submit(() -> {
                try (Wire wire = fixture.wire()) {
                    requests.groupLife(wire, version, answers);
                } catch (Throwable error) {
                    answers.failed("group life at JoinGroup v" + version, error);
                }
            }));
        }
        for (Map.Entry<ApiKeys, short[]> api : advertised.entrySet()) {
            for (short v = api.getValue()[0]; v <= api.getValue()[1]; v++) {
                one(fixture, requests, answers, api.getKey(), v);
            }
        }
        for (Future<?> life : lives) {
            life.get();
        }
        answers.failures.forEach((name, why) -> System.out.println("  " + name + " FAILED: " + why));
        if (!answers.skipped.isEmpty()) {
            System.out.println("  SKIP, no request known: " + String.join(", ", answers.skipped));
        }
        System.out.println("(api, version) pairs of " + bootstrap + " parsed by Kafka's classes:");
        System.out.printf("%d passed, %d failed, %d skipped%n", answers.parsed.size(), answers.failures.size(), answers.skipped.size());
        return answers.failures.isEmpty() && !answers.parsed.isEmpty() && !(strict && !answers.skipped.isEmpty());
    }

    private static final Set<String> BY_LIFE = Set.of("JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup");

    private static void one(Fixture fixture, Requests requests, Answers answers, ApiKeys api, short version) {
        if (BY_LIFE.contains(api.name)) {
            return;
        }
        if (api == ApiKeys.PRODUCE && version < api.oldestVersion()) {
            return; // advertised for librdkafka's sake only (KAFKA-18659)
        }
        try (Wire wire = fixture.wire()) {
            String request = requests.request(api.name, version);
            if (request == null) {
                answers.skipped.add(api.name);
                return;
            }
            answers.take(wire.send(api.name, version, request), wire, Requests.wanted(api.name));
        } catch (Throwable error) {
            answers.failed(api.name + " v" + version, error);
        }
    }

    private static Map<ApiKeys, short[]> advertised(String bootstrap) throws Exception {
        Map<ApiKeys, short[]> out = new TreeMap<>();
        try (Wire wire = new Wire(bootstrap)) {
            for (JsonNode api : wire.call("ApiVersions", 4, "{clientSoftwareName:'probe',clientSoftwareVersion:'1.0'}").get("apiKeys")) {
                out.put(ApiKeys.forId(api.get("apiKey").intValue()),
                    new short[] {(short) api.get("minVersion").intValue(), (short) api.get("maxVersion").intValue()});
            }
        }
        return out;
    }

    private static Map<String, Case> cases() {
        Map<String, Case> cases = new LinkedHashMap<>();
        FramingCases.add(cases);
        ProduceCases.add(cases);
        ReadCases.add(cases);
        GroupCases.add(cases);
        AdminCases.add(cases);
        ClusterCases.add(cases);
        TransactionCases.add(cases);
        TransactionLogCases.add(cases);
        TransactionOffsetCases.add(cases);
        TransactionVersion2Cases.add(cases);
        return cases;
    }

    private static Fixture fixture(List<String> given, String side) throws Exception {
        return new Fixture(option(given, side), "probe-" + Long.toString(System.nanoTime(), 36) + side + "-").warm();
    }

    private static boolean record(List<String> given) throws Exception {
        Fixture kafka = fixture(given, "--a");
        StringBuilder out = new StringBuilder("# What Apache Kafka 4.3.0 answers, one node, group.initial.rebalance.delay.ms=0, timed-out transactions looked for each second: `case | answer`.\n"
            + "# Written by `ParityProbe record`; names of topics and groups are ~.\n");
        for (Map.Entry<String, Case> entry : cases().entrySet()) {
            out.append(entry.getKey()).append(" | ").append(outcome(kafka, entry.getValue())).append('\n');
        }
        Files.writeString(Path.of(option(given, "--answers")), out);
        return true;
    }

    /** Lines of `name | rest`; comments start with #. */
    private static Map<String, String> lines(String file) throws Exception {
        Map<String, String> out = new LinkedHashMap<>();
        for (String line : Files.readAllLines(Path.of(file))) {
            if (!line.isBlank() && !line.startsWith("#")) {
                String[] parts = line.split("\\|", 2);
                out.put(parts[0].strip(), parts[1].strip());
            }
        }
        return out;
    }

    private static boolean errors(List<String> given) throws Exception {
        Map<String, String> allowed = lines(option(given, "--allow"));
        Map<String, String> answers = given.contains("--answers") ? lines(option(given, "--answers")) : null;
        String filter = given.size() % 2 == 0 ? given.get(given.size() - 1) : "";
        Fixture a = answers == null ? fixture(given, "--a") : null;
        Fixture b = fixture(given, "--b");
        int same = 0;
        int differ = 0;
        int excused = 0;
        for (Map.Entry<String, Case> entry : cases().entrySet()) {
            String name = entry.getKey();
            if (!name.contains(filter)) {
                continue;
            }
            String left = answers == null ? outcome(a, entry.getValue()) : answers.getOrDefault(name, "not recorded");
            String right = outcome(b, entry.getValue());
            boolean equal = left.equals(right);
            if (equal && !allowed.containsKey(name)) {
                same++;
            } else if (!equal && allowed.containsKey(name)) {
                excused++;
                System.out.println("  allowed " + name + ": " + allowed.get(name) + "\n     a " + left + "\n     b " + right);
            } else {
                differ++;
                System.out.println("  DIFFERS " + name + (equal ? ": listed as a difference, but the answers agree\n     " + left
                    : "\n     a " + left + "\n     b " + right));
            }
        }
        System.out.printf("error parity with Kafka 4.3, %d of them allowed differences:%n%d passed, %d failed%n", excused, same + excused, differ);
        return differ == 0;
    }

    private static String outcome(Fixture fixture, Case one) {
        try (Wire wire = fixture.wire()) {
            Object out = one.run(fixture, wire);
            return (out instanceof JsonNode json ? plain(json).toString() : String.valueOf(out)).replaceAll(fixture.prefix + "\\d+", "~").strip();
        } catch (Wire.Closed closed) {
            return "closed";
        } catch (java.net.SocketTimeoutException silent) {
            return "no answer";
        } catch (Exception error) {
            return "error " + error.toString().replaceAll(fixture.prefix + "\\d+", "~");
        }
    }

    /** Fields that differ between any two brokers, or are free text. */
    private static final Set<String> DROPPED = Set.of("throttleTimeMs", "errorMessage", "host", "port", "rack", "clusterId", "nodeId",
        "controllerId", "leaderId", "leader", "brokerId", "replicaNodes", "isrNodes", "offlineReplicas", "eligibleLeaderReplicas", "lastKnownElr",
        "batchIndexErrorMessage", "clientHost", "recordsSizeInBytes", "documentation", "lastTimestamp");
    /** Identifiers: only whether there is one can be compared. */
    private static final Set<String> OPAQUE = Set.of("topicId", "memberId", "sessionId", "producerId", "coordinatorEpoch");

    private static JsonNode plain(JsonNode node) {
        if (node instanceof ObjectNode object) {
            ObjectNode out = Wire.JSON.createObjectNode();
            for (Iterator<Map.Entry<String, JsonNode>> fields = object.fields(); fields.hasNext();) {
                Map.Entry<String, JsonNode> field = fields.next();
                if (OPAQUE.contains(field.getKey())) {
                    String text = field.getValue().asText();
                    boolean none = text.isEmpty() || text.equals("0") || text.equals("-1") || text.equals("AAAAAAAAAAAAAAAAAAAAAA");
                    out.put(field.getKey(), none ? "none" : "some");
                } else if (field.getKey().equals("abortedTransactions") && field.getValue().isEmpty() && object.path("errorCode").intValue() != 0) {
                    out.putNull(field.getKey()); // of a partition that gave an error: null and empty say the same
                } else if (!DROPPED.contains(field.getKey())) {
                    out.set(field.getKey(), plain(field.getValue()));
                }
            }
            return out;
        } else if (node instanceof ArrayNode array) {
            ArrayNode out = Wire.JSON.createArrayNode();
            for (JsonNode element : array) {
                if (!element.path("name").asText().startsWith("chronik.")) { // configs of our own, beside Kafka's
                    out.add(plain(element));
                }
            }
            return out;
        }
        return node;
    }
}
