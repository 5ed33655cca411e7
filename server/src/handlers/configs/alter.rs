//! AlterConfigs and IncrementalAlterConfigs (Kafka's `ConfigAdminManager` and `ConfigurationControlManager`).
//!
//! Both become a list of [`Change`]s per resource: the old API sets what it names and deletes everything else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chronik_engine::topic::TopicOverrides;
use chronik_protocol::codec::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, alter_configs_response, incremental_alter_configs_response,
};
use chronik_protocol::message;

use super::{ResourceType, check_broker_id};
use crate::broker::Broker;
use crate::config::{
    BrokerConfig, describe_topic, is_list_config, list_default, validate_change, validate_dynamic,
    validate_overrides,
};
use crate::dynamic::settings::Scope;
use crate::error_code::ErrorCode;
use crate::handlers::refusal::{Refusal, outcome};
use crate::handlers::topics::lock_changes;
use crate::internal_topics;
use crate::logging;
use crate::request::RequestContext;
use crate::telemetry::SUBSCRIPTIONS_MAX;
use crate::telemetry::subscription::{self, SubscriptionFault};
use crate::topic_rules;

/// What is to happen with one config (Kafka's `AlterConfigOp.OpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn parse(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    /// Kafka's word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One config's change, as asked.
struct Change {
    name: String,
    /// `None` for a code that nobody knows.
    operation: Option<Operation>,
    value: Option<String>,
}

/// All changes asked of one resource.
struct Resource {
    kind: i8,
    name: String,
    changes: Vec<Change>,
}

/// Answers AlterConfigs: what a resource's request does not name goes back to its default.
pub async fn alter(ctx: &RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| {
        let changes = resource.configs.iter().map(|config| Change {
            name: config.name.to_string(),
            operation: Some(Operation::Set),
            value: config.value.as_deref().map(str::to_owned),
        });
        Resource {
            kind: resource.resource_type,
            name: resource.resource_name.to_string(),
            changes: changes.collect(),
        }
    });
    let done =
        apply_all(ctx, resources.collect(), Mode { replace: true, validate_only: request.validate_only })
            .await;
    let responses = request.resources.into_iter().zip(done).map(|(resource, done)| {
        let (error_code, error_message) = outcome(&done);
        message!(alter_configs_response::AlterConfigsResourceResponse {
            error_code: error_code,
            error_message: error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        })
    });
    message!(AlterConfigsResponse { responses: responses.collect() })
}

/// Answers IncrementalAlterConfigs.
pub async fn incremental_alter(
    ctx: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources = request.resources.iter().map(|resource| {
        let changes = resource.configs.iter().map(|config| Change {
            name: config.name.to_string(),
            operation: Operation::parse(config.config_operation),
            value: config.value.as_deref().map(str::to_owned),
        });
        Resource {
            kind: resource.resource_type,
            name: resource.resource_name.to_string(),
            changes: changes.collect(),
        }
    });
    let done =
        apply_all(ctx, resources.collect(), Mode { replace: false, validate_only: request.validate_only })
            .await;
    let responses = request.resources.into_iter().zip(done).map(|(resource, done)| {
        let (error_code, error_message) = outcome(&done);
        message!(incremental_alter_configs_response::AlterConfigsResourceResponse {
            error_code: error_code,
            error_message: error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        })
    });
    message!(IncrementalAlterConfigsResponse { responses: responses.collect() })
}

#[derive(Clone, Copy)]
struct Mode {
    /// What is not named is deleted.
    replace: bool,
    validate_only: bool,
}

/// One outcome a resource, in their order.
async fn apply_all(ctx: &RequestContext, resources: Vec<Resource>, mode: Mode) -> Vec<Result<(), Refusal>> {
    let ctx = ctx.clone();
    let count = resources.len();
    // A task of its own: a client that goes away must not leave a change durable that is not in force.
    let work = tokio::spawn(async move {
        let mut times: HashMap<(i8, &str), usize> = HashMap::new();
        for resource in &resources {
            *times.entry((resource.kind, &resource.name)).or_default() += 1;
        }
        let mut done = Vec::with_capacity(resources.len());
        for resource in &resources {
            done.push(if times.get(&(resource.kind, &*resource.name)) == Some(&1) {
                apply(&ctx, resource, mode).await
            } else {
                Err(Refusal::invalid_request("Each resource must appear at most once."))
            });
        }
        done
    });
    let failed = || Err(Refusal::new(ErrorCode::UnknownServerError, "The change failed."));
    work.await.unwrap_or_else(|_| (0..count).map(|_| failed()).collect())
}

async fn apply(ctx: &RequestContext, resource: &Resource, mode: Mode) -> Result<(), Refusal> {
    check_form(&resource.changes)?;
    match ResourceType::parse(resource.kind) {
        Some(ResourceType::Topic) => alter_topic(&ctx.broker, resource, mode).await,
        Some(ResourceType::Broker) => alter_broker(ctx, resource, mode).await,
        // The old API does not know loggers.
        Some(ResourceType::BrokerLogger) if !mode.replace => alter_loggers(ctx, resource, mode),
        Some(ResourceType::ClientMetrics) => alter_subscription(&ctx.broker, resource, mode).await,
        Some(ResourceType::Group) => {
            Err(Refusal::invalid_request("Group configs are not served by this broker."))
        }
        Some(ResourceType::BrokerLogger) | None => {
            Err(Refusal::invalid_request(format!("Unknown resource type {}", resource.kind)))
        }
    }
}

/// What is wrong whatever the resource.
fn check_form(changes: &[Change]) -> Result<(), Refusal> {
    let mut names = HashSet::new();
    if !changes.iter().all(|change| names.insert(&*change.name)) {
        return Err(Refusal::invalid_request("Error due to duplicate config keys"));
    }
    if let Some(unknown) = changes.iter().find(|change| change.operation.is_none()) {
        return Err(Refusal::invalid_request(format!("Unknown operation for config {}", unknown.name)));
    }
    let nulls =
        changes.iter().filter(|change| change.operation != Some(Operation::Delete) && change.value.is_none());
    let nulls: Vec<&str> = nulls.map(|change| &*change.name).collect();
    if nulls.is_empty() {
        Ok(())
    } else {
        Err(Refusal::invalid_request(format!("Null value not supported for : {}", nulls.join(", "))))
    }
}

/// Changes settings of this broker, or with an empty name those of every broker (KIP-226).
async fn alter_broker(ctx: &RequestContext, resource: &Resource, mode: Mode) -> Result<(), Refusal> {
    let scope = if resource.name.is_empty() {
        Scope::EveryBroker
    } else {
        check_broker_id(ctx, &resource.name, "")?;
        Scope::ThisBroker
    };
    let _changes = lock_changes().await;
    let settings = &ctx.broker.dynamic.settings;
    let current = settings.layer(scope);
    let wanted = changed(&current, &resource.changes, mode.replace, |name, _| match list_default(name) {
        Some((true, default)) => Ok(current.get(name).cloned().unwrap_or_else(|| default.to_owned())),
        Some((false, _)) | None => {
            let message = format!("Config value append is not allowed for config key: {name}");
            Err(Refusal::new(ErrorCode::InvalidConfig, message))
        }
    })?;
    // What another version left behind must not keep anybody from taking it away.
    let fresh = wanted.iter().filter(|(name, value)| current.get(*name) != Some(value));
    let fresh = fresh.map(|(name, value)| (name.clone(), value.clone())).collect();
    validate_dynamic(&fresh).map_err(|fault| Refusal::invalid_request(fault.to_string()))?;
    if mode.validate_only || wanted == current {
        return Ok(());
    }
    let replaced = settings.replace(&ctx.broker.engine, scope, wanted).await;
    replaced.map_err(|error| Refusal::new(ErrorCode::from(&error), error.to_string()))?;
    let names: Vec<&str> = resource.changes.iter().map(|change| &*change.name).collect();
    tracing::info!(?scope, ?names, "broker settings changed");
    Ok(())
}

/// Changes a client metrics subscription (KIP-714); one that sets nothing is gone.
async fn alter_subscription(broker: &Arc<Broker>, resource: &Resource, mode: Mode) -> Result<(), Refusal> {
    if resource.name.is_empty() {
        return Err(Refusal::invalid_request("Subscription name can't be empty"));
    }
    let _changes = lock_changes().await;
    let telemetry = &broker.dynamic.telemetry;
    let current = telemetry.configs(&resource.name);
    // Kafka takes none of them for a list here, although it tells two as lists.
    let wanted =
        changed(&current, &resource.changes, mode.replace, |name, what| Err(not_a_list(name, what)))?;
    subscription::parse(&wanted).map_err(|fault| match &fault {
        SubscriptionFault::Request(_) => Refusal::invalid_request(fault.to_string()),
        SubscriptionFault::Config(_) => Refusal::new(ErrorCode::InvalidConfig, fault.to_string()),
    })?;
    if mode.validate_only || wanted == current {
        return Ok(());
    }
    if current.is_empty() && telemetry.names().len() >= SUBSCRIPTIONS_MAX {
        let message =
            format!("There are {SUBSCRIPTIONS_MAX} client metrics subscriptions already; delete one first.");
        return Err(Refusal::new(ErrorCode::PolicyViolation, message));
    }
    let replaced = telemetry.replace(&broker.engine, &resource.name, wanted).await;
    replaced.map_err(|error| Refusal::new(ErrorCode::from(&error), error.to_string()))?;
    tracing::info!(subscription = resource.name, "client metrics subscription changed");
    Ok(())
}

/// Changes levels of logs until the next start (KIP-412), all of them or none.
fn alter_loggers(ctx: &RequestContext, resource: &Resource, mode: Mode) -> Result<(), Refusal> {
    check_broker_id(ctx, &resource.name, "")?;
    let mut wanted = Vec::with_capacity(resource.changes.len());
    for change in &resource.changes {
        let logger = &*change.name;
        let level = change.value.as_deref().unwrap_or_default();
        let what = match change.operation {
            Some(Operation::Set) => {
                check_logger(logger)?;
                if !logging::is_level(level) {
                    let message = format!(
                        "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log \
                         levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
                    );
                    return Err(Refusal::new(ErrorCode::InvalidConfig, message));
                }
                Some(level)
            }
            Some(Operation::Delete) | None => {
                check_logger(logger)?;
                if logger == logging::ROOT {
                    let message = "Removing the log level of the root logger is not allowed";
                    return Err(Refusal::invalid_request(message));
                }
                None
            }
            Some(operation @ (Operation::Append | Operation::Subtract)) => {
                let message =
                    format!("{} operation is not allowed for the BROKER_LOGGER resource", operation.name());
                return Err(Refusal::invalid_request(message));
            }
        };
        wanted.push((logger, what));
    }
    if !mode.validate_only {
        logging::set_levels(&wanted);
        tracing::info!(?wanted, "log levels changed");
    }
    Ok(())
}

fn check_logger(name: &str) -> Result<(), Refusal> {
    if logging::LOGGERS.contains(&name) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::InvalidConfig, format!("Logger {name} does not exist!")))
}

async fn alter_topic(broker: &Arc<Broker>, resource: &Resource, mode: Mode) -> Result<(), Refusal> {
    let name = &*resource.name;
    if name.is_empty() {
        return Err(Refusal::invalid_request("Default topic resources are not allowed."));
    }
    let invalid_topic = |reason: String| Refusal::new(ErrorCode::InvalidTopicException, reason);
    topic_rules::validate(name).map_err(invalid_topic)?;
    if let Some(internal) = internal_topics::find(name) {
        return Err(invalid_topic(internal.refusal()));
    }
    let _changes = lock_changes().await;
    let topics = broker.engine.topics();
    let topic = topics.get(name);
    let current = topic.map(|topic| topic.overrides.clone()).unwrap_or_default();
    let wanted = changed(&current, &resource.changes, mode.replace, |name, what| {
        let settings = broker.dynamic.settings.current();
        topic_list(&current, &settings, name, what)
    })?;
    if let Some(fault) = validate_overrides(&wanted, &broker.dynamic.settings.current()).first() {
        return Err(Refusal::new(ErrorCode::InvalidConfig, fault.to_string()));
    }
    if let Some(fault) = validate_change(&current, &wanted, &broker.dynamic.settings.current()) {
        return Err(Refusal::new(ErrorCode::InvalidConfig, fault.to_string()));
    }
    // Kafka looks for the topic only now: bad configs of an unknown topic are told first.
    if topic.is_none() {
        let message = format!("The topic '{name}' does not exist.");
        return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
    }
    if mode.validate_only || wanted == current {
        return Ok(());
    }
    broker.engine.alter_topic(name, |overrides| *overrides = wanted).await?;
    tracing::info!(topic = name, "topic configs changed");
    Ok(())
}

/// What a resource's own configs become. `list` tells what APPEND and SUBTRACT start from, or that they cannot.
fn changed(
    current: &BTreeMap<String, String>,
    changes: &[Change],
    replace: bool,
    list: impl Fn(&str, Operation) -> Result<String, Refusal>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut wanted = if replace { BTreeMap::new() } else { current.clone() };
    for change in changes {
        let value = change.value.clone().unwrap_or_default();
        match change.operation {
            Some(Operation::Set) => wanted.insert(change.name.clone(), value),
            Some(Operation::Delete) | None => wanted.remove(&change.name),
            Some(operation @ (Operation::Append | Operation::Subtract)) => {
                let before = list(&change.name, operation)?;
                wanted.insert(change.name.clone(), changed_list(&before, operation, &value))
            }
        };
    }
    Ok(wanted)
}

/// A topic's list starts from the value in force.
fn topic_list(
    current: &TopicOverrides,
    settings: &BrokerConfig,
    name: &str,
    operation: Operation,
) -> Result<String, Refusal> {
    if is_list_config(name) != Some(true) {
        return Err(not_a_list(name, operation));
    }
    let in_force = describe_topic(current, settings).into_iter().find(|entry| entry.name == name);
    Ok(in_force.and_then(|entry| entry.value).unwrap_or_default())
}

fn not_a_list(name: &str, operation: Operation) -> Refusal {
    let message = format!("Can't {} to key {name} because its type is not LIST.", operation.name());
    Refusal::new(ErrorCode::InvalidConfig, message)
}

/// APPEND adds what is not there, SUBTRACT takes away what is.
fn changed_list(before: &str, operation: Operation, value: &str) -> String {
    let mut items: Vec<&str> = before.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    for item in value.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match operation {
            Operation::Subtract => items.retain(|kept| *kept != item),
            _ if !items.contains(&item) => items.push(item),
            _ => {}
        }
    }
    items.join(",")
}
