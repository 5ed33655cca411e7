//! DeleteRecords and DescribeProducers: what a partition keeps of records and of their writers.

use std::time::Duration;

use chronik_engine::log::PartitionLog;
use chronik_engine::store::Ticket;
use chronik_protocol::codec::StrBytes;
use chronik_protocol::codec::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use chronik_protocol::codec::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use chronik_protocol::codec::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeProducersRequest, DescribeProducersResponse,
};
use chronik_protocol::message;
use std::sync::Arc;

use super::distinct::distinct;
use super::lookup::{self, Place};
use super::refusal::{Refusal, outcome};
use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::request::RequestContext;
use crate::topic_rules;

/// Asks for everything that is visible to be deleted.
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// "None" on the wire: an unknown low watermark, no transaction, no coordinator.
const NONE: i64 = -1;

/// Answers DeleteRecords. The new start is durable before it is told: a deleted record must not come back.
pub async fn delete(ctx: &RequestContext, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    // First everything is asked for, then waited for: one fsync serves all partitions.
    let mut asked: Vec<(StrBytes, Vec<Asked>)> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|partition| Asked {
            index: partition.partition_index,
            outcome: move_start(ctx, &topic.name, partition.partition_index, partition.offset),
        });
        asked.push((topic.name.clone(), partitions.collect()));
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = tokio::time::Instant::now() + timeout;
    let mut topics = Vec::with_capacity(asked.len());
    for (name, partitions) in asked {
        let mut results = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let low_watermark = match partition.outcome {
                Ok((start, ticket)) => durable(start, ticket, deadline).await,
                Err(code) => Err(code),
            };
            results.push(message!(DeleteRecordsPartitionResult {
                partition_index: partition.index,
                low_watermark: low_watermark.unwrap_or(NONE),
                error_code: low_watermark.err().unwrap_or(ErrorCode::None).code(),
            }));
        }
        topics.push(message!(DeleteRecordsTopicResult { name: name, partitions: results }));
    }
    message!(DeleteRecordsResponse { topics: topics })
}

struct Asked {
    index: i32,
    outcome: Result<(i64, Ticket), ErrorCode>,
}

fn move_start(
    ctx: &RequestContext,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(i64, Ticket), ErrorCode> {
    if internal_topics::find(topic).is_some() {
        return Err(ErrorCode::InvalidTopicException);
    }
    let Place::Log(log) = lookup::find(ctx, topic, partition)? else {
        return Err(ErrorCode::UnknownTopicOrPartition);
    };
    // A compacted topic promises to keep the newest record of each key.
    if !log.config().cleanup_delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let offset = if offset == UP_TO_HIGH_WATERMARK { None } else { Some(offset) };
    log.delete_records(offset).map_err(|error| ErrorCode::from(&error))
}

async fn durable(start: i64, ticket: Ticket, deadline: tokio::time::Instant) -> Result<i64, ErrorCode> {
    match tokio::time::timeout_at(deadline, ticket).await {
        Ok(Ok(())) => Ok(start),
        Ok(Err(error)) => Err(ErrorCode::from(&error)),
        Err(_) => Err(ErrorCode::RequestTimedOut),
    }
}

/// Answers DescribeProducers.
pub async fn describe_producers(
    ctx: &RequestContext,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = distinct(&request.topics, |topic| topic.name.clone()).map(|topic| {
        let partitions = distinct(&topic.partition_indexes, |index| **index).map(|index| {
            let found = producers(ctx, &topic.name, *index);
            let (error_code, error_message) = outcome(&found);
            message!(PartitionResponse {
                partition_index: *index,
                error_code: error_code,
                error_message: error_message,
                active_producers: found.unwrap_or_default(),
            })
        });
        message!(TopicResponse { name: topic.name.clone(), partitions: partitions.collect() })
    });
    message!(DescribeProducersResponse { topics: topics.collect() })
}

fn producers(ctx: &RequestContext, topic: &str, partition: i32) -> Result<Vec<ProducerState>, Refusal> {
    topic_rules::validate(topic).map_err(|reason| Refusal::new(ErrorCode::InvalidTopicException, reason))?;
    match lookup::find(ctx, topic, partition) {
        Ok(Place::Log(log)) => Ok(active_producers(&log)),
        Ok(Place::Virtual) => Ok(Vec::new()),
        Err(_) => Err(Refusal::unknown_topic()),
    }
}

fn active_producers(log: &Arc<PartitionLog>) -> Vec<ProducerState> {
    let producers = log.producers().into_iter().map(|(producer_id, state)| {
        message!(ProducerState {
            producer_id: producer_id,
            producer_epoch: i32::from(state.epoch),
            last_sequence: state.last_sequence(),
            last_timestamp: state.last_ms,
            coordinator_epoch: state.coordinator_epoch,
            current_txn_start_offset: state.txn_first_offset.unwrap_or(NONE),
        })
    });
    producers.collect()
}

#[cfg(test)]
mod tests;
