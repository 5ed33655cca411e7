//! AlterReplicaLogDirs, ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments on one node: every
//! replica is where it can be, every leader is elected, and nothing is on its way. The answers are those that a
//! one-node Kafka gives.

use std::collections::BTreeMap;

use chronik_protocol::codec::StrBytes;
use chronik_protocol::codec::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use chronik_protocol::codec::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use chronik_protocol::codec::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use chronik_protocol::codec::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use chronik_protocol::message;

use super::cluster::log_dir;
use super::lookup::{self, Place};
use super::refusal::{Refusal, outcome};
use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::request::RequestContext;

/// Kafka's `ElectionType`: the preferred replica, or any.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

/// First version of ElectLeaders that can say which election it wants; the one before means the preferred replica.
const NAMES_ELECTION: i16 = 1;

/// Answers AlterReplicaLogDirs: there is one directory, and every replica is in it.
pub async fn alter_log_dirs(
    ctx: &RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let here = log_dir(ctx);
    // A replica named for two directories is answered once, for the last of them, as in Kafka.
    let mut codes: BTreeMap<StrBytes, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    for dir in &request.dirs {
        let known = *dir.path == *here.to_string_lossy();
        for topic in &dir.topics {
            let partitions = codes.entry(topic.name.clone()).or_default();
            partitions.extend(topic.partitions.iter().map(|partition| {
                (
                    *partition,
                    if known { placed(ctx, &topic.name, *partition) } else { ErrorCode::LogDirNotFound },
                )
            }));
        }
    }
    let results = codes.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, code)| {
            message!(AlterReplicaLogDirPartitionResult { partition_index: index, error_code: code.code() })
        });
        message!(AlterReplicaLogDirTopicResult { topic_name: name, partitions: partitions.collect() })
    });
    message!(AlterReplicaLogDirsResponse { results: results.collect() })
}

fn placed(ctx: &RequestContext, topic: &str, partition: i32) -> ErrorCode {
    match lookup::find(ctx, topic, partition) {
        Ok(Place::Log(_) | Place::Virtual) => ErrorCode::None,
        Err(code) => code,
    }
}

/// Answers ElectLeaders: the leader of every partition is elected already.
pub async fn elect_leaders(ctx: &RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let whole = if ctx.api_version >= NAMES_ELECTION && !ELECTION_TYPES.contains(&request.election_type) {
        Err(Refusal::invalid_request(format!("Unknown election type {}", request.election_type)))
    } else if request.timeout_ms <= 0 {
        Err(Refusal::timed_out())
    } else {
        Ok(())
    };
    let results = match request.topic_partitions {
        Some(topics) => topics
            .into_iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    let elected = whole.clone().and_then(|()| elect(ctx, &topic.topic, *partition));
                    let (error_code, error_message) = outcome(&elected);
                    message!(PartitionResult {
                        partition_id: *partition,
                        error_code: error_code,
                        error_message: error_message,
                    })
                });
                let partitions = partitions.collect();
                message!(ReplicaElectionResult { topic: topic.topic, partition_result: partitions })
            })
            .collect(),
        // Every topic is looked at, and only partitions that changed hands would be told.
        None => topic_names(ctx).map(|topic| message!(ReplicaElectionResult { topic: topic })).collect(),
    };
    let (error_code, _) = outcome(&whole);
    message!(ElectLeadersResponse {
        // Version 0 has it in the partitions alone.
        error_code: if ctx.api_version >= NAMES_ELECTION { error_code } else { ErrorCode::None.code() },
        replica_election_results: results,
    })
}

fn elect(ctx: &RequestContext, topic: &str, partition: i32) -> Result<(), Refusal> {
    let message = match lookup::find(ctx, topic, partition) {
        Ok(Place::Log(_) | Place::Virtual) => {
            let message = "Leader election not needed for topic partition.";
            return Err(Refusal::new(ErrorCode::ElectionNotNeeded, message));
        }
        Err(_) if !is_topic(ctx, topic) => format!("No such topic as {topic}"),
        Err(_) => format!("No such partition as {topic}-{partition}"),
    };
    Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message))
}

fn is_topic(ctx: &RequestContext, topic: &str) -> bool {
    internal_topics::find(topic).is_some() || ctx.broker.engine.topics().get(topic).is_some()
}

fn topic_names(ctx: &RequestContext) -> impl Iterator<Item = StrBytes> {
    let topics = ctx.broker.engine.topics();
    let names: Vec<StrBytes> = topics.iter().map(|topic| (&*topic.name).into()).collect();
    names.into_iter().chain(internal_topics::all().map(|topic| topic.name.into()))
}

/// Answers AlterPartitionReassignments: a partition may be told to be where it is, and nothing else.
pub async fn reassign(
    ctx: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let timed_out = request.timeout_ms <= 0;
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let replicas = partition.replicas.as_deref();
            let moved = if timed_out {
                Err(Refusal::timed_out())
            } else {
                reassign_one(ctx, &topic.name, partition.partition_index, replicas)
            };
            let (error_code, error_message) = outcome(&moved);
            message!(ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code: error_code,
                error_message: error_message,
            })
        });
        let partitions = partitions.collect();
        message!(ReassignableTopicResponse { name: topic.name, partitions: partitions })
    });
    let code = if timed_out { ErrorCode::RequestTimedOut } else { ErrorCode::None };
    message!(AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_code: code.code(),
        responses: responses.collect(),
    })
}

/// In the order of Kafka's `ReplicationControlManager`.
fn reassign_one(
    ctx: &RequestContext,
    topic: &str,
    partition: i32,
    replicas: Option<&[i32]>,
) -> Result<(), Refusal> {
    let unknown = |message: String| Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
    if !is_topic(ctx, topic) {
        return unknown(format!("Unable to find a topic named {topic}."));
    }
    if lookup::find(ctx, topic, partition).is_err() {
        return unknown(format!("Unable to find partition {topic}:{partition}."));
    }
    let Some(replicas) = replicas else {
        return Err(Refusal::new(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        ));
    };
    let bad = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        return bad("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let node = ctx.broker.config.node.node_id;
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        if pair[0] == pair[1] {
            return bad(format!(
                "The manual partition assignment includes the broker {} more than once.",
                pair[0]
            ));
        }
    }
    match sorted.iter().find(|replica| **replica != node) {
        Some(stranger) => bad(format!(
            "The manual partition assignment includes broker {stranger}, but no such broker is registered."
        )),
        None => Ok(()),
    }
}

/// Answers ListPartitionReassignments: nothing is ever on its way.
pub async fn list_reassignments(
    _ctx: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default()
}

#[cfg(test)]
mod tests;
