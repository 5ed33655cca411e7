import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/** semantics 3.9: topics, partitions, configs, record deletion, descriptions and metadata. */
final class AdminCases {
    private AdminCases() {
    }

    static void add(Map<String, ParityProbe.Case> c) {
        create(c);
        delete(c);
        configs(c);
        records(c);
        describe(c);
        metadata(c);
    }

    /** Names, values, types and sources of topic configs, but for what must differ. */
    private static java.util.SortedSet<String> comparable(JsonNode configs) {
        java.util.SortedSet<String> out = new java.util.TreeSet<>();
        for (JsonNode config : configs) {
            String name = config.get("name").textValue();
            String rest = "=" + config.get("value").textValue() + "/" + config.path("configType") + "/" + config.get("configSource");
            if (name.equals("segment.bytes") || name.equals("min.insync.replicas")) {
                out.add(name); // our segments default to 250 MB; a formatted Kafka sets the replicas cluster-wide (KIP-966)
            } else if (!name.startsWith("chronik.")) { // ours, beside Kafka's
                out.add(name + rest);
            }
        }
        return out;
    }

    private static ParityProbe.Case create(String body) {
        return (f, w) -> w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[" + body.replace("NAME", f.name()) + "]}");
    }

    private static void create(Map<String, ParityProbe.Case> c) {
        c.put("3.9.1 created, defaults", (f, w) -> {
            JsonNode topic = w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s',numPartitions:-1,replicationFactor:-1}]}".formatted(f.name())).get("topics").get(0);
            return topic.get("errorCode") + " " + topic.get("numPartitions") + " " + topic.get("replicationFactor") + " " + comparable(topic.get("configs"));
        });
        c.put("3.9.1 created, one config", (f, w) -> {
            JsonNode topic = w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s',numPartitions:3,replicationFactor:1,configs:[{name:'retention.ms',value:'9000'}]}]}"
                .formatted(f.name())).get("topics").get(0);
            for (JsonNode config : topic.get("configs")) {
                if (config.get("name").textValue().equals("retention.ms")) {
                    return topic.get("errorCode") + " " + topic.get("errorMessage") + " " + topic.get("numPartitions") + " " + topic.get("replicationFactor") + " " + config;
                }
            }
            return "retention.ms is not answered: " + topic;
        });
        c.put("3.9.1 existing", (f, w) -> w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s',numPartitions:1,replicationFactor:1}]}".formatted(f.topic())));
        c.put("3.9.1 existing, validate only", (f, w) -> w.call("CreateTopics", 7, "{timeoutMs:5000,validateOnly:true,topics:[{name:'%s',numPartitions:1,replicationFactor:1}]}".formatted(f.topic())));
        String[][] names = {{"empty", ""}, {"a dot", "."}, {"two dots", ".."}, {"a space", "a b"}, {"a slash", "a/b"}, {"250 characters", "x".repeat(250)}, {"umlaut", "tüpic"}};
        for (String[] name : names) {
            c.put("3.9.1 name: " + name[0], create("{name:'" + name[1] + "',numPartitions:1,replicationFactor:1}"));
        }
        c.put("3.9.1 249 characters", (f, w) -> {
            String name = f.name();
            JsonNode topic = w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s',numPartitions:1,replicationFactor:1}]}"
                .formatted(name + "x".repeat(249 - name.length()))).get("topics").get(0);
            return topic.get("errorCode");
        });
        c.put("3.9.1 dots and underscores collide", (f, w) -> {
            String name = f.name();
            w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s.x',numPartitions:1,replicationFactor:1}]}".formatted(name));
            return w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s_x',numPartitions:1,replicationFactor:1}]}".formatted(name));
        });
        c.put("3.9.1 no partitions", create("{name:'NAME',numPartitions:0,replicationFactor:1}"));
        c.put("3.9.1 -2 partitions", create("{name:'NAME',numPartitions:-2,replicationFactor:1}"));
        c.put("3.9.1 replication factor 0", create("{name:'NAME',numPartitions:1,replicationFactor:0}"));
        c.put("3.9.1 replication factor -2", create("{name:'NAME',numPartitions:1,replicationFactor:-2}"));
        c.put("3.9.1 replication factor 2", create("{name:'NAME',numPartitions:1,replicationFactor:2}"));
        c.put("3.9.1 assignment and partitions", create("{name:'NAME',numPartitions:1,replicationFactor:1,assignments:[{partitionIndex:0,brokerIds:[1]}]}"));
        c.put("3.9.1 assignment to an unknown broker", create("{name:'NAME',numPartitions:-1,replicationFactor:-1,assignments:[{partitionIndex:0,brokerIds:[77]}]}"));
        c.put("3.9.1 assignment with a gap", create("{name:'NAME',numPartitions:-1,replicationFactor:-1,assignments:[{partitionIndex:1,brokerIds:[1]}]}"));
        c.put("3.9.1 assignment without brokers", create("{name:'NAME',numPartitions:-1,replicationFactor:-1,assignments:[{partitionIndex:0,brokerIds:[]}]}"));
        String[][] configs = {{"unknown name", "no.such", "'1'"}, {"bad number", "retention.ms", "'soon'"}, {"bad policy", "cleanup.policy", "'burn'"}, {"null value", "retention.ms", "null"},
            {"segment.bytes below 1 MiB", "segment.bytes", "'1000'"}, {"bad codec", "compression.type", "'rar'"}, {"bad boolean", "preallocate", "'maybe'"},
            {"gzip level 77", "compression.gzip.level", "'77'"}, {"negative max.message.bytes", "max.message.bytes", "'-1'"}, {"ratio above 1", "min.cleanable.dirty.ratio", "'1.5'"},
            {"bad timestamp type", "message.timestamp.type", "'Now'"}, {"min.insync.replicas 0", "min.insync.replicas", "'0'"}, {"retention.ms -1", "retention.ms", "'-1'"},
            {"retention.ms -2", "retention.ms", "'-2'"}, {"local retention above retention", "local.retention.ms", "'999999999999'"}};
        for (String[] config : configs) {
            c.put("3.9.1 config: " + config[0], (f, w) -> w.call("CreateTopics", 7, ("{timeoutMs:5000,topics:[{name:'%s',numPartitions:1,replicationFactor:1,"
                + "configs:[{name:'%s',value:%s}]}]}").formatted(f.name(), config[1], config[2])).get("topics").get(0).get("errorCode"));
        }
        c.put("3.9.1 validate only creates nothing", (f, w) -> {
            String name = f.name();
            JsonNode dry = w.call("CreateTopics", 7, "{timeoutMs:5000,validateOnly:true,topics:[{name:'%s',numPartitions:1,replicationFactor:1}]}".formatted(name));
            return dry.get("topics").get(0).get("errorCode") + " then " + w.call("Metadata", 9, "{topics:[{name:'" + name + "'}],allowAutoTopicCreation:false}").get("topics").get(0).get("errorCode");
        });
        c.put("3.9.1 good and bad in one request", (f, w) -> {
            String out = "";
            for (JsonNode topic : w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'a b',numPartitions:1,replicationFactor:1},{name:'%s',numPartitions:1,replicationFactor:1}]}"
                .formatted(f.name())).get("topics")) {
                out += topic.get("name").textValue().equals("a b") ? "bad " + topic.get("errorCode") + " " : "good " + topic.get("errorCode") + " ";
            }
            return out.startsWith("bad") ? out : out.substring(out.indexOf("bad")) + out.substring(0, out.indexOf("bad"));
        });
    }

    private static void delete(Map<String, ParityProbe.Case> c) {
        c.put("3.9.2 unknown name", (f, w) -> w.call("DeleteTopics", 5, "{timeoutMs:5000,topicNames:['" + f.name() + "']}"));
        c.put("3.9.2 unknown id", (f, w) -> w.call("DeleteTopics", 6, "{timeoutMs:5000,topics:[{name:null,topicId:'AAAAAAAAAAAAAAAAAAAAAQ'}]}"));
        c.put("3.9.2 name and id together", (f, w) -> {
            String topic = f.topic();
            return w.call("DeleteTopics", 6, "{timeoutMs:5000,topics:[{name:'%s',topicId:'%s'}]}".formatted(topic, f.id(topic)));
        });
        c.put("3.9.2 neither name nor id", (f, w) -> w.call("DeleteTopics", 6, "{timeoutMs:5000,topics:[{name:null}]}"));
        c.put("3.9.2 by id", (f, w) -> w.call("DeleteTopics", 6, "{timeoutMs:5000,topics:[{name:null,topicId:'%s'}]}".formatted(f.id(f.topic()))));
        c.put("3.9.2 recreated: new id, offset 0, no producer state", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Batch.text(Batch.idempotent(4711, 0, 0, 5)));
            String old = f.id(topic);
            w.call("DeleteTopics", 5, "{timeoutMs:5000,topicNames:['" + topic + "']}");
            JsonNode made = w.call("CreateTopics", 7, "{timeoutMs:5000,topics:[{name:'%s',numPartitions:1,replicationFactor:1}]}".formatted(topic)).get("topics").get(0);
            JsonNode answer = null;
            for (int i = 0; i < 100 && (answer == null || answer.get("errorCode").intValue() == 3); i++) {
                Thread.sleep(20); // a KRaft broker learns of the topic a moment later
                answer = f.produce(topic, Batch.text(Batch.idempotent(4711, 0, 5, 1))).get("responses").get(0).get("partitionResponses").get(0);
            }
            return made.get("errorCode") + " new id " + !made.get("topicId").textValue().equals(old) + " " + answer.get("errorCode") + "@" + answer.get("baseOffset");
        });
        int[] counts = {3, 2, 1, 0, -1};
        for (int count : counts) {
            c.put("3.9.3 from 2 to %d partitions".formatted(count), (f, w) -> w.call("CreatePartitions", 3,
                "{timeoutMs:5000,topics:[{name:'%s',count:%d,assignments:null}]}".formatted(f.topic(2, ""), count)));
        }
        c.put("3.9.3 partitions of an unknown topic", (f, w) -> w.call("CreatePartitions", 3, "{timeoutMs:5000,topics:[{name:'%s',count:3,assignments:null}]}".formatted(f.name())));
        c.put("3.9.3 assignment count differs", (f, w) -> w.call("CreatePartitions", 3, "{timeoutMs:5000,topics:[{name:'%s',count:3,assignments:[{brokerIds:[1]}]}]}".formatted(f.topic())));
        c.put("3.9.3 assignment to an unknown broker", (f, w) -> w.call("CreatePartitions", 3, "{timeoutMs:5000,topics:[{name:'%s',count:2,assignments:[{brokerIds:[77]}]}]}".formatted(f.topic())));
    }

    private static ParityProbe.Case alter(String name, int operation, String value) {
        return (f, w) -> w.call("IncrementalAlterConfigs", 1, "{resources:[{resourceType:2,resourceName:'%s',configs:[{name:'%s',configOperation:%d,value:%s}]}]}"
            .formatted(f.topic(), name, operation, value));
    }

    private static void configs(Map<String, ParityProbe.Case> c) {
        c.put("3.9.4 describing an unknown topic", (f, w) -> w.call("DescribeConfigs", 4, "{resources:[{resourceType:2,resourceName:'%s',configurationKeys:null}]}".formatted(f.name())));
        c.put("3.9.4 describing an invalid name", (f, w) -> w.call("DescribeConfigs", 4, "{resources:[{resourceType:2,resourceName:'a b',configurationKeys:null}]}"));
        c.put("3.9.4 describing an unknown broker", (f, w) -> w.call("DescribeConfigs", 4, "{resources:[{resourceType:4,resourceName:'99',configurationKeys:null}]}"));
        c.put("3.9.4 describing a broker that is no number", (f, w) -> w.call("DescribeConfigs", 4, "{resources:[{resourceType:4,resourceName:'x',configurationKeys:null}]}"));
        c.put("3.9.4 describing resource type 77", (f, w) -> w.call("DescribeConfigs", 4, "{resources:[{resourceType:77,resourceName:'x',configurationKeys:null}]}"));
        c.put("3.9.4 describing named keys", (f, w) -> w.call("DescribeConfigs", 4,
            "{resources:[{resourceType:2,resourceName:'%s',configurationKeys:['retention.ms','no.such','cleanup.policy']}],includeSynonyms:false}".formatted(f.topic(1, "retention.ms=5000"))));
        c.put("3.9.4 the names of all topic configs", (f, w) -> {
            return comparable(w.call("DescribeConfigs", 4, "{resources:[{resourceType:2,resourceName:'%s',configurationKeys:null}]}".formatted(f.topic()))
                .get("results").get(0).get("configs"));
        });
        c.put("3.9.4 SET", alter("retention.ms", 0, "'1000'"));
        c.put("3.9.4 SET a bad value", alter("retention.ms", 0, "'soon'"));
        c.put("3.9.4 SET null", alter("retention.ms", 0, "null"));
        c.put("3.9.4 SET an unknown name", alter("no.such", 0, "'1'"));
        c.put("3.9.4 DELETE what is not set", alter("retention.ms", 1, "null"));
        c.put("3.9.4 APPEND to a list", alter("cleanup.policy", 2, "'compact'"));
        c.put("3.9.4 APPEND to a number", alter("retention.ms", 2, "'1'"));
        c.put("3.9.4 SUBTRACT from a list", alter("cleanup.policy", 3, "'delete'"));
        c.put("3.9.4 operation 9", alter("retention.ms", 9, "'1'"));
        c.put("3.9.4 the same key twice", (f, w) -> w.call("IncrementalAlterConfigs", 1, ("{resources:[{resourceType:2,resourceName:'%s',configs:[{name:'retention.ms',configOperation:0,value:'1'},"
            + "{name:'retention.ms',configOperation:1,value:null}]}]}").formatted(f.topic())));
        c.put("3.9.4 altering an unknown topic", (f, w) -> w.call("IncrementalAlterConfigs", 1,
            "{resources:[{resourceType:2,resourceName:'%s',configs:[{name:'retention.ms',configOperation:0,value:'1'}]}]}".formatted(f.name())));
        c.put("3.9.4 altering resource type 77", (f, w) -> w.call("IncrementalAlterConfigs", 1,
            "{resources:[{resourceType:77,resourceName:'x',configs:[{name:'retention.ms',configOperation:0,value:'1'}]}]}"));
        c.put("3.9.4 validate only changes nothing", (f, w) -> {
            String topic = f.topic();
            JsonNode dry = w.call("IncrementalAlterConfigs", 1, "{validateOnly:true,resources:[{resourceType:2,resourceName:'%s',configs:[{name:'retention.ms',configOperation:0,value:'1'}]}]}".formatted(topic));
            return dry + " " + value(w, topic, "retention.ms");
        });
        c.put("3.9.4 legacy AlterConfigs replaces everything", (f, w) -> {
            String topic = f.topic(1, "retention.ms=5000;max.message.bytes=5000");
            JsonNode answer = w.call("AlterConfigs", 2, "{resources:[{resourceType:2,resourceName:'%s',configs:[{name:'retention.ms',value:'7000'}]}]}".formatted(topic));
            Thread.sleep(200);
            return answer.get("responses").get(0).get("errorCode") + " " + value(w, topic, "retention.ms") + " " + value(w, topic, "max.message.bytes");
        });
        c.put("3.9.4 listing config resources of type 77", (f, w) -> w.call("ListConfigResources", 1, "{resourceTypes:[77]}"));
        c.put("3.9.4 listing client metrics, v0", (f, w) -> w.call("ListConfigResources", 0, "{}"));
    }

    private static String value(Wire w, String topic, String key) throws Exception {
        JsonNode config = w.call("DescribeConfigs", 4, "{resources:[{resourceType:2,resourceName:'%s',configurationKeys:['%s']}]}".formatted(topic, key))
            .get("results").get(0).get("configs").get(0);
        return config.get("value") + "/" + config.get("configSource");
    }

    private static ParityProbe.Case deleteRecords(String configs, long offset) {
        return (f, w) -> {
            String topic = f.topic(1, configs);
            f.produce(topic, Batch.text(Batch.plain(10)));
            return w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:%d}]}]}".formatted(topic, offset));
        };
    }

    private static void records(Map<String, ParityProbe.Case> c) {
        for (long offset : new long[] {0, 4, 10, 11, -1, -2}) {
            c.put("3.9.5 deleting records before " + offset, deleteRecords("", offset));
        }
        c.put("3.9.5 a compacted topic", deleteRecords("cleanup.policy=compact", 4));
        c.put("3.9.5 a compacted and deleted topic", deleteRecords("cleanup.policy=compact,delete", 4));
        c.put("3.9.5 unknown topic", (f, w) -> w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:1}]}]}".formatted(f.name())));
        c.put("3.9.5 an offset already deleted", (f, w) -> {
            String topic = f.filled(10);
            String body = "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:%d}]}]}";
            w.call("DeleteRecords", 2, body.formatted(topic, 6));
            return w.call("DeleteRecords", 2, body.formatted(topic, 3));
        });
        c.put("3.3.4 DeleteRecords of everything keeps the producer's sequence", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Batch.text(Batch.idempotent(4712, 0, 0, 5)));
            w.call("DeleteRecords", 2, "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:-1}]}]}".formatted(topic));
            JsonNode answer = f.produce(topic, Batch.text(Batch.idempotent(4712, 0, 9, 1))).get("responses").get(0).get("partitionResponses").get(0);
            return answer.get("errorCode") + "@" + answer.get("baseOffset") + " start " + answer.get("logStartOffset");
        });
    }

    private static void describe(Map<String, ParityProbe.Case> c) {
        for (int type : new int[] {1, 2, 9}) {
            c.put("3.9.8 DescribeCluster, endpoint type " + type, (f, w) -> {
                JsonNode answer = w.call("DescribeCluster", 1, "{endpointType:%d}".formatted(type));
                return answer.get("errorCode") + " " + answer.get("endpointType") + " brokers " + answer.get("brokers").size();
            });
        }
        c.put("3.9.8 DescribeCluster's authorized operations", (f, w) -> w.call("DescribeCluster", 0, "{includeClusterAuthorizedOperations:true}").get("clusterAuthorizedOperations"));
        c.put("3.9.8 DescribeTopicPartitions of an unknown topic", (f, w) -> w.call("DescribeTopicPartitions", 0, "{topics:[{name:'%s'}],responsePartitionLimit:5}".formatted(f.name())));
        c.put("3.9.8 DescribeTopicPartitions pages", (f, w) -> {
            String topic = f.topic(5, "");
            JsonNode first = w.call("DescribeTopicPartitions", 0, "{topics:[{name:'%s'}],responsePartitionLimit:2}".formatted(topic));
            JsonNode second = w.call("DescribeTopicPartitions", 0, "{topics:[{name:'%s'}],responsePartitionLimit:9,cursor:{topicName:'%s',partitionIndex:2}}".formatted(topic, topic));
            return first.get("topics").get(0).get("partitions").size() + " cursor " + first.get("nextCursor") + " then "
                + second.get("topics").get(0).get("partitions").size() + " cursor " + second.get("nextCursor");
        });
        c.put("3.9.8 DescribeTopicPartitions, negative cursor", (f, w) -> {
            String topic = f.topic();
            return w.call("DescribeTopicPartitions", 0, "{topics:[{name:'%s'}],cursor:{topicName:'%s',partitionIndex:-1}}".formatted(topic, topic));
        });
        c.put("3.9.8 DescribeProducers of an unknown topic", (f, w) -> w.call("DescribeProducers", 0, "{topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(f.name())));
        c.put("3.9.8 DescribeProducers", (f, w) -> {
            String topic = f.topic();
            f.produce(topic, Batch.text(Batch.idempotent(4713, 2, 0, 5)));
            return w.call("DescribeProducers", 0, "{topics:[{name:'%s',partitionIndexes:[0,3]}]}".formatted(topic));
        });
        c.put("3.9.8 DescribeLogDirs of an unknown topic", (f, w) -> {
            JsonNode answer = w.call("DescribeLogDirs", 4, "{topics:[{topic:'%s',partitions:[0]}]}".formatted(f.name()));
            return answer.get("errorCode") + " " + answer.get("results").get(0).get("errorCode") + " " + answer.get("results").get(0).get("topics");
        });
    }

    private static void metadata(Map<String, ParityProbe.Case> c) {
        c.put("3.9.9 metadata of an unknown topic", (f, w) -> w.call("Metadata", 9, "{topics:[{name:'%s'}],allowAutoTopicCreation:false}".formatted(f.name())).get("topics"));
        c.put("3.9.9 metadata of an invalid name", (f, w) -> w.call("Metadata", 9, "{topics:[{name:'a b'}],allowAutoTopicCreation:true}").get("topics"));
        c.put("3.9.9 metadata by an unknown id", (f, w) -> w.call("Metadata", 12, "{topics:[{topicId:'AAAAAAAAAAAAAAAAAAAAAQ',name:null}],allowAutoTopicCreation:false}").get("topics"));
        c.put("3.9.9 metadata by id", (f, w) -> w.call("Metadata", 12, "{topics:[{topicId:'%s',name:null}],allowAutoTopicCreation:false}".formatted(f.id(f.topic()))).get("topics"));
        c.put("3.9.9 metadata of no topics", (f, w) -> w.call("Metadata", 9, "{topics:[]}").get("topics"));
        c.put("3.9.9 metadata of all topics, v0", (f, w) -> {
            String topic = f.topic();
            for (JsonNode one : w.call("Metadata", 0, "{topics:[]}").get("topics")) {
                if (one.get("name").textValue().equals(topic)) {
                    return one;
                }
            }
            return "not listed";
        });
        c.put("3.9.9 metadata with authorized operations", (f, w) -> w.call("Metadata", 9,
            "{topics:[{name:'%s'}],includeTopicAuthorizedOperations:true}".formatted(f.topic())).get("topics").get(0).get("topicAuthorizedOperations"));
        c.put("3.9.3 metadata creates the topic", (f, w) -> {
            String name = f.name();
            int first = w.call("Metadata", 9, "{topics:[{name:'%s'}],allowAutoTopicCreation:true}".formatted(name)).get("topics").get(0).get("errorCode").intValue();
            int then = -1;
            for (int i = 0; i < 100 && then != 0; i++) {
                Thread.sleep(20);
                then = w.call("Metadata", 9, "{topics:[{name:'%s'}],allowAutoTopicCreation:false}".formatted(name)).get("topics").get(0).get("errorCode").intValue();
            }
            return "first retriable or good " + (first == 0 || first == 3 || first == 5) + ", then " + then;
        });
    }
}
