//! AddPartitionsToTxn: all or nothing for each transaction (Kafka's `KafkaApis.handleAddPartitionsToTxnRequest`).

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
    let topics = &transaction.topics;
    if transaction.transactional_id.is_empty() {
        return results(topics, |_, _| ErrorCode::InvalidRequest);
    }
    let found: Option<Vec<TopicPartition>> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| place(ctx, &topic.name, *index)))
        .collect();
    let Some(found) = found else {
        return results(topics, |topic, index| match place(ctx, topic, index) {
            Some(_) => ErrorCode::OperationNotAttempted,
            None => ErrorCode::UnknownTopicOrPartition,
        });
    };
    // Clients of version 2 add partitions by writing to them; who asks here is of version 1.
    let asker =
        asker(&transaction.transactional_id, transaction.producer_id, transaction.producer_epoch, false);
    let txns = &ctx.broker.txns;
    let refused = |error| {
        let code = code(&error, ctx.api_version >= TELLS_FENCED);
        ctx.broker.metrics.error(code);
        results(topics, |_, _| code)
    };
    if !transaction.verify_only {
        return match txns.add_partitions(&asker, &found).await {
            Ok(()) => results(topics, |_, _| ErrorCode::None),
            Err(error) => refused(error),
        };
    }
    match txns.verify(&asker, &found).await {
        Ok(included) => {
            let mut included = included.into_iter();
            results(topics, |_, _| match included.next() {
                Some(true) => ErrorCode::None,
                _ => ErrorCode::TransactionAbortable,
            })
        }
        Err(error) => refused(error),
    }
}

/// The partition, if it exists.
fn place(ctx: &RequestContext, topic: &StrBytes, index: i32) -> Option<TopicPartition> {
    let topics = ctx.broker.engine.topics();
    let topic = topics.get(topic)?;
    topic.log(index)?;
    Some((topic.id, u32::try_from(index).ok()?))
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    mut outcome: impl FnMut(&StrBytes, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|index| {
            message!(AddPartitionsToTxnPartitionResult {
                partition_index: *index,
                partition_error_code: outcome(&topic.name, *index).code(),
            })
        });
        let partitions = partitions.collect();
        message!(AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition: partitions })
    });
    results.collect()
}
