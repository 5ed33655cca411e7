import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/** semantics 3.4.10: offsets committed in a transaction, and who may read them when. */
final class TransactionOffsetCases {
    private TransactionOffsetCases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        lives(c);
        errors(c);
        members(c);
        others(c);
    }

    private static void lives(Map<String, ParityProbe.Case> c) {
        for (int v = 0; v <= 5; v++) {
            int version = v;
            for (boolean commit : new boolean[] {true, false}) {
                c.put("3.4.10 TxnOffsetCommit v%d: pending until the %s".formatted(v, commit ? "commit" : "abort"), (f, w) -> {
                    String group = f.name();
                    String topic = f.topic();
                    Txn txn = Txn.start(f, w);
                    String out = txn.addOffsets(3, group) + " " + txn.offsets(version, group, topic, 5) + " pending " + Txn.committed(w, group, topic, true) + " or " + Txn.committed(w, group, topic, false);
                    return out + " end " + txn.end(version == 5 ? 5 : 4, commit) + " then " + Txn.committed(w, group, topic, true) + " or " + Txn.committed(w, group, topic, false);
                });
            }
            c.put("3.4.10 TxnOffsetCommit v%d to a group not taken in".formatted(v), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                return txn.offsets(version, group, topic, 5) + " " + Txn.committed(w, group, topic, true) + " end " + txn.end(5, true) + " " + Txn.committed(w, group, topic, true);
            });
        }
        c.put("3.4.10 an earlier commit shows until the marker", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            w.call("OffsetCommit", 8, plain(group, topic, 3));
            Txn txn = Txn.start(f, w);
            String out = txn.addOffsets(3, group) + " " + txn.offsets(3, group, topic, 5) + " " + Txn.committed(w, group, topic, false) + " stable " + Txn.committed(w, group, topic, true);
            return out + " end " + txn.end(4, true) + " " + Txn.committed(w, group, topic, true);
        });
        for (boolean commit : new boolean[] {true, false}) {
            c.put("3.4.10 a plain commit while one is pending, then the %s".formatted(commit ? "commit" : "abort"), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                String out = txn.addOffsets(3, group) + " " + txn.offsets(3, group, topic, 5) + " plain " + Txn.codes(w.call("OffsetCommit", 8, plain(group, topic, 9)));
                out += " " + Txn.committed(w, group, topic, false) + " stable " + Txn.committed(w, group, topic, true);
                return out + " end " + txn.end(4, commit) + " " + Txn.committed(w, group, topic, true);
            });
        }
        c.put("3.4.10 the last offset of a transaction counts", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.addOffsets(3, group) + " " + txn.offsets(3, group, topic, 5) + " " + txn.offsets(3, group, topic, 4);
            return out + " end " + txn.end(4, true) + " " + Txn.committed(w, group, topic, true);
        });
        c.put("3.4.10 two transactions on one offset", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Txn a = Txn.start(f, w);
            Txn b = Txn.start(f, w);
            String out = a.addOffsets(3, group) + b.addOffsets(3, group) + " " + a.offsets(3, group, topic, 5) + b.offsets(3, group, topic, 6) + " end b " + b.end(4, true)
                + " " + Txn.committed(w, group, topic, false) + " stable " + Txn.committed(w, group, topic, true);
            return out + " end a " + a.end(4, true) + " " + Txn.committed(w, group, topic, true);
        });
        c.put("3.4.10 records and offsets in one transaction, both protocols", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.add(3, topic, 0) + txn.addOffsets(3, group) + " " + txn.produce(9, topic, 1) + " " + txn.offsets(3, group, topic, 1) + " " + txn.end(4, true);
            out += " " + Txn.committed(w, group, topic, true) + ", " + txn.produce(12, topic, 1) + " " + txn.offsets(5, group, topic, 3) + " " + txn.end(5, true);
            return out + " " + Txn.committed(w, group, topic, true) + " " + Txn.read(w, topic, 0, 1);
        });
    }

    private static String plain(String group, String topic, long offset) {
        return "{groupId:'%s',generationIdOrMemberEpoch:-1,memberId:'',topics:[{name:'%s',partitions:[{partitionIndex:0,committedOffset:%d,committedMetadata:''}]}]}".formatted(group, topic, offset);
    }

    private static void errors(Map<String, ParityProbe.Case> c) {
        for (int v : new int[] {0, 2, 3, 4, 5}) {
            int version = v;
            c.put("3.4.10 TxnOffsetCommit v%d: who may not".formatted(v), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                txn.init(4);
                String out = txn.addOffsets(3, group) + " ";
                Object[][] whos = {{"", txn.producer, 1}, {f.name(), txn.producer, 1}, {txn.id, txn.producer + 1_000_000, 1}, {txn.id, txn.producer, 0}, {txn.id, txn.producer, 2}};
                for (Object[] who : whos) {
                    out += Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, Txn.offsetsBody((String) who[0], (long) who[1], (int) who[2], group, topic, 5, ""))) + " ";
                }
                return out + Txn.committed(w, group, topic, true) + " end " + txn.end(4, true) + " " + Txn.committed(w, group, topic, true);
            });
            c.put("3.4.10 TxnOffsetCommit v%d: empty group, unknown topic and partition, long metadata, none".formatted(v), (f, w) -> {
                String group = f.name();
                String topic = f.topic();
                Txn txn = Txn.start(f, w);
                txn.addOffsets(3, group);
                String good = Txn.offsetsBody(txn.id, txn.producer, 0, group, topic, 5, "");
                return Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, good.replace("groupId:'" + group, "groupId:'"))) + " "
                    + Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, good.replace("name:'" + topic, "name:'" + f.name()))) + " "
                    + Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, good.replace("partitionIndex:0", "partitionIndex:4"))) + " "
                    + Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, good.replace("'m'", "'" + "m".repeat(5000) + "'"))) + " "
                    + Txn.codes(Txn.ask(w, "TxnOffsetCommit", version, good.replaceAll("topics:.*", "topics:[]}"))) + " " + Txn.committed(w, group, topic, true);
            });
        }
        c.put("3.4.10 TxnOffsetCommit v5 with the epoch of before the end", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            long own = txn.producer;
            String out = txn.offsets(5, group, topic, 5) + " " + txn.end(5, true);
            out += " late " + Txn.codes(Txn.ask(w, "TxnOffsetCommit", 5, Txn.offsetsBody(txn.id, own, 0, group, topic, 9, "")));
            out += " late in v3 " + Txn.codes(Txn.ask(w, "TxnOffsetCommit", 3, Txn.offsetsBody(txn.id, own, 0, group, topic, 9, "")));
            return out + " " + Txn.committed(w, group, topic, true);
        });
    }

    private static void members(Map<String, ParityProbe.Case> c) {
        c.put("3.4.10 members of a stable group, v3", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Object[] member = f.stableGroup(w, group);
            Txn txn = Txn.start(f, w);
            String out = txn.addOffsets(3, group);
            int generation = (int) member[1];
            String[] whos = {",generationId:%d,memberId:'%s'".formatted(generation, member[0]), ",generationId:%d,memberId:'%s'".formatted(generation + 1, member[0]),
                ",generationId:%d,memberId:'%s'".formatted(generation - 1, member[0]), ",generationId:%d,memberId:'nobody'".formatted(generation), "",
                ",generationId:-1,memberId:'%s'".formatted(member[0]), ",generationId:%d,memberId:'%s',groupInstanceId:'i'".formatted(generation, member[0])};
            for (String who : whos) {
                out += " " + txn.offsets(3, group, topic, 5, who);
            }
            return out;
        });
        c.put("3.4.10 a generation in a group that is not there, v3", (f, w) -> {
            String group = f.name();
            Txn txn = Txn.start(f, w);
            return txn.addOffsets(3, group) + " " + txn.offsets(3, group, f.topic(), 5, ",generationId:3,memberId:'m'");
        });
        c.put("3.4.10 a fenced instance, v3", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            String body = Fixture.joinBody(group, "").replace("memberId", "groupInstanceId:'i',memberId");
            String old = w.call("JoinGroup", 5, body).get("memberId").textValue();
            int generation = w.call("JoinGroup", 5, body).get("generationId").intValue();
            Txn txn = Txn.start(f, w);
            return txn.addOffsets(3, group) + " " + txn.offsets(3, group, topic, 5, ",generationId:%d,memberId:'%s',groupInstanceId:'i'".formatted(generation, old));
        });
    }

    private static void others(Map<String, ParityProbe.Case> c) {
        c.put("3.4.10 require_stable looks at each partition", (f, w) -> {
            String group = f.name();
            String topic = f.topic(2, "");
            w.call("OffsetCommit", 8, plain(group, topic, 3).replace("partitionIndex:0", "partitionIndex:1"));
            Txn txn = Txn.start(f, w);
            String out = txn.addOffsets(3, group) + " " + txn.offsets(3, group, topic, 5);
            for (int version : new int[] {8, 9}) {
                String answer = "";
                for (JsonNode one : w.call("OffsetFetch", version, "{groups:[{groupId:'%s',topics:[{name:'%s',partitionIndexes:[0,1]}]}],requireStable:true}".formatted(group, topic))
                    .get("groups").get(0).get("topics").get(0).get("partitions")) {
                    answer += " " + one.get("partitionIndex") + ":" + one.get("errorCode") + "@" + one.get("committedOffset");
                }
                out += " v" + version + answer;
            }
            int all = 0;
            JsonNode every = w.call("OffsetFetch", 8, "{groups:[{groupId:'%s',topics:null}],requireStable:true}".formatted(group)).get("groups").get(0);
            for (JsonNode one : every.get("topics")) {
                all += one.get("partitions").size();
            }
            return out + " all of them: " + every.get("errorCode") + " " + all + " " + Txn.codes(every) + " end " + txn.end(4, true);
        });
        c.put("3.4.10 deleting a group or an offset that is pending", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Txn txn = Txn.start(f, w);
            String out = txn.addOffsets(3, group) + " " + txn.offsets(3, group, topic, 5) + " offset "
                + Txn.codes(w.call("OffsetDelete", 0, "{groupId:'%s',topics:[{name:'%s',partitions:[{partitionIndex:0}]}]}".formatted(group, topic)));
            out += " pending " + Txn.committed(w, group, topic, true) + " group " + Txn.codes(w.call("DeleteGroups", 2, "{groupsNames:['%s']}".formatted(group)));
            return out + " pending " + Txn.committed(w, group, topic, true) + " end " + txn.end(4, true) + " " + Txn.committed(w, group, topic, true);
        });
        c.put("3.4.10 a group that has only pending offsets", (f, w) -> {
            String group = f.name();
            Txn txn = Txn.start(f, w);
            txn.addOffsets(3, group);
            String out = txn.offsets(3, group, f.topic(), 5);
            JsonNode described = w.call("DescribeGroups", 6, "{groups:['%s']}".formatted(group)).get("groups").get(0);
            boolean listed = false;
            for (JsonNode one : w.call("ListGroups", 4, "{}").get("groups")) {
                listed |= one.get("groupId").textValue().equals(group);
            }
            return out + " " + described.get("errorCode") + " " + described.get("groupState") + " listed " + listed;
        });
    }
}
