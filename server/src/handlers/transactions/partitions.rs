//! AddPartitionsToTxn: all or nothing for each transaction (Kafka's `KafkaApis.handleAddPartitionsToTxnRequest`).

use chronik_engine::topic::TopicMap;
use chronik_protocol::codec::StrBytes;
use chronik_protocol::codec::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use chronik_protocol::codec::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use chronik_protocol::codec::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use chronik_protocol::message;
use futures_util::future::join_all;

use super::{TELLS_FENCED, asker, code};
use crate::coordinator::txn::TopicPartition;
use crate::error_code::ErrorCode;
use crate::internal_topics;
use crate::request::RequestContext;

/// First version that takes several transactions at once, and may ask only whether partitions are in them.
const BATCHED: i16 = 4;

/// AddPartitionsToTxn.
pub async fn add(ctx: &RequestContext, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    if ctx.api_version >= BATCHED {
        let added = request.transactions.iter().map(|transaction| async {
            message!(AddPartitionsToTxnResult {
                transactional_id: transaction.transactional_id.clone(),
                topic_results: add_to_one(ctx, transaction).await,
            })
        });
        return message!(AddPartitionsToTxnResponse { results_by_transaction: join_all(added).await });
    }
    let transaction = message!(AddPartitionsToTxnTransaction {
        transactional_id: request.v3_and_below_transactional_id,
        producer_id: request.v3_and_below_producer_id,
        producer_epoch: request.v3_and_below_producer_epoch,
        topics: request.v3_and_below_topics,
    });
    message!(AddPartitionsToTxnResponse {
        results_by_topic_v3_and_below: add_to_one(ctx, &transaction).await,
    })
}

async fn add_to_one(
    ctx: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = |outcome: &mut dyn FnMut() -> ErrorCode| results(ctx, &transaction.topics, outcome);
    if transaction.transactional_id.is_empty() {
        return results(&mut || ErrorCode::InvalidRequest);
    }
    let known = ctx.broker.engine.topics();
    let named = transaction.topics.iter();
    let asked = named.flat_map(|topic| topic.partitions.iter().map(|index| (&topic.name, *index)));
    let found: Vec<Result<TopicPartition, ErrorCode>> =
        asked.map(|(topic, index)| place(&known, topic, index)).collect();
    if found.iter().any(Result::is_err) {
        let mut found = found.into_iter();
        return results(&mut || match found.next() {
            Some(Err(error)) => error,
            _ => ErrorCode::OperationNotAttempted,
        });
    }
    let found: Vec<TopicPartition> = found.into_iter().flatten().collect();
    // Clients of version 2 add partitions by writing to them; who asks here is of version 1.
    let asker =
        asker(&transaction.transactional_id, transaction.producer_id, transaction.producer_epoch, false);
    let txns = &ctx.broker.txns;
    let refused = |error| {
        let code = code(&error, ctx.api_version >= TELLS_FENCED);
        results(&mut || code)
    };
    if !transaction.verify_only {
        return match txns.add_partitions(&asker, &found).await {
            Ok(()) => results(&mut || ErrorCode::None),
            Err(error) => refused(error),
        };
    }
    match txns.verify(&asker, &found).await {
        Ok(included) => {
            let mut included = included.into_iter();
            results(&mut || match included.next() {
                Some(true) => ErrorCode::None,
                _ => ErrorCode::TransactionAbortable,
            })
        }
        Err(error) => refused(error),
    }
}

/// The partition, or why it cannot be in a transaction.
fn place(topics: &TopicMap, name: &StrBytes, index: i32) -> Result<TopicPartition, ErrorCode> {
    if internal_topics::is_internal(name) {
        // The broker's own; in Kafka nobody but brokers may write there.
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let topic = topics.get(name).filter(|topic| topic.log(index).is_some());
    let found = topic.and_then(|topic| Some((topic.id, u32::try_from(index).ok()?)));
    found.ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// An answer for each partition, in order.
fn results(
    ctx: &RequestContext,
    topics: &[AddPartitionsToTxnTopic],
    outcome: &mut dyn FnMut() -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            let error = outcome();
            ctx.broker.metrics.error(error);
            message!(AddPartitionsToTxnPartitionResult {
                partition_index: *index,
                partition_error_code: error.code(),
            })
        });
        let partitions = partitions.collect();
        message!(AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition: partitions })
    });
    results.collect()
}
