//! ListOffsets and OffsetForLeaderEpoch: where a log begins, ends, and passed a moment.
//!
//! Nothing at or above the high watermark is told, whoever asks: it is not durable yet.

use std::collections::HashMap;
use std::sync::Arc;

use chronik_engine::log::{PartitionLog, TimestampOffset};
use chronik_protocol::codec::messages::list_offsets_request::ListOffsetsPartition;
use chronik_protocol::codec::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use chronik_protocol::codec::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use chronik_protocol::codec::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use chronik_protocol::codec::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use chronik_protocol::message;
use chronik_tiering::read::RemoteError;
use futures_util::{StreamExt, stream};

use super::lookup::{self, NO_EPOCH, Place};
use crate::error_code::ErrorCode;
use crate::request::RequestContext;

/// `READ_COMMITTED` on the wire.
const READ_COMMITTED: i8 = 1;

/// "None" on the wire, for an offset or a timestamp.
const NONE: i64 = -1;

/// What may be asked besides a time (Kafka's `ListOffsetsRequest`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Latest,
    Earliest,
    MaxTimestamp,
    EarliestLocal,
    LatestTiered,
    EarliestPendingUpload,
    AtOrAfter(i64),
}

impl Question {
    /// Reads a timestamp field. A special one below the version that brought it is none.
    fn parse(timestamp: i64, version: i16) -> Option<Self> {
        let (question, since) = match timestamp {
            0.. => (Self::AtOrAfter(timestamp), 1),
            -1 => (Self::Latest, 1),
            -2 => (Self::Earliest, 1),
            -3 => (Self::MaxTimestamp, 7),
            -4 => (Self::EarliestLocal, 8),
            -5 => (Self::LatestTiered, 9),
            -6 => (Self::EarliestPendingUpload, 11),
            _ => return None,
        };
        (version >= since).then_some(question)
    }
}

/// An answer: all -1 when there is no such record, which is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

const NO_SUCH_RECORD: Answer = Answer { offset: NONE, timestamp: NONE, leader_epoch: NO_EPOCH };

/// Partitions that are looked into at the same time.
const FOUND_AT_ONCE: usize = 16;

/// Answers ListOffsets.
pub async fn handle(ctx: &RequestContext, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut times: HashMap<(&str, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times.entry((&topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let committed_only = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut asked = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            // Once named twice, a partition is answered once, at its first place.
            let times = times.remove(&(&*topic.name, partition.partition_index));
            asked.extend(times.map(|times| (partition, times)));
        }
        let answers = asked.into_iter().map(|(partition, times)| async move {
            let found = match times {
                1 => find(ctx, &topic.name, partition, committed_only).await,
                _ => Err(ErrorCode::InvalidRequest),
            };
            wire_answer(ctx.api_version, partition.partition_index, found)
        });
        let answers: Vec<_> = answers.collect();
        // Times of what is in object storage alone are asked for there.
        let partitions: Vec<_> = stream::iter(answers).buffered(FOUND_AT_ONCE).collect().await;
        topics.push(message!(ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions }));
    }
    message!(ListOffsetsResponse { topics: topics })
}

async fn find(
    ctx: &RequestContext,
    topic: &str,
    partition: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<Answer, ErrorCode> {
    let question =
        Question::parse(partition.timestamp, ctx.api_version).ok_or(ErrorCode::UnsupportedVersion)?;
    match lookup::find(ctx, topic, partition.partition_index)? {
        Place::Virtual => {
            lookup::check_leader_epoch(0, partition.current_leader_epoch)?;
            Ok(match question {
                Question::Latest | Question::Earliest | Question::EarliestLocal => {
                    Answer { offset: 0, timestamp: NONE, leader_epoch: 0 }
                }
                _ => NO_SUCH_RECORD,
            })
        }
        Place::Log(log) => {
            lookup::check_leader_epoch(log.leader_epoch(), partition.current_leader_epoch)?;
            answer(ctx, &log, question, committed_only).await.map_err(|error| ErrorCode::from(&error))
        }
    }
}

async fn answer(
    ctx: &RequestContext,
    log: &Arc<PartitionLog>,
    question: Question,
    committed_only: bool,
) -> Result<Answer, RemoteError> {
    log.check_online()?;
    let offsets = log.offsets();
    // A new epoch begins at the end of what is durable, so the watermark never lags behind its start, which is when
    // Kafka answers OFFSET_NOT_AVAILABLE.
    let visible_end = if committed_only { offsets.last_stable_offset } else { offsets.high_watermark };
    match question {
        Question::Latest => {
            Ok(Answer { offset: visible_end, timestamp: NONE, leader_epoch: log.leader_epoch() })
        }
        Question::Earliest => Ok(start_at(log, offsets.log_start_offset)),
        Question::EarliestLocal => Ok(start_at(log, offsets.local_from.max(offsets.log_start_offset))),
        // Kafka's `RemoteLogManager` tells of a topic that is not tiered that there is nothing.
        Question::LatestTiered => Ok(match log.copied_to() {
            Some(copied_to) => start_at(log, copied_to - 1),
            None => NO_SUCH_RECORD,
        }),
        Question::EarliestPendingUpload => Ok(match log.copied_to() {
            Some(copied_to) => start_at(log, copied_to),
            None if log.config().remote_storage => start_at(log, offsets.log_start_offset),
            None => NO_SUCH_RECORD,
        }),
        Question::MaxTimestamp => {
            let found = match log.has_remote() {
                true => ctx.broker.tier.reader().await.offset_of_max_timestamp(log).await?,
                false => log.offset_of_max_timestamp().await?,
            };
            Ok(record_below(visible_end, found))
        }
        Question::AtOrAfter(timestamp) => {
            let found = match log.has_remote() {
                true => ctx.broker.tier.reader().await.offset_for_timestamp(log, timestamp).await?,
                false => log.offset_for_timestamp(timestamp).await?,
            };
            Ok(record_below(visible_end, found))
        }
    }
}

/// An offset with its leader epoch, and no time.
fn start_at(log: &PartitionLog, offset: i64) -> Answer {
    Answer { offset, timestamp: NONE, leader_epoch: log.epoch_of_offset(offset) }
}

fn record_below(end: i64, found: Option<TimestampOffset>) -> Answer {
    match found {
        Some(found) if found.offset < end => {
            Answer { offset: found.offset, timestamp: found.timestamp_ms, leader_epoch: found.leader_epoch }
        }
        _ => NO_SUCH_RECORD,
    }
}

/// First version that tells leader epochs.
const TELLS_EPOCHS: i16 = 4;

fn wire_answer(
    version: i16,
    partition: i32,
    found: Result<Answer, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let error = found.err().unwrap_or(ErrorCode::None);
    let answer = found.unwrap_or(NO_SUCH_RECORD);
    message!(ListOffsetsPartitionResponse {
        partition_index: partition,
        error_code: error.code(),
        timestamp: answer.timestamp,
        offset: answer.offset,
        leader_epoch: if version >= TELLS_EPOCHS { answer.leader_epoch } else { NO_EPOCH },
    })
}

/// Answers OffsetForLeaderEpoch (KIP-320): where an epoch ended, so that a client can tell whether what it read is
/// still there.
pub async fn for_leader_epoch(
    ctx: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let found = epoch_end(ctx, &topic.topic, partition);
            let error = found.err().unwrap_or(ErrorCode::None);
            let (epoch, end_offset) = found.ok().flatten().unwrap_or((NO_EPOCH, NONE));
            message!(EpochEndOffset {
                error_code: error.code(),
                partition: partition.partition,
                leader_epoch: epoch,
                end_offset: end_offset,
            })
        });
        message!(OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions: partitions.collect() })
    });
    message!(OffsetForLeaderEpochResponse { topics: topics.collect() })
}

fn epoch_end(
    ctx: &RequestContext,
    topic: &str,
    partition: &OffsetForLeaderPartition,
) -> Result<Option<(i32, i64)>, ErrorCode> {
    let asked = partition.leader_epoch;
    match lookup::find(ctx, topic, partition.partition)? {
        Place::Virtual => {
            lookup::check_leader_epoch(0, partition.current_leader_epoch)?;
            Ok((asked == 0).then_some((0, 0)))
        }
        Place::Log(log) => {
            let current = log.leader_epoch();
            lookup::check_leader_epoch(current, partition.current_leader_epoch)?;
            log.check_online().map_err(|error| ErrorCode::from(&error))?;
            let found = log.end_offset_for_epoch(asked);
            // An epoch older than all that the log remembers ended no later than the log begins
            // (Kafka's `LeaderEpochFileCache.endOffsetFor`).
            let forgotten = || (0..current).contains(&asked).then(|| (asked, log.offsets().log_start_offset));
            Ok(found.or_else(forgotten))
        }
    }
}

#[cfg(test)]
mod tests;
