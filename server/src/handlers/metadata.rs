//! Metadata and DescribeTopicPartitions: what exists, where, and under which id.
//!
//! One node leads everything, so every partition has one replica. Clients are told the advertised address of the
//! listener they came in by. Names that do not exist are created on the way if both the broker and the request allow.

mod describe;

use std::collections::BTreeSet;

use chronik_engine::topic::{Topic, TopicMap};
use chronik_protocol::codec::Uuid;
use chronik_protocol::codec::messages::metadata_request::MetadataRequestTopic;
use chronik_protocol::codec::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use chronik_protocol::codec::messages::{MetadataRequest, MetadataResponse};
use chronik_protocol::message;

pub use describe::describe_topic_partitions;

use super::authorized_operations;
use super::topics;
use crate::error_code::ErrorCode;
use crate::internal_topics::{self, InternalTopic};
use crate::request::RequestContext;
use crate::topic_rules;

/// First version whose request may name topics by id; in 10 and 11 the field is there and must be empty
/// (KAFKA-10774).
const IDS_IN_REQUEST: i16 = 12;

/// Answers Metadata.
pub async fn handle(ctx: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    let asked = request.topics.as_deref();
    if ctx.api_version < IDS_IN_REQUEST
        && let Some(asked) = asked
        && asked.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_zero())
    {
        return refused(asked);
    }
    let topics = match asked {
        // Version 0 has no null: there, an empty list asks for all.
        None => every_topic(ctx),
        Some([]) if ctx.api_version == 0 => every_topic(ctx),
        Some(asked) => named_topics(ctx, asked, request.allow_auto_topic_creation).await,
    };
    let topics = with_operations(topics, request.include_topic_authorized_operations);
    message!(MetadataResponse {
        brokers: vec![broker(ctx)],
        cluster_id: Some(ctx.broker.engine.cluster_id().into()),
        controller_id: ctx.broker.config.node.node_id,
        topics: topics,
        cluster_authorized_operations: cluster_operations(ctx, &request),
    })
}

/// The whole request is malformed, which its answer can only say topic by topic.
fn refused(asked: &[MetadataRequestTopic]) -> MetadataResponse {
    let topics = asked.iter().map(|topic| {
        message!(MetadataResponseTopic {
            error_code: ErrorCode::InvalidRequest.code(),
            name: Some(topic.name.clone().unwrap_or_default()),
            topic_id: topic.topic_id,
        })
    });
    message!(MetadataResponse { topics: topics.collect() })
}

fn every_topic(ctx: &RequestContext) -> Vec<MetadataResponseTopic> {
    let topics = ctx.broker.engine.topics();
    let stored = topics.iter().map(|topic| stored(ctx, topic));
    stored.chain(internal_topics::all().map(|topic| internal(ctx, topic))).collect()
}

async fn named_topics(
    ctx: &RequestContext,
    asked: &[MetadataRequestTopic],
    allow_creation: bool,
) -> Vec<MetadataResponseTopic> {
    let map = ctx.broker.engine.topics();
    // With an id anywhere, names do not count (Kafka's `handleTopicMetadataRequest`).
    if asked.iter().any(|topic| !topic.topic_id.is_zero()) {
        let ids: BTreeSet<[u8; 16]> = asked.iter().map(|topic| topic.topic_id.to_bytes()).collect();
        return ids
            .into_iter()
            .map(Uuid::from_bytes)
            .filter(|id| !id.is_zero())
            .map(|id| by_id(ctx, &map, id))
            .collect();
    }
    let names: BTreeSet<&str> = asked.iter().filter_map(|topic| topic.name.as_deref()).collect();
    let create = allow_creation && ctx.broker.config.topics.auto_create_topics;
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        answers.push(match known(ctx, &map, name) {
            Some(topic) => topic,
            None => failed(name, missing(ctx, name, create).await),
        });
    }
    answers
}

fn known(ctx: &RequestContext, map: &TopicMap, name: &str) -> Option<MetadataResponseTopic> {
    let stored = map.get(name).map(|topic| stored(ctx, topic));
    stored.or_else(|| internal_topics::find(name).map(|topic| internal(ctx, topic)))
}

fn by_id(ctx: &RequestContext, map: &TopicMap, id: Uuid) -> MetadataResponseTopic {
    let ours = uuid::Uuid::from_bytes(id.to_bytes());
    if let Some(topic) = map.get_by_id(&ours) {
        stored(ctx, topic)
    } else if let Some(topic) = internal_topics::find_by_id(&ours) {
        internal(ctx, topic)
    } else {
        message!(MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            name: None,
            topic_id: id
        })
    }
}

/// Why a name is not there. A topic created here exists when this returns, yet the client is told to ask again, as
/// Kafka does, whose creation takes a moment.
async fn missing(ctx: &RequestContext, name: &str, create: bool) -> ErrorCode {
    if !topic_rules::is_valid(name) {
        return ErrorCode::InvalidTopicException;
    }
    if !create {
        return ErrorCode::UnknownTopicOrPartition;
    }
    match topics::create_automatically(ctx, name).await {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(refusal) => refusal.code,
    }
}

fn failed(name: &str, error: ErrorCode) -> MetadataResponseTopic {
    message!(MetadataResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        is_internal: internal_topics::is_internal(name),
    })
}

fn stored(ctx: &RequestContext, topic: &Topic) -> MetadataResponseTopic {
    let node = ctx.broker.config.node.node_id;
    let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
        let offline = partition.log.check_online().is_err();
        self::partition(node, index as i32, partition.log.leader_epoch(), offline)
    });
    message!(MetadataResponseTopic {
        name: Some((&*topic.name).into()),
        topic_id: wire_id(&topic.id),
        partitions: partitions.collect(),
    })
}

fn internal(ctx: &RequestContext, topic: &InternalTopic) -> MetadataResponseTopic {
    let node = ctx.broker.config.node.node_id;
    message!(MetadataResponseTopic {
        name: Some(topic.name.into()),
        topic_id: wire_id(&topic.id),
        is_internal: true,
        partitions: (0..topic.partitions).map(|index| partition(node, index, 0, false)).collect(),
    })
}

fn partition(node: i32, index: i32, leader_epoch: i32, offline: bool) -> MetadataResponsePartition {
    message!(MetadataResponsePartition {
        partition_index: index,
        leader_id: node,
        leader_epoch: leader_epoch,
        replica_nodes: vec![node],
        isr_nodes: vec![node],
        offline_replicas: if offline { vec![node] } else { Vec::new() },
    })
}

fn with_operations(mut topics: Vec<MetadataResponseTopic>, asked: bool) -> Vec<MetadataResponseTopic> {
    if asked {
        // An id that is unknown names no resource that one could be authorised on.
        for topic in topics.iter_mut().filter(|topic| topic.name.is_some()) {
            topic.topic_authorized_operations = authorized_operations::TOPIC;
        }
    }
    topics
}

/// Asked for in versions 8 to 10; DescribeCluster answers it since.
fn cluster_operations(ctx: &RequestContext, request: &MetadataRequest) -> i32 {
    if (8..=10).contains(&ctx.api_version) && request.include_cluster_authorized_operations {
        authorized_operations::CLUSTER
    } else {
        authorized_operations::NOT_ASKED
    }
}

fn broker(ctx: &RequestContext) -> MetadataResponseBroker {
    message!(MetadataResponseBroker {
        node_id: ctx.broker.config.node.node_id,
        host: ctx.listener.advertised_host.as_str().into(),
        port: i32::from(ctx.listener.advertised_port),
    })
}

/// A topic id as the codec writes it.
pub(super) fn wire_id(id: &uuid::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

#[cfg(test)]
mod tests;
