//! DescribeCluster and DescribeLogDirs: the one node, and what its data directory holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chronik_engine::topic::Topic;
use chronik_protocol::codec::messages::describe_cluster_response::DescribeClusterBroker;
use chronik_protocol::codec::messages::describe_log_dirs_request::DescribableLogDirTopic;
use chronik_protocol::codec::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use chronik_protocol::codec::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use chronik_protocol::message;

use super::authorized_operations;
use crate::disk;
use crate::error_code::ErrorCode;
use crate::request::RequestContext;

/// Kafka's `EndpointType`.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers DescribeCluster.
pub async fn describe(ctx: &RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return wrong_endpoint(request.endpoint_type);
    }
    let node = ctx.broker.config.node.node_id;
    let asked = request.include_cluster_authorized_operations;
    message!(DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: ctx.broker.engine.cluster_id().into(),
        controller_id: node,
        brokers: vec![message!(DescribeClusterBroker {
            broker_id: node,
            host: ctx.listener.advertised_host.as_str().into(),
            port: i32::from(ctx.listener.advertised_port),
        })],
        cluster_authorized_operations: if asked {
            authorized_operations::CLUSTER
        } else {
            authorized_operations::NOT_ASKED
        },
    })
}

/// Version 0 has no endpoint type, so this is always a client that knows both codes.
fn wrong_endpoint(asked: i8) -> DescribeClusterResponse {
    let (code, message) = if asked == CONTROLLERS {
        let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
        (ErrorCode::MismatchedEndpointType, message.to_owned())
    } else {
        (ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {asked}"))
    };
    message!(DescribeClusterResponse { error_code: code.code(), error_message: Some(message.into()) })
}

/// Answers DescribeLogDirs. A log's size is that of its batches; what the store compresses or has yet to give back is
/// in the difference between total and usable bytes.
pub async fn describe_log_dirs(
    ctx: &RequestContext,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let log_dir = log_dir(ctx);
    let topics = match &request.topics {
        None => {
            let topics = ctx.broker.engine.topics();
            topics.iter().map(|topic| described(topic, 0..topic.partitions.len() as i32)).collect()
        }
        Some(asked) => asked_topics(ctx, asked),
    };
    let (code, total_bytes, usable_bytes) = match disk::space(&log_dir) {
        Ok(space) => (ErrorCode::None, wire_bytes(space.total_bytes), wire_bytes(space.free_bytes)),
        Err(error) => {
            tracing::warn!(%error, "the data directory's disk space could not be read");
            (ErrorCode::KafkaStorageError, -1, -1)
        }
    };
    message!(DescribeLogDirsResponse {
        results: vec![message!(DescribeLogDirsResult {
            error_code: code.code(),
            log_dir: log_dir.to_string_lossy().into_owned().into(),
            topics: topics,
            total_bytes: total_bytes,
            usable_bytes: usable_bytes,
        })],
    })
}

/// The one log directory, as clients name it.
pub(super) fn log_dir(ctx: &RequestContext) -> PathBuf {
    let data_dir = &ctx.broker.config.node.data_dir;
    std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone())
}

/// What there is of what was asked for; the rest is left out, as in Kafka.
fn asked_topics(ctx: &RequestContext, asked: &[DescribableLogDirTopic]) -> Vec<DescribeLogDirsTopic> {
    let mut by_name: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for topic in asked {
        by_name.entry(&topic.topic).or_default().extend(&topic.partitions);
    }
    let topics = ctx.broker.engine.topics();
    let known = by_name.into_iter().filter_map(|(name, indexes)| Some((topics.get(name)?, indexes)));
    known
        .map(|(topic, indexes)| described(topic, indexes))
        .filter(|topic| !topic.partitions.is_empty())
        .collect()
}

fn described(topic: &Topic, indexes: impl IntoIterator<Item = i32>) -> DescribeLogDirsTopic {
    let partitions = indexes.into_iter().filter_map(|index| {
        let log = topic.log(index)?;
        Some(message!(DescribeLogDirsPartition {
            partition_index: index,
            partition_size: wire_bytes(log.size_bytes()),
        }))
    });
    message!(DescribeLogDirsTopic { name: (&*topic.name).into(), partitions: partitions.collect() })
}

fn wire_bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
