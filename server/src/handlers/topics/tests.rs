//! CreateTopics, DeleteTopics and CreatePartitions: each rule of Kafka by its code.

use std::collections::HashMap;

use chronik_protocol::codec::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use chronik_protocol::codec::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use chronik_protocol::codec::messages::delete_topics_request::DeleteTopicState;
use chronik_protocol::codec::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use chronik_protocol::message;

use super::*;
use crate::error_code::ErrorCode::{
    self, InvalidConfig, InvalidPartitions, InvalidReplicaAssignment, InvalidReplicationFactor,
    InvalidRequest, InvalidTopicException, PolicyViolation, RequestTimedOut, TopicAlreadyExists,
    TopicDeletionDisabled, UnknownTopicId, UnknownTopicOrPartition,
};
use crate::handlers::metadata::wire_id;
use crate::handlers::testing::{self, NODE, NOW_MS, TestContext, encodes_in_every_version};

const TIMEOUT_MS: i32 = 30_000;

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    message!(CreatableTopic { name: name.into(), num_partitions: partitions, replication_factor: replicas })
}

fn with_configs(name: &str, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let configs = configs.iter().map(|(name, value)| {
        message!(CreatableTopicConfig { name: (*name).into(), value: value.map(|value| value.into()) })
    });
    let configs = configs.collect();
    message!(CreatableTopic {
        name: name.into(),
        num_partitions: -1,
        replication_factor: -1,
        configs: configs
    })
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(index, brokers)| {
        message!(CreatableReplicaAssignment { partition_index: *index, broker_ids: brokers.to_vec() })
    });
    let assignments = assignments.collect();
    message!(CreatableTopic {
        name: name.into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: assignments,
    })
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    message!(CreateTopicsRequest { topics: topics, timeout_ms: TIMEOUT_MS })
}

async fn create_codes(ctx: &TestContext, topics: Vec<CreatableTopic>) -> Vec<i16> {
    create(ctx, request(topics)).await.topics.iter().map(|topic| topic.error_code).collect()
}

async fn refused(ctx: &TestContext, topic: CreatableTopic, code: ErrorCode) {
    let name = topic.name.clone();
    let answer = create(ctx, request(vec![topic])).await;
    assert_eq!(answer.topics[0].error_code, code.code(), "{name}: {:?}", answer.topics[0].error_message);
    assert!(answer.topics[0].error_message.is_some(), "{name}");
    encodes_in_every_version(&answer);
}

// semantics 3.9.1
#[tokio::test]
async fn a_created_topic_is_told_with_id_counts_and_configs() {
    let ctx = testing::context().await.with_version(7);
    let answer = create(&ctx, request(vec![topic("a", 3, 1)])).await;
    let told = &answer.topics[0];
    assert_eq!((told.error_code, told.error_message.as_deref()), (0, None));
    assert_eq!((told.num_partitions, told.replication_factor), (3, 1));
    let stored = ctx.broker.engine.topics().get("a").unwrap().clone();
    assert_eq!((told.topic_id, stored.partitions.len(), stored.created_ms), (wire_id(&stored.id), 3, NOW_MS));
    let configs: HashMap<_, _> =
        told.configs.iter().flatten().map(|config| (&*config.name, config.value.as_deref())).collect();
    assert_eq!(configs.get("cleanup.policy"), Some(&Some("delete")));
    encodes_in_every_version(&answer);
}

#[tokio::test]
async fn minus_one_means_the_brokers_defaults() {
    let ctx = testing::context_with(&[("num.partitions", "5")]).await.with_version(7);
    let answer = create(&ctx, request(vec![topic("a", -1, -1)])).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (0, 5));
}

// semantics 3.9.1
#[tokio::test]
async fn names_that_exist_are_illegal_or_collide_are_refused() {
    let ctx = testing::context().await.with_version(7);
    ctx.topic("a.b", 1).await;
    refused(&ctx, topic("a.b", 1, 1), TopicAlreadyExists).await;
    refused(&ctx, topic("__consumer_offsets", 1, 1), TopicAlreadyExists).await;
    refused(&ctx, topic("__cluster_metadata", 1, 1), InvalidRequest).await;
    for name in ["", ".", "..", "a/b", &"x".repeat(250), "a_b", "__share_group_state"] {
        refused(&ctx, topic(name, 1, 1), InvalidTopicException).await;
    }
}

// semantics 3.9.1
#[tokio::test]
async fn a_name_twice_in_one_request_is_an_invalid_request_once() {
    let ctx = testing::context().await.with_version(7);
    let codes = create_codes(&ctx, vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 2, 1)]).await;
    assert_eq!(codes, [0, InvalidRequest.code()]);
    assert!(ctx.broker.engine.topics().get("a").is_none());
}

// semantics 3.9.1
#[tokio::test]
async fn partition_counts_and_replication_factors_are_checked() {
    let ctx = testing::context().await.with_version(7);
    refused(&ctx, topic("a", 0, 1), InvalidPartitions).await;
    refused(&ctx, topic("a", -2, 1), InvalidPartitions).await;
    for factor in [0, -2, 2, i16::MAX, i16::MIN] {
        refused(&ctx, topic("a", 1, factor), InvalidReplicationFactor).await;
    }
    refused(&ctx, topic("a", 10_001, 1), PolicyViolation).await;
    assert_eq!(
        create_codes(&ctx, vec![topic("a", 6000, 1), topic("b", 6000, 1)]).await,
        [PolicyViolation.code(); 2]
    );
}

// semantics 3.9.1
#[tokio::test]
async fn manual_assignments_name_this_broker_for_every_partition() {
    let ctx = testing::context().await.with_version(7);
    let answer = create(&ctx, request(vec![assigned("good", &[(1, &[NODE]), (0, &[NODE])])])).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (0, 2));
    let mut both = assigned("a", &[(0, &[NODE])]);
    both.num_partitions = 1;
    refused(&ctx, both, InvalidRequest).await;
    let mut both = assigned("a", &[(0, &[NODE])]);
    both.replication_factor = 1;
    refused(&ctx, both, InvalidRequest).await;
    let bad: [&[(i32, &[i32])]; 6] = [
        &[(0, &[])],
        &[(0, &[NODE + 1])],
        &[(0, &[NODE, NODE])],
        &[(1, &[NODE])],
        &[(0, &[NODE]), (0, &[NODE])],
        &[(-1, &[NODE]), (0, &[NODE])],
    ];
    for assignments in bad {
        refused(&ctx, assigned("a", assignments), InvalidReplicaAssignment).await;
    }
}

// semantics 3.9.1
#[tokio::test]
async fn configs_are_checked_and_kept() {
    let ctx = testing::context().await.with_version(7);
    refused(&ctx, with_configs("a", &[("no.such.config", Some("1"))]), InvalidConfig).await;
    refused(&ctx, with_configs("a", &[("retention.ms", Some("soon"))]), InvalidConfig).await;
    refused(&ctx, with_configs("a", &[("retention.ms", None)]), InvalidConfig).await;
    let answer = create(&ctx, request(vec![with_configs("a", &[("retention.ms", Some("1234"))])])).await;
    let told =
        answer.topics[0].configs.iter().flatten().find(|config| &*config.name == "retention.ms").unwrap();
    // DYNAMIC_TOPIC_CONFIG
    assert_eq!((told.value.as_deref(), told.config_source), (Some("1234"), 1));
    assert_eq!(ctx.log("a", 0).config().retention_ms, Some(1234));
}

// semantics 3.9.1
#[tokio::test]
async fn validate_only_checks_and_creates_nothing() {
    let ctx = testing::context().await.with_version(7);
    let mut good = request(vec![topic("a", 2, 1), topic("b", 0, 1)]);
    good.validate_only = true;
    let answer = create(&ctx, good).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].num_partitions), (0, 2));
    assert_eq!(answer.topics[1].error_code, InvalidPartitions.code());
    assert!(ctx.broker.engine.topics().is_empty());
}

// semantics 3.9.1
#[tokio::test]
async fn without_time_to_wait_a_creation_times_out_and_happens_all_the_same() {
    let ctx = testing::context().await.with_version(7);
    let mut hasty = request(vec![topic("a", 1, 1)]);
    hasty.timeout_ms = 0;
    // On a runtime of one thread the creation has not begun when the deadline passes.
    assert_eq!(create(&ctx, hasty).await.topics[0].error_code, RequestTimedOut.code());
    // Other tests of this process take turns with it at the lock on changes.
    for _ in 0..1_000 {
        if ctx.broker.engine.topics().get("a").is_some() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the topic is not created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_creations_that_exclude_each_other_one_succeeds() {
    let ctx = testing::context().await.with_version(7);
    let tasks: Vec<_> = ["r.s", "r_s", "r.s", "r_s", "r.s", "r_s"]
        .map(|name| {
            let ctx = ctx.clone();
            tokio::spawn(async move { create_codes(&ctx, vec![topic(name, 1, 1)]).await })
        })
        .into();
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await.unwrap() == [0]);
    }
    assert_eq!((created, ctx.broker.engine.topics().len()), (1, 1));
}

fn delete_names(names: &[&str]) -> DeleteTopicsRequest {
    let names = names.iter().map(|name| (*name).into()).collect();
    message!(DeleteTopicsRequest { topic_names: names, timeout_ms: TIMEOUT_MS })
}

fn delete_states(states: &[(Option<&str>, u128)]) -> DeleteTopicsRequest {
    let states = states.iter().map(|(name, id)| {
        message!(DeleteTopicState {
            name: name.map(|name| name.into()),
            topic_id: wire_id(&uuid::Uuid::from_u128(*id)),
        })
    });
    let states = states.collect();
    message!(DeleteTopicsRequest { topics: states, timeout_ms: TIMEOUT_MS })
}

fn codes(response: &DeleteTopicsResponse) -> Vec<i16> {
    response.responses.iter().map(|topic| topic.error_code).collect()
}

// semantics 3.9.2
#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let ctx = testing::context().await;
    ctx.topic("a", 1).await;
    ctx.topic("b", 1).await;
    let id = ctx.broker.engine.topics().get("b").unwrap().id;
    let by_name = delete(&ctx.with_version(5), delete_names(&["a", "no"])).await;
    assert_eq!(codes(&by_name), [0, UnknownTopicOrPartition.code()]);
    encodes_in_every_version(&by_name);
    let by_id = delete(&ctx.with_version(6), delete_states(&[(None, id.as_u128()), (None, 99)])).await;
    assert_eq!(codes(&by_id), [0, UnknownTopicId.code()]);
    assert_eq!(by_id.responses[0].name.as_deref(), Some("b"));
    assert_eq!(by_id.responses[1].name, None);
    assert!(ctx.broker.engine.topics().is_empty());
}

// semantics 3.9.2
#[tokio::test]
async fn a_recreated_topic_has_a_new_id_and_begins_at_offset_zero_without_producers() {
    let ctx = testing::context().await.with_version(6);
    ctx.topic("a", 1).await;
    ctx.append_as("a", &[1, 2], 7, 0).await;
    let old = ctx.broker.engine.topics().get("a").unwrap().id;
    delete(&ctx, delete_states(&[(Some("a"), 0)])).await;
    ctx.topic("a", 1).await;
    assert_ne!(ctx.broker.engine.topics().get("a").unwrap().id, old);
    assert_eq!(ctx.log("a", 0).offsets().next_offset, 0);
    assert!(ctx.log("a", 0).producers().is_empty());
}

#[tokio::test]
async fn a_topic_named_badly_or_twice_is_an_invalid_request() {
    let ctx = testing::context().await.with_version(6);
    ctx.topic("a", 1).await;
    let answer =
        delete(&ctx, delete_states(&[(Some("a"), 5), (None, 0), (Some("a"), 0), (Some("a"), 0)])).await;
    assert_eq!(codes(&answer), [InvalidRequest.code(); 3]);
    assert!(ctx.broker.engine.topics().get("a").is_some());
}

// semantics 3.9.2
#[tokio::test]
async fn deletion_can_be_disabled() {
    let ctx = testing::context_with(&[("delete.topic.enable", "false")]).await;
    ctx.topic("a", 1).await;
    assert_eq!(
        codes(&delete(&ctx.with_version(5), delete_names(&["a"])).await),
        [TopicDeletionDisabled.code()]
    );
    assert_eq!(codes(&delete(&ctx.with_version(2), delete_names(&["a"])).await), [InvalidRequest.code()]);
    assert!(ctx.broker.engine.topics().get("a").is_some());
}

#[tokio::test]
async fn the_brokers_own_topics_cannot_be_changed() {
    let ctx = testing::context().await.with_version(3);
    let deleted = delete(&ctx, delete_names(&["__consumer_offsets"])).await;
    assert_eq!(codes(&deleted), [InvalidTopicException.code()]);
    assert_eq!(grow_code(&ctx, "__consumer_offsets", 60).await, InvalidTopicException.code());
}

fn grown(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> CreatePartitionsTopic {
    let assignments = assignments.map(|assignments| {
        let each =
            assignments.iter().map(|ids| message!(CreatePartitionsAssignment { broker_ids: ids.to_vec() }));
        each.collect()
    });
    message!(CreatePartitionsTopic { name: name.into(), count: count, assignments: assignments })
}

async fn grow_codes(ctx: &TestContext, topics: Vec<CreatePartitionsTopic>, validate_only: bool) -> Vec<i16> {
    let request = message!(CreatePartitionsRequest {
        topics: topics,
        timeout_ms: TIMEOUT_MS,
        validate_only: validate_only,
    });
    let answer = create_partitions(ctx, request).await;
    encodes_in_every_version(&answer);
    answer.results.iter().map(|topic| topic.error_code).collect()
}

async fn grow_code(ctx: &TestContext, name: &str, count: i32) -> i16 {
    grow_codes(ctx, vec![grown(name, count, None)], false).await[0]
}

// semantics 3.9.3
#[tokio::test]
async fn partitions_can_only_be_added() {
    let ctx = testing::context().await.with_version(3);
    ctx.topic("a", 2).await;
    for count in [2, 1, 0, -1, i32::MIN, i32::MAX] {
        assert_eq!(grow_code(&ctx, "a", count).await, InvalidPartitions.code(), "{count}");
    }
    assert_eq!(grow_code(&ctx, "no", 2).await, UnknownTopicOrPartition.code());
    assert_eq!(
        grow_codes(&ctx, vec![grown("a", 3, None), grown("a", 4, None)], false).await,
        [InvalidRequest.code()]
    );
    assert_eq!(grow_codes(&ctx, vec![grown("a", 3, None)], true).await, [0]);
    assert_eq!(ctx.broker.engine.topics().get("a").unwrap().partitions.len(), 2);
    assert_eq!(grow_code(&ctx, "a", 5).await, 0);
    assert_eq!(ctx.broker.engine.topics().get("a").unwrap().partitions.len(), 5);
}

#[tokio::test]
async fn assignments_of_added_partitions_are_checked() {
    let ctx = testing::context().await.with_version(3);
    ctx.topic("a", 1).await;
    let bad: [&[&[i32]]; 3] = [&[], &[&[NODE + 1]], &[&[NODE], &[NODE]]];
    for assignments in bad {
        let codes = grow_codes(&ctx, vec![grown("a", 2, Some(assignments))], false).await;
        assert_eq!(codes, [InvalidReplicaAssignment.code()], "{assignments:?}");
    }
    assert_eq!(grow_codes(&ctx, vec![grown("a", 2, Some(&[&[NODE]]))], false).await, [0]);
}

#[tokio::test]
async fn a_refused_request_names_each_topic_once() {
    let ctx = testing::context().await.with_version(7);
    let answer: CreateTopicsResponse =
        create(&ctx, request(vec![topic("a", 9000, 1), topic("a", 9000, 1)])).await;
    assert_eq!(answer.topics.len(), 1);
}
