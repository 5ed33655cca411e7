import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Reads a topic with read_committed until it holds the last value and nothing is pending, and checks that each
 * expected value is there exactly once: {@code ExactlyOnce host:port topic format count seconds}.
 * Then plants a loss, a duplicate and a stranger in what it read, and fails unless it finds each.
 */
final class ExactlyOnce {
    public static void main(String[] args) throws Exception {
        String topic = args[1];
        int count = Integer.parseInt(args[3]);
        IntFunction<String> value = at -> String.format(args[2], at);
        List<String> read = read(args[0], topic, count, Integer.parseInt(args[4]));
        List<String> faults = faults(read, value, count);
        faults.forEach(fault -> System.out.println("  " + fault));
        if (!faults.isEmpty()) {
            System.out.printf("FAILED: %s: %d records read, %d expected, %d faults%n", topic, read.size(), count, faults.size());
            System.exit(1);
        }
        planted(read, value, count);
        System.out.printf("%s: %d values, each exactly once; a planted loss, duplicate and stranger are found%n", topic, count);
    }

    private static List<String> read(String bootstrap, String topic, int count, int seconds) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        List<String> values = new ArrayList<>();
        long deadline = System.nanoTime() + seconds * 1_000_000_000L;
        long quietSince = System.nanoTime();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // Once complete, two quiet seconds more: what would come twice comes late.
            while (System.nanoTime() < deadline && (values.size() < count || System.nanoTime() - quietSince < 2_000_000_000L)) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    values.add(record.value());
                    quietSince = System.nanoTime();
                }
            }
        }
        return values;
    }

    private static List<String> faults(List<String> read, IntFunction<String> value, int count) {
        var times = read.stream().collect(Collectors.groupingBy(v -> v, Collectors.counting()));
        List<String> faults = new ArrayList<>();
        for (int at = 0; at < count; at++) {
            Long seen = times.remove(value.apply(at));
            if (seen == null) {
                faults.add("lost: " + value.apply(at));
            } else if (seen > 1) {
                faults.add(seen + " times: " + value.apply(at));
            }
        }
        times.keySet().forEach(stranger -> faults.add("never sent: " + stranger));
        return faults;
    }

    private static void planted(List<String> read, IntFunction<String> value, int count) {
        int middle = read.size() / 2;
        List<String> loss = new ArrayList<>(read);
        loss.remove(middle);
        List<String> twice = new ArrayList<>(read);
        twice.add(read.get(middle));
        List<String> stranger = new ArrayList<>(read);
        stranger.add("nobody");
        for (List<String> history : List.of(loss, twice, stranger)) {
            if (faults(history, value, count).size() != 1) {
                throw new AssertionError("the checker does not see a planted fault");
            }
        }
    }
}
