//! DescribeQuorum, UnregisterBroker, AddRaftVoter and RemoveRaftVoter on one node: it is leader and only voter of its
//! metadata, and cannot be taken away.

use chronik_protocol::codec::Uuid;
use chronik_protocol::codec::messages::describe_quorum_request::TopicData as AskedTopic;
use chronik_protocol::codec::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use chronik_protocol::codec::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    RemoveRaftVoterRequest, RemoveRaftVoterResponse, UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use chronik_protocol::message;

use super::refusal::{Refusal, outcome};
use crate::error_code::ErrorCode;
use crate::request::RequestContext;

/// Kafka's name for the log of its metadata. There is no such log here: the catalogue is in the store.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The one epoch that the metadata ever has.
const LEADER_EPOCH: i32 = 1;

/// Answers DescribeQuorum.
pub async fn describe(ctx: &RequestContext, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    if !asks_for_metadata(&request.topics) {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                message!(PartitionData {
                    partition_index: partition.partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    error_message: Refusal::unknown_topic().wire_message(),
                })
            });
            let partitions = partitions.collect();
            message!(TopicData { topic_name: topic.topic_name, partitions: partitions })
        });
        return message!(DescribeQuorumResponse { topics: topics.collect() });
    }
    let node = ctx.broker.config.node.node_id;
    let now_ms = ctx.broker.clock.now_ms();
    let voter = message!(ReplicaState {
        replica_id: node,
        last_fetch_timestamp: now_ms,
        last_caught_up_timestamp: now_ms,
    });
    let partition =
        message!(PartitionData { leader_id: node, leader_epoch: LEADER_EPOCH, current_voters: vec![voter] });
    let listener = message!(Listener {
        name: ctx.listener.name.as_str().into(),
        host: ctx.listener.advertised_host.as_str().into(),
        port: ctx.listener.advertised_port,
    });
    message!(DescribeQuorumResponse {
        topics: vec![message!(TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] })],
        nodes: if ctx.api_version >= 2 {
            vec![message!(Node { node_id: node, listeners: vec![listener] })]
        } else {
            Vec::new()
        },
    })
}

/// Whether it is for the one partition of the metadata and nothing else (Kafka's `hasValidTopicPartition`).
fn asks_for_metadata(topics: &[AskedTopic]) -> bool {
    match topics {
        [topic] => {
            &*topic.topic_name == METADATA_TOPIC
                && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
        }
        _ => false,
    }
}

/// Answers UnregisterBroker. Kafka would also unregister the node that asks itself, and come to a stop.
pub async fn unregister(ctx: &RequestContext, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
    let asked = request.broker_id;
    let (code, message) = if asked == ctx.broker.config.node.node_id {
        let message = format!("Broker {asked} is the only one of this cluster and cannot be unregistered");
        (ErrorCode::InvalidRequest, message)
    } else {
        (ErrorCode::BrokerIdNotRegistered, format!("Broker ID {asked} is not currently registered"))
    };
    message!(UnregisterBrokerResponse { error_code: code.code(), error_message: Some(message.into()) })
}

/// Answers AddRaftVoter.
pub async fn add_voter(ctx: &RequestContext, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let valid = !request.listeners.is_empty();
    let asked = Voter {
        cluster_id: request.cluster_id.as_deref(),
        id: request.voter_id,
        directory: request.voter_directory_id,
    };
    let done = change_voters(ctx, &asked, valid, "Add", "adding");
    let (error_code, error_message) = outcome(&done);
    message!(AddRaftVoterResponse { error_code: error_code, error_message: error_message })
}

/// Answers RemoveRaftVoter.
pub async fn remove_voter(ctx: &RequestContext, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let asked = Voter {
        cluster_id: request.cluster_id.as_deref(),
        id: request.voter_id,
        directory: request.voter_directory_id,
    };
    let done = change_voters(ctx, &asked, true, "Remove", "removing");
    let (error_code, error_message) = outcome(&done);
    message!(RemoveRaftVoterResponse { error_code: error_code, error_message: error_message })
}

struct Voter<'a> {
    cluster_id: Option<&'a str>,
    id: i32,
    directory: Uuid,
}

/// As Kafka with a static quorum (`kraft.version` 0), in the order of its checks.
fn change_voters(
    ctx: &RequestContext,
    asked: &Voter<'_>,
    valid: bool,
    what: &str,
    doing: &str,
) -> Result<(), Refusal> {
    let cluster = ctx.broker.engine.cluster_id();
    if let Some(asked) = asked.cluster_id.filter(|asked| *asked != cluster) {
        let message = format!("The given id \"{asked}\" doesn't match the cluster id \"{cluster}\"");
        return Err(Refusal::new(ErrorCode::InconsistentClusterId, message));
    }
    if asked.id < 0 || asked.directory == Uuid::default() || !valid {
        return Err(Refusal::invalid_request(format!("{what} voter request didn't include a valid voter")));
    }
    let message = format!("Cluster doesn't support {doing} voter because the kraft.version feature is 0");
    Err(Refusal::new(ErrorCode::UnsupportedVersion, message))
}

#[cfg(test)]
mod tests;
