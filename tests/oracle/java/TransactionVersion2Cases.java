import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/** semantics 3.4.1, 3.4.6 and 3.4.10 by the requests of KIP-890 alone: who is fenced, and by how much an epoch rises. */
final class TransactionVersion2Cases {
    private static final long REAPED_WITHIN_NANOS = 20_000_000_000L;

    private TransactionVersion2Cases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        takingOver(c);
        c.put("3.4.6 version 2: its time over, then an abort", (f, w) -> timedOut(f, w, true));
        c.put("3.4.6 version 2: its time over, then a commit", (f, w) -> timedOut(f, w, false));
        offsets(c);
        c.put("3.4.2 AddPartitionsToTxn of the broker's own topics", (f, w) -> {
            Txn txn = Txn.start(f, w);
            return txn.add(3, "__consumer_offsets", 0) + " " + txn.add(3, "__transaction_state", 0);
        });
        c.put("3.4.7 an end after a marker by hand with another coordinator's epoch", (f, w) -> {
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.produce(12, topic, 2) + " by hand " + Txn.codes(w.call("WriteTxnMarkers", 1,
                "{markers:[{producerId:%d,producerEpoch:%d,transactionResult:false,coordinatorEpoch:10,topics:[{name:'%s',partitionIndexes:[0]}]}]}".formatted(txn.producer, txn.epoch, topic)));
            return out + " " + Txn.read(w, topic, 0, 1) + " end " + w.call("EndTxn", 5, Txn.endBody(txn.id, txn.producer, txn.epoch, true)).get("errorCode");
        });
    }

    /** A transaction with two records in it. */
    private static Txn ongoing(Fixture f, Wire w, String topic, int timeoutMs) throws Exception {
        Txn txn = new Txn(w, f.name());
        txn.init(5, timeoutMs);
        String out = txn.produce(12, topic, 2);
        if (!out.startsWith("0@")) {
            throw new IllegalStateException("a transaction could not be opened: " + out);
        }
        return txn;
    }

    private static String end(Txn txn, boolean commit) throws Exception {
        return txn.ended(Txn.ask(txn.w, "EndTxn", 5, Txn.endBody(txn.id, txn.producer, txn.epoch, commit)));
    }

    private static int init(Txn txn, long producer, int epoch) throws Exception {
        return txn.w.call("InitProducerId", 5, Txn.initBody(5, txn.id, Txn.TIMEOUT_MS, producer, epoch)).get("errorCode").intValue();
    }

    private static void takingOver(Map<String, ParityProbe.Case> c) {
        c.put("3.4.1 version 2: taken over during a transaction", (f, w) -> {
            String topic = f.topic();
            Txn old = ongoing(f, w, topic, Txn.TIMEOUT_MS);
            Txn next = new Txn(w, old.id);
            return init(next, -1, -1) + " " + next.init(5) + " zombie: end " + end(old, true) + " produce " + old.produce(12, topic, 1) + " " + Txn.read(w, topic, 0, 1);
        });
        c.put("3.4.1 version 2: its own id and epoch during a transaction, then again", (f, w) -> {
            String topic = f.topic();
            Txn txn = ongoing(f, w, topic, Txn.TIMEOUT_MS);
            return init(txn, txn.producer, txn.epoch) + " " + txn.raise(5, txn.producer, txn.epoch) + " " + txn.produce(12, topic, 1) + " " + txn.end(5, true) + " " + Txn.read(w, topic, 0, 1);
        });
        for (boolean commit : new boolean[] {false, true}) {
            c.put("3.4.1 version 2: another begins to take over, then the %s".formatted(commit ? "commit" : "abort"), (f, w) -> {
                String topic = f.topic();
                Txn old = ongoing(f, w, topic, Txn.TIMEOUT_MS);
                return init(new Txn(w, old.id), -1, -1) + " " + end(old, commit) + " " + new Txn(w, old.id).init(5) + " " + Txn.read(w, topic, 0, 1);
            });
        }
    }

    private static String timedOut(Fixture f, Wire w, boolean abort) throws Exception {
        String topic = f.topic();
        Txn txn = ongoing(f, w, topic, 500);
        long deadline = System.nanoTime() + REAPED_WITHIN_NANOS;
        while (Txn.ends(w, topic).startsWith("0/") && System.nanoTime() < deadline) {
            Thread.sleep(50);
        }
        String out = "late: produce " + txn.produce(12, topic, 1) + " end " + end(txn, !abort);
        return out + " raise " + txn.raise(5, txn.producer, txn.epoch) + " then " + txn.produce(12, topic, 1) + " " + txn.end(5, true) + " " + Txn.read(w, topic, 0, 1);
    }

    private static String listed(Wire w, String group) throws Exception {
        for (JsonNode one : w.call("ListGroups", 4, "{}").get("groups")) {
            if (one.get("groupId").asText().equals(group)) {
                return "listed";
            }
        }
        return "not listed";
    }

    private static String state(Txn txn) throws Exception {
        return txn.w.call("DescribeTransactions", 0, "{transactionalIds:['%s']}".formatted(txn.id)).get("transactionStates").get(0).get("transactionState").asText();
    }

    /** A transaction that a group's offsets may join: until version 5 it has to be told of the group first. */
    private static Txn joined(Fixture f, Wire w, int version, String group) throws Exception {
        Txn txn = Txn.start(f, w);
        if (version < 5) {
            txn.addOffsets(3, group);
        }
        return txn;
    }

    private static void offsets(Map<String, ParityProbe.Case> c) {
        String stranger = ",memberId:'stranger',generationId:3";
        for (int v : new int[] {3, 4, 5}) {
            int version = v;
            c.put("3.4.10 TxnOffsetCommit v%d of an unknown member by a wrong producer".formatted(v), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = joined(f, w, version, group);
                String out = Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, Txn.offsetsBody(txn.id, txn.producer + 1_000_000, 0, group, topic, 5, stranger)));
                return out + " epoch " + Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, Txn.offsetsBody(txn.id, txn.producer, 7, group, topic, 5, stranger))) + " " + listed(w, group);
            });
            c.put("3.4.10 TxnOffsetCommit v%d of an unknown member by the right producer".formatted(v), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = joined(f, w, version, group);
                return txn.offsets(version, group, topic, 5, stranger) + " " + state(txn) + " " + listed(w, group);
            });
            c.put("3.4.10 TxnOffsetCommit v%d that is refused makes no group".formatted(v), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = joined(f, w, version, group);
                String body = Txn.offsetsBody(txn.id, txn.producer, txn.epoch, group, topic, 5, "").replace("'m'", "'" + "m".repeat(5000) + "'");
                return Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, body)) + " " + listed(w, group);
            });
        }
    }
}
