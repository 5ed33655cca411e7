import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.MemoryRecords;

/** A representative well-formed request for each API and version; null where only an empty one is known. */
final class Requests {
    private final Fixture f;
    private final String topic;
    private final String id;
    private final String withoutZstd; // for Fetch below v10, whose clients cannot read it

    Requests(Fixture fixture) throws Exception {
        f = fixture;
        topic = f.filled(20);
        id = f.id(topic);
        withoutZstd = f.filled(20);
    }

    private String named(boolean byId, String field) {
        return byId ? "topicId:'" + id + "'" : field + ":'" + topic + "'";
    }

    private String members(int v, String member) {
        return v >= 3 ? "members:[{memberId:'" + member + "'}]" : "memberId:'" + member + "'";
    }

    String request(String api, int v) throws Exception {
        return switch (api) {
            case "Produce" -> "{acks:-1,timeoutMs:5000,topicData:[{%s,partitionData:[{index:0,records:'%s'}]}]}".formatted(named(v >= 13, "name"),
                Batch.text(MemoryRecords.withRecords(v >= 7 ? Compression.zstd().build() : Compression.gzip().build(), Batch.records(3, 5_000_000))));
            case "Fetch" -> "{maxWaitMs:50,minBytes:1,maxBytes:1000000,%stopics:[{%s,partitions:[{partition:0,fetchOffset:0,partitionMaxBytes:100000}]}]}"
                .formatted(v >= 7 ? "sessionEpoch:0," : "", v >= 10 ? named(v >= 13, "topic") : "topic:'" + withoutZstd + "'");
            case "ListOffsets" -> "{topics:[{name:'%s',partitions:[{partitionIndex:0,timestamp:%d}]}]}".formatted(topic, v >= 7 ? -3 : 1_000_005);
            case "Metadata" -> v >= 12 ? "{topics:[{topicId:'%s',name:null},{name:'%s'}],includeTopicAuthorizedOperations:true}".formatted(id, f.topic())
                : v == 0 ? "{topics:[{name:'" + topic + "'}]}" : "{topics:null}";
            case "OffsetCommit" -> "{groupId:'%s-commit',topics:[{%s,partitions:[{partitionIndex:0,committedOffset:5,committedMetadata:'m'}]}]}"
                .formatted(topic, named(v >= 10, "name"));
            case "OffsetFetch" -> v >= 8 ? "{groups:[{groupId:'%s-commit',topics:[{%s,partitionIndexes:[0]}]},{groupId:'%s-none',topics:null}]}"
                .formatted(topic, named(v >= 10, "name"), topic) : "{groupId:'%s-commit',topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(topic, topic);
            case "FindCoordinator" -> v >= 4 ? "{keyType:0,coordinatorKeys:['a','b']}" : "{key:'a'}";
            case "ApiVersions" -> v >= 3 ? "{clientSoftwareName:'probe',clientSoftwareVersion:'1.0'}" : "{}";
            case "CreateTopics" -> "{timeoutMs:5000,topics:[{name:'%s',numPartitions:2,replicationFactor:1,configs:[{name:'retention.ms',value:'5000'}]}]}".formatted(f.name());
            case "DeleteTopics" -> {
                String victim = f.topic();
                yield v >= 6 ? "{timeoutMs:5000,topics:[{name:'%s'},{name:null,topicId:'%s'}]}".formatted(victim, f.id(f.topic()))
                    : "{timeoutMs:5000,topicNames:['" + victim + "']}";
            }
            case "DeleteRecords" -> "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,offset:1}]}]}".formatted(f.filled(3));
            case "InitProducerId" -> v >= 3 ? "{transactionalId:null,transactionTimeoutMs:1000,producerId:-1,producerEpoch:-1}" : "{transactionalId:null,transactionTimeoutMs:1000}";
            case "OffsetForLeaderEpoch" -> "{replicaId:-1,topics:[{topic:'%s',partitions:[{partition:0,leaderEpoch:0}]}]}".formatted(topic);
            case "DescribeConfigs" -> "{resources:[{resourceType:2,resourceName:'%s'}],includeSynonyms:true%s}".formatted(topic, v >= 3 ? ",includeDocumentation:true" : "");
            case "AlterConfigs" -> "{resources:[{resourceType:2,resourceName:'%s',configs:[{name:'retention.ms',value:'600000'}]}]}".formatted(f.topic());
            case "IncrementalAlterConfigs" -> "{resources:[{resourceType:2,resourceName:'%s',configs:[{name:'retention.ms',configOperation:0,value:'600000'}]}]}".formatted(f.topic());
            case "ListConfigResources" -> v >= 1 ? "{resourceTypes:[2,4]}" : "{}";
            case "DescribeLogDirs" -> "{topics:[{topic:'%s',partitions:[0]}]}".formatted(topic);
            case "CreatePartitions" -> "{timeoutMs:5000,topics:[{name:'%s',count:3,assignments:null}]}".formatted(f.topic());
            case "DescribeCluster" -> "{includeClusterAuthorizedOperations:true}";
            case "DescribeProducers" -> "{topics:[{name:'%s',partitionIndexes:[0]}]}".formatted(topic);
            case "DescribeTopicPartitions" -> "{topics:[{name:'%s'}],responsePartitionLimit:10}".formatted(topic);
            case "ListGroups" -> v >= 5 ? "{statesFilter:['Empty','Stable'],typesFilter:['classic']}" : v >= 4 ? "{statesFilter:['Empty']}" : "{}";
            case "OffsetDelete" -> "{groupId:'%s',topics:[{name:'%s',partitions:[{partitionIndex:0}]}]}".formatted(committedGroup(), topic);
            case "DeleteGroups" -> "{groupsNames:['" + committedGroup() + "']}";
            case "DescribeGroups" -> "{groups:['%s']%s}".formatted(committedGroup(), v >= 3 ? ",includeAuthorizedOperations:true" : "");
            case "AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn", "TxnOffsetCommit", "WriteTxnMarkers", "DescribeTransactions" -> transactional(api, v);
            case "ListTransactions" -> "{stateFilters:['Ongoing']%s%s}".formatted(v >= 1 ? ",durationFilter:0" : "", v >= 2 ? ",transactionalIdPattern:'.*'" : "");
            case "AlterReplicaLogDirs" -> "{dirs:[{path:'%s',topics:[{name:'%s',partitions:[0]}]}]}".formatted(logDir(), topic);
            case "ElectLeaders" -> "{topicPartitions:[],timeoutMs:5000%s}".formatted(v >= 1 ? ",electionType:0" : "");
            case "AlterPartitionReassignments" -> "{timeoutMs:5000,topics:[{name:'%s',partitions:[{partitionIndex:0,replicas:[%d]}]}]}".formatted(topic, node());
            case "ListPartitionReassignments" -> "{timeoutMs:5000,topics:null}";
            case "DescribeQuorum" -> "{topics:[{topicName:'__cluster_metadata',partitions:[{partitionIndex:0}]}]}";
            case "UpdateFeatures" -> "{timeoutMs:5000,featureUpdates:[]}";
            case "UnregisterBroker" -> "{brokerId:99}";
            case "AddRaftVoter" -> "{clusterId:null,voterId:2,voterDirectoryId:'AAAAAAAAAAAAAAAAAAAAAQ',listeners:[{name:'CONTROLLER',host:'localhost',port:9}]}";
            case "RemoveRaftVoter" -> "{clusterId:null,voterId:2,voterDirectoryId:'AAAAAAAAAAAAAAAAAAAAAQ'}";
            case "GetTelemetrySubscriptions" -> "{}";
            case "PushTelemetry" -> "{clientInstanceId:'%s',subscriptionId:%d}".formatted((Object[]) telemetry());
            default -> null;
        };
    }

    /** The requests that need a transactional id, with a transaction of one partition and one group but for the first two. */
    private String transactional(String api, int v) throws Exception {
        try (Wire wire = f.wire()) {
            Txn txn = Txn.start(f, wire);
            String group = f.name();
            if (!api.startsWith("Add")) {
                txn.add(3, topic, 0);
                txn.addOffsets(3, group);
            }
            return switch (api) {
                case "AddPartitionsToTxn" -> Txn.addBody(v, txn.id, txn.producer, txn.epoch, Txn.topics(topic, 0));
                case "AddOffsetsToTxn" -> Txn.addOffsetsBody(txn.id, txn.producer, txn.epoch, group);
                case "EndTxn" -> Txn.endBody(txn.id, txn.producer, txn.epoch, true);
                case "TxnOffsetCommit" -> Txn.offsetsBody(txn.id, txn.producer, txn.epoch, group, topic, 3, "");
                case "WriteTxnMarkers" -> "{markers:[{producerId:%d,producerEpoch:1,transactionResult:false,coordinatorEpoch:0,topics:[{name:'%s',partitionIndexes:[0]}]}]}"
                    .formatted(txn.producer, topic);
                default -> "{transactionalIds:['" + txn.id + "']}";
            };
        }
    }

    /** The error that a well-formed request of this API gets from one node; nearly always none. */
    static int wanted(String api) {
        return switch (api) {
            case "UnregisterBroker" -> 102; // only others can be asked to go, and there are none
            case "AddRaftVoter", "RemoveRaftVoter" -> 35; // the quorum is static
            default -> 0;
        };
    }

    private String logDir() throws Exception {
        try (Wire wire = f.wire()) {
            return wire.call("DescribeLogDirs", 4, "{topics:[]}").get("results").get(0).get("logDir").textValue();
        }
    }

    private int node() throws Exception {
        try (Wire wire = f.wire()) {
            return wire.call("DescribeCluster", 0, "{}").get("brokers").get(0).get("brokerId").intValue();
        }
    }

    /** Instance and subscription id of a client that may push. */
    private Object[] telemetry() throws Exception {
        try (Wire wire = f.wire()) {
            var asked = wire.call("GetTelemetrySubscriptions", 0, "{}");
            return new Object[] {asked.get("clientInstanceId").textValue(), asked.get("subscriptionId").intValue()};
        }
    }

    private String committedGroup() throws Exception {
        String group = f.name();
        try (Wire wire = f.wire()) {
            wire.call("OffsetCommit", 9, "{groupId:'%s',topics:[{name:'%s',partitions:[{partitionIndex:0,committedOffset:1,committedMetadata:''}]}]}".formatted(group, topic));
        }
        return group;
    }

    /** The requests that need a member: the group's whole life at one version of each API. */
    void groupLife(Wire wire, int join, ParityProbe.Answers answers) throws Exception {
        String group = f.name();
        int sync = Math.min(join, 5);
        int beat = Math.min(join, 4);
        int leave = Math.min(join, 5);
        String member = "";
        com.fasterxml.jackson.databind.JsonNode joined;
        do {
            String extra = join >= 8 ? ",reason:'probe'" : "";
            String timeout = join >= 1 ? "rebalanceTimeoutMs:10000," : "";
            joined = answers.take(wire.send("JoinGroup", join, "{groupId:'%s',sessionTimeoutMs:10000,%smemberId:'%s',protocolType:'consumer',protocols:[{name:'range',metadata:'AAA='}]%s}"
                .formatted(group, timeout, member, extra)), wire, join >= 4 && member.isEmpty() ? 79 : 0);
            member = joined.get("memberId").textValue();
        } while (joined.get("errorCode").intValue() == 79);
        int generation = joined.get("generationId").intValue();
        answers.take(wire.send("SyncGroup", sync, "{groupId:'%s',generationId:%d,memberId:'%s',%sassignments:[{memberId:'%s',assignment:'AAAB'}]}"
            .formatted(group, generation, member, sync >= 5 ? "protocolType:'consumer',protocolName:'range'," : "", member)), wire, 0);
        answers.take(wire.send("Heartbeat", beat, "{groupId:'%s',generationId:%d,memberId:'%s'}".formatted(group, generation, member)), wire, 0);
        answers.take(wire.send("DescribeGroups", Math.min(join, 6), "{groups:['%s']}".formatted(group)), wire, 0);
        answers.take(wire.send("LeaveGroup", leave, "{groupId:'%s',%s}".formatted(group, members(leave, member))), wire, 0);
    }
}
