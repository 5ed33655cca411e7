//! DescribeTransactions and ListTransactions (KIP-664, KIP-994, KIP-1152).

use std::collections::BTreeMap;
use std::sync::Arc;

use chronik_protocol::codec::StrBytes;
use chronik_protocol::codec::messages::describe_transactions_response::{
    TopicData, TransactionState as Described,
};
use chronik_protocol::codec::messages::list_transactions_response::TransactionState as Listed;
use chronik_protocol::codec::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
    ListTransactionsResponse,
};
use chronik_protocol::message;
use futures_util::future::join_all;

use crate::coordinator::txn::{TxnDescription, TxnError, TxnFilter, TxnState};
use crate::error_code::ErrorCode;
use crate::handlers::distinct::distinct;
use crate::internal_topics;
use crate::pattern::whole;
use crate::request::RequestContext;

/// "None" on the wire.
const NONE: i64 = -1;
/// Kafka's states that no transactional id here is ever seen in; a filter may name them.
const NEVER_SEEN: [&str; 2] = ["Dead", "PrepareEpochFence"];

/// DescribeTransactions.
pub async fn describe(
    ctx: &RequestContext,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let asked = distinct(&request.transactional_ids, |id| (*id).clone());
    let described = asked.map(|id| async move {
        match ctx.broker.txns.describe(id).await {
            _ if id.is_empty() => refused(id, ErrorCode::InvalidRequest),
            Ok(Some(found)) => described(ctx, id, &found),
            Ok(None) => refused(id, ErrorCode::TransactionalIdNotFound),
            Err(error) => refused(id, ErrorCode::from(&error)),
        }
    });
    message!(DescribeTransactionsResponse { transaction_states: join_all(described).await })
}

fn refused(id: &StrBytes, error: ErrorCode) -> Described {
    message!(Described { error_code: error.code(), transactional_id: id.clone() })
}

fn described(ctx: &RequestContext, id: &StrBytes, found: &TxnDescription) -> Described {
    message!(Described {
        transactional_id: id.clone(),
        transaction_state: found.state.name().into(),
        transaction_timeout_ms: found.timeout_ms,
        transaction_start_time_ms: found.started_ms.unwrap_or(NONE),
        producer_id: found.producer_id,
        producer_epoch: found.producer_epoch,
        topics: topics(ctx, found),
    })
}

/// What the transaction reaches: partitions of topics that are still there, and those that Kafka would keep the groups'
/// offsets in.
fn topics(ctx: &RequestContext, found: &TxnDescription) -> Vec<TopicData> {
    let topics = ctx.broker.engine.topics();
    let mut by_name: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    for (id, partition) in &found.partitions {
        let Some(topic) = topics.get_by_id(id) else { continue };
        by_name.entry(topic.name.clone()).or_default().extend(i32::try_from(*partition));
    }
    for group_id in &found.groups {
        let (topic, partition) = internal_topics::offsets_partition(group_id);
        let partitions = by_name.entry(topic.into()).or_default();
        if !partitions.contains(&partition) {
            partitions.push(partition);
        }
    }
    let topics = by_name
        .into_iter()
        .map(|(topic, partitions)| message!(TopicData { topic: (&*topic).into(), partitions: partitions }));
    topics.collect()
}

/// ListTransactions.
pub async fn list(ctx: &RequestContext, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(whole).transpose() else {
        return message!(ListTransactionsResponse { error_code: ErrorCode::InvalidRegularExpression.code() });
    };
    let mut states = Vec::new();
    let mut unknown = Vec::new();
    for name in &request.state_filters {
        match TxnState::ALL.into_iter().find(|state| state.name() == &**name) {
            Some(state) => states.push(state),
            None if NEVER_SEEN.contains(&&**name) => {}
            None => unknown.push(name.clone()),
        }
    }
    let asks_for_none = !request.state_filters.is_empty() && states.is_empty();
    let filter = TxnFilter {
        states,
        producer_ids: request.producer_id_filters,
        longer_than_ms: request.duration_filter,
    };
    let named = |id: &str| !asks_for_none && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id));
    match ctx.broker.txns.list(&filter, named).await {
        Ok(listed) => {
            let states = listed.into_iter().map(|listing| {
                message!(Listed {
                    transactional_id: (&*listing.transactional_id).into(),
                    producer_id: listing.producer_id,
                    transaction_state: listing.state.name().into(),
                })
            });
            message!(ListTransactionsResponse {
                unknown_state_filters: unknown,
                transaction_states: states.collect(),
            })
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &TxnError) -> ListTransactionsResponse {
    message!(ListTransactionsResponse { error_code: ErrorCode::from(error).code() })
}
