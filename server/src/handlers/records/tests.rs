//! DeleteRecords and DescribeProducers.

use chronik_protocol::codec::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::codec::messages::describe_producers_request::TopicRequest;

use super::*;
use crate::handlers::testing::{self, NOW_MS, TestContext, encodes_in_every_version};

/// Error code and low watermark.
async fn delete_to(ctx: &TestContext, topic: &str, partition: i32, offset: i64) -> (i16, i64) {
    let partition = message!(DeleteRecordsPartition { partition_index: partition, offset: offset });
    let topic = message!(DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] });
    let answer =
        delete(ctx, message!(DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 })).await;
    encodes_in_every_version(&answer);
    let told = &answer.topics[0].partitions[0];
    (told.error_code, told.low_watermark)
}

// semantics 3.9.5
#[tokio::test]
async fn the_low_watermark_only_rises_and_minus_one_is_the_high_watermark() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic("a", 1).await;
    ctx.append("a", &[1, 2, 3, 4]).await;
    assert_eq!(delete_to(&ctx, "a", 0, 2).await, (0, 2));
    assert_eq!(delete_to(&ctx, "a", 0, 1).await, (0, 2), "it never moves back");
    assert_eq!(delete_to(&ctx, "a", 0, 2).await, (0, 2));
    assert_eq!(delete_to(&ctx, "a", 0, -1).await, (0, 4));
    assert_eq!(ctx.log("a", 0).offsets().log_start_offset, 4);
}

// semantics 3.9.5
#[tokio::test]
async fn the_low_watermark_survives_a_restart() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic("a", 1).await;
    ctx.append("a", &[1, 2, 3]).await;
    assert_eq!(delete_to(&ctx, "a", 0, 2).await, (0, 2));
    let ctx = ctx.restarted().await;
    assert_eq!(ctx.log("a", 0).offsets().log_start_offset, 2);
}

// semantics 3.9.5
#[tokio::test]
async fn offsets_outside_the_log_are_out_of_range() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic("a", 1).await;
    ctx.append("a", &[1, 2]).await;
    for offset in [3, i64::MAX, -2, i64::MIN] {
        assert_eq!(
            delete_to(&ctx, "a", 0, offset).await,
            (ErrorCode::OffsetOutOfRange.code(), -1),
            "{offset}"
        );
    }
}

// semantics 3.9.5
#[tokio::test]
async fn a_topic_that_is_only_compacted_keeps_its_records() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic_with("compacted", 1, &[("cleanup.policy", "compact")]).await;
    ctx.topic_with("both", 1, &[("cleanup.policy", "compact,delete")]).await;
    assert_eq!(delete_to(&ctx, "compacted", 0, -1).await, (ErrorCode::PolicyViolation.code(), -1));
    assert_eq!(delete_to(&ctx, "both", 0, -1).await, (0, 0));
}

#[tokio::test]
async fn unknown_partitions_and_the_brokers_own_topics_are_refused() {
    let ctx = testing::context().await.with_version(2);
    ctx.topic("a", 1).await;
    assert_eq!(delete_to(&ctx, "a", 1, 0).await.0, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(delete_to(&ctx, "no", 0, 0).await.0, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(delete_to(&ctx, "__consumer_offsets", 0, 0).await.0, ErrorCode::InvalidTopicException.code());
}

async fn describe_one(ctx: &TestContext, topic: &str, partition: i32) -> PartitionResponse {
    let topic = message!(TopicRequest { name: topic.into(), partition_indexes: vec![partition] });
    let mut answer =
        describe_producers(ctx, message!(DescribeProducersRequest { topics: vec![topic] })).await;
    encodes_in_every_version(&answer);
    answer.topics.remove(0).partitions.remove(0)
}

#[tokio::test]
async fn producers_are_told_with_their_last_sequence() {
    let ctx = testing::context().await.with_version(0);
    ctx.topic("a", 1).await;
    assert!(describe_one(&ctx, "a", 0).await.active_producers.is_empty());
    ctx.append_as("a", &[1, 2, 3], 4711, 0).await;
    let told = describe_one(&ctx, "a", 0).await;
    assert_eq!((told.error_code, told.active_producers.len()), (0, 1));
    let producer = &told.active_producers[0];
    assert_eq!((producer.producer_id, producer.producer_epoch, producer.last_sequence), (4711, 0, 2));
    assert_eq!((producer.last_timestamp, producer.current_txn_start_offset), (NOW_MS, -1));
}

#[tokio::test]
async fn producers_of_what_is_not_there_are_an_error() {
    let ctx = testing::context().await.with_version(0);
    ctx.topic("a", 1).await;
    for (topic, partition, code) in [
        ("a", 1, ErrorCode::UnknownTopicOrPartition),
        ("no", 0, ErrorCode::UnknownTopicOrPartition),
        ("n o", 0, ErrorCode::InvalidTopicException),
    ] {
        let told = describe_one(&ctx, topic, partition).await;
        assert_eq!((told.error_code, told.error_message.is_some()), (code.code(), true), "{topic}");
    }
}
