//! AlterReplicaLogDirs, ElectLeaders and reassignments on one node.

use chronik_protocol::codec;
use chronik_protocol::codec::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use chronik_protocol::codec::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use chronik_protocol::codec::messages::elect_leaders_request::TopicPartitions;

use super::*;
use crate::handlers::testing::{self, NODE, TestContext, encodes_in_every_version};

fn dir(path: &str, topic: &str, partitions: &[i32]) -> AlterReplicaLogDir {
    let topic = message!(AlterReplicaLogDirTopic { name: topic.into(), partitions: partitions.to_vec() });
    message!(AlterReplicaLogDir { path: path.into(), topics: vec![topic] })
}

async fn moved(ctx: &TestContext, dirs: Vec<AlterReplicaLogDir>) -> Vec<i16> {
    let answer = alter_log_dirs(ctx, message!(AlterReplicaLogDirsRequest { dirs: dirs })).await;
    encodes_in_every_version(&answer);
    let partitions = answer.results.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.error_code).collect()
}

// semantics 3.9.8
#[tokio::test]
async fn replicas_are_in_the_one_directory_and_can_be_in_no_other() {
    let ctx = testing::context_with(&[("data.dir", "/here")]).await;
    ctx.topic("a", 2).await;
    assert_eq!(moved(&ctx, vec![dir("/here", "a", &[0, 1, 7])]).await, [0, 0, 3]);
    assert_eq!(moved(&ctx, vec![dir("/here", "__consumer_offsets", &[0])]).await, [0]);
    assert_eq!(moved(&ctx, vec![dir("/here/", "a", &[0])]).await, [57]);
    assert_eq!(moved(&ctx, vec![dir("/there", "no", &[0])]).await, [57]);
    // Named twice, answered once.
    assert_eq!(moved(&ctx, vec![dir("/here", "a", &[0]), dir("/there", "a", &[0])]).await, [57]);
}

async fn elected(ctx: &TestContext, kind: i8, topic: &str, partition: i32) -> (i16, i16) {
    let asked = message!(TopicPartitions { topic: topic.into(), partitions: vec![partition] });
    let request = message!(ElectLeadersRequest {
        election_type: kind,
        topic_partitions: Some(vec![asked]),
        timeout_ms: 1000,
    });
    let answer = elect_leaders(ctx, request).await;
    codec::encode_response(1, &answer, ctx.api_version).expect("the answer fits its version");
    (answer.error_code, answer.replica_election_results[0].partition_result[0].error_code)
}

// semantics 3.9.8
#[tokio::test]
async fn no_leader_needs_an_election() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic("a", 1).await;
    assert_eq!(elected(&ctx, 0, "a", 0).await, (0, 84));
    assert_eq!(elected(&ctx, 1, "a", 0).await, (0, 84));
    assert_eq!(elected(&ctx, 0, "a", 1).await, (0, 3));
    assert_eq!(elected(&ctx, 0, "no", 0).await, (0, 3));
    assert_eq!(elected(&ctx, 2, "a", 0).await, (42, 42));
    assert_eq!(elected(&ctx.with_version(0), 2, "a", 0).await, (0, 84));
}

#[tokio::test]
async fn an_election_everywhere_tells_every_topic_and_no_change() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic("a", 1).await;
    let everywhere = message!(ElectLeadersRequest { topic_partitions: None, timeout_ms: 1 });
    let answer = elect_leaders(&ctx, everywhere).await;
    let topics = &answer.replica_election_results;
    assert_eq!(
        topics.iter().map(|topic| &*topic.topic).collect::<Vec<_>>(),
        ["a", "__consumer_offsets", "__transaction_state"]
    );
    assert!(topics.iter().all(|topic| topic.partition_result.is_empty()));
    let no_time = message!(ElectLeadersRequest { topic_partitions: None, timeout_ms: 0 });
    assert_eq!(elect_leaders(&ctx, no_time).await.error_code, 7);
}

async fn reassigned(ctx: &TestContext, topic: &str, partition: i32, replicas: Option<&[i32]>) -> i16 {
    let partition = message!(ReassignablePartition {
        partition_index: partition,
        replicas: replicas.map(<[i32]>::to_vec),
    });
    let topic = message!(ReassignableTopic { name: topic.into(), partitions: vec![partition] });
    let request = message!(AlterPartitionReassignmentsRequest { timeout_ms: 1000, topics: vec![topic] });
    let answer = reassign(ctx, request).await;
    encodes_in_every_version(&answer);
    assert_eq!(answer.error_code, 0);
    answer.responses[0].partitions[0].error_code
}

// semantics 3.9.8
#[tokio::test]
async fn a_partition_may_be_told_to_be_where_it_is_and_nowhere_else() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    assert_eq!(reassigned(&ctx, "a", 0, Some(&[NODE])).await, 0);
    assert_eq!(reassigned(&ctx, "__consumer_offsets", 0, Some(&[NODE])).await, 0);
    for bad in [&[][..], &[NODE, NODE], &[NODE, 2], &[-1]] {
        assert_eq!(reassigned(&ctx, "a", 0, Some(bad)).await, 39, "{bad:?}");
    }
    assert_eq!(reassigned(&ctx, "a", 0, None).await, 85);
    assert_eq!(reassigned(&ctx, "a", 1, Some(&[NODE])).await, 3);
    assert_eq!(reassigned(&ctx, "no", 0, None).await, 3);
    let listed = list_reassignments(&ctx, message!(ListPartitionReassignmentsRequest { topics: None })).await;
    assert_eq!((listed.error_code, listed.topics.len()), (0, 0));
    encodes_in_every_version(&listed);
}
