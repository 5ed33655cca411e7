import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** Creates topics: {@code Topics host:port name:partitions...}. */
final class Topics {
    public static void main(String[] args) throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (int at = 1; at < args.length; at++) {
            String[] words = args[at].split(":");
            topics.add(new NewTopic(words[0], Integer.parseInt(words[1]), (short) 1));
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            admin.createTopics(topics).all().get();
        }
    }
}
