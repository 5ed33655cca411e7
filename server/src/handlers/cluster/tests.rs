//! DescribeCluster and DescribeLogDirs.

use super::*;
use crate::handlers::testing::{self, NODE, encodes_in_every_version};

fn request(endpoint_type: i8, operations: bool) -> DescribeClusterRequest {
    message!(DescribeClusterRequest {
        endpoint_type: endpoint_type,
        include_cluster_authorized_operations: operations,
    })
}

// semantics 3.9.8 and 3.9.9
#[tokio::test]
async fn the_cluster_is_this_node_under_the_listeners_address() {
    let ctx = testing::context().await.with_version(2);
    let answer = describe(&ctx, request(1, true)).await;
    assert_eq!((answer.error_code, answer.controller_id, answer.brokers.len()), (0, NODE, 1));
    let broker = &answer.brokers[0];
    assert_eq!(
        (broker.broker_id, &*broker.host, broker.port, broker.is_fenced),
        (NODE, "broker.example", 19092, false)
    );
    assert_eq!((answer.cluster_id.len(), answer.cluster_authorized_operations), (22, 8096));
    assert_eq!(describe(&ctx, request(1, false)).await.cluster_authorized_operations, i32::MIN);
    encodes_in_every_version(&answer);
}

// semantics 3.9.8
#[tokio::test]
async fn another_endpoint_type_is_mismatched_or_unsupported() {
    let ctx = testing::context().await.with_version(1);
    for (endpoint_type, code) in
        [(2, ErrorCode::MismatchedEndpointType), (7, ErrorCode::UnsupportedEndpointType)]
    {
        let answer = describe(&ctx, request(endpoint_type, false)).await;
        assert_eq!(answer.error_code, code.code());
        assert!(answer.error_message.is_some() && answer.brokers.is_empty());
        encodes_in_every_version(&answer);
    }
}

// semantics 3.9.8
#[tokio::test]
async fn log_dirs_tell_sizes_and_the_disks_bytes() {
    let ctx = testing::context_with(&[("data.dir", "/")]).await.with_version(5);
    ctx.topic("a", 2).await;
    ctx.append("a", &[1, 2, 3]).await;
    let answer = describe_log_dirs(&ctx, message!(DescribeLogDirsRequest { topics: None })).await;
    encodes_in_every_version(&answer);
    let dir = &answer.results[0];
    assert_eq!((dir.error_code, &*dir.log_dir), (0, "/"));
    assert!(dir.total_bytes >= dir.usable_bytes && dir.total_bytes > 0);
    let sizes: Vec<i64> = dir.topics[0].partitions.iter().map(|partition| partition.partition_size).collect();
    assert_eq!(sizes, [ctx.log("a", 0).size_bytes() as i64, 0]);
    assert!(sizes[0] > 61);
}

#[tokio::test]
async fn log_dirs_show_of_the_asked_what_there_is() {
    let ctx = testing::context_with(&[("data.dir", "/")]).await.with_version(5);
    ctx.topic("a", 3).await;
    let asked = |topic: &str, partitions: &[i32]| {
        message!(DescribableLogDirTopic { topic: topic.into(), partitions: partitions.to_vec() })
    };
    let topics = vec![asked("a", &[1, 9, -1]), asked("no", &[0]), asked("a", &[1, 2])];
    let answer = describe_log_dirs(&ctx, message!(DescribeLogDirsRequest { topics: Some(topics) })).await;
    let dir = &answer.results[0];
    assert_eq!(dir.topics.len(), 1);
    let indexes: Vec<i32> =
        dir.topics[0].partitions.iter().map(|partition| partition.partition_index).collect();
    assert_eq!(indexes, [1, 2]);
}

#[tokio::test]
async fn a_data_directory_that_is_gone_is_a_storage_error() {
    let ctx = testing::context_with(&[("data.dir", "/no/such/directory")]).await.with_version(5);
    let answer = describe_log_dirs(&ctx, message!(DescribeLogDirsRequest { topics: None })).await;
    assert_eq!(answer.results[0].error_code, ErrorCode::KafkaStorageError.code());
}
