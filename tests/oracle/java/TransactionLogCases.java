import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.FetchResponse;

/** semantics 3.4.5 to 3.4.9 and 3.4.11: what transactions do to logs, what readers see of it, and what administrators. */
final class TransactionLogCases {
    /** Kafka looks for timed-out transactions every ten seconds. */
    private static final int REAPED_WITHIN_MS = 14_000;

    private TransactionLogCases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        produce(c);
        implicit(c);
        timeout(c);
        markers(c);
        markerFences(c);
        readers(c);
        offsets(c);
        descriptions(c);
        lists(c);
    }

    private static void produce(Map<String, ParityProbe.Case> c) {
        for (int v : new int[] {3, 7, 9, 10, 11, 12}) {
            int version = v;
            c.put("3.4.5 Produce v%d to a partition not taken in".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                return txn.produce(version, topic, 1) + " log " + Txn.ends(w, topic);
            });
            c.put("3.4.5 Produce v%d to a partition taken in, and again".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                return txn.add(3, topic, 0) + " " + txn.produce(version, topic, 2) + " " + txn.produce(version, topic, 3)
                    + " a repeat " + Txn.produced(Txn.ask(w, "Produce", version, Txn.produceBody(txn.id, topic, 0, Txn.records(txn.producer, 0, 2, 3))))
                    + " a gap " + Txn.produced(Txn.ask(w, "Produce", version, Txn.produceBody(txn.id, topic, 0, Txn.records(txn.producer, 0, 9, 1)))) + " log " + Txn.ends(w, topic);
            });
            c.put("3.4.5 Produce v%d with another's producer id, epoch, transactional id".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                txn.init(4);
                txn.add(3, topic, 0);
                Object[][] whos = {{txn.id, txn.producer + 1_000_000, 1}, {txn.id, txn.producer, 0}, {txn.id, txn.producer, 2}, {f.name(), txn.producer, 1}, {null, txn.producer, 1}, {"", txn.producer, 1}};
                String out = "";
                for (Object[] who : whos) {
                    out += Txn.produced(Txn.ask(w, "Produce", version, Txn.produceBody((String) who[0], topic, 0, Txn.records((long) who[1], (int) who[2], 0, 1)))) + " ";
                }
                return out + "log " + Txn.ends(w, topic);
            });
        }
        c.put("3.4.5 a transaction begins at a sequence other than 0", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            return Txn.produced(Txn.ask(w, "Produce", 9, Txn.produceBody(txn.id, topic, 0, Txn.records(txn.producer, 0, 5, 1))));
        });
        c.put("3.4.5 sequences go on over an end without a new epoch", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            return txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2) + " " + txn.end(3, true) + " " + txn.add(3, topic, 0) + " " + txn.produce(9, topic, 1) + " " + txn.end(3, true)
                + " log " + Txn.ends(w, topic);
        });
        c.put("3.4.5 the next transaction from sequence 0, then right", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2) + " " + txn.end(3, true) + " " + txn.add(3, topic, 0) + " ";
            out += "from 0: " + Txn.produced(Txn.ask(w, "Produce", 9, Txn.produceBody(txn.id, topic, 0, Txn.records(txn.producer, 0, 0, 1))));
            return out + " from 2: " + txn.produce(9, topic, 1) + " " + txn.end(3, true) + " log " + Txn.ends(w, topic);
        });
        c.put("3.4.5 a batch of the aborted transaction in the next one", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2) + " " + txn.end(3, false) + " " + txn.add(3, topic, 0) + " ";
            out += "the same again: " + Txn.produced(Txn.ask(w, "Produce", 9, Txn.produceBody(txn.id, topic, 0, Txn.records(txn.producer, 0, 0, 2))));
            return out + " " + txn.end(3, true) + " log " + Txn.ends(w, topic);
        });
        c.put("3.4.5 a plain batch under a transactional id", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            return Txn.produced(Txn.ask(w, "Produce", 9, Txn.produceBody(txn.id, topic, 0, Batch.text(Batch.plain(1))))) + " log " + Txn.ends(w, topic);
        });
        c.put("3.3.8 a plain batch of a producer in the middle of its transaction", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2);
            out += " plain " + Txn.produced(w.call("Produce", 9, Txn.produceBody(null, topic, 0, Batch.text(Batch.idempotent(txn.producer, 0, 2, 1)))));
            out += " end " + txn.end(4, true) + " plain after it " + Txn.produced(w.call("Produce", 9, Txn.produceBody(null, topic, 0, Batch.text(Batch.idempotent(txn.producer, 0, 2, 1)))));
            return out + " log " + Txn.ends(w, topic);
        });
    }

    private static void implicit(Map<String, ParityProbe.Case> c) {
        c.put("3.4.5 v12 takes partitions in by itself", (f, w) -> {
            String topic = f.topic(3, "");
            Txn txn = Txn.start(f, w);
            String out = txn.produce(12, topic, 0, 1) + " " + txn.produce(12, topic, 2, 1);
            JsonNode state = w.call("DescribeTransactions", 0, "{transactionalIds:['%s']}".formatted(txn.id)).get("transactionStates").get(0);
            return out + " " + state.get("transactionState") + " " + timeless(state).get("topics").get(0).get("partitions") + " end " + txn.end(5, true);
        });
        c.put("3.4.5 v12: one good and one unknown partition", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String records = Txn.records(txn.producer, txn.epoch, 0, 1);
            JsonNode answer = Txn.ask(w, "Produce", 12, Txn.produceBody(txn.id, topic, 0, records).replace("]}]}", ",{index:9,records:'%s'}]}]}".formatted(records)));
            String out = "";
            for (JsonNode one : answer.get("responses").get(0).get("partitionResponses")) {
                out = one.get("index").intValue() == 0 ? "good " + one.get("errorCode") + " " + out : out + "unknown " + one.get("errorCode");
            }
            return out;
        });
        c.put("3.4.5 v12 with the epoch of before the end", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            long own = txn.producer;
            String out = txn.produce(12, topic, 1) + " end " + txn.end(5, true);
            out += " late " + Txn.produced(Txn.ask(w, "Produce", 12, Txn.produceBody(txn.id, topic, 0, Txn.records(own, 0, 1, 1))));
            out += " late in v9 " + Txn.produced(Txn.ask(w, "Produce", 9, Txn.produceBody(txn.id, topic, 0, Txn.records(own, 0, 1, 1))));
            return out + " next " + txn.produce(12, topic, 1) + " log " + Txn.ends(w, topic);
        });
        c.put("3.4.5 v13 by topic id", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            return Txn.produced(Txn.ask(w, "Produce", 13, Txn.produceBody(txn.id, topic, 0, Txn.records(txn.producer, 0, 0, 2)).replace("name:'" + topic, "topicId:'" + f.id(topic))))
                + " " + txn.end(5, false) + " " + Txn.read(w, topic, 0, 1);
        });
    }

    private static void timeout(Map<String, ParityProbe.Case> c) {
        c.put("3.4.6 an abandoned transaction is aborted and its producer fenced", (f, w) -> {
            String topic = f.topic();
            Txn txn = new Txn(w, f.name());
            txn.init(4, 500);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2) + " log " + Txn.ends(w, topic);
            long deadline = System.nanoTime() + REAPED_WITHIN_MS * 1_000_000L;
            while (Txn.ends(w, topic).startsWith("0/") && System.nanoTime() < deadline) {
                Thread.sleep(50);
            }
            out += " then " + Txn.read(w, topic, 0, 1) + ". Late: end " + txn.ended(Txn.ask(w, "EndTxn", 4, Txn.endBody(txn.id, txn.producer, txn.epoch, true)))
                + " v5 " + txn.ended(Txn.ask(w, "EndTxn", 5, Txn.endBody(txn.id, txn.producer, txn.epoch, true)))
                + " add " + txn.add(3, topic, 0) + " produce " + txn.produce(9, topic, 1) + " produce v12 " + txn.produce(12, topic, 1);
            return out + " raise " + txn.raise(4, txn.producer, 0) + " init " + txn.init(4);
        });
    }

    private static String markerBody(Txn txn, String topic, int partition, int epoch, boolean commit, int coordinatorEpoch, String more) {
        return "{markers:[{producerId:%d,producerEpoch:%d,transactionResult:%b,coordinatorEpoch:%d%s,topics:[{name:'%s',partitionIndexes:[%d]}]}]}"
            .formatted(txn.producer, epoch, commit, coordinatorEpoch, more, topic, partition);
    }

    /** The last batch of partition 0, which must be a control batch. */
    private static String marker(Wire w, String topic, long offset) throws Exception {
        var response = (FetchResponse) w.receiveResponse(w.send("Fetch", 12, Fixture.fetchBody(topic, offset)));
        String out = "nothing";
        for (var batch : ((MemoryRecords) response.data().responses().get(0).partitions().get(0).records()).batches()) {
            var record = batch.iterator().next();
            byte[] key = new byte[record.keySize()];
            record.key().get(key);
            out = (batch.isControlBatch() ? ControlRecordType.parse(record.key()).toString() : "data") + " at " + batch.baseOffset() + ".." + batch.lastOffset() + " epoch " + batch.producerEpoch()
                + " sequence " + batch.baseSequence() + " txn " + batch.isTransactional() + " codec " + batch.compressionType() + " key " + java.util.HexFormat.of().formatHex(key)
                + " value " + record.valueSize() + " bytes, headers " + record.headers().length;
        }
        return out;
    }

    private static void markers(Map<String, ParityProbe.Case> c) {
        for (boolean commit : new boolean[] {true, false}) {
            c.put("3.4.7 the marker of a%s".formatted(commit ? " commit" : "n abort"), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                txn.add(3, topic, 0);
                return txn.produce(9, topic, 3) + " " + txn.end(4, commit) + " " + marker(w, topic, 3);
            });
            c.put("3.4.7 the marker of a%s, v5".formatted(commit ? " commit" : "n abort"), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                return txn.produce(12, topic, 3) + " " + txn.end(5, commit) + " " + marker(w, topic, 3);
            });
        }
        for (int v = 1; v <= 2; v++) {
            int version = v;
            c.put("3.4.7 WriteTxnMarkers v%d: an administrator's abort, then the producer's end".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2) + " log " + Txn.ends(w, topic);
                out += " marker " + Txn.codes(w.call("WriteTxnMarkers", version, markerBody(txn, topic, 0, txn.epoch, false, 0, ""))) + " log " + Txn.ends(w, topic);
                out += " more " + txn.produce(9, topic, 1);
                return out + " end " + txn.end(4, false) + " log " + Txn.ends(w, topic) + " " + Txn.read(w, topic, 0, 1);
            });
            c.put("3.4.7 WriteTxnMarkers v%d: unknown topic, unknown partition, none".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                return Txn.codes(w.call("WriteTxnMarkers", version, markerBody(txn, f.name(), 0, 0, false, 0, ""))) + " "
                    + Txn.codes(w.call("WriteTxnMarkers", version, markerBody(txn, topic, 5, 0, false, 0, ""))) + " "
                    + Txn.codes(w.call("WriteTxnMarkers", version, "{markers:[]}"));
            });
        }
    }

    private static void markerFences(Map<String, ParityProbe.Case> c) {
        c.put("3.4.7 a marker for a producer without a transaction", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Txn.plain(2));
            Txn txn = Txn.start(f, w);
            return Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 0, false, 0, ""))) + " commit "
                + Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 0, true, 0, ""))) + " log " + Txn.ends(w, topic) + " " + Txn.read(w, topic, 0, 1);
        });
        c.put("3.4.7 a marker of an older producer epoch", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            txn.init(4);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2);
            return out + " marker " + Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 0, false, 0, ""))) + " log " + Txn.ends(w, topic) + " end " + txn.end(4, true);
        });
        c.put("3.4.7 a marker of a newer producer epoch", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2);
            return out + " marker " + Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 5, false, 0, ""))) + " log " + Txn.ends(w, topic) + " produce " + txn.produce(9, topic, 1)
                + " end " + txn.ended(w.call("EndTxn", 4, Txn.endBody(txn.id, txn.producer, 0, true)));
        });
        c.put("3.4.7 a marker of an older coordinator epoch", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 1);
            out += " epoch 7 " + Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 0, false, 7, "")));
            return out + " epoch 5 " + Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 0, false, 5, ""))) + " epoch -1 "
                + Txn.codes(w.call("WriteTxnMarkers", 1, markerBody(txn, topic, 0, 0, false, -1, ""))) + " log " + Txn.ends(w, topic);
        });
        for (int t : new int[] {0, 1, 2}) {
            int transactionVersion = t;
            c.put("3.4.7 WriteTxnMarkers v2, transaction version %d, own epoch and the next".formatted(t), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                String more = ",transactionVersion:" + transactionVersion;
                String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 1);
                out += " own " + Txn.codes(w.call("WriteTxnMarkers", 2, markerBody(txn, topic, 0, 0, false, 0, more))) + " log " + Txn.ends(w, topic);
                return out + " next " + Txn.codes(w.call("WriteTxnMarkers", 2, markerBody(txn, topic, 0, 1, false, 0, more))) + " log " + Txn.ends(w, topic);
            });
        }
    }

    private static void readers(Map<String, ParityProbe.Case> c) {
        c.put("3.4.8 an open transaction ends what is stable", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Txn.plain(3));
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            txn.produce(9, topic, 2);
            f.produce(topic, Txn.plain(4));
            return "committed: " + Txn.read(w, topic, 0, 1) + ", all: " + Txn.read(w, topic, 0, 0) + ", committed from the stable offset: " + Txn.read(w, topic, 3, 1)
                + ", from beyond it: " + Txn.read(w, topic, 5, 1) + ", from the end: " + Txn.read(w, topic, 9, 1) + ", beyond: " + Txn.read(w, topic, 10, 1) + ", ended " + txn.end(4, true)
                + ": " + Txn.read(w, topic, 0, 1);
        });
        c.put("3.4.8 two transactions side by side, one aborted", (f, w) -> {
            String topic = f.topic();
            Txn a = Txn.start(f, w);
            Txn b = Txn.start(f, w);
            String out = a.add(3, topic, 0) + b.add(3, topic, 0) + " " + a.produce(9, topic, 2) + " " + b.produce(9, topic, 2) + " " + a.produce(9, topic, 1);
            out += " abort " + a.end(4, false) + " " + Txn.read(w, topic, 0, 1) + ", commit " + b.end(4, true);
            for (int offset : new int[] {0, 2, 3, 4, 5, 6, 7}) {
                out += ", from " + offset + " " + Txn.read(w, topic, offset, 1);
            }
            return out + ", all " + Txn.read(w, topic, 0, 0);
        });
        c.put("3.4.8 aborted ranges one after another", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = "";
            for (boolean commit : new boolean[] {false, true, false, false, true}) {
                out += txn.produce(12, topic, 1) + " " + txn.end(5, commit) + " ";
            }
            for (int offset : new int[] {0, 1, 2, 4, 5, 8}) {
                out += ", from " + offset + " " + Txn.read(w, topic, offset, 1);
            }
            return out;
        });
        c.put("3.4.8 an aborted range that begins before the log's start", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            String out = txn.produce(9, topic, 4) + " " + txn.end(4, false);
            f.produce(topic, Txn.plain(2));
            w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:2}]}]}".formatted(topic));
            out += " " + Txn.read(w, topic, 2, 1);
            w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:5}]}]}".formatted(topic));
            return out + ", " + Txn.read(w, topic, 5, 1);
        });
        c.put("3.4.8 DeleteRecords beyond an open transaction's first record", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            String out = txn.produce(9, topic, 4);
            JsonNode answer = w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:3}]}]}".formatted(topic));
            out += " " + Txn.codes(answer) + " low " + answer.get("topics").get(0).get("partitions").get(0).get("lowWatermark") + " log " + Txn.ends(w, topic);
            answer = w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:-1}]}]}".formatted(topic));
            return out + " all " + Txn.codes(answer) + " low " + answer.get("topics").get(0).get("partitions").get(0).get("lowWatermark") + " log " + Txn.ends(w, topic) + " end " + txn.end(4, true)
                + " log " + Txn.ends(w, topic);
        });
        for (int v : new int[] {4, 5, 7, 11}) {
            int version = v;
            c.put("3.4.8 Fetch v%d of an aborted transaction, both isolation levels".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                txn.add(3, topic, 0);
                txn.produce(9, topic, 2);
                txn.end(4, false);
                String body = "{isolationLevel:LEVEL,maxWaitMs:0,minBytes:0,maxBytes:1000000,%stopics:[{topic:'%s',partitions:[{partition:0,fetchOffset:0,partitionMaxBytes:100000}]}]}"
                    .formatted(version >= 7 ? "sessionEpoch:-1," : "", topic);
                return parts(w.call("Fetch", version, body.replace("LEVEL", "1"))) + " " + parts(w.call("Fetch", version, body.replace("LEVEL", "0")));
            });
        }
    }

    /** The one partition of a Fetch; of aborted transactions only where they begin. */
    private static String parts(JsonNode answer) {
        JsonNode partition = answer.get("responses").get(0).get("partitions").get(0);
        String aborted = partition.get("abortedTransactions").isNull() ? "null" : "";
        for (JsonNode one : partition.get("abortedTransactions")) {
            aborted += one.get("firstOffset") + " ";
        }
        return "error " + partition.get("errorCode") + " high " + partition.get("highWatermark") + " stable " + partition.get("lastStableOffset") + " aborted [" + aborted.strip() + "]";
    }

    private static void offsets(Map<String, ParityProbe.Case> c) {
        c.put("3.4.9 ListOffsets at either isolation level with an open transaction", (f, w) -> {
            String topic = f.filled(3); // stamped 1,000,000 and on
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            f.produce(topic, Batch.text(MemoryRecords.withRecords(Compression.NONE, Batch.records(2, 900_000))));
            w.call("Produce", 9, Txn.produceBody(txn.id, topic, 0, Batch.text(MemoryRecords.withTransactionalRecords(Compression.NONE, txn.producer, (short) 0, 0, Batch.records(2, 2_000_000)))));
            f.produce(topic, Batch.text(MemoryRecords.withRecords(Compression.NONE, Batch.records(2, 3_000_000))));
            StringBuilder out = new StringBuilder();
            for (int isolation : new int[] {1, 0}) {
                for (long time : new long[] {-1, -2, -3, 0, 1_000_002, 1_999_999, 2_000_001, 3_000_000}) {
                    JsonNode one = w.call("ListOffsets", 7, Txn.listBody(topic, isolation, time)).get("topics").get(0).get("partitions").get(0);
                    out.append(time).append(':').append(one.get("errorCode")).append('@').append(one.get("offset")).append('/').append(one.get("timestamp")).append(' ');
                }
                out.append("; ");
            }
            return out;
        });
        c.put("3.4.9 ListOffsets of an aborted transaction's time", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            txn.add(3, topic, 0);
            String out = txn.produce(9, topic, 2) + " " + txn.end(4, false);
            for (int isolation : new int[] {1, 0}) {
                for (long time : new long[] {-1, 1_000_001}) {
                    out += " " + w.call("ListOffsets", 2, Txn.listBody(topic, isolation, time)).get("topics").get(0).get("partitions").get(0).get("offset");
                }
            }
            return out;
        });
    }

    /** A description without its clock, and with partitions in order. */
    private static JsonNode timeless(JsonNode state) {
        for (JsonNode topic : state.get("topics")) {
            java.util.TreeSet<Integer> sorted = new java.util.TreeSet<>();
            topic.get("partitions").forEach(p -> sorted.add(p.intValue()));
            ((ObjectNode) topic).put("partitions", sorted.toString());
        }
        ((ObjectNode) state).put("transactionStartTimeMs", state.get("transactionStartTimeMs").longValue() > 0 ? "some" : "none");
        return state;
    }

    private static JsonNode describe(Wire w, String id) throws Exception {
        return timeless(w.call("DescribeTransactions", 0, "{transactionalIds:['%s']}".formatted(id)).get("transactionStates").get(0));
    }

    private static String producers(Wire w, String topic) throws Exception {
        JsonNode partition = w.call("DescribeProducers", 0, "{topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(topic)).get("topics").get(0).get("partitions").get(0);
        String out = partition.get("errorCode") + ":";
        for (JsonNode one : partition.get("activeProducers")) {
            out += " epoch " + one.get("producerEpoch") + " sequence " + one.get("lastSequence") + " begun " + one.get("currentTxnStartOffset") + " coordinator " + one.get("coordinatorEpoch")
                + " stamp " + (one.get("lastTimestamp").longValue() > 0);
        }
        return out;
    }

    private static void descriptions(Map<String, ParityProbe.Case> c) {
        c.put("3.4.11 DescribeTransactions: unknown and empty", (f, w) -> Txn.ask(w, "DescribeTransactions", 0, "{transactionalIds:['%s']}".formatted(f.name())) + " "
            + Txn.ask(w, "DescribeTransactions", 0, "{transactionalIds:['']}"));
        c.put("3.4.11 DescribeTransactions through a transaction's life", (f, w) -> {
            String topic = f.topic(2, "");
            Txn txn = Txn.start(f, w);
            String out = "" + describe(w, txn.id).toString().replace(String.valueOf(txn.producer), "ID");
            txn.add(3, topic, 0, 1);
            out += " " + describe(w, txn.id).toString().replace(String.valueOf(txn.producer), "ID");
            txn.end(4, true);
            out += " " + describe(w, txn.id).toString().replace(String.valueOf(txn.producer), "ID");
            txn.add(3, topic, 0);
            txn.end(4, false);
            out += " " + describe(w, txn.id).toString().replace(String.valueOf(txn.producer), "ID");
            txn.produce(12, topic, 1);
            txn.end(5, true);
            return out + " " + describe(w, txn.id).toString().replace(String.valueOf(txn.producer), "ID");
        });
        c.put("3.4.11 DescribeProducers through a transaction's life", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = producers(w, topic);
            txn.add(3, topic, 0);
            txn.produce(9, topic, 2);
            out += ", open " + producers(w, topic);
            txn.end(4, false);
            out += ", aborted " + producers(w, topic);
            txn.init(4);
            out += ", next epoch " + producers(w, topic);
            txn.produce(12, topic, 1);
            txn.end(5, true);
            return out + ", v5 committed " + producers(w, topic);
        });
        c.put("3.4.11 DescribeProducers: unknown topic and partition", (f, w) -> Txn.codes(w.call("DescribeProducers", 0, "{topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(f.name())))
            + " " + Txn.codes(w.call("DescribeProducers", 0, "{topics:[{name:'%s',partitionIndexes:[8]}]}".formatted(f.topic()))));
    }

    private static void lists(Map<String, ParityProbe.Case> c) {
        for (int v = 0; v <= 2; v++) {
            int version = v;
            c.put("3.4.11 ListTransactions v%d: by state and producer".formatted(v), (f, w) -> {
                Txn txn = Txn.start(f, w);
                txn.add(3, f.topic(), 0);
                Txn done = Txn.start(f, w);
                done.add(3, f.topic(), 0);
                done.end(4, true);
                Txn idle = Txn.start(f, w);
                String out = "";
                String[] filters = {"", "stateFilters:['Ongoing']", "stateFilters:['ongoing']", "stateFilters:['CompleteCommit','Nonsense']", "stateFilters:['Empty']", "stateFilters:['Nonsense']",
                    "producerIdFilters:[%d]".formatted(txn.producer), "producerIdFilters:[-1]", "stateFilters:['CompleteCommit'],producerIdFilters:[%d,%d]".formatted(txn.producer, done.producer)};
                for (String filter : filters) {
                    JsonNode answer = w.call("ListTransactions", version, "{" + filter + "}");
                    out += "(" + answer.get("errorCode") + " unknown " + answer.get("unknownStateFilters");
                    for (JsonNode one : answer.get("transactionStates")) {
                        String id = one.get("transactionalId").textValue();
                        out += id.equals(txn.id) ? " open " + one.get("transactionState") : "";
                    }
                    for (JsonNode one : answer.get("transactionStates")) {
                        String id = one.get("transactionalId").textValue();
                        out += id.equals(done.id) ? " done " + one.get("transactionState") : "";
                    }
                    for (JsonNode one : answer.get("transactionStates")) {
                        String id = one.get("transactionalId").textValue();
                        out += id.equals(idle.id) ? " idle " + one.get("transactionState") : "";
                    }
                    out += ") ";
                }
                return out;
            });
        }
        for (String duration : new String[] {"-1", "0", "1", "600000"}) {
            c.put("3.4.11 ListTransactions v1: running longer than %s ms".formatted(duration), (f, w) -> {
                Txn txn = Txn.start(f, w);
                txn.add(3, f.topic(), 0);
                Thread.sleep(30);
                return listed(w, 1, "durationFilter:" + duration, txn, Txn.start(f, w));
            });
        }
        for (String pattern : new String[] {"'%s'", "'%s.*'", "'.*%s'", "'x%s'", "'['", "''", "null"}) {
            c.put("3.4.11 ListTransactions v2: pattern %s".formatted(pattern.replace("%s", "ID")), (f, w) -> {
                Txn txn = Txn.start(f, w);
                txn.add(3, f.topic(), 0);
                return listed(w, 2, "transactionalIdPattern:" + pattern.replace("%s", txn.id), txn, Txn.start(f, w));
            });
        }
    }

    private static String listed(Wire w, int version, String filter, Txn open, Txn idle) throws Exception {
        JsonNode answer = w.call("ListTransactions", version, "{" + filter + "}");
        boolean sawOpen = false;
        boolean sawIdle = false;
        for (JsonNode one : answer.get("transactionStates")) {
            sawOpen |= one.get("transactionalId").textValue().equals(open.id);
            sawIdle |= one.get("transactionalId").textValue().equals(idle.id);
        }
        return answer.get("errorCode") + " the open one " + sawOpen + " an idle one " + sawIdle;
    }
}
