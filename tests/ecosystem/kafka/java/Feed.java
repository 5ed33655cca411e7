import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Writes the values item-00000000, item-00000001, … once each: {@code Feed host:port topic count per-second}. */
final class Feed {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        settings.put("enable.idempotence", "true");
        settings.put("delivery.timeout.ms", "300000");
        settings.put("max.block.ms", "300000");
        int count = Integer.parseInt(args[2]);
        long nanosEach = 1_000_000_000L / Integer.parseInt(args[3]);
        AtomicReference<Exception> fault = new AtomicReference<>();
        long begin = System.nanoTime();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int at = 0; at < count && fault.get() == null; at++) {
                producer.send(new ProducerRecord<>(args[1], "key-" + at % 97, String.format("item-%08d", at)), (done, error) -> {
                    if (error != null) {
                        fault.set(error);
                    }
                });
                long ahead = begin + at * nanosEach - System.nanoTime();
                if (ahead > 0) {
                    Thread.sleep(ahead / 1_000_000, (int) (ahead % 1_000_000));
                }
            }
        }
        if (fault.get() != null) {
            throw fault.get();
        }
        System.out.println("fed " + count);
    }
}
