import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.FetchResponse;

/**
 * One transactional id on one connection: the requests of a transaction at a version each, and of their answers
 * what two brokers must agree on. A step that a case does not look at is repeated while the broker is busy.
 */
final class Txn {
    static final int TIMEOUT_MS = 60_000;
    private static final long PATIENCE_NANOS = 10_000_000_000L;
    /** Not there yet, loading, not the coordinator, still completing; 19 is what Produce makes of the last. */
    private static final Set<Integer> BUSY = Set.of(14, 15, 16, 19, 51);

    final Wire w;
    final String id;
    long producer = -1;
    int epoch = -1;
    private final Map<String, Integer> sequences = new HashMap<>();

    Txn(Wire wire, String id) {
        w = wire;
        this.id = id;
    }

    /** A new id that has its producer id. */
    static Txn start(Fixture f, Wire w) throws Exception {
        Txn txn = new Txn(w, f.name());
        txn.init(4);
        return txn;
    }

    /** Sends until the broker is no longer busy. */
    static JsonNode ask(Wire w, String api, int version, String body) throws Exception {
        long deadline = System.nanoTime() + PATIENCE_NANOS;
        JsonNode answer = w.call(api, version, body);
        while (errors(answer, new TreeSet<>()).stream().anyMatch(BUSY::contains) && System.nanoTime() < deadline) {
            Thread.sleep(5);
            answer = w.call(api, version, body);
        }
        return answer;
    }

    private static Set<Integer> errors(JsonNode node, Set<Integer> into) {
        for (Iterator<Map.Entry<String, JsonNode>> fields = node.fields(); fields.hasNext();) {
            Map.Entry<String, JsonNode> field = fields.next();
            if (field.getKey().toLowerCase(java.util.Locale.ROOT).endsWith("errorcode")) {
                into.add(field.getValue().intValue());
            }
            errors(field.getValue(), into);
        }
        if (node.isArray()) {
            node.forEach(element -> errors(element, into));
        }
        return into;
    }

    /** Every error code of an answer, in its order: "0/3/55". */
    static String codes(JsonNode answer) {
        StringBuilder out = new StringBuilder();
        collect(answer, out);
        return out.isEmpty() ? "nothing" : out.substring(1);
    }

    private static void collect(JsonNode node, StringBuilder out) {
        for (Iterator<Map.Entry<String, JsonNode>> fields = node.fields(); fields.hasNext();) {
            Map.Entry<String, JsonNode> field = fields.next();
            if (field.getKey().toLowerCase(java.util.Locale.ROOT).endsWith("errorcode")) {
                out.append('/').append(field.getValue().intValue());
            }
            collect(field.getValue(), out);
        }
        if (node.isArray()) {
            node.forEach(element -> collect(element, out));
        }
    }

    // InitProducerId

    static String initBody(int version, String id, int timeoutMs, long producer, int epoch) {
        String name = id == null ? "null" : "'" + id + "'";
        return version < 3 ? "{transactionalId:%s,transactionTimeoutMs:%d}".formatted(name, timeoutMs)
            : "{transactionalId:%s,transactionTimeoutMs:%d,producerId:%d,producerEpoch:%d}".formatted(name, timeoutMs, producer, epoch);
    }

    /** Takes over the id, as a producer that starts does. */
    String init(int version) throws Exception {
        return init(version, TIMEOUT_MS);
    }

    String init(int version, int timeoutMs) throws Exception {
        return took(ask(w, "InitProducerId", version, initBody(version, id, timeoutMs, -1, -1)));
    }

    /** Has the epoch raised by its own producer, or by whoever says to be. */
    String raise(int version, long producer, int epoch) throws Exception {
        return took(ask(w, "InitProducerId", version, initBody(version, id, TIMEOUT_MS, producer, epoch)));
    }

    private String took(JsonNode answer) {
        long before = producer;
        if (answer.get("errorCode").intValue() == 0) {
            producer = answer.get("producerId").longValue();
            epoch = answer.get("producerEpoch").intValue();
            sequences.clear();
        }
        return answer.get("errorCode") + " epoch " + answer.get("producerEpoch") + (before < 0 || before == producer ? "" : " another id");
    }

    // AddPartitionsToTxn, AddOffsetsToTxn

    static String topics(String topic, int... partitions) {
        StringBuilder list = new StringBuilder();
        for (int p : partitions) {
            list.append(list.isEmpty() ? "" : ",").append(p);
        }
        return "{name:'%s',partitions:[%s]}".formatted(topic, list);
    }

    static String addBody(int version, String id, long producer, int epoch, String topics) {
        return version < 4
            ? "{v3AndBelowTransactionalId:'%s',v3AndBelowProducerId:%d,v3AndBelowProducerEpoch:%d,v3AndBelowTopics:[%s]}".formatted(id, producer, epoch, topics)
            : "{transactions:[{transactionalId:'%s',producerId:%d,producerEpoch:%d,topics:[%s]}]}".formatted(id, producer, epoch, topics);
    }

    String add(int version, String topic, int... partitions) throws Exception {
        return codes(ask(w, "AddPartitionsToTxn", version, addBody(version, id, producer, epoch, topics(topic, partitions))));
    }

    /** The distinct codes, lowest first: Kafka answers partitions in no order. */
    String verify(int version, String topic, int... partitions) throws Exception {
        return errors(ask(w, "AddPartitionsToTxn", version,
            addBody(version, id, producer, epoch, topics(topic, partitions)).replace("topics:", "verifyOnly:true,topics:")), new TreeSet<>()).toString();
    }

    static String addOffsetsBody(String id, long producer, int epoch, String group) {
        return "{transactionalId:'%s',producerId:%d,producerEpoch:%d,groupId:'%s'}".formatted(id, producer, epoch, group);
    }

    String addOffsets(int version, String group) throws Exception {
        return codes(ask(w, "AddOffsetsToTxn", version, addOffsetsBody(id, producer, epoch, group)));
    }

    // Produce

    static String produceBody(String id, String topic, int partition, String records) {
        return "{transactionalId:%s,acks:-1,timeoutMs:5000,topicData:[{name:'%s',partitionData:[{index:%d,records:'%s'}]}]}"
            .formatted(id == null ? "null" : "'" + id + "'", topic, partition, records);
    }

    /** Stamped now, as markers are: Kafka begins a segment where stamps are a week apart, and a fetch ends with it. */
    static String records(long producer, int epoch, int sequence, int count) {
        return Batch.text(MemoryRecords.withTransactionalRecords(Compression.NONE, producer, (short) epoch, sequence, Batch.records(count, System.currentTimeMillis())));
    }

    /** Plain records, stamped now. */
    static String plain(int count) {
        return Batch.text(MemoryRecords.withRecords(Compression.NONE, Batch.records(count, System.currentTimeMillis())));
    }

    /** The next records of this producer in a transaction: "0@offset". */
    String produce(int version, String topic, int partition, int count) throws Exception {
        int sequence = sequences.merge(topic + partition, count, Integer::sum) - count;
        return produced(ask(w, "Produce", version, produceBody(id, topic, partition, records(producer, epoch, sequence, count))));
    }

    String produce(int version, String topic, int count) throws Exception {
        return produce(version, topic, 0, count);
    }

    static String produced(JsonNode answer) {
        JsonNode partition = answer.get("responses").get(0).get("partitionResponses").get(0);
        return partition.get("errorCode") + "@" + partition.get("baseOffset");
    }

    // EndTxn

    static String endBody(String id, long producer, int epoch, boolean commit) {
        return "{transactionalId:'%s',producerId:%d,producerEpoch:%d,committed:%b}".formatted(id, producer, epoch, commit);
    }

    /** Ends, waits until the coordinator has written every marker, and takes the epoch that version 5 answers. */
    String end(int version, boolean commit) throws Exception {
        String body = endBody(id, producer, epoch, commit);
        JsonNode first = ask(w, "EndTxn", version, body);
        String out = ended(first);
        if (first.get("errorCode").intValue() == 0) {
            JsonNode again = ask(w, "EndTxn", version, body); // refused as busy until the markers are there
            if (!ended(again).equals(out)) {
                out += " then " + ended(again);
            }
            if (version >= 5) {
                producer = first.get("producerId").longValue();
                epoch = first.get("producerEpoch").intValue();
                sequences.clear();
            }
        }
        return out;
    }

    String ended(JsonNode answer) {
        String out = answer.get("errorCode").toString();
        if (answer.has("producerEpoch")) {
            long answered = answer.get("producerId").longValue();
            out += " epoch " + answer.get("producerEpoch") + (answered == producer ? " same id" : answered == -1 ? " no id" : " another id");
        }
        return out;
    }

    // TxnOffsetCommit

    static String offsetsBody(String id, long producer, int epoch, String group, String topic, long offset, String more) {
        return ("{transactionalId:'%s',groupId:'%s',producerId:%d,producerEpoch:%d%s,topics:[{name:'%s',partitions:"
            + "[{partitionIndex:0,committedOffset:%d,committedMetadata:'m'}]}]}").formatted(id, group, producer, epoch, more, topic, offset);
    }

    String offsets(int version, String group, String topic, long offset) throws Exception {
        return offsets(version, group, topic, offset, "");
    }

    String offsets(int version, String group, String topic, long offset, String more) throws Exception {
        return codes(ask(w, "TxnOffsetCommit", version, offsetsBody(id, producer, epoch, group, topic, offset, more)));
    }

    /** What the group has for partition 0: "error@offset", asked for the stable one or for any. */
    static String committed(Wire w, String group, String topic, boolean stable) throws Exception {
        JsonNode one = w.call("OffsetFetch", 7, "{groupId:'%s',topics:[{name:'%s',partitionIndexes:[0]}],requireStable:%b}".formatted(group, topic, stable))
            .get("topics").get(0).get("partitions").get(0);
        return one.get("errorCode") + "@" + one.get("committedOffset");
    }

    // What readers see

    /** As a consumer asks: a replica, which an id of 0 would be, is told of everything. */
    static String listBody(String topic, int isolation, long timestamp) {
        return "{replicaId:-1,isolationLevel:%d,topics:[{name:'%s',partitions:[{partitionIndex:0,timestamp:%d}]}]}".formatted(isolation, topic, timestamp);
    }

    /** Where partition 0 ends for either isolation: "stable/end". */
    static String ends(Wire w, String topic) throws Exception {
        String out = "";
        for (int isolation : new int[] {1, 0}) {
            out += "/" + w.call("ListOffsets", 7, listBody(topic, isolation, -1)).get("topics").get(0).get("partitions").get(0).get("offset");
        }
        return out.substring(1);
    }

    /** Partition 0 from an offset on: high watermark, stable offset, batches, aborted ranges. */
    static String read(Wire w, String topic, long offset, int isolation) throws Exception {
        String body = Fixture.fetchBody(topic, offset).replace("{maxWaitMs", "{isolationLevel:" + isolation + ",maxWaitMs");
        var partition = ((FetchResponse) w.receiveResponse(w.send("Fetch", 12, body))).data().responses().get(0).partitions().get(0);
        StringBuilder out = new StringBuilder("error %d high %d stable %d".formatted(partition.errorCode(), partition.highWatermark(), partition.lastStableOffset()));
        for (var batch : ((MemoryRecords) partition.records()).batches()) {
            batch.ensureValid();
            out.append(" [").append(batch.baseOffset()).append("..").append(batch.lastOffset()).append(batch.isControlBatch() ? " control" : "")
                .append(batch.isTransactional() ? " txn" : "").append(']');
        }
        var aborted = partition.abortedTransactions();
        out.append(" aborted ").append(aborted == null ? "null" : aborted.stream().map(a -> a.firstOffset()).sorted().toList().toString());
        return out.toString();
    }
}
