import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.streams.tests.SmokeTestDriver;
import org.apache.kafka.streams.tests.SmokeTestUtil;

/**
 * The published SmokeTestDriver in a size of our choice (its own main knows one of 90 seconds), and its verifier
 * put to the test: {@code Smoke host:port keys records-per-key seconds}.
 */
final class Smoke {
    private static final PrintStream OUT = System.out;

    private final String bootstrap;
    private final int records;
    private final Map<String, Set<Integer>> inputs;

    private Smoke(String[] args) {
        bootstrap = args[0];
        records = Integer.parseInt(args[2]);
        // The driver tells of every batch; its story is kept apart and shown when it fails.
        System.setOut(new PrintStream(new ByteArrayOutputStream()));
        inputs = SmokeTestDriver.generate(bootstrap, Integer.parseInt(args[1]), records, Duration.ofSeconds(Integer.parseInt(args[3])));
        OUT.println("GENERATED " + inputs.size() * records);
    }

    public static void main(String[] args) throws Exception {
        Smoke smoke = new Smoke(args);
        smoke.verify();
        smoke.selfCheck();
        System.exit(0);
    }

    private void verify() {
        ByteArrayOutputStream told = new ByteArrayOutputStream();
        System.setOut(new PrintStream(told, true));
        SmokeTestUtil.VerificationResult result = SmokeTestDriver.verify(bootstrap, inputs, records, true);
        String story = told.toString();
        // passed() does not cover the echo topic: the driver only prints what it found there.
        boolean good = result.passed() && story.contains("ALL-RECORDS-DELIVERED") && story.contains("SUCCESS")
            && !story.contains("PROCESSED-MORE") && !story.contains("PROCESSED-LESS");
        if (!good) {
            OUT.println(story.substring(Math.max(0, story.length() - 20_000)));
            OUT.println("FAILED: SmokeTestDriver.verify");
            System.exit(1);
        }
        OUT.println("SmokeTestDriver.verify: " + inputs.size() * records + " records, all results as expected");
    }

    /** Reads all topics again, checks echo record by record, and shows that the driver's checks see planted faults. */
    private void selfCheck() throws Exception {
        Map<String, Map<String, LinkedList<ConsumerRecord<String, Number>>>> events = read();
        require(echoFaults(events).isEmpty(), "echo: " + echoFaults(events));
        require(driverPasses(events), "the driver's checks on what was read");
        LinkedList<ConsumerRecord<String, Number>> echo = events.get("echo").values().iterator().next();
        echo.add(echo.getFirst());
        require(echoFaults(events).size() == 1, "a planted duplicate in echo is not seen");
        echo.removeLast();
        ConsumerRecord<String, Number> lost = echo.removeLast();
        require(echoFaults(events).size() == 1, "a planted loss in echo is not seen");
        echo.add(lost);
        for (String topic : List.of("min-suppressed", "sws-suppressed")) {
            LinkedList<ConsumerRecord<String, Number>> once = events.get(topic).values().iterator().next();
            once.add(once.getFirst());
            require(!driverPasses(events), "a planted duplicate in " + topic + " is not seen");
            once.removeLast();
        }
        for (String topic : List.of("sum", "cnt", "avg", "dif", "min", "max", "tagg")) {
            var keys = events.get(topic);
            String key = keys.keySet().iterator().next();
            LinkedList<ConsumerRecord<String, Number>> whole = keys.get(key);
            LinkedList<ConsumerRecord<String, Number>> wrong = new LinkedList<>();
            ConsumerRecord<String, Number> last = whole.getLast();
            // One more than true: what a record counted twice leaves behind.
            Number value = topic.equals("avg") ? (Number) (last.value().doubleValue() + 1.0)
                : List.of("sum", "cnt", "tagg").contains(topic) ? (Number) (last.value().longValue() + 1) : (Number) (last.value().intValue() + 1);
            wrong.add(new ConsumerRecord<>(topic, last.partition(), last.offset(), key, value));
            keys.put(key, wrong);
            require(!driverPasses(events), "a planted wrong result in " + topic + " is not seen");
            keys.put(key, whole);
        }
        require(driverPasses(events), "all planted faults are taken out again");
        OUT.println("echo: each record exactly once; 11 planted faults are found");
    }

    private List<String> echoFaults(Map<String, Map<String, LinkedList<ConsumerRecord<String, Number>>>> events) {
        List<String> faults = new ArrayList<>();
        for (Map.Entry<String, Set<Integer>> input : inputs.entrySet()) {
            Set<Integer> missing = new HashSet<>(input.getValue());
            for (ConsumerRecord<String, Number> record : events.get("echo").getOrDefault(input.getKey(), new LinkedList<>())) {
                if (!missing.remove(record.value().intValue())) {
                    faults.add("twice: " + input.getKey() + "=" + record.value());
                }
            }
            missing.forEach(value -> faults.add("lost: " + input.getKey() + "=" + value));
        }
        return faults;
    }

    /** verifyAll is private; the public verify reads the broker for minutes before it gives up. */
    private boolean driverPasses(Map<String, Map<String, LinkedList<ConsumerRecord<String, Number>>>> events) throws Exception {
        Method verifyAll = SmokeTestDriver.class.getDeclaredMethod("verifyAll", Map.class, Map.class, boolean.class, boolean.class);
        verifyAll.setAccessible(true);
        try {
            return ((SmokeTestUtil.VerificationResult) verifyAll.invoke(null, inputs, events, false, true)).passed();
        } catch (InvocationTargetException error) {
            throw new AssertionError(error.getCause());
        }
    }

    private Map<String, Map<String, LinkedList<ConsumerRecord<String, Number>>>> read() throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("isolation.level", "read_committed");
        Map<String, Map<String, LinkedList<ConsumerRecord<String, Number>>>> events = new HashMap<>();
        try (KafkaConsumer<String, Number> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new SmokeTestDriver.NumberDeserializer())) {
            List<TopicPartition> partitions = new ArrayList<>();
            Field numeric = SmokeTestDriver.class.getDeclaredField("NUMERIC_VALUE_TOPICS");
            numeric.setAccessible(true);
            for (String topic : (String[]) numeric.get(null)) {
                consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (!partitions.stream().allMatch(partition -> consumer.position(partition) >= ends.get(partition))) {
                for (ConsumerRecord<String, Number> record : consumer.poll(Duration.ofMillis(200))) {
                    events.computeIfAbsent(record.topic(), topic -> new HashMap<>())
                        .computeIfAbsent(record.key(), key -> new LinkedList<>()).add(record);
                }
            }
        }
        return events;
    }

    private static void require(boolean holds, String what) {
        if (!holds) {
            OUT.println("FAILED: " + what);
            System.exit(1);
        }
    }
}
