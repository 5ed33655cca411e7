import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/** semantics 3.7: classic groups, their offsets, and finding their coordinator. */
final class GroupCases {
    private GroupCases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        joining(c);
        members(c);
        commits(c);
        reads(c);
        admin(c);
        coordinators(c);
    }

    private static ParityProbe.Case join(int version, String change, String into) {
        return (f, w) -> w.call("JoinGroup", version, Fixture.joinBody(f.name(), "").replace(change, into));
    }

    private static void joining(Map<String, ParityProbe.Case> c) {
        c.put("3.7.1 empty group id", (f, w) -> w.call("JoinGroup", 5, Fixture.joinBody("", "")));
        c.put("3.7.1 session timeout too short", join(5, "sessionTimeoutMs:10000", "sessionTimeoutMs:1"));
        c.put("3.7.1 session timeout too long", join(5, "sessionTimeoutMs:10000", "sessionTimeoutMs:1800001"));
        c.put("3.7.2 empty member id, v4", (f, w) -> {
            JsonNode answer = w.call("JoinGroup", 4, Fixture.joinBody(f.name(), ""));
            return answer.get("errorCode") + " from the client id: " + answer.get("memberId").textValue().startsWith("probe-");
        });
        c.put("3.7.2 empty member id, v3", (f, w) -> w.call("JoinGroup", 3, Fixture.joinBody(f.name(), "")).get("errorCode"));
        c.put("3.7.2 unknown member id", (f, w) -> w.call("JoinGroup", 5, Fixture.joinBody(f.name(), "nobody")));
        c.put("3.7.2 unknown member id of an existing group", (f, w) -> {
            String group = f.name();
            f.stableGroup(w, group);
            return w.call("JoinGroup", 5, Fixture.joinBody(group, "nobody"));
        });
        c.put("3.7.3 no protocols", join(5, "protocols:[{name:'range',metadata:'AAA='}]", "protocols:[]"));
        c.put("3.7.3 empty protocol type", join(5, "protocolType:'consumer'", "protocolType:''"));
        c.put("3.7.3 another protocol type", (f, w) -> {
            String group = f.name();
            f.stableGroup(w, group);
            return w.call("JoinGroup", 5, Fixture.joinBody(group, "").replace("'consumer'", "'connect'"));
        });
        c.put("3.7.3 no common protocol", (f, w) -> {
            String group = f.name();
            f.stableGroup(w, group);
            return w.call("JoinGroup", 5, Fixture.joinBody(group, "").replace("'range'", "'mine'"));
        });
        c.put("3.7.4 the leader sees the members", (f, w) -> {
            String group = f.name();
            String member = w.call("JoinGroup", 7, Fixture.joinBody(group, "")).get("memberId").textValue();
            JsonNode joined = w.call("JoinGroup", 7, Fixture.joinBody(group, member));
            return joined.get("errorCode") + " generation " + joined.get("generationId") + " " + joined.get("protocolType") + " " + joined.get("protocolName")
                + " leader " + joined.get("leader").textValue().equals(member) + " members " + joined.get("members").size();
        });
        c.put("3.7.2 a static member replaced", (f, w) -> {
            String group = f.name();
            String body = Fixture.joinBody(group, "").replace("memberId", "groupInstanceId:'i',memberId");
            JsonNode first = w.call("JoinGroup", 5, body);
            String member = first.get("memberId").textValue();
            JsonNode second = w.call("JoinGroup", 5, body);
            JsonNode fenced = w.call("Heartbeat", 3, "{groupId:'%s',generationId:%d,memberId:'%s',groupInstanceId:'i'}"
                .formatted(group, second.get("generationId").intValue(), member));
            return first.get("errorCode") + " " + second.get("errorCode") + " old member " + fenced.get("errorCode");
        });
    }

    private static String sync(String group, int generation, String member, String more) {
        return "{groupId:'%s',generationId:%d,memberId:'%s'%s,assignments:[]}".formatted(group, generation, member, more);
    }

    private static String beat(String group, int generation, String member) {
        return "{groupId:'%s',generationId:%d,memberId:'%s'}".formatted(group, generation, member);
    }

    private static void members(Map<String, ParityProbe.Case> c) {
        c.put("3.7.5 sync of an unknown group", (f, w) -> w.call("SyncGroup", 3, sync(f.name(), 1, "m", "")));
        c.put("3.7.5 sync with an empty group id", (f, w) -> w.call("SyncGroup", 3, sync("", 1, "m", "")));
        c.put("3.7.5 sync of an unknown member", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("SyncGroup", 3, sync(group, (int) member[1], "nobody", ""));
        });
        c.put("3.7.5 sync with another generation", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("SyncGroup", 3, sync(group, (int) member[1] + 1, (String) member[0], ""));
        });
        c.put("3.7.5 sync again in a stable group", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("SyncGroup", 3, sync(group, (int) member[1], (String) member[0], ""));
        });
        c.put("3.7.5 sync with another protocol name, v5", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("SyncGroup", 5, sync(group, (int) member[1], (String) member[0], ",protocolType:'consumer',protocolName:'mine'"));
        });
        c.put("3.7.5 sync without a protocol name, v5", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("SyncGroup", 5, sync(group, (int) member[1], (String) member[0], ""));
        });
        c.put("3.7.6 heartbeat of an unknown group", (f, w) -> w.call("Heartbeat", 3, beat(f.name(), 1, "m")));
        c.put("3.7.6 heartbeat with an empty group id", (f, w) -> w.call("Heartbeat", 3, beat("", 1, "m")));
        c.put("3.7.6 heartbeats of a stable group", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return "good " + w.call("Heartbeat", 3, beat(group, (int) member[1], (String) member[0])).get("errorCode")
                + " stranger " + w.call("Heartbeat", 3, beat(group, (int) member[1], "nobody")).get("errorCode")
                + " old generation " + w.call("Heartbeat", 3, beat(group, (int) member[1] - 1, (String) member[0])).get("errorCode");
        });
        c.put("3.7.6 heartbeat and commit during a rebalance", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Object[] member = f.stableGroup(w, group);
            try (Wire other = f.wire()) {
                String second = other.call("JoinGroup", 4, Fixture.joinBody(group, "")).get("memberId").textValue();
                Wire.Sent waiting = other.send("JoinGroup", 4, Fixture.joinBody(group, second));
                Thread.sleep(300);
                String during = "beat " + w.call("Heartbeat", 3, beat(group, (int) member[1], (String) member[0])).get("errorCode")
                    + " sync " + w.call("SyncGroup", 3, sync(group, (int) member[1], (String) member[0], "")).get("errorCode")
                    + " commit " + w.call("OffsetCommit", 7, commit(group, topic, (int) member[1], (String) member[0])).get("topics").get(0).get("partitions").get(0).get("errorCode");
                JsonNode rejoined = w.call("JoinGroup", 4, Fixture.joinBody(group, (String) member[0]));
                JsonNode joined = other.receive(waiting);
                int generation = rejoined.get("generationId").intValue();
                return during + ", rejoined " + rejoined.get("errorCode") + joined.get("errorCode") + " members "
                    + (rejoined.get("members").size() + joined.get("members").size())
                    + ", completing: beat " + w.call("Heartbeat", 3, beat(group, generation, (String) member[0])).get("errorCode")
                    + " commit " + w.call("OffsetCommit", 7, commit(group, topic, generation, (String) member[0])).get("topics").get(0).get("partitions").get(0).get("errorCode");
            }
        });
        c.put("3.7.9 leaving an unknown group", (f, w) -> w.call("LeaveGroup", 4, "{groupId:'%s',members:[{memberId:'m'}]}".formatted(f.name())));
        c.put("3.7.9 leaving an unknown group, v2", (f, w) -> w.call("LeaveGroup", 2, "{groupId:'%s',memberId:'m'}".formatted(f.name())));
        c.put("3.7.9 leaving with an empty group id", (f, w) -> w.call("LeaveGroup", 4, "{groupId:'',members:[{memberId:'m'}]}"));
        c.put("3.7.9 one member and a stranger leave", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            JsonNode left = w.call("LeaveGroup", 4, "{groupId:'%s',members:[{memberId:'nobody'},{memberId:'%s'},{memberId:'',groupInstanceId:'none'}]}".formatted(group, member[0]));
            String out = left.get("errorCode").toString();
            for (JsonNode one : left.get("members")) {
                out += " " + one.get("errorCode");
            }
            return out + " then " + w.call("DescribeGroups", 5, "{groups:['" + group + "']}").get("groups").get(0).get("groupState");
        });
    }

    private static String commit(String group, String topic, int generation, String member) {
        return ("{groupId:'%s',generationIdOrMemberEpoch:%d,memberId:'%s',topics:[{name:'%s',partitions:"
            + "[{partitionIndex:0,committedOffset:7,committedMetadata:'m'}]}]}").formatted(group, generation, member, topic);
    }

    private static void commits(Map<String, ParityProbe.Case> c) {
        c.put("3.7.7 simple commit", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.topic(), -1, "")));
        c.put("3.7.7 simple commit, empty group id", (f, w) -> w.call("OffsetCommit", 8, commit("", f.topic(), -1, "")));
        c.put("3.7.7 generation without a group", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.topic(), 3, "m")));
        c.put("3.7.7 generation without a group, v9", (f, w) -> w.call("OffsetCommit", 9, commit(f.name(), f.topic(), 3, "m")));
        c.put("3.7.7 unknown topic", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.name(), -1, "")));
        c.put("3.7.7 unknown topic id, v10", (f, w) -> w.call("OffsetCommit", 10,
            "{groupId:'%s',topics:[{topicId:'AAAAAAAAAAAAAAAAAAAAAQ',partitions:[{partitionIndex:0,committedOffset:7}]}]}".formatted(f.name())));
        c.put("3.7.7 unknown partition", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.topic(), -1, "").replace("partitionIndex:0", "partitionIndex:4")));
        c.put("3.7.7 metadata of 5000 bytes", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.topic(), -1, "").replace("'m'", "'" + "m".repeat(5000) + "'")));
        c.put("3.7.7 null metadata", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.topic(), -1, "").replace("'m'", "null")));
        c.put("3.7.7 negative offset", (f, w) -> w.call("OffsetCommit", 8, commit(f.name(), f.topic(), -1, "").replace("committedOffset:7", "committedOffset:-5")));
        c.put("3.7.7 no topics", (f, w) -> w.call("OffsetCommit", 8, "{groupId:'%s',topics:[]}".formatted(f.name())));
        c.put("3.7.7 members of a stable group", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            Object[] member = f.stableGroup(w, group);
            int generation = (int) member[1];
            String out = "";
            for (Object[] who : new Object[][] {{generation, member[0]}, {generation + 1, member[0]}, {generation, "nobody"}, {-1, ""}, {-1, member[0]}}) {
                out += w.call("OffsetCommit", 8, commit(group, topic, (int) who[0], (String) who[1])).get("topics").get(0).get("partitions").get(0).get("errorCode") + " ";
            }
            return out;
        });
        c.put("3.7.7 an unknown instance id in a stable group", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("OffsetCommit", 8, commit(group, f.topic(), (int) member[1], (String) member[0]).replace("topics", "groupInstanceId:'i',topics"));
        });
    }

    private static void reads(Map<String, ParityProbe.Case> c) {
        c.put("3.7 fetching the offsets of an unknown group", (f, w) -> w.call("OffsetFetch", 8, "{groups:[{groupId:'%s',topics:null}]}".formatted(f.name())));
        c.put("3.7 fetching an offset never committed", (f, w) -> w.call("OffsetFetch", 7, "{groupId:'%s',topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(f.name(), f.topic())));
        c.put("3.7 fetching the offset of an unknown topic", (f, w) -> w.call("OffsetFetch", 8, "{groups:[{groupId:'%s',topics:[{name:'%s',partitionIndexes:[0,1]}]}]}".formatted(f.name(), f.name())));
        c.put("3.7 fetching the offset of an unknown topic id, v10", (f, w) -> w.call("OffsetFetch", 10,
            "{groups:[{groupId:'%s',topics:[{topicId:'AAAAAAAAAAAAAAAAAAAAAQ',partitionIndexes:[0]}]}]}".formatted(f.name())));
        c.put("3.7 fetching offsets of an empty group id", (f, w) -> w.call("OffsetFetch", 7, "{groupId:'',topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(f.topic())));
        c.put("3.7 fetching what was committed", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            w.call("OffsetCommit", 8, commit(group, topic, -1, ""));
            return w.call("OffsetFetch", 8, "{groups:[{groupId:'%s',topics:null}],requireStable:true}".formatted(group)) + " "
                + w.call("OffsetFetch", 5, "{groupId:'%s',topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(group, topic)).toString();
        });
        c.put("3.7 fetching as a member, v9", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            return w.call("OffsetFetch", 9, "{groups:[{groupId:'%s',memberId:'%s',memberEpoch:%d,topics:null}]}".formatted(group, member[0], (int) member[1]));
        });
        c.put("3.7 fetching as a stranger, v9", (f, w) -> {
            String group = f.name();
            f.stableGroup(w, group);
            return w.call("OffsetFetch", 9, "{groups:[{groupId:'%s',memberId:'nobody',memberEpoch:1,topics:null}]}".formatted(group));
        });
    }

    private static void admin(Map<String, ParityProbe.Case> c) {
        c.put("3.7.9 deleting an unknown group", (f, w) -> w.call("DeleteGroups", 2, "{groupsNames:['%s']}".formatted(f.name())));
        c.put("3.7.9 deleting an empty group id", (f, w) -> {
            w.call("DeleteGroups", 2, "{groupsNames:['']}"); // another case may have made it by committing
            return w.call("DeleteGroups", 2, "{groupsNames:['']}");
        });
        c.put("3.7.9 deleting a group in use and an empty one", (f, w) -> {
            String busy = f.name();
            String idle = f.name();
            f.stableGroup(w, busy);
            w.call("OffsetCommit", 8, commit(idle, f.topic(), -1, ""));
            String out = "";
            JsonNode results = w.call("DeleteGroups", 2, "{groupsNames:['%s','%s']}".formatted(busy, idle)).get("results");
            for (String group : new String[] {busy, idle}) {
                for (JsonNode one : results) {
                    out += one.get("groupId").textValue().equals(group) ? one.get("errorCode") + " " : "";
                }
            }
            return out;
        });
        c.put("3.7.9 deleting the offset of an unknown group", (f, w) -> w.call("OffsetDelete", 0,
            "{groupId:'%s',topics:[{name:'%s',partitions:[{partitionIndex:0}]}]}".formatted(f.name(), f.topic())));
        c.put("3.7.9 deleting offsets of an empty group", (f, w) -> {
            String group = f.name();
            String topic = f.topic();
            w.call("OffsetCommit", 8, commit(group, topic, -1, ""));
            JsonNode answer = w.call("OffsetDelete", 0, "{groupId:'%s',topics:[{name:'%s',partitions:[{partitionIndex:0},{partitionIndex:8}]},{name:'%s',partitions:[{partitionIndex:0}]}]}"
                .formatted(group, topic, f.name()));
            java.util.TreeSet<String> partitions = new java.util.TreeSet<>(); // in no order that Kafka promises
            answer.get("topics").forEach(one -> one.get("partitions").forEach(partition -> partitions.add(
                (one.get("name").textValue().equals(topic) ? "known " : "unknown ") + partition)));
            return answer.get("errorCode") + " " + partitions;
        });
        for (int version : new int[] {5, 6}) {
            c.put("3.7.9 describing an unknown group, v" + version, (f, w) -> w.call("DescribeGroups", version, "{groups:['%s']}".formatted(f.name())));
            c.put("3.7.9 describing an empty group id, v" + version, (f, w) -> w.call("DescribeGroups", version, "{groups:['']}"));
        }
        c.put("3.7.9 describing a simple group", (f, w) -> {
            String group = f.name();
            w.call("OffsetCommit", 8, commit(group, f.topic(), -1, ""));
            return w.call("DescribeGroups", 5, "{groups:['%s'],includeAuthorizedOperations:true}".formatted(group));
        });
        c.put("3.7.9 describing a stable group", (f, w) -> {
            String group = f.name();
            Object[] member = f.stableGroup(w, group);
            JsonNode described = w.call("DescribeGroups", 5, "{groups:['%s']}".formatted(group)).get("groups").get(0);
            return described.get("groupState") + " " + described.get("protocolType") + " " + described.get("protocolData") + " "
                + described.get("members").get(0).get("clientId") + " " + described.get("members").get(0).get("memberAssignment")
                + " " + described.get("members").get(0).get("memberMetadata") + " " + described.get("members").get(0).get("memberId").textValue().equals(member[0]);
        });
        c.put("3.7.9 listing by state and type", (f, w) -> {
            String group = f.name();
            f.stableGroup(w, group);
            String out = "";
            for (String filter : new String[] {"", "statesFilter:['Stable']", "statesFilter:['stable']", "statesFilter:['Empty']", "statesFilter:['Nonsense']",
                "typesFilter:['classic']", "typesFilter:['Classic']", "typesFilter:['consumer']", "typesFilter:['nonsense']"}) {
                JsonNode answer = w.call("ListGroups", 5, "{" + filter + "}");
                String found = "-";
                for (JsonNode one : answer.get("groups")) {
                    found = one.get("groupId").textValue().equals(group) ? one.get("groupState") + "/" + one.get("groupType") + "/" + one.get("protocolType") : found;
                }
                out += filter + " " + answer.get("errorCode") + " " + found + "; ";
            }
            return out;
        });
    }

    private static void coordinators(Map<String, ParityProbe.Case> c) {
        c.put("3.7.11 a group's coordinator, v2", (f, w) -> w.call("FindCoordinator", 2, "{key:'g',keyType:0}"));
        c.put("3.7.11 an empty group id, v3", (f, w) -> w.call("FindCoordinator", 3, "{key:'',keyType:0}"));
        c.put("3.7.11 an empty group id, v4", (f, w) -> w.call("FindCoordinator", 4, "{keyType:0,coordinatorKeys:['']}"));
        c.put("3.7.11 no keys", (f, w) -> w.call("FindCoordinator", 4, "{keyType:0,coordinatorKeys:[]}"));
        c.put("3.7.11 two keys", (f, w) -> w.call("FindCoordinator", 4, "{keyType:0,coordinatorKeys:['a','b']}"));
        c.put("3.7.11 key type 9", (f, w) -> w.call("FindCoordinator", 4, "{keyType:9,coordinatorKeys:['a']}"));
        c.put("3.7.11 share key type before v6", (f, w) -> w.call("FindCoordinator", 5, "{keyType:2,coordinatorKeys:['a']}"));
    }
}
