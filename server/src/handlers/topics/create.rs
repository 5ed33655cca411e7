//! CreateTopics, and the creation of a topic that a Metadata request names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chronik_engine::topic::{Topic, TopicOverrides};
use chronik_protocol::codec::messages::create_topics_request::CreatableTopic;
use chronik_protocol::codec::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use chronik_protocol::codec::messages::{CreateTopicsRequest, CreateTopicsResponse};
use chronik_protocol::message;

use super::{PARTITIONS_PER_REQUEST_MAX, check_replicas, lock_changes, within};
use crate::broker::Broker;
use crate::config::{describe_topic, validate_overrides};
use crate::error_code::ErrorCode;
use crate::handlers::metadata::wire_id;
use crate::handlers::refusal::Refusal;
use crate::internal_topics;
use crate::request::RequestContext;
use crate::topic_rules;

/// What a legal request for a topic amounts to.
struct Plan {
    partitions: usize,
    overrides: TopicOverrides,
}

/// Answers CreateTopics.
pub async fn create(ctx: &RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse {
    if partitions_asked(&ctx.broker, &request) > PARTITIONS_PER_REQUEST_MAX {
        let refusal =
            Refusal::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.");
        return everything_refused(&request, &refusal);
    }
    let broker = ctx.broker.clone();
    let names: Vec<CreatableTopic> = request.topics.clone();
    let validate_only = request.validate_only;
    let work = async move {
        let twice = named_twice(&names);
        let mut results = Vec::with_capacity(names.len());
        for topic in names.iter().filter(|topic| !twice.contains(&*topic.name)) {
            results.push(match create_one(&broker, topic, validate_only).await {
                Ok((created, plan)) => succeeded(&broker, topic, created.as_deref(), &plan),
                Err(refusal) => failed(topic, &refusal),
            });
        }
        let duplicate = Refusal::invalid_request("Duplicate topic name.");
        let mut told = HashSet::new();
        for topic in names.iter().filter(|topic| twice.contains(&*topic.name) && told.insert(&*topic.name)) {
            results.push(failed(topic, &duplicate));
        }
        message!(CreateTopicsResponse { topics: results })
    };
    match within(request.timeout_ms, work).await {
        Ok(response) => response,
        Err(refusal) => everything_refused(&request, &refusal),
    }
}

/// Creates a topic by the broker's defaults, because a client asked for its metadata.
pub(in crate::handlers) async fn create_automatically(
    ctx: &RequestContext,
    name: &str,
) -> Result<(), Refusal> {
    let topic = message!(CreatableTopic { name: name.into(), num_partitions: -1, replication_factor: -1 });
    let broker = ctx.broker.clone();
    let work = async move {
        match create_one(&broker, &topic, false).await {
            Ok(_) => Ok(()),
            // Another client was quicker.
            Err(refusal) if refusal.code == ErrorCode::TopicAlreadyExists => Ok(()),
            Err(refusal) => Err(refusal),
        }
    };
    within(i32::MAX, work).await.and_then(|outcome| outcome)
}

/// Checks and creates. No topic comes back when it was only to be validated.
async fn create_one(
    broker: &Arc<Broker>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(Option<Arc<Topic>>, Plan), Refusal> {
    let _changes = lock_changes().await;
    let plan = plan(broker, topic)?;
    if validate_only {
        return Ok((None, plan));
    }
    let now_ms = broker.clock.now_ms();
    let created =
        broker.engine.create_topic(&topic.name, plan.partitions, plan.overrides.clone(), now_ms).await?;
    tracing::info!(topic = %topic.name, partitions = plan.partitions, "topic created");
    Ok((Some(created), plan))
}

/// The checks, in Kafka's order (`ReplicationControlManager.createTopics`): of several faults the client is told the
/// same one.
fn plan(broker: &Broker, topic: &CreatableTopic) -> Result<Plan, Refusal> {
    check_name(broker, &topic.name)?;
    let overrides = overrides(broker, topic)?;
    let partitions = if topic.assignments.is_empty() {
        check_replication_factor(topic.replication_factor)?;
        partition_count(broker, topic.num_partitions)?
    } else {
        assigned_partitions(broker, topic)?
    };
    Ok(Plan { partitions, overrides })
}

fn check_name(broker: &Broker, name: &str) -> Result<(), Refusal> {
    if name == topic_rules::CLUSTER_METADATA {
        return Err(Refusal::invalid_request(format!("Creation of internal topic {name} is prohibited.")));
    }
    let topics = broker.engine.topics();
    if topics.get(name).is_some() || internal_topics::find(name).is_some() {
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    if let Err(reason) = topic_rules::validate(name) {
        return invalid(reason);
    }
    if internal_topics::is_internal(name) {
        return invalid(format!("Topic name '{name}' is reserved for the broker's own use."));
    }
    match topic_rules::colliding(name, &topics) {
        Some(other) => invalid(format!("Topic '{name}' collides with existing topic: {other}")),
        None => Ok(()),
    }
}

fn overrides(broker: &Broker, topic: &CreatableTopic) -> Result<TopicOverrides, Refusal> {
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidConfig, message));
    let nulls: Vec<&str> =
        topic.configs.iter().filter(|config| config.value.is_none()).map(|config| &*config.name).collect();
    if !nulls.is_empty() {
        return invalid(format!("Null value not supported for topic configs: {}", nulls.join(",")));
    }
    let set = topic.configs.iter().filter_map(|config| {
        config.value.as_deref().map(|value| (config.name.to_string(), value.to_owned()))
    });
    let overrides: TopicOverrides = set.collect();
    match validate_overrides(&overrides, &broker.dynamic.settings.current()).first() {
        Some(fault) => invalid(fault.to_string()),
        None => Ok(overrides),
    }
}

fn check_replication_factor(asked: i16) -> Result<(), Refusal> {
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    match asked {
        -1 | 1 => Ok(()),
        0 | i16::MIN..-1 => {
            invalid("Replication factor must be larger than 0, or -1 to use the default value.".to_owned())
        }
        2.. => invalid(format!(
            "Unable to replicate the partition {asked} time(s): The target replication factor of {asked} cannot be \
             reached because only 1 broker(s) are registered."
        )),
    }
}

fn partition_count(broker: &Broker, asked: i32) -> Result<usize, Refusal> {
    let count = if asked == -1 { broker.config.topics.num_partitions } else { asked };
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
        Refusal::new(
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        )
    })
}

/// Partitions of a manual assignment, which has to name each from 0 on, and this broker for each.
fn assigned_partitions(broker: &Broker, topic: &CreatableTopic) -> Result<usize, Refusal> {
    for (given, what) in
        [(i32::from(topic.replication_factor), "replication factor"), (topic.num_partitions, "numPartitions")]
    {
        if given != -1 {
            return Err(Refusal::invalid_request(format!(
                "A manual partition assignment was specified, but {what} was not set to -1."
            )));
        }
    }
    let invalid = |message| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    let mut indexes = HashSet::new();
    for assignment in &topic.assignments {
        let index = assignment.partition_index;
        if !indexes.insert(index) {
            return invalid(format!("Found multiple manual partition assignments for partition {index}"));
        }
        check_replicas(broker.config.node.node_id, &assignment.broker_ids)?;
    }
    if (0..indexes.len() as i32).any(|index| !indexes.contains(&index)) {
        return invalid("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    Ok(indexes.len())
}

/// Partitions of the whole request; negative numbers are left for the topic's own check.
fn partitions_asked(broker: &Broker, request: &CreateTopicsRequest) -> i64 {
    let of_topic = |topic: &CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => i64::from(broker.config.topics.num_partitions),
        (0, asked) => i64::from(asked.max(0)),
        (assigned, _) => assigned as i64,
    };
    request.topics.iter().map(of_topic).sum()
}

fn named_twice(topics: &[CreatableTopic]) -> HashSet<&str> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for topic in topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    times.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name).collect()
}

fn succeeded(
    broker: &Broker,
    topic: &CreatableTopic,
    created: Option<&Topic>,
    plan: &Plan,
) -> CreatableTopicResult {
    let settings = broker.dynamic.settings.current();
    let configs = describe_topic(&plan.overrides, &settings).into_iter().map(|entry| {
        message!(CreatableTopicConfigs {
            name: entry.name.into(),
            value: entry.value.filter(|_| !entry.sensitive).map(|value| value.into()),
            read_only: entry.read_only,
            config_source: entry.source.code(),
            is_sensitive: entry.sensitive,
        })
    });
    message!(CreatableTopicResult {
        name: topic.name.clone(),
        // What was only validated has no id.
        topic_id: created.map(|topic| wire_id(&topic.id)).unwrap_or_default(),
        error_message: None,
        num_partitions: i32::try_from(plan.partitions).unwrap_or(i32::MAX),
        replication_factor: 1,
        configs: Some(configs.collect()),
    })
}

fn failed(topic: &CreatableTopic, refusal: &Refusal) -> CreatableTopicResult {
    message!(CreatableTopicResult {
        name: topic.name.clone(),
        error_code: refusal.code.code(),
        error_message: refusal.wire_message(),
    })
}

fn everything_refused(request: &CreateTopicsRequest, refusal: &Refusal) -> CreateTopicsResponse {
    let mut told = HashSet::new();
    let topics = request.topics.iter().filter(|topic| told.insert(topic.name.clone()));
    message!(CreateTopicsResponse { topics: topics.map(|topic| failed(topic, refusal)).collect() })
}
