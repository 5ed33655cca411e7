//! DescribeConfigs and ListConfigResources (Kafka's `ConfigHelper` and `KafkaApis.handleListConfigResources`).

use chronik_protocol::codec::messages::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::codec::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use chronik_protocol::codec::messages::list_config_resources_response::ConfigResource;
use chronik_protocol::codec::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use chronik_protocol::message;

use super::{ResourceType, check_broker_id};
use crate::config::{ConfigEntry, ConfigSource, Kind, describe_topic, facts};
use crate::error_code::ErrorCode;
use crate::handlers::distinct::distinct;
use crate::handlers::refusal::{Refusal, outcome};
use crate::internal_topics;
use crate::logging;
use crate::request::RequestContext;
use crate::telemetry::subscription;
use crate::topic_rules;

/// Answers DescribeConfigs.
pub async fn describe(ctx: &RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let stranger =
        request.resources.iter().find(|resource| ResourceType::parse(resource.resource_type).is_none());
    let named =
        |resource: &&DescribeConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let results = distinct(&request.resources, named).map(|resource| {
        let entries = match stranger {
            // One resource of a kind nobody knows spoils the whole request, as in Kafka.
            Some(stranger) => Err(Refusal::invalid_request(format!(
                "Unexpected resource type {} for resource {}",
                stranger.resource_type, stranger.resource_name
            ))),
            None => entries(ctx, resource),
        };
        describe_one(resource, entries, &request)
    });
    message!(DescribeConfigsResponse { results: results.collect() })
}

fn entries(ctx: &RequestContext, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Refusal> {
    let name = &*resource.resource_name;
    let needs_name = |what: &str| {
        if name.is_empty() {
            Err(Refusal::invalid_request(format!("{what} must not be empty")))
        } else {
            Ok(())
        }
    };
    match ResourceType::parse(resource.resource_type) {
        Some(ResourceType::Topic) => topic_entries(ctx, name),
        Some(ResourceType::Broker) if name.is_empty() => {
            Ok(ctx.broker.dynamic.settings.current().entries.describe_dynamic_defaults())
        }
        Some(ResourceType::Broker) => {
            check_broker_id(ctx, name, " or empty string")?;
            let settings = ctx.broker.dynamic.settings.current().entries.describe();
            Ok(settings.into_iter().chain(facts()).collect())
        }
        Some(ResourceType::BrokerLogger) => {
            needs_name("Broker id")?;
            check_broker_id(ctx, name, "")?;
            Ok(logger_entries())
        }
        Some(ResourceType::ClientMetrics) => {
            needs_name("Client metrics subscription name")?;
            Ok(subscription::describe(&ctx.broker.dynamic.telemetry.configs(name)))
        }
        Some(ResourceType::Group) => needs_name("Group name").map(|()| Vec::new()),
        None => Err(Refusal::invalid_request(format!("Unexpected resource type {}", resource.resource_type))),
    }
}

fn logger_entries() -> Vec<ConfigEntry> {
    let entries = logging::levels().into_iter().map(|(logger, level)| ConfigEntry {
        name: logger,
        value: Some(level),
        source: ConfigSource::BrokerLogger,
        read_only: false,
        sensitive: false,
        synonyms: Vec::new(),
        kind: Kind::Unknown,
        doc: "",
    });
    entries.collect()
}

fn topic_entries(ctx: &RequestContext, name: &str) -> Result<Vec<ConfigEntry>, Refusal> {
    topic_rules::validate(name).map_err(|reason| Refusal::new(ErrorCode::InvalidTopicException, reason))?;
    let config = &ctx.broker.dynamic.settings.current();
    if let Some(internal) = internal_topics::find(name) {
        return Ok(describe_topic(&internal.overrides(), config));
    }
    let topics = ctx.broker.engine.topics();
    let topic = topics.get(name).ok_or_else(Refusal::unknown_topic)?;
    Ok(describe_topic(&topic.overrides, config))
}

fn describe_one(
    resource: &DescribeConfigsResource,
    entries: Result<Vec<ConfigEntry>, Refusal>,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResult {
    let (error_code, error_message) = outcome(&entries);
    // No list and an empty list both ask for everything.
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    let asked = |entry: &ConfigEntry| keys.is_empty() || keys.iter().any(|key| **key == *entry.name);
    let configs = entries.unwrap_or_default().into_iter().filter(asked);
    message!(DescribeConfigsResult {
        error_code: error_code,
        error_message: error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: configs.map(|entry| wire_entry(entry, request)).collect(),
    })
}

fn wire_entry(entry: ConfigEntry, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = if request.include_synonyms { entry.synonyms } else { Vec::new() };
    let synonyms = synonyms.into_iter().map(|synonym| {
        message!(DescribeConfigsSynonym {
            name: synonym.name.into(),
            value: synonym.value.map(|value| value.into()),
            source: synonym.source.code(),
        })
    });
    message!(DescribeConfigsResourceResult {
        name: entry.name.into(),
        value: entry.value.filter(|_| !entry.sensitive).map(|value| value.into()),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        is_sensitive: entry.sensitive,
        synonyms: synonyms.collect(),
        config_type: entry.kind.code(),
        documentation: request.include_documentation.then(|| entry.doc.into()),
    })
}

/// Answers ListConfigResources (KIP-1142). Version 0 is the old ListClientMetricsResources.
pub async fn list_resources(
    ctx: &RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    use ResourceType::{Broker, BrokerLogger, ClientMetrics, Group, Topic};
    let asked: Option<Vec<ResourceType>> = match (ctx.api_version, request.resource_types.as_slice()) {
        (0, _) => Some(vec![ClientMetrics]),
        (_, []) => Some(vec![Topic, Broker, BrokerLogger, ClientMetrics, Group]),
        (_, types) => types.iter().map(|code| ResourceType::parse(*code)).collect(),
    };
    let Some(asked) = asked else {
        return message!(ListConfigResourcesResponse { error_code: ErrorCode::UnsupportedVersion.code() });
    };
    let mut resources = Vec::new();
    for kind in [Group, ClientMetrics, BrokerLogger, Broker, Topic] {
        if asked.contains(&kind) {
            let names = resource_names(ctx, kind);
            resources.extend(names.into_iter().map(|name| {
                message!(ConfigResource { resource_name: name.into(), resource_type: kind.code() })
            }));
        }
    }
    message!(ListConfigResourcesResponse { config_resources: resources })
}

fn resource_names(ctx: &RequestContext, kind: ResourceType) -> Vec<String> {
    match kind {
        ResourceType::Topic => {
            let topics = ctx.broker.engine.topics();
            let stored = topics.iter().map(|topic| topic.name.to_string());
            stored.chain(internal_topics::all().map(|topic| topic.name.to_owned())).collect()
        }
        ResourceType::Broker | ResourceType::BrokerLogger => vec![ctx.broker.config.node.node_id.to_string()],
        ResourceType::ClientMetrics => ctx.broker.dynamic.telemetry.names(),
        ResourceType::Group => Vec::new(),
    }
}
