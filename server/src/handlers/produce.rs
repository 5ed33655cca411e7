//! Produce (KIP-98 and later; Kafka's `KafkaApis.handleProduceRequest` and `ReplicaManager.appendRecords`).
//!
//! The first half runs when the request arrives, in the order of the connection: decode, check, assign offsets, hand
//! to the store. The second half waits for the disk and answers. `acks=1` and `acks=all` alike wait for the fsync.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_engine::Engine;
use chronik_engine::error::AppendError;
use chronik_engine::log::{Appended, LogConfig, PartitionLog, Vouched};
use chronik_engine::store::{StoreError, Ticket};
use chronik_engine::topic::{Topic, TopicMap};
use chronik_protocol::batch::{
    BatchHeader, Compression, ValidBatch, ValidateError, ValidateOptions, validate,
};
use chronik_protocol::codec::messages::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::codec::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use chronik_protocol::codec::{self, StrBytes, messages};
use chronik_protocol::message;

use crate::coordinator::txn::{Asker, TxnError};
use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::net::{Hold, Reply};
use crate::request::{ReplyFuture, RequestContext, RequestError};

/// First version that may carry zstd (KIP-110).
const FIRST_ZSTD_VERSION: i16 = 7;
/// Frames up to this many bytes are not worth copying a batch out of.
const SLICED_FRAME_BYTES: usize = 4096;

/// First version that names topics by id (KIP-516).
const FIRST_TOPIC_ID_VERSION: i16 = 13;

/// First version that takes partitions into the transaction by writing to them (KIP-890).
const FIRST_IMPLICIT_VERSION: i16 = 12;
/// First version that knows TRANSACTION_ABORTABLE.
const FIRST_ABORTABLE_VERSION: i16 = 11;

/// What became of one partition's records so far.
enum Outcome {
    Appended(Accepted),
    Refused(Refusal),
}

/// Records that the log has taken.
struct Accepted {
    appended: Appended,
    /// The decision that let them in, if it may not be durable yet.
    decided: Option<Ticket>,
}

impl Accepted {
    /// Whether all that the answer rests on is durable, once that is known.
    fn outcome(&self) -> Option<Result<(), StoreError>> {
        let decided = self.decided.as_ref().map_or(Some(Ok(())), Ticket::outcome);
        match (self.appended.ticket.outcome()?, decided?) {
            (Ok(()), decided) => Some(decided),
            (failed, _) => Some(failed),
        }
    }

    async fn durable(&self) -> Result<(), StoreError> {
        self.appended.ticket.clone().await?;
        match self.decided.clone() {
            Some(decided) => decided.await,
            None => Ok(()),
        }
    }
}

struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
    log_start_offset: i64,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<Option<String>>) -> Self {
        Self { code, message: message.into(), record_errors: Vec::new(), log_start_offset: -1 }
    }
}

struct TopicOutcome {
    name: StrBytes,
    topic_id: codec::Uuid,
    partitions: Vec<(i32, Outcome)>,
}

/// See [`crate::dispatch::Api::start`].
pub fn start(ctx: RequestContext, body: Bytes, hold: Hold) -> ReplyFuture {
    let frame_bytes = body.len();
    let request = match codec::decode_body::<messages::ProduceRequest>(body, ctx.api_version) {
        Ok(request) => request,
        Err(error) => return Box::pin(std::future::ready(Err(RequestError::Decode(error)))),
    };
    let (acks, timeout_ms) = (request.acks, request.timeout_ms);
    let topic_data = request.topic_data;
    let topics = ctx.broker.engine.topics();
    let mut appender = Appender {
        ctx: &ctx,
        topics: &topics,
        acks,
        transactional_id: request.transactional_id,
        now_ms: ctx.broker.clock.now_ms(),
        frame_bytes,
        accepted_bytes: 0,
        slices: Vec::new(),
    };
    let outcomes = topic_data.into_iter().map(|topic| appender.topic(topic)).collect();
    appender.detach();
    Box::pin(async move {
        let reply = finish(ctx, acks, timeout_ms, outcomes).await;
        drop(hold);
        reply
    })
}

async fn finish(
    ctx: RequestContext,
    acks: i16,
    timeout_ms: i32,
    mut outcomes: Vec<TopicOutcome>,
) -> Result<Reply, RequestError> {
    // KIP-13 and Kafka's DelayedProduce: the timeout concerns acks=all alone; the data may be appended all the same.
    let timeout = (acks == -1).then(|| Duration::from_millis(timeout_ms.max(0) as u64));
    let durable = wait_durable(&mut outcomes);
    let timed_out = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, durable).await.is_err(),
        None => {
            durable.await;
            false
        }
    };
    if timed_out {
        mark_timed_out(&mut outcomes);
    }
    let metrics = &ctx.broker.metrics;
    metrics.produce_latency.record(ctx.received.elapsed().as_secs_f64());
    if acks == 0 {
        let refused =
            outcomes.iter().flat_map(|topic| &topic.partitions).find_map(|(_, outcome)| match outcome {
                Outcome::Refused(refusal) => Some(refusal.code),
                Outcome::Appended(_) => None,
            });
        return match refused {
            Some(code) => Err(RequestError::UnacknowledgedProduce(code.code())),
            None => Ok(Reply::none()),
        };
    }
    for (_, outcome) in outcomes.iter().flat_map(|topic| &topic.partitions) {
        if let Outcome::Refused(refusal) = outcome {
            metrics.error(refusal.code);
        }
    }
    let response =
        message!(messages::ProduceResponse { responses: outcomes.into_iter().map(topic_response).collect() });
    let frame = codec::encode_response(ctx.correlation_id, &response, ctx.api_version)
        .map_err(RequestError::Encode)?;
    Ok(Reply::frame(frame))
}

/// Waits for each appended batch; one whose commit failed turns into a refusal. Its data may or may not be there
/// after the restart that follows.
async fn wait_durable(outcomes: &mut [TopicOutcome]) {
    for (_, outcome) in outcomes.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if let Outcome::Appended(accepted) = outcome
            && let Err(error) = accepted.durable().await
        {
            *outcome = Outcome::Refused(not_stored(&error));
        }
    }
}

fn mark_timed_out(outcomes: &mut [TopicOutcome]) {
    for (_, outcome) in outcomes.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let Outcome::Appended(accepted) = outcome else { continue };
        match accepted.outcome() {
            Some(Ok(())) => {}
            Some(Err(error)) => *outcome = Outcome::Refused(not_stored(&error)),
            None => *outcome = Outcome::Refused(Refusal::new(ErrorCode::RequestTimedOut, None)),
        }
    }
}

fn not_stored(error: &StoreError) -> Refusal {
    Refusal::new(ErrorCode::from(error), error.to_string())
}

/// The first half of one request.
struct Appender<'a> {
    ctx: &'a RequestContext,
    topics: &'a TopicMap,
    acks: i16,
    transactional_id: Option<StrBytes>,
    now_ms: i64,
    frame_bytes: usize,
    accepted_bytes: usize,
    /// Accepted batches, by log and base offset, that are a small part of the frame each.
    slices: Vec<(Arc<PartitionLog>, i64)>,
}

impl Appender<'_> {
    /// Frees the frame of what was not accepted. The tail ring counts a batch's own bytes, and would keep all of a
    /// frame alive for a batch in it.
    fn detach(self) {
        if self.accepted_bytes * 2 < self.frame_bytes {
            self.slices.into_iter().for_each(|(log, base_offset)| log.detach(base_offset));
        }
    }

    fn topic(&mut self, data: TopicProduceData) -> TopicOutcome {
        let found = self.find(&data);
        let partitions = data
            .partition_data
            .into_iter()
            .map(|partition| {
                let index = partition.index;
                let outcome = match &found {
                    Ok(topic) => self.partition(topic, partition),
                    Err(code) => Err(Refusal::new(*code, None)),
                };
                (index, outcome.map_or_else(Outcome::Refused, Outcome::Appended))
            })
            .collect();
        TopicOutcome { name: data.name, topic_id: data.topic_id, partitions }
    }

    fn find(&self, data: &TopicProduceData) -> Result<Arc<Topic>, ErrorCode> {
        if !matches!(self.acks, -1..=1) {
            return Err(ErrorCode::InvalidRequiredAcks);
        }
        if self.ctx.api_version >= FIRST_TOPIC_ID_VERSION {
            let id = uuid::Uuid::from_bytes(data.topic_id.to_bytes());
            if internal_topics::find_by_id(&id).is_some() {
                return Err(ErrorCode::InvalidTopicException);
            }
            return self.topics.get_by_id(&id).cloned().ok_or(ErrorCode::UnknownTopicId);
        }
        if internal_topics::find(&data.name).is_some() {
            return Err(ErrorCode::InvalidTopicException);
        }
        self.topics.get(&data.name).cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    fn partition(&mut self, topic: &Topic, data: PartitionProduceData) -> Result<Accepted, Refusal> {
        let engine: &Engine = &self.ctx.broker.engine;
        let metrics = &self.ctx.broker.metrics;
        let log =
            topic.log(data.index).ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, None))?;
        let config = log.config();
        if !engine.is_writable() {
            return Err(refused_append(&AppendError::DiskFull));
        }
        let records = data.records.unwrap_or_default();
        self.check_attributes(&records)?;
        let batch = validate(records, &options(&config, self.now_ms))
            .map_err(|error| refused_records(&error, log))?;
        if batch.bytes.len() as u64 > config.segment_bytes {
            return Err(Refusal::new(ErrorCode::RecordListTooLarge, None));
        }
        let count = u64::from(batch.header.record_count.unsigned_abs());
        metrics.messages_received.increment(count);
        metrics.bytes_received.increment(batch.bytes.len() as u64);
        let accepted = self.append(topic, data.index, log, &batch)?;
        let appended = &accepted.appended;
        if !appended.duplicate {
            metrics.messages_stored.increment(count);
            self.accepted_bytes += batch.bytes.len();
            if batch.bytes.len() * 2 < self.frame_bytes && self.frame_bytes > SLICED_FRAME_BYTES {
                self.slices.push((log.clone(), appended.base_offset));
            }
        }
        Ok(accepted)
    }

    fn append(
        &self,
        topic: &Topic,
        index: i32,
        log: &Arc<PartitionLog>,
        batch: &ValidBatch,
    ) -> Result<Accepted, Refusal> {
        let refused = |error: AppendError| Refusal {
            // Kafka tells the start with a refused sequence: the client decides by it whether its data is gone.
            log_start_offset: log.offsets().log_start_offset,
            ..refused_append(&error)
        };
        match (log.append(batch, self.now_ms), &self.transactional_id) {
            (Ok(appended), _) => Ok(Accepted { appended, decided: None }),
            (Err(AppendError::NoTransaction { .. }), Some(id)) => {
                let (appended, decided) =
                    self.append_first(id, (topic.id, index.unsigned_abs()), log, batch)?;
                Ok(Accepted { appended: appended.map_err(refused)?, decided: Some(decided) })
            }
            (Err(error), _) => Err(refused(error)),
        }
    }

    /// The first batch of a transaction on this log: the coordinator has to know of it.
    fn append_first(
        &self,
        transactional_id: &StrBytes,
        partition: (uuid::Uuid, u32),
        log: &Arc<PartitionLog>,
        batch: &ValidBatch,
    ) -> Result<(Result<Appended, AppendError>, Ticket), Refusal> {
        let implicit = self.ctx.api_version >= FIRST_IMPLICIT_VERSION;
        let asker = Asker {
            transactional_id: (&**transactional_id).into(),
            producer_id: batch.header.producer_id,
            producer_epoch: batch.header.producer_epoch,
            raises_epochs: implicit,
        };
        let vouched = if implicit { Vouched::Implicitly } else { Vouched::Explicitly };
        let append = || log.append_vouched(batch, self.now_ms, vouched);
        self.ctx.broker.txns.append_first(&asker, partition, append).map_err(|error| {
            let code = match (ErrorCode::from(&error), error) {
                (_, TxnError::NotIncluded) if self.ctx.api_version < FIRST_ABORTABLE_VERSION => {
                    ErrorCode::InvalidTxnState
                }
                // Kafka's partition leaders say so for the coordinator.
                (ErrorCode::ProducerFenced, _) => ErrorCode::InvalidProducerEpoch,
                // Older clients give up on what is new to them, and send the same again for this one.
                (ErrorCode::ConcurrentTransactions, _) if !implicit => ErrorCode::NotEnoughReplicas,
                (code, _) => code,
            };
            Refusal::new(code, error.to_string())
        })
    }

    /// What the batch's attributes may not say in this request: zstd before KIP-110, a transaction without an id (the
    /// id is what would be authorised).
    fn check_attributes(&self, records: &Bytes) -> Result<(), Refusal> {
        let Ok(header) = BatchHeader::parse(records) else { return Ok(()) };
        if header.is_transactional() && self.transactional_id.is_none() {
            return Err(Refusal::new(ErrorCode::TransactionalIdAuthorizationFailed, None));
        }
        if self.ctx.api_version < FIRST_ZSTD_VERSION && matches!(header.compression(), Ok(Compression::Zstd))
        {
            return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, None));
        }
        Ok(())
    }
}

fn options(config: &LogConfig, now_ms: i64) -> ValidateOptions {
    ValidateOptions {
        now_ms,
        max_batch_bytes: config.max_message_bytes,
        timestamp_type: config.timestamp_type,
        before_max_ms: config.timestamp_before_max_ms,
        after_max_ms: config.timestamp_after_max_ms,
        require_keys: config.cleanup_compact,
        compression: config.compression,
        max_decompressed_bytes: DECOMPRESSED_BATCH_BYTES_MAX,
    }
}

fn refused_append(error: &AppendError) -> Refusal {
    Refusal::new(ErrorCode::from(error), error.to_string())
}

fn refused_records(error: &ValidateError, log: &PartitionLog) -> Refusal {
    let mut refusal = Refusal::new(ErrorCode::from(error), error.to_string());
    // Kafka's `ReplicaManager.appendToLocalLog`: these are told before the log is looked at.
    let before_the_log = matches!(
        error,
        ValidateError::Empty
            | ValidateError::NotOneBatch
            | ValidateError::Magic(_)
            | ValidateError::TooLarge { .. }
            | ValidateError::Corrupt(_)
    );
    if !before_the_log {
        refusal.log_start_offset = log.offsets().log_start_offset;
    }
    if let ValidateError::Records { errors, .. } = error {
        refusal.record_errors = errors.clone();
    }
    refusal
}

fn topic_response(outcome: TopicOutcome) -> TopicProduceResponse {
    message!(TopicProduceResponse {
        name: outcome.name,
        topic_id: outcome.topic_id,
        partition_responses: outcome
            .partitions
            .into_iter()
            .map(|(index, outcome)| partition_response(index, outcome))
            .collect(),
    })
}

fn partition_response(index: i32, outcome: Outcome) -> PartitionProduceResponse {
    match outcome {
        Outcome::Appended(Accepted { appended, .. }) => message!(PartitionProduceResponse {
            index: index,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: appended.log_start_offset,
        }),
        Outcome::Refused(refusal) => message!(PartitionProduceResponse {
            index: index,
            error_code: refusal.code.code(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: refusal.log_start_offset,
            record_errors: refusal.record_errors.into_iter().map(record_error).collect(),
            error_message: refusal.message.map(StrBytes::from),
        }),
    }
}

fn record_error((batch_index, message): (i32, String)) -> BatchIndexAndErrorMessage {
    message!(BatchIndexAndErrorMessage {
        batch_index: batch_index,
        batch_index_error_message: Some(StrBytes::from(message)),
    })
}
