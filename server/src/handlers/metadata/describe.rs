//! DescribeTopicPartitions (KIP-966): topics by name, in order, a bounded number of partitions a page.

use std::collections::BTreeSet;

use chronik_engine::topic::TopicMap;
use chronik_protocol::codec::messages::DescribeTopicPartitionsRequest;
use chronik_protocol::codec::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use chronik_protocol::message;

use super::wire_id;
use crate::error_code::ErrorCode;
use crate::handlers::authorized_operations;
use crate::internal_topics;
use crate::request::RequestContext;
use crate::topic_rules;

/// Partitions one page may have, whatever the client asks: Kafka's `max.request.partition.size.limit`.
const PAGE_PARTITIONS_MAX: i32 = 2000;

/// Answers DescribeTopicPartitions.
pub async fn describe_topic_partitions(
    ctx: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let map = ctx.broker.engine.topics();
    let cursor = request.cursor.as_ref().map(|cursor| (&*cursor.topic_name, cursor.partition_index));
    let from = cursor.map_or("", |(topic, _)| topic);
    let everything = request.topics.is_empty();
    let names: BTreeSet<&str> = if everything {
        let stored = map.iter().map(|topic| &*topic.name);
        stored.chain(internal_topics::all().map(|topic| topic.name)).filter(|name| *name >= from).collect()
    } else {
        request.topics.iter().map(|topic| &*topic.name).filter(|name| *name >= from).collect()
    };
    let cursor_fits = cursor.is_none_or(|(topic, index)| index >= 0 && (everything || names.contains(topic)));
    if !cursor_fits {
        return refused(&request);
    }
    let mut page = Page {
        node: ctx.broker.config.node.node_id,
        left: request.response_partition_limit.clamp(1, PAGE_PARTITIONS_MAX),
        response: DescribeTopicPartitionsResponse::default(),
    };
    for name in names {
        let first = cursor.filter(|(topic, _)| *topic == name).map_or(0, |(_, index)| index);
        if !page.add(&map, name, first, everything) {
            break;
        }
    }
    page.response
}

struct Page {
    node: i32,
    /// Partitions that still fit.
    left: i32,
    response: DescribeTopicPartitionsResponse,
}

impl Page {
    /// Adds a topic from its partition `first` on. False when the page is full; the cursor then says where to go on.
    fn add(&mut self, map: &TopicMap, name: &str, first: i32, skip_unknown: bool) -> bool {
        if self.left == 0 {
            self.stop_at(name, 0);
            return false;
        }
        let Some(topic) = Shown::find(map, name) else {
            if !skip_unknown {
                self.response.topics.push(unknown(name));
            }
            return true;
        };
        let end = topic.epochs.len() as i32;
        let page_end = end.min(first.saturating_add(self.left));
        let partitions: Vec<_> = (first..page_end).map(|index| self.partition(&topic, index)).collect();
        self.left -= partitions.len() as i32;
        self.response.topics.push(message!(DescribeTopicPartitionsResponseTopic {
            name: Some(name.into()),
            topic_id: wire_id(&topic.id),
            is_internal: topic.internal,
            partitions: partitions,
            topic_authorized_operations: authorized_operations::TOPIC,
        }));
        if page_end < end {
            self.stop_at(name, page_end);
            return false;
        }
        true
    }

    fn stop_at(&mut self, name: &str, partition: i32) {
        self.response.next_cursor =
            Some(message!(Cursor { topic_name: name.into(), partition_index: partition }));
    }

    fn partition(&self, topic: &Shown, index: i32) -> DescribeTopicPartitionsResponsePartition {
        let node = self.node;
        message!(DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: node,
            leader_epoch: topic.epochs.get(index as usize).copied().unwrap_or(0),
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            // Empty, not null: no replica is eligible besides the one in sync.
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
        })
    }
}

/// What a page needs of a topic.
struct Shown {
    id: uuid::Uuid,
    internal: bool,
    /// Leader epoch of each partition.
    epochs: Vec<i32>,
}

impl Shown {
    fn find(map: &TopicMap, name: &str) -> Option<Self> {
        if let Some(topic) = map.get(name) {
            let epochs = topic.partitions.iter().map(|partition| partition.log.leader_epoch()).collect();
            return Some(Self { id: topic.id, internal: false, epochs });
        }
        let topic = internal_topics::find(name)?;
        Some(Self { id: topic.id, internal: true, epochs: vec![0; topic.partitions as usize] })
    }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = if topic_rules::is_valid(name) {
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    };
    message!(DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        is_internal: internal_topics::is_internal(name),
        topic_authorized_operations: authorized_operations::TOPIC,
    })
}

/// The cursor is not one of ours, which the answer can only say topic by topic.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        message!(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::InvalidRequest.code(),
            name: Some(topic.name.clone()),
        })
    });
    message!(DescribeTopicPartitionsResponse { topics: topics.collect() })
}
