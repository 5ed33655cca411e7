//! Offsets by name and by id, in every version, through a real coordinator and catalogue.

use chronik_protocol::codec::messages::offset_commit_request::OffsetCommitRequestPartition;
use chronik_protocol::codec::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use chronik_protocol::codec::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use super::*;
use crate::handlers::testing::{self, TestContext};

fn commit_topic(name: &str, id: WireId, offsets: &[(i32, i64)]) -> OffsetCommitRequestTopic {
    let partitions = offsets.iter().map(|&(index, offset)| {
        message!(OffsetCommitRequestPartition {
            partition_index: index,
            committed_offset: offset,
            committed_leader_epoch: 2,
            committed_metadata: Some("note".into()),
        })
    });
    message!(OffsetCommitRequestTopic { name: name.into(), topic_id: id, partitions: partitions.collect() })
}

fn commit_request(topics: Vec<OffsetCommitRequestTopic>) -> OffsetCommitRequest {
    message!(OffsetCommitRequest { group_id: "g".into(), generation_id_or_member_epoch: -1, topics: topics })
}

/// Partition and error of each, by topic.
fn commit_codes(response: &OffsetCommitResponse) -> Vec<Vec<(i32, i16)>> {
    let topics = response.topics.iter().map(|topic| {
        topic.partitions.iter().map(|partition| (partition.partition_index, partition.error_code)).collect()
    });
    topics.collect()
}

fn id_of(ctx: &TestContext, topic: &str) -> WireId {
    WireId::from_bytes(*ctx.broker.engine.topics().get(topic).unwrap().id.as_bytes())
}

async fn fetch_one(ctx: &TestContext, version: i16, topic: &str, index: i32) -> (i64, i16) {
    let asked = message!(OffsetFetchRequestTopic { name: topic.into(), partition_indexes: vec![index] });
    let request = message!(OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![asked]) });
    let response = fetch(&ctx.with_version(version), request).await;
    chronik_protocol::codec::encode_response(1, &response, version).unwrap();
    let partition = &response.topics[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}

// semantics 3.7.7
#[tokio::test]
async fn what_does_not_exist_is_refused_and_the_rest_committed() {
    let ctx = testing::context().await;
    ctx.topic("t", 2).await;
    let topics = vec![
        commit_topic("none", WireId::ZERO, &[(0, 1)]),
        commit_topic("t", WireId::ZERO, &[(0, 5), (2, 6), (-1, 7), (1, 8)]),
    ];
    let response = commit(&ctx.with_version(9), commit_request(topics)).await;
    assert_eq!(commit_codes(&response), [vec![(0, 3)], vec![(0, 0), (2, 3), (-1, 3), (1, 0)]]);
    assert_eq!(fetch_one(&ctx, 7, "t", 0).await, (5, 0));
    assert_eq!(fetch_one(&ctx, 7, "t", 1).await, (8, 0));
}

#[tokio::test]
async fn a_refused_commit_names_its_error_for_each_partition_that_exists() {
    let ctx = testing::context().await;
    ctx.topic("t", 1).await;
    let request = |generation| {
        let mut request = commit_request(vec![commit_topic("t", WireId::ZERO, &[(0, 5), (9, 5)])]);
        request.generation_id_or_member_epoch = generation;
        request.member_id = "m".into();
        request
    };
    let old = commit(&ctx.with_version(8), request(3)).await;
    assert_eq!(commit_codes(&old), [vec![(0, 22), (9, 3)]]);
    let new = commit(&ctx.with_version(9), request(3)).await;
    assert_eq!(commit_codes(&new), [vec![(0, 69), (9, 3)]]);
}

#[tokio::test]
async fn from_version_10_on_topics_are_named_by_id() {
    let ctx = testing::context().await;
    ctx.topic("t", 1).await;
    let unknown = WireId::from_bytes([9; 16]);
    let id = id_of(&ctx, "t");
    let topics = vec![commit_topic("", id, &[(0, 5)]), commit_topic("", unknown, &[(0, 6)])];
    let response = commit(&ctx.with_version(10), commit_request(topics)).await;
    assert_eq!(commit_codes(&response), [vec![(0, 0)], vec![(0, 100)]]);
    assert_eq!(response.topics[1].topic_id, unknown);
    let asked = [id, unknown]
        .map(|id| message!(OffsetFetchRequestTopics { topic_id: id, partition_indexes: vec![0, 7] }));
    let group = message!(OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(asked.into()) });
    let response = fetch(&ctx.with_version(10), message!(OffsetFetchRequest { groups: vec![group] })).await;
    chronik_protocol::codec::encode_response(1, &response, 10).unwrap();
    let found: Vec<Vec<_>> = response.groups[0]
        .topics
        .iter()
        .map(|topic| {
            topic.partitions.iter().map(|found| (found.committed_offset, found.error_code)).collect()
        })
        .collect();
    assert_eq!(found, [vec![(5, 0), (-1, 0)], vec![(-1, 100), (-1, 100)]]);
}

#[tokio::test]
async fn names_without_an_offset_are_answered_without_error_in_every_version() {
    let ctx = testing::context().await;
    ctx.topic("t", 1).await;
    for version in 1..=7 {
        assert_eq!(fetch_one(&ctx, version, "t", 0).await, (-1, 0));
        assert_eq!(fetch_one(&ctx, version, "none", 3).await, (-1, 0));
    }
}

#[tokio::test]
async fn null_topics_ask_for_every_offset_of_each_group() {
    let ctx = testing::context().await;
    ctx.topic("t", 2).await;
    ctx.topic("u", 1).await;
    let topics =
        vec![commit_topic("t", WireId::ZERO, &[(0, 5), (1, 6)]), commit_topic("u", WireId::ZERO, &[(0, 7)])];
    commit(&ctx.with_version(9), commit_request(topics)).await;
    let old =
        fetch(&ctx.with_version(2), message!(OffsetFetchRequest { group_id: "g".into(), topics: None }))
            .await;
    assert_eq!((old.error_code, old.topics.len()), (0, 2));
    for version in 8..=10 {
        let groups = ["g", "none"]
            .map(|group_id| message!(OffsetFetchRequestGroup { group_id: group_id.into(), topics: None }));
        let request = message!(OffsetFetchRequest { groups: groups.into(), require_stable: true });
        let response = fetch(&ctx.with_version(version), request).await;
        chronik_protocol::codec::encode_response(1, &response, version).unwrap();
        let mut found: Vec<(&str, i32, i64)> = response.groups[0]
            .topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|found| (&*topic.name, found.partition_index, found.committed_offset))
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, [("t", 0, 5), ("t", 1, 6), ("u", 0, 7)]);
        assert!(response.groups[0].topics.iter().all(|topic| topic.topic_id == id_of(&ctx, &topic.name)));
        assert_eq!((response.groups[1].error_code, response.groups[1].topics.len()), (0, 0));
    }
}

#[tokio::test]
async fn a_topic_created_again_has_no_offsets_and_a_restart_keeps_those_there_are() {
    let ctx = testing::context().await;
    ctx.topic("t", 1).await;
    ctx.topic("kept", 1).await;
    let topics = ["t", "kept"].map(|name| commit_topic(name, WireId::ZERO, &[(0, 5)]));
    commit(&ctx.with_version(9), commit_request(topics.into())).await;
    let deleted = ctx.broker.engine.delete_topic("t").await.unwrap();
    ctx.broker.groups.topics_deleted([deleted.id].into()).await.unwrap();
    ctx.topic("t", 1).await;
    let again = ctx.restarted().await;
    assert_eq!(fetch_one(&again, 7, "t", 0).await, (-1, 0));
    assert_eq!(fetch_one(&again, 7, "kept", 0).await, (5, 0));
}

#[tokio::test]
async fn a_group_error_is_told_where_the_version_has_a_place_for_it() {
    let ctx = testing::context().await;
    ctx.topic("t", 1).await;
    ctx.broker.groups.stop().await.unwrap();
    assert_eq!(fetch_one(&ctx, 1, "t", 0).await, (-1, 15));
    for version in 2..=7 {
        let asked = message!(OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0] });
        let request = message!(OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![asked]) });
        let response = fetch(&ctx.with_version(version), request).await;
        chronik_protocol::codec::encode_response(1, &response, version).unwrap();
        assert_eq!((response.error_code, response.topics.len()), (15, 0));
    }
    let group = message!(OffsetFetchRequestGroup { group_id: "g".into(), topics: None });
    let response = fetch(&ctx.with_version(9), message!(OffsetFetchRequest { groups: vec![group] })).await;
    assert_eq!(response.groups[0].error_code, 15);
    let committed =
        commit(&ctx.with_version(9), commit_request(vec![commit_topic("t", WireId::ZERO, &[(0, 5)])])).await;
    assert_eq!(commit_codes(&committed), [vec![(0, 15)]]);
}

#[tokio::test]
async fn offsets_are_deleted_by_name_and_an_unknown_group_is_the_whole_answer() {
    let ctx = testing::context().await.with_version(0);
    ctx.topic("t", 1).await;
    let topic = |name: &str| {
        let partitions =
            [0, 4].map(|index| message!(OffsetDeleteRequestPartition { partition_index: index }));
        message!(OffsetDeleteRequestTopic { name: name.into(), partitions: partitions.into() })
    };
    let request =
        message!(OffsetDeleteRequest { group_id: "g".into(), topics: vec![topic("none"), topic("t")] });
    assert_eq!(delete(&ctx, request.clone()).await.error_code, 69);
    commit(&ctx.with_version(9), commit_request(vec![commit_topic("t", WireId::ZERO, &[(0, 5)])])).await;
    let response = delete(&ctx, request).await;
    let codes: Vec<Vec<i16>> = response
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.error_code).collect())
        .collect();
    assert_eq!((response.error_code, codes), (0, vec![vec![3, 3], vec![0, 3]]));
    assert_eq!(fetch_one(&ctx, 7, "t", 0).await, (-1, 0));
    let nameless = message!(OffsetDeleteRequest { group_id: "".into() });
    assert_eq!(delete(&ctx, nameless).await.error_code, 24);
}

#[tokio::test]
async fn commits_can_be_answered_in_every_version_and_reach_internal_topics_too() {
    let ctx = testing::context().await;
    for version in 2..=9 {
        let request =
            commit_request(vec![commit_topic("__consumer_offsets", WireId::ZERO, &[(49, 1), (50, 1)])]);
        let response = commit(&ctx.with_version(version), request).await;
        chronik_protocol::codec::encode_response(1, &response, version).unwrap();
        assert_eq!(commit_codes(&response), [vec![(49, 0), (50, 3)]]);
    }
}
