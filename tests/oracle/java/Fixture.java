import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.Map;

/** A broker under the probe: names of its own, topics by need, and the requests many cases share. */
final class Fixture {
    final String bootstrap;
    final String prefix;
    private final Map<String, String> topicIds = new HashMap<>();
    private int names;

    Fixture(String bootstrap, String prefix) {
        this.bootstrap = bootstrap;
        this.prefix = prefix;
    }

    Wire wire() throws Exception {
        return new Wire(bootstrap);
    }

    /** A Kafka just started hands out no producer ids and knows no group coordinator for a while. */
    Fixture warm() throws Exception {
        try (Wire wire = wire()) {
            long deadline = System.nanoTime() + 30_000_000_000L;
            int error;
            do {
                error = wire.call("InitProducerId", 4, "{transactionalId:null,transactionTimeoutMs:1000,producerId:-1,producerEpoch:-1}").get("errorCode").intValue();
                for (int i = 0; i < 50 && error == 0; i++) { // Kafka's groups live on 50 partitions, each loaded on its own
                    error = wire.call("FindCoordinator", 3, "{key:'warm%d'}".formatted(i)).get("errorCode").intValue();
                    error = error != 0 ? error : wire.call("OffsetFetch", 7, "{groupId:'warm%d',topics:null}".formatted(i)).get("errorCode").intValue();
                }
                for (int i = 0; i < 50 && error == 0; i++) { // and so do its transactional ids
                    int answer = wire.call("FindCoordinator", 3, "{key:'%s%d',keyType:1}".formatted(prefix, i)).get("errorCode").intValue();
                    error = answer >= 14 && answer <= 16 ? answer : 0; // another error is the cases' affair
                }
                Thread.sleep(error == 0 ? 0 : 100);
            } while (error != 0 && System.nanoTime() < deadline);
            if (error != 0) {
                throw new IllegalStateException(bootstrap + " is not ready: error " + error);
            }
        }
        return this;
    }

    synchronized String name() {
        return prefix + names++;
    }

    /** A new topic; `configs` as in "retention.ms=1;cleanup.policy=compact,delete". */
    String topic(int partitions, String configs) throws Exception {
        String name = name();
        StringBuilder list = new StringBuilder();
        for (String config : configs.isEmpty() ? new String[0] : configs.split(";")) {
            list.append("{name:'%s',value:'%s'},".formatted((Object[]) config.split("=", 2)));
        }
        String body = list.isEmpty() ? "" : list.substring(0, list.length() - 1);
        try (Wire wire = wire()) {
            JsonNode topic = wire.call("CreateTopics", 7, "{timeoutMs:10000,topics:[{name:'%s',numPartitions:%d,replicationFactor:1,configs:[%s]}]}"
                .formatted(name, partitions, body)).get("topics").get(0);
            if (topic.get("errorCode").intValue() != 0) {
                throw new IllegalStateException("creating " + name + ": " + topic);
            }
            topicIds.put(name, topic.get("topicId").textValue());
            long deadline = System.nanoTime() + 10_000_000_000L; // a KRaft broker serves it a moment later
            while (ready(wire, name, partitions) != 0) {
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException(name + " has no leader");
                }
                Thread.sleep(5);
            }
        }
        return name;
    }

    private static int ready(Wire wire, String name, int partitions) throws Exception {
        StringBuilder list = new StringBuilder();
        for (int p = 0; p < partitions; p++) {
            list.append(p == 0 ? "" : ",").append("{partitionIndex:%d,timestamp:-1}".formatted(p));
        }
        int errors = 0;
        for (JsonNode partition : wire.call("ListOffsets", 7, "{topics:[{name:'%s',partitions:[%s]}]}".formatted(name, list))
            .get("topics").get(0).get("partitions")) {
            errors += partition.get("errorCode").intValue();
        }
        return errors;
    }

    String topic() throws Exception {
        return topic(1, "");
    }

    String id(String topic) {
        return topicIds.get(topic);
    }

    /** A topic with this many records in one batch. */
    String filled(int records) throws Exception {
        String topic = topic();
        produce(topic, Batch.text(Batch.plain(records)));
        return topic;
    }

    JsonNode produce(String topic, String records) throws Exception {
        try (Wire wire = wire()) {
            return wire.call("Produce", 9, produceBody(topic, -1, records));
        }
    }

    static String produceBody(String topic, int acks, String records) {
        return "{acks:%d,timeoutMs:5000,topicData:[{name:'%s',partitionData:[{index:0,records:%s}]}]}"
            .formatted(acks, topic, records == null ? "null" : "'" + records + "'");
    }

    static String fetchBody(String topic, long offset) {
        return "{maxWaitMs:0,minBytes:0,maxBytes:10000000,sessionEpoch:-1,topics:[{topic:'%s',partitions:[{partition:0,fetchOffset:%d,partitionMaxBytes:1000000}]}]}"
            .formatted(topic, offset);
    }

    static String listBody(String topic, long timestamp) {
        return "{topics:[{name:'%s',partitions:[{partitionIndex:0,timestamp:%d}]}]}".formatted(topic, timestamp);
    }

    static String joinBody(String group, String member) {
        return "{groupId:'%s',sessionTimeoutMs:10000,rebalanceTimeoutMs:10000,memberId:'%s',protocolType:'consumer',protocols:[{name:'range',metadata:'AAA='}]}"
            .formatted(group, member);
    }

    /** A stable group of one member: {member id, generation}. */
    Object[] stableGroup(Wire wire, String group) throws Exception {
        String member = wire.call("JoinGroup", 4, joinBody(group, "")).get("memberId").textValue();
        JsonNode joined = wire.call("JoinGroup", 4, joinBody(group, member));
        int generation = joined.get("generationId").intValue();
        JsonNode synced = wire.call("SyncGroup", 3, "{groupId:'%s',generationId:%d,memberId:'%s',assignments:[{memberId:'%s',assignment:'AAA='}]}"
            .formatted(group, generation, member, member));
        if (joined.get("errorCode").intValue() != 0 || synced.get("errorCode").intValue() != 0) {
            throw new IllegalStateException("forming " + group + ": " + joined + " " + synced);
        }
        return new Object[] {member, generation};
    }
}
