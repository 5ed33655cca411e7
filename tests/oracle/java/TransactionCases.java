import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/**
 * semantics 3.4.1 to 3.4.4: the transaction coordinator's own APIs, each version of them, right and wrong.
 *
 * What real Kafka does and few expect, each among the recorded answers:
 * <ul>
 * <li>Timeouts are checked for transactional ids alone. An id and epoch given for a transactional id nobody knows are ignored.
 * <li>InitProducerId with the own epoch of before the last raise is a repeat and answered again; with the own id and epoch during a
 *     transaction it is busy, then the next epoch (not the next but one); after a timeout the fenced producer gets its id raised.
 * <li>Below AddPartitionsToTxn 2, AddOffsetsToTxn 2 and EndTxn 2 a fenced epoch is 47, from then on 90; in Produce and in every version of
 *     TxnOffsetCommit it is 47; an epoch ahead is answered as one behind.
 * <li>Verification of a partition that is not taken in is 120 in versions 4 and 5. AddOffsetsToTxn takes an empty group.
 * <li>Not taken in: Produce up to 10 and TxnOffsetCommit up to 3 answer 48, Produce 11 and TxnOffsetCommit 4 answer 120. Another's
 *     producer id or an unknown transactional id is 49 there too, none 53 (TxnOffsetCommit: 42), an empty one 42.
 * <li>A transactional producer's plain batches are taken while it has no transaction there; its transactions may begin at any
 *     sequence where the partition knows none.
 * <li>Errors of EndTxn 5 carry the id -1 and the epoch -1; the other result under the epoch of before the end is 48.
 * <li>A plain commit while one is pending shows at once to who takes unstable offsets, leaves the partition unstable, and outlives the
 *     transaction's commit. Deleting a pending offset or its group works, and the commit does not bring it back.
 * <li>ListTransactions: the duration filter lets ids pass that have no transaction; states are told apart by case.
 * <li>A marker of transaction version 2 must be above the producer's epoch, else 47; one for a producer without a transaction is written.
 * </ul>
 */
final class TransactionCases {
    private TransactionCases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        ids(c);
        takingOver(c);
        partitions(c);
        groups(c);
        ends(c);
        epochs(c);
        coordinators(c);
    }

    private static void ids(Map<String, ParityProbe.Case> c) {
        for (int v = 0; v <= 5; v++) {
            int version = v;
            c.put("3.4.1 InitProducerId v%d: a new id, then again".formatted(v), (f, w) -> {
                Txn txn = new Txn(w, f.name());
                return txn.init(version) + ", " + txn.init(version);
            });
            c.put("3.4.1 InitProducerId v%d: an empty id, bad timeouts".formatted(v), (f, w) -> {
                StringBuilder out = new StringBuilder(w.call("InitProducerId", version, Txn.initBody(version, "", 1000, -1, -1)).toString());
                for (int timeout : new int[] {0, -1, 900_001, 900_000}) {
                    out.append(' ').append(timeout).append(':').append(Txn.ask(w, "InitProducerId", version,
                        Txn.initBody(version, f.name(), timeout, -1, -1)).get("errorCode"));
                }
                return out;
            });
            c.put("3.3.7 InitProducerId v%d without a transactional id".formatted(v), (f, w) ->
                w.call("InitProducerId", version, Txn.initBody(version, null, 0, -1, -1)));
        }
        c.put("3.4.1 InitProducerId v6 is not served", (f, w) -> w.call("InitProducerId", 6, Txn.initBody(6, f.name(), 1000, -1, -1)));
        for (int v = 3; v <= 5; v++) {
            int version = v;
            c.put("3.4.1 v%d: the own epoch is raised, an older one is fenced".formatted(v), (f, w) -> {
                Txn txn = Txn.start(f, w);
                long own = txn.producer;
                return txn.raise(version, own, 0) + ", a repeat " + txn.raise(version, own, 0) + ", " + txn.raise(version, own, 1)
                    + ", two behind " + txn.raise(version, own, 0) + ", ahead " + txn.raise(version, own, 9) + ", another's " + txn.raise(version, own + 1_000_000, 2);
            });
            c.put("3.4.1 v%d: an id and an epoch for a transactional id nobody knows".formatted(v), (f, w) -> {
                JsonNode answer = Txn.ask(w, "InitProducerId", version, Txn.initBody(version, f.name(), 1000, 4_000_000, 3));
                return answer.get("errorCode") + " epoch " + answer.get("producerEpoch") + " that id " + (answer.get("producerId").longValue() == 4_000_000);
            });
        }
        c.put("3.4.1 an id without an epoch, an epoch without an id", (f, w) ->
            w.call("InitProducerId", 4, Txn.initBody(4, f.name(), 1000, 5, -1)) + " " + w.call("InitProducerId", 4, Txn.initBody(4, f.name(), 1000, -1, 5)));
    }

    /** The state of a transactional id with a transaction in which two records were written, and their topic. */
    private static Txn ongoing(Fixture f, Wire w, String topic) throws Exception {
        Txn txn = Txn.start(f, w);
        String out = txn.add(3, topic, 0) + " " + txn.produce(9, topic, 2);
        if (!out.startsWith("0 0@")) {
            throw new IllegalStateException("a transaction could not be opened: " + out);
        }
        return txn;
    }

    private static void takingOver(Map<String, ParityProbe.Case> c) {
        for (int v : new int[] {0, 3, 4, 5}) {
            int version = v;
            c.put("3.4.1 v%d during a transaction: busy, then the next epoch but one; it is aborted".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn old = ongoing(f, w, topic);
                Txn next = new Txn(w, old.id);
                JsonNode first = w.call("InitProducerId", version, Txn.initBody(version, old.id, Txn.TIMEOUT_MS, -1, -1));
                return first.get("errorCode") + " epoch " + first.get("producerEpoch") + ", " + next.init(version) + " same id " + (next.producer == old.producer)
                    + " " + Txn.read(w, topic, 0, 1);
            });
        }
        c.put("3.4.1 with its own id and epoch during a transaction: aborted too", (f, w) -> {
            String topic = f.topic();
            Txn txn = ongoing(f, w, topic);
            JsonNode first = w.call("InitProducerId", 4, Txn.initBody(4, txn.id, Txn.TIMEOUT_MS, txn.producer, 0));
            return first.get("errorCode") + ", " + txn.raise(4, txn.producer, 0) + " " + Txn.read(w, topic, 0, 1);
        });
        c.put("3.4.1 a fenced producer, old versions", (f, w) -> fenced(f, w, 9, 0, 0, 0, 0));
        c.put("3.4.1 a fenced producer, versions 1 and 2", (f, w) -> fenced(f, w, 9, 1, 1, 1, 2));
        c.put("3.4.1 a fenced producer, versions 2 and 3", (f, w) -> fenced(f, w, 10, 2, 2, 2, 3));
        c.put("3.4.1 a fenced producer, versions before KIP-890", (f, w) -> fenced(f, w, 11, 3, 3, 4, 4));
        c.put("3.4.1 a fenced producer, newest versions", (f, w) -> fenced(f, w, 12, 5, 4, 5, 5));
    }

    /** A producer whose place was taken tries each of its requests. */
    private static String fenced(Fixture f, Wire w, int produce, int add, int offsets, int end, int commit) throws Exception {
        String topic = f.topic();
        Txn old = ongoing(f, w, topic);
        new Txn(w, old.id).init(4);
        return "produce " + old.produce(produce, topic, 1) + " add " + old.add(add, topic, 0) + " add offsets " + old.addOffsets(offsets, f.name())
            + " end " + old.ended(w.call("EndTxn", end, Txn.endBody(old.id, old.producer, old.epoch, true)))
            + " commit " + old.offsets(commit, f.name(), topic, 5) + " log " + Txn.ends(w, topic);
    }

    private static void partitions(Map<String, ParityProbe.Case> c) {
        for (int v = 0; v <= 5; v++) {
            int version = v;
            c.put("3.4.2 AddPartitionsToTxn v%d: good, again, none".formatted(v), (f, w) -> {
                String topic = f.topic(2, "");
                Txn txn = Txn.start(f, w);
                return txn.add(version, topic, 0, 1) + " " + txn.add(version, topic, 1) + " "
                    + Txn.codes(w.call("AddPartitionsToTxn", version, Txn.addBody(version, txn.id, txn.producer, txn.epoch, "")));
            });
            c.put("3.4.2 AddPartitionsToTxn v%d: who may not".formatted(v), (f, w) -> {
                String topic = Txn.topics(f.topic(), 0);
                Txn txn = Txn.start(f, w);
                txn.init(4); // epoch 1, so that there is an older one
                Object[][] whos = {{"", txn.producer, 1}, {f.name(), txn.producer, 1}, {txn.id, txn.producer + 1_000_000, 1}, {txn.id, txn.producer, 0},
                    {txn.id, txn.producer, 2}, {txn.id, -1L, -1}};
                String out = "";
                for (Object[] who : whos) {
                    out += Txn.codes(Txn.ask(w, "AddPartitionsToTxn", version, Txn.addBody(version, (String) who[0], (long) who[1], (int) who[2], topic))) + " ";
                }
                return out;
            });
            c.put("3.4.2 AddPartitionsToTxn v%d: one good and one unknown partition".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                JsonNode answer = Txn.ask(w, "AddPartitionsToTxn", version, Txn.addBody(version, txn.id, txn.producer, txn.epoch, Txn.topics(topic, 0, 7)));
                JsonNode topics = version < 4 ? answer.get("resultsByTopicV3AndBelow") : answer.get("resultsByTransaction").get(0).get("topicResults");
                String out = "";
                for (JsonNode partition : topics.get(0).get("resultsByPartition")) {
                    out += partition.get("partitionIndex").intValue() == 0 ? " good " + partition.get("partitionErrorCode") : "";
                    out = (partition.get("partitionIndex").intValue() == 7 ? "unknown " + partition.get("partitionErrorCode") : "") + out;
                }
                return out + ", the log stays closed: " + txn.produce(9, topic, 1);
            });
        }
        c.put("3.4.2 an unknown topic", (f, w) -> Txn.start(f, w).add(3, f.name(), 0));
        c.put("3.4.2 a negative partition", (f, w) -> Txn.start(f, w).add(3, f.topic(), -1));
        for (int v = 4; v <= 5; v++) {
            int version = v;
            c.put("3.4.2 v%d: verification before and after".formatted(v), (f, w) -> {
                String topic = f.topic(2, "");
                Txn txn = Txn.start(f, w);
                return "before " + txn.verify(version, topic, 0) + " added " + txn.add(version, topic, 0) + " after " + txn.verify(version, topic, 0)
                    + " one of two " + txn.verify(version, topic, 1, 0) + " of another epoch "
                    + Txn.codes(w.call("AddPartitionsToTxn", version, Txn.addBody(version, txn.id, txn.producer, 7, Txn.topics(topic, 0)).replace("topics:", "verifyOnly:true,topics:")))
                    + " of an unknown id " + Txn.codes(Txn.ask(w, "AddPartitionsToTxn", version, Txn.addBody(version, f.name(), 77, 0, Txn.topics(topic, 0)).replace("topics:", "verifyOnly:true,topics:")));
            });
            c.put("3.4.2 v%d: two transactions in one request".formatted(v), (f, w) -> {
                String topic = f.topic();
                Txn good = Txn.start(f, w);
                Txn bad = Txn.start(f, w);
                String both = "{transactions:[{transactionalId:'%s',producerId:%d,producerEpoch:0,topics:[%s]},{transactionalId:'%s',producerId:%d,producerEpoch:9,topics:[%s]}]}"
                    .formatted(good.id, good.producer, Txn.topics(topic, 0), bad.id, bad.producer, Txn.topics(topic, 0));
                String out = "";
                for (JsonNode one : Txn.ask(w, "AddPartitionsToTxn", version, both).get("resultsByTransaction")) {
                    out = one.get("transactionalId").textValue().equals(good.id) ? "good " + Txn.codes(one) + " " + out : out + "bad " + Txn.codes(one);
                }
                return out;
            });
        }
        c.put("3.4.2 partitions after a commit begin the next transaction", (f, w) -> {
            String topic = f.topic();
            Txn txn = ongoing(f, w, topic);
            return "end " + txn.end(4, true) + " add " + txn.add(3, topic, 0) + " produce " + txn.produce(9, topic, 1) + " end " + txn.end(4, true) + " log " + Txn.ends(w, topic);
        });
    }

    private static void groups(Map<String, ParityProbe.Case> c) {
        for (int v = 0; v <= 4; v++) {
            int version = v;
            c.put("3.4.3 AddOffsetsToTxn v%d: good, and who may not".formatted(v), (f, w) -> {
                Txn txn = Txn.start(f, w);
                txn.init(4);
                String out = "good " + txn.addOffsets(version, f.name()) + " again " + txn.addOffsets(version, f.name()) + " no group " + txn.addOffsets(version, "");
                Object[][] whos = {{"", txn.producer, 1}, {f.name(), txn.producer, 1}, {txn.id, txn.producer + 1_000_000, 1}, {txn.id, txn.producer, 0}, {txn.id, txn.producer, 2}};
                for (Object[] who : whos) {
                    out += " " + Txn.codes(Txn.ask(w, "AddOffsetsToTxn", version, Txn.addOffsetsBody((String) who[0], (long) who[1], (int) who[2], f.name())));
                }
                return out;
            });
        }
    }

    private static void ends(Map<String, ParityProbe.Case> c) {
        for (int v = 0; v <= 5; v++) {
            int version = v;
            for (boolean commit : new boolean[] {true, false}) {
                String word = commit ? "commit" : "abort";
                c.put("3.4.4 EndTxn v%d: %s of nothing".formatted(v, word), (f, w) -> Txn.start(f, w).end(version, commit));
                c.put("3.4.4 EndTxn v%d: %s, again, the other".formatted(v, word), (f, w) -> {
                    String topic = f.topic();
                    Txn txn = ongoing(f, w, topic);
                    String body = Txn.endBody(txn.id, txn.producer, txn.epoch, commit);
                    String out = txn.ended(Txn.ask(w, "EndTxn", version, body)) + ", again " + txn.ended(Txn.ask(w, "EndTxn", version, body));
                    return out + ", the other " + txn.ended(Txn.ask(w, "EndTxn", version, Txn.endBody(txn.id, txn.producer, txn.epoch, !commit))) + " " + Txn.read(w, topic, 0, 1);
                });
            }
            c.put("3.4.4 EndTxn v%d: who may not".formatted(v), (f, w) -> {
                Txn txn = Txn.start(f, w);
                txn.init(4);
                txn.add(3, f.topic(), 0);
                Object[][] whos = {{"", txn.producer, 1}, {f.name(), txn.producer, 1}, {txn.id, txn.producer + 1_000_000, 1}, {txn.id, txn.producer, 0}, {txn.id, txn.producer, 2}};
                String out = "";
                for (Object[] who : whos) {
                    out += txn.ended(Txn.ask(w, "EndTxn", version, Txn.endBody((String) who[0], (long) who[1], (int) who[2], true))) + ", ";
                }
                return out;
            });
        }
        c.put("3.4.4 a transaction that only took partitions in", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            return txn.add(3, topic, 0) + " " + txn.end(4, true) + " " + Txn.read(w, topic, 0, 0);
        });
    }

    private static void epochs(Map<String, ParityProbe.Case> c) {
        c.put("3.4.4 v5: every end raises the epoch, and the old one may ask again", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = "";
            for (boolean commit : new boolean[] {true, false, true}) {
                out += "produce " + txn.produce(12, topic, 1) + " end " + txn.end(5, commit) + ", ";
            }
            return out + Txn.read(w, topic, 0, 1);
        });
        c.put("3.4.4 v5: abort of nothing after a commit, commit of nothing after an abort", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            return txn.produce(12, topic, 1) + " commit " + txn.end(5, true) + ", abort " + txn.end(5, false) + ", abort " + txn.end(5, false) + ", commit " + txn.end(5, true);
        });
        c.put("3.4.4 v5: the epoch before the last does not count", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            long own = txn.producer;
            String out = txn.produce(12, topic, 1) + " " + txn.end(5, true) + " " + txn.produce(12, topic, 1);
            return out + " the first epoch while the second is open: " + txn.ended(w.call("EndTxn", 5, Txn.endBody(txn.id, own, 0, true)))
                + " aborting: " + txn.ended(w.call("EndTxn", 5, Txn.endBody(txn.id, own, 0, false)));
        });
        c.put("3.4.4 old and new protocol in turn", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            return txn.add(3, topic, 0) + " " + txn.produce(9, topic, 1) + " v4 " + txn.end(4, true) + ", " + txn.produce(12, topic, 1) + " v5 " + txn.end(5, true) + ", "
                + txn.add(3, topic, 0) + " " + txn.produce(11, topic, 1) + " v3 " + txn.end(3, false) + ", " + txn.produce(12, topic, 1) + " v5 " + txn.end(5, true) + " " + Txn.read(w, topic, 0, 1);
        });
        c.put("3.4.4 InitProducerId after v5 ended", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            return txn.produce(12, topic, 1) + " " + txn.end(5, true) + ", " + txn.init(5) + ", " + txn.raise(5, txn.producer, txn.epoch) + ", " + txn.produce(12, topic, 1) + " " + txn.end(5, true);
        });
    }

    private static void coordinators(Map<String, ParityProbe.Case> c) {
        c.put("3.7.11 the coordinator of a transactional id, v1", (f, w) -> Txn.ask(w, "FindCoordinator", 1, "{key:'%s',keyType:1}".formatted(f.name())));
        c.put("3.7.11 the coordinator of an empty transactional id, v1", (f, w) -> Txn.ask(w, "FindCoordinator", 1, "{key:'',keyType:1}"));
        c.put("3.7.11 the coordinators of two transactional ids, v4", (f, w) -> {
            JsonNode answer = Txn.ask(w, "FindCoordinator", 4, "{keyType:1,coordinatorKeys:['%s','%s','']}".formatted(f.name(), f.name()));
            return Txn.codes(answer);
        });
    }
}
