import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;

/** Waits until a group has committed the end of a topic: {@code CaughtUp host:port group topic seconds}. */
final class CaughtUp {
    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            List<TopicPartition> partitions = admin.describeTopics(List.of(args[2])).allTopicNames().get().get(args[2]).partitions().stream()
                .map(info -> new TopicPartition(args[2], info.partition())).collect(Collectors.toList());
            long deadline = System.nanoTime() + Integer.parseInt(args[3]) * 1_000_000_000L;
            while (true) {
                var ends = admin.listOffsets(partitions.stream().collect(Collectors.toMap(p -> p, p -> OffsetSpec.latest()))).all().get();
                var committed = admin.listConsumerGroupOffsets(args[1]).partitionsToOffsetAndMetadata().get();
                long behind = partitions.stream().mapToLong(p -> ends.get(p).offset()
                    - (committed.get(p) == null ? 0 : committed.get(p).offset())).sum();
                if (behind == 0) {
                    return;
                }
                if (System.nanoTime() > deadline) {
                    System.out.println("FAILED: group " + args[1] + " is " + behind + " records behind in " + args[2]);
                    System.exit(1);
                }
                Thread.sleep(300);
            }
        }
    }
}
