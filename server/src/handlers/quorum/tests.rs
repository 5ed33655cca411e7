//! DescribeQuorum, UnregisterBroker and the voters' APIs.

use chronik_protocol::codec::messages::describe_quorum_request::{
    PartitionData as AskedPartition, TopicData,
};

use super::*;
use crate::handlers::testing::{self, NODE, NOW_MS, encodes_in_every_version};

fn asked(topic: &str, partitions: &[i32]) -> DescribeQuorumRequest {
    let partitions =
        partitions.iter().map(|index| message!(AskedPartition { partition_index: *index })).collect();
    let topic = message!(TopicData { topic_name: topic.into(), partitions: partitions });
    message!(DescribeQuorumRequest { topics: vec![topic] })
}

// semantics 3.9.8
#[tokio::test]
async fn this_node_leads_and_is_the_only_voter() {
    let ctx = testing::context().await.with_version(2);
    let answer = describe(&ctx, asked("__cluster_metadata", &[0])).await;
    let partition = &answer.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_id, partition.observers.len()), (0, NODE, 0));
    let voters: Vec<_> = partition
        .current_voters
        .iter()
        .map(|voter| (voter.replica_id, voter.last_caught_up_timestamp))
        .collect();
    assert_eq!(voters, [(NODE, NOW_MS)]);
    assert_eq!((answer.nodes[0].node_id, answer.nodes[0].listeners[0].port), (NODE, 19092));
    // Nodes are not in the layout of the versions before.
    let older = describe(&ctx.with_version(1), asked("__cluster_metadata", &[0])).await;
    assert!(older.nodes.is_empty());
    encodes_in_every_version(&older);
}

#[tokio::test]
async fn nothing_else_has_a_quorum() {
    let ctx = testing::context().await.with_version(2);
    for (topic, partitions) in
        [("a", &[0][..]), ("__cluster_metadata", &[1]), ("__cluster_metadata", &[0, 1])]
    {
        let answer = describe(&ctx, asked(topic, partitions)).await;
        assert_eq!(answer.error_code, 0);
        assert!(answer.topics[0].partitions.iter().all(|partition| partition.error_code == 3), "{topic}");
    }
}

// semantics 3.9.8
#[tokio::test]
async fn no_broker_can_be_unregistered() {
    let ctx = testing::context().await.with_version(0);
    for (id, code) in [(NODE, 42), (99, 102), (-1, 102)] {
        let answer = unregister(&ctx, message!(UnregisterBrokerRequest { broker_id: id })).await;
        assert_eq!(answer.error_code, code, "{id}");
        encodes_in_every_version(&answer);
    }
}

// semantics 3.9.8
#[tokio::test]
async fn voters_are_neither_added_nor_removed() {
    let ctx = testing::context().await.with_version(0);
    let directory = Uuid::from_bytes([1; 16]);
    let cluster = ctx.broker.engine.cluster_id().to_owned();
    let cases = [
        (Some("other"), 2, directory, 104),
        (Some(&*cluster), -1, directory, 42),
        (None, 2, Uuid::default(), 42),
        (None, 2, directory, 35),
    ];
    for (cluster_id, voter_id, directory, code) in cases {
        let listener = chronik_protocol::codec::messages::add_raft_voter_request::Listener::default();
        let added = message!(AddRaftVoterRequest {
            cluster_id: cluster_id.map(Into::into),
            voter_id: voter_id,
            voter_directory_id: directory,
            listeners: vec![listener],
        });
        let added = add_voter(&ctx, added).await;
        let removed = message!(RemoveRaftVoterRequest {
            cluster_id: cluster_id.map(Into::into),
            voter_id: voter_id,
            voter_directory_id: directory,
        });
        let removed = remove_voter(&ctx, removed).await;
        assert_eq!((added.error_code, removed.error_code), (code, code), "{voter_id}");
        encodes_in_every_version(&added);
        encodes_in_every_version(&removed);
    }
}
