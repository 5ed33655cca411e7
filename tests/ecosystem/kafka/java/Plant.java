import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Spoils a topic, so that its verifier has something to find: {@code Plant host:port topic duplicate|loss}.
 * A duplicate is the last record of partition 0 once more, a loss is its first record deleted.
 */
final class Plant {
    public static void main(String[] args) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        TopicPartition partition = new TopicPartition(args[1], 0);
        ConsumerRecord<byte[], byte[]> first = null;
        ConsumerRecord<byte[], byte[]> last = null;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    first = first == null ? record : first;
                    last = record;
                }
            }
        }
        if (args[2].equals("duplicate")) {
            try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
                producer.send(new ProducerRecord<>(args[1], 0, last.key(), last.value())).get();
            }
        } else {
            try (Admin admin = Admin.create(settings)) {
                admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(first.offset() + 1))).all().get();
            }
        }
        System.out.println("planted a " + args[2] + " in " + args[1]);
    }
}
