import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/** semantics 3.9 on one node: the broker's own settings, client metrics, elections, reassignments, quorum, features. */
final class ClusterCases {
    /** How long a KRaft broker may take to hear of a change. */
    private static final long HEARD_MS = 300;

    private ClusterCases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        brokerSettings(c);
        brokerSettingsTakeEffect(c);
        loggers(c);
        clientMetrics(c);
        logDirs(c);
        elections(c);
        reassignments(c);
        quorum(c);
        features(c);
    }

    private static ParityProbe.Case call(String api, int version, String body) {
        return (f, w) -> w.call(api, version, body.contains("NAME") ? body.replace("NAME", f.name()) : body);
    }

    /** With TOPIC a topic of two partitions. */
    private static ParityProbe.Case about(String api, int version, String body) {
        return (f, w) -> w.call(api, version, body.replace("TOPIC", f.topic(2, "")).replace("NAME", f.name()));
    }

    private static String alteration(int type, String resource, String... changes) {
        StringBuilder configs = new StringBuilder();
        for (String change : changes) { // name, operation, value
            String[] part = change.split(" ", 3);
            configs.append(configs.isEmpty() ? "" : ",").append("{name:'%s',configOperation:%s,value:%s}"
                .formatted(part[0], part[1], part[2].equals("null") ? "null" : "'" + part[2] + "'"));
        }
        return "{resources:[{resourceType:%d,resourceName:'%s',configs:[%s]}]}".formatted(type, resource, configs);
    }

    private static ParityProbe.Case alter(int type, String resource, String... changes) {
        return call("IncrementalAlterConfigs", 1, alteration(type, resource, changes));
    }

    private static JsonNode entries(Wire w, int type, String resource, String key) throws Exception {
        return w.call("DescribeConfigs", 4, "{resources:[{resourceType:%d,resourceName:'%s',configurationKeys:['%s']}],includeSynonyms:true}"
            .formatted(type, resource, key)).get("results").get(0).get("configs");
    }

    private static void brokerSettings(Map<String, ParityProbe.Case> c) {
        String[][] refused = {{"a setting of the start", "num.partitions 0 5"}, {"node.id", "node.id 0 5"}, {"hours of retention", "log.retention.hours 0 5"},
            {"group.max.size", "group.max.size 0 5"}, {"offsets.retention.minutes", "offsets.retention.minutes 0 5"}, {"a bad number", "log.retention.ms 0 soon"},
            {"a number below its range", "message.max.bytes 0 -5"}, {"segments below 1 MiB", "log.segment.bytes 0 5"}, {"an unknown name", "no.such 0 5"},
            {"APPEND to a number", "log.retention.ms 2 5"}, {"a null value", "log.retention.ms 0 null"}, {"DELETE of a setting of the start", "node.id 1 null"}};
        for (String[] one : refused) {
            for (String resource : new String[] {"1", ""}) {
                c.put("3.9.4 broker '" + resource + "': " + one[0], (f, w) -> {
                    JsonNode answer = w.call("IncrementalAlterConfigs", 1, alteration(4, resource, one[1]));
                    w.call("IncrementalAlterConfigs", 1, alteration(4, resource, one[1].split(" ")[0] + " 1 null"));
                    return answer;
                });
            }
        }
        c.put("3.9.4 broker: one good and one of the start", alter(4, "1", "log.retention.ms 0 5000", "node.id 0 3"));
        c.put("3.9.4 broker 99", alter(4, "99", "log.retention.ms 0 5000"));
        c.put("3.9.4 broker that is no number", alter(4, "x", "log.retention.ms 0 5000"));
        c.put("3.9.4 broker: nothing to change", alter(4, "1"));
        c.put("3.9.4 AlterConfigs of a setting of the start", call("AlterConfigs", 2, "{resources:[{resourceType:4,resourceName:'1',configs:[{name:'node.id',value:'9'}]}]}"));
        c.put("3.9.4 listing brokers' resources", call("ListConfigResources", 1, "{resourceTypes:[4]}"));
    }

    private static void brokerSettingsTakeEffect(Map<String, ParityProbe.Case> c) {
        c.put("3.9.4 a broker's default reaches its topics", (f, w) -> {
            String topic = f.topic();
            StringBuilder out = new StringBuilder();
            try {
                for (String[] step : new String[][] {{"", "log.roll.ms 0 6000000"}, {"1", "log.roll.ms 0 5000000"}, {"1", "log.roll.ms 1 null"}}) {
                    out.append(w.call("IncrementalAlterConfigs", 1, alteration(4, step[0], step[1])).get("responses").get(0).get("errorCode"));
                    Thread.sleep(HEARD_MS);
                    out.append(' ').append(synonyms(entries(w, 2, topic, "segment.ms"))).append(' ').append(synonyms(entries(w, 4, "1", "log.roll.ms")))
                        .append(' ').append(synonyms(entries(w, 4, "", "log.roll.ms"))).append('\n');
                }
            } finally {
                w.call("IncrementalAlterConfigs", 1, alteration(4, "", "log.roll.ms 1 null"));
                Thread.sleep(HEARD_MS);
            }
            return out.append(synonyms(entries(w, 2, topic, "segment.ms"))).toString().replace('\n', ';');
        });
        c.put("3.9.4 validating a broker's setting changes nothing", (f, w) -> {
            JsonNode dry = w.call("IncrementalAlterConfigs", 1, alteration(4, "1", "log.roll.ms 0 7000000").replaceFirst("\\{", "{validateOnly:true,"));
            Thread.sleep(HEARD_MS);
            return dry + " " + synonyms(entries(w, 4, "1", "log.roll.ms"));
        });
        c.put("3.9.4 AlterConfigs of a broker replaces everything", (f, w) -> {
            w.call("IncrementalAlterConfigs", 1, alteration(4, "1", "log.roll.ms 0 7000000"));
            JsonNode answer = w.call("AlterConfigs", 2, "{resources:[{resourceType:4,resourceName:'1',configs:[{name:'max.connections.per.ip',value:'100000'}]}]}");
            Thread.sleep(HEARD_MS);
            String after = synonyms(entries(w, 4, "1", "log.roll.ms")) + " " + synonyms(entries(w, 4, "1", "max.connections.per.ip"));
            w.call("AlterConfigs", 2, "{resources:[{resourceType:4,resourceName:'1',configs:[]}]}");
            Thread.sleep(HEARD_MS);
            return answer.get("responses").get(0).get("errorCode") + " " + after + " then " + synonyms(entries(w, 4, "1", "max.connections.per.ip"));
        });
        for (String name : new String[] {"log.retention.ms", "log.retention.minutes", "message.max.bytes", "producer.id.expiration.ms", "num.partitions", "auto.create.topics.enable",
            "offsets.retention.minutes", "log.cleanup.policy", "compression.type"}) {
            c.put("3.9.4 the broker's " + name, (f, w) -> synonyms(entries(w, 4, "1", name)) + " read only " + entries(w, 4, "1", name).get(0).get("readOnly"));
        }
    }

    private static String synonyms(JsonNode configs) {
        StringBuilder out = new StringBuilder();
        for (JsonNode config : configs) {
            out.append(config.get("value").textValue()).append('/').append(config.get("configSource")).append('/').append(config.get("configType"));
            for (JsonNode synonym : config.get("synonyms")) {
                out.append(' ').append(synonym.get("name").textValue()).append('=').append(synonym.get("value").textValue()).append('/').append(synonym.get("source"));
            }
        }
        return "[" + out + "]";
    }

    private static void loggers(Map<String, ParityProbe.Case> c) {
        c.put("3.9.4 an unknown logger", alter(8, "1", "no.such.Logger 0 INFO"));
        c.put("3.9.4 a level that is none", alter(8, "1", "root 0 NOISE"));
        c.put("3.9.4 a level in small letters", alter(8, "1", "root 0 info"));
        c.put("3.9.4 taking the root's level away", alter(8, "1", "root 1 null"));
        c.put("3.9.4 APPEND to a level", alter(8, "1", "root 2 INFO"));
        c.put("3.9.4 loggers of another broker", alter(8, "99", "root 0 INFO"));
        c.put("3.9.4 AlterConfigs of loggers", call("AlterConfigs", 2, "{resources:[{resourceType:8,resourceName:'1',configs:[{name:'root',value:'INFO'}]}]}"));
    }

    private static void clientMetrics(Map<String, ParityProbe.Case> c) {
        String[][] changes = {{"interval 99", "interval.ms 0 99"}, {"interval 3600001", "interval.ms 0 3600001"}, {"interval that is no number", "interval.ms 0 soon"},
            {"unknown config", "no.such 0 1"}, {"unknown selector", "match 0 nope=a"}, {"selector without pattern", "match 0 client_id"},
            {"bad pattern", "match 0 client_id=("}, {"two equal signs", "match 0 client_id=a=b"}, {"APPEND", "metrics 2 a.b"}, {"null", "metrics 0 null"}};
        for (String[] change : changes) {
            c.put("3.9.4 client metrics: " + change[0], alter(16, "NAME", change[1]));
        }
        c.put("3.9.4 client metrics without a name", alter(16, "", "metrics 0 a.b"));
        c.put("3.9.4 client metrics: nothing to change", alter(16, "NAME"));
        c.put("3.9.4 client metrics that are not there", call("DescribeConfigs", 4, "{resources:[{resourceType:16,resourceName:'NAME',configurationKeys:null}],includeSynonyms:true}"));
        c.put("3.9.4 describing client metrics without a name", call("DescribeConfigs", 4, "{resources:[{resourceType:16,resourceName:'',configurationKeys:null}]}"));
        c.put("3.9.4 client metrics come and go", (f, w) -> {
            String name = f.name();
            StringBuilder out = new StringBuilder();
            String[][] steps = {{"interval.ms 0 100", "metrics 0 org.apache.kafka.producer.", "match 0 client_id=a.*,client_software_name=b"}, {"interval.ms 0 3600000", "metrics 0 *"},
                {"match 1 null"}, {"interval.ms 1 null", "metrics 1 null"}};
            for (String[] step : steps) {
                out.append(w.call("IncrementalAlterConfigs", 1, alteration(16, name, step)).get("responses").get(0).get("errorCode"));
                Thread.sleep(HEARD_MS);
                for (String key : new String[] {"interval.ms", "match", "metrics"}) {
                    out.append(' ').append(synonyms(entries(w, 16, name, key)));
                }
                boolean listed = w.call("ListConfigResources", 1, "{resourceTypes:[16]}").toString().contains(name);
                boolean listedBefore = w.call("ListConfigResources", 0, "{}").toString().contains(name);
                out.append(" listed ").append(listed).append(' ').append(listedBefore).append(';');
            }
            return out;
        });
        c.put("3.9.4 AlterConfigs of client metrics replaces everything", (f, w) -> {
            String name = f.name();
            w.call("IncrementalAlterConfigs", 1, alteration(16, name, "interval.ms 0 500", "metrics 0 a"));
            JsonNode answer = w.call("AlterConfigs", 2, "{resources:[{resourceType:16,resourceName:'%s',configs:[{name:'metrics',value:'b'}]}]}".formatted(name));
            Thread.sleep(HEARD_MS);
            String after = synonyms(entries(w, 16, name, "interval.ms")) + synonyms(entries(w, 16, name, "metrics"));
            w.call("AlterConfigs", 2, "{resources:[{resourceType:16,resourceName:'%s',configs:[]}]}".formatted(name));
            return answer.get("responses").get(0).get("errorCode") + " " + after;
        });
    }

    private static void logDirs(Map<String, ParityProbe.Case> c) {
        String[][] cases = {{"the directory it is in", "DIR", "[0,1]"}, {"a directory that is not there", "/no/such", "[0]"}, {"a relative directory", "data", "[0]"},
            {"the directory with a slash behind", "DIR/", "[0]"}, {"no directory", "", "[0]"}, {"a partition that is not there", "DIR", "[0,9,-1]"}};
        for (String[] one : cases) {
            c.put("3.9.8 AlterReplicaLogDirs to " + one[0], (f, w) -> {
                String dir = w.call("DescribeLogDirs", 4, "{topics:[]}").get("results").get(0).get("logDir").textValue();
                JsonNode answer = w.call("AlterReplicaLogDirs", 2, "{dirs:[{path:'%s',topics:[{name:'%s',partitions:%s}]}]}".formatted(one[1].replace("DIR", dir), f.topic(2, ""), one[2]));
                java.util.SortedSet<String> out = new java.util.TreeSet<>();
                answer.get("results").get(0).get("partitions").forEach(partition -> out.add(partition.toString()));
                return out;
            });
        }
        c.put("3.9.8 AlterReplicaLogDirs of an unknown topic", (f, w) -> {
            String dir = w.call("DescribeLogDirs", 4, "{topics:[]}").get("results").get(0).get("logDir").textValue();
            return w.call("AlterReplicaLogDirs", 1, "{dirs:[{path:'%s',topics:[{name:'%s',partitions:[0]}]}]}".formatted(dir, f.name()));
        });
        c.put("3.9.8 AlterReplicaLogDirs of nothing", call("AlterReplicaLogDirs", 2, "{dirs:[]}"));
    }

    private static void elections(Map<String, ParityProbe.Case> c) {
        for (int type : new int[] {0, 1, 2, -1}) {
            c.put("3.9.8 ElectLeaders, type " + type, about("ElectLeaders", 2, "{electionType:%d,topicPartitions:[{topic:'TOPIC',partitions:[0,1]}],timeoutMs:5000}".formatted(type)));
        }
        c.put("3.9.8 ElectLeaders, v0", about("ElectLeaders", 0, "{topicPartitions:[{topic:'TOPIC',partitions:[0]}],timeoutMs:5000}"));
        c.put("3.9.8 ElectLeaders of partitions that are not there", about("ElectLeaders", 2, "{electionType:0,topicPartitions:[{topic:'TOPIC',partitions:[9,-1]},{topic:'NAME',partitions:[0]}],timeoutMs:5000}"));
        c.put("3.9.8 ElectLeaders of illegal names", call("ElectLeaders", 2, "{electionType:0,topicPartitions:[{topic:'a b',partitions:[0]},{topic:'',partitions:[0]}],timeoutMs:5000}"));
        c.put("3.9.8 ElectLeaders, no time", about("ElectLeaders", 2, "{electionType:0,topicPartitions:[{topic:'TOPIC',partitions:[0]}],timeoutMs:0}"));
        c.put("3.9.8 ElectLeaders of nothing", call("ElectLeaders", 2, "{electionType:0,topicPartitions:[],timeoutMs:5000}"));
        c.put("3.9.8 ElectLeaders everywhere", (f, w) -> {
            String topic = f.topic();
            JsonNode answer = w.call("ElectLeaders", 2, "{electionType:0,topicPartitions:null,timeoutMs:5000}");
            for (JsonNode one : answer.get("replicaElectionResults")) {
                if (one.get("topic").textValue().equals(topic)) {
                    return answer.get("errorCode") + " " + one;
                }
            }
            return answer.get("errorCode") + " not told";
        });
    }

    private static void reassignments(Map<String, ParityProbe.Case> c) {
        String[][] cases = {{"to where it is", "{partitionIndex:0,replicas:[1]}"}, {"to another broker", "{partitionIndex:0,replicas:[2]}"}, {"to nowhere", "{partitionIndex:0,replicas:[]}"},
            {"twice to the same", "{partitionIndex:0,replicas:[1,1]}"}, {"to two brokers", "{partitionIndex:0,replicas:[1,2]}"}, {"to broker -1", "{partitionIndex:0,replicas:[-1]}"},
            {"that is to be cancelled", "{partitionIndex:0,replicas:null}"}, {"of a partition that is not there", "{partitionIndex:9,replicas:[1]},{partitionIndex:-1,replicas:null}"},
            {"of one partition twice", "{partitionIndex:0,replicas:[1]},{partitionIndex:0,replicas:[2]}"}};
        for (String[] one : cases) {
            for (int version : new int[] {0, 1}) {
                c.put("3.9.8 a reassignment " + one[0] + ", v" + version, about("AlterPartitionReassignments", version, "{timeoutMs:5000,topics:[{name:'TOPIC',partitions:[%s]}]}".formatted(one[1])));
            }
        }
        c.put("3.9.8 a reassignment of an unknown topic", call("AlterPartitionReassignments", 1, "{timeoutMs:5000,topics:[{name:'NAME',partitions:[{partitionIndex:0,replicas:null}]}]}"));
        c.put("3.9.8 a reassignment that keeps the replication factor", about("AlterPartitionReassignments", 1,
            "{timeoutMs:5000,allowReplicationFactorChange:false,topics:[{name:'TOPIC',partitions:[{partitionIndex:0,replicas:[1]}]}]}"));
        c.put("3.9.8 a reassignment without time", about("AlterPartitionReassignments", 1, "{timeoutMs:0,topics:[{name:'TOPIC',partitions:[{partitionIndex:0,replicas:[1]}]}]}"));
        c.put("3.9.8 a reassignment of nothing", call("AlterPartitionReassignments", 1, "{timeoutMs:5000,topics:[]}"));
        c.put("3.9.8 reassignments under way", call("ListPartitionReassignments", 0, "{timeoutMs:5000,topics:null}"));
        c.put("3.9.8 reassignments of an unknown topic", call("ListPartitionReassignments", 0, "{timeoutMs:5000,topics:[{name:'NAME',partitionIndexes:[0]}]}"));
    }

    private static void quorum(Map<String, ParityProbe.Case> c) {
        for (int version = 0; version <= 2; version++) {
            int v = version;
            c.put("3.9.8 DescribeQuorum, v" + v, (f, w) -> {
                JsonNode partition = w.call("DescribeQuorum", v, "{topics:[{topicName:'__cluster_metadata',partitions:[{partitionIndex:0}]}]}").get("topics").get(0).get("partitions").get(0);
                return partition.get("errorCode") + " leader " + partition.get("leaderId") + " voter " + partition.get("currentVoters").get(0).get("replicaId")
                    + " at the end " + partition.get("currentVoters").get(0).get("logEndOffset").equals(partition.get("highWatermark")) + " observers " + partition.get("observers");
            });
        }
        String[][] others = {{"another topic", "'t'", "{partitionIndex:0}"}, {"another partition", "'__cluster_metadata'", "{partitionIndex:1}"},
            {"two partitions", "'__cluster_metadata'", "{partitionIndex:0},{partitionIndex:1}"}};
        for (String[] one : others) {
            c.put("3.9.8 DescribeQuorum of " + one[0], call("DescribeQuorum", 2, "{topics:[{topicName:%s,partitions:[%s]}]}".formatted(one[1], one[2])));
        }
        c.put("3.9.8 DescribeQuorum of nothing", call("DescribeQuorum", 2, "{topics:[]}"));
        c.put("3.9.8 UnregisterBroker 99", call("UnregisterBroker", 0, "{brokerId:99}"));
        c.put("3.9.8 UnregisterBroker -1", call("UnregisterBroker", 0, "{brokerId:-1}"));
        String add = "{clusterId:%s,timeoutMs:5000,voterId:%d,voterDirectoryId:'%s',listeners:[{name:'CONTROLLER',host:'localhost',port:9999}]}";
        String remove = "{clusterId:%s,voterId:%d,voterDirectoryId:'%s'}";
        Object[][] voters = {{"of another cluster", "'nope'", 2, "AAAAAAAAAAAAAAAAAAAAAQ"}, {"-2", "null", -2, "AAAAAAAAAAAAAAAAAAAAAQ"}, {"without a directory", "null", 2, "AAAAAAAAAAAAAAAAAAAAAA"},
            {"2", "null", 2, "AAAAAAAAAAAAAAAAAAAAAQ"}};
        for (Object[] voter : voters) {
            c.put("3.9.8 AddRaftVoter " + voter[0], call("AddRaftVoter", 0, add.formatted(voter[1], voter[2], voter[3])));
            c.put("3.9.8 RemoveRaftVoter " + voter[0], call("RemoveRaftVoter", 0, remove.formatted(voter[1], voter[2], voter[3])));
        }
        c.put("3.9.8 AddRaftVoter, v1", call("AddRaftVoter", 1, add.formatted("null", 2, "AAAAAAAAAAAAAAAAAAAAAQ")));
    }

    private static void features(Map<String, ParityProbe.Case> c) {
        String[][] cases = {{"no.such at 1", "no.such", "1", "1"}, {"no.such at 0", "no.such", "0", "1"}, {"no name", "", "1", "1"}, {"metadata.version at 99", "metadata.version", "99", "1"},
            {"metadata.version down without saying so", "metadata.version", "29", "1"}, {"metadata.version down", "metadata.version", "7", "2"}, {"metadata.version at -1", "metadata.version", "-1", "2"},
            {"metadata.version as it is", "metadata.version", "30", "1"}, {"an unknown direction", "metadata.version", "30", "9"}};
        for (String[] one : cases) {
            for (int version : new int[] {1, 2}) {
                c.put("3.9.8 UpdateFeatures of " + one[0] + ", v" + version, call("UpdateFeatures", version,
                    "{timeoutMs:5000,validateOnly:true,featureUpdates:[{feature:'%s',maxVersionLevel:%s,upgradeType:%s}]}".formatted(one[1], one[2], one[3])));
            }
        }
        c.put("3.9.8 UpdateFeatures of nothing", call("UpdateFeatures", 2, "{timeoutMs:5000,featureUpdates:[]}"));
        c.put("3.9.8 UpdateFeatures, v0", call("UpdateFeatures", 0, "{timeoutMs:5000,featureUpdates:[{feature:'no.such',maxVersionLevel:2,allowDowngrade:false}]}"));
        c.put("3.9.8 one good feature and a bad one", call("UpdateFeatures", 1,
            "{timeoutMs:5000,validateOnly:true,featureUpdates:[{feature:'metadata.version',maxVersionLevel:30,upgradeType:1},{feature:'no.such',maxVersionLevel:1,upgradeType:1}]}"));
        c.put("3.9.8 the finalized metadata.version", (f, w) -> {
            for (JsonNode feature : w.call("ApiVersions", 4, "{clientSoftwareName:'p',clientSoftwareVersion:'1'}").get("finalizedFeatures")) {
                if (feature.get("name").textValue().equals("metadata.version")) {
                    return feature;
                }
            }
            return "not finalized";
        });
    }
}
