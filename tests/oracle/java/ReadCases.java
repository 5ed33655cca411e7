import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.FetchResponse;

/** semantics 3.5 and 3.6: fetches, fetch sessions, offset lookups. */
final class ReadCases {
    private ReadCases() {
    }

    private static ParityProbe.Case fetch(int records, long offset) {
        return (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.filled(records), offset));
    }

    /** The batches of the first partition as [first..last], and the error. */
    private static String batches(Wire w, int version, String body) throws Exception {
        FetchResponse response = (FetchResponse) w.receiveResponse(w.send("Fetch", version, body));
        StringBuilder out = new StringBuilder("error " + response.error());
        response.data().responses().forEach(topic -> topic.partitions().forEach(partition -> {
            out.append(" p").append(partition.partitionIndex()).append(" error ").append(partition.errorCode()).append(':');
            if (partition.records() != null) {
                ((MemoryRecords) partition.records()).batches().forEach(batch ->
                    out.append('[').append(batch.baseOffset()).append("..").append(batch.lastOffset()).append(']'));
            }
        }));
        return out.toString();
    }

    static void add(Map<String, ParityProbe.Case> c) {
        fetches(c);
        sessions(c);
        ids(c);
        offsets(c);
        epochs(c);
    }

    private static void fetches(Map<String, ParityProbe.Case> c) {
        c.put("3.5.1 from the start", fetch(5, 0));
        c.put("3.5.1 at the end", fetch(5, 5));
        c.put("3.5.1 beyond the end", fetch(5, 6));
        c.put("3.5.1 negative offset", fetch(5, -1));
        c.put("3.5.1 below the log start", (f, w) -> {
            String topic = f.filled(5);
            w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:3}]}]}".formatted(topic));
            return w.call("Fetch", 11, Fixture.fetchBody(topic, 1));
        });
        c.put("3.5.1 unknown topic", (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.name(), 0)));
        c.put("3.5.1 unknown partition", (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.topic(), 0).replace("partition:0", "partition:9")));
        c.put("3.5.1 no topics", (f, w) -> w.call("Fetch", 11, "{maxWaitMs:0,minBytes:0,maxBytes:100,sessionEpoch:-1}"));
        c.put("3.5.2 the middle of a batch", (f, w) -> batches(w, 11, Fixture.fetchBody(f.filled(10), 4)));
        c.put("3.5.4 one batch in spite of the limits", (f, w) -> {
            String topic = f.filled(10);
            f.produce(topic, Batch.text(Batch.plain(10)));
            return batches(w, 11, Fixture.fetchBody(topic, 0).replace("maxBytes:10000000", "maxBytes:1").replace("partitionMaxBytes:1000000", "partitionMaxBytes:1"));
        });
        c.put("3.5.4 maxBytes 0", (f, w) -> batches(w, 11, Fixture.fetchBody(f.filled(3), 0).replace("maxBytes:10000000", "maxBytes:0")));
        c.put("3.5.4 the first partition with data has the batch", (f, w) -> {
            String topic = f.topic(2, "");
            for (int i = 0; i < 2; i++) {
                w.call("Produce", 9, Fixture.produceBody(topic, -1, Batch.text(Batch.plain(10))).replace("index:0", "index:" + i));
            }
            return batches(w, 11, ("{maxWaitMs:0,minBytes:0,maxBytes:1,sessionEpoch:-1,topics:[{topic:'%s',partitions:["
                + "{partition:1,fetchOffset:0,partitionMaxBytes:1},{partition:0,fetchOffset:0,partitionMaxBytes:1}]}]}").formatted(topic));
        });
        c.put("3.5.10 zstd to Fetch v9", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Batch.text(MemoryRecords.withRecords(Compression.zstd().build(), Batch.records(3, 1_000_000))));
            return w.call("Fetch", 9, Fixture.fetchBody(topic, 0));
        });
        c.put("3.5.10 zstd to Fetch v10", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Batch.text(MemoryRecords.withRecords(Compression.zstd().build(), Batch.records(3, 1_000_000))));
            return w.call("Fetch", 10, Fixture.fetchBody(topic, 0));
        });
        c.put("3.5 read_committed", (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.filled(3), 0).replace("sessionEpoch", "isolationLevel:1,sessionEpoch")));
        c.put("3.5 isolation level 7", (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.filled(3), 0).replace("sessionEpoch", "isolationLevel:7,sessionEpoch")));
        c.put("3.5 same partition twice", (f, w) -> {
            String body = Fixture.fetchBody(f.filled(3), 0);
            String partition = "{partition:0,fetchOffset:0,partitionMaxBytes:1000000}";
            return w.call("Fetch", 11, body.replace(partition, partition + "," + partition));
        });
    }

    private static String session(Wire w, int id, int epoch, String topics) throws Exception {
        JsonNode answer = w.call("Fetch", 11, "{maxWaitMs:0,minBytes:0,maxBytes:1000000,sessionId:%d,sessionEpoch:%d,topics:[%s]}".formatted(id, epoch, topics));
        int partitions = 0;
        for (JsonNode topic : answer.get("responses")) {
            partitions += topic.get("partitions").size();
        }
        return answer.get("errorCode") + " session " + (answer.get("sessionId").intValue() != 0) + " partitions " + partitions;
    }

    private static void sessions(Map<String, ParityProbe.Case> c) {
        c.put("3.5.6 a session's life", (f, w) -> {
            String topic = f.filled(3);
            String at3 = "{topic:'%s',partitions:[{partition:0,fetchOffset:3,partitionMaxBytes:100000}]}".formatted(topic);
            JsonNode first = w.call("Fetch", 11, "{maxWaitMs:0,minBytes:0,maxBytes:1000000,sessionId:0,sessionEpoch:0,topics:[%s]}".formatted(at3));
            int id = first.get("sessionId").intValue();
            StringBuilder out = new StringBuilder("created " + (id != 0));
            out.append(", unchanged ").append(session(w, id, 1, ""));
            f.produce(topic, Batch.text(Batch.plain(1)));
            out.append(", new data ").append(session(w, id, 2, ""));
            out.append(", wrong epoch ").append(session(w, id, 7, ""));
            out.append(", again ").append(session(w, id, 3, ""));
            out.append(", closed ").append(session(w, id, -1, ""));
            return out.append(", gone ").append(session(w, id, 1, "")).toString();
        });
        c.put("3.5.6 unknown session", (f, w) -> session(w, 123_456, 1, ""));
        c.put("3.5.6 epoch without a session", (f, w) -> session(w, 0, 5, ""));
        c.put("3.5.6 a forgotten partition is not answered", (f, w) -> {
            String topic = f.filled(3);
            JsonNode first = w.call("Fetch", 11, Fixture.fetchBody(topic, 0).replace("sessionEpoch:-1", "sessionId:0,sessionEpoch:0"));
            JsonNode next = w.call("Fetch", 11, "{maxWaitMs:0,minBytes:0,maxBytes:1000,sessionId:%d,sessionEpoch:1,forgottenTopicsData:[{topic:'%s',partitions:[0]}]}"
                .formatted(first.get("sessionId").intValue(), topic));
            return next.get("errorCode") + " topics " + next.get("responses").size();
        });
        c.put("3.5.6 names and then ids in one session", (f, w) -> {
            String topic = f.filled(3);
            JsonNode first = w.call("Fetch", 12, Fixture.fetchBody(topic, 0).replace("sessionEpoch:-1", "sessionId:0,sessionEpoch:0"));
            return w.call("Fetch", 13, "{maxWaitMs:0,minBytes:0,maxBytes:1000,sessionId:%d,sessionEpoch:1,topics:[{topicId:'%s',partitions:[{partition:0,fetchOffset:0,partitionMaxBytes:1000}]}]}"
                .formatted(first.get("sessionId").intValue(), f.id(topic)));
        });
    }

    private static String byId(String id) {
        return "{maxWaitMs:0,minBytes:0,maxBytes:1000000,sessionEpoch:-1,topics:[{topicId:'%s',partitions:[{partition:0,fetchOffset:0,partitionMaxBytes:100000}]}]}".formatted(id);
    }

    private static void ids(Map<String, ParityProbe.Case> c) {
        c.put("3.5.7 a topic by id", (f, w) -> w.call("Fetch", 17, byId(f.id(f.filled(3)))));
        c.put("3.5.7 unknown topic id", (f, w) -> w.call("Fetch", 13, byId("AAAAAAAAAAAAAAAAAAAAAQ")));
        c.put("3.5.7 zero topic id", (f, w) -> w.call("Fetch", 13, byId("AAAAAAAAAAAAAAAAAAAAAA")));
        c.put("3.5.7 the id of an earlier topic of that name", (f, w) -> {
            String topic = f.filled(3);
            w.call("DeleteTopics", 5, "{timeoutMs:5000,topicNames:['" + topic + "']}");
            w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s',numPartitions:1,replicationFactor:1}]}".formatted(topic));
            return w.call("Fetch", 13, byId(f.id(topic)));
        });
        c.put("3.5.8 leader epoch ahead", (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.filled(3), 0).replace("fetchOffset", "currentLeaderEpoch:50,fetchOffset")));
        c.put("3.5.8 leader epoch of now", (f, w) -> w.call("Fetch", 11, Fixture.fetchBody(f.filled(3), 0).replace("fetchOffset", "currentLeaderEpoch:0,fetchOffset")));
        c.put("3.5.8 last fetched epoch ahead, v12", (f, w) -> w.call("Fetch", 12, Fixture.fetchBody(f.filled(3), 2).replace("fetchOffset", "lastFetchedEpoch:9,fetchOffset")));
    }

    private static ParityProbe.Case list(int version, long timestamp) {
        return (f, w) -> w.call("ListOffsets", version, Fixture.listBody(f.filled(5), timestamp));
    }

    private static void offsets(Map<String, ParityProbe.Case> c) {
        for (long t : new long[] {-1, -2, 0, 1_000_000, 1_000_003, 1_000_005}) {
            c.put("3.6 timestamp " + t, list(5, t));
        }
        for (int[] vt : new int[][] {{7, -3}, {6, -3}, {8, -4}, {7, -4}, {9, -5}, {8, -5}, {11, -6}, {10, -6}, {11, -7}, {1, -9}}) {
            c.put("3.6 timestamp %d in v%d".formatted(vt[1], vt[0]), list(vt[0], vt[1]));
        }
        for (int t : new int[] {-1, -2, -3, 0}) {
            c.put("3.6 empty log, timestamp " + t, (f, w) -> w.call("ListOffsets", 7, Fixture.listBody(f.topic(), t)));
        }
        c.put("3.6 inside a compressed batch", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Batch.text(MemoryRecords.withRecords(Compression.lz4().build(), Batch.records(50, 1_000_000))));
            return w.call("ListOffsets", 7, Fixture.listBody(topic, 1_000_033)) + " " + w.call("ListOffsets", 7, Fixture.listBody(topic, -3));
        });
        c.put("3.6 after DeleteRecords", (f, w) -> {
            String topic = f.filled(10);
            w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:4}]}]}".formatted(topic));
            return w.call("ListOffsets", 7, Fixture.listBody(topic, -2)) + " " + w.call("ListOffsets", 7, Fixture.listBody(topic, 1_000_001));
        });
        c.put("3.6 same partition twice", (f, w) -> w.call("ListOffsets", 7,
            "{topics:[{name:'%s',partitions:[{partitionIndex:0,timestamp:-1},{partitionIndex:0,timestamp:-2}]}]}".formatted(f.filled(2))));
        c.put("3.6 unknown topic", (f, w) -> w.call("ListOffsets", 7, Fixture.listBody(f.name(), -1)));
        c.put("3.6 unknown partition", (f, w) -> w.call("ListOffsets", 7, Fixture.listBody(f.topic(), -1).replace("partitionIndex:0", "partitionIndex:3")));
        c.put("3.6 leader epoch ahead", (f, w) -> w.call("ListOffsets", 7, Fixture.listBody(f.filled(2), -1).replace("timestamp", "currentLeaderEpoch:9,timestamp")));
        c.put("3.6 read_committed latest", (f, w) -> w.call("ListOffsets", 7, Fixture.listBody(f.filled(2), -1).replace("{topics", "{isolationLevel:1,topics")));
    }

    private static ParityProbe.Case epoch(int current, int asked) {
        return (f, w) -> w.call("OffsetForLeaderEpoch", 4, "{replicaId:-1,topics:[{topic:'%s',partitions:[{partition:0,currentLeaderEpoch:%d,leaderEpoch:%d}]}]}"
            .formatted(f.filled(4), current, asked));
    }

    private static void epochs(Map<String, ParityProbe.Case> c) {
        c.put("3.5.9 epoch 0", epoch(-1, 0));
        c.put("3.5.9 epoch 5, not yet", epoch(-1, 5));
        c.put("3.5.9 epoch -1", epoch(-1, -1));
        c.put("3.5.9 current epoch ahead", epoch(9, 0));
        c.put("3.5.9 empty log", (f, w) -> w.call("OffsetForLeaderEpoch", 4, "{replicaId:-1,topics:[{topic:'%s',partitions:[{partition:0,leaderEpoch:0}]}]}".formatted(f.topic())));
        c.put("3.5.9 unknown topic", (f, w) -> w.call("OffsetForLeaderEpoch", 4, "{replicaId:-1,topics:[{topic:'%s',partitions:[{partition:0,leaderEpoch:0}]}]}".formatted(f.name())));
    }
}
