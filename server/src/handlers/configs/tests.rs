//! Configs as Kafka's admin clients read and change them.

mod broker;
mod client_metrics;
mod loggers;

use chronik_protocol::codec::messages::describe_configs_request::DescribeConfigsResource;
use chronik_protocol::codec::messages::describe_configs_response::DescribeConfigsResult;
use chronik_protocol::codec::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    alter_configs_request, incremental_alter_configs_request,
};
use chronik_protocol::message;

use super::*;
use crate::error_code::ErrorCode::{
    self, InvalidConfig, InvalidRequest, InvalidTopicException, UnknownTopicOrPartition, UnsupportedVersion,
};
use crate::handlers::testing::{self, TestContext, encodes_in_every_version};

const TOPIC: i8 = ResourceType::Topic.code();
const BROKER: i8 = ResourceType::Broker.code();
const LOGGER: i8 = ResourceType::BrokerLogger.code();
const CLIENT_METRICS: i8 = ResourceType::ClientMetrics.code();
const GROUP: i8 = ResourceType::Group.code();

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

async fn described(ctx: &TestContext, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let keys = keys.map(|keys| keys.iter().map(|key| (*key).into()).collect());
    let resource = message!(DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys,
    });
    let request = message!(DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    });
    let mut answer = describe(ctx, request).await;
    encodes_in_every_version(&answer);
    answer.results.remove(0)
}

async fn value(ctx: &TestContext, topic: &str, name: &str) -> Option<String> {
    let told = described(ctx, TOPIC, topic, Some(&[name])).await;
    told.configs.first().and_then(|config| config.value.as_deref()).map(str::to_owned)
}

async fn incremental(ctx: &TestContext, kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> i16 {
    incremental_with(ctx, &[(kind, name)], changes, false).await[0]
}

async fn incremental_with(
    ctx: &TestContext,
    resources: &[(i8, &str)],
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> Vec<i16> {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs: Vec<_> = changes
        .iter()
        .map(|(name, operation, value)| {
            message!(AlterableConfig {
                name: (*name).into(),
                config_operation: *operation,
                value: value.map(|value| value.into()),
            })
        })
        .collect();
    let resources = resources.iter().map(|(kind, name)| {
        message!(AlterConfigsResource {
            resource_type: *kind,
            resource_name: (*name).into(),
            configs: configs.clone(),
        })
    });
    let resources = resources.collect();
    let request =
        message!(IncrementalAlterConfigsRequest { resources: resources, validate_only: validate_only });
    let answer = incremental_alter(ctx, request).await;
    encodes_in_every_version(&answer);
    answer.responses.iter().map(|response| response.error_code).collect()
}

async fn replace(ctx: &TestContext, kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> i16 {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs = configs.iter().map(|(name, value)| {
        message!(AlterableConfig { name: (*name).into(), value: value.map(|value| value.into()) })
    });
    let configs = configs.collect();
    let resource =
        message!(AlterConfigsResource { resource_type: kind, resource_name: name.into(), configs: configs });
    let answer = alter(ctx, message!(AlterConfigsRequest { resources: vec![resource] })).await;
    encodes_in_every_version(&answer);
    answer.responses[0].error_code
}

// semantics 3.9.4
#[tokio::test]
async fn a_topic_shows_every_config_with_its_source_type_and_synonyms() {
    let ctx = testing::context_with(&[("log.retention.ms", "77")]).await.with_version(4);
    ctx.topic_with("a", 1, &[("segment.bytes", "2097152")]).await;
    let told = described(&ctx, TOPIC, "a", None).await;
    assert_eq!(told.error_code, 0);
    let find = |name: &str| told.configs.iter().find(|config| &*config.name == name).unwrap();
    let source =
        |name: &str| (find(name).value.as_deref().unwrap_or("null").to_owned(), find(name).config_source);
    assert_eq!(source("segment.bytes"), ("2097152".to_owned(), 1));
    assert_eq!(source("retention.ms"), ("77".to_owned(), 4));
    assert_eq!(source("cleanup.policy"), ("delete".to_owned(), 5));
    // LONG, LIST
    assert_eq!((find("retention.ms").config_type, find("cleanup.policy").config_type), (5, 7));
    let first = &find("segment.bytes").synonyms[0];
    assert_eq!((&*first.name, first.source), ("segment.bytes", 1));
    assert!(find("retention.ms").documentation.as_deref().is_some_and(|doc| !doc.is_empty()));
    assert!(told.configs.iter().all(|config| !config.read_only));
}

#[tokio::test]
async fn keys_narrow_what_is_shown_and_extras_come_only_when_asked_for() {
    let ctx = testing::context().await.with_version(4);
    ctx.topic("a", 1).await;
    assert_eq!(described(&ctx, TOPIC, "a", Some(&["retention.ms", "no.such"])).await.configs.len(), 1);
    assert!(described(&ctx, TOPIC, "a", Some(&[])).await.configs.len() > 20);
    let resource = message!(DescribeConfigsResource { resource_type: TOPIC, resource_name: "a".into() });
    let bare = describe(&ctx, message!(DescribeConfigsRequest { resources: vec![resource] })).await;
    let configs = &bare.results[0].configs;
    assert!(configs.iter().all(|config| config.synonyms.is_empty() && config.documentation.is_none()));
}

// semantics 3.9.4
#[tokio::test]
async fn resources_that_are_not_there_are_answered_with_their_own_errors() {
    let ctx = testing::context().await.with_version(4);
    for (kind, name, code) in [
        (TOPIC, "no", UnknownTopicOrPartition),
        (TOPIC, "n o", InvalidTopicException),
        (BROKER, "2", InvalidRequest),
        (BROKER, "one", InvalidRequest),
        (LOGGER, "", InvalidRequest),
        (LOGGER, "2", InvalidRequest),
        (CLIENT_METRICS, "", InvalidRequest),
        (GROUP, "", InvalidRequest),
        (99, "x", InvalidRequest),
    ] {
        assert_eq!(described(&ctx, kind, name, None).await.error_code, code.code(), "{kind} {name}");
    }
    for (kind, name) in [(BROKER, ""), (GROUP, "g")] {
        let told = described(&ctx, kind, name, None).await;
        assert_eq!((told.error_code, told.configs.len()), (0, 0), "{kind} {name}");
    }
}

#[tokio::test]
async fn the_brokers_configs_are_shown_and_secrets_are_not() {
    let ctx = testing::context_with(&[("num.partitions", "3"), ("chronik.admin.api.key", "hush")])
        .await
        .with_version(4);
    let told = described(&ctx, BROKER, "1", None).await;
    let find = |name: &str| told.configs.iter().find(|config| &*config.name == name).unwrap();
    assert_eq!(
        (find("num.partitions").value.as_deref(), find("num.partitions").config_source),
        (Some("3"), 4)
    );
    assert!(find("num.partitions").read_only && !find("log.retention.ms").read_only);
    assert!(find("chronik.admin.api.key").read_only);
    let secret = find("chronik.admin.api.key");
    assert_eq!((secret.value.as_deref(), secret.is_sensitive), (None, true));
    assert!(secret.synonyms.iter().all(|synonym| synonym.value.is_none()));
}

#[tokio::test]
async fn what_has_one_value_here_is_told_to_who_asks() {
    let ctx = testing::context().await.with_version(4);
    for (name, value) in [("default.replication.factor", "1"), ("authorizer.class.name", "")] {
        let told = described(&ctx, BROKER, "1", Some(&[name])).await;
        let [config] = &told.configs[..] else { panic!("{name}: {} configs", told.configs.len()) };
        assert_eq!((config.value.as_deref(), config.read_only, config.config_source), (Some(value), true, 5));
    }
}

// semantics 3.9.4
#[tokio::test]
async fn set_and_delete_take_effect_at_once() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    assert_eq!(incremental(&ctx, TOPIC, "a", &[("retention.ms", SET, Some("1000"))]).await, 0);
    assert_eq!(value(&ctx, "a", "retention.ms").await.as_deref(), Some("1000"));
    assert_eq!(ctx.log("a", 0).config().retention_ms, Some(1000));
    assert_eq!(incremental(&ctx, TOPIC, "a", &[("retention.ms", DELETE, None)]).await, 0);
    assert_eq!(value(&ctx, "a", "retention.ms").await.as_deref(), Some("604800000"));
}

// semantics 3.9.4
#[tokio::test]
async fn append_and_subtract_work_on_lists_alone() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    assert_eq!(incremental(&ctx, TOPIC, "a", &[("cleanup.policy", APPEND, Some("compact"))]).await, 0);
    assert_eq!(value(&ctx, "a", "cleanup.policy").await.as_deref(), Some("delete,compact"));
    assert_eq!(incremental(&ctx, TOPIC, "a", &[("cleanup.policy", APPEND, Some("compact"))]).await, 0);
    assert_eq!(value(&ctx, "a", "cleanup.policy").await.as_deref(), Some("delete,compact"));
    assert_eq!(incremental(&ctx, TOPIC, "a", &[("cleanup.policy", SUBTRACT, Some("delete"))]).await, 0);
    assert_eq!(value(&ctx, "a", "cleanup.policy").await.as_deref(), Some("compact"));
    for operation in [APPEND, SUBTRACT] {
        let code = incremental(&ctx, TOPIC, "a", &[("retention.ms", operation, Some("1"))]).await;
        assert_eq!(code, InvalidConfig.code());
    }
}

// semantics 3.9.4
#[tokio::test]
async fn malformed_changes_are_invalid_requests_and_change_nothing() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    let bad: [&[(&str, i8, Option<&str>)]; 3] = [
        &[("retention.ms", SET, None)],
        &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)],
        &[("retention.ms", 9, Some("1"))],
    ];
    for changes in bad {
        assert_eq!(incremental(&ctx, TOPIC, "a", changes).await, InvalidRequest.code(), "{changes:?}");
    }
    let twice =
        incremental_with(&ctx, &[(TOPIC, "a"), (TOPIC, "a")], &[("retention.ms", SET, Some("1"))], false)
            .await;
    assert_eq!(twice, [InvalidRequest.code(); 2]);
    assert!(ctx.broker.engine.topics().get("a").unwrap().overrides.is_empty());
}

#[tokio::test]
async fn bad_configs_and_bad_topics_are_told_apart() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    for (topic, config, text, code) in [
        ("a", "no.such", "1", InvalidConfig),
        ("a", "retention.ms", "soon", InvalidConfig),
        ("a", "min.compaction.lag.ms", "9223372036854775807", ErrorCode::None),
        ("no", "retention.ms", "1", UnknownTopicOrPartition),
        ("no", "retention.ms", "soon", InvalidConfig),
        ("n o", "retention.ms", "1", InvalidTopicException),
        ("", "retention.ms", "1", InvalidRequest),
        ("__consumer_offsets", "retention.ms", "1", InvalidTopicException),
    ] {
        let found = incremental(&ctx, TOPIC, topic, &[(config, SET, Some(text))]).await;
        assert_eq!(found, code.code(), "{topic} {config} {text}");
    }
    let conflict = incremental(&ctx, TOPIC, "a", &[("max.compaction.lag.ms", SET, Some("1"))]).await;
    assert_eq!(conflict, InvalidConfig.code(), "checked together with what is set already");
}

#[tokio::test]
async fn validate_only_changes_nothing() {
    let ctx = testing::context().await.with_version(1);
    ctx.topic("a", 1).await;
    assert_eq!(incremental_with(&ctx, &[(TOPIC, "a")], &[("retention.ms", SET, Some("1"))], true).await, [0]);
    assert!(ctx.broker.engine.topics().get("a").unwrap().overrides.is_empty());
}

// semantics 3.9.4: legacy AlterConfigs replaces everything
#[tokio::test]
async fn the_old_alter_configs_replaces_everything() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic_with("a", 1, &[("retention.ms", "1"), ("segment.ms", "5")]).await;
    assert_eq!(replace(&ctx, TOPIC, "a", &[("segment.ms", Some("6"))]).await, 0);
    let overrides = ctx.broker.engine.topics().get("a").unwrap().overrides.clone();
    assert_eq!(overrides.into_iter().collect::<Vec<_>>(), [("segment.ms".to_owned(), "6".to_owned())]);
    assert_eq!(replace(&ctx, TOPIC, "a", &[("segment.ms", None)]).await, InvalidRequest.code());
}

#[tokio::test]
async fn what_cannot_be_altered_says_so() {
    let ctx = testing::context().await.with_version(1);
    let change: &[(&str, i8, Option<&str>)] = &[("x", SET, Some("1"))];
    for (kind, name, code) in [
        (BROKER, "1", InvalidRequest),
        (BROKER, "", InvalidRequest),
        (BROKER, "2", InvalidRequest),
        (LOGGER, "1", InvalidConfig),
        (CLIENT_METRICS, "m", InvalidRequest),
        (GROUP, "g", InvalidRequest),
        (99, "x", InvalidRequest),
    ] {
        assert_eq!(incremental(&ctx, kind, name, change).await, code.code(), "{kind} {name}");
    }
    assert_eq!(replace(&ctx, LOGGER, "1", &[("x", Some("1"))]).await, InvalidRequest.code());
}

#[tokio::test]
async fn resources_are_listed_by_type() {
    let ctx = testing::context().await;
    ctx.topic("a", 1).await;
    let list = async |version: i16, types: &[i8]| {
        let request = message!(ListConfigResourcesRequest { resource_types: types.to_vec() });
        let answer = list_resources(&ctx.with_version(version), request).await;
        chronik_protocol::codec::encode_response(1, &answer, version).unwrap();
        let told = answer
            .config_resources
            .iter()
            .map(|found| (found.resource_type, found.resource_name.to_string()));
        (answer.error_code, told.collect::<Vec<_>>())
    };
    assert_eq!(list(0, &[]).await, (0, Vec::new()));
    let topics = vec![
        (TOPIC, "a".to_owned()),
        (TOPIC, "__consumer_offsets".to_owned()),
        (TOPIC, "__transaction_state".to_owned()),
    ];
    assert_eq!(list(1, &[TOPIC]).await, (0, topics));
    assert_eq!(list(1, &[]).await.1.len(), 5);
    assert_eq!(list(1, &[99]).await, (UnsupportedVersion.code(), Vec::new()));
}
