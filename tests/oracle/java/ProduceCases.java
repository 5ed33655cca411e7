import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;

/** semantics 3.2 and 3.3: what a broker refuses to append, and how it tells duplicates from gaps. */
final class ProduceCases {
    private ProduceCases() {
    }

    /** Sends these record bytes (base64, or null) to a new topic with acks=-1 at v9. */
    private static ParityProbe.Case send(String records) {
        return (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.topic(), -1, records));
    }

    private static ParityProbe.Case to(String configs, String records) {
        return (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.topic(1, configs), -1, records));
    }

    private static MemoryRecords of(SimpleRecord... records) {
        return MemoryRecords.withRecords(Compression.NONE, records);
    }

    static void add(Map<String, ParityProbe.Case> c) {
        requests(c);
        batches(c);
        timestampsAndKeys(c);
        idempotence(c);
    }

    private static void requests(Map<String, ParityProbe.Case> c) {
        String good = Batch.text(Batch.plain(2));
        for (int acks : new int[] {2, -2, 1, -1}) {
            c.put("3.2.1 acks=" + acks, (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.topic(), acks, good)));
        }
        c.put("3.2.2 unknown topic", (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.name(), -1, good)));
        c.put("3.2.2 unknown partition", (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.topic(), -1, good).replace("index:0", "index:7")));
        c.put("3.2.2 negative partition", (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.topic(), -1, good).replace("index:0", "index:-1")));
        c.put("3.2.2 unknown topic id, v13", (f, w) -> w.call("Produce", 13,
            "{acks:-1,timeoutMs:5000,topicData:[{topicId:'AAAAAAAAAAAAAAAAAAAAAQ',partitionData:[{index:0,records:'%s'}]}]}".formatted(good)));
        c.put("3.2.2 zero topic id, v13", (f, w) -> w.call("Produce", 13,
            "{acks:-1,timeoutMs:5000,topicData:[{topicId:'AAAAAAAAAAAAAAAAAAAAAA',partitionData:[{index:0,records:'%s'}]}]}".formatted(good)));
        c.put("3.2.2 produce does not create topics", (f, w) -> {
            String name = f.name();
            w.call("Produce", 9, Fixture.produceBody(name, -1, good));
            return w.call("Metadata", 9, "{topics:[{name:'" + name + "'}],allowAutoTopicCreation:false}").get("topics");
        });
        c.put("3.2.2 an invalid topic name", (f, w) -> w.call("Produce", 9, Fixture.produceBody("no spaces", -1, good)));
        c.put("3.2.2 one good and one unknown partition", (f, w) -> w.call("Produce", 9,
            "{acks:-1,timeoutMs:5000,topicData:[{name:'%s',partitionData:[{index:0,records:'%s'},{index:5,records:'%s'}]}]}".formatted(f.topic(), good, good)));
        c.put("3.2.2 no topics", (f, w) -> w.call("Produce", 9, "{acks:-1,timeoutMs:5000}"));
        // Null records are no case: Kafka 4.3 throws while handling them and never answers.
        c.put("3.2.3 empty records", send(""));
        c.put("3.2.3 two batches", send(Batch.text(concat(Batch.bytes(Batch.plain(1)), Batch.bytes(Batch.plain(1))))));
        c.put("3.2.3 magic 1", send(Batch.text(MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V1, Compression.NONE, Batch.records(1, 1_000_000)))));
        c.put("3.2.3 magic 3", send(Batch.patched(Batch.plain(1), b -> b.put(Batch.MAGIC, (byte) 3))));
        String zstd = Batch.text(MemoryRecords.withRecords(Compression.zstd().build(), Batch.records(2, 1_000_000)));
        c.put("3.2.3 zstd in v6", (f, w) -> w.call("Produce", 6, Fixture.produceBody(f.topic(), -1, zstd)));
        c.put("3.2.3 zstd in v7", (f, w) -> w.call("Produce", 7, Fixture.produceBody(f.topic(), -1, zstd)));
        c.put("3.2.10 offsets of a good append", (f, w) -> {
            String topic = f.filled(5);
            return f.produce(topic, good);
        });
        c.put("3.2.11 min.insync.replicas=2, acks=-1", to("min.insync.replicas=2", good));
        c.put("3.2.11 min.insync.replicas=2, acks=1", (f, w) -> w.call("Produce", 9, Fixture.produceBody(f.topic(1, "min.insync.replicas=2"), 1, good)));
    }

    private static byte[] concat(byte[] a, byte[] b) {
        byte[] out = java.util.Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, out, a.length, b.length);
        return out;
    }

    private static void batches(Map<String, ParityProbe.Case> c) {
        c.put("3.2.4 base offset 5", send(Batch.patched(Batch.plain(1), b -> b.putLong(0, 5))));
        byte[] large = new byte[1_100_000];
        c.put("3.2.4 above max.message.bytes", send(Batch.text(of(new SimpleRecord(1, null, large)))));
        c.put("3.2.4 too large and a bad CRC", to("max.message.bytes=100", Batch.broken(Batch.plain(20), b -> b.putInt(Batch.CRC, 1))));
        c.put("3.2.4 above max.message.bytes after recompression", to("max.message.bytes=1000;compression.type=uncompressed",
            Batch.text(MemoryRecords.withRecords(Compression.gzip().build(), new SimpleRecord(1_000_000, null, new byte[50_000])))));
        c.put("3.2.4 above segment.bytes", to("segment.bytes=1048576;max.message.bytes=4000000", Batch.text(of(new SimpleRecord(1, null, large)))));
        c.put("3.2.4 bad CRC", send(Batch.broken(Batch.plain(1), b -> b.putInt(Batch.CRC, 12345))));
        c.put("3.2.4 length below the header", send(Batch.broken(Batch.plain(1), b -> b.putInt(Batch.LENGTH, 20))));
        c.put("3.2.4 length beyond the bytes", send(Batch.broken(Batch.plain(1), b -> b.putInt(Batch.LENGTH, 5000))));
        c.put("3.2.4 negative length", send(Batch.broken(Batch.plain(1), b -> b.putInt(Batch.LENGTH, -5))));
        c.put("3.2.4 fewer bytes than a batch header", send(Batch.text(java.util.Arrays.copyOf(Batch.bytes(Batch.plain(1)), 30))));
        c.put("3.2.4 a trailing partial batch is trimmed", (f, w) -> {
            byte[] one = Batch.bytes(Batch.plain(2));
            String topic = f.topic();
            JsonNode answer = w.call("Produce", 9, Fixture.produceBody(topic, -1, Batch.text(concat(one, java.util.Arrays.copyOf(one, 40)))));
            return answer + " then " + w.call("ListOffsets", 7, Fixture.listBody(topic, -1)).toString();
        });
        c.put("3.2.5 last offset delta and count disagree", send(Batch.patched(Batch.plain(2), b -> b.putInt(Batch.LAST_OFFSET_DELTA, 5))));
        c.put("3.2.5 count 0", send(Batch.patched(Batch.plain(1), b -> b.putInt(Batch.COUNT, 0).putInt(Batch.LAST_OFFSET_DELTA, -1))));
        c.put("3.2.5 negative count", send(Batch.patched(Batch.plain(1), b -> b.putInt(Batch.COUNT, -1))));
        c.put("3.2.5 count above the records", send(Batch.patched(Batch.plain(2), b -> b.putInt(Batch.COUNT, 3).putInt(Batch.LAST_OFFSET_DELTA, 2))));
        c.put("3.2.5 count below the records", send(Batch.patched(Batch.plain(3), b -> b.putInt(Batch.COUNT, 2).putInt(Batch.LAST_OFFSET_DELTA, 1))));
        c.put("3.2.5 control batch", send(Batch.patched(Batch.plain(1), b -> b.putShort(Batch.ATTRIBUTES, (short) 0x20))));
        c.put("3.2.5 control and transactional batch", send(Batch.patched(Batch.plain(1), b -> b.putShort(Batch.ATTRIBUTES, (short) 0x30))));
        c.put("3.2.5 producer id without sequence", send(Batch.patched(Batch.plain(1), b -> b.putLong(Batch.PRODUCER_ID, 9000).putShort(Batch.PRODUCER_EPOCH, (short) 0))));
        c.put("3.2.5 log append time from a client", send(Batch.patched(Batch.plain(1), b -> b.putShort(Batch.ATTRIBUTES, (short) 0x08))));
        c.put("3.2.5 unknown codec 7", send(Batch.patched(Batch.plain(1), b -> b.putShort(Batch.ATTRIBUTES, (short) 7))));
        c.put("3.2.5 gzip that is not gzip", send(Batch.patched(Batch.plain(1), b -> b.putShort(Batch.ATTRIBUTES, (short) 1))));
        c.put("3.2.5 zstd that is not zstd", send(Batch.patched(Batch.plain(1), b -> b.putShort(Batch.ATTRIBUTES, (short) 4))));
        // A record: attributes, timestamp delta, offset delta, key length, value length, header count; zigzag varints.
        c.put("3.2.5 a good handmade record", send(Batch.handmade(0, 0, 0, 2, 'k', 2, 'v', 0)));
        c.put("3.2.5 offset delta 1 in the first record", send(Batch.handmade(0, 0, 2, 2, 'k', 2, 'v', 0)));
        c.put("3.2.5 null header key", send(Batch.handmade(0, 0, 0, 2, 'k', 2, 'v', 2, 1, 2, 'x')));
        c.put("3.2.5 negative header count", send(Batch.handmade(0, 0, 0, 2, 'k', 2, 'v', 1)));
        c.put("3.2.5 value longer than the record", send(Batch.handmade(0, 0, 0, 2, 'k', 100, 'v', 0)));
        c.put("3.2.5 bytes after the last header", send(Batch.handmade(0, 0, 0, 2, 'k', 2, 'v', 0, 0)));
    }

    private static void timestampsAndKeys(Map<String, ParityProbe.Case> c) {
        long now = System.currentTimeMillis();
        c.put("3.2.6 two hours ahead", send(Batch.text(of(new SimpleRecord(now + 7_200_000, "k".getBytes(), null)))));
        c.put("3.2.6 half an hour ahead", send(Batch.text(of(new SimpleRecord(now + 1_800_000, "k".getBytes(), null)))));
        c.put("3.2.6 only the second record ahead", send(Batch.text(of(new SimpleRecord(now, null, new byte[0]), new SimpleRecord(now + 7_200_000, null, new byte[0])))));
        c.put("3.2.6 older than message.timestamp.before.max.ms", to("message.timestamp.before.max.ms=1000", Batch.text(of(new SimpleRecord(now - 60_000, null, new byte[0])))));
        c.put("3.2.6 no timestamp", send(Batch.text(of(new SimpleRecord(-1L, "k".getBytes(), null)))));
        c.put("3.2.6 log append time ignores a timestamp ahead", (f, w) -> {
            JsonNode answer = w.call("Produce", 9, Fixture.produceBody(f.topic(1, "message.timestamp.type=LogAppendTime"), -1,
                Batch.text(of(new SimpleRecord(now + 7_200_000, "k".getBytes(), null))))).get("responses").get(0).get("partitionResponses").get(0);
            return answer.get("errorCode") + " append time set " + (answer.get("logAppendTimeMs").longValue() >= now - 60_000);
        });
        MemoryRecords mixed = of(new SimpleRecord(now, "k".getBytes(), null), new SimpleRecord(now, null, "v".getBytes()));
        c.put("3.2.7 compact topic without a key", to("cleanup.policy=compact", Batch.text(mixed)));
        c.put("3.2.7 compact,delete topic without a key", to("cleanup.policy=compact,delete", Batch.text(mixed)));
        c.put("3.2.7 compact topic without a key, v7", (f, w) -> w.call("Produce", 7, Fixture.produceBody(f.topic(1, "cleanup.policy=compact"), -1, Batch.text(mixed))));
        c.put("3.2.7 no key and a timestamp ahead", to("cleanup.policy=compact",
            Batch.text(of(new SimpleRecord(now, null, new byte[0]), new SimpleRecord(now + 7_200_000, "k".getBytes(), null)))));
        for (String type : new String[] {"gzip", "snappy", "lz4", "zstd", "uncompressed", "producer"}) {
            c.put("3.2.8 compression.type=" + type + " stores that codec", (f, w) -> {
                String topic = f.topic(1, "compression.type=" + type);
                f.produce(topic, Batch.text(MemoryRecords.withRecords(Compression.gzip().build(), Batch.records(30, now))));
                var response = (org.apache.kafka.common.requests.FetchResponse) w.receiveResponse(w.send("Fetch", 11, Fixture.fetchBody(topic, 0)));
                var records = (MemoryRecords) response.data().responses().get(0).partitions().get(0).records();
                var batch = records.batches().iterator().next();
                batch.ensureValid();
                return batch.compressionType() + " " + batch.countOrNull() + " records to " + batch.lastOffset();
            });
        }
    }

    private static long producerId(Wire w) throws Exception {
        return w.call("InitProducerId", 4, "{transactionalId:null,transactionTimeoutMs:1000,producerId:-1,producerEpoch:-1}").get("producerId").longValue();
    }

    /** Sends batches {epoch, sequence, count} in turn; what matters of each answer. */
    private static ParityProbe.Case sequence(int[]... batches) {
        return (f, w) -> {
            String topic = f.topic();
            long id = producerId(w);
            StringBuilder out = new StringBuilder();
            for (int[] b : batches) {
                JsonNode answer = w.call("Produce", 9, Fixture.produceBody(topic, -1, Batch.text(Batch.idempotent(id, b[0], b[1], b[2]))))
                    .get("responses").get(0).get("partitionResponses").get(0);
                out.append(answer.get("errorCode")).append('@').append(answer.get("baseOffset")).append(' ');
            }
            return out.append("end ").append(w.call("ListOffsets", 7, Fixture.listBody(topic, -1)).get("topics").get(0).get("partitions").get(0).get("offset"));
        };
    }

    private static int[] b(int epoch, int sequence, int count) {
        return new int[] {epoch, sequence, count};
    }

    private static void idempotence(Map<String, ParityProbe.Case> c) {
        c.put("3.3.1 a repeated batch answers its first offset", sequence(b(0, 0, 2), b(0, 2, 3), b(0, 0, 2), b(0, 2, 3)));
        c.put("3.3.1 five batches back is still a duplicate", sequence(b(0, 0, 1), b(0, 1, 1), b(0, 2, 1), b(0, 3, 1), b(0, 4, 1), b(0, 0, 1)));
        c.put("3.3.2 six batches back is out of order", sequence(b(0, 0, 1), b(0, 1, 1), b(0, 2, 1), b(0, 3, 1), b(0, 4, 1), b(0, 5, 1), b(0, 0, 1)));
        c.put("3.3.2 a gap", sequence(b(0, 0, 1), b(0, 2, 1), b(0, 1, 1)));
        c.put("3.3.2 an overlapping batch", sequence(b(0, 0, 3), b(0, 2, 3)));
        c.put("3.3.2 part of an old batch", sequence(b(0, 0, 3), b(0, 0, 2)));
        c.put("3.3.3 an older epoch", sequence(b(1, 0, 1), b(0, 0, 1)));
        c.put("3.3.3 a newer epoch from sequence 0", sequence(b(0, 0, 1), b(0, 1, 1), b(1, 0, 1), b(0, 2, 1)));
        c.put("3.3.3 a newer epoch from sequence 5", sequence(b(0, 0, 1), b(1, 5, 1)));
        c.put("3.3.4 no state accepts any sequence", sequence(b(0, 17, 1), b(0, 18, 1)));
        c.put("3.3.5 sequences wrap", sequence(b(0, Integer.MAX_VALUE - 1, 1), b(0, Integer.MAX_VALUE, 1), b(0, 0, 1), b(0, 2, 1)));
        c.put("3.3.5 a batch across the wrap", sequence(b(0, Integer.MAX_VALUE, 3), b(0, 2, 1)));
        c.put("3.3.7 two ids differ, epoch 0", (f, w) -> {
            JsonNode one = w.call("InitProducerId", 2, "{transactionalId:null,transactionTimeoutMs:1000}");
            return one.get("errorCode") + " epoch " + one.get("producerEpoch") + " unique " + (one.get("producerId").longValue() != producerId(w));
        });
        c.put("3.3.7 an id given back is bumped", (f, w) -> {
            long id = producerId(w);
            JsonNode bumped = w.call("InitProducerId", 4, "{transactionalId:null,transactionTimeoutMs:1000,producerId:%d,producerEpoch:0}".formatted(id));
            return bumped.get("errorCode") + " same id " + (bumped.get("producerId").longValue() == id) + " epoch " + bumped.get("producerEpoch");
        });
        c.put("3.3.7 id without epoch", (f, w) -> w.call("InitProducerId", 4, "{transactionalId:null,transactionTimeoutMs:1000,producerId:5,producerEpoch:-1}"));
        c.put("3.3.7 empty transactional id", (f, w) -> w.call("InitProducerId", 4, "{transactionalId:'',transactionTimeoutMs:1000}"));
    }
}
