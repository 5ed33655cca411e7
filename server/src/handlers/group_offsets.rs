//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete.
//!
//! Whether a topic or a partition exists is decided here; who may commit, and what is kept, by the coordinator, which
//! knows topics by id alone. An id that is unknown is an error of its own from version 10 on (KIP-848), and a name
//! that is unknown has no committed offset.

use std::collections::HashSet;
use std::sync::Arc;

use chronik_protocol::codec::messages::offset_commit_request::OffsetCommitRequestTopic;
use chronik_protocol::codec::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use chronik_protocol::codec::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use chronik_protocol::codec::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use chronik_protocol::codec::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use chronik_protocol::codec::{StrBytes, Uuid as WireId};
use chronik_protocol::message;
use futures_util::future::join_all;
use uuid::Uuid;

use super::distinct::distinct;
use crate::coordinator::group::{
    CommitRequest, FetchRequest, FetchedOffset, GroupError, OffsetDeleteRequest as DeleteRequest,
    OffsetToCommit,
};
use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::request::RequestContext;

/// OffsetCommit and OffsetFetch from which on topics are named by id alone.
const TOPIC_IDS: i16 = 10;
/// OffsetCommit from which on an unknown group is called one.
const GROUP_NOT_FOUND: i16 = 9;
/// OffsetFetch from which on the answer has an error of its own.
const TOP_LEVEL_ERROR: i16 = 2;
/// OffsetFetch from which on several groups are asked for at once.
const BATCHED_GROUPS: i16 = 8;
/// "The broker's retention" in OffsetCommit 2 to 4, and "nothing committed".
const NONE: i64 = -1;

/// A topic that exists.
pub(super) struct Known {
    name: Arc<str>,
    pub(super) id: Uuid,
    partitions: usize,
}

impl Known {
    pub(super) fn by_name(ctx: &RequestContext, name: &str) -> Option<Self> {
        if let Some(topic) = internal_topics::find(name) {
            return Some(topic.into());
        }
        let topics = ctx.broker.engine.topics();
        let topic = topics.get(name)?;
        Some(Self { name: topic.name.clone(), id: topic.id, partitions: topic.partitions.len() })
    }

    fn by_id(ctx: &RequestContext, id: Uuid) -> Option<Self> {
        if let Some(topic) = internal_topics::find_by_id(&id) {
            return Some(topic.into());
        }
        let topics = ctx.broker.engine.topics();
        let topic = topics.get_by_id(&id)?;
        Some(Self { name: topic.name.clone(), id: topic.id, partitions: topic.partitions.len() })
    }

    /// The topic as this version of a request names it.
    fn named(ctx: &RequestContext, name: &str, id: WireId) -> Result<Self, ErrorCode> {
        if ctx.api_version >= TOPIC_IDS {
            Self::by_id(ctx, Uuid::from_bytes(id.to_bytes())).ok_or(ErrorCode::UnknownTopicId)
        } else {
            Self::by_name(ctx, name).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
    }

    pub(super) fn partition(&self, index: i32) -> Result<u32, ErrorCode> {
        let found = u32::try_from(index).ok().filter(|&index| (index as usize) < self.partitions);
        found.ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

impl From<&internal_topics::InternalTopic> for Known {
    fn from(topic: &internal_topics::InternalTopic) -> Self {
        let partitions = usize::try_from(topic.partitions).unwrap_or(0);
        Self { name: topic.name.into(), id: topic.id, partitions }
    }
}

/// OffsetCommit. What does not exist is refused, the rest committed; all of it together is durable when this returns.
pub async fn commit(ctx: &RequestContext, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut offsets = Vec::new();
    // Per partition: why it is not asked of the coordinator, if so.
    let mut refusals: Vec<Vec<Option<ErrorCode>>> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        refusals.push(sort_out(ctx, topic, &mut offsets));
    }
    let outcomes = if offsets.is_empty() {
        Ok(Vec::new())
    } else {
        ctx.broker.groups.commit_offsets(commit_request(ctx, &request, offsets)).await
    };
    commit_response(request, &refusals, outcomes)
}

fn sort_out(
    ctx: &RequestContext,
    topic: &OffsetCommitRequestTopic,
    offsets: &mut Vec<OffsetToCommit>,
) -> Vec<Option<ErrorCode>> {
    let known = Known::named(ctx, &topic.name, topic.topic_id);
    let sorted = topic.partitions.iter().map(|partition| {
        let found = match &known {
            Ok(known) => known.partition(partition.partition_index).map(|index| (known.id, index)),
            Err(error) => Err(*error),
        };
        match found {
            Ok((topic, index)) => {
                offsets.push(OffsetToCommit {
                    topic,
                    partition: index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_deref().unwrap_or_default().to_owned(),
                });
                None
            }
            Err(error) => Some(error),
        }
    });
    sorted.collect()
}

fn commit_request(
    ctx: &RequestContext,
    request: &OffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
) -> CommitRequest {
    CommitRequest {
        group_id: (&*request.group_id).into(),
        member_id: (&*request.member_id).into(),
        instance_id: request.group_instance_id.as_deref().map(Arc::from),
        generation: request.generation_id_or_member_epoch,
        retention_ms: Some(request.retention_time_ms).filter(|&retention_ms| retention_ms != NONE),
        knows_group_not_found: ctx.api_version >= GROUP_NOT_FOUND,
        offsets,
    }
}

fn commit_response(
    request: OffsetCommitRequest,
    refusals: &[Vec<Option<ErrorCode>>],
    outcomes: Result<Vec<Result<(), GroupError>>, GroupError>,
) -> OffsetCommitResponse {
    let mut next = 0;
    let mut decided = || {
        let outcome = match &outcomes {
            Ok(each) => each.get(next).copied().expect("the coordinator answers each offset"),
            Err(error) => Err(*error),
        };
        next += 1;
        outcome.map_or_else(|error| ErrorCode::from(&error), |()| ErrorCode::None)
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for (topic, refusals) in request.topics.into_iter().zip(refusals) {
        let partitions = topic.partitions.iter().zip(refusals).map(|(partition, refusal)| {
            let error = refusal.unwrap_or_else(&mut decided);
            message!(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
        });
        let partitions = partitions.collect();
        topics.push(message!(OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: partitions,
        }));
    }
    message!(OffsetCommitResponse { topics: topics })
}

/// A topic asked for, as the request names it.
struct AskedTopic {
    name: StrBytes,
    id: WireId,
    partitions: Vec<i32>,
}

/// What is answered for one group, in no version's shape yet.
struct FetchedGroup {
    group_id: StrBytes,
    error: ErrorCode,
    topics: Vec<FetchedTopic>,
}

struct FetchedTopic {
    name: StrBytes,
    id: WireId,
    partitions: Vec<FetchedPartition>,
}

struct FetchedPartition {
    index: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    error: ErrorCode,
}

impl FetchedPartition {
    fn without_offset(index: i32, error: ErrorCode) -> Self {
        Self { index, offset: NONE, leader_epoch: -1, metadata: StrBytes::default(), error }
    }

    fn found(index: i32, found: &FetchedOffset, unstable: &HashSet<(Uuid, u32)>) -> Self {
        match &found.committed {
            _ if unstable.contains(&(found.topic, found.partition)) => {
                Self::without_offset(index, ErrorCode::UnstableOffsetCommit)
            }
            None => Self::without_offset(index, ErrorCode::None),
            Some(value) => Self {
                index,
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: value.metadata.as_str().into(),
                error: ErrorCode::None,
            },
        }
    }
}

/// OffsetFetch. Offsets are told once they are durable; with `require_stable`, not while a transaction that may change one
/// is open (KIP-447).
pub async fn fetch(ctx: &RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let stable = request.require_stable;
    let asked: Vec<(StrBytes, Option<Vec<AskedTopic>>)> = if ctx.api_version >= BATCHED_GROUPS {
        let groups = request.groups.into_iter().map(|group| {
            let topics = group.topics.map(|topics| {
                let asked = topics.into_iter().map(|topic| AskedTopic {
                    name: topic.name,
                    id: topic.topic_id,
                    partitions: topic.partition_indexes,
                });
                asked.collect()
            });
            (group.group_id, topics)
        });
        groups.collect()
    } else {
        let topics = request.topics.map(|topics| {
            let asked = topics.into_iter().map(|topic| AskedTopic {
                name: topic.name,
                id: WireId::ZERO,
                partitions: topic.partition_indexes,
            });
            asked.collect()
        });
        vec![(request.group_id, topics)]
    };
    let asked = distinct(asked, |(group_id, _)| group_id.clone());
    let fetched =
        asked.map(|(group_id, topics)| fetch_group(ctx, group_id, distinct_partitions(topics), stable));
    fetch_response(ctx.api_version, join_all(fetched).await)
}

fn distinct_partitions(topics: Option<Vec<AskedTopic>>) -> Option<Vec<AskedTopic>> {
    let mut topics = topics?;
    let mut seen = HashSet::new();
    for AskedTopic { name, id, partitions } in &mut topics {
        partitions.retain(|&index| seen.insert((name.clone(), *id, index)));
    }
    Some(topics)
}

async fn fetch_group(
    ctx: &RequestContext,
    group_id: StrBytes,
    asked: Option<Vec<AskedTopic>>,
    stable: bool,
) -> FetchedGroup {
    let Some(asked) = asked else { return fetch_all(ctx, group_id, stable).await };
    // Before the fetch: whatever ends after this was not there yet when the request came.
    let unstable = unstable(ctx, &group_id, stable);
    let mut wanted = Vec::new();
    let known: Vec<Result<Known, ErrorCode>> = asked
        .iter()
        .map(|topic| {
            let known = Known::named(ctx, &topic.name, topic.id);
            if let Ok(known) = &known {
                let indexes = topic.partitions.iter().filter_map(|&index| known.partition(index).ok());
                wanted.extend(indexes.map(|index| (known.id, index)));
            }
            known
        })
        .collect();
    let request = FetchRequest { group_id: (&*group_id).into(), partitions: Some(wanted) };
    let found = match ctx.broker.groups.fetch_offsets(request).await {
        Ok(found) => found,
        Err(error) => return failed(group_id, asked, error),
    };
    // The coordinator answers in the order of what was wanted.
    let mut found = found.iter();
    let topics = asked.into_iter().zip(known).map(|(topic, known)| {
        let partitions = topic.partitions.iter().map(|&index| match &known {
            Ok(known) if known.partition(index).is_ok() => {
                let found = found.next().expect("the coordinator answers each partition");
                FetchedPartition::found(index, found, &unstable)
            }
            Err(ErrorCode::UnknownTopicId) => {
                FetchedPartition::without_offset(index, ErrorCode::UnknownTopicId)
            }
            _ => FetchedPartition::without_offset(index, ErrorCode::None),
        });
        FetchedTopic { partitions: partitions.collect(), name: topic.name, id: topic.id }
    });
    FetchedGroup { topics: topics.collect(), group_id, error: ErrorCode::None }
}

/// The partitions that a transaction may yet change, if whoever asks will not have them.
fn unstable(ctx: &RequestContext, group_id: &str, stable: bool) -> HashSet<(Uuid, u32)> {
    if stable { ctx.broker.txns.pending_of(group_id).into_iter().collect() } else { HashSet::new() }
}

/// Every offset of a group; topics deleted a moment ago are left out.
async fn fetch_all(ctx: &RequestContext, group_id: StrBytes, stable: bool) -> FetchedGroup {
    let unstable = unstable(ctx, &group_id, stable);
    let request = FetchRequest { group_id: (&*group_id).into(), partitions: None };
    let found = match ctx.broker.groups.fetch_offsets(request).await {
        Ok(found) => found,
        Err(error) => return failed(group_id, Vec::new(), error),
    };
    let topics = found.chunk_by(|one, other| one.topic == other.topic).filter_map(|offsets| {
        let topic = Known::by_id(ctx, offsets.first()?.topic)?;
        let partitions = offsets.iter().filter_map(|offset| {
            let index = i32::try_from(offset.partition).ok()?;
            Some(FetchedPartition::found(index, offset, &unstable))
        });
        let id = WireId::from_bytes(*topic.id.as_bytes());
        Some(FetchedTopic { name: (&*topic.name).into(), id, partitions: partitions.collect() })
    });
    FetchedGroup { topics: topics.collect(), group_id, error: ErrorCode::None }
}

/// The whole group failed. Version 1 can say so only partition by partition, so those are kept for it.
fn failed(group_id: StrBytes, asked: Vec<AskedTopic>, error: GroupError) -> FetchedGroup {
    let error = ErrorCode::from(&error);
    let topics = asked.into_iter().map(|topic| FetchedTopic {
        partitions: topic
            .partitions
            .iter()
            .map(|&index| FetchedPartition::without_offset(index, error))
            .collect(),
        name: topic.name,
        id: topic.id,
    });
    FetchedGroup { topics: topics.collect(), group_id, error }
}

fn fetch_response(version: i16, groups: Vec<FetchedGroup>) -> OffsetFetchResponse {
    if version >= BATCHED_GROUPS {
        let groups = groups.into_iter().map(batched_group);
        return message!(OffsetFetchResponse { groups: groups.collect() });
    }
    let Some(group) = groups.into_iter().next() else { return OffsetFetchResponse::default() };
    if version >= TOP_LEVEL_ERROR && group.error != ErrorCode::None {
        return message!(OffsetFetchResponse { error_code: group.error.code() });
    }
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            message!(OffsetFetchResponsePartition {
                partition_index: partition.index,
                committed_offset: partition.offset,
                committed_leader_epoch: partition.leader_epoch,
                metadata: Some(partition.metadata),
                error_code: partition.error.code(),
            })
        });
        message!(OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() })
    });
    message!(OffsetFetchResponse { topics: topics.collect() })
}

fn batched_group(group: FetchedGroup) -> OffsetFetchResponseGroup {
    if group.error != ErrorCode::None {
        return message!(OffsetFetchResponseGroup {
            group_id: group.group_id,
            error_code: group.error.code()
        });
    }
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            message!(OffsetFetchResponsePartitions {
                partition_index: partition.index,
                committed_offset: partition.offset,
                committed_leader_epoch: partition.leader_epoch,
                metadata: Some(partition.metadata),
                error_code: partition.error.code(),
            })
        });
        message!(OffsetFetchResponseTopics {
            name: topic.name,
            topic_id: topic.id,
            partitions: partitions.collect(),
        })
    });
    message!(OffsetFetchResponseGroup { group_id: group.group_id, topics: topics.collect() })
}

/// Deletes what was committed, and what waits to be by transactions.
async fn delete_all(
    ctx: &RequestContext,
    asked: DeleteRequest,
) -> Result<Vec<Result<(), GroupError>>, ErrorCode> {
    let outcomes =
        ctx.broker.groups.delete_offsets(asked.clone()).await.map_err(|error| ErrorCode::from(&error))?;
    let deleted = asked.topics.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let deleted: HashSet<(Uuid, u32)> = deleted
        .flat_map(|((_, topic, partitions), _)| partitions.iter().map(|partition| (*topic, *partition)))
        .collect();
    let forgotten = ctx.broker.txns.forget_offsets(&asked.group_id, |partition| deleted.contains(partition));
    forgotten.await.map_err(|error| ErrorCode::from(&error))?;
    Ok(outcomes)
}

/// OffsetDelete. The group is asked even when nothing is left to delete, so that its own errors come first.
pub async fn delete(ctx: &RequestContext, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let known: Vec<Option<Known>> =
        request.topics.iter().map(|topic| Known::by_name(ctx, &topic.name)).collect();
    let asked = request.topics.iter().zip(&known).filter_map(|(topic, known)| {
        let known = known.as_ref()?;
        let indexes = topic.partitions.iter().filter_map(|asked| known.partition(asked.partition_index).ok());
        Some((known.name.clone(), known.id, indexes.collect()))
    });
    let asked = DeleteRequest { group_id: (&*request.group_id).into(), topics: asked.collect() };
    let outcomes = match delete_all(ctx, asked).await {
        Ok(outcomes) => outcomes,
        Err(error) => return message!(OffsetDeleteResponse { error_code: error.code() }),
    };
    let mut outcomes = outcomes.into_iter();
    let topics = request.topics.iter().zip(&known).map(|(topic, known)| {
        let outcome = known.as_ref().map(|_| outcomes.next().expect("the coordinator answers each topic"));
        let partitions = topic.partitions.iter().map(|asked| {
            let exists = known.as_ref().is_some_and(|known| known.partition(asked.partition_index).is_ok());
            let error = match &outcome {
                Some(Ok(())) if exists => ErrorCode::None,
                Some(Err(error)) if exists => ErrorCode::from(error),
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            message!(OffsetDeleteResponsePartition {
                partition_index: asked.partition_index,
                error_code: error.code(),
            })
        });
        message!(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: partitions.collect() })
    });
    message!(OffsetDeleteResponse { topics: topics.collect() })
}

#[cfg(test)]
mod tests;
