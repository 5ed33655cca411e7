//! Metadata and DescribeTopicPartitions, as a client sees them.

use chronik_protocol::codec::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use chronik_protocol::codec::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::*;
use crate::handlers::testing::{self, NODE, TestContext, encodes_in_every_version};

fn all() -> MetadataRequest {
    message!(MetadataRequest { topics: None, allow_auto_topic_creation: true })
}

fn named(names: &[&str], allow_creation: bool) -> MetadataRequest {
    let topics =
        names.iter().map(|name| message!(MetadataRequestTopic { name: Some((*name).into()) })).collect();
    message!(MetadataRequest { topics: Some(topics), allow_auto_topic_creation: allow_creation })
}

fn by_ids(ids: &[uuid::Uuid]) -> MetadataRequest {
    let topics =
        ids.iter().map(|id| message!(MetadataRequestTopic { name: None, topic_id: wire_id(id) })).collect();
    message!(MetadataRequest { topics: Some(topics) })
}

fn names(response: &MetadataResponse) -> Vec<&str> {
    response.topics.iter().filter_map(|topic| topic.name.as_deref()).collect()
}

fn id_of(ctx: &TestContext, name: &str) -> uuid::Uuid {
    ctx.broker.engine.topics().get(name).expect("the test made it").id
}

// semantics 1: null is all, empty is none, and version 0 has no null
#[tokio::test]
async fn no_list_asks_for_all_topics_and_an_empty_list_for_none() {
    let ctx = testing::context().await.with_version(13);
    ctx.topic("a", 1).await;
    assert_eq!(names(&handle(&ctx, all()).await), ["a", "__consumer_offsets", "__transaction_state"]);
    assert!(handle(&ctx, named(&[], true)).await.topics.is_empty());
    let everything = handle(&ctx.with_version(0), named(&[], true)).await;
    assert_eq!(names(&everything), ["a", "__consumer_offsets", "__transaction_state"]);
}

// semantics 3.9.9
#[tokio::test]
async fn the_controller_is_a_broker_listed_under_the_listeners_advertised_address() {
    let ctx = testing::context().await.with_version(13);
    let answer = handle(&ctx, all()).await;
    assert_eq!(answer.controller_id, NODE);
    let broker = &answer.brokers[0];
    assert_eq!((broker.node_id, &*broker.host, broker.port), (NODE, "broker.example", 19092));
    assert_eq!(answer.cluster_id.as_deref().map(str::len), Some(22));
    encodes_in_every_version(&answer);
}

#[tokio::test]
async fn partitions_tell_leader_epoch_and_replicas() {
    let ctx = testing::context().await.with_version(13);
    ctx.topic("a", 3).await;
    let answer = handle(&ctx, named(&["a"], false)).await;
    let topic = &answer.topics[0];
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, false, 3));
    for (index, partition) in topic.partitions.iter().enumerate() {
        assert_eq!((partition.partition_index, partition.leader_id), (index as i32, NODE));
        assert_eq!((partition.leader_epoch, partition.error_code), (0, 0));
        assert_eq!((&*partition.replica_nodes, &*partition.isr_nodes), (&[NODE][..], &[NODE][..]));
        assert!(partition.offline_replicas.is_empty());
    }
}

// semantics 3.9.3: the first answer is an error, the next one is not
#[tokio::test]
async fn a_missing_topic_is_created_when_broker_and_request_allow() {
    let ctx = testing::context_with(&[("num.partitions", "4")]).await.with_version(13);
    let first = handle(&ctx, named(&["new"], true)).await;
    assert_eq!(first.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let second = handle(&ctx, named(&["new"], true)).await;
    assert_eq!((second.topics[0].error_code, second.topics[0].partitions.len()), (0, 4));
    assert!(!second.topics[0].topic_id.is_zero());
}

#[tokio::test]
async fn nothing_is_created_when_the_request_or_the_broker_forbids() {
    let ctx = testing::context().await.with_version(13);
    let answer = handle(&ctx, named(&["new"], false)).await;
    assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let strict = testing::context_with(&[("auto.create.topics.enable", "false")]).await.with_version(13);
    handle(&strict, named(&["new"], true)).await;
    for ctx in [&ctx, &strict] {
        assert!(ctx.broker.engine.topics().is_empty());
    }
}

#[tokio::test]
async fn an_illegal_or_colliding_name_is_an_invalid_topic_and_creates_nothing() {
    let ctx = testing::context().await.with_version(13);
    ctx.topic("a.b", 1).await;
    let answer = handle(&ctx, named(&["a b", "a_b", "__share_group_state"], true)).await;
    assert_eq!(answer.topics.len(), 3);
    for topic in &answer.topics {
        assert_eq!(topic.error_code, ErrorCode::InvalidTopicException.code(), "{:?}", topic.name);
    }
    assert_eq!(ctx.broker.engine.topics().len(), 1);
}

// semantics 1: ids are stable, non-zero, unique per incarnation
#[tokio::test]
async fn topics_are_found_by_id_and_an_unknown_id_says_so() {
    let ctx = testing::context().await.with_version(12);
    ctx.topic("a", 1).await;
    let (id, unknown) = (id_of(&ctx, "a"), uuid::Uuid::from_u128(77));
    let answer = handle(&ctx, by_ids(&[id, unknown])).await;
    let found = |id: uuid::Uuid| answer.topics.iter().find(|topic| topic.topic_id == wire_id(&id)).unwrap();
    assert_eq!((found(id).error_code, found(id).name.as_deref()), (0, Some("a")));
    assert_eq!(
        (found(unknown).error_code, found(unknown).name.as_deref()),
        (ErrorCode::UnknownTopicId.code(), None)
    );
    codec_can_write(&answer, 12);
}

fn codec_can_write(response: &MetadataResponse, version: i16) {
    chronik_protocol::codec::encode_response(1, response, version).unwrap();
}

#[tokio::test]
async fn ids_before_version_12_and_null_names_are_invalid_requests() {
    let ctx = testing::context().await;
    ctx.topic("a", 1).await;
    for version in [10, 11] {
        let answer = handle(&ctx.with_version(version), by_ids(&[id_of(&ctx, "a")])).await;
        assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidRequest.code());
        codec_can_write(&answer, version);
    }
}

// Seen from Kafka 4.3 without an authorizer
#[tokio::test]
async fn authorised_operations_are_told_when_asked_for() {
    let ctx = testing::context().await;
    ctx.topic("a", 1).await;
    let mut request = named(&["a"], false);
    let silent = handle(&ctx.with_version(10), request.clone()).await;
    assert_eq!(
        (silent.topics[0].topic_authorized_operations, silent.cluster_authorized_operations),
        (i32::MIN, i32::MIN)
    );
    request.include_topic_authorized_operations = true;
    request.include_cluster_authorized_operations = true;
    let told = handle(&ctx.with_version(10), request).await;
    assert_eq!(
        (told.topics[0].topic_authorized_operations, told.cluster_authorized_operations),
        (3576, 8096)
    );
}

#[tokio::test]
async fn consumer_offsets_is_shown_as_internal() {
    let ctx = testing::context().await.with_version(13);
    let answer = handle(&ctx, named(&["__consumer_offsets"], false)).await;
    let topic = &answer.topics[0];
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 50));
    assert!(!topic.topic_id.is_zero());
}

fn page(topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
    let topics = topics.iter().map(|name| message!(TopicRequest { name: (*name).into() })).collect();
    let cursor =
        cursor.map(|(topic, index)| message!(Cursor { topic_name: topic.into(), partition_index: index }));
    message!(DescribeTopicPartitionsRequest {
        topics: topics,
        response_partition_limit: limit,
        cursor: cursor,
    })
}

fn shown(response: &DescribeTopicPartitionsResponse) -> Vec<(String, Vec<i32>)> {
    let topics = response.topics.iter();
    topics
        .map(|topic| {
            let indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            (topic.name.as_deref().unwrap_or_default().to_owned(), indexes)
        })
        .collect()
}

// semantics 3.9.8: cursor paging
#[tokio::test]
async fn pages_follow_one_another_by_their_cursors() {
    let ctx = testing::context().await.with_version(0);
    ctx.topic("a", 3).await;
    ctx.topic("b", 2).await;
    let mut cursor: Option<(String, i32)> = None;
    let mut seen = Vec::new();
    loop {
        let from = cursor.as_ref().map(|(topic, index)| (topic.as_str(), *index));
        let answer = describe_topic_partitions(&ctx, page(&["b", "a", "a"], 2, from)).await;
        let told = shown(&answer);
        assert!(told.iter().map(|(_, indexes)| indexes.len()).sum::<usize>() <= 2, "{told:?}");
        seen.extend(
            told.into_iter().flat_map(|(name, indexes)| indexes.into_iter().map(move |i| (name.clone(), i))),
        );
        encodes_in_every_version(&answer);
        match answer.next_cursor {
            Some(next) => cursor = Some((next.topic_name.to_string(), next.partition_index)),
            None => break,
        }
    }
    let expected: Vec<_> =
        [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)].map(|(t, i)| (t.to_owned(), i)).into();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn no_names_describe_every_topic_and_unknown_names_are_told() {
    let ctx = testing::context().await.with_version(0);
    ctx.topic("a", 1).await;
    let everything = describe_topic_partitions(&ctx, page(&[], 2000, None)).await;
    let told: Vec<_> = shown(&everything).into_iter().map(|(name, indexes)| (name, indexes.len())).collect();
    assert_eq!(
        told,
        [("__consumer_offsets".to_owned(), 50), ("__transaction_state".to_owned(), 50), ("a".to_owned(), 1)]
    );
    assert!(everything.topics.iter().all(|topic| topic.topic_authorized_operations == 3576));
    let named = describe_topic_partitions(&ctx, page(&["no", "n o"], 2000, None)).await;
    let codes: Vec<_> = named.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::InvalidTopicException.code(), ErrorCode::UnknownTopicOrPartition.code()]);
}

#[tokio::test]
async fn a_cursor_that_is_not_ours_is_an_invalid_request() {
    let ctx = testing::context().await.with_version(0);
    ctx.topic("a", 1).await;
    for cursor in [("b", 0), ("a", -1)] {
        let answer = describe_topic_partitions(&ctx, page(&["a"], 10, Some(cursor))).await;
        assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidRequest.code(), "{cursor:?}");
    }
}
