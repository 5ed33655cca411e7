//! CreatePartitions: topics only grow.

use std::collections::HashMap;
use std::sync::Arc;

use chronik_protocol::codec::messages::create_partitions_request::CreatePartitionsTopic;
use chronik_protocol::codec::messages::create_partitions_response::CreatePartitionsTopicResult;
use chronik_protocol::codec::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use chronik_protocol::message;

use super::{PARTITIONS_PER_REQUEST_MAX, check_replicas, lock_changes, within};
use crate::broker::Broker;
use crate::error_code::ErrorCode;
use crate::handlers::refusal::{Refusal, outcome};
use crate::internal_topics;
use crate::request::RequestContext;

/// Answers CreatePartitions.
pub async fn create_partitions(
    ctx: &RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let broker = ctx.broker.clone();
    let topics = request.topics.clone();
    let validate_only = request.validate_only;
    let work = async move {
        let mut times: HashMap<String, usize> = HashMap::new();
        for topic in &topics {
            *times.entry(topic.name.to_string()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(topics.len());
        for topic in &topics {
            // Once named twice, a topic is answered once, at its first place.
            let Some(times) = times.remove(&*topic.name) else { continue };
            let done = if times > 1 {
                Err(Refusal::invalid_request("Duplicate topic name."))
            } else {
                grow(&broker, topic, validate_only).await
            };
            results.push(result(topic, &done));
        }
        message!(CreatePartitionsResponse { results: results })
    };
    match within(request.timeout_ms, work).await {
        Ok(response) => response,
        Err(refusal) => {
            let refused = Err(refusal);
            let results = request.topics.iter().map(|topic| result(topic, &refused)).collect();
            message!(CreatePartitionsResponse { results: results })
        }
    }
}

async fn grow(
    broker: &Arc<Broker>,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    if let Some(internal) = internal_topics::find(&topic.name) {
        return Err(Refusal::new(ErrorCode::InvalidTopicException, internal.refusal()));
    }
    let _changes = lock_changes().await;
    let current = match broker.engine.topics().get(&topic.name) {
        Some(found) => found.partitions.len(),
        None => return Err(Refusal::unknown_topic()),
    };
    let count = check_count(topic, current)?;
    if let Some(assignments) = &topic.assignments {
        check_assignments(
            broker.config.node.node_id,
            count - current,
            assignments.iter().map(|given| &*given.broker_ids),
        )?;
    }
    if !validate_only {
        broker.engine.create_partitions(&topic.name, count).await?;
        tracing::info!(topic = %topic.name, from = current, to = count, "partitions added");
    }
    Ok(())
}

/// The new number of partitions, which is more than there are.
fn check_count(topic: &CreatePartitionsTopic, current: usize) -> Result<usize, Refusal> {
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    let asked = i64::from(topic.count);
    let added = asked - current as i64;
    if added == 0 {
        return invalid(format!("Topic already has {current} partition(s)."));
    }
    if added < 0 {
        return invalid(format!(
            "The topic {} currently has {current} partition(s); {asked} would not be an increase.",
            topic.name
        ));
    }
    if added > PARTITIONS_PER_REQUEST_MAX {
        return invalid(format!("At most {PARTITIONS_PER_REQUEST_MAX} partitions can be added at a time."));
    }
    Ok(current + added as usize)
}

fn check_assignments<'a>(
    node: i32,
    added: usize,
    assignments: impl ExactSizeIterator<Item = &'a [i32]>,
) -> Result<(), Refusal> {
    if assignments.len() != added {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            ),
        ));
    }
    for replicas in assignments {
        check_replicas(node, replicas)?;
    }
    Ok(())
}

fn result(topic: &CreatePartitionsTopic, done: &Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = outcome(done);
    message!(CreatePartitionsTopicResult {
        name: topic.name.clone(),
        error_code: error_code,
        error_message: error_message,
    })
}
