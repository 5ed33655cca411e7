//! ListOffsets and OffsetForLeaderEpoch: every kind of question, on every kind of log.

use chronik_protocol::codec::messages::list_offsets_request::ListOffsetsTopic;
use chronik_protocol::codec::messages::offset_for_leader_epoch_request::OffsetForLeaderTopic;

use super::*;
use crate::handlers::testing::{self, TestContext, encodes_in_every_version};

fn request(topic: &str, questions: &[(i32, i64, i32)]) -> ListOffsetsRequest {
    let partitions = questions.iter().map(|(index, timestamp, epoch)| {
        message!(ListOffsetsPartition {
            partition_index: *index,
            timestamp: *timestamp,
            current_leader_epoch: *epoch,
        })
    });
    let partitions = partitions.collect();
    let topic = message!(ListOffsetsTopic { name: topic.into(), partitions: partitions });
    message!(ListOffsetsRequest { replica_id: -1, topics: vec![topic] })
}

/// Error code, offset, timestamp and leader epoch of partition 0.
async fn ask(ctx: &TestContext, topic: &str, timestamp: i64) -> (i16, i64, i64, i32) {
    let answer = handle(ctx, request(topic, &[(0, timestamp, -1)])).await;
    chronik_protocol::codec::encode_response(1, &answer, ctx.api_version).unwrap();
    let told = &answer.topics[0].partitions[0];
    (told.error_code, told.offset, told.timestamp, told.leader_epoch)
}

// semantics 3.6
#[tokio::test]
async fn latest_and_earliest_tell_the_logs_ends_without_a_timestamp() {
    let ctx = testing::context().await.with_version(11);
    ctx.topic("a", 1).await;
    ctx.append("a", &[100, 200, 300]).await;
    let (_, ticket) = ctx.log("a", 0).delete_records(Some(1)).unwrap();
    ticket.await.unwrap();
    assert_eq!(ask(&ctx, "a", -1).await, (0, 3, -1, 0));
    assert_eq!(ask(&ctx, "a", -2).await, (0, 1, -1, 0));
    assert_eq!(ask(&ctx, "a", -4).await, (0, 1, -1, 0), "nothing is tiered: the local start is the start");
}

// semantics 3.6
#[tokio::test]
async fn a_time_finds_the_first_record_at_or_after_it() {
    let ctx = testing::context().await.with_version(11);
    ctx.topic("a", 1).await;
    ctx.append("a", &[100, 300, 200]).await;
    ctx.append("a", &[250, 400]).await;
    for (time, offset, timestamp) in [(0, 0, 100), (100, 0, 100), (101, 1, 300), (301, 4, 400), (400, 4, 400)]
    {
        assert_eq!(ask(&ctx, "a", time).await, (0, offset, timestamp, 0), "{time}");
    }
    assert_eq!(ask(&ctx, "a", 401).await, (0, -1, -1, -1), "no such record is no error");
    assert_eq!(ask(&ctx, "a", -3).await, (0, 4, 400, 0));
}

// semantics 3.6
#[tokio::test]
async fn an_empty_log_has_ends_and_no_records() {
    let ctx = testing::context().await.with_version(11);
    ctx.topic("a", 1).await;
    assert_eq!(ask(&ctx, "a", -1).await, (0, 0, -1, 0));
    assert_eq!(ask(&ctx, "a", -2).await, (0, 0, -1, 0));
    assert_eq!(ask(&ctx, "a", -3).await, (0, -1, -1, -1));
    assert_eq!(ask(&ctx, "a", 0).await, (0, -1, -1, -1));
}

// semantics 3.6
#[tokio::test]
async fn nothing_is_tiered() {
    let ctx = testing::context().await.with_version(11);
    ctx.topic("a", 1).await;
    ctx.append("a", &[100]).await;
    assert_eq!(ask(&ctx, "a", -5).await, (0, -1, -1, -1));
    assert_eq!(ask(&ctx, "a", -6).await, (0, -1, -1, -1));
}

// semantics 3.6
#[tokio::test]
async fn special_times_below_their_version_are_unsupported() {
    let ctx = testing::context().await;
    ctx.topic("a", 1).await;
    for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
        let below = ask(&ctx.with_version(since - 1), "a", timestamp).await;
        assert_eq!(below, (ErrorCode::UnsupportedVersion.code(), -1, -1, -1), "{timestamp}");
        assert_eq!(ask(&ctx.with_version(since), "a", timestamp).await.0, 0, "{timestamp}");
    }
    for timestamp in [-7, i64::MIN] {
        assert_eq!(ask(&ctx.with_version(11), "a", timestamp).await.0, ErrorCode::UnsupportedVersion.code());
    }
}

// semantics 3.6
#[tokio::test]
async fn leader_epochs_are_told_from_version_4_on() {
    let ctx = testing::context().await;
    ctx.topic("a", 1).await;
    assert_eq!(ask(&ctx.with_version(3), "a", -1).await.3, -1);
    assert_eq!(ask(&ctx.with_version(4), "a", -1).await.3, 0);
}

// semantics 3.6
#[tokio::test]
async fn the_same_partition_twice_is_an_invalid_request() {
    let ctx = testing::context().await.with_version(11);
    ctx.topic("a", 2).await;
    let answer = handle(&ctx, request("a", &[(0, -1, -1), (1, -1, -1), (0, -2, -1)])).await;
    let told: Vec<_> =
        answer.topics[0].partitions.iter().map(|told| (told.partition_index, told.error_code)).collect();
    assert_eq!(told, [(0, ErrorCode::InvalidRequest.code()), (1, 0)]);
}

// semantics 3.5.8
#[tokio::test]
async fn leader_epochs_and_unknown_partitions_are_checked() {
    let ctx = testing::context().await.with_version(11);
    ctx.topic("a", 1).await;
    let answer = handle(&ctx, request("a", &[(0, -1, 1), (1, -1, -1), (-1, -1, -1)])).await;
    let codes: Vec<_> = answer.topics[0].partitions.iter().map(|told| told.error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes, [ErrorCode::UnknownLeaderEpoch.code(), unknown, unknown]);
    assert_eq!(ask(&ctx, "no", -1).await.0, unknown);
}

#[tokio::test]
async fn consumer_offsets_is_empty_to_readers() {
    let ctx = testing::context().await.with_version(11);
    assert_eq!(ask(&ctx, "__consumer_offsets", -1).await, (0, 0, -1, 0));
    assert_eq!(ask(&ctx, "__consumer_offsets", -2).await, (0, 0, -1, 0));
    assert_eq!(ask(&ctx, "__consumer_offsets", 0).await, (0, -1, -1, -1));
}

async fn epoch_of(ctx: &TestContext, topic: &str, current: i32, asked: i32) -> (i16, i32, i64) {
    let partition = message!(OffsetForLeaderPartition {
        partition: 0,
        current_leader_epoch: current,
        leader_epoch: asked,
    });
    let topic = message!(OffsetForLeaderTopic { topic: topic.into(), partitions: vec![partition] });
    let request = message!(OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] });
    let answer = for_leader_epoch(ctx, request).await;
    encodes_in_every_version(&answer);
    let told = &answer.topics[0].partitions[0];
    (told.error_code, told.leader_epoch, told.end_offset)
}

// semantics 3.5.9
#[tokio::test]
async fn the_end_of_an_epoch_is_told_and_an_unknown_one_is_minus_one() {
    let ctx = testing::context().await.with_version(4);
    ctx.topic("a", 1).await;
    ctx.append("a", &[1, 2]).await;
    assert_eq!(epoch_of(&ctx, "a", -1, 0).await, (0, 0, 2));
    assert_eq!(epoch_of(&ctx, "a", -1, 1).await, (0, -1, -1));
    assert_eq!(epoch_of(&ctx, "a", -1, -1).await, (0, -1, -1));
    assert_eq!(epoch_of(&ctx, "a", 0, 0).await.0, 0);
    assert_eq!(epoch_of(&ctx, "a", 1, 0).await, (ErrorCode::UnknownLeaderEpoch.code(), -1, -1));
    assert_eq!(epoch_of(&ctx, "no", -1, 0).await.0, ErrorCode::UnknownTopicOrPartition.code());
}
