//! AddOffsetsToTxn and TxnOffsetCommit: offsets that count once their transaction commits.

use std::sync::Arc;

use chronik_engine::keys::group::OffsetValue;
use chronik_protocol::codec::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use chronik_protocol::codec::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use chronik_protocol::codec::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use chronik_protocol::message;

use super::{TELLS_FENCED, asker, code};
use crate::coordinator::group::{CommitRequest, OffsetToCommit};
use crate::coordinator::txn::{TopicPartition, TxnError};
use crate::error_code::ErrorCode;
use crate::handlers::group_offsets::Known;
use crate::request::RequestContext;

/// First version of TxnOffsetCommit that takes the group into the transaction by itself (KIP-890).
const IMPLICIT: i16 = 5;
/// First version of TxnOffsetCommit that knows TRANSACTION_ABORTABLE.
const TELLS_ABORTABLE: i16 = 4;

/// AddOffsetsToTxn.
pub async fn add(ctx: &RequestContext, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let asker = asker(&request.transactional_id, request.producer_id, request.producer_epoch, false);
    let added = ctx.broker.txns.add_group(&asker, &(&*request.group_id).into()).await;
    let error = added.err().map_or(ErrorCode::None, |error| code(&error, ctx.api_version >= TELLS_FENCED));
    ctx.broker.metrics.error(error);
    message!(AddOffsetsToTxnResponse { error_code: error.code() })
}

/// TxnOffsetCommit. What does not exist is refused, the rest waits for the transaction's end.
pub async fn commit(ctx: &RequestContext, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let mut offsets = Vec::new();
    let mut outcomes: Vec<Vec<ErrorCode>> = Vec::with_capacity(request.topics.len());
    // Where in `outcomes` the offsets are.
    let mut places = Vec::new();
    for topic in &request.topics {
        let known = Known::by_name(ctx, &topic.name);
        let mut of_topic = Vec::with_capacity(topic.partitions.len());
        for (position, partition) in topic.partitions.iter().enumerate() {
            let found = known.as_ref().ok_or(ErrorCode::UnknownTopicOrPartition);
            match found.and_then(|known| Ok((known.id, known.partition(partition.partition_index)?))) {
                Ok((id, index)) => {
                    places.push((outcomes.len(), position));
                    offsets.push(OffsetToCommit {
                        topic: id,
                        partition: index,
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition.committed_metadata.as_deref().unwrap_or_default().to_owned(),
                    });
                    of_topic.push(ErrorCode::None);
                }
                Err(error) => of_topic.push(error),
            }
        }
        outcomes.push(of_topic);
    }
    if !offsets.is_empty() {
        for ((topic, position), error) in places.into_iter().zip(add_all(ctx, &request, offsets).await) {
            outcomes[topic][position] = error;
        }
    }
    outcomes.iter().flatten().for_each(|error| ctx.broker.metrics.error(*error));
    let topics = request.topics.iter().zip(outcomes).map(|(topic, outcomes)| response_topic(topic, outcomes));
    message!(TxnOffsetCommitResponse { topics: topics.collect() })
}

/// The outcome of each offset, in order.
async fn add_all(
    ctx: &RequestContext,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
) -> Vec<ErrorCode> {
    let count = offsets.len();
    if request.transactional_id.is_empty() {
        return vec![ErrorCode::InvalidRequest; count];
    }
    if request.group_id.is_empty() {
        return vec![ErrorCode::InvalidGroupId; count];
    }
    let asker = asker(
        &request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        ctx.api_version >= IMPLICIT,
    );
    let group_id: Arc<str> = (&*request.group_id).into();
    let refused = |error: &TxnError| match error {
        TxnError::NotIncluded if ctx.api_version < TELLS_ABORTABLE => ErrorCode::InvalidTxnState,
        // Kafka's group coordinator tells clients of every version so.
        error => code(error, false),
    };
    // The transaction first: in Kafka it is begun although the group refuses.
    if let Err(error) = ctx.broker.txns.include_group(&asker, &group_id) {
        return vec![refused(&error); count];
    }
    let partitions: Vec<TopicPartition> =
        offsets.iter().map(|offset| (offset.topic, offset.partition)).collect();
    let admitted = match ctx.broker.groups.admit_transactional(commit_request(request, offsets)).await {
        Ok(admitted) => admitted,
        Err(error) => return vec![ErrorCode::from(&error); count],
    };
    let kept: Vec<(TopicPartition, OffsetValue)> = partitions
        .into_iter()
        .zip(&admitted)
        .filter_map(|(partition, admitted)| Some((partition, admitted.as_ref().ok()?.clone())))
        .collect();
    let added = ctx.broker.txns.add_offsets(&asker, &group_id, kept).await;
    let outcomes = admitted.iter().map(|admitted| match (admitted, &added) {
        (Err(error), _) => ErrorCode::from(error),
        (Ok(_), Ok(())) => ErrorCode::None,
        (Ok(_), Err(error)) => refused(error),
    });
    outcomes.collect()
}

fn commit_request(request: &TxnOffsetCommitRequest, offsets: Vec<OffsetToCommit>) -> CommitRequest {
    CommitRequest {
        group_id: (&*request.group_id).into(),
        member_id: (&*request.member_id).into(),
        instance_id: request.group_instance_id.as_deref().map(Arc::from),
        generation: request.generation_id_or_member_epoch,
        retention_ms: None,
        knows_group_not_found: false,
        offsets,
    }
}

fn response_topic(
    topic: &TxnOffsetCommitRequestTopic,
    outcomes: Vec<ErrorCode>,
) -> TxnOffsetCommitResponseTopic {
    let partitions = topic.partitions.iter().zip(outcomes).map(|(partition, error)| {
        message!(TxnOffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: error.code(),
        })
    });
    message!(TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
    })
}
